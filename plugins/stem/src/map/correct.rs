//! Corrected frames.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::reduce::{Correction, Fixed, Once, Size, doubles};

/// Corrects frames: less the dark, times the gain, dead pixels from neighbours.
///
/// `(image - dark) * gain`, then each dead pixel is the mean of its good neighbours of eight; one without any is an error.
/// `stem.detect` and `stem.com` do the same without touching the frames, which costs less.
///
/// Changes neither order nor count of frames. Two operations a pixel.
///
/// Source: the definition of dark and gain.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correct {
    /// The type of corrected pixels.
    #[serde(default)]
    dtype: Real,
    #[serde(skip)]
    #[schemars(skip)]
    ready: Once<([usize; 2], Fixed), Correction>,
}

/// The type of corrected pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Real {
    /// Single precision.
    #[default]
    F32,
    /// Double precision.
    F64,
}

impl Real {
    fn dtype(self) -> Dtype {
        match self {
            Real::F32 => Dtype::F32,
            Real::F64 => Dtype::F64,
        }
    }
}

/// Frames and what corrects them.
#[derive(Ports)]
pub struct CorrectIn {
    /// Diffraction patterns.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// What each pixel shows without a beam.
    #[port(fixed, dtype = "number", axes = "y x")]
    dark: Option<Array>,
    /// What each pixel is multiplied by.
    #[port(fixed, dtype = "number", axes = "y x")]
    gain: Option<Array>,
    /// Dead pixels: 0 is good, anything else dead.
    #[port(fixed, dtype = "number", axes = "y x")]
    dead: Option<Array>,
}

/// Corrected frames.
#[derive(Ports)]
pub struct CorrectOut {
    /// Corrected diffraction patterns.
    #[port(dtype = "f32|f64", axes = "y x")]
    image: Array,
}

impl Stage for Correct {
    type In = CorrectIn;
    type Out = CorrectOut;

    fn example() -> Example {
        Example::new("dtype = \"f64\"")
            .frames("image", Array::of(&[2, 2, 2], &[5u16, 6, 7, 8, 1, 2, 3, 4]).expect("eight pixels"))
            .fixed("dark", Array::of(&[2, 2], &[1u16, 1, 2, 2]).expect("four pixels"))
            .fixed("gain", Array::of(&[2, 2], &[1.0, 2.0, 1.0, 0.5]).expect("four pixels"))
            .fixed("dead", Array::of(&[2, 2], &[0u8, 0, 0, 1]).expect("four pixels"))
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let dims = input.get("image").dims;
        Ok(Shapes::default().with("image", Shape { dtype: Some(self.dtype.dtype()), dims }))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("image").dims.map_or(0, |d| d.iter().product::<usize>());
        Cost { seconds_per_record: pixels as f64 * 1.5e-9, ..Cost::default() }
    }
}

impl Map for Correct {
    fn apply(&self, cx: &Cx, _: &Span, input: CorrectIn) -> Result<CorrectOut> {
        let size = Size::of(&input.image)?;
        let fixed = Fixed { dark: input.dark, gain: input.gain, dead: input.dead };
        let key = ([size.rows, size.columns], fixed.clone());
        let correction = self.ready.get(key, || Correction::new(size, &fixed))?;
        let mut out = cx.array(self.dtype.dtype(), input.image.shape())?;
        for frame in 0..size.n {
            cx.check()?;
            let mut pixels = doubles(&input.image.record(frame)?)?;
            correction.apply(&mut pixels);
            let range = frame * size.pixels()..(frame + 1) * size.pixels();
            match self.dtype {
                Real::F32 => {
                    let own = &mut out.as_slice_mut::<f32>()?[range];
                    own.iter_mut().zip(&pixels).for_each(|(o, p)| *o = *p as f32);
                }
                Real::F64 => out.as_slice_mut::<f64>()?[range].copy_from_slice(&pixels),
            }
        }
        Ok(CorrectOut { image: out.freeze() })
    }
}
declare!(Map, "stem.correct", Kind::Reducer, Correct);
