//! The stages of this crate: a simulated detector, the calibration, and the writer of geometry files.

mod beam;

mod faults;
mod play;
mod simulate;

mod calibrate;
mod distances;
mod kept;
mod rings;

mod poni;

#[cfg(test)]
mod contract;
