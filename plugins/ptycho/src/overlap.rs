//! Sums of waves over windows: in the order of the frames, whatever the threads, since each thread owns some rows.

use isard_core::Result;

use crate::model::Corner;
use crate::num::{Complex, Par, Real, Shelf, each};
use crate::simd;

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
    probe: &[Vec<C<T>>],
    columns: usize,
    corners: &[Corner],
    waves: &[Vec<C<T>>],
    images: &mut [Vec<C<T>>],
    shelf: &Shelf<Sums<T>>,
    apply: impl Fn(&mut [C<T>], &[C<T>], &[T]) + Sync,
) -> Result<()> {
    let (pixels, modes) = (probe.first().map_or(0, Vec::len), images.len());
    let n = pixels.isqrt();
    let touched = |top: usize| corners.iter().any(|c| c.y < top + STRIP && c.y + n > top);
    let strips: Vec<_> =
        strips(images, None, columns).into_iter().enumerate().filter(|(k, _)| touched(k * STRIP)).collect();
    each(par, strips, |_, (k, (rows, _))| {
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
    probe: &[Vec<C<T>>],
    columns: usize,
    corners: &[Corner],
    waves: &[Vec<C<T>>],
    images: &mut [Vec<C<T>>],
    norm: Option<&mut Vec<T>>,
) -> Result<()> {
    each(par, strips(images, norm, columns), |k, (rows, norm)| {
        strip_of_object(k * STRIP, columns, probe, corners, waves, rows, norm);
        Ok(())
    })
}

/// The part of those sums that falls on some rows, of which `top` is the first.
fn strip_of_object<T: Real>(
    top: usize,
    columns: usize,
    probe: &[Vec<C<T>>],
    corners: &[Corner],
    waves: &[Vec<C<T>>],
    rows: &mut [&mut [C<T>]],
    norm: &mut Option<&mut [T]>,
) {
    let (pixels, modes) = (probe.first().map_or(0, Vec::len), rows.len());
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
            for (p, light) in probe.iter().enumerate() {
                let wave = &waves[(p * modes + o) * pixels..][from..to];
                let norm = norm.as_mut().filter(|_| o == 0).map(|norm| &mut norm[at..]);
                simd::onto_window(&mut image[at..], norm, columns, &light[from..to], wave, n);
            }
        }
    }
}

/// Adds `conj(O) wave` into probe images and `|O|²` into their norm, over the windows of some frames.
pub fn onto_probe<T: Real>(
    par: Par,
    object: &[Vec<C<T>>],
    columns: usize,
    corners: &[Corner],
    waves: &[Vec<C<T>>],
    images: &mut [Vec<C<T>>],
    norm: Option<&mut Vec<T>>,
) -> Result<()> {
    let (pixels, modes) = (images.first().map_or(0, Vec::len), object.len());
    let n = pixels.isqrt();
    each(par, strips(images, norm, n), |k, (rows, norm)| {
        let top = k * STRIP;
        let count = rows.first().map_or(0, |m| m.len() / n);
        for (k, corner) in corners.iter().enumerate() {
            let there = (corner.y + top) * columns + corner.x;
            for (p, image) in rows.iter_mut().enumerate() {
                for (o, object) in object.iter().enumerate() {
                    let wave = |k: usize, from: usize, to: usize| {
                        let first = (p * modes + o) * pixels + top * n;
                        waves.get(k).map_or(&[][..], |w| &w[first + from * n..first + to.min(count) * n])
                    };
                    for from in (0..count).step_by(AHEAD) {
                        let to = (from + AHEAD).min(count);
                        // Waves come from far away: the next rows are asked for while these are added.
                        simd::ahead(if to < count { wave(k, to, to + AHEAD) } else { wave(k + 1, 0, AHEAD) });
                        let at = from * n..to * n;
                        let norm = norm.as_mut().filter(|_| p == 0).map(|norm| &mut norm[at.clone()]);
                        let wide = &object[there + from * columns..];
                        simd::from_window(&mut image[at], norm, wide, columns, wave(k, from, to), n);
                    }
                }
            }
        }
        Ok(())
    })
}

/// The same rows of all images and of the norm.
type Strip<'a, T> = (Vec<&'a mut [C<T>]>, Option<&'a mut [T]>);

fn strips<'a, T>(
    images: &'a mut [Vec<C<T>>],
    norm: Option<&'a mut Vec<T>>,
    columns: usize,
) -> Vec<Strip<'a, T>> {
    let mut pieces: Vec<Strip<'a, T>> = vec![];
    for image in images {
        for (k, rows) in image.chunks_mut(STRIP * columns).enumerate() {
            if pieces.len() <= k {
                pieces.push((vec![], None));
            }
            pieces[k].0.push(rows);
        }
    }
    if let Some(norm) = norm {
        for (piece, rows) in pieces.iter_mut().zip(norm.chunks_mut(STRIP * columns)) {
            piece.1 = Some(rows);
        }
    }
    pieces
}
