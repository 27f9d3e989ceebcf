//! Curves without splitting and by bounding boxes.

use crate::axis::Axis;
use crate::matrix::Matrix;
use crate::split::Pixels;

/// The pixel's centre decides.
pub(super) fn centres(pixels: &Pixels, radial: &Axis) -> Matrix {
    let n = pixels.mask.len();
    // At most one entry a pixel: written where they go, which costs half of adding them one by one.
    let (mut start, mut bin) = (vec![0u32; n + 1], vec![0u32; n]);
    let mut entries = 0;
    let lines = pixels.mask.iter().zip(&pixels.places.centres).zip(&mut start[1..]);
    for (pixel, ((mask, centre), end)) in lines.enumerate() {
        let kept = || match pixels.sector {
            None => true,
            Some([low, high]) => {
                let chi = pixels.places.azimuths[pixel];
                low <= chi && chi <= high
            }
        };
        // Cut towards zero: what lies less than a bin below the range is in the first one.
        let place = radial.place(*centre);
        if *mask == 0 && place > -1.0 && place < radial.n as f64 && kept() {
            bin[entries] = place as u32;
            entries += 1;
        }
        *end = entries as u32;
    }
    bin.truncate(entries);
    Matrix { bins: radial.n, start, share: vec![1.0; entries], bin }
}

/// The pixel's stretch along the radius is shared in proportion.
pub(super) fn boxes(pixels: &Pixels, radial: &Axis) -> Matrix {
    let mut matrix = Matrix::new(radial.n, pixels.mask.len());
    for (pixel, mask) in pixels.mask.iter().enumerate() {
        let kept = || match pixels.sector {
            None => true,
            Some([low, high]) => {
                let (from, to) = pixels.places.stretch(pixel, true);
                to >= low && from <= high
            }
        };
        if *mask == 0 && kept() {
            let (low, high) = pixels.places.stretch(pixel, false);
            let below = pixels.strict && radial.place(high) < 0.0;
            if !below && let Some(spread) = Spread::new(radial, low, high) {
                spread.each(|bin, share| matrix.put(bin, share));
            }
        }
        matrix.close();
    }
    matrix
}

/// How a stretch is shared among the bins of an axis.
pub(super) struct Spread {
    first: usize,
    last: usize,
    from: f64,
    to: f64,
}

impl Spread {
    /// The bins a stretch touches; none if it touches none.
    pub(super) fn new(axis: &Axis, low: f64, high: f64) -> Option<Spread> {
        let (from, to) = (axis.place(low), axis.place(high));
        if !(to > -1.0 && from < axis.n as f64) {
            return None;
        }
        let last = (to as usize).min(axis.n - 1);
        // A cast stops at zero, where the first bin is.
        Some(Spread { first: from as usize, last, from, to })
    }

    /// Calls with each bin and its share; what lies outside the axis is credited to the border.
    pub(super) fn each(&self, mut call: impl FnMut(usize, f64)) {
        let Spread { first, last, from, to } = *self;
        if first == last {
            return call(first, 1.0);
        }
        let part = 1.0 / (to - from);
        call(first, part * (first as f64 + 1.0 - from));
        (first + 1..last).for_each(|bin| call(bin, part));
        call(last, part * (to - last as f64));
    }
}
