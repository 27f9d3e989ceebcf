//! Sums of waves over windows: in the order of the frames, whatever the threads, since each thread owns some rows.

use isard_core::Result;

use crate::model::Corner;
use crate::num::{Complex, Par, Real, Shelf, each};
use crate::simd::{self, LANES};

type C<T> = Complex<T>;

/// Rows of an object or probe that one thread works on.
const STRIP: usize = 32;
/// Rows of a wave that are asked for at once.
const AHEAD: usize = 4;

/// Waves times what lights them, and the light itself.
#[derive(Default)]
pub struct Sums<T> {
    /// Mode by mode.
    pub waves: Vec<Vec<C<T>>>,
    /// What the sums are divided by.
    pub norm: Vec<T>,
}

/// What waves are multiplied by, where that can be anything, and which waves of a frame are meant.
#[derive(Clone, Copy)]
pub struct Met<'a, T> {
    /// Probes, or objects.
    pub modes: &'a [Vec<C<T>>],
    /// Where anything can come of it.
    pub lit: &'a Lit,
    /// The first wave of a frame.
    pub first: usize,
}

/// The part of each row of a window where anything can be.
pub struct Lit(Vec<[usize; 2]>);

impl Lit {
    /// All of each of `n` rows.
    pub fn whole(n: usize) -> Lit {
        Lit(vec![[0, n]; n])
    }

    /// From the first to the last pixel of each row that fulfils a condition.
    pub fn where_any(n: usize, lit: impl Fn(usize) -> bool) -> Lit {
        let row = |y: usize| {
            let first = (0..n).find(|x| lit(y * n + x)).unwrap_or(n);
            let last = (first..n).rev().find(|x| lit(y * n + x));
            last.map_or([0, 0], |last| [first, last + 1])
        };
        Lit((0..n).map(row).collect())
    }

    /// Where a probe is not 0: outside it adds nothing to sums over an object. In whole lanes of wide loops.
    pub fn of<T: Real>(probe: &[Vec<C<T>>]) -> Lit {
        let n = probe.first().map_or(0, |mode| mode.len().isqrt());
        let dark = C::<T>::default();
        let mut lit = Lit::where_any(n, |k| probe.iter().any(|mode| mode[k] != dark));
        for [from, to] in lit.0.iter_mut().filter(|[from, to]| from < to) {
            (*from, *to) = (*from / LANES * LANES, to.next_multiple_of(LANES).min(n));
        }
        lit
    }

    /// These rows of the window, from a row on.
    pub fn from(&self, row: usize) -> &[[usize; 2]] {
        &self.0[row..]
    }
}

impl<T: Real> Sums<T> {
    /// Sums of nothing.
    pub fn new(modes: usize, pixels: usize) -> Sums<T> {
        Sums { waves: vec![vec![C::default(); pixels]; modes], norm: vec![T::zero(); pixels] }
    }

    /// Makes them sums of nothing, of any size.
    pub fn clear(&mut self, modes: usize, pixels: usize) {
        self.waves.resize_with(modes, Vec::new);
        for wave in &mut self.waves {
            wave.clear();
            wave.resize(pixels, C::default());
        }
        self.norm.clear();
        self.norm.resize(pixels, T::zero());
    }
}

/// Sums as [`onto_object`] makes them, strip by strip, each applied to its rows of the images while it is at hand.
///
/// `apply` gets some rows of an image, the sums for them and their norm. Rows that no window touches are left alone.
#[allow(clippy::too_many_arguments)]
pub fn step_object<T: Real>(
    par: Par,
    probe: Met<T>,
    columns: usize,
    corners: &[Corner],
    waves: &[Vec<C<T>>],
    images: &mut [Vec<C<T>>],
    shelf: &Shelf<Sums<T>>,
    apply: impl Fn(&mut [C<T>], &[C<T>], &[T]) + Sync,
) -> Result<()> {
    let (pixels, modes) = (probe.modes.first().map_or(0, Vec::len), images.len());
    let n = pixels.isqrt();
    let touched = |top: usize| corners.iter().any(|c| c.y < top + STRIP && c.y + n > top);
    let strips: Vec<_> =
        strips(images, columns).into_iter().enumerate().filter(|(k, _)| touched(k * STRIP)).collect();
    each(par, strips, |_, (k, rows)| {
        let length = rows.first().map_or(0, |m| m.len());
        let mut sums = shelf.take().unwrap_or_default();
        sums.clear(modes, length);
        let mut here: Vec<&mut [C<T>]> = sums.waves.iter_mut().map(Vec::as_mut_slice).collect();
        let mut norm = Some(sums.norm.as_mut_slice());
        strip_of_object(*k * STRIP, columns, probe, corners, waves, &mut here, &mut norm);
        for (image, sum) in rows.iter_mut().zip(&sums.waves) {
            apply(image, sum, &sums.norm);
        }
        shelf.put(sums);
        Ok(())
    })
}

/// Adds `conj(P) wave` into object images and `|P|²` into their norm, over the windows of some frames.
///
/// A frame's waves lie one behind the other, probe mode by probe mode and within that object mode by object mode.
pub fn onto_object<T: Real>(
    par: Par,
    probe: Met<T>,
    columns: usize,
    corners: &[Corner],
    waves: &[Vec<C<T>>],
    images: &mut [Vec<C<T>>],
    norm: Option<&mut Vec<T>>,
) -> Result<()> {
    each(par, with_norm(images, norm, columns), |k, (rows, norm)| {
        strip_of_object(k * STRIP, columns, probe, corners, waves, rows, norm);
        Ok(())
    })
}

/// The part of those sums that falls on some rows, of which `top` is the first.
fn strip_of_object<T: Real>(
    top: usize,
    columns: usize,
    probe: Met<T>,
    corners: &[Corner],
    waves: &[Vec<C<T>>],
    rows: &mut [&mut [C<T>]],
    norm: &mut Option<&mut [T]>,
) {
    let (pixels, modes) = (probe.modes.first().map_or(0, Vec::len), rows.len());
    let n = pixels.isqrt();
    let bottom = top + rows.first().map_or(0, |m| m.len() / columns);
    for (corner, waves) in corners.iter().zip(waves) {
        let (first, last) = (corner.y.max(top), (corner.y + n).min(bottom));
        if first >= last {
            continue;
        }
        let (at, from) = ((first - top) * columns + corner.x, (first - corner.y) * n);
        let to = (last - corner.y) * n;
        for (o, image) in rows.iter_mut().enumerate() {
            for (p, light) in probe.modes.iter().enumerate() {
                let wave = &waves[(probe.first + p * modes + o) * pixels..][from..to];
                let norm = norm.as_mut().filter(|_| o == 0).map(|norm| &mut norm[at..]);
                let lit = probe.lit.from(first - corner.y);
                simd::onto_window(&mut image[at..], norm, columns, &light[from..to], wave, n, lit);
            }
        }
    }
}

/// Adds `conj(O) wave` into probe images and `|O|²` into their norm, over the windows of some frames.
///
/// Only where the probe may be, `lit`: the rest stays as it is.
pub fn onto_probe<T: Real>(
    par: Par,
    object: Met<T>,
    columns: usize,
    corners: &[Corner],
    waves: &[Vec<C<T>>],
    images: &mut [Vec<C<T>>],
    norm: Option<&mut Vec<T>>,
) -> Result<()> {
    let (pixels, modes) = (images.first().map_or(0, Vec::len), object.modes.len());
    let (n, lit) = (pixels.isqrt(), object.lit);
    each(par, with_norm(images, norm, n), |k, (rows, norm)| {
        let top = k * STRIP;
        let count = rows.first().map_or(0, |m| m.len() / n);
        let wave = |frame: usize, product: usize, from: usize| {
            let (first, to) = ((object.first + product) * pixels + top * n, (from + AHEAD).min(count));
            waves.get(frame).map_or(&[][..], |w| &w[first + from * n..first + to * n])
        };
        // Waves come from far away: the next rows are asked for while some are added.
        let ask = |frame: usize, product: usize, from: usize, together: usize| {
            let (frame, from) =
                if from + AHEAD < count { (frame, from + AHEAD) } else { (frame + together, 0) };
            let rows = wave(frame, product, from).chunks_exact(n).zip(lit.from(top + from));
            rows.for_each(|(row, [from, to])| simd::ahead(&row[*from..*to]));
        };
        let shown = |corner: Corner, mode: usize, from: usize| {
            &object.modes[mode][(corner.y + top + from) * columns + corner.x..]
        };
        for (first, corners) in (0..).step_by(4).zip(corners.chunks(4)) {
            for (p, image) in rows.iter_mut().enumerate() {
                for from in (0..count).step_by(AHEAD) {
                    let at = from * n..(from + AHEAD).min(count) * n;
                    let (image, lit) = (&mut image[at.clone()], lit.from(top + from));
                    let mut norm = norm.as_mut().filter(|_| p == 0).map(|norm| &mut norm[at]);
                    if let (1, &[a, b, c, d]) = (modes, corners) {
                        (first..first + 4).for_each(|k| ask(k, p, from, 4));
                        let wide = [a, b, c, d].map(|corner| shown(corner, 0, from));
                        let four = [0, 1, 2, 3].map(|k| wave(first + k, p, from));
                        simd::from_windows(image, norm, wide, columns, four, n, lit);
                        continue;
                    }
                    for (k, corner) in (first..).zip(corners) {
                        for o in 0..modes {
                            ask(k, p * modes + o, from, 1);
                            let (wide, b) = (shown(*corner, o, from), wave(k, p * modes + o, from));
                            simd::from_window(image, norm.as_deref_mut(), wide, columns, b, n, lit);
                        }
                    }
                }
            }
        }
        Ok(())
    })
}

/// Adds an image of a window's shape into a larger one, over the windows of some frames.
pub fn light_object<T: Real>(
    par: Par,
    light: &[T],
    columns: usize,
    corners: &[Corner],
    image: &mut Vec<T>,
) -> Result<()> {
    let n = light.len().isqrt();
    each(par, strips(std::slice::from_mut(image), columns), |k, rows| {
        let top = k * STRIP;
        for (row, there) in rows.iter_mut().flat_map(|rows| rows.chunks_mut(columns)).zip(top..) {
            for corner in corners.iter().filter(|c| (c.y..c.y + n).contains(&there)) {
                let from = (there - corner.y) * n;
                simd::add(&mut row[corner.x..corner.x + n], &light[from..from + n]);
            }
        }
        Ok(())
    })
}

/// Adds the windows of some frames into an image of their shape.
pub fn light_probe<T: Real>(
    par: Par,
    shown: &[T],
    columns: usize,
    corners: &[Corner],
    image: &mut Vec<T>,
) -> Result<()> {
    let n = image.len().isqrt();
    each(par, strips(std::slice::from_mut(image), n), |k, rows| {
        for corner in corners {
            let here = rows.iter_mut().flat_map(|rows| rows.chunks_mut(n)).zip(k * STRIP..);
            for (row, y) in here {
                let from = (corner.y + y) * columns + corner.x;
                simd::add(row, &shown[from..from + n]);
            }
        }
        Ok(())
    })
}

/// The same rows of all images together, strip by strip.
pub fn strips<X>(images: &mut [Vec<X>], columns: usize) -> Vec<Vec<&mut [X]>> {
    let mut pieces: Vec<Vec<&mut [X]>> = vec![];
    for image in images {
        for (k, rows) in image.chunks_mut(STRIP * columns).enumerate() {
            if pieces.len() <= k {
                pieces.push(vec![]);
            }
            pieces[k].push(rows);
        }
    }
    pieces
}

/// The same rows of all images, and of the norm.
type Strip<'a, T> = (Vec<&'a mut [C<T>]>, Option<&'a mut [T]>);

fn with_norm<'a, T>(
    images: &'a mut [Vec<C<T>>],
    norm: Option<&'a mut Vec<T>>,
    columns: usize,
) -> Vec<Strip<'a, T>> {
    let mut norm = norm.map(|norm| norm.chunks_mut(STRIP * columns));
    let rows = strips(images, columns).into_iter();
    rows.map(|rows| (rows, norm.as_mut().and_then(Iterator::next))).collect()
}
