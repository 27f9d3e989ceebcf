//! Detector geometry, calibrants and PONI files.
//!
//! Lengths are metres and angles radians unless a name says otherwise.
//! Index order is rows (dimension 1, slow) then columns (dimension 2, fast).
//! Positions on the detector are measured from the outer edge of pixel (0, 0), so that its centre is at half a pixel.

mod calibrant;
mod correct;
mod detector;
mod fit2d;
mod grid;
mod poni;
mod pose;
mod substance;
mod wave;

pub use calibrant::{Calibrant, Line, UnknownCalibrant};
pub use correct::{polarisation, solid_angle};
pub use detector::{Known, Seam, known_detector};
pub use fit2d::Fit2d;
pub use grid::{Grid, Orientation};
pub use poni::{Poni, PoniError, Sensor};
pub use pose::{Lab, Pose};
pub use wave::{HC, energy_of, wavelength_of};
