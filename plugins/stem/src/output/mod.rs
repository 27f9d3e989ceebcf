//! Writers.

mod emd;
mod mib;

pub use emd::EmdWrite;
pub use mib::MibWrite;
