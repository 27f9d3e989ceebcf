//! `dct.background`: frames less the moving median of their neighbours.

mod fold;
mod make;
mod window;

use isard_core::prelude::*;

use super::frames::{pixels, same_shape};
use crate::moving::{Edge, Window};
use fold::State;

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
}
