//! The loop over blocks: read eight pixels, multiply them by their shares, add them to their bins.

use crate::pixel::{Dummy, Pixel};
use crate::simd::pack::{COPIES, Frame, LANES, Lost, Packed, Run};

/// What the loop works on.
struct Job<'a, T, const KINDS: usize> {
    frame: Frame<'a, T>,
    dummy: Option<Dummy>,
    bins: Vec<[f64; KINDS]>,
    lost: Vec<Lost>,
}

/// Signal and, where wanted, variance of frames, and the pixels that are invalid.
pub(super) fn scatter<T: Pixel>(
    packed: &Packed,
    dummy: Option<Dummy>,
    frames: &[Frame<T>],
    spread: bool,
) -> Vec<(Vec<f64>, Vec<f64>, Vec<Lost>)> {
    if spread {
        let done = run::<T, 2>(packed, dummy, frames).into_iter();
        done.map(|job| (total(packed.bins, &job.bins, 0), total(packed.bins, &job.bins, 1), job.lost))
            .collect()
    } else {
        let done = run::<T, 1>(packed, dummy, frames).into_iter();
        done.map(|job| (total(packed.bins, &job.bins, 0), vec![], job.lost)).collect()
    }
}

/// The jobs of some frames, done.
fn run<'a, T: Pixel, const KINDS: usize>(
    packed: &Packed,
    dummy: Option<Dummy>,
    frames: &[Frame<'a, T>],
) -> Vec<Job<'a, T, KINDS>> {
    // Shares that only fill a block up may reach behind the last bin.
    let behind = packed.runs.iter().map(|r| r.width).max().unwrap_or(0);
    let bins = || vec![[0f64; KINDS]; (packed.bins + behind) * COPIES];
    let mut jobs: Vec<_> =
        frames.iter().map(|frame| Job { frame: *frame, dummy, bins: bins(), lost: vec![] }).collect();
    best(packed, &mut jobs);
    jobs
}

/// The sums over the copies of each bin.
fn total<const KINDS: usize>(n: usize, bins: &[[f64; KINDS]], kind: usize) -> Vec<f64> {
    bins.chunks_exact(COPIES).take(n).map(|copies| copies.iter().map(|copy| copy[kind]).sum()).collect()
}

fn best<T: Pixel, const KINDS: usize>(packed: &Packed, jobs: &mut [Job<T, KINDS>]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { wide(packed, jobs) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { middle(packed, jobs) };
        }
    }
    any(packed, jobs);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2")]
unsafe fn wide<T: Pixel, const KINDS: usize>(packed: &Packed, jobs: &mut [Job<T, KINDS>]) {
    any(packed, jobs);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn middle<T: Pixel, const KINDS: usize>(packed: &Packed, jobs: &mut [Job<T, KINDS>]) {
    any(packed, jobs);
}

#[inline(always)]
fn any<T: Pixel, const KINDS: usize>(packed: &Packed, jobs: &mut [Job<T, KINDS>]) {
    for tile in &packed.tiles {
        for job in jobs.iter_mut() {
            for run in &packed.runs[tile.clone()] {
                match run.width {
                    1 => blocks::<T, KINDS, 1>(packed, job, run),
                    2 => blocks::<T, KINDS, 2>(packed, job, run),
                    3 => blocks::<T, KINDS, 3>(packed, job, run),
                    4 => blocks::<T, KINDS, 4>(packed, job, run),
                    5 => blocks::<T, KINDS, 5>(packed, job, run),
                    6 => blocks::<T, KINDS, 6>(packed, job, run),
                    _ => blocks::<T, KINDS, 12>(packed, job, run),
                }
            }
        }
    }
}

#[inline(always)]
fn blocks<T: Pixel, const KINDS: usize, const MOST: usize>(
    packed: &Packed,
    job: &mut Job<T, KINDS>,
    run: &Run,
) {
    // A width of its own up to six; else the width is at most what the loop was made for.
    let width = if MOST <= 6 { MOST } else { run.width };
    let number = run.blocks.clone();
    let firsts = packed.first[number.start * LANES..number.end * LANES].as_chunks::<LANES>().0;
    let shares =
        packed.share[run.share..run.share + number.len() * width * LANES].chunks_exact(width * LANES);
    for (((block, at), first), share) in number.clone().zip(&packed.at[number]).zip(firsts).zip(shares) {
        let at = *at as usize;
        let raw = &job.frame.pixels[at..at + LANES];
        let mut value = [0f32; LANES];
        for lane in 0..LANES {
            value[lane] = raw[lane].value();
        }
        let mut spread = [0f32; LANES];
        if KINDS == 2 {
            match job.frame.variance {
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
            drop_bad(job.dummy, (block, width, offset), &mut value, &mut spread, &mut job.lost);
        }
        let mut more = [[[0f64; KINDS]; LANES]; MOST];
        for (more, share) in more.iter_mut().zip(share.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                let c = f64::from(share[lane]);
                more[lane][0] = c * f64::from(value[lane]);
                if KINDS == 2 {
                    more[lane][1] = c * c * f64::from(spread[lane]);
                }
            }
        }
        for lane in 0..LANES {
            let place = usize::from(first[lane]) * COPIES + lane % COPIES;
            for (j, more) in more.iter().enumerate().take(width) {
                // SAFETY: the first bin of a pixel is below `bins`, `j` below the largest width, and `run` made room
                // for `bins` and that width together.
                let bin = unsafe { job.bins.get_unchecked_mut(place + j * COPIES) };
                (0..KINDS).for_each(|kind| bin[kind] += more[lane][kind]);
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
            lost.push(Lost {
                block: block as u32,
                lane: lane as u8,
                width: width as u8,
                share: share as u32,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::matrix::Matrix;
    use crate::prepare::{ErrorModel, Fixed};
    use crate::sums::{Sums, plain};

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
                let variance = (model == ErrorModel::Variance).then_some(&variance[..]);
                let one = Frame { pixels: &frame, variance };
                let found = packed.sums(&fixed, &[one; 11], model);
                assert!(found.len() == 11 && found.iter().all(|f| *f == found[0]));
                let found = &found[0];
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
                assert_eq!(empty(&wanted), empty(found));
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
        check(
            |s| if dice(s, 9) == 0 { u32::MAX } else { dice(s, 1 << 20) as u32 },
            Some(Dummy { value: 4_294_967_296.0, delta: 1.5 }),
        );
    }

    #[test]
    fn every_level_sums_alike() {
        let seed = &mut 3u64;
        let matrix = matrix(seed, 50, 5000, 4);
        let fixed = Fixed { norm: vec![1.0; 5000], dark: None, dummy: None };
        let packed = Packed::new(&matrix, &fixed).unwrap();
        let frame: Vec<i32> = (0..5000).map(|_| dice(seed, 500) as i32).collect();
        let sum = |best: &dyn Fn(&Packed, &mut [Job<i32, 2>])| {
            let bins = vec![[0.0; 2]; 60 * COPIES];
            let frame = Frame { pixels: &frame[..], variance: None };
            let mut jobs = [Job { frame, dummy: None, bins, lost: vec![] }];
            best(&packed, &mut jobs);
            let [job] = jobs;
            job.bins
        };
        let scalar = sum(&|packed, jobs| any(packed, jobs));
        assert_eq!(scalar, sum(&|packed, jobs| best(packed, jobs)));
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function was compiled for.
            assert_eq!(scalar, sum(&|packed, jobs| unsafe { middle(packed, jobs) }));
        }
    }
}
