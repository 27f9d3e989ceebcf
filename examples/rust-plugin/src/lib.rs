//! A plugin as a shared library: one stage of each of the seven roles.
//!
//! The same code would work built in: only `export_plugin!` makes it loadable.

mod fit;
mod fold;
mod map;
mod reduce;
mod source;
mod task;
mod writer;

pub use fit::Decay;
pub use fold::Smooth;
pub use map::Normalize;
pub use reduce::Moments;
pub use source::Beat;
pub use task::Raster;
pub use writer::Csv;

isard_core::export_plugin!();
