//! The stages of this crate.

mod experiment;

mod read;
mod simulate;
mod write;

mod cxi;
mod reconstruct;
mod result;
mod shown;
mod stored;
mod work;

mod metrics;

mod positions;
mod prepare;

#[cfg(test)]
pub(crate) use simulate::example_frames;

#[cfg(test)]
mod contract;
