use isard_core::prelude::*;

/// Fits an exponential decay to the mean of each image.
///
/// For each lifetime the best amplitude is known, so a golden-section search over the lifetime is all there is to do
/// (Kiefer 1953). What it says while frames arrive is the minimum over the frames so far; the last answer starts
/// the search again over all of them. Costs one addition per pixel, and 80 steps of one exponential per frame.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decay {
    /// The shortest lifetime that is tried.
    #[schemars(range(min = 1e-3))]
    shortest: f64,
    /// The longest lifetime that is tried.
    longest: f64,
    #[serde(skip)]
    frames: Vec<f64>,
    #[serde(skip)]
    means: Vec<f64>,
    /// The logarithms of the lifetimes between which the minimum lies.
    #[serde(skip)]
    bracket: Option<[f64; 2]>,
}

impl Default for Decay {
    fn default() -> Self {
        Decay { shortest: 1.0, longest: 1e4, frames: vec![], means: vec![], bracket: None }
    }
}

/// An image of any kind of number.
#[derive(Ports)]
pub struct Counts {
    /// The image.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
}

/// The decay.
#[derive(Ports)]
pub struct Answer {
    /// The mean of frame 0.
    amplitude: f64,
    /// Frames after which 1/e of it is left.
    #[port(unit = "frame")]
    life: f64,
    /// The root mean square of what is left over.
    residual: f64,
}

impl Stage for Decay {
    type In = Counts;
    type Out = Answer;

    fn example() -> Example {
        let pixels: Vec<f32> = (0..30).map(|n| 500.0 * (-(n as f32) / 12.0).exp()).collect();
        Example::new("longest = 100.0")
            .frames("image", Array::of(&[30, 1, 1], &pixels).expect("thirty pixels"))
            .tolerance("life", 1e-6)
            .tolerance("amplitude", 1e-6)
            .tolerance("residual", 1e-6)
    }

    fn check(&self, faults: &mut Faults) {
        if self.longest <= self.shortest {
            let (a, b) = (self.longest, self.shortest);
            faults.add_with_help("longest", format!("found {a}, wanted more than {b}"), "raise `longest`");
        }
    }
}

impl Fit for Decay {
    fn absorb(&mut self, _: &Cx, span: &Span, input: Counts) -> Result<()> {
        let pixels = input.image.to_f64()?;
        let frame = (pixels.len() as u64 / span.len.max(1)).max(1) as usize;
        for (number, pixels) in span.range().zip(pixels.chunks_exact(frame)) {
            self.frames.push(number as f64);
            self.means.push(pixels.iter().sum::<f64>() / frame as f64);
        }
        // The minimum may have moved out of the bracket.
        self.bracket = None;
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // A missing frame is a point less, no more.
        Ok(())
    }

    fn complete(&mut self, _: &Cx) -> Result<()> {
        self.bracket = None;
        Ok(())
    }

    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness> {
        let golden = (5f64.sqrt() - 1.0) / 2.0;
        let [mut low, mut high] = self.bracket.unwrap_or([self.shortest.ln(), self.longest.ln()]);
        loop {
            cx.check()?;
            let (left, right) = (high - golden * (high - low), low + golden * (high - low));
            match self.at(left.exp()).1 <= self.at(right.exp()).1 {
                true => high = right,
                false => low = left,
            }
            if slice.over() || high - low < 1e-12 {
                break;
            }
        }
        self.bracket = Some([low, high]);
        Ok(Fitness { cost: self.at(self.life()).1, more: high - low >= 1e-12 && self.frames.len() > 2 })
    }

    fn snapshot(&self, _: &Cx) -> Result<Option<Answer>> {
        if self.frames.is_empty() || self.bracket.is_none() {
            return Ok(None);
        }
        let life = self.life();
        let (amplitude, cost) = self.at(life);
        Ok(Some(Answer { amplitude, life, residual: (cost / self.frames.len() as f64).sqrt() }))
    }

    fn save(&self) -> Result<Dict> {
        let state = Dict::new()
            .with("frames", Array::from_slice(&self.frames))
            .with("means", Array::from_slice(&self.means));
        Ok(match self.bracket {
            Some(bracket) => state.with("bracket", Array::from_slice(&bracket)),
            None => state,
        })
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        let numbers = |value: &Value| match value {
            Value::Array(array) => array.to_f64(),
            other => Err(Error::data(format!("found {}, wanted a saved array", other.describe()))),
        };
        self.frames = numbers(state.need("frames")?)?;
        self.means = numbers(state.need("means")?)?;
        self.bracket = match state.get("bracket") {
            Some(bracket) => numbers(bracket)?.try_into().ok(),
            None => None,
        };
        Ok(())
    }
}

impl Decay {
    fn life(&self) -> f64 {
        let [low, high] = self.bracket.unwrap_or([self.shortest.ln(), self.longest.ln()]);
        ((low + high) / 2.0).exp()
    }

    /// The best amplitude at a lifetime, and the squares it leaves over.
    fn at(&self, life: f64) -> (f64, f64) {
        let shape = || self.frames.iter().map(move |n| (-n / life).exp());
        let both: f64 = shape().zip(&self.means).map(|(e, mean)| e * mean).sum();
        let amplitude = both / shape().map(|e| e * e).sum::<f64>();
        (amplitude, shape().zip(&self.means).map(|(e, mean)| (mean - amplitude * e).powi(2)).sum())
    }
}

declare!(Fit, "example.decay", Kind::Fitter, Decay);
