//! Toy maps, folds, reductions, fits and tasks.

use std::time::Duration;

use isard_core::prelude::*;

/// One image in.
#[derive(Ports)]
pub struct ImageIn {
    /// Pixels.
    #[port(dtype = "number", axes = "y x")]
    pub image: Array,
}

/// One image out.
#[derive(Ports)]
pub struct ImageOut {
    /// Pixels.
    #[port(dtype = "number", axes = "y x")]
    pub image: Array,
}

fn pixels(frames: u64) -> Array {
    let pixels: Vec<u16> = (0..frames).flat_map(|n| [n as u16; 4]).collect();
    Array::of(&[frames as usize, 2, 2], &pixels).expect("four pixels a frame")
}

/// How a stage may misbehave.
#[derive(Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Mood {
    /// Behaves.
    #[default]
    Good,
    /// Returns an error.
    Error,
    /// Panics.
    Panic,
    /// Does not come back for a long time.
    Hang,
    /// Returns one record too few.
    Shape,
    /// Gives the frame up.
    GiveUp,
    /// Takes its time.
    Slow,
}

/// Passes images on, and misbehaves at a frame when told to.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct Pass {
    /// What it does at that frame.
    mood: Mood,
    /// The frame; it hangs at the first it is given from there on.
    at: u64,
    /// How long a slow one takes, or a hanging one hangs.
    #[schemars(extend("x-unit" = "ms"))]
    pause: u64,
}

impl Stage for Pass {
    type In = ImageIn;
    type Out = ImageOut;
    fn example() -> Example {
        Example::new("").frames("image", pixels(40))
    }
}

impl Map for Pass {
    fn apply(&self, cx: &Cx, span: &Span, input: ImageIn) -> Result<ImageOut> {
        if self.mood == Mood::Slow {
            std::thread::sleep(Duration::from_millis(self.pause));
        }
        // A stage that is given the newest alone may never see this very frame.
        if self.mood == Mood::Hang && span.end() > self.at {
            std::thread::sleep(Duration::from_millis(self.pause));
        }
        if span.range().contains(&self.at) {
            match self.mood {
                Mood::Good | Mood::Slow | Mood::Hang => (),
                Mood::Error => return Err(Error::data("a bad day")),
                Mood::Panic => panic!("a very bad day"),
                Mood::Shape => return Ok(ImageOut { image: input.image.records(0..span.len as usize - 1)? }),
                Mood::GiveUp => cx.give_up(self.at, Reason::Skipped, "no beam"),
            }
        }
        Ok(ImageOut { image: input.image })
    }
}
declare!(Map, "toy.pass", Kind::Reducer, Pass);

/// Sum over a window of frames that wraps around: the first frames come last.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Frames to the window, odd.
    #[schemars(range(min = 1))]
    window: usize,
    #[serde(skip)]
    #[schemars(skip)]
    held: Vec<(u64, Array)>,
    #[serde(skip)]
    #[schemars(skip)]
    first: Vec<(u64, Array)>,
}

impl Window {
    fn sum(frames: &[&Array]) -> Result<Array> {
        let mut out = frames[0].to_f64()?;
        for frame in &frames[1..] {
            out.iter_mut().zip(frame.to_f64()?).for_each(|(a, b)| *a += b);
        }
        Array::of(frames[0].shape(), &out)
    }

    /// Emits the frame in the middle of the window.
    fn middle(&mut self, emit: &mut Emit<ImageOut>) -> Result<()> {
        let half = self.window / 2;
        let frames: Vec<&Array> = self.held.iter().map(|(_, a)| a).collect();
        let image = Self::sum(&frames)?;
        emit.put(Span::frames(self.held[half].0, 1), ImageOut { image });
        self.held.remove(0);
        Ok(())
    }
}

impl Stage for Window {
    type In = ImageIn;
    type Out = ImageOut;
    fn example() -> Example {
        Example::new("window = 5").frames("image", pixels(40))
    }
}

impl Fold for Window {
    fn lag(&self) -> Lag {
        Lag::Rotated
    }
    fn push(&mut self, _: &Cx, span: &Span, input: ImageIn, emit: &mut Emit<ImageOut>) -> Result<()> {
        for (i, n) in span.range().enumerate() {
            let frame = input.image.records(i..i + 1)?.detach()?;
            if self.first.len() < self.window - 1 {
                self.first.push((n, frame.clone()));
            }
            self.held.push((n, frame));
            if self.held.len() == self.window {
                self.middle(emit)?;
            }
        }
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap, _: &mut Emit<ImageOut>) -> Result<()> {
        Ok(())
    }
    fn finish(&mut self, _: &Cx, emit: &mut Emit<ImageOut>) -> Result<()> {
        if self.held.len() + 1 < self.window {
            // Fewer frames than the window: all of them are the window of each.
            let frames: Vec<&Array> = self.held.iter().map(|(_, a)| a).collect();
            let Some(sum) = frames.first().map(|_| Self::sum(&frames)).transpose()? else { return Ok(()) };
            for (n, _) in &self.held {
                emit.put(Span::frames(*n, 1), ImageOut { image: sum.clone() });
            }
            return Ok(());
        }
        for entry in std::mem::take(&mut self.first) {
            self.held.push(entry);
            self.middle(emit)?;
        }
        Ok(())
    }
    fn save(&self) -> Result<Dict> {
        let list = |l: &[(u64, Array)]| -> Value {
            l.iter()
                .map(|(n, a)| vec![Value::Int(*n as i64), a.clone().into()].into())
                .collect::<Vec<Value>>()
                .into()
        };
        Ok(Dict::new().with("held", list(&self.held)).with("first", list(&self.first)))
    }
    fn load(&mut self, state: Dict) -> Result<()> {
        let list = |key: &str| -> Result<Vec<(u64, Array)>> {
            let Value::List(list) = state.need(key)? else { return Err(Error::data("no list")) };
            let pair = |v: &Value| match v {
                Value::List(p) => match &**p {
                    [Value::Int(n), Value::Array(a)] => Some((*n as u64, a.clone())),
                    _ => None,
                },
                _ => None,
            };
            Ok(list.iter().filter_map(pair).collect())
        };
        (self.held, self.first) = (list("held")?, list("first")?);
        Ok(())
    }
}
declare!(Fold, "toy.window", Kind::Reducer, Window);

/// Runs of bright frames as ragged blobs, each with all its frame numbers.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blobs {
    /// Frames whose number is a multiple of this are dark.
    #[schemars(range(min = 2))]
    dark: u64,
    #[serde(skip)]
    #[schemars(skip)]
    open: Vec<u64>,
}

/// Blobs.
#[derive(Ports)]
pub struct BlobsOut {
    /// One blob a row.
    #[port(columns = "first: u64, length: u64")]
    blobs: Table,
}

impl Blobs {
    fn close(&mut self, emit: &mut Emit<BlobsOut>) -> Result<()> {
        let frames = std::mem::take(&mut self.open);
        if let Some(first) = frames.first() {
            let ragged =
                Column::Ragged { ends: [frames.len() as u64].into(), values: Array::from_slice(&frames) };
            let blobs = Table::new(1).with("first", &[*first])?.with("length", &[frames.len() as u64])?;
            emit.put(Span::frames(0, 1), BlobsOut { blobs: blobs.with_column("frames", ragged)? });
        }
        Ok(())
    }
}

impl Stage for Blobs {
    type In = ImageIn;
    type Out = BlobsOut;
    fn example() -> Example {
        Example::new("dark = 7").frames("image", pixels(40))
    }
}

impl Fold for Blobs {
    fn lag(&self) -> Lag {
        Lag::Merged { axis: "blob" }
    }
    fn push(&mut self, _: &Cx, span: &Span, _: ImageIn, emit: &mut Emit<BlobsOut>) -> Result<()> {
        for n in span.range() {
            if n % self.dark == 0 {
                self.close(emit)?;
            } else {
                self.open.push(n);
            }
        }
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap, emit: &mut Emit<BlobsOut>) -> Result<()> {
        self.close(emit)
    }
    fn finish(&mut self, _: &Cx, emit: &mut Emit<BlobsOut>) -> Result<()> {
        self.close(emit)
    }
    fn save(&self) -> Result<Dict> {
        Ok(Dict::new().with("open", Array::from_slice(&self.open)))
    }
    fn load(&mut self, state: Dict) -> Result<()> {
        if let Value::Array(a) = state.need("open")? {
            self.open = a.as_slice::<u64>()?.to_vec();
        }
        Ok(())
    }
}
declare!(Fold, "toy.blobs", Kind::Reducer, Blobs);

/// Sum of all frames, times a factor.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Total {
    /// The factor.
    times: f64,
}

impl Default for Total {
    fn default() -> Self {
        Total { times: 1.0 }
    }
}

/// A total.
#[derive(Ports)]
pub struct TotalOut {
    /// The sum of all pixels of all frames.
    total: f64,
    /// How many frames.
    frames: i64,
    /// The numbers of frames above the mean, empty when there is none.
    bright: Table,
}

impl Stage for Total {
    type In = ImageIn;
    type Out = TotalOut;
    fn example() -> Example {
        Example::new("times = 2.0").frames("image", pixels(200))
    }
}

impl Reduce for Total {
    type Part = Vec<(u64, f64)>;
    fn part(&self, _: &Cx) -> Result<Self::Part> {
        Ok(vec![])
    }
    fn add(&self, _: &Cx, part: &mut Self::Part, span: &Span, input: ImageIn) -> Result<()> {
        for (i, n) in span.range().enumerate() {
            part.push((n, input.image.record(i)?.to_f64()?.iter().sum::<f64>() * self.times));
        }
        Ok(())
    }
    fn merge(&self, _: &Cx, part: &mut Self::Part, later: Self::Part) -> Result<()> {
        part.extend(later);
        Ok(())
    }
    fn peek(&self, cx: &Cx, part: &Self::Part) -> Result<Option<TotalOut>> {
        self.finish(cx, part.clone()).map(Some)
    }
    fn finish(&self, _: &Cx, part: Self::Part) -> Result<TotalOut> {
        let total: f64 = part.iter().map(|(_, s)| s).sum();
        let mean = total / part.len().max(1) as f64;
        let bright: Vec<u64> = part.iter().filter(|(_, s)| *s > mean).map(|(n, _)| *n).collect();
        Ok(TotalOut {
            total,
            frames: part.len() as i64,
            bright: Table::new(bright.len()).with("number", &bright)?,
        })
    }
    fn save(&self, part: &Self::Part) -> Result<Dict> {
        let (n, s): (Vec<u64>, Vec<f64>) = part.iter().copied().unzip();
        Ok(Dict::new().with("n", Array::from_slice(&n)).with("s", Array::from_slice(&s)))
    }
    fn load(&self, _: &Cx, state: Dict) -> Result<Self::Part> {
        let (Value::Array(n), Value::Array(s)) = (state.need("n")?, state.need("s")?) else {
            return Err(Error::data("no arrays"));
        };
        Ok(n.as_slice::<u64>()?.iter().copied().zip(s.as_slice::<f64>()?.iter().copied()).collect())
    }
}
declare!(Reduce, "toy.total", Kind::Reducer, Total);

/// Fits a straight line through the mean of each frame, one frame a step.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct Line {
    /// How long a step takes.
    #[schemars(extend("x-unit" = "ms"))]
    pause: u64,
    #[serde(skip)]
    #[schemars(skip)]
    points: Vec<(u64, f64)>,
    #[serde(skip)]
    #[schemars(skip)]
    fitted: usize,
}

/// A line.
#[derive(Ports)]
pub struct LineOut {
    /// Counts per frame.
    slope: f64,
    /// Frames used.
    used: i64,
}

impl Stage for Line {
    type In = ImageIn;
    type Out = LineOut;
    fn example() -> Example {
        Example::new("").frames("image", pixels(40)).tolerance("slope", 1e-9)
    }
}

impl Fit for Line {
    fn absorb(&mut self, _: &Cx, span: &Span, input: ImageIn) -> Result<()> {
        for (i, n) in span.range().enumerate() {
            let pixels = input.image.record(i)?.to_f64()?;
            self.points.push((n, pixels.iter().sum::<f64>() / pixels.len() as f64));
        }
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }
    fn complete(&mut self, _: &Cx) -> Result<()> {
        Ok(())
    }
    fn refine(&mut self, _: &Cx, _: &Slice) -> Result<Fitness> {
        std::thread::sleep(Duration::from_millis(self.pause));
        self.fitted = self.points.len();
        Ok(Fitness { cost: 0.0, more: false })
    }
    fn snapshot(&self, _: &Cx) -> Result<Option<LineOut>> {
        let points = &self.points[..self.fitted];
        if points.len() < 2 {
            return Ok(None);
        }
        let n = points.len() as f64;
        let (mx, my) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 as f64 / n, y + p.1 / n));
        let (sxy, sxx) = points.iter().fold((0.0, 0.0), |(a, b), p| {
            let dx = p.0 as f64 - mx;
            (a + dx * (p.1 - my), b + dx * dx)
        });
        Ok(Some(LineOut { slope: sxy / sxx, used: points.len() as i64 }))
    }
    fn save(&self) -> Result<Dict> {
        let (n, s): (Vec<u64>, Vec<f64>) = self.points.iter().copied().unzip();
        let saved = Dict::new().with("n", Array::from_slice(&n)).with("s", Array::from_slice(&s));
        Ok(saved.with("fitted", self.fitted as i64))
    }
    fn load(&mut self, state: Dict) -> Result<()> {
        if let (Value::Array(n), Value::Array(s)) = (state.need("n")?, state.need("s")?) {
            self.points =
                n.as_slice::<u64>()?.iter().copied().zip(s.as_slice::<f64>()?.iter().copied()).collect();
        }
        self.fitted = state.need("fitted")?.number().unwrap_or(0.0) as usize;
        Ok(())
    }
}
declare!(Fit, "toy.line", Kind::Fitter, Line);

/// Makes a grid of a given step, prepared once for all who ask.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// The step.
    #[schemars(range(min = 0.001))]
    step: f64,
}

/// What a grid is made around.
#[derive(Ports)]
pub struct GridIn {
    /// The value it is centred on.
    centre: Option<f64>,
}

/// A grid.
#[derive(Ports)]
pub struct GridOut {
    /// Its points.
    points: Table,
    /// Its step.
    step: f64,
    /// Its centre.
    centre: f64,
}

/// How often a grid was really built, in this process.
pub static BUILT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

impl Stage for Grid {
    type In = GridIn;
    type Out = GridOut;
    fn example() -> Example {
        Example::new("step = 0.5").fixed("centre", 3.0)
    }
}

impl Task for Grid {
    fn run(&mut self, cx: &Cx, input: GridIn) -> Result<GridOut> {
        let step = self.step;
        let offsets = cx.prepared(&format!("grid {step}"), || {
            BUILT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(((-2..=2).map(|i| f64::from(i) * step).collect::<Vec<f64>>(), 40))
        })?;
        let centre = input.centre.unwrap_or(0.0);
        let points: Vec<f64> = offsets.iter().map(|o| centre + o).collect();
        Ok(GridOut { points: Table::new(points.len()).with("x", &points)?, step, centre })
    }
}
declare!(Task, "toy.grid", Kind::Tool, Grid);
