//! Pixels above a threshold.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::frames::{Size, complex, cost};
use crate::mask::count;
use crate::pixel::{Band, Pixel};

/// Keeps pixels above a threshold and clears the others.
///
/// A pixel is lit where it is above `above`; equal is not above, and NaN is not either. Lit pixels keep their value, or
/// become 1 with `binary`; all others become 0. `lit` counts the lit ones frame by frame.
///
/// Changes neither order nor count of frames; the dtype is kept, or u8 with `binary`. One comparison a pixel.
///
/// Source: comparison.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Pixels above this are lit.
    #[schemars(extend("x-unit" = "count"))]
    above: f64,
    /// Whether lit pixels become 1 in an image of u8, in place of keeping their value.
    #[serde(default)]
    binary: bool,
}

/// The input of [`Threshold`].
#[derive(Ports)]
pub struct ThresholdIn {
    /// Images.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
}

/// The output of [`Threshold`].
#[derive(Ports)]
pub struct ThresholdOut {
    /// Images with 0 where they are not lit.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// How many pixels are lit.
    #[port(dtype = "u32", axes = "")]
    lit: Array,
}

impl Stage for Threshold {
    type In = ThresholdIn;
    type Out = ThresholdOut;

    fn example() -> Example {
        Example::new("above = 10")
            .frames("image", Array::of(&[2, 1, 3], &[9u16, 10, 11, 200, 0, 12]).expect("six pixels"))
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let mut image = input.get("image");
        if self.binary {
            image.dtype = Some(Dtype::U8);
        }
        Ok(Shapes::default().with("image", image).with("lit", Shape::array(Dtype::U32, &[])))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 0.5, 0)
    }
}

impl Map for Threshold {
    fn apply(&self, cx: &Cx, _: &Span, input: ThresholdIn) -> Result<ThresholdOut> {
        let size = Size::of(&input.image)?;
        let dtype = if self.binary { Dtype::U8 } else { input.image.dtype() };
        let mut image = cx.array(dtype, input.image.shape())?;
        let mut lit = cx.array(Dtype::U32, &[size.n])?;
        let counts = lit.as_slice_mut::<u32>()?;
        counts.fill(0);
        dispatch!(input.image.dtype(), T => {
            let (from, dark) = (input.image.as_slice::<T>()?, Dark::new(self.above));
            if self.binary {
                dark.run(from, size, image.as_slice_mut::<u8>()?, counts, |_| 1);
            } else {
                dark.run(from, size, image.as_slice_mut::<T>()?, counts, |x| x);
            }
        }, complex => return complex());
        Ok(ThresholdOut { image: image.freeze(), lit: lit.freeze() })
    }
}
declare!(Map, "image.threshold", Kind::Reducer, Threshold);

/// The pixels that are not lit.
struct Dark<T>(Band<T>);

impl<T: Pixel> Dark<T> {
    fn new(above: f64) -> Self {
        Dark(Band::new(None, Some(above)))
    }

    fn run<O: Pixel + Default>(
        &self,
        from: &[T],
        size: Size,
        to: &mut [O],
        lit: &mut [u32],
        keep: impl Fn(T) -> O,
    ) {
        let mut flags = [0u8; 4096];
        for (frame, lit) in lit.iter_mut().enumerate() {
            let range = frame * size.pixels()..(frame + 1) * size.pixels();
            let tiles = from[range.clone()].chunks(flags.len()).zip(to[range].chunks_mut(4096));
            for (from, to) in tiles {
                for ((x, o), flag) in from.iter().zip(to).zip(flags.iter_mut()) {
                    // A NaN is neither dark nor lit.
                    let on = !self.0.has(*x) & !x.missing();
                    *o = if on { keep(*x) } else { O::default() };
                    *flag = u8::from(on);
                }
                *lit += count(&flags[..from.len()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{apply, array, numbers, tool};

    #[test]
    fn equal_is_not_above() {
        let input = Dict::new().with("image", array(&[2, 1, 3], &[9u16, 10, 11, 200, 0, 12]));
        let out = apply(&tool::<Threshold>("above = 10").unwrap(), input.clone()).unwrap();
        assert_eq!(numbers::<u16>(&out, "image"), [0, 0, 11, 200, 0, 12]);
        assert_eq!(numbers::<u32>(&out, "lit"), [1, 2]);
        let out = apply(&tool::<Threshold>("above = 10.5\nbinary = true").unwrap(), input).unwrap();
        assert_eq!(numbers::<u8>(&out, "image"), [0, 0, 1, 1, 0, 1]);
    }

    #[test]
    fn nan_is_not_lit_and_thresholds_below_the_dtype_light_everything() {
        let input = Dict::new().with("image", array(&[1, 1, 3], &[f64::NAN, -1.0, f64::INFINITY]));
        let out = apply(&tool::<Threshold>("above = -2").unwrap(), input).unwrap();
        assert_eq!(numbers::<f64>(&out, "image"), [0.0, -1.0, f64::INFINITY]);
        let input = Dict::new().with("image", array(&[1, 1, 2], &[0u8, 255]));
        let out = apply(&tool::<Threshold>("above = -1").unwrap(), input).unwrap();
        assert_eq!(numbers::<u32>(&out, "lit"), [2]);
    }
}
