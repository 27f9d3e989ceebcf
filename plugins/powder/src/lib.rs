//! Powder rings: a simulated detector and the calibration of its geometry.

pub mod simulate;

pub mod accumulate;
pub mod calibrate;

mod stage;
