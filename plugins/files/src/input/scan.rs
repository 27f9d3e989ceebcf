//! What a kind of file is to the sources: how its frames are found, in closed files and in growing ones.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use isard_core::prelude::*;

use crate::input::series::Form;

/// The frames of one file.
pub(crate) struct Scanned {
    /// Type of the pixels.
    pub dtype: Dtype,
    /// Extents of a frame.
    pub dims: Vec<usize>,
    /// How many there are.
    pub frames: u64,
    /// How they lie in the file.
    pub form: Form,
    /// What the file says of all its frames.
    pub head: Dict,
    /// Values for each frame, in the order of [`Scan::columns`].
    pub columns: Vec<Array>,
}

impl Scanned {
    /// Frames without anything said about them.
    pub fn bare(dtype: Dtype, dims: &[usize], frames: u64, form: Form) -> Scanned {
        Scanned { dtype, dims: dims.to_vec(), frames, form, head: Dict::new(), columns: vec![] }
    }
}

/// A kind of file with frames.
pub(crate) trait Scan: Send + Sync {
    /// Endings of its names.
    fn endings(&self) -> &'static [&'static str];

    /// Finds the frames of a whole file; one that is cut short is an error.
    fn scan(&self, path: &Path) -> Result<Scanned>;

    /// Finds the frames of a file that may still grow.
    fn growing(self: Arc<Self>, path: &Path) -> Box<dyn Growing>;

    /// Whether each file holds one frame, so that only the first has to be looked at.
    fn single(&self) -> bool {
        false
    }

    /// Whether a file shows by its own end that it is whole.
    fn sealed(&self) -> bool {
        false
    }

    /// The names of the values it gives for each frame.
    fn columns(&self) -> Vec<Key> {
        vec![]
    }
}

/// A file that may still grow.
pub(crate) trait Growing: Send {
    /// The frames that are whole now; an error while there are none.
    fn look(&mut self) -> Result<Scanned>;
}

/// A file whose frames are found anew at each look.
pub(crate) struct Anew<S: ?Sized>(pub Arc<S>, pub PathBuf);

impl<S: Scan + ?Sized> Growing for Anew<S> {
    fn look(&mut self) -> Result<Scanned> {
        self.0.scan(&self.1)
    }
}
