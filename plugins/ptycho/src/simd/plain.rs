//! The loops over pixels, as any processor runs them.
//!
//! Sums go into fixed lanes, so that wider instructions change no bit of them. A negative amplitude stands for a pixel
//! that does not count.

use crate::num::{Complex, Real};

/// Lanes of a sum.
pub const LANES: usize = 16;

#[inline(always)]
pub fn sum<T: Real>(lanes: [T; LANES]) -> f64 {
    lanes.iter().map(|x| x.wide()).sum()
}

#[inline(always)]
pub fn mul<T: Real>(a: Complex<T>, b: Complex<T>) -> Complex<T> {
    Complex::new(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)
}

/// `conj(a) b`.
#[inline(always)]
pub fn mulc<T: Real>(a: Complex<T>, b: Complex<T>) -> Complex<T> {
    Complex::new(a.re * b.re + a.im * b.im, a.re * b.im - a.im * b.re)
}

#[inline(always)]
pub fn abs2<T: Real>(a: Complex<T>) -> T {
    a.re * a.re + a.im * a.im
}

#[inline(always)]
pub fn product<T: Real>(out: &mut [Complex<T>], a: &[Complex<T>], b: &[Complex<T>]) {
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        *o = mul(*a, *b);
    }
}

#[inline(always)]
pub fn product_in_place<T: Real>(out: &mut [Complex<T>], a: &[Complex<T>]) {
    for (o, a) in out.iter_mut().zip(a) {
        *o = mul(*o, *a);
    }
}

#[inline(always)]
pub fn product_add<T: Real>(out: &mut [Complex<T>], a: &[Complex<T>], b: &[Complex<T>]) {
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        *o = *o + mul(*a, *b);
    }
}

#[inline(always)]
pub fn mixed<T: Real>(out: &mut [Complex<T>], psi: &[Complex<T>], a: &[Complex<T>], b: &[Complex<T>], c: T) {
    let rest = T::one() - c;
    for (((o, psi), a), b) in out.iter_mut().zip(psi).zip(a).zip(b) {
        let p = mul(*a, *b);
        *o = Complex::new(rest * psi.re + c * p.re, rest * psi.im + c * p.im);
    }
}

#[inline(always)]
pub fn intensity<T: Real>(out: &mut [T], f: &[Complex<T>], scale: T) {
    for (o, f) in out.iter_mut().zip(f) {
        *o = scale * abs2(*f);
    }
}

#[inline(always)]
pub fn intensity_add<T: Real>(out: &mut [T], f: &[Complex<T>], scale: T) {
    for (o, f) in out.iter_mut().zip(f) {
        *o += scale * abs2(*f);
    }
}

/// Intensities become amplitudes; the sum of squared differences to what was measured.
#[inline(always)]
pub fn amplitude_error<T: Real>(model: &mut [T], amp: &[T]) -> f64 {
    let mut lanes = [T::zero(); LANES];
    let zero = T::zero();
    let (m, mr) = model.as_chunks_mut::<LANES>();
    let (a, ar) = amp.as_chunks::<LANES>();
    for (m, a) in m.iter_mut().zip(a) {
        for i in 0..LANES {
            m[i] = m[i].sqrt();
            let d = if a[i] < zero { zero } else { m[i] - a[i] };
            lanes[i] += d * d;
        }
    }
    for (i, (m, a)) in mr.iter_mut().zip(ar).enumerate() {
        *m = m.sqrt();
        let d = if *a < zero { zero } else { *m - *a };
        lanes[i] += d * d;
    }
    sum(lanes)
}

/// The error in counts of a model's intensities.
#[inline(always)]
pub fn photon_error<T: Real>(model: &[T], amp: &[T]) -> f64 {
    let mut lanes = [T::zero(); LANES];
    let zero = T::zero();
    let one = |m: T, a: T| {
        let i = a * a;
        let d = m - i;
        if a < zero { zero } else { d * d / (i + T::one()) }
    };
    let (m, mr) = model.as_chunks::<LANES>();
    let (a, ar) = amp.as_chunks::<LANES>();
    for (m, a) in m.iter().zip(a) {
        for i in 0..LANES {
            lanes[i] += one(m[i], a[i]);
        }
    }
    for (i, (m, a)) in mr.iter().zip(ar).enumerate() {
        lanes[i] += one(*m, *a);
    }
    sum(lanes)
}

/// The errors in amplitude and in counts; intensities become amplitudes.
#[inline(always)]
pub fn both_errors<T: Real>(model: &mut [T], amp: &[T]) -> [f64; 2] {
    let mut lanes = [[T::zero(); LANES]; 2];
    let zero = T::zero();
    let (m, mr) = model.as_chunks_mut::<LANES>();
    let (a, ar) = amp.as_chunks::<LANES>();
    for (m, a) in m.iter_mut().zip(a) {
        for i in 0..LANES {
            let (im, ia) = (m[i], a[i] * a[i]);
            m[i] = im.sqrt();
            let d = if a[i] < zero { zero } else { m[i] - a[i] };
            let e = if a[i] < zero { zero } else { im - ia };
            lanes[0][i] += d * d;
            lanes[1][i] += e * e / (ia + T::one());
        }
    }
    for (i, (m, a)) in mr.iter_mut().zip(ar).enumerate() {
        let (im, ia) = (*m, *a * *a);
        *m = im.sqrt();
        let d = if *a < zero { zero } else { *m - *a };
        let e = if *a < zero { zero } else { im - ia };
        lanes[0][i] += d * d;
        lanes[1][i] += e * e / (ia + T::one());
    }
    [sum(lanes[0]), sum(lanes[1])]
}

/// What a wave has to be multiplied by to get the measured amplitudes, up to `slack` of the difference.
#[inline(always)]
pub fn factor<T: Real>(model: &mut [T], amp: &[T], slack: T, scale: T) {
    let (zero, tiny) = (T::zero(), T::of(1e-10));
    for (m, a) in model.iter_mut().zip(amp) {
        let g = (*a + (*m - *a) * slack) / (*m + tiny);
        *m = scale * if *a < zero { T::one() } else { g };
    }
}

#[inline(always)]
pub fn scale_by<T: Real>(f: &mut [Complex<T>], g: &[T]) {
    for (f, g) in f.iter_mut().zip(g) {
        *f = Complex::new(f.re * *g, f.im * *g);
    }
}

#[inline(always)]
pub fn scaled<T: Real>(out: &mut [Complex<T>], f: &[Complex<T>], g: &[T]) {
    for ((o, f), g) in out.iter_mut().zip(f).zip(g) {
        *o = Complex::new(f.re * *g, f.im * *g);
    }
}

/// A step of an exit wave by a combination of its parts; the sum of the squared step.
#[inline(always)]
pub fn relax<T: Real>(
    psi: &mut [Complex<T>],
    f: &[Complex<T>],
    a: &[Complex<T>],
    b: &[Complex<T>],
    [of_f, of_p, of_psi]: [T; 3],
) -> f64 {
    let mut lanes = [T::zero(); LANES];
    let one = |psi: &mut Complex<T>, f: Complex<T>, a: Complex<T>, b: Complex<T>| {
        let p = mul(a, b);
        let d = Complex::new(
            of_f * f.re + of_p * p.re + of_psi * psi.re,
            of_f * f.im + of_p * p.im + of_psi * psi.im,
        );
        *psi = Complex::new(psi.re + d.re, psi.im + d.im);
        abs2(d)
    };
    // All in blocks of one length: nothing is left to check within them.
    let (whole, rest) = psi.as_chunks_mut::<LANES>();
    let ((fs, fr), (xs, xr), (ys, yr)) =
        (f.as_chunks::<LANES>(), a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (((psi, f), a), b) in whole.iter_mut().zip(fs).zip(xs).zip(ys) {
        for i in 0..LANES {
            lanes[i] += one(&mut psi[i], f[i], a[i], b[i]);
        }
    }
    for (i, (((psi, f), a), b)) in rest.iter_mut().zip(fr).zip(xr).zip(yr).enumerate() {
        lanes[i] += one(psi, *f, *a, *b);
    }
    sum(lanes)
}

/// `out += a`.
#[inline(always)]
pub fn add<T: Real>(out: &mut [T], a: &[T]) {
    for (o, a) in out.iter_mut().zip(a) {
        *o += *a;
    }
}

/// `out += k conj(a) b`.
#[inline(always)]
pub fn add_conj_scaled<T: Real>(out: &mut [Complex<T>], a: &[Complex<T>], b: &[Complex<T>], k: T) {
    for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
        let p = mulc(*a, *b);
        *o = Complex::new(o.re + k * p.re, o.im + k * p.im);
    }
}

/// `out += k conj(a) b / (base + share norm)`.
#[inline(always)]
pub fn add_conj_over<T: Real>(
    out: &mut [Complex<T>],
    a: &[Complex<T>],
    b: &[Complex<T>],
    norm: &[T],
    [k, base, share]: [T; 3],
) {
    for (((o, a), b), norm) in out.iter_mut().zip(a).zip(b).zip(norm) {
        let (p, k) = (mulc(*a, *b), k / (base + share * *norm));
        *o = Complex::new(o.re + k * p.re, o.im + k * p.im);
    }
}

/// `out += length sum / max(floor, norm)`; nothing where that is no number.
#[inline(always)]
pub fn add_over<T: Real>(out: &mut [Complex<T>], sum: &[Complex<T>], norm: &[T], [floor, length]: [T; 2]) {
    for ((z, sum), norm) in out.iter_mut().zip(sum).zip(norm) {
        let under = if *norm > floor { *norm } else { floor };
        let k = if under > T::zero() { length / under } else { T::zero() };
        *z = Complex::new(z.re + k * sum.re, z.im + k * sum.im);
    }
}

/// Sums over windows become what they are sums of: `(inertia z + sum) / (inertia + norm)`; `z` where that is no number.
#[inline(always)]
pub fn settle<T: Real>(out: &mut [Complex<T>], sum: &[Complex<T>], norm: &[T], inertia: T) {
    for ((z, sum), norm) in out.iter_mut().zip(sum).zip(norm) {
        let over = T::one() / (inertia + *norm);
        let next = Complex::new((inertia * z.re + sum.re) * over, (inertia * z.im + sum.im) * over);
        *z = if over.is_finite() { next } else { *z };
    }
}

/// `out += a`, wave by wave.
#[inline(always)]
pub fn add_waves<T: Real>(out: &mut [Complex<T>], a: &[Complex<T>]) {
    for (o, a) in out.iter_mut().zip(a) {
        *o = *o + *a;
    }
}

/// `out += k a`, with real and imaginary part of `k`.
#[inline(always)]
pub fn add_times<T: Real>(out: &mut [Complex<T>], a: &[Complex<T>], [re, im]: [T; 2]) {
    for (o, a) in out.iter_mut().zip(a) {
        *o = Complex::new(o.re + re * a.re - im * a.im, o.im + re * a.im + im * a.re);
    }
}

/// The sum of `conj(a) b`, real and imaginary part.
#[inline(always)]
pub fn inner<T: Real>(a: &[Complex<T>], b: &[Complex<T>]) -> [f64; 2] {
    let mut sums = [0.0; 2];
    // Sums of a piece stay in single precision, those of all pieces do not.
    for (a, b) in a.chunks(64 * LANES).zip(b.chunks(64 * LANES)) {
        let mut lanes = [[T::zero(); LANES]; 2];
        let ((xs, xr), (ys, yr)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (x, y) in xs.iter().zip(ys) {
            for i in 0..LANES {
                let p = mulc(x[i], y[i]);
                lanes[0][i] += p.re;
                lanes[1][i] += p.im;
            }
        }
        for (i, (x, y)) in xr.iter().zip(yr).enumerate() {
            let p = mulc(*x, *y);
            lanes[0][i] += p.re;
            lanes[1][i] += p.im;
        }
        sums = [sums[0] + sum(lanes[0]), sums[1] + sum(lanes[1])];
    }
    sums
}

/// `out = b - p a`: what a projection changes; the sum of its squares.
#[inline(always)]
pub fn minus_product<T: Real>(out: &mut [Complex<T>], a: &[Complex<T>], b: &[Complex<T>]) -> f64 {
    let mut lanes = [T::zero(); LANES];
    let one = |o: &mut Complex<T>, a: Complex<T>, b: Complex<T>| {
        let p = mul(a, b);
        *o = Complex::new(o.re - p.re, o.im - p.im);
        abs2(*o)
    };
    let (whole, rest) = out.as_chunks_mut::<LANES>();
    let ((xs, xr), (ys, yr)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for ((o, a), b) in whole.iter_mut().zip(xs).zip(ys) {
        for i in 0..LANES {
            lanes[i] += one(&mut o[i], a[i], b[i]);
        }
    }
    for (i, ((o, a), b)) in rest.iter_mut().zip(xr).zip(yr).enumerate() {
        lanes[i] += one(o, *a, *b);
    }
    sum(lanes)
}

#[inline(always)]
pub fn largest<T: Real>(values: &[T]) -> T {
    let mut lanes = [T::zero(); LANES];
    let (v, rest) = values.as_chunks::<LANES>();
    for v in v {
        for i in 0..LANES {
            lanes[i] = if v[i] > lanes[i] { v[i] } else { lanes[i] };
        }
    }
    rest.iter().chain(&lanes).fold(T::zero(), |a, b| if *b > a { *b } else { a })
}

#[inline(always)]
pub fn largest_abs2<T: Real>(values: &[Complex<T>]) -> T {
    let mut lanes = [T::zero(); LANES];
    let (v, rest) = values.as_chunks::<LANES>();
    for v in v {
        for i in 0..LANES {
            let x = abs2(v[i]);
            lanes[i] = if x > lanes[i] { x } else { lanes[i] };
        }
    }
    let rest = rest.iter().map(|z| abs2(*z));
    rest.chain(lanes).fold(T::zero(), |a, b| if b > a { b } else { a })
}

/// The Gaussian likelihood: intensities become residual factors; the sum of weighted squares.
#[inline(always)]
pub fn gaussian<T: Real>(model: &mut [T], amp: &[T], renorm: T, scale: T) -> f64 {
    let mut lanes = [T::zero(); LANES];
    let (zero, floor) = (T::zero(), T::one() / renorm);
    let one = |m: &mut T, a: T| {
        let i = a * a;
        let w = if a < zero { zero } else { renorm / (floor + i) };
        let d = *m - i;
        *m = scale * (w * d);
        w * d * d
    };
    let (m, mr) = model.as_chunks_mut::<LANES>();
    let (a, ar) = amp.as_chunks::<LANES>();
    for (m, a) in m.iter_mut().zip(a) {
        for i in 0..LANES {
            lanes[i] += one(&mut m[i], a[i]);
        }
    }
    for (i, (m, a)) in mr.iter_mut().zip(ar).enumerate() {
        lanes[i] += one(m, *a);
    }
    sum(lanes)
}

/// First and second coefficient of the intensity along a ray, from waves `f`, `a` and `b`.
#[inline(always)]
pub fn ray<T: Real>(
    [a0, a1, a2]: [&mut [T]; 3],
    f: &[Complex<T>],
    a: &[Complex<T>],
    b: &[Complex<T>],
    scale: T,
) {
    let n = a0.len();
    let (a1, a2, f, a, b) = (&mut a1[..n], &mut a2[..n], &f[..n], &a[..n], &b[..n]);
    let two = T::one() + T::one();
    for i in 0..n {
        a0[i] += scale * abs2(f[i]);
        a1[i] += scale * two * (f[i].re * a[i].re + f[i].im * a[i].im);
        a2[i] += scale * (two * (f[i].re * b[i].re + f[i].im * b[i].im) + abs2(a[i]));
    }
}

/// The parabola of the Gaussian likelihood along a ray, in double precision.
#[inline(always)]
pub fn gaussian_ray<T: Real>([a0, a1, a2]: [&[T]; 3], amp: &[T], renorm: T) -> [f64; 2] {
    let mut lanes = [[T::zero(); LANES]; 2];
    let mut sums = [0.0; 2];
    let (zero, floor, two) = (T::zero(), T::one() / renorm, T::one() + T::one());
    let one = |a0: T, a1: T, a2: T, a: T| {
        let i2 = a * a;
        let w = if a < zero { zero } else { renorm / (floor + i2) };
        let d = a0 - i2;
        (w * two * d * a1, w * (a1 * a1 + two * d * a2))
    };
    // A few numbers at a time in the precision of the waves; their sums in double, or the line search is lost.
    const SHORT: usize = 8;
    let (a, ar) = amp.as_chunks::<LANES>();
    let ((p, pr), (q, qr), (r, rr)) =
        (a0.as_chunks::<LANES>(), a1.as_chunks::<LANES>(), a2.as_chunks::<LANES>());
    for (((a, p), q), r) in a.chunks(SHORT).zip(p.chunks(SHORT)).zip(q.chunks(SHORT)).zip(r.chunks(SHORT)) {
        for (((a, p), q), r) in a.iter().zip(p).zip(q).zip(r) {
            for i in 0..LANES {
                let (x, y) = one(p[i], q[i], r[i], a[i]);
                lanes[0][i] += x;
                lanes[1][i] += y;
            }
        }
        sums = [sums[0] + sum(lanes[0]), sums[1] + sum(lanes[1])];
        lanes = [[zero; LANES]; 2];
    }
    for (((a, p), q), r) in ar.iter().zip(pr).zip(qr).zip(rr) {
        let (x, y) = one(*p, *q, *r, *a);
        sums = [sums[0] + x.wide(), sums[1] + y.wide()];
    }
    sums
}

/// Rows become columns of `out`, `stride` elements from one of its rows to the next.
#[inline(always)]
pub fn transpose_rows<T: Real>(
    rows: &[Complex<T>],
    first: usize,
    out: &mut [Complex<T>],
    [n, stride]: [usize; 2],
) {
    const TILE: usize = 8;
    let count = rows.len() / n;
    let mut j0 = 0;
    while j0 < n {
        let j1 = (j0 + TILE).min(n);
        let mut i0 = 0;
        while i0 < count {
            let i1 = (i0 + TILE).min(count);
            if j1 - j0 == TILE && i1 - i0 == TILE {
                let mut tile = [[Complex::<T>::default(); TILE]; TILE];
                for (i, line) in tile.iter_mut().enumerate() {
                    line.copy_from_slice(&rows[(i0 + i) * n + j0..(i0 + i) * n + j0 + TILE]);
                }
                for (j, to) in (j0..j1).map(|j| j * stride + first + i0).enumerate() {
                    let line: &mut [Complex<T>; TILE] =
                        (&mut out[to..to + TILE]).try_into().expect("eight elements were cut");
                    for (z, from) in line.iter_mut().zip(&tile) {
                        *z = from[j];
                    }
                }
            } else {
                for j in j0..j1 {
                    for i in i0..i1 {
                        out[j * stride + first + i] = rows[i * n + j];
                    }
                }
            }
            i0 = i1;
        }
        j0 = j1;
    }
}

/// Columns `first ..` of `wide`, as rows.
pub fn transpose_columns<T: Real>(
    wide: &[Complex<T>],
    first: usize,
    rows: &mut [Complex<T>],
    [n, stride]: [usize; 2],
) {
    for (j, row) in rows.chunks_exact_mut(n).enumerate() {
        for (z, from) in row.iter_mut().zip(wide.chunks(stride)) {
            *z = from[first + j];
        }
    }
}
