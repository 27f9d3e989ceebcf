//! Reductions: from frames to maps over the scan.

mod correct;
mod frames;
mod maps;

mod engine;
mod shape;

mod fft;
mod field;

mod com;
mod detect;

pub use com::{Border, Com, ComIn, ComOut, ComPart, Regression};
pub use detect::{Detect, DetectIn, DetectOut, DetectPart};
pub use maps::Values;
pub use shape::Detector;
