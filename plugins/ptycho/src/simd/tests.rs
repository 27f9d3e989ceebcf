//! Wide and plain loops give the same bits.

use super::*;

/// A loop in its wide or its plain form; gives what it returns.
type Loop<'a, T> = &'a dyn Fn(bool, &mut Vec<C<T>>, &mut Vec<T>) -> Vec<f64>;

/// The same over a window, with the larger image beside it.
type Wider<'a, T> = &'a dyn Fn(bool, &mut Vec<C<T>>, &mut Vec<C<T>>, &mut Vec<T>) -> Vec<f64>;

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
        check!(|w, _r| scaled(w, &a, &y));
        check!(|w, _r| relax(w, &a, &b, &c, [k, k, k]));
        check!(|_w, r| add(r, &y));
        check!(|w, _r| add_conj_scaled(w, &a, &b, k));
        check!(|w, _r| add_conj_over(w, &a, &b, &y, [k, T::of(5.0), k]));
        check!(|w, _r| add_over(w, &a, &y, [k, k]));
        check!(|w, _r| settle(w, &a, &y, k));
        check!(|w, _r| add_waves(w, &a));
        check!(|w, _r| add_times(w, &a, [k, T::of(-0.4)]));
        check!(|w, _r| inner(&w[..], &a));
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
    for (n, stride) in [(5usize, 5usize), (16, 16), (16, 24), (33, 40)] {
        let rows = Noise(3).waves::<T>(n * n);
        let (mut p, mut q) = (Noise(4).waves::<T>(n * stride), Noise(4).waves::<T>(n * stride));
        transpose_rows(&rows, 0, &mut p, [n, stride]);
        plain::transpose_rows(&rows, 0, &mut q, [n, stride]);
        assert_eq!(p, q);
        // A few rows into the middle leave the other columns alone.
        let few = &rows[..4.min(n) * n];
        transpose_rows(few, 1, &mut p, [n, stride]);
        plain::transpose_rows(few, 1, &mut q, [n, stride]);
        assert_eq!(p, q);
        transpose_rows(&rows, 0, &mut p, [n, stride]);
        for i in 0..n {
            for j in 0..n {
                assert_eq!(p[j * stride + i], rows[i * n + j]);
            }
        }
        // Columns come back as the rows they were: all of them, and a few from the middle.
        for (first, count) in [(0, n), (1, 4.min(n - 1))] {
            let (mut back, mut plainly) = (vec![Complex::default(); count * n], vec![]);
            plainly.clone_from(&back);
            transpose_columns(&p, first, &mut back, [n, stride]);
            plain::transpose_columns(&p, first, &mut plainly, [n, stride]);
            assert!(back == plainly && back == rows[first * n..(first + count) * n]);
        }
        // What parts the rows is left alone.
        let between = Noise(4).waves::<T>(n * stride);
        assert!((0..n * stride).filter(|k| k % stride >= n).all(|k| p[k] == between[k]));
    }
}

/// Loops over windows: eight rows of `n` pixels in a larger image.
fn same_windows<T: Real>() {
    for n in [9usize, 16, 40] {
        let (columns, k) = (n + 5, T::of(0.3));
        let mut noise = Noise(n as u64);
        let mut waves = |n: usize| noise.waves::<T>(n);
        let (a, b, f) = (waves(8 * n), waves(8 * n), waves(8 * n));
        let (big, other) = (waves(8 * columns), waves(8 * columns));
        let amp = Noise(7).reals::<T>(8 * n);
        let model: Vec<T> = Noise(8).reals::<T>(8 * columns).into_iter().map(|x: T| x.abs()).collect();
        // What is written: an image of the window's size, a larger one, and real ones of both sizes.
        let two = |work: Wider<T>| {
            let (mut w1, mut g1, mut r1) = (f.clone(), big.clone(), model.clone());
            let (mut w2, mut g2, mut r2) = (f.clone(), big.clone(), model.clone());
            assert_eq!(work(true, &mut w1, &mut g1, &mut r1), work(false, &mut w2, &mut g2, &mut r2));
            assert!(w1 == w2 && g1 == g2 && r1 == r2);
        };
        macro_rules! check {
            (|$w:ident, $g:ident, $r:ident| $name:ident($($arg:expr),*)) => {
                two(&|fast, $w, $g, $r| {
                    let out = if fast { $name($($arg),*) } else { window::$name($($arg),*) };
                    flat(&out)
                });
            };
        }
        // One row without light.
        let lit: Vec<[usize; 2]> =
            (0..8).map(|y| [[y % 3, n - y % 4], [0, 0]][usize::from(y == 5)]).collect();
        check!(|w, _g, _r| window_product(w, &a, &big, columns, n));
        check!(|w, _g, _r| window_products(w, [&a, &b], [&big, &other], columns, n));
        check!(|w, _g, _r| window_mixed(w, &a, &b, &big, columns, n, k, &lit));
        check!(|w, _g, _r| window_relax(w, &a, &b, &big, columns, n, [k, k, k], &lit));
        check!(|w, _g, _r| measured(w, &amp, k));
        check!(|w, _g, _r| measured_counts(w, &amp, k));
        check!(|w, g, _r| window_minus(w, &a, g, columns, n));
        check!(|w, g, _r| window_step(w, &a, g, columns, n, k));
        check!(|w, g, _r| window_probe_step(w, g, &a, columns, n, k));
        check!(|_w, g, _r| onto_window(g, None, columns, &a, &b, n, &lit));
        check!(|_w, g, r| onto_window(g, Some(r), columns, &a, &b, n, &lit));
        check!(|w, g, r| window_relax_onto(w, &a, &b, &other, columns, n, [k, k, k], (g, Some(r)), &lit));
        check!(|w, g, _r| window_relax_onto(w, &a, &b, &other, columns, n, [k, k, k], (g, None), &lit));
        check!(|w, g, _r| from_window(w, None, g, columns, &a, n, &lit));
        check!(|w, g, r| from_window(w, Some(&mut r[..8 * n]), g, columns, &a, n, &lit));
        let wide: [&[C<T>]; 4] = [&big, &other, &big, &other];
        let waves: [&[C<T>]; 4] = [&a, &b, &f, &a];
        check!(|w, _g, _r| from_windows(w, None, wide, columns, waves, n, &lit));
        check!(|w, _g, r| from_windows(w, Some(&mut r[..8 * n]), wide, columns, waves, n, &lit));
        check!(|w, _g, _r| gaussian_scale(w, &amp, k, k, k));
        check!(|w, _g, _r| wave_ray([&w[..], &a, &b], &amp, k, k));
        // In one go as one after the other.
        let (mut wave, mut apart, mut grown, mut larger) = (f.clone(), f.clone(), big.clone(), big.clone());
        window_relax_onto(&mut wave, &a, &b, &other, columns, n, [k, k, k], (&mut grown, None), &lit);
        window_relax(&mut apart, &a, &b, &other, columns, n, [k, k, k], &lit);
        onto_window(&mut larger, None, columns, &b, &apart, n, &lit);
        assert!(wave == apart && grown == larger);
        assert!(grown[5 * columns..6 * columns] == big[5 * columns..6 * columns] && grown != big);
        // Four at once as one after the other.
        let (mut wave, mut apart, mut norm, mut norms) = (f.clone(), f.clone(), amp.clone(), amp.clone());
        from_windows(&mut wave, Some(&mut norm), wide, columns, waves, n, &lit);
        for (wide, b) in wide.into_iter().zip(waves) {
            from_window(&mut apart, Some(&mut norms), wide, columns, b, n, &lit);
        }
        assert!(wave == apart && norm == norms && wave != f);
        // Where nothing is lit the product is 0, whatever the window holds there.
        let row = |y: usize| [lit[y][0], lit[y][1]];
        let inside = |k: usize| (row(k / n)[0]..row(k / n)[1]).contains(&(k % n));
        let dark: Vec<C<T>> = (0..8 * n).map(|k| if inside(k) { b[k] } else { C::default() }).collect();
        let all = vec![[0, n]; 8];
        let (mut some, mut every) = (f.clone(), f.clone());
        window_mixed(&mut some, &a, &b, &big, columns, n, k, &lit);
        window_mixed(&mut every, &a, &dark, &big, columns, n, k, &all);
        assert!(some == every);
        window_relax(&mut some, &a, &b, &other, columns, n, [k, k, k], &lit);
        window_relax(&mut every, &a, &dark, &other, columns, n, [k, k, k], &all);
        assert!(some == every);
        // What stands beside the window is left alone.
        let (mut wave, mut grown) = (f.clone(), big.clone());
        window_step(&mut wave, &a, &mut grown, columns, n, k);
        for y in 0..8 {
            assert_eq!(grown[y * columns + n..(y + 1) * columns], big[y * columns + n..(y + 1) * columns]);
            assert!((0..n).all(|x| grown[y * columns + x] != big[y * columns + x]));
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

/// At each level that the processor has.
fn levels(test: fn()) {
    #[cfg(target_arch = "x86_64")]
    {
        let best = level();
        for wanted in [Level::Avx2, Level::Avx512] {
            if wanted == best || (best == Level::Avx512 && wanted == Level::Avx2) {
                MOST.set(Some(wanted));
                test();
            }
        }
        MOST.set(None);
    }
    test();
}

#[test]
fn wide_and_plain_loops_agree_in_single_precision() {
    levels(same::<f32>);
    levels(same_windows::<f32>);
}

#[test]
fn wide_and_plain_loops_agree_in_double_precision() {
    levels(same::<f64>);
    levels(same_windows::<f64>);
}
