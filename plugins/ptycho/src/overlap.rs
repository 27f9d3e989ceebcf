//! Sums of waves over windows: in the order of the frames, whatever the threads, since each thread owns some rows.

use isard_core::Result;

use crate::model::Corner;
use crate::num::{Complex, Par, Real, each};
use crate::simd;

type C<T> = Complex<T>;

/// Rows of an object or probe that one thread works on.
const STRIP: usize = 32;

/// Waves times what lights them, and the light itself.
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
    let (pixels, modes) = (probe.first().map_or(0, Vec::len), images.len());
    let n = pixels.isqrt();
    each(par, strips(images, norm, columns), |k, (rows, norm)| {
        let top = k * STRIP;
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
        Ok(())
    })
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
        let (from, to) = (top * n, (top + count) * n);
        for (corner, waves) in corners.iter().zip(waves) {
            let there = (corner.y + top) * columns + corner.x;
            for (p, image) in rows.iter_mut().enumerate() {
                for (o, object) in object.iter().enumerate() {
                    let wave = &waves[(p * modes + o) * pixels..][from..to];
                    let norm = norm.as_mut().filter(|_| p == 0).map(|norm| &mut **norm);
                    simd::from_window(image, norm, &object[there..], columns, wave, n);
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
