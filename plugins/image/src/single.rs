//! The corrections one by one.

use isard_core::prelude::*;

use crate::correct::{Corrected, Fixed, Real, Terms};
use crate::frames::cost;
use crate::prepared::Prepared;

fn image(v: &[u16]) -> Array {
    Array::of(&[2, 2, 2], v).expect("eight pixels")
}

fn fixed(v: &[f64]) -> Array {
    Array::of(&[2, 2], v).expect("four pixels")
}

/// Takes a fixed dark image off every image.
///
/// Results are floating point, so nothing is clamped: pixels below the dark become negative.
///
/// Changes neither order nor count of frames. One subtraction a pixel, in double precision, rounded once to `dtype`.
///
/// Source: arithmetic.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dark {
    /// Precision of the result; `f64` keeps counts above 16777216 exact.
    #[serde(default)]
    dtype: Real,
    #[serde(skip)]
    #[schemars(skip)]
    terms: Prepared<Terms>,
}

/// The input of [`Dark`].
#[derive(Ports)]
pub struct DarkIn {
    /// Raw images.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// What the detector shows without beam.
    #[port(fixed, dtype = "number", axes = "y x")]
    dark: Array,
}

impl Stage for Dark {
    type In = DarkIn;
    type Out = Corrected;

    fn example() -> Example {
        Example::new("")
            .frames("image", image(&[12, 20, 31, 40, 9, 10, 11, 12]))
            .fixed("dark", fixed(&[10.0, 10.0, 10.5, 11.0]))
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        Ok(self.dtype.shapes(input))
    }
    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 1.0, 8)
    }
}

impl Map for Dark {
    fn apply(&self, cx: &Cx, _: &Span, input: DarkIn) -> Result<Corrected> {
        let fixed = Fixed { dark: Some(input.dark), ..Fixed::default() };
        self.terms.correct(cx, &input.image, &fixed, self.dtype)
    }
}
declare!(Map, "image.dark", Kind::Reducer, Dark);

/// Divides every image by a fixed flat image.
///
/// Take the dark off first, from the images and from the flat. Where the flat is not above 0 and finite a pixel cannot
/// be corrected and becomes NaN.
///
/// Changes neither order nor count of frames. One multiplication a pixel, in double precision, rounded once to `dtype`.
///
/// Source: arithmetic.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flat {
    /// Precision of the result.
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

/// The input of [`Flat`].
#[derive(Ports)]
pub struct FlatIn {
    /// Images, their dark already taken off.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// What the detector shows under even light, its dark already taken off.
    #[port(fixed, dtype = "number", axes = "y x")]
    flat: Array,
}

impl Stage for Flat {
    type In = FlatIn;
    type Out = Corrected;

    fn example() -> Example {
        Example::new("")
            .frames("image", image(&[12, 20, 31, 40, 9, 10, 11, 12]))
            .fixed("flat", fixed(&[0.5, 1.0, 2.0, 0.0]))
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        Ok(self.dtype.shapes(input))
    }
    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 1.0, 8)
    }
}

impl Map for Flat {
    fn apply(&self, cx: &Cx, _: &Span, input: FlatIn) -> Result<Corrected> {
        let fixed = Fixed { flat: Some(input.flat), normalise: self.normalise, ..Fixed::default() };
        self.terms.correct(cx, &input.image, &fixed, self.dtype)
    }
}
declare!(Map, "image.flat", Kind::Reducer, Flat);

/// Divides every image by a fixed gain: counts become units of signal.
///
/// Take the dark off first. Where the gain is not above 0 and finite a pixel cannot be corrected and becomes NaN.
///
/// Changes neither order nor count of frames. One multiplication a pixel, in double precision, rounded once to `dtype`.
///
/// Source: arithmetic.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gain {
    /// Precision of the result.
    #[serde(default)]
    dtype: Real,
    #[serde(skip)]
    #[schemars(skip)]
    terms: Prepared<Terms>,
}

/// The input of [`Gain`].
#[derive(Ports)]
pub struct GainIn {
    /// Images, their dark already taken off.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// Counts that one unit of signal gives, pixel by pixel.
    #[port(fixed, dtype = "number", axes = "y x")]
    gain: Array,
}

impl Stage for Gain {
    type In = GainIn;
    type Out = Corrected;

    fn example() -> Example {
        Example::new("dtype = \"f64\"")
            .frames("image", image(&[12, 20, 31, 40, 9, 10, 11, 12]))
            .fixed("gain", fixed(&[2.0, 2.0, 2.5, 4.0]))
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        Ok(self.dtype.shapes(input))
    }
    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 1.0, 8)
    }
}

impl Map for Gain {
    fn apply(&self, cx: &Cx, _: &Span, input: GainIn) -> Result<Corrected> {
        let fixed = Fixed { gain: Some(input.gain), ..Fixed::default() };
        self.terms.correct(cx, &input.image, &fixed, self.dtype)
    }
}
declare!(Map, "image.gain", Kind::Reducer, Gain);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{apply, array, tool};

    #[test]
    fn dark_goes_negative_and_keeps_large_counts_in_double_precision() {
        // By hand: 5 - 7 = -2; 2^24 + 1 - 0 needs 25 bits.
        let input = || {
            Dict::new()
                .with("image", array(&[1, 1, 2], &[5u32, 16_777_217]))
                .with("dark", array(&[1, 2], &[7u16, 0]))
        };
        let single = apply(&tool::<Dark>("").unwrap(), input()).unwrap();
        assert_eq!(single.get("image"), Some(&Value::from(array(&[1, 1, 2], &[-2.0f32, 16_777_216.0]))));
        let double = apply(&tool::<Dark>("dtype = \"f64\"").unwrap(), input()).unwrap();
        assert_eq!(double.get("image"), Some(&Value::from(array(&[1, 1, 2], &[-2.0f64, 16_777_217.0]))));
    }

    #[test]
    fn a_dark_of_another_size_is_an_error() {
        let input =
            Dict::new().with("image", array(&[1, 1, 2], &[5u8, 1])).with("dark", array(&[2, 1], &[7u16, 0]));
        let error = apply(&tool::<Dark>("").unwrap(), input).unwrap_err();
        assert_eq!(error.message(), "`dark` has shape [2, 1], the frames have [1, 2]");
    }

    #[test]
    fn flat_and_gain_divide_and_mark_what_they_cannot_divide() {
        let input = |name| {
            Dict::new()
                .with("image", array(&[1, 1, 3], &[8i16, -6, 1]))
                .with(name, array(&[1, 3], &[4.0f32, 2.0, 0.0]))
        };
        for out in [
            apply(&tool::<Flat>("").unwrap(), input("flat")).unwrap(),
            apply(&tool::<Gain>("").unwrap(), input("gain")).unwrap(),
        ] {
            let Some(Value::Array(image)) = out.get("image") else { panic!("an image") };
            let image = image.as_slice::<f32>().unwrap();
            assert_eq!(image[..2], [2.0, -3.0]);
            assert!(image[2].is_nan());
        }
    }
}
