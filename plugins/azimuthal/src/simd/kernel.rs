//! The loop over blocks: read eight pixels, multiply them by their shares, add them to their bins.

use crate::pixel::{Dummy, Pixel};
use crate::simd::pack::{LANES, Lost, Packed, Run};
use crate::sums::Sums;

/// What the loop works on.
struct Job<'a, T> {
    packed: &'a Packed,
    frame: &'a [T],
    variance: Option<&'a [f32]>,
    dummy: Option<Dummy>,
}

/// Adds a frame to the signal and, where wanted, to the variance; lists the pixels that are invalid.
pub(super) fn scatter<T: Pixel>(
    packed: &Packed,
    dummy: Option<Dummy>,
    frame: &[T],
    variance: Option<&[f32]>,
    spread: bool,
    sums: &mut Sums,
    lost: &mut Vec<Lost>,
) {
    let job = Job { packed, frame, variance, dummy };
    let kinds = if spread { 2 } else { 1 };
    // Shares that only fill a block up may reach behind the last bin.
    let behind = packed.runs.iter().map(|r| r.width).max().unwrap_or(0);
    let mut bins = vec![0f64; (packed.bins + behind) * LANES * kinds];
    if spread {
        best::<T, 2>(&job, &mut bins, lost);
    } else {
        best::<T, 1>(&job, &mut bins, lost);
    }
    let total = |kind: usize| -> Vec<f64> {
        let all = bins.chunks_exact(LANES * kinds).take(packed.bins);
        all.map(|lanes| lanes.iter().skip(kind).step_by(kinds).sum()).collect()
    };
    sums.signal = total(0);
    sums.variance = if spread { total(1) } else { vec![] };
}

fn best<T: Pixel, const KINDS: usize>(job: &Job<T>, bins: &mut [f64], lost: &mut Vec<Lost>) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { wide::<T, KINDS>(job, bins, lost) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { middle::<T, KINDS>(job, bins, lost) };
        }
    }
    any::<T, KINDS>(job, bins, lost);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
unsafe fn wide<T: Pixel, const KINDS: usize>(job: &Job<T>, bins: &mut [f64], lost: &mut Vec<Lost>) {
    any::<T, KINDS>(job, bins, lost);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn middle<T: Pixel, const KINDS: usize>(job: &Job<T>, bins: &mut [f64], lost: &mut Vec<Lost>) {
    any::<T, KINDS>(job, bins, lost);
}

#[inline(always)]
fn any<T: Pixel, const KINDS: usize>(job: &Job<T>, bins: &mut [f64], lost: &mut Vec<Lost>) {
    for run in &job.packed.runs {
        match run.width {
            1 => blocks::<T, KINDS, 1>(job, run, bins, lost),
            2 => blocks::<T, KINDS, 2>(job, run, bins, lost),
            3 => blocks::<T, KINDS, 3>(job, run, bins, lost),
            4 => blocks::<T, KINDS, 4>(job, run, bins, lost),
            5 => blocks::<T, KINDS, 5>(job, run, bins, lost),
            6 => blocks::<T, KINDS, 6>(job, run, bins, lost),
            7 | 8 => blocks::<T, KINDS, 8>(job, run, bins, lost),
            _ => blocks::<T, KINDS, 12>(job, run, bins, lost),
        }
    }
}

#[inline(always)]
fn blocks<T: Pixel, const KINDS: usize, const MOST: usize>(
    job: &Job<T>,
    run: &Run,
    bins: &mut [f64],
    lost: &mut Vec<Lost>,
) {
    let packed = job.packed;
    // A width of its own up to six; else the width is at most what the loop was made for.
    let width = if MOST <= 6 { MOST } else { run.width };
    let number = run.blocks.clone();
    let firsts = packed.first[number.start * LANES..number.end * LANES].as_chunks::<LANES>().0;
    let shares = packed.share[run.share..run.share + number.len() * width * LANES].chunks_exact(width * LANES);
    for (((block, at), first), share) in number.clone().zip(&packed.at[number]).zip(firsts).zip(shares) {
        let at = *at as usize;
        let raw: &[T; LANES] = job.frame[at..at + LANES].as_array().expect("eight pixels of a slice of eight");
        let mut value = [0f32; LANES];
        for lane in 0..LANES {
            value[lane] = raw[lane].value();
        }
        let mut spread = [0f32; LANES];
        if KINDS == 2 {
            match job.variance {
                Some(variance) => spread.copy_from_slice(&variance[at..at + LANES]),
                None => (0..LANES).for_each(|lane| spread[lane] = value[lane].max(1.0)),
            }
        }
        let mut bad = false;
        if let Some(dummy) = job.dummy {
            (0..LANES).for_each(|lane| bad |= dummy.marks(value[lane]));
        }
        if T::FLOAT {
            (0..LANES).for_each(|lane| bad |= !value[lane].is_finite());
        }
        if bad {
            let offset = run.share + (block - run.blocks.start) * width * LANES;
            drop_bad(job.dummy, (block, width, offset), &mut value, &mut spread, lost);
        }
        for (j, share) in share.as_chunks::<LANES>().0.iter().enumerate() {
            let mut signal = [0f64; LANES];
            let mut variance = [0f64; LANES];
            for lane in 0..LANES {
                let c = f64::from(share[lane]);
                signal[lane] = c * f64::from(value[lane]);
                if KINDS == 2 {
                    variance[lane] = c * c * f64::from(spread[lane]);
                }
            }
            for lane in 0..LANES {
                let place = ((usize::from(first[lane]) + j) * LANES + lane) * KINDS;
                // SAFETY: the first bin of a pixel is below `bins`, `j` below the largest width, and `scatter` made
                // room for `bins` and that width together.
                unsafe {
                    *bins.get_unchecked_mut(place) += signal[lane];
                    if KINDS == 2 {
                        *bins.get_unchecked_mut(place + 1) += variance[lane];
                    }
                }
            }
        }
    }
}

/// Lists the invalid pixels of a block and makes them count nothing.
#[cold]
#[inline(never)]
fn drop_bad(
    dummy: Option<Dummy>,
    (block, width, share): (usize, usize, usize),
    value: &mut [f32; LANES],
    spread: &mut [f32; LANES],
    lost: &mut Vec<Lost>,
) {
    for lane in 0..LANES {
        if !value[lane].is_finite() || dummy.is_some_and(|d| d.marks(value[lane])) {
            value[lane] = 0.0;
            spread[lane] = 0.0;
            lost.push(Lost { block: block as u32, lane: lane as u8, width: width as u8, share: share as u32 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::matrix::Matrix;
    use crate::prepare::{ErrorModel, Fixed};
    use crate::sums::plain;

    /// A repeatable number below `n`.
    fn dice(seed: &mut u64, n: usize) -> usize {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*seed >> 33) as usize % n
    }

    fn matrix(seed: &mut u64, bins: usize, pixels: usize, widest: usize) -> Matrix {
        let mut matrix = Matrix::new(bins, pixels);
        for _ in 0..pixels {
            let width = dice(seed, widest + 1).min(bins);
            let first = dice(seed, bins - width + 1);
            (0..width).for_each(|j| matrix.put(first + j, dice(seed, 1000) as f64 / 1000.0 + 0.001));
            matrix.close();
        }
        matrix
    }

    // The plain sums go pixel by pixel through the matrix as it is: another order, another layout.
    fn check<T: Pixel>(make: impl Fn(&mut u64) -> T, dummy: Option<Dummy>) {
        for (bins, pixels, widest) in [(5, 8, 1), (40, 1000, 3), (300, 4099, 5), (60, 333, 12), (9, 77, 2)] {
            let seed = &mut 7u64;
            let matrix = matrix(seed, bins, pixels, widest);
            let norm = (0..pixels).map(|_| dice(seed, 5) as f32 * 0.5).collect();
            let dark = Some((0..pixels).map(|_| dice(seed, 9) as f32).collect());
            let fixed = Fixed { norm, dark, dummy };
            let frame: Vec<T> = (0..pixels).map(|_| make(seed)).collect();
            let variance: Vec<f32> = (0..pixels).map(|_| dice(seed, 50) as f32).collect();
            let packed = Packed::new(&matrix, &fixed).unwrap();
            for model in [ErrorModel::None, ErrorModel::Poisson, ErrorModel::Variance] {
                let wanted = plain(&matrix, &fixed, &frame, Some(&variance), model);
                let found = packed.sums(&fixed, &frame, Some(&variance), model);
                let pairs = [
                    (&wanted.signal, &found.signal),
                    (&wanted.variance, &found.variance),
                    (&wanted.norm, &found.norm),
                    (&wanted.norm2, &found.norm2),
                    (&wanted.count, &found.count),
                ];
                for (name, (a, b)) in ["signal", "variance", "norm", "norm2", "count"].iter().zip(pairs) {
                    assert_eq!(a.len(), b.len());
                    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
                    assert!(a.iter().zip(b).all(near), "{name} of {bins} bins: {a:?} {b:?}");
                }
                let empty = |s: &Sums| s.norm2.iter().map(|n| *n > 0.0).collect::<Vec<_>>();
                assert_eq!(empty(&wanted), empty(&found));
            }
        }
    }

    #[test]
    fn blocks_sum_like_the_plain_way() {
        let minus = Some(Dummy { value: -2.0, delta: 1.5 });
        check(|s| dice(s, 200) as i32 - 4, minus);
        check(|s| dice(s, 60000) as u16, None);
        check(|s| dice(s, 4) as u8, Some(Dummy { value: 2.0, delta: 0.0 }));
        check(|s| if dice(s, 5) == 0 { f32::NAN } else { dice(s, 99) as f32 }, None);
        check(|s| if dice(s, 5) == 0 { f64::INFINITY } else { -(dice(s, 99) as f64) }, minus);
        check(|s| if dice(s, 9) == 0 { u32::MAX } else { dice(s, 1 << 20) as u32 }, Some(Dummy { value: 4_294_967_296.0, delta: 1.5 }));
    }

    #[test]
    fn every_level_sums_alike() {
        let seed = &mut 3u64;
        let matrix = matrix(seed, 50, 5000, 4);
        let fixed = Fixed { norm: vec![1.0; 5000], dark: None, dummy: None };
        let packed = Packed::new(&matrix, &fixed).unwrap();
        let frame: Vec<i32> = (0..5000).map(|_| dice(seed, 500) as i32).collect();
        let job = Job { packed: &packed, frame: &frame, variance: None, dummy: None };
        let sum = |run: &dyn Fn(&mut [f64], &mut Vec<Lost>)| {
            let mut bins = vec![0.0; 60 * LANES * 2];
            run(&mut bins, &mut vec![]);
            bins
        };
        let scalar = sum(&|bins, lost| any::<i32, 2>(&job, bins, lost));
        assert_eq!(scalar, sum(&|bins, lost| best::<i32, 2>(&job, bins, lost)));
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has what the function was compiled for.
            assert_eq!(scalar, sum(&|bins, lost| unsafe { middle::<i32, 2>(&job, bins, lost) }));
        }
    }
}
