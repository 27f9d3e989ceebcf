//! The moving median: a sorted window for each vector of pixels.
//!
//! Each step deletes one sample and inserts another in one pass without branches. Eight steps of whole windows of the
//! usual lengths are taken together instead, see [`super::eight`].

use std::ops::Range;

use super::eight::{EIGHT, Part, cut};
use super::lanes::Lanes;

/// No frame: a sample that is missing, or nothing to delete and insert.
pub(crate) const NONE: u32 = u32::MAX;
/// Bytes that are fetched ahead.
const AHEAD: usize = 256;
/// Lanes of the widest vector.
pub(super) const WIDEST: usize = 32;

/// One output frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Whether the window moves on: `old` leaves it and `new` comes in.
    pub(crate) moves: bool,
    pub(crate) old: u32,
    pub(crate) new: u32,
    /// The frame that the median is taken from.
    pub(crate) own: u32,
    /// How many samples of the window are there.
    pub(crate) samples: u32,
    /// Which output it is.
    pub(crate) to: u32,
}

/// Output frames whose windows follow one another.
pub(crate) struct Job<'a, T> {
    /// The frames of the first window.
    pub(crate) first: &'a [u32],
    /// The output frames.
    pub(crate) steps: &'a [Step],
    /// The frames, all of one size.
    pub(crate) frames: &'a [&'a [T]],
}

/// Panics unless every frame of a job is there and holds the range.
pub(super) fn check<T>(job: &Job<T>, range: &Range<usize>) {
    let used = job.steps.iter().flat_map(|s| [s.old, s.new, s.own]).chain(job.first.iter().copied());
    for frame in used.filter(|f| *f != NONE) {
        assert!(job.frames[frame as usize].len() >= range.end, "frames hold the range of pixels");
    }
}

/// What is made of medians.
pub(super) trait Work<L: Lanes> {
    /// Takes the sorted window of one step.
    ///
    /// # Safety
    /// As of [`Lanes`]; the frames hold `L::N` pixels from `p` on.
    unsafe fn step(&mut self, window: &[L], step: &Step, p: usize);

    /// Takes the medians of eight steps, `seen` having watched every sample; false when they have to go one by one.
    ///
    /// # Safety
    /// As of `step`.
    unsafe fn eight(&mut self, medians: &[L::Quick; EIGHT], seen: L::Quick, steps: &[Step], p: usize)
    -> bool;
}

/// Runs all pixels that make whole vectors through the steps; gives the end of the last vector.
///
/// # Safety
/// As of [`Work::step`], for all pixels of the range; `check` has passed.
#[inline(always)]
pub(super) unsafe fn tiles<L: Lanes>(
    work: &mut impl Work<L>,
    job: &Job<L::Pixel>,
    range: Range<usize>,
) -> usize {
    let whole = range.start + (range.end - range.start) / L::N * L::N;
    // SAFETY: tiles end before the range does.
    unsafe {
        // Short windows whose length the compiler knows stay in registers.
        match job.first.len() {
            5 => sized::<L, 5>(work, job, range.start..whole),
            11 => eights::<L, 11, 4>(work, job, range.start..whole),
            21 => eights::<L, 21, 14>(work, job, range.start..whole),
            w => {
                let mut window = vec![L::pad(); w];
                for p in (range.start..whole).step_by(L::N) {
                    tile(work, job, &mut window, p);
                }
            }
        }
    }
    whole
}

/// # Safety
/// As of [`tiles`], the range being a whole number of vectors.
#[inline(always)]
unsafe fn sized<L: Lanes, const W: usize>(work: &mut impl Work<L>, job: &Job<L::Pixel>, range: Range<usize>) {
    for p in range.step_by(L::N) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut window = [L::pad(); W];
            tile(work, job, &mut window, p);
        }
    }
}

/// The same with eight steps at once; `C` is how many frames eight windows of `W` share.
///
/// # Safety
/// As of [`tiles`], the range being a whole number of vectors.
#[inline(always)]
unsafe fn eights<L: Lanes, const W: usize, const C: usize>(
    work: &mut impl Work<L>,
    job: &Job<L::Pixel>,
    range: Range<usize>,
) {
    let parts: Vec<Part<L::Pixel>> = cut(job);
    if parts.iter().all(|p| p.group.is_none()) {
        // SAFETY: the caller's promise.
        return unsafe { sized::<L, W>(work, job, range) };
    }
    let mut used: Vec<u32> =
        job.steps.iter().flat_map(|s| [s.old, s.new, s.own]).chain(job.first.iter().copied()).collect();
    used.sort_unstable();
    used.dedup();
    let used: Vec<*const L::Pixel> =
        used.iter().filter(|f| **f != NONE).map(|f| job.frames[*f as usize].as_ptr()).collect();
    for p in range.step_by(L::N) {
        for frame in &used {
            fetch(frame.wrapping_add(p));
        }
        for part in &parts {
            // SAFETY: the caller's promise; a group has the frames of the job.
            unsafe {
                if let Some(group) = &part.group {
                    let (medians, seen) = group.medians::<L::Quick, C>(p);
                    if work.eight(&medians, seen, &part.steps, p) {
                        continue;
                    }
                }
                let mut window = [L::pad(); W];
                let job = Job { first: &part.first, steps: &part.steps, frames: job.frames };
                tile(work, &job, &mut window, p);
            }
        }
    }
}

/// Runs a vector of pixels through all steps.
///
/// # Safety
/// As of [`Work::step`].
#[inline(always)]
unsafe fn tile<L: Lanes>(work: &mut impl Work<L>, job: &Job<L::Pixel>, window: &mut [L], p: usize) {
    // SAFETY: the caller promises what loads and keys need.
    unsafe {
        let w = window.len();
        for k in 0..w {
            let mut c = load::<L>(job, job.first[k], p);
            for s in &mut window[..k] {
                let t = *s;
                *s = t.min(c);
                c = t.max(c);
            }
            window[k] = c;
        }
        for step in job.steps {
            if step.moves {
                let old = load::<L>(job, step.old, p);
                let mut c = load::<L>(job, step.new, p);
                let mut a = window[0];
                for i in 0..w - 1 {
                    let b = window[i + 1];
                    let q = a.keep_below(old, b);
                    window[i] = q.min(c);
                    c = q.max(c);
                    a = b;
                }
                window[w - 1] = c;
            }
            work.step(window, step, p);
        }
    }
}

/// A vector of a frame; its place some vectors ahead is fetched meanwhile.
///
/// # Safety
/// As of [`Work::step`].
#[inline(always)]
unsafe fn load<L: Lanes>(job: &Job<L::Pixel>, frame: u32, p: usize) -> L {
    if frame == NONE {
        // SAFETY: the caller's promise.
        return unsafe { L::pad() };
    }
    // SAFETY: `check` has seen that the frames are there and hold the pixels.
    unsafe {
        let at = job.frames.get_unchecked(frame as usize).as_ptr().add(p);
        fetch(at);
        L::load(at)
    }
}

/// Asks for what is some vectors ahead: more frames are read side by side than the processor follows on its own.
#[inline(always)]
fn fetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: asking for memory that is not there does nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            at.cast::<i8>().wrapping_add(AHEAD),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
