//! Which pixels of which frames are lit.

mod file;
mod paint;
mod score;
mod volume;

pub use file::{BitReader, BitWriter};
pub use paint::{Painter, light};
pub use score::{Score, Scorer};
pub use volume::{Line, Volume};
