//! When to stop: rays that were held back say when the noise begins to be fitted.

use std::f64;

/// One ray in so many is held back.
const ONE_IN: u64 = 8;

/// Whether a ray is one of those that are held back.
///
/// A fixed choice that looks like chance, so that neither the seed nor the order of arrival changes a result.
pub fn is_held(angle: usize, ray: usize) -> bool {
    // SplitMix64 of the ray's place (Steele et al., OOPSLA 2014).
    let mut z = ((angle as u64) << 32 | ray as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).is_multiple_of(ONE_IN)
}

/// The error of the rays that were held back, iteration by iteration.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The error after each iteration, as a part of the held rays' own power.
    pub errors: Vec<f64>,
}

impl Held {
    /// The iteration with the smallest error, counted from 1.
    pub fn best(&self) -> Option<usize> {
        let least = self.errors.iter().copied().fold(f64::INFINITY, f64::min);
        self.errors.iter().position(|e| *e <= least).map(|k| k + 1)
    }

    /// Whether the smallest error lies so far back that no smaller one is to be expected.
    pub fn is_over(&self) -> bool {
        // The curve is flat near its least: a few iterations without gain do not end it.
        self.best().is_some_and(|best| self.errors.len() > best + 5 + best / 5)
    }
}

/// What a reconstruction in steps does at the moment.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Frames still arrive.
    Live,
    /// Looking for the number of iterations, without the rays that are held back.
    Probing(Held),
    /// The last run, with all rays and so many iterations.
    Final(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_is_held_and_the_least_error_is_found() {
        let held = (0..200 * 300).filter(|k| is_held(k / 300, k % 300)).count();
        assert!((7200..7800).contains(&held), "{held}");
        let mut curve = Held::default();
        for k in 0..40 {
            curve.errors.push((f64::from(k) - 19.0).powi(2) + 3.0);
            if curve.is_over() {
                break;
            }
        }
        // The least is that of the twentieth; 5 + 20 / 5 more make sure of it.
        assert_eq!((curve.best(), curve.errors.len()), (Some(20), 30));
    }
}
