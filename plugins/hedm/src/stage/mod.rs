//! The stages of this crate.

mod experiment;
mod table;

mod grid;
mod reflections;
mod seeds;

mod simulate;

mod bits;
mod reduce;

mod fit;
mod grains;
mod merge;

mod maps;
mod mic;

#[cfg(test)]
pub(crate) use experiment::{Experiment, small};
