//! The loops themselves, as any processor runs them.

/// Where pixels fall on projections: two neighbouring rays, and what each takes; angle by angle, then pixel by pixel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    /// The place of the first ray.
    pub at: Vec<u32>,
    /// The weights of the first ray, and of the second.
    pub w: [Vec<f32>; 2],
}

impl Table {
    /// Makes room for so many entries.
    pub(crate) fn resize(&mut self, n: usize) {
        self.at.resize(n, 0);
        self.w.iter_mut().for_each(|w| w.resize(n, 0.0));
    }
}

/// A line of pixels on one projection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// Where the first pixel falls, in rays, and how far it is to the next.
    pub from: f64,
    /// See `from`.
    pub step: f64,
    /// The last ray a pixel may fall on.
    pub last: f64,
    /// The place of ray 0.
    pub base: u32,
    /// One over the width of a pixel on the projection, in rays.
    pub narrow: f64,
    /// What every weight is times.
    pub weight: f64,
}

#[inline(always)]
pub(super) fn fill(line: Line, at: &mut [u32], first: &mut [f32], second: &mut [f32]) {
    let n = at.len().min(first.len()).min(second.len());
    // Single precision counts from the first ray that is met: a line is short, so nothing is lost.
    let start = line.from.min(line.from + line.step * n as f64).floor();
    let (from, step) = ((line.from - start) as f32, line.step as f32);
    let (low, high) = (-start as f32, (line.last - start) as f32);
    let (narrow, by) = (line.narrow as f32, (line.narrow * line.weight) as f32);
    let base = line.base.wrapping_add(start as i32 as u32);
    for (q, ((at, first), second)) in at.iter_mut().zip(first).zip(second).enumerate() {
        // Beyond the ends the two rays are empty ones.
        let x = (from + q as i32 as f32 * step).max(low).min(high);
        let ray = x as i32;
        let f = x - ray as f32;
        *at = base.wrapping_add(ray as u32);
        *first = (1.0 - f * narrow).max(0.0) * by;
        *second = (1.0 - (1.0 - f) * narrow).max(0.0) * by;
    }
}

#[inline(always)]
pub(super) fn gather<const L: usize>(pixels: &mut [[f32; L]], table: &Table, rays: &[[f32; L]]) {
    let n = pixels.len();
    let angles = table.at.len() / n.max(1);
    for (p, pixel) in pixels.iter_mut().enumerate() {
        let mut sum = *pixel;
        for k in 0..angles {
            let i = k * n + p;
            let (at, w0, w1) = (table.at[i] as usize, table.w[0][i], table.w[1][i]);
            let [a, b] = &rays[at..at + 2] else { continue };
            for l in 0..L {
                sum[l] += w0 * a[l] + w1 * b[l];
            }
        }
        *pixel = sum;
    }
}

#[inline(always)]
pub(super) fn scatter<const L: usize>(pixels: &[[f32; L]], table: &Table, rays: &mut [[f32; L]]) {
    let n = pixels.len();
    let angles = table.at.len() / n.max(1);
    // Angle after angle for each pixel: neighbours meet the same ray, and would wait for each other's sums.
    for (p, pixel) in pixels.iter().enumerate() {
        for k in 0..angles {
            let i = k * n + p;
            let (at, w0, w1) = (table.at[i] as usize, table.w[0][i], table.w[1][i]);
            let [a, b] = &mut rays[at..at + 2] else { continue };
            // Both are taken out and put back, so that the compiler need not fear they are one.
            let (mut x, mut y) = (*a, *b);
            for l in 0..L {
                x[l] += w0 * pixel[l];
            }
            for l in 0..L {
                y[l] += w1 * pixel[l];
            }
            (*a, *b) = (x, y);
        }
    }
}
