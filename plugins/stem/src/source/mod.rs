//! Sources: scans in files, frame by frame at their scan points.

mod axes;
mod grid;
mod placed;

mod frames;

mod feed;
mod growing;
mod through;

mod dm;
mod emd;
mod empad;
mod hdf5;
mod mib;
mod mrc;
mod npy;
mod raw;

pub(crate) use axes::{Axes, Axis, scan_of};

pub use dm::DmImage;
pub use emd::EmdFile;
pub use empad::Empad;
pub use feed::ScanOut;
pub use hdf5::Hdf5Scan;
pub use mib::{Cut, MibFiles};
pub use mrc::MrcStack;
pub use npy::NpyScan;
pub use raw::RawScan;
