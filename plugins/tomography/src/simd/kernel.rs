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
    let (n, by) = (line.narrow, line.narrow * line.weight);
    for (q, ((at, first), second)) in at.iter_mut().zip(first).zip(second).enumerate() {
        // Beyond the ends the two rays are empty ones.
        let x = (line.from + q as i32 as f64 * line.step).max(0.0).min(line.last);
        let ray = x as i32;
        let f = x - f64::from(ray);
        *at = line.base.wrapping_add(ray as u32);
        *first = ((1.0 - f * n).max(0.0) * by) as f32;
        *second = ((1.0 - (1.0 - f) * n).max(0.0) * by) as f32;
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
    let n = pixels.len().max(1);
    for first in (0..table.at.len()).step_by(n) {
        for (p, pixel) in pixels.iter().enumerate() {
            let i = first + p;
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

/// Results that are summed at once, so that no sum waits for the last addition.
const AT_ONCE: usize = 4;

/// `from` has as many zeros on both sides as `to` is long, and [`AT_ONCE`] more behind.
#[inline(always)]
pub(super) fn convolve<const L: usize>(
    centre: f32,
    taps: &[(usize, f32)],
    from: &[[f32; L]],
    to: &mut [[f32; L]],
) {
    let n = to.len();
    for (block, out) in to.chunks_mut(AT_ONCE).enumerate() {
        let x = block * AT_ONCE;
        let start = |k: usize| from[n + x + k].map(|v| v * centre);
        // Four names and not an array: so they stay in registers.
        let (mut s0, mut s1, mut s2, mut s3) = (start(0), start(1), start(2), start(3));
        let far = (x + AT_ONCE).max(n - x);
        for (d, w) in taps {
            if *d >= far {
                break;
            }
            let ([a0, a1, a2, a3], [b0, b1, b2, b3]) =
                (&from[n + x - d..n + x - d + AT_ONCE], &from[n + x + d..n + x + d + AT_ONCE])
            else {
                continue;
            };
            for l in 0..L {
                s0[l] += w * (a0[l] + b0[l]);
            }
            for l in 0..L {
                s1[l] += w * (a1[l] + b1[l]);
            }
            for l in 0..L {
                s2[l] += w * (a2[l] + b2[l]);
            }
            for l in 0..L {
                s3[l] += w * (a3[l] + b3[l]);
            }
        }
        out.iter_mut().zip([s0, s1, s2, s3]).for_each(|(out, sum)| *out = sum);
    }
}

/// Zeros that [`convolve`] needs behind the projection, beside those for its length.
pub(crate) const BEHIND: usize = AT_ONCE;
