//! Electron counting: frames become the places where electrons hit.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::reduce::{Fixed, Size, above, doubles};

/// Counts single electrons in frames.
///
/// From each frame the dark is subtracted; pixels above `low` and below `high` are candidates. With `maximum` an electron is a
/// candidate that is the largest of its eight neighbours (of equal ones the first), with `cluster` it is a group of candidates that
/// touch, at the centre of mass of their values. Without `low` the threshold of a frame is `mu + sigmas * sigma` of its own
/// background, as a Gaussian has them: the median, and the spread of the values below and around it; without `high` there
/// is no upper limit for X-rays.
///
/// Changes neither order nor count of frames. About 20 ns a pixel, more without `low`.
///
/// Source: M. Battaglia et al., Nucl. Instrum. Methods A 608 (2009) 363.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Values above this are signal; else each frame has its own threshold.
    #[serde(default)]
    low: Option<f64>,
    /// Values from this on are no electrons but X-rays.
    #[serde(default)]
    high: Option<f64>,
    /// How many widths of the background its own threshold is above the middle.
    #[serde(default = "four")]
    sigmas: f64,
    /// What an electron is.
    #[serde(default)]
    method: Method,
}

fn four() -> f64 {
    4.0
}

/// What an electron is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A pixel above its neighbours.
    #[default]
    Maximum,
    /// A group of pixels that touch.
    Cluster,
}

/// Frames, and what they show without a beam.
#[derive(Ports)]
pub struct CountIn {
    /// Frames with few electrons.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// What each pixel shows without a beam.
    #[port(fixed, dtype = "number", axes = "y x")]
    dark: Option<Array>,
}

/// Electrons.
#[derive(Ports)]
pub struct CountOut {
    /// One row for each electron.
    #[port(columns = "row: f64 pixel, column: f64 pixel, value: f64")]
    events: Table,
    /// How many electrons each pixel has.
    #[port(dtype = "u8", axes = "y x", unit = "count")]
    image: Array,
    /// How many electrons each frame has.
    #[port(dtype = "u32", axes = "")]
    count: Array,
    /// The threshold of each frame.
    #[port(dtype = "f64", axes = "")]
    threshold: Array,
}

impl Stage for Count {
    type In = CountIn;
    type Out = CountOut;

    fn example() -> Example {
        #[rustfmt::skip]
        let pixels = [
            1u16, 0, 1, 0,
            0, 9, 3, 1,
            1, 0, 0, 8,

            0, 1, 0, 1,
            7, 7, 1, 0,
            0, 1, 0, 60,
        ];
        Example::new("low = 5.0\nhigh = 50.0")
            .frames("image", Array::of(&[2, 3, 4], &pixels).expect("24 pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        if let (Some(low), Some(high)) = (self.low, self.high)
            && !above(high, low)
        {
            faults.add("high", format!("is {high}, wanted more than `low`, {low}"));
        }
        if !above(self.sigmas, 0.0) {
            faults.add("sigmas", format!("is {}, wanted a number above 0", self.sigmas));
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let dims = input.get("image").dims;
        Ok(Shapes::default()
            .with("image", Shape { dtype: Some(Dtype::U8), dims })
            .with("count", Shape::array(Dtype::U32, &[]))
            .with("threshold", Shape::array(Dtype::F64, &[])))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("image").dims.map_or(0, |d| d.iter().product::<usize>());
        Cost { seconds_per_record: pixels as f64 * 2e-8, ..Cost::default() }
    }
}

impl Map for Count {
    fn apply(&self, cx: &Cx, span: &Span, input: CountIn) -> Result<CountOut> {
        let size = Size::of(&input.image)?;
        let fixed = Fixed { dark: input.dark, ..Fixed::default() };
        let dark = fixed.dark.as_ref().map(|d| size.fixed("dark", d)).transpose()?;
        let mut out = cx.array(Dtype::U8, input.image.shape())?;
        out.bytes_mut().fill(0);
        let (mut records, mut rows, mut columns, mut values) = (vec![], vec![], vec![], vec![]);
        let (mut counts, mut thresholds) = (vec![], vec![]);
        for frame in 0..size.n {
            cx.check()?;
            let mut pixels = doubles(&input.image.record(frame)?)?;
            if let Some(dark) = &dark {
                pixels.iter_mut().zip(dark).for_each(|(p, d)| *p -= d);
            }
            let low = self.low.unwrap_or_else(|| background(&pixels, self.sigmas));
            let high = self.high.unwrap_or(f64::INFINITY);
            let events = match self.method {
                Method::Maximum => maxima(&pixels, size, low, high),
                Method::Cluster => clusters(&pixels, size, low, high),
            };
            let map = &mut out.bytes_mut()[frame * size.pixels()..(frame + 1) * size.pixels()];
            for (y, x, value) in &events {
                let place = &mut map[y.round() as usize * size.columns + x.round() as usize];
                *place = place.saturating_add(1);
                records.push(span.start + frame as u64);
                rows.push(*y);
                columns.push(*x);
                values.push(*value);
            }
            counts.push(events.len() as u32);
            thresholds.push(low);
        }
        let events = Table::new(records.len())
            .with("row", &rows)?
            .with("column", &columns)?
            .with("value", &values)?
            .with_records(&records)?;
        Ok(CountOut {
            events,
            image: out.freeze(),
            count: Array::from_slice(&counts),
            threshold: Array::from_slice(&thresholds),
        })
    }
}
declare!(Map, "stem.count", Kind::Reducer, Count);

/// The threshold above the background of a frame, which most of its pixels show.
fn background(pixels: &[f64], sigmas: f64) -> f64 {
    let mut sorted: Vec<f64> = pixels.iter().copied().filter(|p| p.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return f64::INFINITY;
    }
    let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part).round() as usize];
    let (mut mu, mut sigma) = (at(0.5), (at(0.5) - at(0.158_655)).max(f64::MIN_POSITIVE));
    // Moments within three widths lose 1.3 % of the width, and no longer see the electrons.
    for _ in 0..5 {
        let near = || sorted.iter().filter(|p| (**p - mu).abs() <= 3.0 * sigma);
        let n = near().count() as f64;
        let mean = near().sum::<f64>() / n;
        let square = near().map(|p| (p - mean) * (p - mean)).sum::<f64>() / n;
        if !above(square, 0.0) {
            break;
        }
        (mu, sigma) = (mean, square.sqrt() * 1.0135);
    }
    mu + sigmas * sigma
}

fn maxima(pixels: &[f64], size: Size, low: f64, high: f64) -> Vec<(f64, f64, f64)> {
    let (rows, columns) = (size.rows as isize, size.columns as isize);
    let mut found = vec![];
    for (i, value) in pixels.iter().enumerate().filter(|(_, v)| **v > low && **v < high) {
        let (y, x) = ((i / size.columns) as isize, (i % size.columns) as isize);
        let mut largest = true;
        for (dy, dx) in NEAR {
            let (ny, nx) = (y + dy, x + dx);
            if ny < 0 || nx < 0 || ny >= rows || nx >= columns {
                continue;
            }
            let other = pixels[(ny * columns + nx) as usize];
            // Of equal neighbours the first is the maximum.
            let before = (dy, dx) < (0, 0);
            largest &= if before { *value > other } else { *value >= other };
        }
        if largest {
            found.push((y as f64, x as f64, *value));
        }
    }
    found
}

/// The eight neighbours.
const NEAR: [(isize, isize); 8] = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)];

fn clusters(pixels: &[f64], size: Size, low: f64, high: f64) -> Vec<(f64, f64, f64)> {
    let (rows, columns) = (size.rows as isize, size.columns as isize);
    let open = |i: usize| pixels[i] > low && pixels[i] < high;
    let mut seen = vec![false; pixels.len()];
    let (mut found, mut stack) = (vec![], vec![]);
    for start in 0..pixels.len() {
        if seen[start] || !open(start) {
            continue;
        }
        seen[start] = true;
        stack.push(start);
        let (mut sum, mut sy, mut sx, mut weights) = (0.0, 0.0, 0.0, 0.0);
        while let Some(i) = stack.pop() {
            let (y, x) = ((i / size.columns) as isize, (i % size.columns) as isize);
            // A threshold below 0 lets pixels through that weigh nothing.
            let weight = pixels[i].max(f64::MIN_POSITIVE);
            sum += pixels[i];
            weights += weight;
            sy += weight * y as f64;
            sx += weight * x as f64;
            for (dy, dx) in NEAR {
                let (ny, nx) = (y + dy, x + dx);
                if ny < 0 || nx < 0 || ny >= rows || nx >= columns {
                    continue;
                }
                let n = (ny * columns + nx) as usize;
                if !seen[n] && open(n) {
                    seen[n] = true;
                    stack.push(n);
                }
            }
        }
        found.push((sy / weights, sx / weights, sum));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plateaus_give_one_electron_and_clusters_their_centre() {
        let size = Size { n: 1, rows: 3, columns: 5 };
        #[rustfmt::skip]
        let pixels = [
            0.0, 0.0, 0.0, 0.0, 9.0,
            0.0, 7.0, 7.0, 0.0, 0.0,
            0.0, 0.0, 0.0, 0.0, 80.0,
        ];
        assert_eq!(maxima(&pixels, size, 5.0, 50.0), [(0.0, 4.0, 9.0), (1.0, 1.0, 7.0)]);
        assert_eq!(clusters(&pixels, size, 5.0, 50.0), [(0.0, 4.0, 9.0), (1.0, 1.5, 14.0)]);
    }

    #[test]
    fn the_background_is_told_from_electrons() {
        // A triangle of values about 10, whose variance is 40 / 16 by hand, and 2 % electrons.
        let mut pixels = vec![];
        for (k, w) in [(-3.0, 1), (-2.0, 2), (-1.0, 3), (0.0, 4), (1.0, 3), (2.0, 2), (3.0, 1)] {
            pixels.extend(std::iter::repeat_n(10.0 + k, 100 * w));
        }
        pixels.extend([90.0; 32]);
        let wanted = 10.0 + 4.0 * (2.5f64).sqrt();
        let found = background(&pixels, 4.0);
        assert!((found - wanted).abs() < 0.2, "{found} for {wanted}");
    }
}
