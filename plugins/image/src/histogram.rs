//! The histogram of all pixels of all frames.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::accumulate::{FramesIn, kept};
use crate::frames::{Size, complex, cost, mask_bytes};
use crate::pixel::Pixel;

/// Counts pixels by value over all frames.
///
/// `bins` bins of equal width run from `low` to `high`; a bin holds its lower edge, and the last one its upper edge
/// too. Pixels below and above the range are counted in `under` and `over`, masked ones and NaN in `bad`: every pixel of
/// every frame is in exactly one count.
///
/// Takes all frames and gives one histogram; without any frame all counts are 0. One table look-up a pixel for 8 and
/// 16-bit integers, a multiplication and two comparisons for others; 64-bit integers are compared as doubles.
///
/// Source: counting, with the edges of `numpy.histogram`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// Lower edge of the first bin.
    #[schemars(extend("x-unit" = "count"))]
    low: f64,
    /// Upper edge of the last bin.
    #[schemars(extend("x-unit" = "count"))]
    high: f64,
    /// How many bins there are.
    #[serde(default = "bins")]
    #[schemars(range(min = 1, max = 1_000_000))]
    bins: usize,
}

fn bins() -> usize {
    256
}

/// The histogram.
#[derive(Ports)]
pub struct HistogramOut {
    /// Pixels in each bin.
    #[port(dtype = "u64", axes = "bin")]
    counts: Array,
    /// Edges of the bins: one more than there are bins.
    #[port(dtype = "f64", axes = "edge")]
    edges: Array,
    /// Pixels below the first bin.
    under: i64,
    /// Pixels above the last bin.
    over: i64,
    /// Pixels that are masked or NaN.
    bad: i64,
}

/// What a block of frames has come to: the bins, then those under, over and bad.
pub struct HistogramPart(Vec<u64>);

impl Histogram {
    /// The edges, as `numpy.linspace` has them.
    fn edges(&self) -> Vec<f64> {
        let step = (self.high - self.low) / self.bins as f64;
        let mut edges: Vec<f64> = (0..=self.bins).map(|i| self.low + i as f64 * step).collect();
        edges[self.bins] = self.high;
        edges
    }

    /// The place of a value among bins, under, over and bad.
    #[inline]
    fn place(&self, edges: &[f64], scale: f64, x: f64) -> usize {
        if x >= self.low && x <= self.high {
            let mut bin = (((x - self.low) * scale) as usize).min(self.bins - 1);
            // Rounding may put a value beside an edge: the edges decide.
            if x < edges[bin] {
                bin -= 1;
            } else if x >= edges[bin + 1] && bin + 1 < self.bins {
                bin += 1;
            }
            return bin;
        }
        self.bins + if x < self.low { 0 } else { 1 + usize::from(x.is_nan()) }
    }

    fn show(&self, part: &HistogramPart) -> Result<HistogramOut> {
        let (counts, rest) = part.0.split_at(self.bins);
        let whole =
            |n: u64| i64::try_from(n).map_err(|_| Error::data(format!("{n} pixels are too many to count")));
        Ok(HistogramOut {
            counts: Array::from_slice(counts),
            edges: Array::from_slice(&self.edges()),
            under: whole(rest[0])?,
            over: whole(rest[1])?,
            bad: whole(rest[2])?,
        })
    }
}

/// Calls `each` with every good pixel; how many were masked.
fn good<T: Pixel>(size: Size, from: &[T], mask: Option<&[u8]>, mut each: impl FnMut(T)) -> u64 {
    let Some(mask) = mask else {
        from.iter().for_each(|x| each(*x));
        return 0;
    };
    let mut masked = 0;
    for frame in from.chunks_exact(size.pixels().max(1)) {
        for (x, m) in frame.iter().zip(mask) {
            if *m == 0 { each(*x) } else { masked += 1 }
        }
    }
    masked
}

impl Stage for Histogram {
    type In = FramesIn;
    type Out = HistogramOut;

    fn example() -> Example {
        Example::new("low = 0\nhigh = 10\nbins = 5").frames("image", crate::sum::example_frames())
    }

    fn check(&self, faults: &mut Faults) {
        if !(self.low.is_finite() && self.high.is_finite() && self.low < self.high) {
            faults.add(
                "high",
                format!("found a range from {} to {}, wanted high above low", self.low, self.high),
            );
        }
        if !(1..=1_000_000).contains(&self.bins) {
            faults.add("bins", format!("found {} bins, wanted 1 to 1000000", self.bins));
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let counts = Shape::array(Dtype::U64, &[self.bins]);
        Ok(Shapes::default().with("counts", counts).with("edges", Shape::array(Dtype::F64, &[self.bins + 1])))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let memory = 8 * self.bins as u64 + (1 << 19);
        Cost { memory, ..cost(input, 1.5, 0) }
    }
}

impl Reduce for Histogram {
    type Part = HistogramPart;

    fn part(&self, _: &Cx) -> Result<HistogramPart> {
        Ok(HistogramPart(vec![0; self.bins + 3]))
    }

    fn add(&self, _: &Cx, part: &mut HistogramPart, _: &Span, input: FramesIn) -> Result<()> {
        let size = Size::of(&input.image)?;
        let mask =
            input.mask.as_ref().map(|m| size.same("mask", m).and_then(|()| mask_bytes(m))).transpose()?;
        let (counts, edges) = (&mut part.0, self.edges());
        let scale = self.bins as f64 / (self.high - self.low);
        let masked = dispatch!(input.image.dtype(), T => {
            let from = input.image.as_slice::<T>()?;
            let bits = 8 * input.image.dtype().size();
            if bits <= 16 {
                // There are no more values than this, so values are counted first and put into bins once.
                let mut values = vec![0u64; 1 << bits];
                let lowest = T::LOWEST.int();
                let masked = good(size, from, mask.as_deref(), |x| values[(x.int() - lowest) as usize] += 1);
                for (value, n) in values.iter().enumerate().filter(|(_, n)| **n > 0) {
                    counts[self.place(&edges, scale, (value as i64 + lowest) as f64)] += n;
                }
                masked
            } else {
                good(size, from, mask.as_deref(), |x| counts[self.place(&edges, scale, x.float())] += 1)
            }
        }, complex => return complex());
        part.0[self.bins + 2] += masked;
        Ok(())
    }

    fn merge(&self, _: &Cx, part: &mut HistogramPart, later: HistogramPart) -> Result<()> {
        part.0.iter_mut().zip(&later.0).for_each(|(a, b)| *a += b);
        Ok(())
    }

    fn peek(&self, _: &Cx, part: &HistogramPart) -> Result<Option<HistogramOut>> {
        self.show(part).map(Some)
    }

    fn finish(&self, _: &Cx, part: HistogramPart) -> Result<HistogramOut> {
        self.show(&part)
    }

    fn save(&self, part: &HistogramPart) -> Result<Dict> {
        Ok(Dict::new().with("counts", Array::from_slice(&part.0)))
    }

    fn load(&self, _: &Cx, state: Dict) -> Result<HistogramPart> {
        let counts = kept(&state, "counts", self.bins + 3)?;
        Ok(HistogramPart(counts))
    }
}
declare!(Reduce, "image.histogram", Kind::Reducer, Histogram);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{array, numbers, reduce, reduction};

    fn rest(out: &Dict) -> [i64; 3] {
        ["under", "over", "bad"].map(|key| match out.get(key) {
            Some(Value::Int(n)) => *n,
            other => panic!("`{key}` is {other:?}"),
        })
    }

    #[test]
    fn bins_are_those_of_numpy() {
        // numpy 2: numpy.histogram(x, bins=10, range=(0, 1)).
        let x = [-1.0, 0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0, 1.1, f64::NAN];
        let input = Dict::new().with("image", array(&[1, 1, 11], &x));
        let out = reduce(&reduction("image.histogram", "low = 0\nhigh = 1\nbins = 10"), input).unwrap();
        assert_eq!(numbers::<u64>(&out, "counts"), TENTHS);
        assert_eq!(rest(&out), [1, 1, 1]);
        // numpy 2: numpy.histogram([0..=10, 200], bins=3, range=(0.5, 9.5)).
        let input = Dict::new().with("image", array(&[1, 3, 4], &[0u8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 200]));
        let out = reduce(&reduction("image.histogram", "low = 0.5\nhigh = 9.5\nbins = 3"), input).unwrap();
        assert_eq!(numbers::<u64>(&out, "counts"), [3, 3, 3]);
        assert_eq!(rest(&out), [1, 2, 0]);
    }
    const TENTHS: [u64; 10] = [1, 1, 2, 0, 0, 1, 1, 0, 0, 2];

    #[test]
    fn every_pixel_is_in_one_count_in_every_dtype() {
        for dtype in Dtype::ALL.into_iter().filter(|d| !d.is_complex()) {
            let image = dispatch!(dtype, T => array(&[2, 1, 3], &[1 as T, 2 as T, 3 as T, 2 as T, 5 as T, 9 as T]), complex => unreachable!());
            let input = Dict::new().with("image", image).with("mask", array(&[1, 3], &[0u8, 1, 0]));
            let out = reduce(&reduction("image.histogram", "low = 2\nhigh = 4\nbins = 2"), input).unwrap();
            // By hand: good are 1, 3, 2, 9.
            assert_eq!(numbers::<u64>(&out, "counts"), [1, 1], "{dtype}");
            assert_eq!(rest(&out), [1, 1, 2], "{dtype}");
        }
    }
}
