//! Sums and means over frames, exact for integers.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::accumulate::{FramesIn, Good, Merge, Seen, halves, joined, kept};
use crate::frames::{complex, cost};
use crate::pixel::{Pixel, check_bounds};
use crate::simd::{Level, totals};

/// Sums of pixels over frames.
#[derive(Debug, Default)]
enum Sums {
    /// No frame yet.
    #[default]
    None,
    /// Of integers of up to 32 bits; exact.
    Int(Vec<i64>),
    /// Of 64-bit integers; exact.
    Wide(Vec<i128>),
    /// Of floats, in double precision.
    Float(Vec<f64>),
}

/// What a block of frames has come to.
#[derive(Debug, Default)]
pub struct SumPart {
    seen: Seen,
    sums: Sums,
}

impl SumPart {
    fn add(&mut self, below: Option<f64>, above: Option<f64>, input: &FramesIn) -> Result<()> {
        let image = &input.image;
        let size = self.seen.admit(image)?;
        if let Sums::None = self.sums {
            self.sums = match image.dtype() {
                Dtype::U64 | Dtype::I64 => Sums::Wide(vec![0; size.pixels()]),
                d if d.is_integer() => Sums::Int(vec![0; size.pixels()]),
                _ => Sums::Float(vec![0.0; size.pixels()]),
            };
        }
        let all = below.is_none() && above.is_none() && input.mask.is_none();
        if let (true, Sums::Int(sums)) = (all, &mut self.sums) {
            let quick = matches!(image.dtype(), Dtype::U8 | Dtype::U16);
            match image.dtype() {
                Dtype::U8 => totals(Level::best(), image.as_slice::<u8>()?, sums),
                Dtype::U16 => totals(Level::best(), image.as_slice::<u16>()?, sums),
                _ => {}
            }
            if quick {
                self.seen.add_whole(size.n);
                return Ok(());
            }
        }
        let count = self.seen.count_mut();
        dispatch!(image.dtype(), T => {
            let from = image.as_slice::<T>()?;
            let good = Good::<T>::new(size, below, above, input.mask.as_ref())?;
            match &mut self.sums {
                Sums::None => (),
                Sums::Int(sums) => good.each(size, from, sums, count, |s, x| s.wrapping_add(x.int())),
                Sums::Wide(sums) => good.each(size, from, sums, count, |s, x| s.wrapping_add(x.wide())),
                Sums::Float(sums) => good.each(size, from, sums, count, |s, x| s + x.float()),
            }
        }, complex => return complex());
        Ok(())
    }

    fn merge(&mut self, later: SumPart) -> Result<()> {
        match self.seen.merge(&later.seen)? {
            Merge::Keep => return Ok(()),
            Merge::Take => {
                *self = later;
                return Ok(());
            }
            Merge::Add => self.seen.add_counts(&later.seen),
        }
        match (&mut self.sums, &later.sums) {
            (Sums::Int(a), Sums::Int(b)) => a.iter_mut().zip(b).for_each(|(a, b)| *a += b),
            (Sums::Wide(a), Sums::Wide(b)) => a.iter_mut().zip(b).for_each(|(a, b)| *a += b),
            (Sums::Float(a), Sums::Float(b)) => a.iter_mut().zip(b).for_each(|(a, b)| *a += b),
            _ => return Err(Error::internal("sums of one dtype are of two kinds")),
        }
        Ok(())
    }

    fn save(&self) -> Dict {
        let state = self.seen.save();
        match &self.sums {
            Sums::None => state,
            Sums::Int(s) => state.with("sum", Array::from_slice(s)),
            Sums::Wide(s) => state.with("sum", halves(s)),
            Sums::Float(s) => state.with("sum", Array::from_slice(s)),
        }
    }

    fn load(state: &Dict) -> Result<SumPart> {
        let seen = Seen::load(state)?;
        let pixels = seen.pixels();
        let sums = match seen.of() {
            None => Sums::None,
            Some((Dtype::U64 | Dtype::I64, ..)) => Sums::Wide(joined(state, "sum", pixels)?),
            Some((d, ..)) if d.is_integer() => Sums::Int(kept(state, "sum", pixels)?),
            Some(_) => Sums::Float(kept(state, "sum", pixels)?),
        };
        Ok(SumPart { seen, sums })
    }

    fn sum(&self) -> Result<FramesOut> {
        let (dtype, rows, columns) = self.seen.need("sum")?;
        let shape = [rows, columns];
        let image = match &self.sums {
            Sums::Float(s) => Array::of(&shape, s)?,
            Sums::Int(s) if dtype.is_unsigned() => {
                let bits: Vec<u64> = s.iter().map(|s| *s as u64).collect();
                Array::of(&shape, &bits)?
            }
            Sums::Int(s) => Array::of(&shape, s)?,
            Sums::Wide(s) if dtype.is_unsigned() => Array::of(&shape, &narrowed::<u64>(s)?)?,
            Sums::Wide(s) => Array::of(&shape, &narrowed::<i64>(s)?)?,
            Sums::None => return Err(Error::internal("frames without sums")),
        };
        Ok(FramesOut { image, count: self.seen.counts(rows, columns)? })
    }

    fn mean(&self) -> Result<MeanOut> {
        let (_, rows, columns) = self.seen.need("mean")?;
        let counted = self.seen.counted();
        let n = counted.iter().map(|n| f64::from(*n));
        // 0 / 0 is NaN: a pixel that was never good has no mean.
        let means: Vec<f64> = match &self.sums {
            Sums::Float(s) => s.iter().zip(n).map(|(s, n)| s / n).collect(),
            Sums::Int(s) => s.iter().zip(n).map(|(s, n)| *s as f64 / n).collect(),
            Sums::Wide(s) => s.iter().zip(n).map(|(s, n)| *s as f64 / n).collect(),
            Sums::None => return Err(Error::internal("frames without sums")),
        };
        Ok(MeanOut { image: Array::of(&[rows, columns], &means)?, count: self.seen.counts(rows, columns)? })
    }
}

fn narrowed<T: TryFrom<i128>>(sums: &[i128]) -> Result<Vec<T>> {
    let one = |(at, s): (usize, &i128)| {
        T::try_from(*s)
            .map_err(|_| Error::data(format!("the sum of pixel {at} is {s}, which 64 bits cannot hold")))
    };
    sums.iter().enumerate().map(one).collect()
}

/// The sum of frames.
#[derive(Ports)]
pub struct FramesOut {
    /// Pixel by pixel, the sum over frames: u64, i64 or f64, like the images.
    #[port(dtype = "u64|i64|f64", axes = "y x")]
    image: Array,
    /// In how many frames each pixel was good.
    #[port(dtype = "u32", axes = "y x")]
    count: Array,
}

/// The mean of frames.
#[derive(Ports)]
pub struct MeanOut {
    /// Pixel by pixel, the mean over frames; NaN where a pixel was never good.
    #[port(dtype = "f64", axes = "y x")]
    image: Array,
    /// In how many frames each pixel was good.
    #[port(dtype = "u32", axes = "y x")]
    count: Array,
}

pub(crate) fn example_frames() -> Array {
    Array::of(&[3, 2, 2], &[5i32, -1, 7, 100, 6, 4, 8, 200, 10, -1, 9, 300]).expect("twelve pixels")
}

/// Sums frames, pixel by pixel.
///
/// Pixels below `below`, above `above` or masked are left out, and so is NaN; `count` says in how many frames each
/// pixel was good. Sums of integers are exact, as u64 or i64, and one that does not fit is an error; sums of floats are
/// in double precision. Without any frame there is no sum, which is an error.
///
/// Takes all frames and gives one image. One addition a pixel; 12 bytes kept a pixel, 20 for 64-bit integers.
///
/// Source: addition, in 64 frames to a block and a binary tree of blocks.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// Values below this are left out; without it no value is too low.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    below: Option<f64>,
    /// Values above this are left out; without it no value is too high.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    above: Option<f64>,
}

impl Stage for Sum {
    type In = FramesIn;
    type Out = FramesOut;

    fn example() -> Example {
        Example::new("below = 0").frames("image", example_frames())
    }
    fn check(&self, faults: &mut Faults) {
        check_bounds(self.below, self.above, faults);
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let Shape { dtype, dims } = input.get("image");
        let sum = dtype.map(|d| match d {
            d if d.is_unsigned() => Dtype::U64,
            d if d.is_integer() => Dtype::I64,
            _ => Dtype::F64,
        });
        let count = Shape { dtype: Some(Dtype::U32), dims: dims.clone() };
        Ok(Shapes::default().with("image", Shape { dtype: sum, dims }).with("count", count))
    }
    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 0.7, 20)
    }
}

impl Reduce for Sum {
    type Part = SumPart;
    fn part(&self, _: &Cx) -> Result<SumPart> {
        Ok(SumPart::default())
    }
    fn add(&self, _: &Cx, part: &mut SumPart, _: &Span, input: FramesIn) -> Result<()> {
        part.add(self.below, self.above, &input)
    }
    fn merge(&self, _: &Cx, part: &mut SumPart, later: SumPart) -> Result<()> {
        part.merge(later)
    }
    fn peek(&self, _: &Cx, part: &SumPart) -> Result<Option<FramesOut>> {
        part.seen.of().map(|_| part.sum()).transpose()
    }
    fn finish(&self, _: &Cx, part: SumPart) -> Result<FramesOut> {
        part.sum()
    }
    fn save(&self, part: &SumPart) -> Result<Dict> {
        Ok(part.save())
    }
    fn load(&self, _: &Cx, state: Dict) -> Result<SumPart> {
        SumPart::load(&state)
    }
}
declare!(Reduce, "image.sum", Kind::Reducer, Sum);

/// Averages frames, pixel by pixel.
///
/// Pixels below `below`, above `above` or masked are left out, and so is NaN; `count` says in how many frames each
/// pixel was good. The mean is the exact sum of integers, or the double-precision sum of floats, divided once. Without
/// any frame there is no mean, which is an error.
///
/// Takes all frames and gives one image. One addition a pixel; 12 bytes kept a pixel, 20 for 64-bit integers.
///
/// Source: addition, in 64 frames to a block and a binary tree of blocks.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mean {
    /// Values below this are left out; without it no value is too low.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    below: Option<f64>,
    /// Values above this are left out; without it no value is too high.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    above: Option<f64>,
}

impl Stage for Mean {
    type In = FramesIn;
    type Out = MeanOut;

    fn example() -> Example {
        Example::new("below = 0").frames("image", example_frames())
    }
    fn check(&self, faults: &mut Faults) {
        check_bounds(self.below, self.above, faults);
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let dims = input.get("image").dims;
        let count = Shape { dtype: Some(Dtype::U32), dims: dims.clone() };
        Ok(Shapes::default().with("image", Shape { dtype: Some(Dtype::F64), dims }).with("count", count))
    }
    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 0.7, 20)
    }
}

impl Reduce for Mean {
    type Part = SumPart;
    fn part(&self, _: &Cx) -> Result<SumPart> {
        Ok(SumPart::default())
    }
    fn add(&self, _: &Cx, part: &mut SumPart, _: &Span, input: FramesIn) -> Result<()> {
        part.add(self.below, self.above, &input)
    }
    fn merge(&self, _: &Cx, part: &mut SumPart, later: SumPart) -> Result<()> {
        part.merge(later)
    }
    fn peek(&self, _: &Cx, part: &SumPart) -> Result<Option<MeanOut>> {
        part.seen.of().map(|_| part.mean()).transpose()
    }
    fn finish(&self, _: &Cx, part: SumPart) -> Result<MeanOut> {
        part.mean()
    }
    fn save(&self, part: &SumPart) -> Result<Dict> {
        Ok(part.save())
    }
    fn load(&self, _: &Cx, state: Dict) -> Result<SumPart> {
        SumPart::load(&state)
    }
}
declare!(Reduce, "image.mean", Kind::Reducer, Mean);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{array, numbers, reduce, reduction};

    #[test]
    fn negative_pixels_are_left_out_and_counted() {
        // By hand from the example's frames.
        let input = Dict::new().with("image", example_frames());
        let out = reduce(&reduction("image.sum", "below = 0"), input.clone()).unwrap();
        assert_eq!(
            (numbers::<i64>(&out, "image"), numbers::<u32>(&out, "count")),
            (vec![21, 4, 24, 600], vec![3, 1, 3, 3])
        );
        let out = reduce(&reduction("image.mean", "below = 0"), input.clone()).unwrap();
        assert_eq!(numbers::<f64>(&out, "image"), [7.0, 4.0, 8.0, 200.0]);
        let out =
            reduce(&reduction("image.sum", ""), input.with("mask", array(&[2, 2], &[0u8, 0, 9, 0]))).unwrap();
        assert_eq!(
            (numbers::<i64>(&out, "image"), numbers::<u32>(&out, "count")),
            (vec![21, 2, 0, 600], vec![3, 3, 0, 3])
        );
    }

    #[test]
    fn sums_are_exact_where_doubles_are_not() {
        // 2^53 + 1 three times, and the largest values of every unsigned dtype.
        let odd = (1u64 << 53) + 1;
        let out =
            reduce(&reduction("image.sum", ""), Dict::new().with("image", array(&[3, 1, 1], &[odd; 3])))
                .unwrap();
        assert_eq!(numbers::<u64>(&out, "image"), [3 * odd]);
        let out =
            reduce(&reduction("image.sum", ""), Dict::new().with("image", array(&[2, 1, 1], &[u32::MAX; 2])))
                .unwrap();
        assert_eq!(numbers::<u64>(&out, "image"), [8_589_934_590]);
        let input = Dict::new().with("image", array(&[2, 1, 1], &[u64::MAX; 2]));
        let error = reduce(&reduction("image.sum", ""), input.clone()).unwrap_err();
        assert_eq!(error.message(), "the sum of pixel 0 is 36893488147419103230, which 64 bits cannot hold");
        assert_eq!(
            numbers::<f64>(&reduce(&reduction("image.mean", ""), input).unwrap(), "image"),
            [u64::MAX as f64]
        );
    }

    #[test]
    fn nan_is_never_good_and_leaves_nan_where_nothing_is() {
        let input = Dict::new().with("image", array(&[2, 1, 2], &[1.5f32, f32::NAN, 2.5, f32::NAN]));
        let out = reduce(&reduction("image.mean", ""), input).unwrap();
        let mean = numbers::<f64>(&out, "image");
        assert!(mean[0] == 2.0 && mean[1].is_nan());
        assert_eq!(numbers::<u32>(&out, "count"), [2, 0]);
    }
}
