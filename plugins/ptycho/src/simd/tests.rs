//! Wide and plain loops give the same bits.

use super::*;

/// A loop in its wide or its plain form; gives what it returns.
type Loop<'a, T> = &'a dyn Fn(bool, &mut Vec<C<T>>, &mut Vec<T>) -> Vec<f64>;

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }
    fn reals<T: Real>(&mut self, n: usize) -> Vec<T> {
        (0..n).map(|_| T::of(self.next() + 0.7)).collect()
    }
    fn waves<T: Real>(&mut self, n: usize) -> Vec<C<T>> {
        (0..n).map(|_| Complex::new(T::of(self.next()), T::of(self.next()))).collect()
    }
}

fn same<T: Real>() {
    for n in [1usize, 15, 16, 37, 128] {
        let mut noise = Noise(n as u64);
        let (a, b, c) = (noise.waves::<T>(n), noise.waves::<T>(n), noise.waves::<T>(n));
        let (x, y, z) = (noise.reals::<T>(n), noise.reals::<T>(n), noise.reals::<T>(n));
        let two = |f: Loop<T>| {
            let (mut w1, mut r1) = (c.clone(), x.iter().map(|v| v.abs()).collect::<Vec<T>>());
            let (mut w2, mut r2) = (w1.clone(), r1.clone());
            let (s1, s2) = (f(true, &mut w1, &mut r1), f(false, &mut w2, &mut r2));
            assert_eq!(s1, s2);
            assert_eq!(w1, w2);
            assert_eq!(r1, r2);
        };
        let k = T::of(0.3);
        macro_rules! check {
            (|$w:ident, $r:ident| $name:ident($($arg:expr),*)) => {
                two(&|fast, $w, $r| {
                    let out = if fast { $name($($arg),*) } else { plain::$name($($arg),*) };
                    flat(&out)
                });
            };
        }
        check!(|w, _r| product(w, &a, &b));
        check!(|w, _r| product_in_place(w, &a));
        check!(|w, _r| product_add(w, &a, &b));
        check!(|w, _r| mixed(w, &c, &a, &b, k));
        check!(|_w, r| intensity(r, &a, k));
        check!(|_w, r| intensity_add(r, &a, k));
        check!(|_w, r| amplitude_error(r, &y));
        check!(|_w, r| photon_error(r, &y));
        check!(|_w, r| both_errors(r, &y));
        check!(|_w, r| factor(r, &y, k, k));
        check!(|w, _r| scale_by(w, &y));
        check!(|w, _r| relax(w, &a, &b, &c, [k, k, k]));
        check!(|_w, r| add(r, &y));
        check!(|w, _r| add_conj(w, &a, &b));
        check!(|w, _r| add_conj_scaled(w, &a, &b, k));
        check!(|w, _r| add_conj_over(w, &a, &b, &y, [k, T::of(5.0), k]));
        check!(|w, _r| minus_product(w, &a, &b));
        check!(|_w, r| largest(r));
        check!(|w, _r| largest_abs2(w));
        check!(|_w, r| gaussian(r, &y, k, k));
        check!(|_w, r| gaussian_ray([r, &y, &z], &y, k));
        two(&|fast, _, r| {
            let (mut p, mut q) = (y.clone(), z.clone());
            let out = [r.as_mut_slice(), &mut p, &mut q];
            if fast {
                ray(out, &a, &b, &c, k)
            } else {
                plain::ray(out, &a, &b, &c, k)
            }
            p.iter().chain(&q).map(|v| v.wide()).collect()
        });
    }
    for n in [5usize, 16, 33] {
        let rows = Noise(3).waves::<T>(n * n);
        let (mut p, mut q) = (rows.clone(), rows.clone());
        transpose_rows(&rows, 0, &mut p, n);
        plain::transpose_rows(&rows, 0, &mut q, n);
        assert_eq!(p, q);
        for i in 0..n {
            for j in 0..n {
                assert_eq!(p[j * n + i], rows[i * n + j]);
            }
        }
    }
}

/// Whatever a loop returns, as numbers.
trait Flat {
    fn flat(&self) -> Vec<f64>;
}
impl Flat for () {
    fn flat(&self) -> Vec<f64> {
        vec![]
    }
}
impl<T: Real> Flat for T {
    fn flat(&self) -> Vec<f64> {
        vec![self.wide()]
    }
}
impl Flat for [f64; 2] {
    fn flat(&self) -> Vec<f64> {
        self.to_vec()
    }
}

fn flat<F: Flat>(value: &F) -> Vec<f64> {
    value.flat()
}

#[test]
fn wide_and_plain_loops_agree_in_single_precision() {
    same::<f32>();
}

#[test]
fn wide_and_plain_loops_agree_in_double_precision() {
    same::<f64>();
}
