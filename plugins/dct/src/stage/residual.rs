//! `dct.residual`: frames less the median of what is left of their background.

use isard_core::dispatch;
use isard_core::prelude::*;

use super::boxes::Box;
use super::frames::{bad, pixels, same, same_shape, size};
use crate::pixel::Pixel;

/// Takes from every frame the median of its own pixels.
///
/// For an offset of whole frames that moving medians and normalisation leave. Invalid pixels, those of `mask` and those
/// of `exclude_box` do not count; of an even number the mean of the middle two is taken. A frame without a pixel that
/// counts stays as it is.
///
/// Changes neither order nor count. About 0.5 ns a pixel at the usual `residual_step`.
///
/// Source: arithmetic.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// Every so many-th row and column counts.
    #[serde(default = "eight")]
    #[schemars(range(min = 1), extend("x-unit" = "pixel"))]
    residual_step: usize,
    /// The direct beam, which does not count.
    #[serde(default)]
    exclude_box: Option<Box>,
}

fn eight() -> usize {
    8
}

/// The input of [`Residual`].
#[derive(Ports)]
pub struct ResidualIn {
    /// Frames less their background; NaN is invalid.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// Pixels that do not count: 0 is good.
    #[port(dtype = "number", fixed, axes = "y x")]
    mask: Option<Array>,
}

/// The output of [`Residual`].
#[derive(Ports)]
pub struct ResidualOut {
    /// Frames whose median is 0.
    #[port(dtype = "f32", axes = "y x")]
    image: Array,
    /// What each frame has lost.
    #[port(dtype = "f32", axes = "")]
    offset: Array,
}

impl Stage for Residual {
    type In = ResidualIn;
    type Out = ResidualOut;

    fn example() -> Example {
        let image = Array::of(&[2, 1, 3], &[3.0f32, 90.0, 4.0, -1.0, f32::NAN, 5.0]).expect("six pixels");
        Example::new("residual_step = 1").frames("image", image)
    }

    fn check(&self, faults: &mut Faults) {
        if self.residual_step == 0 {
            faults.add("residual_step", "found 0, wanted 1 or more");
        }
        if let Some(exclude) = self.exclude_box {
            exclude.check("exclude_box", faults);
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        same_shape("mask", input)?;
        if let (Some(&[rows, columns]), Some(exclude)) =
            (input.get("image").dims.as_deref(), self.exclude_box)
        {
            exclude.within("exclude_box", rows, columns)?;
        }
        let image = Shape { dtype: Some(Dtype::F32), dims: input.get("image").dims };
        Ok(Shapes::default().with("image", image).with("offset", Shape::array(Dtype::F32, &[])))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        Cost { seconds_per_record: 5e-10 * pixels(input) as f64, ..Cost::default() }
    }
}

impl Map for Residual {
    fn apply(&self, cx: &Cx, _: &Span, input: ResidualIn) -> Result<ResidualOut> {
        let [n, rows, columns] = size(&input.image)?;
        if let Some(mask) = &input.mask {
            same("mask", mask.shape(), rows, columns)?;
        }
        self.exclude_box.map_or(Ok(()), |b| b.within("exclude_box", rows, columns))?;
        let bad = input.mask.as_ref().map(bad).transpose()?;
        let exclude = self.exclude_box.map(Box::area);
        let counts = |at: usize| {
            !bad.as_ref().is_some_and(|b| b[at])
                && !exclude.is_some_and(|e| e.has(at / columns, at % columns))
        };
        let step = self.residual_step.max(1);
        let places: Vec<usize> = (0..rows)
            .step_by(step)
            .flat_map(|y| (0..columns).step_by(step).map(move |x| y * columns + x))
            .filter(|at| counts(*at))
            .collect();
        let mut image = cx.array(Dtype::F32, input.image.shape())?;
        let mut offsets = Vec::with_capacity(n);
        let out = image.as_slice_mut::<f32>()?.chunks_exact_mut((rows * columns).max(1));
        dispatch!(input.image.dtype(), T => {
            let frames = input.image.as_slice::<T>()?.chunks_exact((rows * columns).max(1));
            for (out, frame) in out.zip(frames) {
                let values = places.iter().map(|at| frame[*at].as_f32()).filter(|v| v.is_finite());
                let offset = middle(values.collect());
                out.iter_mut().zip(frame).for_each(|(out, v)| *out = v.as_f32() - offset);
                offsets.push(offset);
            }
        }, complex => return Err(Error::data("found complex pixels, wanted real ones")));
        Ok(ResidualOut { image: image.freeze(), offset: Array::from_slice(&offsets) })
    }
}
declare!(Map, "dct.residual", Kind::Reducer, Residual);

/// The median of some values; 0 of none.
fn middle(mut values: Vec<f32>) -> f32 {
    let half = values.len() / 2;
    if values.is_empty() {
        return 0.0;
    }
    let even = values.len().is_multiple_of(2);
    let (below, high, _) = values.select_nth_unstable_by(half, f32::total_cmp);
    let high = *high;
    match below.iter().copied().max_by(f32::total_cmp).filter(|_| even) {
        Some(low) => (low + high) / 2.0,
        None => high,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn what_counts_has_its_median_taken_by_hand() {
        let run = RunCx::default();
        let cx = Cx::new(&run, "residual");
        // Every second column counts: 1, 5, 9 and a NaN; without the box 1 and 5, whose mean is 3.
        let image = Array::of(&[1, 1, 8], &[1.0f32, 70.0, 5.0, 70.0, f32::NAN, 70.0, 9.0, 70.0]).unwrap();
        let apply = |text: &str| {
            let stage: Residual = toml::from_str(text).unwrap();
            let out = stage.apply(&cx, &Span::frames(0, 1), ResidualIn { image: image.clone(), mask: None });
            let out = out.unwrap();
            (out.offset.as_slice::<f32>().unwrap()[0], out.image.as_slice::<f32>().unwrap()[1])
        };
        assert_eq!(apply("residual_step = 2"), (5.0, 65.0));
        assert_eq!(apply("residual_step = 2\nexclude_box = { x = [6, 8], y = [0, 1] }"), (3.0, 67.0));
        assert_eq!(apply("residual_step = 2\nexclude_box = { x = [0, 8], y = [0, 1] }"), (0.0, 70.0));
    }
}
