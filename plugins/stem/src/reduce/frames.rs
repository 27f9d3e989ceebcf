//! Frames of a chunk, and set-up that is made once for all of them.

use std::sync::{Arc, Mutex, PoisonError};

use isard_core::prelude::*;

/// How many frames a chunk has, and their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Frames.
    pub n: usize,
    /// Rows of a frame.
    pub rows: usize,
    /// Columns of a frame.
    pub columns: usize,
}

impl Size {
    /// The size of a chunk of images.
    pub fn of(image: &Array) -> Result<Size> {
        match *image.shape() {
            [n, rows, columns] if rows > 0 && columns > 0 => Ok(Size { n, rows, columns }),
            _ => Err(Error::data(format!(
                "found images of {} {:?}, wanted frames [n y x]",
                image.dtype(),
                image.shape()
            ))),
        }
    }

    /// Pixels of one frame.
    pub fn pixels(self) -> usize {
        self.rows * self.columns
    }

    /// The middle of the detector, half a pixel off where sizes are even.
    pub fn centre(self) -> [f64; 2] {
        [(self.rows as f64 - 1.0) / 2.0, (self.columns as f64 - 1.0) / 2.0]
    }

    /// The values of a fixed image, which must have the size of the frames.
    pub fn fixed(self, name: &str, array: &Array) -> Result<Vec<f64>> {
        if array.shape() == [self.rows, self.columns] {
            return array.to_f64();
        }
        let (rows, columns, found) = (self.rows, self.columns, array.shape());
        Err(Error::data(format!("`{name}` has shape {found:?}, the frames have [{rows}, {columns}]")))
    }
}

/// Whether a number is above a bound; NaN is above none.
pub(crate) fn above(value: f64, bound: f64) -> bool {
    value > bound
}

/// Whether a number is at least a bound; NaN is none.
pub(crate) fn at_least(value: f64, bound: f64) -> bool {
    value >= bound
}

/// The error of a complex image.
pub(crate) fn complex<T>() -> Result<T> {
    Err(Error::data("found complex pixels, wanted real ones"))
}

/// Frames as double-precision numbers.
pub(crate) fn doubles(image: &Array) -> Result<Vec<f64>> {
    image.to_f64()
}

/// Something costly that is made for the first frames, and anew when what it is made for changes.
pub(crate) struct Once<K, T>(Mutex<Option<(K, Arc<T>)>>);

impl<K, T> Default for Once<K, T> {
    fn default() -> Self {
        Once(Mutex::new(None))
    }
}

impl<K: PartialEq, T> Once<K, T> {
    /// What is made for a key.
    pub fn get(&self, key: K, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, made)) = &*held
            && *known == key
        {
            return Ok(made.clone());
        }
        let made = Arc::new(make()?);
        *held = Some((key, made.clone()));
        Ok(made)
    }
}
