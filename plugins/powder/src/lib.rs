//! Powder rings: a simulated detector and the calibration of its geometry.
