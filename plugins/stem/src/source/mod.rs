//! Sources: scans in files, frame by frame at their scan points.

mod axes;
mod grid;

mod feed;

mod dm;
mod emd;
mod empad;
mod mib;
mod mrc;
mod npy;

pub(crate) use axes::{Axes, Axis, scan_of};

pub use dm::DmImage;
pub use emd::EmdFile;
pub use empad::Empad;
pub use feed::ScanOut;
pub use mib::{Cut, MibFiles};
pub use mrc::MrcStack;
pub use npy::NpyScan;
