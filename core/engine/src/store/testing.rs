//! Files that fail and forget, for tests of durability.

mod failing;
mod forgetful;

pub use failing::{Fail, FailingFiles};
pub use forgetful::ForgetfulFiles;
