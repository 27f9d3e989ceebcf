//! What the messages of a stream say, whatever their version.

use isard_core::prelude::*;

use super::packing::Packing;
use super::{v1, v2};
use crate::net::zmtp::Part;

/// What one message says.
#[derive(Clone, Debug)]
pub enum Event {
    /// A series begins.
    Start(Box<Start>),
    /// An image.
    Image(Box<Image>),
    /// A series has ended; it does not say how many images it had.
    End {
        /// The series.
        series: u64,
    },
}

/// The beginning of a series.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The number of the series.
    pub series: u64,
    /// How many images it will have, when it says so.
    pub frames: Option<u64>,
    /// The dtype of its images, when it says so.
    pub dtype: Option<Dtype>,
    /// Rows and columns of its images, when it says so.
    pub shape: Option<[usize; 2]>,
    /// The names of its channels; none for stream v1.
    pub channels: Vec<String>,
    /// The constants of the series.
    pub head: Dict,
    /// Pixel masks and flat fields: their key in the head, their channel, the array.
    pub fields: Vec<(&'static str, String, Array)>,
}

/// One image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The series it belongs to.
    pub series: u64,
    /// Its number, from 0.
    pub number: u64,
    /// When its exposure began, in seconds since the series did.
    pub time: f64,
    /// How long it was exposed, in seconds.
    pub exposure: f64,
    /// Its pixels, channel by channel.
    pub planes: Vec<Plane>,
    /// What is wrong with it, when its number can be read all the same.
    pub fault: Option<String>,
}

/// The pixels of one channel of an image, as they came.
#[derive(Clone, Debug)]
pub struct Plane {
    /// The channel; empty for stream v1.
    pub channel: String,
    /// The dtype.
    pub dtype: Dtype,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// How they are packed.
    pub packing: Packing,
    /// Elements have their most significant byte first.
    pub big: bool,
    /// Columns come one after another, not rows.
    pub by_column: bool,
    /// The packed pixels: bytes, or plain pixels in their own dtype and shape.
    pub data: Array,
    /// The MD5 digest that the detector made of the packed pixels.
    pub digest: Option<[u8; 16]>,
}

impl Plane {
    /// Bytes of the unpacked pixels.
    pub fn bytes(&self) -> usize {
        self.shape[0] * self.shape[1] * self.dtype.size()
    }

    /// An error unless the packed pixels have the digest that the detector made.
    pub fn check(&self) -> std::result::Result<(), String> {
        use md5::Digest;
        let Some(wanted) = self.digest else { return Ok(()) };
        let found: [u8; 16] = md5::Md5::digest(self.data.bytes()).into();
        if found == wanted {
            return Ok(());
        }
        let hex = |digest: [u8; 16]| digest.iter().map(|b| format!("{b:02x}")).collect::<String>();
        Err(format!("its MD5 is {}, the detector sent {}", hex(found), hex(wanted)))
    }

    /// Unpacks the pixels in this machine's byte order, row by row.
    pub fn unpack(&self, out: &mut [u8]) -> std::result::Result<(), String> {
        self.packing.unpack(self.data.bytes(), out)?;
        let size = self.dtype.size();
        if self.big != cfg!(target_endian = "big") && size > 1 {
            out.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        if self.by_column {
            let [rows, columns] = self.shape;
            let from = out.to_vec();
            for (i, pixel) in from.chunks_exact(size).enumerate() {
                let (x, y) = (i / rows, i % rows);
                out[(y * columns + x) * size..][..size].copy_from_slice(pixel);
            }
        }
        Ok(())
    }

    /// The unpacked pixels as an array [y x].
    pub fn pixels(&self) -> Result<Array> {
        let mut out = isard_core::Pool::unpooled().take(self.dtype, &self.shape)?;
        self.unpack(out.bytes_mut()).map_err(Error::data)?;
        Ok(out.freeze())
    }
}

/// Reads a message; text in braces is stream v1, anything else stream v2.
pub fn parse(parts: &[Part]) -> std::result::Result<Event, String> {
    let Some(first) = parts.first() else { return Err("a message without parts".into()) };
    if first.bytes().first() == Some(&b'{') { v1::parse(parts) } else { v2::parse(first) }
}

/// The array of bytes that a part is, without a copy where it is large.
pub(super) fn array(part: &Part) -> Array {
    match part {
        Part::Small(bytes) => Array::from_slice(bytes),
        Part::Large(array) => array.clone(),
    }
}
