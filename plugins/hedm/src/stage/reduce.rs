//! `hedm.reduce`: from camera frames to lit pixels.

use std::collections::VecDeque;
use std::sync::Mutex;

use isard_core::prelude::*;

use super::experiment::{Experiment, example};
use crate::reduce::{Cleaner, Edges, Settings, Worker, median_of_frames, noise_of_frames};

/// Reduces camera frames to their lit pixels.
///
/// The background is the lower median of the first `background` frames of each distance, at each pixel; it is taken off
/// those frames too, and stays as it is. What is left above `blanket` counts, or above `noise` times the noise of those
/// frames, goes through a median of the pixels within `radius`; or with `matched` a pixel is lit where a Gaussian of that
/// width finds a spot, which sees weaker spots. With `log` only blobs of a Laplacian of a Gaussian of two widths remain, and blobs of fewer
/// than `min_pixels` pixels go. Missing frames are not part of the background and stay unknown.
///
/// Keeps order and count; holds back as many frames as the background needs. About 5 ns a pixel.
///
/// Source: the image reduction of the MIDAS near-field programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reduce {
    /// Frames of a distance whose median is the background.
    ///
    /// The existing program takes all of them, which keeps them all in memory.
    #[serde(default = "sixty")]
    #[schemars(range(min = 1, max = 65535), extend("x-unit" = "frame"))]
    background: u64,
    /// Counts that are taken off beside the background.
    #[serde(default = "five")]
    #[schemars(extend("x-unit" = "count"))]
    blanket: u16,
    /// The threshold as a multiple of the noise, in place of `blanket`.
    ///
    /// The noise is 1.4826 times the median distance of the background's frames from their median. Where they hardly
    /// differ from it `blanket` is taken, and the log says so. 1 to 2 does for a median of 3 x 3, 4 to 5 for `matched`.
    #[serde(default)]
    #[schemars(range(min = 0.1, max = 100))]
    noise: Option<f64>,
    /// The width of the Gaussian that finds spots; `radius` does not count then.
    ///
    /// 0.6 to 1 does for most cameras: wider finds weaker spots and rounds off their ends. A single bright pixel is never a spot.
    #[serde(default)]
    #[schemars(range(min = 0.3, max = 1.5), extend("x-unit" = "pixel"))]
    matched: Option<f64>,
    /// Pixels around each that its median is taken of: 0, 1 or 2.
    #[serde(default = "one")]
    #[schemars(range(max = 2), extend("x-unit" = "pixel"))]
    radius: usize,
    /// Whether only blobs of a Laplacian of a Gaussian remain.
    #[serde(default)]
    log: bool,
    /// The width of the wider of the two Gaussians.
    #[serde(default = "unit")]
    #[schemars(extend("x-unit" = "pixel"))]
    log_sigma: f64,
    /// The radius of its mask.
    #[serde(default = "four")]
    #[schemars(range(min = 1, max = 64), extend("x-unit" = "pixel"))]
    log_radius: usize,
    /// Blobs of fewer pixels are left out.
    #[serde(default = "one")]
    #[schemars(range(min = 1), extend("x-unit" = "pixel"))]
    min_pixels: usize,
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
    #[serde(skip)]
    #[schemars(skip)]
    waiting: VecDeque<(u64, Array)>,
    /// The background, the distance it is of, and the counts above it that are taken off.
    #[serde(skip)]
    #[schemars(skip)]
    background_of: Option<(usize, Array, u16)>,
    #[serde(skip)]
    #[schemars(skip)]
    cleaner: Option<Cleaner>,
    #[serde(skip)]
    #[schemars(skip)]
    workers: Mutex<Vec<Worker>>,
}

fn sixty() -> u64 {
    60
}
fn five() -> u16 {
    5
}
fn one() -> usize {
    1
}
fn four() -> usize {
    4
}
fn unit() -> f64 {
    1.0
}

/// The input of [`Reduce`].
#[derive(Ports)]
pub struct ReduceIn {
    /// Camera frames, distance after distance.
    #[port(dtype = "u16", axes = "y x", unit = "count")]
    image: Array,
}

/// The output of [`Reduce`].
#[derive(Ports)]
pub struct ReduceOut {
    /// The lit pixels, with their counts above the background.
    ///
    /// Y and Z count against columns and rows.
    #[port(columns = "y: u32 pixel, z: u32 pixel, value: u16 count")]
    spots: Table,
    /// How many pixels are lit.
    #[port(dtype = "u32", axes = "")]
    lit: Array,
}

impl Stage for Reduce {
    type In = ReduceIn;
    type Out = ReduceOut;

    fn example() -> Example {
        let (rows, columns) = (128, 128);
        let mut pixels = vec![100u16; 6 * rows * columns];
        for (k, at) in [(1, 5000), (2, 5129), (3, 9000), (4, 300), (4, 301)] {
            // A spot of 3 x 3 pixels.
            (0..9).for_each(|n| pixels[k * rows * columns + at + n / 3 * columns + n % 3] = 400);
        }
        Example::new(example("background = 4\n")).frames(
            "image",
            Array::of(&[6, rows, columns], &pixels).expect("as many pixels as the frames have"),
        )
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        if !(self.log_sigma.is_finite() && self.log_sigma > 0.0) {
            faults.add("log_sigma", format!("found {}, wanted more than 0", self.log_sigma));
        }
        for (name, value, [low, high]) in
            [("noise", self.noise, [0.1, 100.0]), ("matched", self.matched, [0.3, 1.5])]
        {
            if let Some(x) = value.filter(|x| !(low..=high).contains(x)) {
                faults.add(name, format!("found {x}, wanted {low} to {high}"));
            }
        }
        if self.background > self.experiment.frames as u64 {
            let n = self.experiment.frames;
            faults.add("background", format!("found {}, a distance has {n} frames", self.background));
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default().with("lit", Shape::array(Dtype::U32, &[])))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("image").dims.iter().flatten().product::<usize>() as u64;
        Cost {
            memory: 2 * pixels * (self.background + 3),
            seconds_per_record: 5e-9 * pixels as f64,
            ..Cost::default()
        }
    }
}

impl Fold for Reduce {
    fn lag(&self) -> Lag {
        Lag::Kept { lag: self.background }
    }

    fn push(&mut self, cx: &Cx, span: &Span, input: ReduceIn, emit: &mut Emit<ReduceOut>) -> Result<()> {
        let [columns, rows] = self.experiment.size;
        let found = &input.image.shape()[1..];
        if found != [rows, columns] {
            return Err(Error::data(format!(
                "{span}: found frames of {found:?} pixels, the detector has [{rows}, {columns}]"
            ))
            .help("`size` of the experiment is columns, then rows"));
        }
        let images = if self.ready(span)? { input.image } else { input.image.detach()? };
        for number in span.range() {
            self.waiting.push_back((number, images.record((number - span.start) as usize)?));
        }
        self.work(cx, emit, span.end())
    }

    fn gap(&mut self, cx: &Cx, gap: &Gap, emit: &mut Emit<ReduceOut>) -> Result<()> {
        self.work(cx, emit, gap.span.end())
    }

    fn finish(&mut self, cx: &Cx, emit: &mut Emit<ReduceOut>) -> Result<()> {
        self.work(cx, emit, u64::MAX)
    }

    fn save(&self) -> Result<Dict> {
        let waiting =
            self.waiting.iter().map(|(n, a)| Value::from(vec![Value::Int(*n as i64), a.clone().into()]));
        let state = Dict::new().with("waiting", waiting.collect::<Vec<_>>());
        Ok(match &self.background_of {
            Some((l, background, blanket)) => state
                .with("distance", *l as i64)
                .with("background", background.clone())
                .with("blanket", i64::from(*blanket)),
            None => state,
        })
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        let lost = || Error::data("found no saved state of `hedm.reduce`");
        let Value::List(waiting) = state.need("waiting")? else { return Err(lost()) };
        self.waiting.clear();
        for pair in waiting.iter() {
            let Value::List(pair) = pair else { return Err(lost()) };
            let [Value::Int(n), Value::Array(image)] = &pair[..] else { return Err(lost()) };
            self.waiting.push_back((*n as u64, image.clone()));
        }
        (self.background_of, self.cleaner) = (None, None);
        if let (Some(Value::Int(l)), Some(Value::Array(background)), Some(Value::Int(blanket))) =
            (state.get("distance"), state.get("background"), state.get("blanket"))
        {
            self.take_background(*l as usize, background.clone(), *blanket as u16)?;
        }
        Ok(())
    }
}
declare!(Fold, "hedm.reduce", Kind::Reducer, Reduce);

impl Reduce {
    /// Whether the background of these frames is known, so that they need not be kept.
    fn ready(&self, span: &Span) -> Result<bool> {
        let (l, _) = self.experiment.place(span.end() - 1)?;
        Ok(self.waiting.is_empty() && self.background_of.as_ref().is_some_and(|b| b.0 == l))
    }

    /// The counts above the background that are taken off.
    fn threshold(&self, cx: &Cx, l: usize, of: &[&Array], background: &Array) -> Result<u16> {
        let Some(multiple) = self.noise else { return Ok(self.blanket) };
        let frames: Vec<&[u16]> = of.iter().map(|f| f.as_slice::<u16>()).collect::<Result<_>>()?;
        let noise = noise_of_frames(&frames, background.as_slice::<u16>()?);
        let threshold = (multiple * noise).ceil().min(f64::from(u16::MAX)) as u16;
        if noise == 0.0 {
            tracing::warn!(
                stage = cx.stage(),
                distance = l + 1,
                blanket = self.blanket,
                "Frames hardly differ from their background, so `blanket` is the threshold."
            );
            return Ok(self.blanket);
        }
        tracing::info!(stage = cx.stage(), distance = l + 1, noise, threshold, "Noise of the background.");
        Ok(threshold)
    }

    fn take_background(&mut self, l: usize, background: Array, blanket: u16) -> Result<()> {
        let mut edges = vec![];
        if self.log {
            edges = vec![Edges::new(self.log_sigma, self.log_radius), Edges::new(1.0, 4)];
        }
        let settings = Settings {
            blanket,
            radius: self.radius,
            edges,
            min_pixels: self.min_pixels,
            matched: self.matched,
        };
        self.cleaner = Some(Cleaner::new(settings, background.as_slice::<u16>()?, self.experiment.size[0]));
        self.background_of = Some((l, background, blanket));
        Ok(())
    }

    /// Reduces what waits as far as its background is known, when all frames before `end` have come or never will.
    fn work(&mut self, cx: &Cx, emit: &mut Emit<ReduceOut>, end: u64) -> Result<()> {
        while let Some((first, _)) = self.waiting.front() {
            let (l, _) = self.experiment.place(*first)?;
            let begin = (l * self.experiment.frames) as u64;
            let stop = begin + self.experiment.frames as u64;
            if self.background_of.as_ref().is_none_or(|b| b.0 != l) {
                // The frames of the background are those of these numbers that came at all.
                if end < (begin + self.background).min(stop) {
                    return Ok(());
                }
                let last = begin + self.background;
                let mut of: Vec<&Array> =
                    self.waiting.iter().filter(|(n, _)| *n < last).map(|(_, a)| a).collect();
                if of.is_empty() {
                    // All of them were lost: the first frame that came has to do.
                    of.push(&self.waiting[0].1);
                }
                let background = self.median(cx, &of)?;
                let threshold = self.threshold(cx, l, &of, &background)?;
                self.take_background(l, background, threshold)?;
            }
            let count = self.waiting.iter().take_while(|(n, _)| *n < stop).count();
            let some: Vec<(u64, Array)> = self.waiting.drain(..count).collect();
            self.reduce(cx, &some, emit)?;
        }
        Ok(())
    }

    /// The median of frames, rows in parallel.
    fn median(&self, cx: &Cx, frames: &[&Array]) -> Result<Array> {
        let slices: Vec<&[u16]> = frames.iter().map(|f| f.as_slice::<u16>()).collect::<Result<_>>()?;
        let [columns, rows] = self.experiment.size;
        let mut out = vec![0u16; rows * columns];
        let piece = (columns * 64).max(1);
        let parts: Vec<Mutex<&mut [u16]>> = out.chunks_mut(piece).map(Mutex::new).collect();
        cx.par(parts.len(), |k| {
            median_part(
                &slices,
                k * piece,
                &mut parts[k].lock().map_err(|_| Error::internal("rows were taken twice"))?,
            );
            Ok(())
        })?;
        drop(parts);
        Array::of(&[rows, columns], &out)
    }

    fn reduce(&self, cx: &Cx, some: &[(u64, Array)], emit: &mut Emit<ReduceOut>) -> Result<()> {
        let cleaner =
            self.cleaner.as_ref().ok_or_else(|| Error::internal("no background after it was taken"))?;
        let [columns, rows] = self.experiment.size.map(|n| n as u32);
        let found: Vec<Mutex<Vec<(u32, u32, u16)>>> = some.iter().map(|_| Mutex::default()).collect();
        cx.par(some.len(), |k| {
            let held = || Error::internal("a frame was reduced twice");
            // Buffers of a worker that was here before: pages that are touched anew cost as much as a median.
            let mut worker = self.workers.lock().map_err(|_| held())?.pop().unwrap_or_default();
            let lit = cleaner.lit(some[k].1.as_slice::<u16>()?, &mut worker);
            self.workers.lock().map_err(|_| held())?.push(worker);
            *found[k].lock().map_err(|_| Error::internal("a frame was reduced twice"))? = lit;
            Ok(())
        })?;
        for ((number, _), lit) in some.iter().zip(found) {
            let lit = lit.into_inner().map_err(|_| Error::internal("a frame was not reduced"))?;
            let y: Vec<u32> = lit.iter().map(|p| columns - 1 - p.1).collect();
            let z: Vec<u32> = lit.iter().map(|p| rows - 1 - p.0).collect();
            let value: Vec<u16> = lit.iter().map(|p| p.2).collect();
            let spots = Table::new(lit.len())
                .with("y", &y)?
                .with("z", &z)?
                .with("value", &value)?
                .with_record(*number);
            let lit = Array::of(&[1], &[lit.len() as u32])?;
            emit.put(Span::frames(*number, 1), ReduceOut { spots, lit });
        }
        Ok(())
    }
}

/// The medians of the pixels from `from` on.
fn median_part(frames: &[&[u16]], from: usize, out: &mut [u16]) {
    let parts: Vec<&[u16]> = frames.iter().map(|f| &f[from..from + out.len()]).collect();
    median_of_frames(&parts, out);
}
