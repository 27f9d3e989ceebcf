//! Where the detector stands: refinement of its geometry by what a map explains.

mod centre;
mod refine;
mod seek;

pub use refine::{Point, Refined, Refinement, Tolerance, refine};
pub use seek::{controlled_search, nelder_mead};
