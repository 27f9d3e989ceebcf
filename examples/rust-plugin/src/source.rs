use isard_core::prelude::*;
use rand::RngExt;

/// Plays frames of a beam spot that gets weaker.
///
/// Emits every frame once, in order; the noise of a frame depends on the seed and its number alone.
/// Costs one random number per pixel.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Beat {
    /// How many frames the series has.
    frames: u64,
    /// Rows and columns of a frame.
    size: [usize; 2],
    /// Counts at the middle of the spot in the first frame.
    peak: f64,
    /// Frames after which the spot has 1/e of its strength.
    life: f64,
    /// Every so many frames there is no beam; 0 for never.
    dark_every: u64,
    #[serde(skip)]
    next: u64,
}

impl Default for Beat {
    fn default() -> Self {
        Beat { frames: 100, size: [32, 48], peak: 4000.0, life: 80.0, dark_every: 0, next: 0 }
    }
}

/// What one frame brings.
#[derive(Ports)]
pub struct Frame {
    /// The detector image.
    #[port(dtype = "u16", axes = "y x", unit = "count")]
    image: Array,
    /// The strength of the beam when the frame was taken.
    #[port(dtype = "f64", axes = "")]
    monitor: Array,
}

impl Stage for Beat {
    type In = ();
    type Out = Frame;

    fn example() -> Example {
        Example::new("frames = 20\nsize = [8, 12]\ndark_every = 7")
    }

    fn check(&self, faults: &mut Faults) {
        if self.life <= 0.0 {
            faults.add("life", format!("found {}, wanted more than 0", self.life));
        }
        if self.size.contains(&0) {
            faults.add("size", format!("found {:?}, wanted at least one pixel", self.size));
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let image = Shape::array(Dtype::U16, &self.size);
        Ok(Shapes::default().with("image", image).with("monitor", Shape::array(Dtype::F64, &[])))
    }
}

impl Source for Beat {
    fn open(&mut self, _: &Cx, _: (), from: Position) -> Result<Opened> {
        self.next = from.next;
        let [rows, columns] = self.size.map(|n| n as f64 / 2.0);
        let middle = Array::from_slice(&[rows - 0.5, columns - 0.5]);
        Ok(Opened {
            frames: Some(self.frames),
            head: Dict::new().with("middle", middle),
            shapes: self.shapes(&Shapes::default())?,
            live: false,
            scan: vec![("frame".into(), self.frames)],
        })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Frame>) -> Result<Pull> {
        let n = slots.room().min(self.frames.saturating_sub(self.next));
        if n == 0 {
            return Ok(Pull::End);
        }
        let [rows, columns] = self.size;
        let mut image = cx.array(Dtype::U16, &[n as usize, rows, columns])?;
        let mut monitor = cx.array(Dtype::F64, &[n as usize])?;
        let frames = image.as_slice_mut::<u16>()?.chunks_exact_mut(rows * columns);
        for (i, (pixels, strength)) in frames.zip(monitor.as_slice_mut::<f64>()?).enumerate() {
            let number = self.next + i as u64;
            *strength = self.strength(number);
            self.draw(&mut cx.rng(number), *strength, pixels);
        }
        slots.put(self.next, Frame { image: image.freeze(), monitor: monitor.freeze() })?;
        self.next += n;
        Ok(Pull::Ready)
    }
}

impl Beat {
    fn strength(&self, number: u64) -> f64 {
        let dark = self.dark_every > 0 && number % self.dark_every == self.dark_every - 1;
        if dark { 0.0 } else { (-(number as f64) / self.life).exp() }
    }

    fn draw(&self, rng: &mut impl RngExt, strength: f64, pixels: &mut [u16]) {
        let [rows, columns] = self.size.map(|n| n as f64);
        for (at, pixel) in pixels.iter_mut().enumerate() {
            let y = (at / self.size[1]) as f64 - (rows - 1.0) / 2.0;
            let x = (at % self.size[1]) as f64 - (columns - 1.0) / 2.0;
            let mean = self.peak * strength * (-(y * y + x * x) / (0.05 * rows * columns)).exp();
            // Uniform noise with the variance of counting.
            let noise = (rng.random::<f64>() - 0.5) * (12.0 * mean).sqrt();
            *pixel = (mean + noise).round().clamp(0.0, f64::from(u16::MAX)) as u16;
        }
    }
}

declare!(Source, "example.beat", Kind::Simulator, Beat);
