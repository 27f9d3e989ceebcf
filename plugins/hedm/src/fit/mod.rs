//! The orientation of every voxel: screening of seeds, refinement, and the search without seeds.

mod base;
mod border;
mod climb;
mod kin;
mod layer;
mod patch;
mod screen;
mod search;
mod shape;
mod tops;
mod view;

pub use base::Base;
pub use climb::{Climb, Peak};
pub use layer::{Found, LayerFit, Limits, Match, Par};
pub use search::{Search, SearchLimits};
pub use view::View;

pub(crate) use climb::Scratch;
pub(crate) use patch::{neighbours, pitch};
pub(crate) use view::{Bar, Field};
