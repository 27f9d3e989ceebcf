//! Runs isard recipes: plugin-based streaming dataflow for beamline and microscope data.
fn main() {}
