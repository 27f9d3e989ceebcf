//! The stages of this crate.

mod experiment;

mod read;
mod simulate;
mod write;

mod reconstruct;
mod result;

mod metrics;

mod positions;
mod prepare;

#[cfg(test)]
pub(crate) use simulate::example_frames;

#[cfg(test)]
mod contract;
