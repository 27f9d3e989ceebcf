//! `tomography.bands`: lines of a pattern above their background.

use isard_core::prelude::*;
use isard_core::schemars;

/// A range of bins that holds a line, or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// Ranges that are added up, each from a bin to another, in the unit of the bins.
    ranges: Vec<[f64; 2]>,
}

/// Sums lines of each pattern above a straight background.
///
/// A band has one or more ranges; from the sum of each goes the straight line between the means of the bins beside it.
/// Before a reconstruction it makes one sinogram a band, and the maps are those of its lines; sums may be below zero.
///
/// Changes neither order nor count. One addition for each bin of a band.
///
/// Source: the region of interest as powder diffraction has always had it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    /// The bands, in the order of the maps.
    bands: Vec<Band>,
    /// Bins on each side of a range that tell its background; 0 takes none off.
    #[serde(default = "margin")]
    #[schemars(range(max = 1000))]
    margin: usize,
}

fn margin() -> usize {
    2
}

/// The input of [`Bands`].
#[derive(Ports)]
pub struct BandsIn {
    /// Patterns.
    #[port(dtype = "number", axes = "q")]
    intensity: Array,
    /// The bins.
    #[port(fixed, dtype = "number", axes = "q")]
    q: Array,
}

/// The output of [`Bands`].
#[derive(Ports)]
pub struct BandsOut {
    /// The sum of each band.
    #[port(dtype = "f32", axes = "band")]
    sums: Array,
}

impl Stage for Bands {
    type In = BandsIn;
    type Out = BandsOut;

    fn example() -> Example {
        let intensity: Vec<f32> = (0..18).map(|k| if k % 9 == 4 { 10.0 } else { (k % 9) as f32 }).collect();
        let q: Vec<f64> = (0..9).map(|k| f64::from(k) * 0.5).collect();
        Example::new("bands = [{ ranges = [[1.9, 2.1]] }]\nmargin = 1")
            .frames("intensity", Array::of(&[2, 9], &intensity).expect("18 bins"))
            .fixed("q", Array::from_slice(&q))
    }

    fn check(&self, faults: &mut Faults) {
        if self.bands.is_empty() {
            faults.add("bands", "there is none, wanted at least one");
        }
        for (k, band) in self.bands.iter().enumerate() {
            if band.ranges.is_empty() {
                faults.add("bands", format!("band {k} has no range"));
            }
            for [low, high] in &band.ranges {
                if low.is_nan() || high.is_nan() || low >= high {
                    faults.add(
                        "bands",
                        format!("band {k} has a range from {low} to {high}, wanted a rising one"),
                    );
                }
            }
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default().with("sums", Shape::array(Dtype::F32, &[self.bands.len()])))
    }
}

impl Map for Bands {
    fn apply(&self, _: &Cx, span: &Span, input: BandsIn) -> Result<BandsOut> {
        let q = input.q.to_f64()?;
        let &[n, bins] = input.intensity.shape() else {
            let found = input.intensity.shape();
            return Err(Error::data(format!("{span}: patterns of shape {found:?}, wanted [frame q]")));
        };
        if q.len() != bins {
            let found = q.len();
            return Err(Error::data(format!("{span}: patterns of {bins} bins, but `q` has {found}")));
        }
        let weights = self.weights(&q)?;
        let values = input.intensity.to_f64()?;
        let sums: Vec<f32> = values
            .chunks_exact(bins)
            .flat_map(|row| weights.iter().map(move |weights| weighed(weights, row)))
            .collect();
        Ok(BandsOut { sums: Array::of(&[n, self.bands.len()], &sums)? })
    }
}
declare!(Map, "tomography.bands", Kind::Reducer, Bands);

impl Bands {
    /// What each bin counts in each band.
    fn weights(&self, q: &[f64]) -> Result<Vec<Vec<f64>>> {
        let mut all = vec![];
        for (k, band) in self.bands.iter().enumerate() {
            let mut weights = vec![0.0; q.len()];
            for [low, high] in &band.ranges {
                let inside: Vec<usize> = (0..q.len()).filter(|b| (*low..=*high).contains(&q[*b])).collect();
                let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
                    let (a, b) = (q.first().unwrap_or(&f64::NAN), q.last().unwrap_or(&f64::NAN));
                    let found = format!("band {k}: no bin from {low} to {high}");
                    return Err(Error::data(format!("{found}, the bins run from {a} to {b}")));
                };
                inside.iter().for_each(|b| weights[*b] += 1.0);
                if self.margin == 0 {
                    continue;
                }
                let (left, right) =
                    (first.saturating_sub(self.margin)..*first, last + 1..last + 1 + self.margin);
                if left.len() < self.margin || right.end > q.len() {
                    let margin = self.margin;
                    return Err(Error::data(format!(
                        "band {k}: the range from {low} to {high} has not {margin} bins on each side"
                    ))
                    .help("move the range, or lower `margin`"));
                }
                let mean =
                    |r: &std::ops::Range<usize>| r.clone().map(|b| q[b]).sum::<f64>() / self.margin as f64;
                let (a, b) = (mean(&left), mean(&right));
                for bin in &inside {
                    let f = (q[*bin] - a) / (b - a);
                    left.clone().for_each(|l| weights[l] -= (1.0 - f) / self.margin as f64);
                    right.clone().for_each(|r| weights[r] -= f / self.margin as f64);
                }
            }
            all.push(weights);
        }
        Ok(all)
    }
}

/// The weighed sum of a pattern; bins without weight do not count, whatever they hold.
fn weighed(weights: &[f64], row: &[f64]) -> f32 {
    let counting = weights.iter().zip(row).filter(|(w, _)| **w != 0.0);
    counting.map(|(w, v)| w * v).sum::<f64>() as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn a_line_on_a_slope_keeps_its_height() {
        // By hand: the example's line of 10 stands on a slope that is 4 there.
        let bands: Bands = toml::from_str("bands = [{ ranges = [[1.9, 2.1]] }]\nmargin = 2").unwrap();
        let intensity: Vec<f32> = (0..9).map(|k| if k == 4 { 10.0 } else { k as f32 }).collect();
        let q: Vec<f64> = (0..9).map(|k| f64::from(k) * 0.5).collect();
        let run = RunCx::default();
        let input = |q: &[f64]| BandsIn {
            intensity: Array::of(&[1, 9], &intensity).unwrap(),
            q: Array::from_slice(q),
        };
        let cx = Cx::new(&run, "tested");
        let out = bands.apply(&cx, &Span::frames(0, 1), input(&q)).unwrap();
        assert_eq!(out.sums.as_slice::<f32>().unwrap(), [6.0]);
        let said = |q: &[f64]| bands.apply(&cx, &Span::frames(0, 1), input(q)).err().unwrap().to_string();
        assert!(said(&q[..5]).contains("patterns of 9 bins, but `q` has 5"));
        let far: Vec<f64> = q.iter().map(|q| q + 10.0).collect();
        assert!(said(&far).contains("no bin from 1.9 to 2.1, the bins run from 10 to 14"));
        let near: Vec<f64> = q.iter().map(|q| q + 1.9).collect();
        assert!(said(&near).contains("has not 2 bins on each side"));
    }
}
