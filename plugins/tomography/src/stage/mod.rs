//! The stages of this crate.

mod input;

mod simulate;

mod bands;
mod unmix;

mod reconstruct;
mod sinogram;

mod metrics;
mod pdf;

mod phases;
