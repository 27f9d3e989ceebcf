//! The loop over runs: read eight pixels, multiply them by their shares, keep the sums until the bin changes.

use crate::pixel::{Dummy, Pixel};
use crate::simd::ahead::Ahead;
use crate::simd::pack::{Class, Frame, LANES, Lost, Packed, Tile, WIDEST};

/// What the loop works on.
struct Job<'a, T, const KINDS: usize> {
    frame: Frame<'a, T>,
    /// The sums of each bin, lane by lane; a few more on either side for shares that only fill a run up.
    bins: Vec<[[f64; LANES]; KINDS]>,
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
    let mut jobs = jobs(packed, frames);
    best(packed, dummy, &mut jobs);
    jobs
}

fn jobs<'a, T: Pixel, const KINDS: usize>(
    packed: &Packed,
    frames: &[Frame<'a, T>],
) -> Vec<Job<'a, T, KINDS>> {
    let bins = || vec![[[0f64; LANES]; KINDS]; packed.bins + 2 * WIDEST];
    frames.iter().map(|frame| Job { frame: *frame, bins: bins(), lost: vec![] }).collect()
}

/// The sums over the lanes of each bin.
fn total<const KINDS: usize>(n: usize, bins: &[[[f64; LANES]; KINDS]], kind: usize) -> Vec<f64> {
    bins[WIDEST..WIDEST + n].iter().map(|lanes| lanes[kind].iter().sum()).collect()
}

fn best<T: Pixel, const KINDS: usize>(packed: &Packed, dummy: Option<Dummy>, jobs: &mut [Job<T, KINDS>]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { wide(packed, dummy, jobs) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { middle(packed, dummy, jobs) };
        }
    }
    any(packed, dummy, jobs);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2")]
unsafe fn wide<T: Pixel, const KINDS: usize>(p: &Packed, dummy: Option<Dummy>, jobs: &mut [Job<T, KINDS>]) {
    any(p, dummy, jobs);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn middle<T: Pixel, const KINDS: usize>(p: &Packed, dummy: Option<Dummy>, jobs: &mut [Job<T, KINDS>]) {
    any(p, dummy, jobs);
}

#[inline(always)]
fn any<T: Pixel, const KINDS: usize>(packed: &Packed, dummy: Option<Dummy>, jobs: &mut [Job<T, KINDS>]) {
    if let (Some(tile), Some(job)) = (packed.tiles.first(), jobs.first()) {
        Ahead::new(&job.frame.pixels[tile.pixels.clone()]).step(usize::MAX / 2);
    }
    for (k, tile) in packed.tiles.iter().enumerate() {
        for j in 0..jobs.len() {
            // The same tile of the next frame, and behind the last frame the next tile of the first.
            let next = match jobs.get(j + 1) {
                Some(job) => &job.frame.pixels[tile.pixels.clone()],
                None => packed.tiles.get(k + 1).map_or(&[][..], |t| &jobs[0].frame.pixels[t.pixels.clone()]),
            };
            let mut ahead = Ahead::new(next);
            for class in &tile.classes {
                let of = (packed, tile, class);
                let job = &mut jobs[j];
                match (class.below, class.above) {
                    (0, 0) => runs::<T, KINDS, 0, 0>(of, dummy, job, &mut ahead),
                    (0, 1) => runs::<T, KINDS, 0, 1>(of, dummy, job, &mut ahead),
                    (1, 1) => runs::<T, KINDS, 1, 1>(of, dummy, job, &mut ahead),
                    (2, 2) => runs::<T, KINDS, 2, 2>(of, dummy, job, &mut ahead),
                    _ => runs::<T, KINDS, WIDEST, WIDEST>(of, dummy, job, &mut ahead),
                }
            }
        }
    }
}

/// Sums of a run: of all shares of a pixel together, of its bins below the middle one, and of those above.
struct Open<const KINDS: usize, const B: usize, const A: usize> {
    all: [[f64; LANES]; KINDS],
    below: [[[f64; LANES]; B]; KINDS],
    above: [[[f64; LANES]; A]; KINDS],
}

/// The pixels of a tile and what marks them as invalid.
struct Source<'a, T> {
    pixels: &'a [T],
    variance: Option<&'a [f32]>,
    dummy: Option<Dummy>,
    start: usize,
}

#[inline(always)]
fn runs<T: Pixel, const KINDS: usize, const B: usize, const A: usize>(
    (packed, tile, class): (&Packed, &Tile, &Class),
    dummy: Option<Dummy>,
    job: &mut Job<T, KINDS>,
    ahead: &mut Ahead,
) {
    // A width of its own up to two on either side; else it is at most what the loop was made for.
    let (below, above) = if B <= 2 { (B, A) } else { (class.below, class.above) };
    let stride = (below + above) * LANES;
    let (mut index, mut share) = (class.index, class.share);
    let source = Source {
        pixels: &job.frame.pixels[tile.pixels.clone()],
        variance: job.frame.variance.map(|v| &v[tile.pixels.clone()]),
        dummy,
        start: tile.pixels.start,
    };
    for run in &packed.runs[class.runs.clone()] {
        let count = run.count as usize;
        let (full, rest) = (count / LANES, count % LANES);
        let groups = full + usize::from(rest > 0);
        let places = packed.index[index..index + groups * LANES].as_chunks::<LANES>().0;
        let shares = &packed.share[share..share + groups * stride];
        let mut open = Open::<KINDS, B, A> {
            all: [[0.0; LANES]; KINDS],
            below: [[[0.0; LANES]; B]; KINDS],
            above: [[[0.0; LANES]; A]; KINDS],
        };
        let of = |group: usize| shares[group * stride..(group + 1) * stride].as_chunks::<LANES>().0;
        let lost = |group: usize| {
            let share = (share + group * stride) as u32;
            Lost { pixel: 0, bin: run.bin, sides: [below as u16, above as u16], share }
        };
        for (group, places) in places[..full].iter().enumerate() {
            one(&source, places, (of(group), below), LANES, &mut open, || lost(group), &mut job.lost);
        }
        if rest > 0 {
            one(&source, &places[full], (of(full), below), rest, &mut open, || lost(full), &mut job.lost);
        }
        ahead.step(count * size_of::<T>());
        (index, share) = (index + groups * LANES, share + groups * stride);
        let bin = run.bin as usize + WIDEST;
        for kind in 0..KINDS {
            let mut centre = open.all[kind];
            let sides = open.below[kind][..below].iter().enumerate().map(|(j, sums)| (bin - 1 - j, sums));
            let sides = sides
                .chain(open.above[kind][..above].iter().enumerate().map(|(j, sums)| (bin + 1 + j, sums)));
            for (bin, sums) in sides {
                for lane in 0..LANES {
                    // The middle bin has what the others leave; of squares of shares it has its own sum.
                    if kind == 0 {
                        centre[lane] -= sums[lane];
                    }
                    job.bins[bin][kind][lane] += sums[lane];
                }
            }
            for (sum, centre) in job.bins[bin][kind].iter_mut().zip(centre) {
                *sum += centre;
            }
        }
    }
}

/// Adds a group of pixels, of which the first `valid` count.
#[inline(always)]
fn one<T: Pixel, const KINDS: usize, const B: usize, const A: usize>(
    source: &Source<T>,
    places: &[u16; LANES],
    (shares, below): (&[[f32; LANES]], usize),
    valid: usize,
    open: &mut Open<KINDS, B, A>,
    describe: impl Fn() -> Lost,
    lost: &mut Vec<Lost>,
) {
    // Arrays go in and out of calls by value: as references they would live in memory, written lane by lane and read
    // as a whole, which stalls.
    let mut value = pick(source.pixels, places).map(T::value);
    let mut spread = [0f32; LANES];
    if KINDS == 2 {
        match source.variance {
            Some(variance) => {
                spread = pick(variance, places);
            }
            None => spread = value.map(|v| v.max(1.0)),
        }
    }
    let mut bad = false;
    if let Some(dummy) = source.dummy {
        for value in value {
            bad |= dummy.marks(value);
        }
    }
    if T::FLOAT {
        for value in value {
            bad |= !value.is_finite();
        }
    }
    if bad {
        let of = (source.dummy, source.start, valid, describe());
        [value, spread] = drop_bad(of, *places, [value, spread], lost);
    }
    for lane in 0..LANES {
        if lane >= valid {
            (value[lane], spread[lane]) = (0.0, 0.0);
        }
    }
    let (value, spread) = (value.map(f64::from), spread.map(f64::from));
    let mut rest = [1f64; LANES];
    let (below, above) = shares.split_at(below);
    side(below, &value, &spread, &mut open.below, &mut rest);
    side(above, &value, &spread, &mut open.above, &mut rest);
    for lane in 0..LANES {
        open.all[0][lane] += value[lane];
        if KINDS == 2 {
            open.all[1][lane] += rest[lane] * rest[lane] * spread[lane];
        }
    }
}

/// The pixels of a tile at some places.
#[inline(always)]
fn pick<V: Copy>(tile: &[V], places: &[u16; LANES]) -> [V; LANES] {
    let at = |lane: usize| {
        // One load each: the processors' own instruction for all eight takes five times as long as these together, and
        // without `volatile` that is what is made of them.
        // SAFETY: places were made within the tile, whose values these are.
        unsafe { tile.as_ptr().add(usize::from(places[lane])).read_volatile() }
    };
    [at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)]
}

/// Adds the shares on one side of the middle bin.
#[inline(always)]
fn side<const KINDS: usize, const H: usize>(
    shares: &[[f32; LANES]],
    value: &[f64; LANES],
    spread: &[f64; LANES],
    sums: &mut [[[f64; LANES]; H]; KINDS],
    rest: &mut [f64; LANES],
) {
    // The length is known where there are few.
    let n = if H <= 2 { H } else { shares.len() };
    for (j, shares) in shares[..n].iter().enumerate() {
        for lane in 0..LANES {
            let share = f64::from(shares[lane]);
            sums[0][j][lane] += share * value[lane];
            if KINDS == 2 {
                sums[1][j][lane] += share * share * spread[lane];
                rest[lane] -= share;
            }
        }
    }
}

/// Lists the invalid pixels of a group and makes them count nothing.
#[cold]
#[inline(never)]
fn drop_bad(
    (dummy, start, valid, of): (Option<Dummy>, usize, usize, Lost),
    places: [u16; LANES],
    [mut value, mut spread]: [[f32; LANES]; 2],
    lost: &mut Vec<Lost>,
) -> [[f32; LANES]; 2] {
    for lane in 0..LANES {
        if !value[lane].is_finite() || dummy.is_some_and(|d| d.marks(value[lane])) {
            value[lane] = 0.0;
            spread[lane] = 0.0;
            if lane < valid {
                let pixel = (start + usize::from(places[lane])) as u32;
                lost.push(Lost { pixel, share: of.share + lane as u32, ..of });
            }
        }
    }
    [value, spread]
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
            // Shares as the splittings give them: they sum to one, and those in the middle are not the smallest.
            let parts: Vec<f64> = (0..width)
                .map(
                    |j| if j == 0 || j + 1 == width { dice(seed, 1000) as f64 / 1000.0 + 0.001 } else { 1.0 },
                )
                .collect();
            let sum: f64 = parts.iter().sum();
            parts.iter().enumerate().for_each(|(j, part)| matrix.put(first + j, part / sum));
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
            let fixed = Fixed { norm, dark, dummy, ..Fixed::default() };
            let frame: Vec<T> = (0..pixels).map(|_| make(seed)).collect();
            let variance: Vec<f32> = (0..pixels).map(|_| dice(seed, 50) as f32).collect();
            let packed = Packed::new(&matrix, &fixed).unwrap();
            for model in [ErrorModel::None, ErrorModel::Poisson, ErrorModel::Variance] {
                let wanted = plain(&matrix, &fixed, &frame, Some(&variance), model);
                let variance = (model == ErrorModel::Variance).then_some(&variance[..]);
                let one = Frame { pixels: &frame, variance, factor: 1.0 };
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
                    // Shares that are kept in single precision sum to one but for its rounding; a dark is taken off.
                    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * (a.abs() + 100.0);
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
        let fixed = Fixed { norm: vec![1.0; 5000], ..Fixed::default() };
        let packed = Packed::new(&matrix, &fixed).unwrap();
        let frame: Vec<i32> = (0..5000).map(|_| dice(seed, 500) as i32).collect();
        let sum = |best: &dyn Fn(&Packed, &mut [Job<i32, 2>])| {
            let mut jobs = jobs(&packed, &[Frame { pixels: &frame[..], variance: None, factor: 1.0 }]);
            best(&packed, &mut jobs);
            jobs.pop().map(|job| job.bins).unwrap()
        };
        let scalar = sum(&|packed, jobs| any(packed, None, jobs));
        assert_eq!(scalar, sum(&|packed, jobs| best(packed, None, jobs)));
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function was compiled for.
            assert_eq!(scalar, sum(&|packed, jobs| unsafe { middle(packed, None, jobs) }));
        }
    }
}
