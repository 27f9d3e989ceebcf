//! Frames of a chunk: their number and size, masks to match, and shapes before the run.

use std::borrow::Cow;

use isard_core::dispatch;
use isard_core::prelude::*;

/// How many frames a chunk has, and their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Frames.
    pub(crate) n: usize,
    /// Rows of a frame.
    pub(crate) rows: usize,
    /// Columns of a frame.
    pub(crate) columns: usize,
}

impl Size {
    /// The size of a chunk of images.
    pub(crate) fn of(image: &Array) -> Result<Size> {
        match *image.shape() {
            [n, rows, columns] => Ok(Size { n, rows, columns }),
            _ => Err(Error::data(format!(
                "found images of {} {:?}, wanted frames [n y x]",
                image.dtype(),
                image.shape()
            ))),
        }
    }

    /// Pixels of one frame.
    pub(crate) fn pixels(self) -> usize {
        self.rows * self.columns
    }

    /// An error unless a fixed image has the size of the frames.
    pub(crate) fn same(self, name: &str, fixed: &Array) -> Result<()> {
        if fixed.shape() == [self.rows, self.columns] {
            return Ok(());
        }
        let (rows, columns) = (self.rows, self.columns);
        Err(Error::data(format!(
            "`{name}` has shape {:?}, the frames have [{rows}, {columns}]",
            fixed.shape()
        ))
        .help("crop, bin or turn both the same way"))
    }
}

/// The error of a complex image.
pub(crate) fn complex<T>() -> Result<T> {
    Err(Error::data("found complex pixels, wanted real ones"))
}

/// A mask as bytes: 0 is good; masks of bytes are not copied.
pub(crate) fn mask_bytes(mask: &Array) -> Result<Cow<'_, [u8]>> {
    dispatch!(mask.dtype(), T => {
        if let Ok(bytes) = mask.as_slice::<u8>() {
            return Ok(Cow::Borrowed(bytes));
        }
        let zero = T::default();
        Ok(Cow::Owned(mask.as_slice::<T>()?.iter().map(|m| u8::from(*m != zero)).collect()))
    }, complex => complex())
}

/// The shapes of a stage that keeps dtype and size of the images.
pub(crate) fn kept(input: &Shapes) -> Shapes {
    Shapes::default().with("image", input.get("image"))
}

/// Rows and columns of the images, when they are known before the run.
pub(crate) fn known(input: &Shapes) -> Result<Option<(usize, usize)>> {
    match input.get("image").dims.as_deref() {
        None => Ok(None),
        Some(&[rows, columns]) => Ok(Some((rows, columns))),
        Some(dims) => Err(Error::recipe(format!("found images with axes {dims:?}, wanted two axes: y x"))),
    }
}

/// The cost of so many nanoseconds a pixel and so many bytes kept a pixel.
pub(crate) fn cost(input: &Shapes, nanoseconds: f64, kept: usize) -> Cost {
    let pixels = input.get("image").dims.map_or(0, |d| d.iter().product::<usize>());
    Cost {
        memory: (pixels * kept) as u64,
        seconds_per_record: pixels as f64 * nanoseconds * 1e-9,
        ..Cost::default()
    }
}
