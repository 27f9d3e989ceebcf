//! Loops over channels, compiled once more for wider vectors and chosen at run time.
//!
//! Every level runs the same additions in the same order, so results do not depend on the machine.

mod fft;
mod kernel;

use std::sync::OnceLock;

pub(crate) use fft::Plan;
pub(crate) use kernel::{Entry, Line, Plot, SIDE, Slope, TURNS};

/// What the processor offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Any processor.
    Plain,
    /// 256 bits.
    Avx2,
    /// 512 bits.
    Avx512,
}

/// The best level of this machine.
pub(crate) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Level::Avx2;
            }
        }
        Level::Plain
    })
}

/// Runs a kernel with the instructions of a level; what is to gain from them must be inlined into it.
#[inline(always)]
fn with<R>(level: Level, work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    match level.min(self::level()) {
        // SAFETY: the processor has AVX-512 F and VL.
        Level::Avx512 => return unsafe { with_avx512(work) },
        // SAFETY: the processor has AVX2.
        Level::Avx2 => return unsafe { with_avx2(work) },
        Level::Plain => (),
    }
    let _ = level;
    work()
}

/// # Safety
/// The processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// # Safety
/// The processor must have AVX-512 F and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512vl")]
unsafe fn with_avx512<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Fills entries with the places of a line.
pub(crate) fn fill(level: Level, line: Line, entries: &mut [Entry]) {
    with(
        level,
        #[inline(always)]
        || kernel::fill(line, entries),
    );
}

/// Finds the rays of each angle that the pixels of a plot lie between; those of angles that are none stay empty.
pub(crate) fn lay(level: Level, slopes: &[Slope; TURNS], plot: &mut Plot) {
    with(
        level,
        #[inline(always)]
        || kernel::lay(slopes, plot),
    );
}

/// Adds to the pixels of a plot what their rays hold; see [`kernel::add`].
pub(crate) fn add<const L: usize>(
    level: Level,
    sums: &mut [[f32; L]],
    pitch: usize,
    shape: [usize; 2],
    plot: &Plot,
    rays: &[[f32; L]],
) {
    with(
        level,
        #[inline(always)]
        || kernel::add(sums, pitch, shape, plot, rays),
    );
}

/// Adds to each ray what its pixels hold, which lie side by side in steps of `next`; `ends` bounds its entries.
pub(crate) fn gather<const L: usize>(
    level: Level,
    rays: &mut [[f32; L]],
    entries: (&[Entry], &[u32]),
    next: usize,
    pixels: &[[f32; L]],
) {
    with(
        level,
        #[inline(always)]
        || kernel::gather(rays, entries, next, pixels),
    );
}

/// Convolves `H` pairs of channels with an even kernel: the real parts, and the imaginary ones.
///
/// Both are as long as the plan says, with zeros behind their values; what comes to stand there is of no use.
pub(crate) fn convolve<const H: usize>(level: Level, plan: &Plan, re: &mut [[f32; H]], im: &mut [[f32; H]]) {
    with(
        level,
        #[inline(always)]
        || fft::convolve(plan, re, im),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers<const L: usize>(n: usize, seed: u32) -> Vec<[f32; L]> {
        let mut x = seed;
        let mut next = || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 8) as f32 / 16_777_216.0 - 0.5
        };
        (0..n).map(|_| std::array::from_fn(|_| next())).collect()
    }

    fn agree<const L: usize>() {
        let rays = numbers::<L>(64, 1);
        let line = Line { from: -1.5, step: 0.83, last: 40.2, base: 13, advance: 0, stride: 1, weight: 0.7 };
        let entries = |level, line| {
            let mut entries = vec![Entry::default(); 48];
            fill(level, line, &mut entries);
            entries
        };
        let table = entries(Level::Plain, line);
        let slopes = std::array::from_fn(|k| Slope {
            from: -2.5 + k as f64,
            across: 0.9 - 0.2 * k as f64,
            down: 0.3 * k as f64 - 0.8,
            last: 20.0,
            base: 5 * k as u32,
            narrow: 1.0 + 0.05 * k as f64,
            weight: 0.7,
        });
        let sums = |level| {
            let mut plot = Plot::new();
            lay(level, &slopes, &mut plot);
            let mut sums = numbers::<L>(12 * 20, 7);
            add(level, &mut sums, 20, [11, 15], &plot, &rays);
            sums
        };
        for level in [Level::Avx2, Level::Avx512] {
            assert_eq!(entries(level, line), table);
            let steps = Line { advance: 3, stride: 2, last: 9.0, ..line };
            assert_eq!(entries(level, steps), entries(Level::Plain, steps));
            assert_eq!(sums(level), sums(Level::Plain));
            let ends = [0u32, 5, 5, 20, 48];
            let (mut one, mut other) = (numbers::<L>(4, 4), numbers::<L>(4, 4));
            gather(Level::Plain, &mut one, (&table, &ends), 2, &rays);
            gather(level, &mut other, (&table, &ends), 2, &rays);
            assert_eq!(one, other);
            let plan = Plan::new(&(0..32).map(|k| 0.1 - f64::from(k)).collect::<Vec<f64>>());
            let (mut re, mut im) = (rays.clone(), rays.clone());
            let (mut also_re, mut also_im) = (rays.clone(), rays.clone());
            convolve(Level::Plain, &plan, &mut re, &mut im);
            convolve(level, &plan, &mut also_re, &mut also_im);
            assert_eq!((re, im), (also_re, also_im));
        }
    }

    #[test]
    fn a_pixel_lies_between_its_rays() {
        // By hand: ray k holds k + 10; pixel (r, q) falls on 3.25 + q / 2 - r / 4, 0 and 8 being the outermost.
        let rays: Vec<[f32; 8]> = (0..12).map(|k| [k as f32 + 10.0; 8]).collect();
        let slope =
            Slope { from: 3.25, across: 0.5, down: -0.25, last: 8.0, base: 1, narrow: 1.0, weight: 2.0 };
        let mut slopes = [Slope::default(); TURNS];
        slopes[2] = slope;
        let mut plot = Plot::new();
        lay(level(), &slopes, &mut plot);
        let mut sums = vec![[0f32; 8]; 16 * 18];
        add(level(), &mut sums, 18, [16, 14], &plot, &rays);
        for (k, sum) in sums.iter().enumerate() {
            let (r, q) = (k / 18, k % 18);
            let place = (3.25 + 0.5 * q as f32 - 0.25 * r as f32).clamp(0.0, 8.0);
            let wanted = if q < 14 { 2.0 * (place + 11.0) } else { 0.0 };
            assert_eq!(*sum, [wanted; 8], "{r} {q}");
        }
    }

    #[test]
    fn every_level_gives_the_same_bits() {
        agree::<8>();
        agree::<32>();
    }

    #[test]
    fn a_convolution_is_the_sum_over_its_taps() {
        // Both lengths of transforms, powers of four and those between, against the sum itself in double precision.
        for n in [3usize, 7, 24, 40, 100] {
            let taps: Vec<f64> = (0..n).map(|d| if d == 0 { 0.25 } else { -0.1 / (d * d) as f64 }).collect();
            let plan = Plan::new(&taps);
            let (x, y) = (numbers::<4>(n, 5), numbers::<4>(n, 6));
            let (mut re, mut im) = (vec![[0.0; 4]; plan.len()], vec![[0.0; 4]; plan.len()]);
            re[..n].copy_from_slice(&x);
            im[..n].copy_from_slice(&y);
            convolve(level(), &plan, &mut re, &mut im);
            for (series, found) in [(&x, &re), (&y, &im)] {
                for k in 0..n {
                    for l in 0..4 {
                        let wanted: f64 = (0..n).map(|i| taps[i.abs_diff(k)] * f64::from(series[i][l])).sum();
                        assert!(
                            (f64::from(found[k][l]) - wanted).abs() < 1e-6,
                            "{n} {k}: {} {wanted}",
                            found[k][l]
                        );
                    }
                }
            }
        }
    }
}
