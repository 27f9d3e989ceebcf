//! Reductions: from frames to maps over the scan.

mod correct;
mod frames;
mod maps;

mod detectors;
mod engine;
mod shape;

mod fft;
mod field;

mod com;
mod detect;
mod pile;
mod radial;
mod ssb;
mod tally;

pub(crate) use correct::{Correction, Fixed};
pub(crate) use detect::{load_scan, save_scan};
pub(crate) use fft::{Fft2, signed};
pub(crate) use field::orientation;
pub(crate) use frames::{Once, Size, above, at_least, doubles};
pub(crate) use maps::{each_plane, inside, nothing};
pub(crate) use ssb::wavelength;

pub use com::{Border, Com, ComIn, ComOut, ComPart, Regression};
pub use detect::{Detect, DetectIn, DetectOut, DetectPart};
pub use maps::Values;
pub use radial::{Radial, RadialIn, RadialOut, RadialPart};
pub use shape::Detector;
pub use ssb::{Ssb, SsbIn, SsbOut, SsbPart};
pub use tally::{Tally, TallyIn, TallyOut, TallyPart};
