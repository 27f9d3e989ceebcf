//! The stages of this crate.

mod experiment;
mod kept;
mod table;

mod footprints;
mod grid;
mod reflections;
mod seeds;
mod spots;

mod frames;
mod simulate;

mod bits;
mod reduce;

mod compare;
mod fit;
mod geometry;
mod grains;
mod levels;
mod merge;

mod maps;
mod mic;

mod files;

#[cfg(test)]
pub(crate) use experiment::{Experiment, small};
