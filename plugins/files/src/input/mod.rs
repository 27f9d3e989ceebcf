//! Sources: frames that lie in closed files.

mod folder;
mod follow;
mod series;

mod hdf5;
mod npy;
mod tiff;

mod read;

pub use follow::{Follow, Quiet, Watch};
pub use hdf5::{Hdf5Dataset, Hdf5Out};
pub use npy::NpyStack;
pub use read::read_path;
pub use series::FramesOut;
pub use tiff::TiffSequence;
