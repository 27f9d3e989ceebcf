//! From patterns to structure functions and pair distribution functions.

mod composition;
mod factors;
mod transform;

pub use composition::Composition;
pub use factors::Factor;
pub use transform::{Options, Transform};
