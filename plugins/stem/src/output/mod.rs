//! Writers.

mod emd;

pub use emd::EmdWrite;
