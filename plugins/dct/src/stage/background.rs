//! `dct.background`: frames less the moving median of their neighbours.

use std::ops::Range;

use isard_core::prelude::*;

use super::frames::pixels;
use super::raw::Frames;
use crate::moving::{Batch, Edge, Into, Window};
use crate::simd::Level;

/// The longest window.
const MOST: usize = 501;

/// Which frames share a background.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Method {
    /// Each frame has its own, from the frames around it.
    #[default]
    Moving,
    /// The frames of an interval share one, from frames an interval apart.
    Interval,
}

/// The dtype of the differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Differences {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit integers for frames whose differences all fit, 32-bit floats for the others.
    Compact,
}

/// Takes from every frame the median of the frames around it, pixel by pixel.
///
/// A spot that lasts for less than half the window does not move the median, so it stays and the background goes. The
/// window of frame k is k and `(window - 1) / 2` frames to either side, `stride` apart. Missing frames and pixels that
/// are no number are left out; of an even number of samples that are left the mean of the middle two is taken. The
/// method `interval` takes one background for every `interval` frames: the median of frames `interval` apart, over
/// `range` frames around the interval's centre. Windows of frames of 8 or 16 bits are exact; others are compared and
/// subtracted as 32-bit floats.
///
/// With `edge = "wrap"` the frames come in another order: those whose window lies within the scan first, then the
/// first ones, when the last frames are there. Otherwise order and count are kept, and a frame is held back by half the
/// window and by `batch`. A window of 21 takes 1 to 2 ns a pixel of 16 bits with 512-bit vectors, one of 51 about 6 ns. It keeps
/// its window and `batch` frames, with `wrap` half the window's reach twice more. `compact` halves what goes on: it
/// suits `image.median` without a mask (which rounds integers beside masked pixels) and `dct.segment`; writers want one
/// dtype.
///
/// Source: W. Ludwig et al., Rev. Sci. Instrum. 80 (2009) 033905, section III; a sorted window with delete-and-insert;
/// for windows of 11 and 21 whole frames eight medians at once, after A. Adams, ACM Trans. Graph. 40 (2021) 46.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Background {
    /// Which frames share a background.
    #[serde(default)]
    method: Method,
    /// Frames of the window, an odd number.
    #[serde(default = "window")]
    #[schemars(range(min = 1, max = 501), extend("x-unit" = "frame"))]
    window: usize,
    /// From one frame of the window to the next.
    #[serde(default = "one")]
    #[schemars(range(min = 1), extend("x-unit" = "frame"))]
    stride: usize,
    /// What windows take at the ends of the scan.
    #[serde(default)]
    edge: Edge,
    /// Frames that are worked on at once: more are quicker, one comes soonest.
    #[serde(default = "batch")]
    #[schemars(range(min = 1, max = 64), extend("x-unit" = "frame"))]
    batch: usize,
    /// Frames that share a background, with `method = "interval"`.
    #[serde(default = "interval")]
    #[schemars(range(min = 1), extend("x-unit" = "frame"))]
    interval: usize,
    /// Frames that such a background is taken from, an even number of intervals.
    #[serde(default = "range")]
    #[schemars(range(min = 0), extend("x-unit" = "frame"))]
    range: usize,
    /// The dtype of the differences.
    #[serde(default)]
    dtype: Differences,
    /// Whether the medians are given too, at `background`.
    #[serde(default)]
    save_backgrounds: bool,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

fn window() -> usize {
    21
}
fn one() -> usize {
    1
}
fn batch() -> usize {
    16
}
fn interval() -> usize {
    50
}
fn range() -> usize {
    500
}

#[derive(Default)]
struct State {
    frames: Frames,
    /// The next frame in turn.
    next: u64,
}

/// The input of [`Background`].
#[derive(Ports)]
pub struct BackgroundIn {
    /// Frames of the scan; NaN is invalid.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
}

/// The output of [`Background`].
#[derive(Ports)]
pub struct BackgroundOut {
    /// Frames less their background; NaN where there is none.
    #[port(dtype = "f32|i16", axes = "y x")]
    image: Array,
    /// Pixels of the frame at the largest value of 16 bits.
    #[port(dtype = "u32", axes = "")]
    saturated: Array,
    /// The background, with `save_backgrounds`.
    #[port(dtype = "f32", axes = "y x")]
    background: Option<Array>,
}

impl Stage for Background {
    type In = BackgroundIn;
    type Out = BackgroundOut;

    fn example() -> Example {
        // A spot in frame 5 on a background that rises.
        let pixels: Vec<u16> = (0..12u16).flat_map(|k| [100 + k, if k == 5 { 900 } else { 50 }]).collect();
        Example::new("window = 5\nedge = \"wrap\"\nbatch = 2")
            .frames("image", Array::of(&[12, 1, 2], &pixels).expect("twelve frames of two pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        if self.window.is_multiple_of(2) || self.window > MOST {
            faults.add_with_help(
                "window",
                format!("found {}, wanted an odd number from 1 to {MOST}", self.window),
                "only an odd number of frames has the frame itself in the middle; a `stride` makes it reach further",
            );
        }
        if self.stride == 0 {
            faults.add("stride", "found 0, wanted 1 or more");
        }
        if !(1..=64).contains(&self.batch) {
            faults.add("batch", format!("found {}, wanted 1 to 64", self.batch));
        }
        if self.method == Method::Interval
            && (self.interval == 0 || !self.range.is_multiple_of(2 * self.interval.max(1)))
        {
            faults.add_with_help(
                "range",
                format!("found {} with intervals of {}", self.range, self.interval),
                "wanted an even number of intervals",
            );
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        if let Some(frames) = input.records() {
            self.fits(frames)?;
        }
        let dims = input.get("image").dims;
        let dtype = (self.dtype == Differences::F32).then_some(Dtype::F32);
        let shapes = Shapes::default()
            .with("image", Shape { dtype, dims: dims.clone() })
            .with("saturated", Shape::array(Dtype::U32, &[]));
        Ok(match self.save_backgrounds {
            true => shapes.with("background", Shape { dtype: Some(Dtype::F32), dims }),
            false => shapes,
        })
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let (pixels, window) = (pixels(input), self.span());
        let size = input.get("image").dtype.map_or(4, Dtype::size) as u64;
        let head = if window.edge == Edge::Wrap { 2 * window.reach() } else { 0 };
        let kept = (2 * window.reach() + head + self.batch) as u64 * size + 4 * self.batch as u64;
        let seconds = pixels as f64 * (0.05e-9 * window.length as f64 * size as f64 / 2.0 + 0.5e-9);
        Cost { memory: kept * pixels, seconds_per_record: seconds, ..Cost::default() }
    }
}

impl Fold for Background {
    fn lag(&self) -> Lag {
        let reach = self.span().reach() as u64;
        match self.edge {
            Edge::Wrap => Lag::Rotated,
            _ => Lag::Kept { lag: 2 * reach + (self.batch + self.interval) as u64 },
        }
    }

    fn push(
        &mut self,
        cx: &Cx,
        span: &Span,
        input: BackgroundIn,
        emit: &mut Emit<BackgroundOut>,
    ) -> Result<()> {
        self.state.frames.take(span.start, &input.image)?;
        loop {
            let ready = self.ready();
            if ready.end.saturating_sub(ready.start) < self.batch as u64 {
                return Ok(());
            }
            let end = ready.start + self.batch as u64;
            self.emit(cx, ready.start..end, None, emit)?;
            self.state.next = end;
            self.forget();
        }
    }

    fn gap(&mut self, _: &Cx, gap: &Gap, _: &mut Emit<BackgroundOut>) -> Result<()> {
        self.state.frames.end = self.state.frames.end.max(gap.span.end());
        Ok(())
    }

    fn finish(&mut self, cx: &Cx, emit: &mut Emit<BackgroundOut>) -> Result<()> {
        let frames = self.state.frames.end;
        if self.state.frames.held.is_empty() {
            return Ok(());
        }
        self.fits(frames)?;
        let from = self.state.next.max(self.begin());
        // The first frames of a ring come last.
        let wrapped = if self.edge == Edge::Wrap { self.begin().min(frames) } else { 0 };
        for part in [from..frames, 0..wrapped] {
            let mut at = part.start;
            while at < part.end {
                let end = part.end.min(at + self.batch as u64);
                self.emit(cx, at..end, Some(frames), emit)?;
                at = end;
            }
        }
        self.state = State::default();
        Ok(())
    }

    fn save(&self) -> Result<Dict> {
        Ok(self.state.frames.save().with("next", self.state.next as i64))
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.state.frames.load(&state)?;
        self.state.next = state.need("next")?.number().unwrap_or(0.0) as u64;
        Ok(())
    }
}
declare!(Fold, "dct.background", Kind::Reducer, Background);

impl Background {
    /// The window, whichever method it belongs to.
    fn span(&self) -> Window {
        match self.method {
            Method::Moving => Window { length: self.window, stride: self.stride, edge: self.edge },
            Method::Interval => {
                let interval = self.interval.max(1);
                Window { length: self.range / interval + 1, stride: interval, edge: self.edge }
            }
        }
    }

    /// The frame that the window of another is centred on.
    fn centre(&self, frame: u64) -> u64 {
        match self.method {
            Method::Moving => frame,
            Method::Interval => {
                let interval = self.interval.max(1) as u64;
                frame / interval * interval + interval / 2
            }
        }
    }

    /// An error when the window is longer than a scan that is a ring.
    fn fits(&self, frames: u64) -> Result<()> {
        let window = self.span();
        let all = ((window.length - 1) * window.stride + 1) as u64;
        if self.edge == Edge::Wrap && all > frames {
            let error = Error::recipe(format!(
                "the window covers {all} frames, and the scan that wraps around has {frames}"
            ));
            return Err(error.help("make `window` or `stride` smaller, or choose `edge = \"shift\"`"));
        }
        if self.method == Method::Interval && !frames.is_multiple_of(self.interval.max(1) as u64) {
            let text = format!("{frames} frames are no whole number of intervals of {}", self.interval);
            return Err(Error::recipe(text).help("choose an `interval` that divides the number of frames"));
        }
        Ok(())
    }

    /// The first frame whose window begins within the scan, with `wrap`; the first of all otherwise.
    fn begin(&self) -> u64 {
        if self.edge != Edge::Wrap {
            return 0;
        }
        let reach = self.span().reach() as u64;
        match self.method {
            Method::Moving => reach,
            Method::Interval => (0..).find(|k| self.centre(*k) >= reach).unwrap_or(0),
        }
    }

    /// The frames from the next in turn whose windows are there, whatever comes.
    fn ready(&self) -> Range<u64> {
        let window = self.span();
        let (reach, stride) = (window.reach() as u64, window.stride as u64);
        let from = self.state.next.max(self.begin());
        let newest = self.state.frames.end.saturating_sub(1);
        let there = |k: u64| {
            let centre = self.centre(k);
            // A window that is moved inwards ends where the first that fits does.
            let last = match self.edge {
                Edge::Shift if centre < reach => 2 * reach + centre % stride,
                _ => centre + reach,
            };
            last <= newest
        };
        let end = (from..from + self.batch as u64).take_while(|k| there(*k)).count() as u64;
        from..from + end
    }

    /// Lets go of frames that no window takes any more.
    fn forget(&mut self) {
        let window = self.span();
        let before = self.centre(self.state.next).saturating_sub((window.reach() + window.stride) as u64);
        // The first windows of a ring come last, and with them those that reach over its end.
        let more = if self.method == Method::Interval { self.interval } else { 0 };
        let head = if self.edge == Edge::Wrap { (2 * window.reach() + more) as u64 } else { 0 };
        self.state.frames.held.retain(|number, _| *number >= before || *number < head);
    }

    /// Emits the frames of a range that are there; `frames` is the length of the scan at its end.
    fn emit(
        &self,
        cx: &Cx,
        range: Range<u64>,
        frames: Option<u64>,
        emit: &mut Emit<BackgroundOut>,
    ) -> Result<()> {
        let held = &self.state.frames.held;
        // Before the end windows lie within what has come, wherever the scan ends.
        let length = frames.unwrap_or(self.state.frames.end) as usize;
        let (window, own): (Window, Vec<u64>) =
            (self.span(), range.filter(|k| held.contains_key(k)).collect());
        if own.is_empty() {
            return Ok(());
        }
        let around = |k: &u64| window.around(self.centre(*k) as usize, length);
        let samples: Vec<Vec<usize>> = own.iter().map(around).collect();
        let mut used: Vec<u64> = samples.iter().flatten().map(|f| *f as u64).chain(own.clone()).collect();
        used.sort_unstable();
        used.dedup();
        used.retain(|f| held.contains_key(f));
        let place = |f: u64| used.binary_search(&f).ok();
        let wanted = own
            .iter()
            .zip(samples)
            .filter_map(|(k, s)| Some((place(*k)?, s.into_iter().map(|f| place(f as u64)).collect())))
            .collect();
        let arrays: Vec<&Array> = used.iter().filter_map(|f| held.get(f)).collect();
        match arrays[0].dtype() {
            Dtype::U16 => {
                let frames = arrays.iter().map(|a| a.as_slice::<u16>()).collect::<Result<_>>()?;
                self.words(cx, &own, Batch { frames, wanted }, arrays[0].shape(), emit)
            }
            _ => {
                let frames = arrays.iter().map(|a| a.as_slice::<f32>()).collect::<Result<_>>()?;
                let made = self.floats(cx, &Batch { frames, wanted }, arrays[0].shape())?;
                self.put(&own, made, emit)
            }
        }
    }

    /// Emits frames of 16-bit pixels, as words where they fit.
    fn words(
        &self,
        cx: &Cx,
        own: &[u64],
        batch: Batch<u16>,
        shape: &[usize],
        emit: &mut Emit<BackgroundOut>,
    ) -> Result<()> {
        if self.dtype == Differences::F32 {
            return self.put(own, self.floats(cx, &batch, shape)?, emit);
        }
        let mut images = frames_of(cx, Dtype::I16, own.len(), shape)?;
        let mut medians = self.medians(cx, own.len(), shape)?;
        let into = Into { floats: vec![], words: slices(&mut images)?, medians: slices_of(&mut medians)? };
        let told = batch.run(Level::best(), into, |n, work| cx.par(n, work))?;
        for (k, image) in images.into_iter().enumerate() {
            let mut image = image.freeze();
            if told.over[k] {
                // What does not fit is made once more, as floats.
                let wanted = vec![batch.wanted[k].clone()];
                let again = self.floats(cx, &Batch { frames: batch.frames.clone(), wanted }, shape)?;
                image = again.into_iter().next().map_or(image, |made| made.image);
            }
            let background = medians.as_mut().map(|m| m.remove(0).freeze());
            let made = BackgroundOut { image, saturated: Array::from_slice(&told.full[k..=k]), background };
            emit.put(Span::frames(own[k], 1), made);
        }
        Ok(())
    }

    fn medians(&self, cx: &Cx, n: usize, shape: &[usize]) -> Result<Option<Vec<ArrayMut>>> {
        self.save_backgrounds.then(|| frames_of(cx, Dtype::F32, n, shape)).transpose()
    }

    /// Differences and medians as floats.
    fn floats<T: crate::moving::Sample>(
        &self,
        cx: &Cx,
        batch: &Batch<T>,
        shape: &[usize],
    ) -> Result<Vec<BackgroundOut>> {
        let n = batch.wanted.len();
        let mut images = frames_of(cx, Dtype::F32, n, shape)?;
        let mut medians = self.medians(cx, n, shape)?;
        let into = Into { floats: slices(&mut images)?, words: vec![], medians: slices_of(&mut medians)? };
        let told = batch.run(Level::best(), into, |n, work| cx.par(n, work))?;
        let made = images.into_iter().zip(told.full).map(|(image, full)| BackgroundOut {
            image: image.freeze(),
            saturated: Array::from_slice(&[full]),
            background: medians.as_mut().map(|m| m.remove(0).freeze()),
        });
        Ok(made.collect())
    }

    fn put(&self, own: &[u64], made: Vec<BackgroundOut>, emit: &mut Emit<BackgroundOut>) -> Result<()> {
        own.iter().zip(made).for_each(|(k, made)| emit.put(Span::frames(*k, 1), made));
        Ok(())
    }
}

/// Frames to be filled, each an array of its own: whoever keeps one keeps no others, and the pool has them back.
fn frames_of(cx: &Cx, dtype: Dtype, n: usize, shape: &[usize]) -> Result<Vec<ArrayMut>> {
    (0..n).map(|_| cx.array(dtype, &[&[1], shape].concat())).collect()
}

fn slices<T: Element>(frames: &mut [ArrayMut]) -> Result<Vec<&mut [T]>> {
    frames.iter_mut().map(ArrayMut::as_slice_mut).collect()
}

fn slices_of(frames: &mut Option<Vec<ArrayMut>>) -> Result<Option<Vec<&mut [f32]>>> {
    frames.as_mut().map(|f| slices(f)).transpose()
}
