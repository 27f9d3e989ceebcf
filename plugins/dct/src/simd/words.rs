//! Frames of 16-bit pixels less their medians.

use std::ops::Range;

use super::Level;
use super::eight::EIGHT;
use super::lanes::{Plain, Words};
use super::sorted::{Job, Step, WIDEST, Work, check, tiles};

/// A piece of every output frame: one slice each, all beginning at the same pixel.
pub(crate) enum Out<'a, 'b> {
    /// Differences as floats.
    Floats(&'a mut [&'b mut [f32]]),
    /// Differences as words, and whether one did not fit.
    Words(&'a mut [&'b mut [i16]], &'a mut [bool]),
}

/// Writes frames less their median, and the medians where they are wanted, for a range of 16-bit pixels.
pub(crate) fn words<'c>(
    level: Level,
    job: &Job<u16>,
    range: Range<usize>,
    out: Out<'_, 'c>,
    medians: Option<&mut [&'c mut [f32]]>,
    full: Option<&mut [u32]>,
) {
    check(job, &range);
    let room = |to: u32| match &out {
        Out::Floats(out) => out[to as usize].len(),
        Out::Words(out, _) => out[to as usize].len(),
    };
    assert!(job.steps.iter().all(|s| room(s.to) >= range.len()), "outputs hold the range of pixels");
    let aligned = |at: *const i16| (at as usize).is_multiple_of(64);
    let straight = match &out {
        Out::Words(out, _) => medians.is_none() && out.iter().all(|o| aligned(o.as_ptr())),
        Out::Floats(_) => false,
    };
    let mut work = Differences { frames: job.frames, start: range.start, out, medians, full, straight };
    // SAFETY: the frames hold the range, and the level says that the processor has the instructions.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::words_avx512(&mut work, job, range),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::words_avx2(&mut work, job, range),
            _ => work.run::<Plain<u16, 16>>(job, range),
        }
    }
}

struct Differences<'a, 'b, 'c> {
    frames: &'a [&'a [u16]],
    start: usize,
    out: Out<'b, 'c>,
    medians: Option<&'b mut [&'c mut [f32]]>,
    /// Counts of pixels at the largest value.
    full: Option<&'b mut [u32]>,
    /// Whether differences may be written as whole vectors past the cache, and nothing else is wanted.
    straight: bool,
}

impl Differences<'_, '_, '_> {
    /// # Safety
    /// As of [`tiles`].
    #[inline(always)]
    unsafe fn run<L: Words>(&mut self, job: &Job<u16>, range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe {
            let done = tiles::<L>(self, job, range.clone());
            tiles::<Plain<u16, 1>>(self, job, done..range.end);
        }
    }

    /// Takes the two middle samples of one step.
    #[inline(always)]
    fn take<const N: usize>(&mut self, low: &[u16; N], high: &[u16; N], step: &Step, p: usize) {
        let (at, to) = (p - self.start, step.to as usize);
        let own = &self.frames[step.own as usize][p..p + N];
        // Slices of one known length: the compiler makes vectors of these loops.
        match &mut self.out {
            Out::Words(out, over) => {
                let out = &mut out[to][at..at + N];
                let mut outside = 0u16;
                for k in 0..N {
                    let difference = own[k].wrapping_sub(low[k]) as i16;
                    out[k] = difference;
                    // Two middles that differ, whose mean may be half a count, are left to floats. All pixels of a
                    // vector are looked at together: hardly any is odd.
                    outside |= u16::from((own[k] >= low[k]) != (difference >= 0)) | (low[k] ^ high[k]);
                }
                over[to] |= outside != 0;
            }
            Out::Floats(out) => {
                let out = &mut out[to][at..at + N];
                for k in 0..N {
                    let twice = 2 * i32::from(own[k]) - i32::from(low[k]) - i32::from(high[k]);
                    out[k] = twice as f32 * 0.5;
                }
            }
        }
        if let Some(full) = &mut self.full {
            // Sums of whole vectors are quicker than looking for the largest value first.
            let count = own.iter().fold(0u16, |count, v| count + u16::from(*v == u16::MAX));
            full[to] += u32::from(count);
        }
        if let Some(medians) = &mut self.medians {
            let out = &mut medians[to][at..at + N];
            for k in 0..N {
                out[k] = (i32::from(low[k]) + i32::from(high[k])) as f32 * 0.5;
            }
        }
    }

    /// # Safety
    /// As of [`super::lanes::Lanes`].
    #[inline(always)]
    unsafe fn middles<L: Words>(&mut self, low: L, high: L, step: &Step, p: usize) {
        let (mut a, mut b) = ([0u16; WIDEST], [0u16; WIDEST]);
        // SAFETY: the buffers take the widest vector.
        unsafe {
            low.store(a.as_mut_ptr());
            high.store(b.as_mut_ptr());
        }
        match L::N {
            32 => self.take::<32>(&a, &b, step, p),
            16 => self.take::<16>(head(&a), head(&b), step, p),
            _ => (0..L::N).for_each(|k| self.take::<1>(&[a[k]], &[b[k]], step, p + k)),
        }
    }
}

/// The first elements of a list.
#[inline(always)]
fn head<const N: usize>(all: &[u16; WIDEST]) -> &[u16; N] {
    all.first_chunk().expect("no vector is wider than the widest")
}

impl<L: Words> Work<L> for Differences<'_, '_, '_> {
    #[inline(always)]
    unsafe fn step(&mut self, window: &[L], step: &Step, p: usize) {
        let samples = step.samples as usize;
        // SAFETY: the caller's promise.
        unsafe { self.middles(window[(samples - 1) / 2], window[samples / 2], step, p) }
    }

    #[inline(always)]
    unsafe fn eight(&mut self, medians: &[L; EIGHT], _: L, steps: &[Step], p: usize) -> bool {
        // SAFETY: the caller's promise: frames and outputs hold a vector from here on.
        unsafe {
            if self.straight
                && let Out::Words(out, _) = &mut self.out
            {
                let mut most = L::least();
                for (median, step) in medians.iter().zip(steps) {
                    let own = L::load(self.frames.get_unchecked(step.own as usize).as_ptr().add(p));
                    most = most.max(own).max(*median);
                    let to = out.get_unchecked_mut(step.to as usize).as_mut_ptr();
                    own.write_less(*median, to.add(p - self.start));
                }
                // Where all counts are below half the largest, differences fit and no pixel is full.
                if !most.beyond() {
                    return true;
                }
            }
            for (median, step) in medians.iter().zip(steps) {
                self.middles(*median, *median, step, p);
            }
        }
        true
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::_mm_sfence;
    use std::ops::Range;

    use super::super::lanes::x86::{Words256, Words512};
    use super::super::sorted::Job;
    use super::Differences;

    /// # Safety
    /// As of [`Differences::run`], on a processor with these instructions; so for all below.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn words_avx512(work: &mut Differences, job: &Job<u16>, range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<Words512>(job, range) }
        // What went past the cache is to be seen by whoever takes the frames.
        _mm_sfence();
    }

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn words_avx2(work: &mut Differences, job: &Job<u16>, range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<Words256>(job, range) }
        _mm_sfence();
    }
}
