//! Small files for the examples of the plugins.

use isard_core::prelude::*;
use isard_files::edf;

/// A flat detector of 12 x 16 pixels in a corner of the rings.
const PONI: &str = "poni_version: 2.1\nDetector: Detector\n\
    Detector_config: {\"pixel1\": 1e-4, \"pixel2\": 1e-4, \"max_shape\": [12, 16], \"orientation\": 3}\n\
    Distance: 0.1\nPoni1: 0.0004\nPoni2: 0.0003\nRot1: 0.01\nRot2: 0\nRot3: 0\nWavelength: 2e-11\n";

/// The path of a geometry.
pub(crate) fn poni() -> String {
    Example::file("beamline.poni", PONI.as_bytes())
}

/// The path of an EDF image with a monitor in its header.
pub(crate) fn image() -> String {
    let pixels: Vec<u8> = (0..12 * 16u16).flat_map(|k| (k * 37 % 101).to_ne_bytes()).collect();
    let lines = [("counter_mne", "sec mondio"), ("counter_pos", "1 2.5e6")];
    let bytes = edf::block(isard_h5::Dtype::U16, [12, 16], &pixels, 0, &lines);
    Example::file("beamline.edf", &bytes.expect("EDF holds whole numbers of 16 bits"))
}

/// A path beside the other files of examples.
pub(crate) fn output(name: &str) -> String {
    Example::folder().join(name).display().to_string()
}
