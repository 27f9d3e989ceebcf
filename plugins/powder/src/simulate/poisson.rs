//! Poisson counts for a whole image at once.
//!
//! Small means use tables: a mean is the sum of a grid value, drawn by inversion of a tabulated distribution,
//! and a small rest, drawn from the other half of the same 64 random bits; the sum of two Poisson numbers is one.
//! Probabilities are exact to 2^-32. Larger means use Hörmann's transformed rejection PTRS
//! (Insurance: Mathematics and Economics 12, 39 (1993)), which is exact.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Means from here on are drawn by rejection.
const LARGE: f64 = 32.0;
/// Grid values per unit of the mean.
const STEPS: f64 = 8.0;
/// Level that marks a pixel drawn by rejection.
const REJECT: u16 = u16::MAX;
const TWO_32: f64 = 4_294_967_296.0;

/// The random numbers of one frame: a function of seed and frame number alone.
pub fn frame_rng(seed: u64, frame: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(frame);
    rng
}

/// A detector's counter: an unsigned pixel type that stops at its largest value.
pub trait Count: Copy {
    /// The count, or nothing if it does not fit.
    fn from_count(n: u64) -> Option<Self>;
    /// The largest count.
    const FULL: Self;
}

impl Count for u16 {
    fn from_count(n: u64) -> Option<Self> {
        n.try_into().ok()
    }
    const FULL: Self = Self::MAX;
}

impl Count for u32 {
    fn from_count(n: u64) -> Option<Self> {
        n.try_into().ok()
    }
    const FULL: Self = Self::MAX;
}

// How one pixel is drawn: its table, and below which of 2^32 the rest's first count comes.
#[derive(Debug, Clone, Copy)]
struct Pixel {
    level: u16,
    rest: u32,
    mean: f32,
}

#[derive(Debug, Clone, Default)]
struct Table {
    // cumulative[k] is 2^32 P(N <= k), rounded down; the last is 2^32 - 1.
    cumulative: Vec<u32>,
    // First k worth a look, by the top byte of the random number.
    guide: Vec<u8>,
}

/// An image of means, ready to be drawn from.
#[derive(Debug, Clone)]
pub struct Field {
    pixels: Vec<Pixel>,
    tables: Vec<Table>,
}

impl Field {
    /// Prepare an image of means; what is not above zero never counts.
    pub fn new(means: &[f32]) -> Self {
        let mut tables = vec![Table::default(); (LARGE * STEPS) as usize];
        let pixels = means
            .iter()
            .map(|&mean| {
                let m = f64::from(mean.max(0.0));
                if m >= LARGE {
                    return Pixel { level: REJECT, rest: 0, mean };
                }
                let level = (m * STEPS).floor();
                let rest = -(-(m - level / STEPS)).exp_m1();
                let table = &mut tables[level as usize];
                if table.cumulative.is_empty() {
                    *table = Table::new(level / STEPS);
                }
                Pixel { level: level as u16, rest: (rest * TWO_32) as u32, mean: mean.max(0.0) }
            })
            .collect();
        Self { pixels, tables }
    }

    /// Draw one frame; returns how many counts did not fit and were left at the largest.
    ///
    /// # Panics
    /// When `out` has another size than the image of means.
    pub fn draw<T: Count>(&self, rng: &mut ChaCha8Rng, out: &mut [T]) -> usize {
        assert_eq!(out.len(), self.pixels.len(), "the frame has the size of the image of means");
        self.draw_part(0, rng, out)
    }

    /// Draw the pixels from `first` on that `out` has room for; returns how many counts did not fit.
    ///
    /// # Panics
    /// When there are fewer pixels than that.
    pub fn draw_part<T: Count>(&self, first: usize, rng: &mut ChaCha8Rng, out: &mut [T]) -> usize {
        let pixels = &self.pixels[first..first + out.len()];
        let mut full = 0;
        for (out, pixel) in out.iter_mut().zip(pixels) {
            let n = if pixel.level == REJECT {
                transformed_rejection(f64::from(pixel.mean), rng)
            } else {
                let bits = rng.next_u64();
                let n = self.tables[usize::from(pixel.level)].invert((bits >> 32) as u32);
                let low = bits as u32;
                if low < pixel.rest { n + rest(pixel, low) } else { n }
            };
            *out = T::from_count(n).unwrap_or_else(|| {
                full += 1;
                T::FULL
            });
        }
        full
    }
}

impl Table {
    fn new(mean: f64) -> Self {
        let mut cumulative = Vec::new();
        let (mut p, mut sum) = ((-mean).exp(), 0.0);
        for k in 1u32.. {
            sum += p;
            p *= mean / f64::from(k);
            if p < 0.5 / TWO_32 && f64::from(k) > mean {
                break;
            }
            cumulative.push((sum * TWO_32).min(TWO_32 - 1.0) as u32);
        }
        cumulative.push(u32::MAX);
        let guide =
            (0..256u32).map(|top| cumulative.partition_point(|&c| c <= top << 24).min(255) as u8).collect();
        Self { cumulative, guide }
    }

    fn invert(&self, bits: u32) -> u64 {
        let mut k = usize::from(self.guide[(bits >> 24) as usize]);
        let last = self.cumulative.len() - 1;
        while k < last && bits >= self.cumulative[k] {
            k += 1;
        }
        k as u64
    }
}

// The rest is below 1/8 and at least one count is certain: invert its distribution from above.
#[cold]
fn rest(pixel: &Pixel, low: u32) -> u64 {
    let mean = f64::from(pixel.mean) - f64::from(pixel.level) / STEPS;
    // `low` is uniform below 1 - exp(-mean): compare it with the chance of two or more, three or more, and so on.
    let mut p = (-mean).exp();
    let mut above = 1.0 - p;
    let mut n = 1;
    loop {
        p *= mean / n as f64;
        above -= p;
        if f64::from(low) >= above * TWO_32 || n > 12 {
            return n;
        }
        n += 1;
    }
}

fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    // 53 bits, never zero.
    ((rng.next_u64() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
}

fn transformed_rejection(mean: f64, rng: &mut ChaCha8Rng) -> u64 {
    let b = 0.931 + 2.53 * mean.sqrt();
    let a = -0.059 + 0.024_83 * b;
    let accept = 0.9277 - 3.6224 / (b - 2.0);
    loop {
        let u = uniform(rng) - 0.5;
        let v = uniform(rng);
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
        if us >= 0.07 && v <= accept {
            return k as u64;
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        let inverse = 1.1239 + 1.1328 / (b - 3.4);
        let left = (v * inverse / (a / (us * us) + b)).ln();
        if left <= k * mean.ln() - mean - ln_factorial(k) {
            return k as u64;
        }
    }
}

fn ln_factorial(k: f64) -> f64 {
    if k < 16.0 {
        return (2..=k as u32).map(|i| f64::from(i).ln()).sum();
    }
    // Stirling's series; the next term is below 1e-9 here.
    let inv = 1.0 / k;
    let series = inv * (1.0 / 12.0 - inv * inv * (1.0 / 360.0 - inv * inv / 1260.0));
    k * k.ln() - k + 0.5 * (std::f64::consts::TAU * k).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    // Pearson's chi-squared against the Poisson probabilities; the bound is the normal approximation at 5 sigma.
    #[test]
    fn counts_follow_the_poisson_distribution() {
        let n = 400_000;
        for (seed, mean) in
            [0.003f32, 0.11, 0.124, 0.9, 3.3, 12.06, 31.99, 32.0, 47.3, 310.0].into_iter().enumerate()
        {
            let mut frame = vec![0u32; n];
            Field::new(&vec![mean; n]).draw(&mut frame_rng(seed as u64, 9), &mut frame);
            let mut seen = vec![0.0; 600];
            frame.iter().for_each(|&k| seen[k as usize] += 1.0);
            let mean = f64::from(mean);
            let (mut chi2, mut bins, mut expected, mut got) = (0.0, 0.0, 0.0, 0.0);
            for (k, seen) in seen.iter().enumerate() {
                let k = k as f64;
                expected += n as f64 * (k * mean.ln() - mean - ln_factorial(k)).exp();
                got += seen;
                if expected > 10.0 {
                    chi2 += (got - expected).powi(2) / expected;
                    bins += 1.0;
                    (expected, got) = (0.0, 0.0);
                }
            }
            let dof: f64 = bins - 1.0;
            assert!(chi2 < dof + 5.0 * (2.0 * dof.max(1.0)).sqrt() + 5.0, "mean {mean}: {chi2} for {dof}");
        }
    }

    #[test]
    fn a_frame_is_a_function_of_seed_and_number() {
        let field = Field::new(&[2.5; 1000]);
        let draw = |seed, frame| {
            let mut out = vec![0u16; 1000];
            assert_eq!(field.draw(&mut frame_rng(seed, frame), &mut out), 0);
            out
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn zero_never_counts_and_full_is_told() {
        let mut out = [7u16; 3];
        let full = Field::new(&[0.0, -1.0, 1e6]).draw(&mut frame_rng(0, 0), &mut out);
        assert_eq!((out, full), ([0, 0, u16::MAX], 1));
    }

    // 20! = 2432902008176640000, so ln 20! = 42.335616460753485.
    #[test]
    fn the_factorial_is_that_of_a_table() {
        assert!((ln_factorial(20.0) - 42.335_616_460_753_485).abs() < 1e-9);
        assert!((ln_factorial(5.0) - 120f64.ln()).abs() < 1e-14);
    }
}
