//! Files of scan data and of results.

pub mod ptyd;
pub mod ptyr;
pub mod tree;
