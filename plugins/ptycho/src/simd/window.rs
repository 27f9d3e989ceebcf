//! Loops over rows of a window into a larger image, with several steps at once while numbers are at hand.
//!
//! `wide` is the larger image from the window's first pixel of these rows on, `columns` how many pixels its rows have.

use super::plain::{LANES, abs2, minus_product, mixed, mul, mulc, product, relax, sum};
use crate::num::{Complex, Real};

type C<T> = Complex<T>;

/// The rows of a window: the larger image goes on behind its last one, but never for less than a row.
#[inline(always)]
fn rows<X>(wide: &[X], columns: usize, n: usize) -> impl Iterator<Item = &[X]> {
    wide.chunks(columns).map(move |row| &row[..n])
}

#[inline(always)]
fn rows_mut<X>(wide: &mut [X], columns: usize, n: usize) -> impl Iterator<Item = &mut [X]> {
    wide.chunks_mut(columns).map(move |row| &mut row[..n])
}

#[inline(always)]
pub fn window_product<T: Real>(out: &mut [C<T>], a: &[C<T>], wide: &[C<T>], columns: usize, n: usize) {
    for ((out, a), b) in out.chunks_exact_mut(n).zip(a.chunks_exact(n)).zip(rows(wide, columns, n)) {
        product(out, a, b);
    }
}

#[inline(always)]
pub fn window_products<T: Real>(
    out: &mut [C<T>],
    [a, c]: [&[C<T>]; 2],
    [b, d]: [&[C<T>]; 2],
    columns: usize,
    n: usize,
) {
    let others = a.chunks_exact(n).zip(c.chunks_exact(n));
    let wide = rows(b, columns, n).zip(rows(d, columns, n));
    for ((out, (a, c)), (b, d)) in out.chunks_exact_mut(n).zip(others).zip(wide) {
        for ((((o, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *o = mul(*a, *b) + mul(*c, *d);
        }
    }
}

/// Where `a` is dark, outside of what `lit` names of a row, neither it nor the window is looked at.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn window_mixed<T: Real>(
    out: &mut [C<T>],
    psi: &[C<T>],
    a: &[C<T>],
    wide: &[C<T>],
    columns: usize,
    n: usize,
    c: T,
    lit: &[[usize; 2]],
) {
    let parts = psi.chunks_exact(n).zip(a.chunks_exact(n)).zip(lit);
    let rest = T::one() - c;
    for ((out, ((psi, a), [from, to])), b) in out.chunks_exact_mut(n).zip(parts).zip(rows(wide, columns, n)) {
        let (from, to) = (*from, *to);
        dark(&mut out[..from], &psi[..from], rest);
        mixed(&mut out[from..to], &psi[from..to], &a[from..to], &b[from..to], c);
        dark(&mut out[to..], &psi[to..], rest);
    }
}

/// `out = rest psi`.
#[inline(always)]
fn dark<T: Real>(out: &mut [C<T>], psi: &[C<T>], rest: T) {
    for (o, psi) in out.iter_mut().zip(psi) {
        *o = C::new(rest * psi.re, rest * psi.im);
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn window_relax<T: Real>(
    psi: &mut [C<T>],
    f: &[C<T>],
    a: &[C<T>],
    wide: &[C<T>],
    columns: usize,
    n: usize,
    weights: [T; 3],
    lit: &[[usize; 2]],
) -> f64 {
    let parts = f.chunks_exact(n).zip(a.chunks_exact(n)).zip(lit);
    let mut moved = 0.0;
    for ((psi, ((f, a), lit)), b) in psi.chunks_exact_mut(n).zip(parts).zip(rows(wide, columns, n)) {
        moved += relax_row(psi, f, a, b, weights, *lit);
    }
    moved
}

/// Moves a row; where nothing is lit the product is 0.
#[inline(always)]
fn relax_row<T: Real>(
    psi: &mut [C<T>],
    f: &[C<T>],
    a: &[C<T>],
    b: &[C<T>],
    weights: [T; 3],
    [from, to]: [usize; 2],
) -> f64 {
    let [of_f, _, of_psi] = weights;
    let moved = relax(&mut psi[from..to], &f[from..to], &a[from..to], &b[from..to], weights);
    let left = relax_dark(&mut psi[..from], &f[..from], of_f, of_psi);
    moved + left + relax_dark(&mut psi[to..], &f[to..], of_f, of_psi)
}

#[inline(always)]
fn relax_dark<T: Real>(psi: &mut [C<T>], f: &[C<T>], of_f: T, of_psi: T) -> f64 {
    let mut lanes = [T::zero(); LANES];
    let one = |psi: &mut C<T>, f: C<T>| {
        let d = C::new(of_f * f.re + of_psi * psi.re, of_f * f.im + of_psi * psi.im);
        *psi = C::new(psi.re + d.re, psi.im + d.im);
        abs2(d)
    };
    let (whole, rest) = psi.as_chunks_mut::<LANES>();
    let (fs, fr) = f.as_chunks::<LANES>();
    for (psi, f) in whole.iter_mut().zip(fs) {
        for i in 0..LANES {
            lanes[i] += one(&mut psi[i], f[i]);
        }
    }
    for (i, (psi, f)) in rest.iter_mut().zip(fr).enumerate() {
        lanes[i] += one(psi, *f);
    }
    sum(lanes)
}

/// Gives waves the measured amplitudes; the sum of squared differences before.
#[inline(always)]
pub fn measured<T: Real>(f: &mut [C<T>], amp: &[T], scale: T) -> f64 {
    let mut lanes = [T::zero(); LANES];
    let (zero, tiny) = (T::zero(), T::of(1e-10));
    let one = |f: &mut C<T>, a: T| {
        let m = (scale * abs2(*f)).sqrt();
        let bad = a < zero;
        let d = if bad { zero } else { m - a };
        let g = scale * if bad { T::one() } else { a / (m + tiny) };
        *f = C::new(f.re * g, f.im * g);
        d * d
    };
    let ((f, fr), (a, ar)) = (f.as_chunks_mut::<LANES>(), amp.as_chunks::<LANES>());
    for (f, a) in f.iter_mut().zip(a) {
        for i in 0..LANES {
            lanes[i] += one(&mut f[i], a[i]);
        }
    }
    for (i, (f, a)) in fr.iter_mut().zip(ar).enumerate() {
        lanes[i] += one(f, *a);
    }
    sum(lanes)
}

/// Gives waves the measured amplitudes; the sums of squared differences in amplitude and in counts before.
#[inline(always)]
pub fn measured_counts<T: Real>(f: &mut [C<T>], amp: &[T], scale: T) -> [f64; 2] {
    let mut lanes = [[T::zero(); LANES]; 2];
    let (zero, tiny) = (T::zero(), T::of(1e-10));
    let one = |f: &mut C<T>, a: T| {
        let (im, ia) = (scale * abs2(*f), a * a);
        let m = im.sqrt();
        let bad = a < zero;
        let d = if bad { zero } else { m - a };
        let e = if bad { zero } else { im - ia };
        let g = scale * if bad { T::one() } else { a / (m + tiny) };
        *f = C::new(f.re * g, f.im * g);
        (d * d, e * e / (ia + T::one()))
    };
    let ((f, fr), (a, ar)) = (f.as_chunks_mut::<LANES>(), amp.as_chunks::<LANES>());
    for (f, a) in f.iter_mut().zip(a) {
        for i in 0..LANES {
            let (d, e) = one(&mut f[i], a[i]);
            lanes[0][i] += d;
            lanes[1][i] += e;
        }
    }
    for (i, (f, a)) in fr.iter_mut().zip(ar).enumerate() {
        let (d, e) = one(f, *a);
        lanes[0][i] += d;
        lanes[1][i] += e;
    }
    [sum(lanes[0]), sum(lanes[1])]
}

#[inline(always)]
pub fn window_minus<T: Real>(f: &mut [C<T>], a: &[C<T>], wide: &[C<T>], columns: usize, n: usize) -> f64 {
    let mut moved = 0.0;
    for ((f, a), b) in f.chunks_exact_mut(n).zip(a.chunks_exact(n)).zip(rows(wide, columns, n)) {
        moved += minus_product(f, a, b);
    }
    moved
}

/// Takes the product out of `f`, moves the window by `k conj(a) f`; the sum of squares, and the window's largest `|z|²`.
#[inline(always)]
pub fn window_step<T: Real>(
    f: &mut [C<T>],
    a: &[C<T>],
    wide: &mut [C<T>],
    columns: usize,
    n: usize,
    k: T,
) -> [f64; 2] {
    let (mut lanes, mut tops) = ([T::zero(); LANES], [T::zero(); LANES]);
    let one = |f: &mut C<T>, a: C<T>, b: &mut C<T>| {
        let p = mul(a, *b);
        *f = C::new(f.re - p.re, f.im - p.im);
        let q = mulc(a, *f);
        *b = C::new(b.re + k * q.re, b.im + k * q.im);
        (abs2(*f), abs2(*b))
    };
    for ((f, a), b) in f.chunks_exact_mut(n).zip(a.chunks_exact(n)).zip(rows_mut(wide, columns, n)) {
        let ((f, fr), (a, ar), (b, br)) =
            (f.as_chunks_mut::<LANES>(), a.as_chunks::<LANES>(), b.as_chunks_mut::<LANES>());
        for ((f, a), b) in f.iter_mut().zip(a).zip(b) {
            for i in 0..LANES {
                let (moved, top) = one(&mut f[i], a[i], &mut b[i]);
                lanes[i] += moved;
                tops[i] = if top > tops[i] { top } else { tops[i] };
            }
        }
        for (i, ((f, a), b)) in fr.iter_mut().zip(ar).zip(br).enumerate() {
            let (moved, top) = one(f, *a, b);
            lanes[i] += moved;
            tops[i] = if top > tops[i] { top } else { tops[i] };
        }
    }
    [sum(lanes), tops.iter().map(|t| t.wide()).fold(0.0, f64::max)]
}

/// Moves `out` by `k conj(window) f`; its largest `|z|²`.
#[inline(always)]
pub fn window_probe_step<T: Real>(
    out: &mut [C<T>],
    wide: &[C<T>],
    f: &[C<T>],
    columns: usize,
    n: usize,
    k: T,
) -> f64 {
    let mut tops = [T::zero(); LANES];
    let one = |o: &mut C<T>, b: C<T>, f: C<T>| {
        let q = mulc(b, f);
        *o = C::new(o.re + k * q.re, o.im + k * q.im);
        abs2(*o)
    };
    for ((out, f), b) in out.chunks_exact_mut(n).zip(f.chunks_exact(n)).zip(rows(wide, columns, n)) {
        let ((o, or), (f, fr), (b, br)) =
            (out.as_chunks_mut::<LANES>(), f.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for ((o, f), b) in o.iter_mut().zip(f).zip(b) {
            for i in 0..LANES {
                let top = one(&mut o[i], b[i], f[i]);
                tops[i] = if top > tops[i] { top } else { tops[i] };
            }
        }
        for (i, ((o, f), b)) in or.iter_mut().zip(fr).zip(br).enumerate() {
            let top = one(o, *b, *f);
            tops[i] = if top > tops[i] { top } else { tops[i] };
        }
    }
    tops.iter().map(|t| t.wide()).fold(0.0, f64::max)
}

/// Adds `conj(a) b` to `out`, and `|a|²` to `norm`.
#[inline(always)]
fn add_row<T: Real>(out: &mut [C<T>], norm: Option<&mut [T]>, a: &[C<T>], b: &[C<T>]) {
    match norm {
        None => {
            for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
                *o = *o + mulc(*a, *b);
            }
        }
        Some(norm) => {
            for (((o, m), a), b) in out.iter_mut().zip(norm).zip(a).zip(b) {
                *o = *o + mulc(*a, *b);
                *m += abs2(*a);
            }
        }
    }
}

/// Adds `conj(a) b` into a window, and `|a|²` into another.
#[inline(always)]
pub fn onto_window<T: Real>(
    wide: &mut [C<T>],
    norm: Option<&mut [T]>,
    columns: usize,
    a: &[C<T>],
    b: &[C<T>],
    n: usize,
    lit: &[[usize; 2]],
) {
    let parts = a.chunks_exact(n).zip(b.chunks_exact(n)).zip(lit);
    let mut norms = norm.map(|norm| rows_mut(norm, columns, n));
    for (out, ((a, b), [from, to])) in rows_mut(wide, columns, n).zip(parts) {
        let norm = norms.as_mut().and_then(Iterator::next).map(|norm| &mut norm[*from..*to]);
        add_row(&mut out[*from..*to], norm, &a[*from..*to], &b[*from..*to]);
    }
}

/// Moves an exit wave as [`window_relax`] does, and adds it into a window as [`onto_window`] does, row by row.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
pub fn window_relax_onto<T: Real>(
    psi: &mut [C<T>],
    f: &[C<T>],
    a: &[C<T>],
    wide: &[C<T>],
    columns: usize,
    n: usize,
    weights: [T; 3],
    (sum, norm): (&mut [C<T>], Option<&mut [T]>),
    lit: &[[usize; 2]],
) -> f64 {
    let parts = f.chunks_exact(n).zip(a.chunks_exact(n)).zip(lit);
    let images = rows(wide, columns, n).zip(rows_mut(sum, columns, n));
    let mut norms = norm.map(|norm| rows_mut(norm, columns, n));
    let mut moved = 0.0;
    for ((psi, ((f, a), [from, to])), (b, sum)) in psi.chunks_exact_mut(n).zip(parts).zip(images) {
        moved += relax_row(psi, f, a, b, weights, [*from, *to]);
        let norm = norms.as_mut().and_then(Iterator::next).map(|norm| &mut norm[*from..*to]);
        add_row(&mut sum[*from..*to], norm, &a[*from..*to], &psi[*from..*to]);
    }
    moved
}

/// Adds `conj(window) b`, and the window's `|z|²` into another.
#[inline(always)]
pub fn from_window<T: Real>(
    out: &mut [C<T>],
    norm: Option<&mut [T]>,
    wide: &[C<T>],
    columns: usize,
    b: &[C<T>],
    n: usize,
    lit: &[[usize; 2]],
) {
    let parts = rows(wide, columns, n).zip(b.chunks_exact(n)).zip(lit);
    let mut norms = norm.map(|norm| norm.chunks_exact_mut(n));
    for (out, ((a, b), [from, to])) in out.chunks_exact_mut(n).zip(parts) {
        let norm = norms.as_mut().and_then(Iterator::next).map(|norm| &mut norm[*from..*to]);
        add_row(&mut out[*from..*to], norm, &a[*from..*to], &b[*from..*to]);
    }
}

/// [`from_window`] of four windows: sums are taken up and put down once for all of them.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn from_windows<T: Real>(
    out: &mut [C<T>],
    norm: Option<&mut [T]>,
    wide: [&[C<T>]; 4],
    columns: usize,
    b: [&[C<T>]; 4],
    n: usize,
    lit: &[[usize; 2]],
) {
    let mut norms = norm.map(|norm| norm.chunks_exact_mut(n));
    for (y, (out, [from, to])) in out.chunks_exact_mut(n).zip(lit).enumerate() {
        let (from, to) = (*from, *to);
        let [a0, a1, a2, a3] = wide.map(|a| &a[y * columns + from..y * columns + to]);
        let [b0, b1, b2, b3] = b.map(|b| &b[y * n + from..y * n + to]);
        let pairs =
            (a0.iter().zip(b0)).zip(a1.iter().zip(b1)).zip((a2.iter().zip(b2)).zip(a3.iter().zip(b3)));
        let out = out[from..to].iter_mut();
        match norms.as_mut().and_then(Iterator::next) {
            None => {
                for (o, (((a, p), (b, q)), ((c, r), (d, s)))) in out.zip(pairs) {
                    *o = *o + mulc(*a, *p) + mulc(*b, *q) + mulc(*c, *r) + mulc(*d, *s);
                }
            }
            Some(norm) => {
                let all = out.zip(&mut norm[from..to]).zip(pairs);
                for ((o, m), (((a, p), (b, q)), ((c, r), (d, s)))) in all {
                    *o = *o + mulc(*a, *p) + mulc(*b, *q) + mulc(*c, *r) + mulc(*d, *s);
                    *m = *m + abs2(*a) + abs2(*b) + abs2(*c) + abs2(*d);
                }
            }
        }
    }
}

/// The Gaussian likelihood of waves, which become their residuals.
#[inline(always)]
pub fn gaussian_scale<T: Real>(f: &mut [C<T>], amp: &[T], renorm: T, scale: T, outer: T) -> f64 {
    let mut lanes = [T::zero(); LANES];
    let (zero, floor) = (T::zero(), T::one() / renorm);
    let one = |f: &mut C<T>, a: T| {
        let i = a * a;
        let w = if a < zero { zero } else { renorm / (floor + i) };
        let d = scale * abs2(*f) - i;
        let g = outer * (w * d);
        *f = C::new(f.re * g, f.im * g);
        w * d * d
    };
    let ((f, fr), (a, ar)) = (f.as_chunks_mut::<LANES>(), amp.as_chunks::<LANES>());
    for (f, a) in f.iter_mut().zip(a) {
        for i in 0..LANES {
            lanes[i] += one(&mut f[i], a[i]);
        }
    }
    for (i, (f, a)) in fr.iter_mut().zip(ar).enumerate() {
        lanes[i] += one(f, *a);
    }
    sum(lanes)
}

/// The parabola of the Gaussian likelihood along a ray, from waves `f`, `a` and `b`; sums in double precision.
#[inline(always)]
pub fn wave_ray<T: Real>([f, a, b]: [&[C<T>]; 3], amp: &[T], renorm: T, scale: T) -> [f64; 2] {
    // A few numbers at a time in the precision of the waves; their sums in double, or the line search is lost.
    const SHORT: usize = 8 * LANES;
    let (zero, floor, two) = (T::zero(), T::one() / renorm, T::one() + T::one());
    let mut sums = [0.0; 2];
    let one = |f: C<T>, a: C<T>, b: C<T>, amp: T| {
        let a0 = scale * abs2(f);
        let a1 = scale * two * (f.re * a.re + f.im * a.im);
        let a2 = scale * (two * (f.re * b.re + f.im * b.im) + abs2(a));
        let i = amp * amp;
        let w = if amp < zero { zero } else { renorm / (floor + i) };
        let d = a0 - i;
        (w * two * d * a1, w * (a1 * a1 + two * d * a2))
    };
    let parts = f.chunks(SHORT).zip(a.chunks(SHORT)).zip(b.chunks(SHORT)).zip(amp.chunks(SHORT));
    for (((f, a), b), amp) in parts {
        let mut lanes = [[zero; LANES]; 2];
        let ((f, fr), (a, ar)) = (f.as_chunks::<LANES>(), a.as_chunks::<LANES>());
        let ((b, br), (m, mr)) = (b.as_chunks::<LANES>(), amp.as_chunks::<LANES>());
        for (((f, a), b), m) in f.iter().zip(a).zip(b).zip(m) {
            for i in 0..LANES {
                let (x, y) = one(f[i], a[i], b[i], m[i]);
                lanes[0][i] += x;
                lanes[1][i] += y;
            }
        }
        for (i, (((f, a), b), m)) in fr.iter().zip(ar).zip(br).zip(mr).enumerate() {
            let (x, y) = one(*f, *a, *b, *m);
            lanes[0][i] += x;
            lanes[1][i] += y;
        }
        sums = [sums[0] + sum(lanes[0]), sums[1] + sum(lanes[1])];
    }
    sums
}
