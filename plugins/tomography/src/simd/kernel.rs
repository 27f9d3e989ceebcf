//! The loops themselves, as any processor runs them.

/// A share of two neighbours: rays for a pixel, pixels for a ray.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub(crate) struct Entry {
    /// The place of the first.
    pub at: u32,
    /// The weights of the first and of the second.
    pub w: [f32; 2],
}

/// Places in even steps on a line, each between two neighbours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// Where the first place falls, and how far it is to the next.
    pub from: f64,
    /// See `from`.
    pub step: f64,
    /// The last place that is there; those beyond are taken as the last, those below 0 as 0.
    pub last: f64,
    /// The index of place 0 for the first step.
    pub base: u32,
    /// How much it grows with each step.
    pub advance: u32,
    /// How much it grows from one place to the next.
    pub stride: u32,
    /// One over the reach of a place: beyond it a neighbour has nothing.
    pub narrow: f64,
    /// What every weight is times.
    pub weight: f64,
}

/// Places that are worked out together: their results stand in registers before they are spread.
const TOGETHER: usize = 16;

/// Fills every `skip`-th entry.
#[inline(always)]
pub(super) fn fill(line: Line, entries: &mut [Entry], skip: usize) {
    let n = entries.len().div_ceil(skip);
    // Single precision counts from the first place that is met: a line is short, so nothing is lost.
    let start = line.from.min(line.from + line.step * n as f64).floor();
    let (from, step) = ((line.from - start) as f32, line.step as f32);
    let (low, high) = (-start as f32, (line.last - start) as f32);
    let (narrow, by) = (line.narrow as f32, (line.narrow * line.weight) as f32);
    let base = line.base.wrapping_add((start as i32 as u32).wrapping_mul(line.stride));
    for (block, entries) in entries.chunks_mut(TOGETHER * skip).enumerate() {
        let (mut at, mut first, mut second) = ([0u32; TOGETHER], [0f32; TOGETHER], [0f32; TOGETHER]);
        for k in 0..TOGETHER {
            let q = (block * TOGETHER + k) as i32;
            let x = (from + q as f32 * step).max(low).min(high);
            let place = x as i32;
            let f = x - place as f32;
            let index = (place as u32).wrapping_mul(line.stride);
            at[k] = base.wrapping_add(index).wrapping_add((q as u32).wrapping_mul(line.advance));
            first[k] = (1.0 - f * narrow).max(0.0) * by;
            second[k] = (1.0 - (1.0 - f) * narrow).max(0.0) * by;
        }
        for (k, entry) in entries.iter_mut().step_by(skip).enumerate() {
            *entry = Entry { at: at[k], w: [first[k], second[k]] };
        }
    }
}

/// Adds to each sum its shares of what stands at places and `next` behind them; it has the entries between two bounds.
#[inline(always)]
pub(super) fn gather<const L: usize>(
    sums: &mut [[f32; L]],
    entries: &[Entry],
    bounds: impl Fn(usize) -> [usize; 2],
    next: usize,
    from: &[[f32; L]],
) {
    for (k, out) in sums.iter_mut().enumerate() {
        let mut sum = *out;
        let [first, last] = bounds(k);
        for Entry { at, w: [w0, w1] } in &entries[first..last] {
            let at = *at as usize;
            let (Some(a), Some(b)) = (from.get(at), from.get(at + next)) else { continue };
            for l in 0..L {
                sum[l] += w0 * a[l] + w1 * b[l];
            }
        }
        *out = sum;
    }
}
