//! The moving median: a sorted window for each vector of pixels.
//!
//! Each step deletes one sample and inserts another in one pass without branches.

use std::ops::Range;

use super::lanes::{Lanes, Plain};
use super::{Level, of_key};

/// No frame: a sample that is missing, or nothing to delete and insert.
pub(crate) const NONE: u32 = u32::MAX;
/// Bytes that are fetched ahead.
const AHEAD: usize = 192;
/// Lanes of the widest vector.
const WIDEST: usize = 32;

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
    let mut work = Words { job, start: range.start, out, medians, full };
    // SAFETY: the frames hold the range, and the level says that the processor has the instructions.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::words_avx512(&mut work, range),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::words_avx2(&mut work, range),
            _ => work.run::<Plain<u16, 16>>(range),
        }
    }
}

/// The same for 32-bit floats; samples that are not finite do not count.
pub(crate) fn floats<'c>(
    level: Level,
    job: &Job<f32>,
    range: Range<usize>,
    out: &mut [&'c mut [f32]],
    medians: Option<&mut [&'c mut [f32]]>,
) {
    check(job, &range);
    let mut work = Floats { job, start: range.start, out, medians };
    // SAFETY: as above.
    unsafe {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => x86::floats_avx512(&mut work, range),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => x86::floats_avx2(&mut work, range),
            _ => work.run::<Plain<i32, 8>>(range),
        }
    }
}

fn check<T>(job: &Job<T>, range: &Range<usize>) {
    let used = job.steps.iter().flat_map(|s| [s.old, s.new, s.own]).chain(job.first.iter().copied());
    for frame in used.filter(|f| *f != NONE) {
        assert!(job.frames[frame as usize].len() >= range.end, "frames hold the range of pixels");
    }
}

/// What is made of the sorted window of one step.
trait Work<L: Lanes> {
    fn job(&self) -> &Job<'_, L::Pixel>;
    /// # Safety
    /// As of [`Lanes`]; the frames hold `L::N` pixels from `p` on.
    unsafe fn step(&mut self, window: &[L], step: &Step, p: usize);
}

/// Runs a vector of pixels through all steps.
///
/// # Safety
/// As of [`Lanes`]; the frames hold `L::N` pixels from `p` on.
#[inline(always)]
unsafe fn tile<L: Lanes>(work: &mut impl Work<L>, window: &mut [L], p: usize) {
    // SAFETY: the caller promises what loads and keys need.
    unsafe {
        let w = window.len();
        for k in 0..w {
            let mut c = load::<L>(work.job(), work.job().first[k], p);
            for s in &mut window[..k] {
                let t = *s;
                *s = t.min(c);
                c = t.max(c);
            }
            window[k] = c;
        }
        for k in 0..work.job().steps.len() {
            let step = work.job().steps[k];
            if step.moves {
                let old = load::<L>(work.job(), step.old, p);
                let mut c = load::<L>(work.job(), step.new, p);
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
            work.step(window, &step, p);
        }
    }
}

/// A vector of a frame; its place some vectors ahead is fetched meanwhile.
///
/// # Safety
/// As of [`tile`].
#[inline(always)]
unsafe fn load<L: Lanes>(job: &Job<L::Pixel>, frame: u32, p: usize) -> L {
    if frame == NONE {
        // SAFETY: the caller's promise.
        return unsafe { L::pad() };
    }
    // SAFETY: `check` has seen that the frames are there and hold the pixels.
    unsafe {
        let at = job.frames.get_unchecked(frame as usize).as_ptr().add(p);
        // More frames are read side by side than the processor follows on its own.
        #[cfg(target_arch = "x86_64")]
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast::<i8>().wrapping_add(AHEAD));
        L::load(at)
    }
}

/// # Safety
/// As of [`tile`], for all pixels of the range.
#[inline(always)]
unsafe fn tiles<L: Lanes>(work: &mut impl Work<L>, range: Range<usize>) -> usize {
    let whole = range.start + (range.end - range.start) / L::N * L::N;
    // SAFETY: tiles end before the range does.
    unsafe {
        // Short windows whose length the compiler knows stay in registers.
        match work.job().first.len() {
            5 => sized::<L, 5>(work, range.start..whole),
            11 => sized::<L, 11>(work, range.start..whole),
            21 => sized::<L, 21>(work, range.start..whole),
            w => {
                let mut window = vec![L::pad(); w];
                for p in (range.start..whole).step_by(L::N) {
                    tile(work, &mut window, p);
                }
            }
        }
    }
    whole
}

/// # Safety
/// As of [`tile`], for all pixels of the range.
#[inline(always)]
unsafe fn sized<L: Lanes, const W: usize>(work: &mut impl Work<L>, range: Range<usize>) {
    for p in range.step_by(L::N) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut window = [L::pad(); W];
            tile(work, &mut window, p);
        }
    }
}

struct Words<'a, 'b, 'c> {
    job: &'a Job<'a, u16>,
    start: usize,
    out: Out<'b, 'c>,
    medians: Option<&'b mut [&'c mut [f32]]>,
    /// Counts of pixels at the largest value.
    full: Option<&'b mut [u32]>,
}

impl Words<'_, '_, '_> {
    /// # Safety
    /// As of [`tile`].
    #[inline(always)]
    unsafe fn run<L: Lanes<Pixel = u16, Key = u16>>(&mut self, range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe {
            let done = tiles::<L>(self, range.clone());
            tiles::<Plain<u16, 1>>(self, done..range.end);
        }
    }
}

impl<L: Lanes<Pixel = u16, Key = u16>> Work<L> for Words<'_, '_, '_> {
    #[inline(always)]
    fn job(&self) -> &Job<'_, u16> {
        self.job
    }

    #[inline(always)]
    unsafe fn step(&mut self, window: &[L], step: &Step, p: usize) {
        let (mut low, mut high) = ([0u16; WIDEST], [0u16; WIDEST]);
        let samples = step.samples as usize;
        // SAFETY: the buffers take the widest vector.
        unsafe {
            window[(samples - 1) / 2].store(low.as_mut_ptr());
            window[samples / 2].store(high.as_mut_ptr());
        }
        let (at, to) = (p - self.start, step.to as usize);
        let own = &self.job.frames[step.own as usize][p..p + L::N];
        // Slices of one known length: the compiler makes vectors of these loops.
        let (low, high) = (&low[..L::N], &high[..L::N]);
        match &mut self.out {
            Out::Words(out, over) => {
                let out = &mut out[to][at..at + L::N];
                let mut outside = 0u16;
                for k in 0..L::N {
                    let difference = own[k].wrapping_sub(low[k]) as i16;
                    out[k] = difference;
                    // Two middles that differ, whose mean may be half a count, are left to floats. All pixels of a
                    // vector are looked at together: hardly any is odd.
                    outside |= u16::from((own[k] >= low[k]) != (difference >= 0)) | (low[k] ^ high[k]);
                }
                over[to] |= outside != 0;
            }
            Out::Floats(out) => {
                let out = &mut out[to][at..at + L::N];
                for k in 0..L::N {
                    let twice = 2 * i32::from(own[k]) - i32::from(low[k]) - i32::from(high[k]);
                    out[k] = twice as f32 * 0.5;
                }
            }
        }
        if let Some(full) = &mut self.full
            && own.iter().fold(0, |most, v| most.max(*v)) == u16::MAX
        {
            full[to] += own.iter().filter(|v| **v == u16::MAX).count() as u32;
        }
        if let Some(medians) = &mut self.medians {
            let out = &mut medians[to][at..at + L::N];
            for k in 0..L::N {
                out[k] = (i32::from(low[k]) + i32::from(high[k])) as f32 * 0.5;
            }
        }
    }
}

struct Floats<'a, 'b, 'c> {
    job: &'a Job<'a, f32>,
    start: usize,
    out: &'b mut [&'c mut [f32]],
    medians: Option<&'b mut [&'c mut [f32]]>,
}

impl Floats<'_, '_, '_> {
    /// # Safety
    /// As of [`tile`].
    #[inline(always)]
    unsafe fn run<L: Lanes<Pixel = f32, Key = i32>>(&mut self, range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe {
            let done = tiles::<L>(self, range.clone());
            tiles::<Plain<i32, 1>>(self, done..range.end);
        }
    }
}

impl<L: Lanes<Pixel = f32, Key = i32>> Work<L> for Floats<'_, '_, '_> {
    #[inline(always)]
    fn job(&self) -> &Job<'_, f32> {
        self.job
    }

    #[inline(always)]
    unsafe fn step(&mut self, window: &[L], step: &Step, p: usize) {
        let (mut low, mut high) = ([0i32; WIDEST], [0i32; WIDEST]);
        let samples = step.samples as usize;
        let mut both = samples % 2 == 0;
        // SAFETY: the buffers take the widest vector.
        unsafe {
            window[samples - 1].store(high.as_mut_ptr());
            let odd = high[..L::N].iter().fold(0, |odd, key| odd | i32::from(*key == i32::MAX));
            if odd != 0 {
                middles(window, &mut low, &mut high);
                both = true;
            } else {
                window[(samples - 1) / 2].store(low.as_mut_ptr());
                window[samples / 2].store(high.as_mut_ptr());
            }
        }
        let (at, to) = (p - self.start, step.to as usize);
        let own = &self.job.frames[step.own as usize][p..p + L::N];
        let out = &mut self.out[to][at..at + L::N];
        let (low, high) = (&low[..L::N], &high[..L::N]);
        let mut median = [0f32; WIDEST];
        let median = &mut median[..L::N];
        match both {
            true => (0..L::N).for_each(|k| median[k] = (of_key(low[k]) + of_key(high[k])) / 2.0),
            false => (0..L::N).for_each(|k| median[k] = of_key(low[k])),
        }
        for k in 0..L::N {
            // An infinity less a number is none.
            let own = if own[k].abs() < f32::INFINITY { own[k] } else { f32::NAN };
            out[k] = own - median[k];
        }
        if let Some(medians) = &mut self.medians {
            medians[to][at..at + L::N].copy_from_slice(median);
        }
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
    use std::ops::Range;

    use super::super::lanes::x86::{Keys256, Keys512, Words256, Words512};
    use super::{Floats, Words};

    /// # Safety
    /// As of [`Words::run`], on a processor with these instructions; so for all below.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn words_avx512(work: &mut Words, range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<Words512>(range) }
    }

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn words_avx2(work: &mut Words, range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<Words256>(range) }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn floats_avx512(work: &mut Floats, range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<Keys512>(range) }
    }

    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn floats_avx2(work: &mut Floats, range: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe { work.run::<Keys256>(range) }
    }
}
