//! PNG pictures: colour maps, scales, overlays and labels.
//!
//! [`Picture`] shows an image with marks over it, [`Plot`] shows curves, [`Sheet`] brings several together.
//! All give the bytes of a PNG file and touch no file themselves.

mod canvas;
mod error;
mod font;
mod map;
mod overlay;
mod picture;
mod plot;
mod scale;
mod sheet;

pub use error::{DrawError, Result};
pub use map::Map;
pub use overlay::{Overlay, Shape};
pub use picture::Picture;
pub use plot::{Curve, Plot};
pub use scale::{Limits, Scale};
pub use sheet::Sheet;

/// Red, green, blue.
pub type Colour = [u8; 3];
