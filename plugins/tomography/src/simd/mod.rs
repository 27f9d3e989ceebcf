//! Loops over channels, compiled once more for wider vectors and chosen at run time.
//!
//! Every level runs the same additions in the same order, so results do not depend on the machine.

mod fft;
mod kernel;

use std::sync::OnceLock;

pub(crate) use fft::Plan;
pub(crate) use kernel::{Entry, Line};

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

/// Fills every `skip`-th entry with the places of a line.
pub(crate) fn fill(level: Level, line: Line, entries: &mut [Entry], skip: usize) {
    with(
        level,
        #[inline(always)]
        || kernel::fill(line, entries, skip),
    );
}

/// Adds to each pixel what its rays hold: so many entries each.
pub(crate) fn gather<const L: usize>(
    level: Level,
    pixels: &mut [[f32; L]],
    entries: &[Entry],
    rays: &[[f32; L]],
) {
    let each = entries.len() / pixels.len().max(1);
    with(
        level,
        #[inline(always)]
        || kernel::gather(pixels, entries, |k| [k * each, (k + 1) * each], 1, rays),
    );
}

/// Adds to each ray what its pixels hold, which lie side by side in steps of `next`; `ends` bounds its entries.
pub(crate) fn gather_along<const L: usize>(
    level: Level,
    rays: &mut [[f32; L]],
    (entries, ends): (&[Entry], &[u32]),
    next: usize,
    pixels: &[[f32; L]],
) {
    with(
        level,
        #[inline(always)]
        || kernel::gather(rays, entries, |k| [ends[k] as usize, ends[k + 1] as usize], next, pixels),
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
        let line = Line {
            from: -1.5,
            step: 0.83,
            last: 40.2,
            base: 13,
            advance: 0,
            stride: 1,
            narrow: 1.2,
            weight: 0.7,
        };
        let entries = |level, line, skip: usize| {
            let mut entries = vec![Entry::default(); 48];
            fill(level, line, &mut entries, skip);
            entries
        };
        let table = entries(Level::Plain, line, 1);
        for level in [Level::Avx2, Level::Avx512] {
            assert_eq!(entries(level, line, 1), table);
            let steps = Line { advance: 3, stride: 2, last: 9.0, ..line };
            assert_eq!(entries(level, steps, 2), entries(Level::Plain, steps, 2));
            let (mut plain, mut wide) = (numbers::<L>(12, 3), numbers::<L>(12, 3));
            gather(Level::Plain, &mut plain, &table, &rays);
            gather(level, &mut wide, &table, &rays);
            assert_eq!(plain, wide);
            let ends = [0u32, 5, 5, 20, 48];
            let (mut one, mut other) = (numbers::<L>(4, 4), numbers::<L>(4, 4));
            gather_along(Level::Plain, &mut one, (&table, &ends), 2, &rays);
            gather_along(level, &mut other, (&table, &ends), 2, &rays);
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
