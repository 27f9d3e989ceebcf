//! Dark, flat and gain in one go, and the arithmetic that the single corrections share.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::frames::{Size, complex, cost, mask_bytes};
use crate::pixel::Pixel;
use crate::prepared::Prepared;

/// The precision of corrected images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Real {
    /// Single precision: 24 bits, whole numbers up to 16777216.
    #[default]
    F32,
    /// Double precision: 53 bits.
    F64,
}

impl Real {
    /// The dtype.
    pub(crate) fn dtype(self) -> Dtype {
        match self {
            Real::F32 => Dtype::F32,
            Real::F64 => Dtype::F64,
        }
    }

    /// The shapes of a correction: the size is kept, the dtype is this one.
    pub(crate) fn shapes(self, input: &Shapes) -> Shapes {
        let dims = input.get("image").dims;
        Shapes::default().with("image", Shape { dtype: Some(self.dtype()), dims })
    }
}

/// What each pixel loses and is then multiplied by; bad pixels have the factor NaN.
#[derive(Default)]
pub(crate) struct Terms {
    offset: Option<Vec<f64>>,
    factor: Option<Vec<f64>>,
}

/// The fixed images of a correction.
#[derive(Default)]
pub(crate) struct Fixed {
    pub(crate) dark: Option<Array>,
    pub(crate) flat: Option<Array>,
    pub(crate) gain: Option<Array>,
    pub(crate) mask: Option<Array>,
    pub(crate) normalise: bool,
}

impl Prepared<Terms> {
    /// The corrected frames, by terms that are made anew only for other fixed images than last time.
    pub(crate) fn correct(&self, cx: &Cx, image: &Array, fixed: &Fixed, real: Real) -> Result<Corrected> {
        let size = Size::of(image)?;
        let named = [&fixed.dark, &fixed.flat, &fixed.gain, &fixed.mask];
        let terms = self.get(&named, || Terms::new(size, fixed))?;
        terms.check(size)?;
        Ok(Corrected { image: terms.apply(cx, image, real)? })
    }
}

impl Terms {
    /// The terms of fixed images, for frames of this size.
    fn new(size: Size, fixed: &Fixed) -> Result<Terms> {
        let Fixed { dark, flat, gain, mask, normalise } = fixed;
        for (name, array) in [("dark", dark), ("flat", flat), ("gain", gain), ("mask", mask)] {
            array.as_ref().map_or(Ok(()), |a| size.same(name, a))?;
        }
        let offset = dark.as_ref().map(Array::to_f64).transpose()?;
        let bad = mask.as_ref().map(mask_bytes).transpose()?;
        let mut factor = None;
        for (array, normalise) in [(flat, *normalise), (gain, false)] {
            let Some(array) = array else { continue };
            let values = array.to_f64()?;
            let good =
                |i: usize| values[i] > 0.0 && values[i].is_finite() && bad.as_ref().is_none_or(|b| b[i] == 0);
            let level = if normalise {
                let (n, sum) = (0..values.len())
                    .filter(|i| good(*i))
                    .fold((0u64, 0.0), |(n, s), i| (n + 1, s + values[i]));
                if n == 0 {
                    return Err(Error::data("the flat has no pixel above 0, so it has no mean"));
                }
                sum / n as f64
            } else {
                1.0
            };
            let factor = factor.get_or_insert_with(|| vec![1.0; size.pixels()]);
            for (i, f) in factor.iter_mut().enumerate() {
                *f *= if good(i) { level / values[i] } else { f64::NAN };
            }
        }
        if let Some(bad) = &bad {
            let factor = factor.get_or_insert_with(|| vec![1.0; size.pixels()]);
            factor.iter_mut().zip(bad.iter()).filter(|(_, b)| **b != 0).for_each(|(f, _)| *f = f64::NAN);
        }
        Ok(Terms { offset, factor })
    }

    /// The corrected frames.
    fn apply(&self, cx: &Cx, image: &Array, real: Real) -> Result<Array> {
        let size = Size::of(image)?;
        let mut out = cx.array(real.dtype(), image.shape())?;
        dispatch!(image.dtype(), T => match real {
            Real::F32 => self.run(size, image.as_slice::<T>()?, out.as_slice_mut::<f32>()?, |x| x as f32),
            Real::F64 => self.run(size, image.as_slice::<T>()?, out.as_slice_mut::<f64>()?, |x| x),
        }, complex => return complex());
        Ok(out.freeze())
    }

    fn run<T: Pixel, O>(&self, size: Size, image: &[T], out: &mut [O], real: impl Fn(f64) -> O + Copy) {
        // A tile's terms are read once from memory and stay in the cache for all frames of the chunk.
        const TILE: usize = 2048;
        let pixels = size.pixels();
        for from in (0..pixels).step_by(TILE) {
            let to = (from + TILE).min(pixels);
            let offset = self.offset.as_ref().map(|o| &o[from..to]);
            let factor = self.factor.as_ref().map(|f| &f[from..to]);
            for frame in 0..size.n {
                let image = &image[frame * pixels + from..frame * pixels + to];
                let out = &mut out[frame * pixels + from..frame * pixels + to];
                let each = out.iter_mut().zip(image);
                match (offset, factor) {
                    (None, None) => each.for_each(|(o, x)| *o = real(x.float())),
                    (Some(a), None) => each.zip(a).for_each(|((o, x), a)| *o = real(x.float() - a)),
                    (None, Some(f)) => each.zip(f).for_each(|((o, x), f)| *o = real(x.float() * f)),
                    (Some(a), Some(f)) => {
                        each.zip(a).zip(f).for_each(|(((o, x), a), f)| *o = real((x.float() - a) * f));
                    }
                }
            }
        }
    }
}

/// Corrects images for dark, flat and gain, and marks bad pixels, in one go.
///
/// Each pixel becomes `(image - dark) / (flat * gain)`; an input that is not wired is left out of the formula. A pixel
/// is bad where `mask` is not 0 or where flat or gain are not above 0 and finite: it becomes NaN. Results are
/// floating point, so nothing is clamped: pixels below the dark become negative.
///
/// Changes neither order nor count of frames. One multiplication and one subtraction a pixel, in double precision,
/// rounded once to `dtype`.
///
/// Source: the usual flat-field formula.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correct {
    /// Precision of the corrected image; `f64` keeps counts above 16777216 exact.
    #[serde(default)]
    dtype: Real,
    /// Whether the flat is divided by its mean first, which keeps the image's level.
    ///
    /// The mean is over good pixels: those above 0, finite and not masked.
    #[serde(default)]
    normalise: bool,
    #[serde(skip)]
    #[schemars(skip)]
    terms: Prepared<Terms>,
}

/// The input of [`Correct`].
#[derive(Ports)]
pub struct CorrectIn {
    /// Raw images.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// What the detector shows without beam.
    #[port(fixed, dtype = "number", axes = "y x")]
    dark: Option<Array>,
    /// What the detector shows under even light, its dark already taken off.
    #[port(fixed, dtype = "number", axes = "y x")]
    flat: Option<Array>,
    /// Counts that one unit of signal gives, pixel by pixel.
    #[port(fixed, dtype = "number", axes = "y x")]
    gain: Option<Array>,
    /// Bad pixels: 0 is good, anything else bad.
    #[port(fixed, dtype = "number", axes = "y x")]
    mask: Option<Array>,
}

/// The output of a correction.
#[derive(Ports)]
pub struct Corrected {
    /// Corrected images; bad pixels are NaN.
    #[port(dtype = "float", axes = "y x")]
    pub(crate) image: Array,
}

impl Stage for Correct {
    type In = CorrectIn;
    type Out = Corrected;

    fn example() -> Example {
        let image = |v: &[u16]| Array::of(&[2, 2, 3], v).expect("twelve pixels");
        let fixed = |v: &[f64]| Array::of(&[2, 3], v).expect("six pixels");
        Example::new("normalise = true")
            .frames("image", image(&[12, 20, 31, 40, 52, 61, 9, 10, 11, 12, 13, 14]))
            .fixed("dark", fixed(&[10.0, 10.0, 11.0, 10.0, 12.0, 11.0]))
            .fixed("flat", fixed(&[0.5, 1.0, 1.5, 1.0, 0.0, 1.0]))
            .fixed("mask", Array::of(&[2, 3], &[0u8, 0, 0, 0, 0, 1]).expect("six pixels"))
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        Ok(self.dtype.shapes(input))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 1.0, 16)
    }
}

impl Map for Correct {
    fn apply(&self, cx: &Cx, _: &Span, input: CorrectIn) -> Result<Corrected> {
        let CorrectIn { image, dark, flat, gain, mask } = input;
        if [&dark, &flat, &gain, &mask].iter().all(|i| i.is_none()) {
            return Err(Error::recipe(
                "none of `dark`, `flat`, `gain` and `mask` is wired, so nothing is corrected",
            )
            .help("wire one under `in`: `in = { dark = \"dark.npy\" }`"));
        }
        let fixed = Fixed { dark, flat, gain, mask, normalise: self.normalise };
        self.terms.correct(cx, &image, &fixed, self.dtype)
    }
}
declare!(Map, "image.correct", Kind::Reducer, Correct);

impl Terms {
    /// An error unless the terms were made for frames of this size.
    fn check(&self, size: Size) -> Result<()> {
        let found = self.offset.as_ref().or(self.factor.as_ref()).map_or(size.pixels(), Vec::len);
        if found == size.pixels() {
            return Ok(());
        }
        let (rows, columns) = (size.rows, size.columns);
        Err(Error::data(format!(
            "frames of [{rows}, {columns}], wanted {found} pixels like the fixed images"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{apply, array, tool};

    #[test]
    fn the_example_gives_what_the_formula_gives_by_hand() {
        // The mean of the flat over its good pixels (0.5, 1, 1.5, 1) is 1; pixel 4 has flat 0, pixel 5 is masked.
        let example = Correct::example();
        let input: Dict = example.frames.clone().into_iter().chain(example.fixed.clone()).collect();
        let out = apply(&tool::<Correct>(&example.set).unwrap(), input).unwrap();
        let Some(Value::Array(image)) = out.get("image") else { panic!("an image") };
        assert_eq!(image.shape(), [2, 2, 3]);
        let image = image.as_slice::<f32>().unwrap();
        let wanted = [4.0, 10.0, 20.0 / 1.5, 30.0];
        assert!(image[..4].iter().zip(wanted).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6), "{image:?}");
        assert_eq!(image[6..10], [-2.0, 0.0, 0.0, 2.0]);
        assert!([4, 5, 10, 11].iter().all(|i| image[*i].is_nan()));
    }

    #[test]
    fn every_dtype_is_corrected_alike() {
        for dtype in Dtype::ALL.into_iter().filter(|d| !d.is_complex()) {
            let image =
                dispatch!(dtype, T => array(&[1, 1, 2], &[7 as T, 9 as T]), complex => unreachable!());
            let input = Dict::new()
                .with("image", image)
                .with("gain", array(&[1, 2], &[2.0, 3.0]))
                .with("dark", array(&[1, 2], &[1.0, 0.0]));
            let out = apply(&tool::<Correct>("").unwrap(), input).unwrap();
            assert_eq!(out.get("image"), Some(&Value::from(array(&[1, 1, 2], &[3.0f32, 3.0]))), "{dtype}");
        }
    }

    #[test]
    fn nothing_to_correct_with_is_an_error() {
        let input = Dict::new().with("image", array(&[1, 1, 1], &[1u8]));
        let error = apply(&tool::<Correct>("").unwrap(), input).unwrap_err();
        assert_eq!(error.blame(), Blame::Recipe);
    }
}
