//! Bad pixels: marked in the image and listed in a mask.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::frames::{Size, complex, cost, kept, mask_bytes};
use crate::pixel::{Band, Pixel, check_bounds};

/// Marks bad pixels: out of range, not a number, or listed in a mask.
///
/// A pixel is bad where it is below `below` or above `above` (the bounds themselves are good), where it is NaN, and
/// where the input `mask` is not 0. Bad pixels get the value `value`; `mask` of the output has 1 there and 0 elsewhere,
/// and `bad` counts them frame by frame.
///
/// Changes neither order nor count of frames, nor dtype. Two comparisons a pixel.
///
/// Source: comparison.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Values below this are bad; without it no value is too low.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    below: Option<f64>,
    /// Values above this are bad; without it no value is too high.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    above: Option<f64>,
    /// What bad pixels get in the image.
    ///
    /// Without it NaN in floats, -1 in signed and the largest value in unsigned integers.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    value: Option<f64>,
}

/// The input of [`Mask`].
#[derive(Ports)]
pub struct MaskIn {
    /// Images.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// Pixels known to be bad: 0 is good, anything else bad.
    #[port(fixed, dtype = "number", axes = "y x")]
    mask: Option<Array>,
}

/// The output of [`Mask`].
#[derive(Ports)]
pub struct MaskOut {
    /// Images with bad pixels marked.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// Bad pixels: 0 is good, 1 bad.
    #[port(dtype = "u8", axes = "y x")]
    mask: Array,
    /// How many pixels are bad.
    #[port(dtype = "u32", axes = "")]
    bad: Array,
}

impl Stage for Mask {
    type In = MaskIn;
    type Out = MaskOut;

    fn example() -> Example {
        Example::new("below = 0\nabove = 1000")
            .frames("image", Array::of(&[2, 2, 2], &[5i32, -2, 1001, 0, 7, 8, 9, -1]).expect("eight pixels"))
            .fixed("mask", Array::of(&[2, 2], &[0u8, 0, 0, 1]).expect("four pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        check_bounds(self.below, self.above, faults);
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let mask = Shape { dtype: Some(Dtype::U8), dims: input.get("image").dims };
        Ok(kept(input).with("mask", mask).with("bad", Shape::array(Dtype::U32, &[])))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 0.7, 0)
    }
}

impl Map for Mask {
    fn apply(&self, cx: &Cx, _: &Span, input: MaskIn) -> Result<MaskOut> {
        let size = Size::of(&input.image)?;
        let fixed =
            input.mask.as_ref().map(|m| size.same("mask", m).and_then(|()| mask_bytes(m))).transpose()?;
        let mut image = cx.array(input.image.dtype(), input.image.shape())?;
        let mut mask = cx.array(Dtype::U8, input.image.shape())?;
        let mut bad = cx.array(Dtype::U32, &[size.n])?;
        dispatch!(input.image.dtype(), T => {
            let job = Job { band: Band::new(self.below, self.above), mark: self.mark::<T>()?, pixels: size.pixels() };
            let (from, to) = (input.image.as_slice::<T>()?, image.as_slice_mut::<T>()?);
            job.run(from, fixed.as_deref(), to, mask.as_slice_mut()?, bad.as_slice_mut()?);
        }, complex => return complex());
        Ok(MaskOut { image: image.freeze(), mask: mask.freeze(), bad: bad.freeze() })
    }
}
declare!(Map, "image.mask", Kind::Reducer, Mask);

impl Mask {
    fn mark<T: Pixel>(&self) -> Result<T> {
        let Some(value) = self.value else { return Ok(T::MARK) };
        T::exact(value).ok_or_else(|| {
            Error::recipe(format!("`value` is {value}, which {} cannot hold", T::DTYPE))
                .help("choose a value of the images' dtype, or none")
        })
    }
}

struct Job<T> {
    band: Band<T>,
    mark: T,
    pixels: usize,
}

impl<T: Pixel> Job<T> {
    fn run(&self, from: &[T], fixed: Option<&[u8]>, to: &mut [T], mask: &mut [u8], bad: &mut [u32]) {
        if self.pixels == 0 {
            bad.fill(0);
            return;
        }
        let frames = from.chunks_exact(self.pixels).zip(to.chunks_exact_mut(self.pixels));
        for ((frame, mask), bad) in frames.zip(mask.chunks_exact_mut(self.pixels)).zip(bad) {
            let (from, to) = frame;
            match fixed {
                None => from.iter().zip(mask.iter_mut()).for_each(|(x, m)| *m = u8::from(!self.band.has(*x))),
                Some(fixed) => {
                    let each = from.iter().zip(mask.iter_mut()).zip(fixed);
                    each.for_each(|((x, m), f)| *m = u8::from(!self.band.has(*x) | (*f != 0)));
                }
            }
            let each = from.iter().zip(to.iter_mut()).zip(mask.iter());
            each.for_each(|((x, o), m)| *o = if *m != 0 { self.mark } else { *x });
            *bad = count(mask);
        }
    }
}

/// How many ones there are.
pub(crate) fn count(mask: &[u8]) -> u32 {
    // Sums of 255 ones fit in a byte, which keeps the inner loop as wide as the machine's registers.
    mask.chunks(255).map(|part| u32::from(part.iter().sum::<u8>())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{apply, array, numbers, tool};

    #[test]
    fn the_example_gives_what_is_read_off_by_hand() {
        let example = Mask::example();
        let input: Dict = example.frames.clone().into_iter().chain(example.fixed.clone()).collect();
        let out = apply(&tool::<Mask>(&example.set).unwrap(), input).unwrap();
        assert_eq!(numbers::<i32>(&out, "image"), [5, -1, -1, -1, 7, 8, 9, -1]);
        assert_eq!(numbers::<u8>(&out, "mask"), [0, 1, 1, 1, 0, 0, 0, 1]);
        assert_eq!(numbers::<u32>(&out, "bad"), [3, 1]);
    }

    #[test]
    fn bounds_are_good_and_nan_is_bad() {
        let input =
            Dict::new().with("image", array(&[1, 1, 5], &[1.0f32, 2.0, f32::NAN, 0.5, f32::INFINITY]));
        let out = apply(&tool::<Mask>("below = 1\nabove = 2").unwrap(), input.clone()).unwrap();
        assert_eq!(numbers::<u8>(&out, "mask"), [0, 0, 1, 1, 1]);
        let out = apply(&tool::<Mask>("").unwrap(), input).unwrap();
        assert_eq!(numbers::<u8>(&out, "mask"), [0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_mark_that_does_not_fit_is_an_error() {
        let input = Dict::new().with("image", array(&[1, 1, 1], &[1u8]));
        let error = apply(&tool::<Mask>("value = -1").unwrap(), input).unwrap_err();
        assert_eq!(error.message(), "`value` is -1, which u8 cannot hold");
    }

    #[test]
    fn more_bad_pixels_than_a_byte_counts() {
        let input = Dict::new().with("image", array(&[1, 40, 50], &[9u16; 2000]));
        let out = apply(&tool::<Mask>("above = 8").unwrap(), input).unwrap();
        assert_eq!(numbers::<u32>(&out, "bad"), [2000]);
    }
}
