//! Scan data: patterns, preparation, distribution.

pub mod balance;
pub mod pattern;
pub mod prepare;
