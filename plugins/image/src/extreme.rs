//! The largest and the smallest value of each pixel over frames.

use isard_core::prelude::*;
use isard_core::{Pool, dispatch};

use crate::accumulate::{FramesIn, Good, Merge, Seen};
use crate::frames::{complex, cost};
use crate::pixel::{Pixel, check_bounds};
use crate::sum::example_frames;

/// What a block of frames has come to.
#[derive(Default)]
pub struct ExtremePart {
    seen: Seen,
    best: Option<ArrayMut>,
}

/// Which end is looked for.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Max,
    Min,
}

impl End {
    fn start<T: Pixel>(self) -> T {
        if self == End::Max { T::LOWEST } else { T::HIGHEST }
    }

    fn better<T: Pixel>(self, a: T, b: T) -> T {
        match self {
            End::Max if b > a => b,
            End::Min if b < a => b,
            _ => a,
        }
    }

    fn add(self, part: &mut ExtremePart, bounds: [Option<f64>; 2], input: &FramesIn) -> Result<()> {
        let image = &input.image;
        let size = part.seen.admit(image)?;
        dispatch!(image.dtype(), T => {
            let best = match &mut part.best {
                Some(best) => best,
                none => {
                    let mut new = Pool::unpooled().take(image.dtype(), &[size.rows, size.columns])?;
                    new.as_slice_mut::<T>()?.fill(self.start());
                    none.insert(new)
                }
            };
            let good = Good::<T>::new(size, bounds[0], bounds[1], input.mask.as_ref())?;
            let (from, best, count) = (image.as_slice()?, best.as_slice_mut::<T>()?, part.seen.count_mut());
            match self {
                End::Max => good.each(size, from, best, count, |a, x| if x > a { x } else { a }),
                End::Min => good.each(size, from, best, count, |a, x| if x < a { x } else { a }),
            }
        }, complex => return complex());
        Ok(())
    }

    fn merge(self, part: &mut ExtremePart, later: ExtremePart) -> Result<()> {
        match part.seen.merge(&later.seen)? {
            Merge::Keep => return Ok(()),
            Merge::Take => {
                *part = later;
                return Ok(());
            }
            Merge::Add => part.seen.add_counts(&later.seen),
        }
        let (Some(a), Some(b)) = (&mut part.best, &later.best) else {
            return Err(Error::internal("frames without extremes"));
        };
        dispatch!(a.dtype(), T => {
            let b = b.as_slice::<T>()?;
            a.as_slice_mut::<T>()?.iter_mut().zip(b).for_each(|(a, b)| *a = self.better(*a, *b));
        }, complex => return complex());
        Ok(())
    }

    fn show(self, part: &ExtremePart) -> Result<ExtremeOut> {
        let what = if self == End::Max { "maximum" } else { "minimum" };
        let (dtype, rows, columns) = part.seen.need(what)?;
        let best = part.best.as_ref().ok_or_else(|| Error::internal("frames without extremes"))?;
        let mut image = Pool::unpooled().take(dtype, &[rows, columns])?;
        let count = part.seen.counted();
        dispatch!(dtype, T => {
            let each = image.as_slice_mut::<T>()?.iter_mut().zip(best.as_slice::<T>()?).zip(&count);
            each.for_each(|((o, b), n)| *o = if *n == 0 { T::NOTHING } else { *b });
        }, complex => return complex());
        Ok(ExtremeOut { image: image.freeze(), count: part.seen.counts(rows, columns)? })
    }
}

fn save(part: &ExtremePart) -> Result<Dict> {
    let state = part.seen.save();
    let Some(best) = &part.best else { return Ok(state) };
    let array = dispatch!(best.dtype(), T => Array::of(best.shape(), best.as_slice::<T>()?)?,
        complex => return complex());
    Ok(state.with("best", array))
}

fn load(state: &Dict) -> Result<ExtremePart> {
    let seen = Seen::load(state)?;
    let Some((dtype, rows, columns)) = seen.of() else { return Ok(ExtremePart::default()) };
    let Value::Array(kept) = state.need("best")? else { return Err(Error::data("`best` is no array")) };
    let mut best = Pool::unpooled().take(dtype, &[rows, columns])?;
    if kept.dtype() != dtype || kept.shape() != best.shape() {
        return Err(Error::data(format!("`best` is {kept:?}, wanted {dtype} [{rows}, {columns}]")));
    }
    best.bytes_mut().copy_from_slice(kept.bytes());
    Ok(ExtremePart { seen, best: Some(best) })
}

/// The extremes of frames.
#[derive(Ports)]
pub struct ExtremeOut {
    /// Pixel by pixel, the extreme over frames.
    ///
    /// Where a pixel was never good it is 0, or NaN in floats.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// In how many frames each pixel was good.
    #[port(dtype = "u32", axes = "y x")]
    count: Array,
}

fn shapes(input: &Shapes) -> Shapes {
    let image = input.get("image");
    let count = Shape { dtype: Some(Dtype::U32), dims: image.dims.clone() };
    Shapes::default().with("image", image).with("count", count)
}

/// Takes the largest value of each pixel over frames.
///
/// Pixels below `below`, above `above` or masked are left out, and so is NaN; `count` says in how many frames each
/// pixel was good. A pixel that never was is 0, or NaN in floats. Without any frame there is no maximum, which is an
/// error.
///
/// Takes all frames and gives one image of their dtype. One comparison a pixel; 4 bytes and a pixel kept a pixel.
///
/// Source: comparison.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Max {
    /// Values below this are left out; without it no value is too low.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    below: Option<f64>,
    /// Values above this are left out; without it no value is too high.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    above: Option<f64>,
}

/// Takes the smallest value of each pixel over frames.
///
/// Pixels below `below`, above `above` or masked are left out, and so is NaN; `count` says in how many frames each
/// pixel was good. A pixel that never was is 0, or NaN in floats. Without any frame there is no minimum, which is an
/// error.
///
/// Takes all frames and gives one image of their dtype. One comparison a pixel; 4 bytes and a pixel kept a pixel.
///
/// Source: comparison.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Min {
    /// Values below this are left out; without it no value is too low.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    below: Option<f64>,
    /// Values above this are left out; without it no value is too high.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    above: Option<f64>,
}

macro_rules! extreme {
    ($stage:ident, $end:expr) => {
        impl Stage for $stage {
            type In = FramesIn;
            type Out = ExtremeOut;

            fn example() -> Example {
                Example::new("below = 0").frames("image", example_frames())
            }
            fn check(&self, faults: &mut Faults) {
                check_bounds(self.below, self.above, faults);
            }
            fn shapes(&self, input: &Shapes) -> Result<Shapes> {
                Ok(shapes(input))
            }
            fn cost(&self, input: &Shapes) -> Cost {
                cost(input, 0.7, 12)
            }
        }

        impl Reduce for $stage {
            type Part = ExtremePart;
            fn part(&self, _: &Cx) -> Result<ExtremePart> {
                Ok(ExtremePart::default())
            }
            fn add(&self, _: &Cx, part: &mut ExtremePart, _: &Span, input: FramesIn) -> Result<()> {
                $end.add(part, [self.below, self.above], &input)
            }
            fn merge(&self, _: &Cx, part: &mut ExtremePart, later: ExtremePart) -> Result<()> {
                $end.merge(part, later)
            }
            fn peek(&self, _: &Cx, part: &ExtremePart) -> Result<Option<ExtremeOut>> {
                part.seen.of().map(|_| $end.show(part)).transpose()
            }
            fn finish(&self, _: &Cx, part: ExtremePart) -> Result<ExtremeOut> {
                $end.show(&part)
            }
            fn save(&self, part: &ExtremePart) -> Result<Dict> {
                save(part)
            }
            fn load(&self, _: &Cx, state: Dict) -> Result<ExtremePart> {
                load(&state)
            }
        }
    };
}
extreme!(Max, End::Max);
extreme!(Min, End::Min);
declare!(Reduce, "image.max", Kind::Reducer, Max);
declare!(Reduce, "image.min", Kind::Reducer, Min);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{array, numbers, reduce, reduction};

    #[test]
    fn extremes_of_good_pixels_by_hand() {
        let input = Dict::new().with("image", array(&[2, 1, 4], &[3i16, -1, 5, -1, 2, 4, -1, -1]));
        let out = reduce(&reduction("image.max", "below = 0"), input.clone()).unwrap();
        assert_eq!(
            (numbers::<i16>(&out, "image"), numbers::<u32>(&out, "count")),
            (vec![3, 4, 5, 0], vec![2, 1, 1, 0])
        );
        let out = reduce(&reduction("image.min", "below = 0"), input.clone()).unwrap();
        assert_eq!(numbers::<i16>(&out, "image"), [2, 4, 5, 0]);
        let out = reduce(&reduction("image.min", ""), input).unwrap();
        assert_eq!(numbers::<i16>(&out, "image"), [2, -1, -1, -1]);
    }

    #[test]
    fn nan_is_passed_over() {
        let input = Dict::new().with("image", array(&[2, 1, 2], &[f32::NAN, f32::NAN, -3.0, f32::NAN]));
        for name in ["image.max", "image.min"] {
            let best = numbers::<f32>(&reduce(&reduction(name, ""), input.clone()).unwrap(), "image");
            assert!(best[0] == -3.0 && best[1].is_nan(), "{best:?}");
        }
    }
}
