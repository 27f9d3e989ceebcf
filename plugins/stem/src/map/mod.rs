//! Maps: what is made of each frame alone.

mod correct;
mod count;

pub use correct::{Correct, CorrectIn, CorrectOut, Real};
pub use count::{Count, CountIn, CountOut, Method};
