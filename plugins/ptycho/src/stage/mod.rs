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
mod contract;
