//! Diffraction contrast tomography: raw frames in, spots out, while the sample turns.
//!
//! The numerics stand in plain modules ([`segment`]) and know no engine; the stages that wrap them are
//! declared in `stage`. Spots are found and written; grouping them by grain and reconstructing grains are not part of
//! this family.

pub mod import;
mod moving;
mod pixel;
mod scan;
pub mod segment;
mod simd;
mod stage;
