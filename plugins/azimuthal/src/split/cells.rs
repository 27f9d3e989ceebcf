//! Maps without splitting and by bounding boxes.

use crate::axis::Axis;
use crate::matrix::Matrix;
use crate::split::Pixels;
use crate::split::line::Spread;

/// The pixel's centre decides.
pub(super) fn centres(pixels: &Pixels, radial: &Axis, chi: &Axis) -> Matrix {
    let mut matrix = Matrix::new(radial.n * chi.n, pixels.mask.len());
    for (pixel, mask) in pixels.mask.iter().enumerate() {
        if *mask == 0 {
            let (x, y) =
                (radial.place(pixels.places.centres[pixel]), chi.place(pixels.places.azimuths[pixel]));
            if x > -1.0 && x < radial.n as f64 && y > -1.0 && y < chi.n as f64 {
                matrix.put(y as usize * radial.n + x as usize, 1.0);
            }
        }
        matrix.close();
    }
    matrix
}

/// The product of the shares along both axes.
pub(super) fn boxes(pixels: &Pixels, radial: &Axis, chi: &Axis) -> Matrix {
    let mut matrix = Matrix::new(radial.n * chi.n, pixels.mask.len());
    for (pixel, mask) in pixels.mask.iter().enumerate() {
        if *mask == 0 {
            let (low, high) = pixels.places.stretch(pixel, false);
            let (from, to) = pixels.places.stretch(pixel, true);
            // What reaches over the cut or the range is credited to the border.
            if let (Some(across), Some(around)) = (Spread::new(radial, low, high), Spread::new(chi, from, to))
            {
                around.each(|y, part| across.each(|x, share| matrix.put(y * radial.n + x, part * share)));
            }
        }
        matrix.close();
    }
    matrix
}
