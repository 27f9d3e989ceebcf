//! Frames of 32-bit floats less their medians.

use std::ops::Range;

use super::eight::EIGHT;
use super::lanes::{Floats, Lanes, Plain};
use super::sorted::{Job, Step, WIDEST, Work, check, tiles};
use super::{Level, of_key};

/// Writes frames less their median for a range of floats; samples that are not finite do not count.
pub(crate) fn floats<'c>(
    level: Level,
    job: &Job<f32>,
    range: Range<usize>,
    out: &mut [&'c mut [f32]],
    medians: Option<&mut [&'c mut [f32]]>,
) {
    check(job, &range);
    let room = |to: u32| out[to as usize].len();
    assert!(job.steps.iter().all(|s| room(s.to) >= range.len()), "outputs hold the range of pixels");
    let straight = medians.is_none() && out.iter().all(|o| (o.as_ptr() as usize).is_multiple_of(64));
    let mut work = Differences { frames: job.frames, start: range.start, out, medians, straight };
    // SAFETY: the frames hold the range, and the level says that the processor has the instructions.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::floats_avx512(&mut work, job, range),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::floats_avx2(&mut work, job, range),
            _ => work.run::<Plain<i32, 8>>(job, range),
        }
    }
}

struct Differences<'a, 'b, 'c> {
    frames: &'a [&'a [f32]],
    start: usize,
    out: &'b mut [&'c mut [f32]],
    medians: Option<&'b mut [&'c mut [f32]]>,
    /// Whether differences may be written as whole vectors past the cache, and nothing else is wanted.
    straight: bool,
}

impl Differences<'_, '_, '_> {
    /// # Safety
    /// As of [`tiles`].
    #[inline(always)]
    unsafe fn run<L: Lanes<Pixel = f32, Key = i32>>(&mut self, job: &Job<f32>, range: Range<usize>)
    where
        L::Quick: Floats,
    {
        // SAFETY: the caller's promise.
        unsafe {
            let done = tiles::<L>(self, job, range.clone());
            tiles::<Plain<i32, 1>>(self, job, done..range.end);
        }
    }

    /// Takes the medians of one step.
    #[inline(always)]
    fn take(&mut self, median: &[f32], step: &Step, p: usize) {
        let (at, to, n) = (p - self.start, step.to as usize, median.len());
        let own = &self.frames[step.own as usize][p..p + n];
        let out = &mut self.out[to][at..at + n];
        for k in 0..n {
            // An infinity less a number is none.
            let own = if own[k].abs() < f32::INFINITY { own[k] } else { f32::NAN };
            // The sum makes one zero of both, whichever of them is the median.
            out[k] = own - median[k] + 0.0;
        }
        if let Some(medians) = &mut self.medians {
            medians[to][at..at + n].copy_from_slice(median);
        }
    }
}

impl<L: Lanes<Pixel = f32, Key = i32>> Work<L> for Differences<'_, '_, '_>
where
    L::Quick: Floats,
{
    #[inline(always)]
    unsafe fn step(&mut self, window: &[L], step: &Step, p: usize) {
        let (mut low, mut high) = ([0i32; WIDEST], [0i32; WIDEST]);
        let samples = step.samples as usize;
        let mut both = samples.is_multiple_of(2);
        // SAFETY: the buffers take the widest vector.
        unsafe {
            if window[samples - 1].beyond() {
                middles(window, &mut low, &mut high);
                both = true;
            } else {
                window[(samples - 1) / 2].store(low.as_mut_ptr());
                window[samples / 2].store(high.as_mut_ptr());
            }
        }
        let (low, high) = (&low[..L::N], &high[..L::N]);
        let mut median = [0f32; WIDEST];
        let median = &mut median[..L::N];
        match both {
            true => (0..L::N).for_each(|k| median[k] = (of_key(low[k]) + of_key(high[k])) / 2.0),
            false => (0..L::N).for_each(|k| median[k] = of_key(low[k])),
        }
        self.take(median, step, p);
    }

    #[inline(always)]
    unsafe fn eight(
        &mut self,
        medians: &[L::Quick; EIGHT],
        seen: L::Quick,
        steps: &[Step],
        p: usize,
    ) -> bool {
        // SAFETY: the caller's promise; the buffer takes the widest vector.
        unsafe {
            if seen.beyond() {
                return false;
            }
            if self.straight {
                let mut all = L::Quick::quiet();
                for (median, step) in medians.iter().zip(steps) {
                    let own = L::Quick::load(self.frames.get_unchecked(step.own as usize).as_ptr().add(p));
                    all = all.watch(own);
                    let to = self.out.get_unchecked_mut(step.to as usize).as_mut_ptr();
                    own.write_less(*median, to.add(p - self.start));
                }
                // A frame need not be in its window; where it is no number, all are taken again.
                return !all.beyond();
            }
            for (key, step) in medians.iter().zip(steps) {
                let mut keys = [0i32; WIDEST];
                key.store(keys.as_mut_ptr());
                let mut median = [0f32; WIDEST];
                for k in 0..L::N {
                    median[k] = of_key(keys[k]);
                }
                self.take(&median[..L::N], step, p);
            }
        }
        true
    }
}

/// The middle samples where every pixel has its own number of them.
///
/// # Safety
/// As of [`Lanes`].
#[inline(never)]
unsafe fn middles<L: Lanes<Key = i32>>(window: &[L], low: &mut [i32; WIDEST], high: &mut [i32; WIDEST]) {
    let mut keys = vec![[0i32; WIDEST]; window.len()];
    for (to, v) in keys.iter_mut().zip(window) {
        // SAFETY: the buffer takes the widest vector.
        unsafe { v.store(to.as_mut_ptr()) };
    }
    for lane in 0..L::N {
        let samples = keys.partition_point(|k| k[lane] != i32::MAX);
        (low[lane], high[lane]) = match samples {
            0 => (i32::MAX, i32::MAX),
            n => (keys[(n - 1) / 2][lane], keys[n / 2][lane]),
        };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::_mm_sfence;
    use std::ops::Range;

    use super::super::lanes::x86::{Keys256, Keys512};
    use super::super::sorted::Job;
    use super::Differences;

    /// # Safety
    /// As of [`Differences::run`], on a processor with these instructions; so for all below.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn floats_avx512(work: &mut Differences, job: &Job<f32>, range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<Keys512>(job, range) }
        // What went past the cache is to be seen by whoever takes the frames.
        _mm_sfence();
    }

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn floats_avx2(work: &mut Differences, job: &Job<f32>, range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<Keys256>(job, range) }
        _mm_sfence();
    }
}
