//! Dark, gain and dead pixels: folded into masks, or applied to frames.

use isard_core::prelude::*;

use crate::reduce::frames::Size;

/// The fixed images of a correction.
#[derive(Clone, Default)]
pub(crate) struct Fixed {
    pub dark: Option<Array>,
    pub gain: Option<Array>,
    pub dead: Option<Array>,
}

impl PartialEq for Fixed {
    fn eq(&self, other: &Fixed) -> bool {
        // The arrays of a run are the same memory chunk after chunk.
        let same = |a: &Option<Array>, b: &Option<Array>| match (a, b) {
            (Some(a), Some(b)) => a.bytes().as_ptr() == b.bytes().as_ptr() || a == b,
            (a, b) => a.is_none() && b.is_none(),
        };
        same(&self.dark, &other.dark) && same(&self.gain, &other.gain) && same(&self.dead, &other.dead)
    }
}

/// A correction for frames of one size.
pub(crate) struct Correction {
    pub dark: Option<Vec<f64>>,
    pub gain: Option<Vec<f64>>,
    /// Dead pixels, each with its good neighbours.
    pub dead: Vec<(usize, Vec<usize>)>,
}

impl Correction {
    /// The correction of fixed images; an isolated hole without good neighbours is an error.
    pub fn new(size: Size, fixed: &Fixed) -> Result<Correction> {
        let read =
            |name: &str, array: &Option<Array>| array.as_ref().map(|a| size.fixed(name, a)).transpose();
        let (dark, gain) = (read("dark", &fixed.dark)?, read("gain", &fixed.gain)?);
        let mut dead = vec![];
        if let Some(holes) = read("dead", &fixed.dead)? {
            for (i, _) in holes.iter().enumerate().filter(|(_, d)| **d != 0.0) {
                let (y, x) = (i / size.columns, i % size.columns);
                let mut good = vec![];
                for ny in y.saturating_sub(1)..(y + 2).min(size.rows) {
                    for nx in x.saturating_sub(1)..(x + 2).min(size.columns) {
                        let n = ny * size.columns + nx;
                        if holes[n] == 0.0 {
                            good.push(n);
                        }
                    }
                }
                if good.is_empty() {
                    return Err(Error::data(format!("dead pixel [{y}, {x}] has no good neighbour"))
                        .help("leave it out of all detectors, or out of `dead`"));
                }
                dead.push((i, good));
            }
        }
        Ok(Correction { dark, gain, dead })
    }

    /// Whether nothing is corrected.
    pub fn is_empty(&self) -> bool {
        self.dark.is_none() && self.gain.is_none() && self.dead.is_empty()
    }

    /// Folds the correction into the weights of a mask; gives what is to be subtracted from its sums.
    ///
    /// `sum W' (I - dark) gain` with the weights of dead pixels moved in equal parts onto their good neighbours.
    pub fn fold(&self, weights: &mut [f64]) -> f64 {
        for (dead, good) in &self.dead {
            let share = std::mem::take(&mut weights[*dead]) / good.len() as f64;
            good.iter().for_each(|n| weights[*n] += share);
        }
        if let Some(gain) = &self.gain {
            weights.iter_mut().zip(gain).for_each(|(w, g)| *w *= g);
        }
        let dark = self.dark.as_ref();
        // A dead pixel may have any dark value, NaN too; its weight is 0.
        dark.map_or(0.0, |d| weights.iter().zip(d).filter(|(w, _)| **w != 0.0).map(|(w, d)| w * d).sum())
    }

    /// Corrects a frame.
    pub fn apply(&self, frame: &mut [f64]) {
        if let Some(dark) = &self.dark {
            frame.iter_mut().zip(dark).for_each(|(x, d)| *x -= d);
        }
        if let Some(gain) = &self.gain {
            frame.iter_mut().zip(gain).for_each(|(x, g)| *x *= g);
        }
        for (dead, good) in &self.dead {
            frame[*dead] = good.iter().map(|n| frame[*n]).sum::<f64>() / good.len() as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_into_masks_is_correcting_frames() {
        let size = Size { n: 1, rows: 4, columns: 3 };
        let of = |values: &[f64]| Some(Array::of(&[4, 3], values).unwrap());
        let ramp: Vec<f64> = (0..12).map(|i| f64::from(i) * 0.5).collect();
        let gain: Vec<f64> = (0..12).map(|i| 1.0 + 0.01 * f64::from(i)).collect();
        let mut dead = vec![0.0; 12];
        (dead[0], dead[1], dead[7]) = (1.0, 1.0, 1.0);
        let fixed = Fixed { dark: of(&ramp), gain: of(&gain), dead: of(&dead) };
        let correction = Correction::new(size, &fixed).unwrap();
        let frame: Vec<f64> = (0..12).map(|i| f64::from(i * i)).collect();
        let weights: Vec<f64> = (0..12).map(|i| f64::from(i % 5) - 1.0).collect();
        let mut corrected = frame.clone();
        correction.apply(&mut corrected);
        // By hand: pixel 7 = (2, 1) has eight good neighbours.
        let near: f64 = [3, 4, 5, 6, 8, 9, 10, 11].iter().map(|n| (frame[*n] - ramp[*n]) * gain[*n]).sum();
        assert!((corrected[7] - near / 8.0).abs() < 1e-12);
        let wanted: f64 = corrected.iter().zip(&weights).map(|(x, w)| x * w).sum();
        let mut folded = weights.clone();
        let less = correction.fold(&mut folded);
        let found: f64 = frame.iter().zip(&folded).map(|(x, w)| x * w).sum::<f64>() - less;
        assert!((found - wanted).abs() < 1e-9, "{found} for {wanted}");
        let hole = Fixed { dead: of(&[1.0; 12]), ..Fixed::default() };
        assert!(Correction::new(size, &hole).is_err());
    }
}
