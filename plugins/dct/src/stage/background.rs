//! `dct.background`: frames less the moving median of their neighbours.

use std::collections::BTreeMap;
use std::ops::Range;

use isard_core::prelude::*;

use super::frames::{lost, pixels, same_shape, size};
use super::full;
use super::raw::Frames;
use crate::moving::{Batch, Edge, Even, Into, Told, Window};
use crate::simd::Level;

mod make;

/// The longest window.
const MOST: usize = 501;
/// Bytes of frames that are worked on at once, unless the recipe says how many.
const AIM: usize = 64 << 20;
/// So many medians are quicker found together than one by one.
const EIGHT: usize = 8;
/// More frames at once bring little.
const MOST_BATCH: usize = 16;

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
/// window and by `batch`. A window of 21 takes 1 to 2 ns a pixel of 16 bits with 512-bit vectors, one of 51 about 6 ns.
/// It keeps its window and `batch` frames as they come, with `wrap` as many again packed to less than half: at window 21
/// and stride 1 some 30 frames and 20 packed ones, at stride 5 some 115 and 100. `compact` halves what goes on: it suits `image.median` without a mask
/// (which rounds integers beside masked pixels) and `dct.segment`; writers want one dtype.
///
/// With `factor` or `dark` frames come raw, and lose the dark and are multiplied on the way to their median: the bits
/// are those of `dct.offset` and `dct.normalize` before it, in half the memory.
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
    ///
    /// Without it as many as take 64 MiB, 8 to 16. Multiples of eight times `stride` are quickest.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64), extend("x-unit" = "frame"))]
    batch: Option<usize>,
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
fn interval() -> usize {
    50
}
fn range() -> usize {
    500
}

#[derive(Default)]
struct State {
    frames: Frames,
    /// The factor of each frame that is kept.
    factors: BTreeMap<u64, f32>,
    /// What each pixel loses, when frames come raw; no number where it is invalid.
    dark: Option<Array>,
    /// The next frame in turn.
    next: u64,
    /// Frames with full pixels, and the first of them.
    full: Option<(u64, u64)>,
    /// The largest value of the dtype that frames come in; none before the first.
    most: Option<f32>,
}

/// The input of [`Background`].
#[derive(Ports)]
pub struct BackgroundIn {
    /// Frames of the scan; NaN is invalid.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// What each frame is multiplied by, as `dct.normalize` gives it.
    #[port(dtype = "number", axes = "")]
    factor: Option<Array>,
    /// The dark image, which every frame loses before it is multiplied.
    #[port(dtype = "number", fixed, axes = "y x")]
    dark: Option<Array>,
    /// Invalid pixels: 0 is good, anything else invalid.
    #[port(dtype = "number", fixed, axes = "y x")]
    mask: Option<Array>,
}

/// The output of [`Background`].
#[derive(Ports)]
pub struct BackgroundOut {
    /// Frames less their background; NaN where there is none.
    #[port(dtype = "f32|i16", axes = "y x")]
    image: Array,
    /// Pixels of the frame at the largest value of their dtype; none of floats.
    #[port(dtype = "u32", axes = "")]
    saturated: Array,
    /// Where those pixels are, for `dct.segment`.
    ///
    /// Runs from one column to before another.
    #[port(columns = "row: u32, from: u32, to: u32")]
    full: Table,
    /// How many frames the window covers.
    ///
    /// Spots longer than half of it lose intensity to the background.
    #[port(dtype = "u32", axes = "", unit = "frame")]
    covered: Array,
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
        if let Some(batch) = self.batch.filter(|b| !(1..=64).contains(b)) {
            faults.add("batch", format!("found {batch}, wanted 1 to 64"));
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
        same_shape("dark", input)?;
        same_shape("mask", input)?;
        if ["factor", "dark", "mask"].iter().any(|port| input.has(port)) {
            self.floats_only()?;
        }
        let dims = input.get("image").dims;
        let dtype = (self.dtype == Differences::F32).then_some(Dtype::F32);
        let shapes = Shapes::default()
            .with("image", Shape { dtype, dims: dims.clone() })
            .with("saturated", Shape::array(Dtype::U32, &[]))
            .with("covered", Shape::array(Dtype::U32, &[]));
        Ok(match self.save_backgrounds {
            true => shapes.with("background", Shape { dtype: Some(Dtype::F32), dims }),
            false => shapes,
        })
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let (pixels, window) = (pixels(input), self.span());
        let size = input.get("image").dtype.map_or(4, Dtype::size) as u64;
        let head = if window.edge == Edge::Wrap { 2 * window.reach() } else { 0 };
        let batch = self.batch(pixels as usize * size as usize);
        let out = if self.dtype == Differences::Compact { 2 } else { 4 };
        let fixed = if input.has("dark") || input.has("factor") || input.has("mask") { 4 } else { 0 };
        // What waits for the end of a ring is packed.
        let whole = (2 * window.reach() + window.stride + batch) as u64 * size;
        let kept = whole + head as u64 * size / 2 + out * batch as u64 + fixed;
        let seconds = pixels as f64 * (0.05e-9 * window.length as f64 * size as f64 / 2.0 + 0.5e-9);
        Cost { memory: kept * pixels, seconds_per_record: seconds, ..Cost::default() }
    }
}

impl Fold for Background {
    fn lag(&self) -> Lag {
        let reach = self.span().reach() as u64;
        match self.edge {
            Edge::Wrap => Lag::Rotated,
            _ => Lag::Kept { lag: 2 * reach + (self.batch.unwrap_or(MOST_BATCH) + self.interval) as u64 },
        }
    }

    fn push(
        &mut self,
        cx: &Cx,
        span: &Span,
        input: BackgroundIn,
        emit: &mut Emit<BackgroundOut>,
    ) -> Result<()> {
        self.begin_raw(&input)?;
        if let Some(factor) = &input.factor {
            for (k, factor) in factor.to_f64()?.into_iter().enumerate() {
                self.state.factors.insert(span.start + k as u64, factor as f32);
            }
        }
        self.state.most = Some(full::most(input.image.dtype()));
        self.state.frames.take(span.start, &input.image)?;
        let batch = self.batch(self.state.frames.bytes()) as u64;
        loop {
            let ready = self.ready(batch);
            if ready.end.saturating_sub(ready.start) < batch {
                return Ok(());
            }
            let end = ready.start + batch;
            self.emit(cx, ready.start..end, None, emit)?;
            self.state.next = end;
            self.forget(cx)?;
        }
    }

    fn gap(&mut self, _: &Cx, gap: &Gap, _: &mut Emit<BackgroundOut>) -> Result<()> {
        self.state.frames.end = self.state.frames.end.max(gap.span.end());
        Ok(())
    }

    fn finish(&mut self, cx: &Cx, emit: &mut Emit<BackgroundOut>) -> Result<()> {
        let frames = self.state.frames.end;
        if self.state.frames.held.is_empty() && self.state.frames.awake() {
            return Ok(());
        }
        self.fits(frames)?;
        let from = self.state.next.max(self.begin());
        let batch = self.batch(self.state.frames.bytes()) as u64;
        // The first frames of a ring come last.
        let wrapped = if self.edge == Edge::Wrap { self.begin().min(frames) } else { 0 };
        for part in [from..frames, 0..wrapped] {
            let mut at = part.start;
            while at < part.end {
                let end = part.end.min(at + batch);
                self.emit(cx, at..end, Some(frames), emit)?;
                at = end;
                self.let_go(cx, at, part.end == frames)?;
            }
        }
        if let Some((full, first)) = self.state.full {
            tracing::warn!(
                stage = cx.stage(),
                frames = full,
                first,
                "Pixels are saturated: the intensity of spots there is too low; `saturated` counts them."
            );
        }
        self.state = State::default();
        Ok(())
    }

    fn save(&self) -> Result<Dict> {
        let factors: Vec<f64> =
            self.state.factors.iter().flat_map(|(n, f)| [*n as f64, f64::from(*f)]).collect();
        let state = self.state.frames.save().with("next", self.state.next as i64);
        let (full, first) = self.state.full.unwrap_or_default();
        let state = state.with("factors", Array::from_slice(&factors));
        let state = state.with("full", Array::from_slice(&[full, first]));
        let state = state.with("most", f64::from(self.state.most.unwrap_or(f32::NAN)));
        Ok(match &self.state.dark {
            Some(dark) => state.with("dark", dark.clone()),
            None => state,
        })
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.state.frames.load(&state)?;
        self.state.factors.clear();
        if let Value::Array(factors) = state.need("factors")? {
            let pairs = factors.as_slice::<f64>()?.chunks_exact(2);
            self.state.factors = pairs.map(|p| (p[0] as u64, p[1] as f32)).collect();
        }
        self.state.full = match state.need("full")? {
            Value::Array(full) => match full.as_slice::<u64>()? {
                [0, _] => None,
                [frames, first] => Some((*frames, *first)),
                _ => return Err(Error::internal("counts of full frames were saved as other values")),
            },
            _ => None,
        };
        self.state.most = state.need("most")?.number().map(|most| most as f32);
        self.state.dark = match state.get("dark") {
            Some(Value::Array(dark)) => Some(dark.clone()),
            _ => None,
        };
        self.state.next = state.need("next")?.number().unwrap_or(0.0) as u64;
        Ok(())
    }
}
declare!(Fold, "dct.background", Kind::Reducer, Background);

impl Background {
    /// Frames that are worked on at once; `frame` is the size of one in bytes.
    fn batch(&self, frame: usize) -> usize {
        self.batch.unwrap_or_else(|| (AIM / frame.max(1)).clamp(EIGHT, MOST_BATCH))
    }

    /// An error when differences of floats are wanted as words.
    fn floats_only(&self) -> Result<()> {
        match self.dtype {
            Differences::F32 => Ok(()),
            Differences::Compact => {
                let text = "`dtype = \"compact\"` goes with counts, found `factor`, `dark` or `mask`";
                Err(Error::recipe(text)
                    .help("leave out `dtype`, or the inputs: without a factor the dark cancels"))
            }
        }
    }

    /// Puts dark and mask together, when frames come raw.
    fn begin_raw(&mut self, input: &BackgroundIn) -> Result<()> {
        if self.state.dark.is_some()
            || !(input.factor.is_some() || input.dark.is_some() || input.mask.is_some())
        {
            return Ok(());
        }
        self.floats_only()?;
        let [_, rows, columns] = size(&input.image)?;
        let lost = lost(input.dark.as_ref(), input.mask.as_ref(), 0.0, rows, columns)?;
        self.state.dark = Some(Array::from_slice(&lost));
        Ok(())
    }

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

    /// How many frames a window covers.
    fn covered(&self) -> u32 {
        let window = self.span();
        (window.length * window.stride) as u32
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
    fn ready(&self, batch: u64) -> Range<u64> {
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
            // A background of one frame may lie before the frame itself.
            last.max(k) <= newest
        };
        let end = (from..from + batch).take_while(|k| there(*k)).count() as u64;
        from..from + end
    }

    /// Lets go of frames that no window takes any more.
    fn forget(&mut self, cx: &Cx) -> Result<()> {
        let window = self.span();
        let before = self.centre(self.state.next).saturating_sub((window.reach() + window.stride) as u64);
        // The first windows of a ring come last, and with them those that reach over its end.
        let more = if self.method == Method::Interval { self.interval } else { 0 };
        let head = if self.edge == Edge::Wrap { (2 * window.reach() + more) as u64 } else { 0 };
        self.state.factors.retain(|number, _| *number >= before || *number < head);
        self.state.frames.forget(cx, |number| number >= before, |number| number < head)
    }

    /// At the end of a ring: lets go of frames that only windows before the given frame take.
    fn let_go(&mut self, cx: &Cx, next: u64, tail: bool) -> Result<()> {
        let window = self.span();
        if window.edge != Edge::Wrap || self.method == Method::Interval {
            return Ok(());
        }
        let reach = window.reach() as u64;
        // The windows of the last frames reach over the end; then those of the first ones, which come last.
        let end = self.state.frames.end;
        let kept = move |number: u64| match tail {
            true => number + reach >= next || number < 2 * reach,
            false => number + reach >= next && number < 2 * reach || number + reach >= end + next,
        };
        // What sleeps is woken when its turn comes; what is awake is not packed again.
        self.state.frames.forget(cx, kept, |_| false)
    }
}
