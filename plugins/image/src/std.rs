//! The standard deviation over frames.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::accumulate::{FramesIn, Good, Merge, Seen, halves, joined, kept};
use crate::frames::{complex, cost};
use crate::pixel::{Pixel, check_bounds};
use crate::sum::example_frames;

/// Moments of pixels over frames.
#[derive(Debug, Default)]
enum Moments {
    /// No frame yet.
    #[default]
    None,
    /// Sum and sum of squares of 8 and 16-bit integers; exact.
    Short(Vec<(i64, i64)>),
    /// Sum and sum of squares of 32-bit integers; exact.
    Long(Vec<(i64, i128)>),
    /// Number, mean and sum of squared deviations of all others.
    Float(Vec<(f64, f64, f64)>),
}

impl Moments {
    fn new(dtype: Dtype, pixels: usize) -> Moments {
        match dtype {
            Dtype::U8 | Dtype::U16 | Dtype::I8 | Dtype::I16 => Moments::Short(vec![(0, 0); pixels]),
            Dtype::U32 | Dtype::I32 => Moments::Long(vec![(0, 0); pixels]),
            _ => Moments::Float(vec![(0.0, 0.0, 0.0); pixels]),
        }
    }

    /// Mean and sum of squared deviations of a pixel that was good `n` times.
    fn of(&self, pixel: usize, n: u32) -> (f64, f64) {
        match self {
            Moments::None => (f64::NAN, f64::NAN),
            Moments::Short(m) => exact(m[pixel].0, m[pixel].1.into(), n),
            Moments::Long(m) => exact(m[pixel].0, m[pixel].1, n),
            Moments::Float(m) if n > 0 => (m[pixel].1, m[pixel].2),
            Moments::Float(_) => (f64::NAN, f64::NAN),
        }
    }
}

fn exact(sum: i64, squares: i128, n: u32) -> (f64, f64) {
    let (sum, count) = (i128::from(sum), i128::from(n));
    // Up to 2^31 frames of 32-bit values both products stay below 2^127, so their difference is exact.
    let spread = count * squares - sum * sum;
    let n = f64::from(n);
    (sum as f64 / n, spread as f64 / n)
}

/// What a block of frames has come to.
#[derive(Debug, Default)]
pub struct StdPart {
    seen: Seen,
    moments: Moments,
}

/// Takes the standard deviation of each pixel over frames, and the mean.
///
/// Pixels below `below`, above `above` or masked are left out, and so is NaN; `count` says in how many frames each
/// pixel was good. Integers of up to 32 bits are summed exactly, values and squares; floats and 64-bit integers go
/// through a running mean and squared deviation in double precision, which do not cancel. A pixel that was good in no
/// more than `ddof` frames has the deviation NaN. Without any frame there is no deviation, which is an error.
///
/// Takes all frames and gives two images. Two additions and a multiplication a pixel for integers, a division more for
/// floats; 20 to 36 bytes kept a pixel.
///
/// Source: B. P. Welford, Technometrics 4 (1962) 419; T. F. Chan, G. H. Golub, R. J. LeVeque, Am. Stat. 37 (1983) 242.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Std {
    /// Values below this are left out; without it no value is too low.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    below: Option<f64>,
    /// Values above this are left out; without it no value is too high.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    above: Option<f64>,
    /// What is taken off the number of frames when dividing: 1 for a sample.
    #[serde(default)]
    #[schemars(range(min = 0, max = 16))]
    ddof: u32,
}

/// The spread of frames.
#[derive(Ports)]
pub struct StdOut {
    /// Pixel by pixel, the standard deviation over frames.
    #[port(dtype = "f64", axes = "y x")]
    image: Array,
    /// Pixel by pixel, the mean over frames; NaN where a pixel was never good.
    #[port(dtype = "f64", axes = "y x")]
    mean: Array,
    /// In how many frames each pixel was good.
    #[port(dtype = "u32", axes = "y x")]
    count: Array,
}

impl Std {
    fn show(&self, part: &StdPart) -> Result<StdOut> {
        let (_, rows, columns) = part.seen.need("standard deviation")?;
        let (mut deviations, mut means) = (vec![], vec![]);
        for (pixel, n) in part.seen.counted().iter().enumerate() {
            let (mean, squares) = part.moments.of(pixel, *n);
            means.push(mean);
            deviations.push(if *n > self.ddof {
                (squares / f64::from(n - self.ddof)).sqrt()
            } else {
                f64::NAN
            });
        }
        let shape = [rows, columns];
        let count = part.seen.counts(rows, columns)?;
        Ok(StdOut { image: Array::of(&shape, &deviations)?, mean: Array::of(&shape, &means)?, count })
    }
}

impl Stage for Std {
    type In = FramesIn;
    type Out = StdOut;

    fn example() -> Example {
        Example::new("below = 0\nddof = 1").frames("image", example_frames())
    }
    fn check(&self, faults: &mut Faults) {
        check_bounds(self.below, self.above, faults);
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let dims = input.get("image").dims;
        let real = Shape { dtype: Some(Dtype::F64), dims: dims.clone() };
        let count = Shape { dtype: Some(Dtype::U32), dims };
        Ok(Shapes::default().with("image", real.clone()).with("mean", real).with("count", count))
    }
    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 2.0, 36)
    }
}

impl Reduce for Std {
    type Part = StdPart;

    fn part(&self, _: &Cx) -> Result<StdPart> {
        Ok(StdPart::default())
    }

    fn add(&self, _: &Cx, part: &mut StdPart, _: &Span, input: FramesIn) -> Result<()> {
        let image = &input.image;
        let size = part.seen.admit(image)?;
        if let Moments::None = part.moments {
            part.moments = Moments::new(image.dtype(), size.pixels());
        }
        let count = part.seen.count_mut();
        dispatch!(image.dtype(), T => {
            let from = image.as_slice::<T>()?;
            let good = Good::<T>::new(size, self.below, self.above, input.mask.as_ref())?;
            match &mut part.moments {
                Moments::None => (),
                Moments::Short(m) => good.each(size, from, m, count, |(s, q), x| {
                    // 16 bits, so that the square fits and is one 32-bit multiplication.
                    let x = x.int() as i32;
                    (s.wrapping_add(x.into()), q.wrapping_add((i64::from(x)).wrapping_mul(x.into())))
                }),
                Moments::Long(m) => good.each(size, from, m, count, |(s, q), x| {
                    let x = x.int();
                    let square = u128::from(x.unsigned_abs().wrapping_mul(x.unsigned_abs())) as i128;
                    (s.wrapping_add(x), q.wrapping_add(square))
                }),
                Moments::Float(m) => good.each(size, from, m, count, |(n, mean, squares), x| {
                    let (n, x) = (n + 1.0, x.float());
                    let from_old = x - mean;
                    let mean = mean + from_old / n;
                    (n, mean, squares + from_old * (x - mean))
                }),
            }
        }, complex => return complex());
        Ok(())
    }

    fn merge(&self, _: &Cx, part: &mut StdPart, later: StdPart) -> Result<()> {
        match part.seen.merge(&later.seen)? {
            Merge::Keep => return Ok(()),
            Merge::Take => {
                *part = later;
                return Ok(());
            }
            Merge::Add => part.seen.add_counts(&later.seen),
        }
        match (&mut part.moments, &later.moments) {
            (Moments::Short(a), Moments::Short(b)) => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a = (a.0 + b.0, a.1 + b.1));
            }
            (Moments::Long(a), Moments::Long(b)) => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a = (a.0 + b.0, a.1 + b.1));
            }
            (Moments::Float(a), Moments::Float(b)) => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a = chan(*a, *b))
            }
            _ => return Err(Error::internal("moments of one dtype are of two kinds")),
        }
        Ok(())
    }

    fn peek(&self, _: &Cx, part: &StdPart) -> Result<Option<StdOut>> {
        part.seen.of().map(|_| self.show(part)).transpose()
    }

    fn finish(&self, _: &Cx, part: StdPart) -> Result<StdOut> {
        self.show(&part)
    }

    fn save(&self, part: &StdPart) -> Result<Dict> {
        let state = part.seen.save();
        Ok(match &part.moments {
            Moments::None => state,
            Moments::Short(m) => {
                let flat: Vec<i64> = m.iter().flat_map(|m| [m.0, m.1]).collect();
                state.with("moments", Array::from_slice(&flat))
            }
            Moments::Long(m) => {
                let sums: Vec<i128> = m.iter().flat_map(|m| [m.0.into(), m.1]).collect();
                state.with("moments", halves(&sums))
            }
            Moments::Float(m) => {
                let flat: Vec<f64> = m.iter().flat_map(|m| [m.0, m.1, m.2]).collect();
                state.with("moments", Array::from_slice(&flat))
            }
        })
    }

    fn load(&self, _: &Cx, state: Dict) -> Result<StdPart> {
        let seen = Seen::load(&state)?;
        let Some((dtype, rows, columns)) = seen.of() else { return Ok(StdPart::default()) };
        let mut moments = Moments::new(dtype, rows * columns);
        match &mut moments {
            Moments::None => (),
            Moments::Short(m) => {
                let flat = kept::<i64>(&state, "moments", 2 * m.len())?;
                m.iter_mut().zip(flat.chunks_exact(2)).for_each(|(m, f)| *m = (f[0], f[1]));
            }
            Moments::Long(m) => {
                let flat = joined(&state, "moments", 2 * m.len())?;
                m.iter_mut().zip(flat.chunks_exact(2)).for_each(|(m, f)| *m = (f[0] as i64, f[1]));
            }
            Moments::Float(m) => {
                let flat = kept::<f64>(&state, "moments", 3 * m.len())?;
                m.iter_mut().zip(flat.chunks_exact(3)).for_each(|(m, f)| *m = (f[0], f[1], f[2]));
            }
        }
        Ok(StdPart { seen, moments })
    }
}
declare!(Reduce, "image.std", Kind::Reducer, Std);

/// Joins number, mean and sum of squared deviations of two sets.
fn chan(a: (f64, f64, f64), b: (f64, f64, f64)) -> (f64, f64, f64) {
    let n = a.0 + b.0;
    if n == 0.0 {
        return a;
    }
    let (apart, share) = (b.1 - a.1, b.0 / n);
    (n, a.1 + apart * share, a.2 + b.2 + apart * apart * a.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{array, numbers, reduce, reduction};

    #[test]
    fn a_small_spread_on_a_large_level_is_not_lost() {
        // Values 10^9 + {4, 7, 13, 16}: mean 10^9 + 10, squared deviations 36 + 9 + 9 + 36 = 90, 90 / 3 = 30.
        let values = [1_000_000_004.0f64, 1_000_000_007.0, 1_000_000_013.0, 1_000_000_016.0];
        let whole = values.map(|v| v as u32);
        let long = values.map(|v| v as i64);
        for image in [array(&[4, 1, 1], &values), array(&[4, 1, 1], &whole), array(&[4, 1, 1], &long)] {
            let out = reduce(&reduction("image.std", "ddof = 1"), Dict::new().with("image", image)).unwrap();
            assert_eq!(numbers::<f64>(&out, "image"), [30f64.sqrt()]);
            assert_eq!(numbers::<f64>(&out, "mean"), [1_000_000_010.0]);
        }
    }

    #[test]
    fn the_largest_values_are_squared_exactly() {
        // By hand: {0, m} has the standard deviation m / 2.
        let out =
            reduce(&reduction("image.std", ""), Dict::new().with("image", array(&[2, 1, 1], &[0, u32::MAX])))
                .unwrap();
        assert_eq!(numbers::<f64>(&out, "image"), [f64::from(u32::MAX) / 2.0]);
        let out =
            reduce(&reduction("image.std", ""), Dict::new().with("image", array(&[2, 1, 1], &[i32::MIN, 0])))
                .unwrap();
        assert_eq!(numbers::<f64>(&out, "image"), [f64::from(1u32 << 30)]);
        let out =
            reduce(&reduction("image.std", ""), Dict::new().with("image", array(&[2, 1, 1], &[0, u16::MAX])))
                .unwrap();
        assert_eq!(numbers::<f64>(&out, "image"), [32767.5]);
    }

    #[test]
    fn too_few_frames_for_a_deviation_give_nan() {
        let input = Dict::new().with("image", array(&[2, 1, 2], &[5i8, -1, -1, -1]));
        let out = reduce(&reduction("image.std", "below = 0\nddof = 1"), input).unwrap();
        assert!(numbers::<f64>(&out, "image").iter().all(|x| x.is_nan()));
        let mean = numbers::<f64>(&out, "mean");
        assert!(mean[0] == 5.0 && mean[1].is_nan());
    }

    #[test]
    fn parts_of_floats_merge_like_one() {
        // numpy 2: numpy.std([0.5, 1.25, -3.0, 8.5, 2.0]) = 3.7403208418530087, mean 1.85.
        let values = [0.5, 1.25, -3.0, 8.5, 2.0];
        let set = |v: &[f64]| v.iter().fold((0.0, 0.0, 0.0), |a, x| chan(a, (1.0, *x, 0.0)));
        for cut in 0..=5 {
            let (n, mean, squares) = chan(set(&values[..cut]), set(&values[cut..]));
            assert!((mean - 1.85).abs() < 1e-15 && ((squares / n).sqrt() - NUMPY).abs() < 1e-14);
        }
    }
    const NUMPY: f64 = 3.7403208418530087;
}
