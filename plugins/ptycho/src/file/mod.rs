//! Files of scan data and of results.

pub mod cxi;
pub mod info;
pub mod ptyd;
pub mod ptyr;
pub mod tree;
