//! A transform over lanes: convolution with an even kernel, many channels at once.

use std::f64::consts::PI;

/// What a convolution of one length needs: powers of the root of unity, and the transform of the kernel.
pub(crate) struct Plan {
    n: usize,
    /// Cosine and minus sine of each part of a turn.
    roots: Vec<[f32; 2]>,
    /// The kernel's transform, which is real, in the order that the forward steps leave; with the scale of the way back.
    spectrum: Vec<f32>,
}

impl Plan {
    /// For series of `taps.len()` values; `taps` is one half of the kernel, from its middle.
    pub(crate) fn new(taps: &[f64]) -> Plan {
        let n = (2 * taps.len()).next_power_of_two().max(4);
        let cosine: Vec<f64> = (0..n).map(|k| (2.0 * PI * k as f64 / n as f64).cos()).collect();
        let roots = (0..n).map(|k| {
            let angle = 2.0 * PI * k as f64 / n as f64;
            [angle.cos() as f32, -angle.sin() as f32]
        });
        let bits = n.trailing_zeros();
        let spectrum = (0..n).map(|k| {
            let k = k.reverse_bits() >> (usize::BITS - bits);
            let middle = taps.first().copied().unwrap_or(0.0);
            // Taps of 0 are every second one of a ramp.
            let sides: f64 = taps
                .iter()
                .enumerate()
                .skip(1)
                .filter(|(_, w)| **w != 0.0)
                .map(|(d, w)| w * cosine[k * d % n])
                .sum();
            ((middle + 2.0 * sides) / n as f64) as f32
        });
        Plan { n, roots: roots.collect(), spectrum: spectrum.collect() }
    }

    /// The length of the transform.
    pub(crate) fn len(&self) -> usize {
        self.n
    }
}

/// Convolves `H` pairs of channels: one of each pair is the real part, the other the imaginary one.
///
/// Both are `plan.len()` long and hold zeros behind their values.
#[inline(always)]
pub(super) fn convolve<const H: usize>(plan: &Plan, re: &mut [[f32; H]], im: &mut [[f32; H]]) {
    let n = plan.n;
    let (re, im) = (&mut re[..n], &mut im[..n]);
    // The outer steps go over all of it; what is left are transforms of sixteenths, each of which stays in the nearest
    // cache from its first step forth to its last step back.
    if n < 256 {
        return near(plan, re, im, 0);
    }
    forth(plan, 1, re, im);
    for (quarter, (re, im)) in re.chunks_exact_mut(n / 4).zip(im.chunks_exact_mut(n / 4)).enumerate() {
        forth(plan, 4, re, im);
        for (part, (re, im)) in re.chunks_exact_mut(n / 16).zip(im.chunks_exact_mut(n / 16)).enumerate() {
            near(plan, re, im, quarter * (n / 4) + part * (n / 16));
        }
        back(plan, 4, re, im);
    }
    back(plan, 1, re, im);
}

/// All steps of a block that begins at a place of the transform.
#[inline(always)]
fn near<const H: usize>(plan: &Plan, re: &mut [[f32; H]], im: &mut [[f32; H]], at: usize) {
    let n = re.len();
    let mut m = n;
    while m >= 4 {
        for (re, im) in re.chunks_exact_mut(m).zip(im.chunks_exact_mut(m)) {
            forth(plan, plan.n / m, re, im);
        }
        m /= 4;
    }
    if m == 2 {
        pairs(re, im);
    }
    for ((re, im), h) in re.iter_mut().zip(im.iter_mut()).zip(&plan.spectrum[at..at + n]) {
        re.iter_mut().for_each(|v| *v *= h);
        im.iter_mut().for_each(|v| *v *= h);
    }
    if m == 2 {
        pairs(re, im);
    }
    m *= 4;
    while m <= n {
        for (re, im) in re.chunks_exact_mut(m).zip(im.chunks_exact_mut(m)) {
            back(plan, plan.n / m, re, im);
        }
        m *= 4;
    }
}

/// Four quarters of a block.
#[inline(always)]
fn quarters<T>(block: &mut [T]) -> [&mut [T]; 4] {
    let quarter = block.len() / 4;
    let (a, rest) = block.split_at_mut(quarter);
    let (b, rest) = rest.split_at_mut(quarter);
    let (c, d) = rest.split_at_mut(quarter);
    [a, b, c, d]
}

/// Two steps of the way forth, decimating in frequency.
#[inline(always)]
fn forth<const H: usize>(plan: &Plan, stride: usize, re: &mut [[f32; H]], im: &mut [[f32; H]]) {
    let ([ar, br, cr, dr], [ai, bi, ci, di]) = (quarters(re), quarters(im));
    let turns = plan.roots.len() - 1;
    for j in 0..ar.len() {
        let root = |k: usize| plan.roots[(k * j * stride) & turns];
        let ([c1, s1], [c2, s2], [c3, s3]) = (root(1), root(2), root(3));
        let (a, b, c, d) = (ar[j], br[j], cr[j], dr[j]);
        let (ei, fi, gi, hi) = (ai[j], bi[j], ci[j], di[j]);
        let (mut re, mut im) = ([[0f32; H]; 4], [[0f32; H]; 4]);
        for l in 0..H {
            let (sr, si, tr, ti) = (a[l] + c[l], ei[l] + gi[l], b[l] + d[l], fi[l] + hi[l]);
            let (ur, ui, vr, vi) = (a[l] - c[l], ei[l] - gi[l], b[l] - d[l], fi[l] - hi[l]);
            re[0][l] = sr + tr;
            im[0][l] = si + ti;
            let (xr, xi) = (sr - tr, si - ti);
            re[1][l] = xr * c2 - xi * s2;
            im[1][l] = xr * s2 + xi * c2;
            // Minus i times v is (vi, -vr).
            let (xr, xi) = (ur + vi, ui - vr);
            re[2][l] = xr * c1 - xi * s1;
            im[2][l] = xr * s1 + xi * c1;
            let (xr, xi) = (ur - vi, ui + vr);
            re[3][l] = xr * c3 - xi * s3;
            im[3][l] = xr * s3 + xi * c3;
        }
        ([ar[j], br[j], cr[j], dr[j]], [ai[j], bi[j], ci[j], di[j]]) = (re, im);
    }
}

/// Two steps of the way back, decimating in time.
#[inline(always)]
fn back<const H: usize>(plan: &Plan, stride: usize, re: &mut [[f32; H]], im: &mut [[f32; H]]) {
    let ([ar, br, cr, dr], [ai, bi, ci, di]) = (quarters(re), quarters(im));
    let turns = plan.roots.len() - 1;
    for j in 0..ar.len() {
        let root = |k: usize| plan.roots[(k * j * stride) & turns];
        let ([c1, s1], [c2, s2], [c3, s3]) = (root(1), root(2), root(3));
        let (a, b, c, d) = (ar[j], br[j], cr[j], dr[j]);
        let (ei, fi, gi, hi) = (ai[j], bi[j], ci[j], di[j]);
        let (mut re, mut im) = ([[0f32; H]; 4], [[0f32; H]; 4]);
        for l in 0..H {
            // Times the conjugate of the root.
            let (tr, ti) = (b[l] * c2 + fi[l] * s2, fi[l] * c2 - b[l] * s2);
            let (ur, ui) = (c[l] * c1 + gi[l] * s1, gi[l] * c1 - c[l] * s1);
            let (vr, vi) = (d[l] * c3 + hi[l] * s3, hi[l] * c3 - d[l] * s3);
            let (sr, si, wr, wi) = (a[l] + tr, ei[l] + ti, a[l] - tr, ei[l] - ti);
            let (pr, pi) = (ur + vr, ui + vi);
            // i times (u - v).
            let (qr, qi) = (vi - ui, ur - vr);
            (re[0][l], im[0][l]) = (sr + pr, si + pi);
            (re[1][l], im[1][l]) = (wr + qr, wi + qi);
            (re[2][l], im[2][l]) = (sr - pr, si - pi);
            (re[3][l], im[3][l]) = (wr - qr, wi - qi);
        }
        ([ar[j], br[j], cr[j], dr[j]], [ai[j], bi[j], ci[j], di[j]]) = (re, im);
    }
}

/// The step of length two, which is its own way back.
#[inline(always)]
fn pairs<const H: usize>(re: &mut [[f32; H]], im: &mut [[f32; H]]) {
    for part in [re, im] {
        for pair in part.chunks_exact_mut(2) {
            let (a, b) = (pair[0], pair[1]);
            for l in 0..H {
                pair[0][l] = a[l] + b[l];
                pair[1][l] = a[l] - b[l];
            }
        }
    }
}
