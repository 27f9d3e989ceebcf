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
    Ok(dispatch!(array.dtype(), T => array.as_slice::<T>()?.iter().map(|v| v.as_f32()).collect(), complex => {
        return Err(Error::data("found complex pixels, wanted real ones"));
    }))
}

/// Whether each pixel of a mask is bad.
pub(super) fn bad(mask: &Array) -> Result<Vec<bool>> {
    Ok(floats(mask)?.into_iter().map(|m| m != 0.0).collect())
}

/// Pixels of a frame, when known before the run.
pub(super) fn pixels(input: &Shapes) -> u64 {
    input.get("image").dims.map_or(0, |d| d.iter().product::<usize>() as u64)
}
