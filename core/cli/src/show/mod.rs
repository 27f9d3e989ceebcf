//! What users see.

pub mod log;
pub mod progress;
pub mod style;
pub mod table;
pub mod view;
