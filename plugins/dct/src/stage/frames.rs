//! Frames as the stages take them.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::pixel::Pixel;

/// Frames of a chunk with their rows and columns.
pub(super) fn size(image: &Array) -> Result<[usize; 3]> {
    match *image.shape() {
        [n, rows, columns] => Ok([n, rows, columns]),
        _ => Err(Error::data(format!("found images of shape {:?}, wanted frames [n y x]", image.shape()))),
    }
}

/// An error unless a fixed image has the rows and columns of the frames.
pub(super) fn same(name: &str, fixed: &[usize], rows: usize, columns: usize) -> Result<()> {
    match fixed == [rows, columns] {
        true => Ok(()),
        false => {
            let text = format!("`{name}` has shape {fixed:?}, the frames have [{rows}, {columns}]");
            Err(Error::data(text).help("take both from the same detector, with the same region and binning"))
        }
    }
}

/// The same before the run, as far as shapes are known.
pub(super) fn same_shape(name: &str, input: &Shapes) -> Result<()> {
    match (input.get(name).dims, input.get("image").dims.as_deref()) {
        (Some(fixed), Some(&[rows, columns])) => same(name, &fixed, rows, columns),
        _ => Ok(()),
    }
}

/// Pixels as floats.
pub(super) fn floats(array: &Array) -> Result<Vec<f32>> {
    Ok(
        dispatch!(array.dtype(), T => array.as_slice::<T>()?.iter().map(|v| v.as_f32()).collect(), complex => {
            return Err(Error::data("found complex pixels, wanted real ones"));
        }),
    )
}

/// What each pixel loses: the dark and a constant, no number where it is invalid.
pub(super) fn lost(
    dark: Option<&Array>,
    mask: Option<&Array>,
    offset: f32,
    rows: usize,
    columns: usize,
) -> Result<Vec<f32>> {
    let mut all = vec![0.0; rows * columns];
    if let Some(dark) = dark {
        same("dark", dark.shape(), rows, columns)?;
        all = floats(dark)?;
    }
    if offset != 0.0 {
        all.iter_mut().for_each(|d| *d += offset);
    }
    if let Some(mask) = mask {
        same("mask", mask.shape(), rows, columns)?;
        all.iter_mut().zip(bad(mask)?).filter(|(_, bad)| *bad).for_each(|(d, _)| *d = f32::NAN);
    }
    Ok(all)
}

/// Whether each pixel of a mask is bad.
pub(super) fn bad(mask: &Array) -> Result<Vec<bool>> {
    Ok(floats(mask)?.into_iter().map(|m| m != 0.0).collect())
}

/// Pixels of a frame, when known before the run.
pub(super) fn pixels(input: &Shapes) -> u64 {
    input.get("image").dims.map_or(0, |d| d.iter().product::<usize>() as u64)
}
