//! `dct.offset`: frames less their dark, never clipped.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use isard_core::dispatch;
use isard_core::prelude::*;

use super::frames::{lost, pixels, same_shape, size};
use super::full::{self, most};
use crate::pixel::Pixel;
use crate::simd::{Level, less};

/// Takes the dark from every frame and marks invalid pixels.
///
/// Each pixel becomes its value as a 32-bit float less the dark, negative where noise makes it so: clipping at 0 would
/// bias every median and sum behind. Invalid pixels become NaN: those of `mask`, those with a value in `invalid`, those
/// below `below`, and what is no finite number. The number of pixels at the largest value of an integer dtype is
/// counted in `saturated`.
///
/// Without normalisation the dark cancels in `dct.background`, so this stage may be left out and 16-bit frames stay
/// 16-bit. Changes neither order nor count. About 1 ns a pixel.
///
/// Source: arithmetic.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offset {
    /// A dark that is the same everywhere, in place of or besides the image.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    offset: f32,
    /// Raw values that mark a pixel as invalid.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    invalid: Vec<f32>,
    /// Raw values below this are invalid.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    below: Option<f32>,
    #[serde(skip)]
    #[schemars(skip)]
    fixed: OnceLock<Fixed>,
    /// Set when full pixels have been spoken of.
    #[serde(skip)]
    #[schemars(skip)]
    told: AtomicBool,
}

/// What each pixel loses: the dark, NaN where it is invalid.
struct Fixed(Vec<f32>);

/// The input of [`Offset`].
#[derive(Ports)]
pub struct OffsetIn {
    /// Raw frames.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// The dark image.
    #[port(dtype = "number", fixed, axes = "y x")]
    dark: Option<Array>,
    /// Invalid pixels: 0 is good, anything else invalid.
    #[port(dtype = "number", fixed, axes = "y x")]
    mask: Option<Array>,
}

/// The output of [`Offset`].
#[derive(Ports)]
pub struct OffsetOut {
    /// Frames less the dark; NaN is invalid.
    #[port(dtype = "f32", axes = "y x")]
    image: Array,
    /// Pixels at the largest value of their dtype.
    #[port(dtype = "u32", axes = "")]
    saturated: Array,
    /// Where those pixels are, for `dct.segment`.
    ///
    /// Runs from one column to before another.
    #[port(columns = "row: u32, from: u32, to: u32")]
    full: Table,
}

impl Stage for Offset {
    type In = OffsetIn;
    type Out = OffsetOut;

    fn example() -> Example {
        Example::new("offset = 1.0")
            .frames("image", Array::of(&[2, 1, 3], &[99u16, 100, 65535, 101, 102, 103]).expect("six pixels"))
            .fixed("dark", Array::of(&[1, 3], &[99.5f32, 100.0, 98.0]).expect("three pixels"))
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        same_shape("dark", input)?;
        same_shape("mask", input)?;
        let image = Shape { dtype: Some(Dtype::F32), dims: input.get("image").dims };
        Ok(Shapes::default().with("image", image).with("saturated", Shape::array(Dtype::U32, &[])))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = pixels(input);
        Cost { memory: 4 * pixels, seconds_per_record: 1e-9 * pixels as f64, ..Cost::default() }
    }
}

impl Map for Offset {
    fn apply(&self, cx: &Cx, span: &Span, input: OffsetIn) -> Result<OffsetOut> {
        let [n, rows, columns] = size(&input.image)?;
        let fixed = match self.fixed.get() {
            Some(fixed) => fixed,
            None => {
                let made = lost(input.dark.as_ref(), input.mask.as_ref(), self.offset, rows, columns)?;
                self.fixed.get_or_init(|| Fixed(made))
            }
        };
        let mut image = cx.array(Dtype::F32, input.image.shape())?;
        let mut saturated = cx.array(Dtype::U32, &[n])?;
        let out = image.as_slice_mut::<f32>()?.chunks_exact_mut((rows * columns).max(1));
        dispatch!(input.image.dtype(), T => {
            let most = most(input.image.dtype());
            let frames = input.image.as_slice::<T>()?.chunks_exact((rows * columns).max(1));
            for ((out, frame), count) in out.zip(frames).zip(saturated.as_slice_mut::<u32>()?) {
                *count = less(Level::best(), frame, &fixed.0, most, out);
                if !self.invalid.is_empty() || self.below.is_some() {
                    for (out, v) in out.iter_mut().zip(frame) {
                        let v = v.as_f32();
                        if self.invalid.contains(&v) || self.below.is_some_and(|below| v < below) {
                            *out = f32::NAN;
                        }
                    }
                }
            }
        }, complex => return Err(Error::data("found complex pixels, wanted real ones")));
        let saturated = saturated.freeze();
        let counts = saturated.as_slice::<u32>()?.to_vec();
        if let Some(k) = counts.iter().position(|n| *n > 0)
            && !self.told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                stage = cx.stage(),
                frame = span.start + k as u64,
                pixels = counts[k],
                "Pixels are saturated here, and perhaps in other frames: `saturated` counts them."
            );
        }
        let mut places = vec![];
        for (k, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let found = full::find(&input.image.record(k)?, most(input.image.dtype()))?;
            debug_assert_eq!(full::count(&found), *count);
            places.push((span.start + k as u64, found));
        }
        Ok(OffsetOut { image: image.freeze(), saturated, full: full::table(&places)? })
    }
}
declare!(Map, "dct.offset", Kind::Reducer, Offset);
