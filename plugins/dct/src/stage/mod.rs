//! The stages of the family.

mod frames;
mod full;

mod dark;
mod offset;
mod omega;

mod boxes;
mod normalize;

mod background;
mod raw;
mod residual;
mod thin;

mod segment;
mod spots;
mod threshold;

mod preprocessed;

mod difspots;
mod number;
mod single;

mod overview;

mod simulate;
