//! Medians of eight windows that follow one another, found together.
//!
//! Eight windows share most of their frames. Of what all share only the middle eight samples can be a median, whatever
//! comes to them; either half of the windows shares four frames more, and of those samples only four can; and so on down
//! to single windows. A window of 21 takes 28 minima and maxima in this way, where deleting and inserting takes 80.
//!
//! Source: the idea of A. Adams, ACM Trans. Graph. 40 (2021) 46, along one axis.

use super::lanes::Lanes;
use super::sorted::{Job, Step};

/// Windows that are taken together.
pub(super) const EIGHT: usize = 8;

/// Steps that follow one another.
pub(super) struct Part<T> {
    /// The window of the first of them.
    pub(super) first: Vec<u32>,
    /// The first does not move.
    pub(super) steps: Vec<Step>,
    /// What eight of them share; none when they have to go one by one.
    pub(super) group: Option<Group<T>>,
}

/// Where the frames of eight windows begin.
pub(super) struct Group<T> {
    /// What is in all windows.
    core: Vec<*const T>,
    /// What leaves between one window and the next, and what comes.
    old: [*const T; EIGHT - 1],
    new: [*const T; EIGHT - 1],
}

/// The steps of a job, eight by eight where that can be.
pub(super) fn cut<T>(job: &Job<T>) -> Vec<Part<T>> {
    let mut window = job.first.to_vec();
    let mut parts = vec![];
    for steps in job.steps.chunks(EIGHT) {
        let mut first = vec![];
        for (k, step) in steps.iter().enumerate() {
            if step.moves
                && let Some(at) = window.iter().position(|f| *f == step.old)
            {
                window[at] = step.new;
            }
            if k == 0 {
                first = window.clone();
            }
        }
        let group = group(job, &first, steps);
        let mut steps = steps.to_vec();
        steps[0].moves = false;
        parts.push(Part { first, steps, group });
    }
    parts
}

/// What eight windows share, when all are whole and each moves on.
fn group<T>(job: &Job<T>, first: &[u32], steps: &[Step]) -> Option<Group<T>> {
    let whole = steps.iter().all(|s| s.samples as usize == first.len());
    if steps.len() != EIGHT || !whole || !steps[1..].iter().all(|s| s.moves) {
        return None;
    }
    let mut core = first.to_vec();
    for step in &steps[1..] {
        // What came only after the first window is in no core.
        core.swap_remove(core.iter().position(|f| *f == step.old)?);
    }
    let place = |frame: u32| Some(job.frames.get(frame as usize)?.as_ptr());
    let all = |of: fn(&Step) -> u32| -> Option<[*const T; EIGHT - 1]> {
        let list: Option<Vec<_>> = steps[1..].iter().map(|s| place(of(s))).collect();
        list?.try_into().ok()
    };
    Some(Group {
        core: core.into_iter().map(place).collect::<Option<_>>()?,
        old: all(|s| s.old)?,
        new: all(|s| s.new)?,
    })
}

/// Sorts pairs of a list one after the other.
macro_rules! network {
    ($v:ident: $($a:literal $b:literal)*) => {
        $(
            let low = $v[$a].min($v[$b]);
            $v[$b] = $v[$a].max($v[$b]);
            $v[$a] = low;
        )*
    };
}

impl<T: Copy> Group<T> {
    /// The medians of the eight windows, and what watched every sample; `C` frames are in all windows.
    ///
    /// # Safety
    /// As of [`Lanes`]; all frames hold `L::N` pixels from `p` on.
    #[inline(always)]
    pub(super) unsafe fn medians<L: Lanes<Pixel = T>, const C: usize>(&self, p: usize) -> ([L; EIGHT], L) {
        debug_assert_eq!(self.core.len(), C);
        // SAFETY: the caller's promise; the core has as many frames as eight windows of this length share.
        unsafe {
            let mut seen = L::quiet();
            // As many samples too low and too high to matter as bring the middle eight to the middle of sixteen.
            let mut v = [L::least(); 16];
            let low = (16 - C) / 2;
            for k in 0..C {
                v[low + k] = load(*self.core.get_unchecked(k), p, &mut seen);
            }
            for above in &mut v[low + C..] {
                *above = L::pad();
            }
            // M. W. Green, in D. E. Knuth, The Art of Computer Programming 3, section 5.3.4.
            network!(v:
                0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
                0 2 4 6 8 10 12 14 1 3 5 7 9 11 13 15
                0 4 8 12 1 5 9 13 2 6 10 14 3 7 11 15
                0 8 1 9 2 10 3 11 4 12 5 13 6 14 7 15
                5 10 6 9 3 12 13 14 7 11 4 8 1 2
                1 4 7 13 2 8 11 14
                2 4 5 6 9 10 11 13 3 8 7 12
                6 8 10 12 3 5 7 9
                3 4 5 6 7 8 9 10 11 12
                6 7 8 9
            );
            let eight = [v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11]];
            // What leaves after a window is still in it, what comes before is in it already; number k is that of step k+1.
            let (mut old, mut new) = ([L::least(); EIGHT - 1], [L::least(); EIGHT - 1]);
            for k in 0..EIGHT - 1 {
                old[k] = load(self.old[k], p, &mut seen);
                new[k] = load(self.new[k], p, &mut seen);
            }
            let four = of_eight(eight, sort([old[3], old[4], old[5], old[6]]));
            let two = of_four(four, [old[1], old[2]]);
            let (a, b) = (of_two(two, old[0]), of_two(two, new[0]));
            let two = of_four(four, [new[0], new[1]]);
            let (c, d) = (of_two(two, old[2]), of_two(two, new[2]));
            let four = of_eight(eight, sort([new[0], new[1], new[2], new[3]]));
            let two = of_four(four, [old[5], old[6]]);
            let (e, f) = (of_two(two, old[4]), of_two(two, new[4]));
            let two = of_four(four, [new[4], new[5]]);
            let (g, h) = (of_two(two, old[6]), of_two(two, new[6]));
            ([a, b, c, d, e, f, g, h], seen)
        }
    }
}

/// A vector of a frame; `seen` watches it.
///
/// # Safety
/// As of [`Lanes`], the frame holding `L::N` pixels from `p` on.
#[inline(always)]
unsafe fn load<L: Lanes>(frame: *const L::Pixel, p: usize, seen: &mut L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let v = L::load(frame.add(p));
        *seen = seen.watch(v);
        v
    }
}

/// Sorts four samples.
///
/// # Safety
/// As of [`Lanes`], here and below.
#[inline(always)]
unsafe fn sort<L: Lanes>(mut v: [L; 4]) -> [L; 4] {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        network!(v: 0 1 2 3 0 2 1 3 1 2);
    }
    v
}

/// The middle four of eight sorted samples and four more.
#[inline(always)]
unsafe fn of_eight<L: Lanes>(a: [L; 8], b: [L; 4]) -> [L; 4] {
    // SAFETY: the caller's promise: the processor has what these lanes are made of.
    unsafe {
        // The highest four of all are among the upper half and the four: the others go on.
        let mut v = [a[4].min(b[3]), a[5].min(b[2]), a[6].min(b[1]), a[7].min(b[0])];
        // They rise and fall, or fall and rise: half of a sorting network is enough.
        network!(v: 0 2 1 3 0 1 2 3);
        // Of these and the lower half the lowest four go.
        let mut v = [a[0].max(v[3]), a[1].max(v[2]), a[2].max(v[1]), a[3].max(v[0])];
        network!(v: 0 2 1 3 0 1 2 3);
        v
    }
}

/// The middle two of four sorted samples and two more, not sorted.
#[inline(always)]
unsafe fn of_four<L: Lanes>(a: [L; 4], mut b: [L; 2]) -> [L; 2] {
    // SAFETY: the caller's promise: the processor has what these lanes are made of.
    unsafe {
        network!(b: 0 1);
        let mut v = [a[2].min(b[1]), a[3].min(b[0])];
        network!(v: 0 1);
        let mut v = [a[0].max(v[1]), a[1].max(v[0])];
        network!(v: 0 1);
        v
    }
}

/// The middle of two sorted samples and one more.
#[inline(always)]
unsafe fn of_two<L: Lanes>(a: [L; 2], b: L) -> L {
    // SAFETY: the caller's promise: the processor has what these lanes are made of.
    unsafe { a[0].max(a[1].min(b)) }
}
