//! Frames of files without a header, by a stated layout.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;

use crate::input::follow::Follow;
use crate::input::scan::{Growing, Scan, Scanned};
use crate::input::sequence::{Held, check, ramp};
use crate::input::series::{Form, FramesOut, Places};

/// Endings of raw files.
pub(crate) const ENDINGS: [&str; 9] = [".raw", ".bin", ".dat", ".ge", ".ge1", ".ge2", ".ge3", ".ge4", ".ge5"];

/// Frames from raw files, whose layout the recipe states.
///
/// A file is `offset` bytes, then frames with `gap` bytes between them, then `footer` bytes; a gap after the last frame may
/// be there or not. A file whose length does not fit is an error that states the excess. `preset` names the layout of a
/// known detector; what is stated beside it wins. Files of a folder or a pattern come in natural order (`a2` before
/// `a10`). The files must be closed, for they are mapped; with `follow` they may still appear and grow: a frame is given once
/// all its bytes are there, so the writer must append them.
///
/// Keeps order and count. Frames of this machine's byte order are handed out as they lie in the file without a copy where
/// they are aligned; others are copied once.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawStack {
    /// One file, a folder, or a pattern such as `scan/*.raw`.
    #[schemars(extend("x-path" = "input", "x-endings" = ENDINGS))]
    path: String,
    /// The layout of a known detector.
    #[serde(default)]
    preset: Option<Preset>,
    /// The type of the pixels.
    #[serde(default)]
    dtype: Option<Pixel>,
    /// Rows and columns of a frame.
    #[serde(default)]
    shape: Option<[usize; 2]>,
    /// The order of the bytes of a pixel; else `little`.
    #[serde(default)]
    order: Option<Order>,
    /// What stands before the first frame.
    #[serde(default)]
    #[schemars(extend("x-unit" = "byte"))]
    offset: Option<u64>,
    /// What stands between two frames.
    #[serde(default)]
    #[schemars(extend("x-unit" = "byte"))]
    gap: Option<u64>,
    /// What stands after the last frame.
    #[serde(default)]
    #[schemars(extend("x-unit" = "byte"))]
    footer: Option<u64>,
    /// Reads on while frames and files are still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(skip)]
    #[schemars(skip)]
    sequence: Held,
}

/// The layout of a known detector.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// GE 41RT flat panels: 8192 bytes, then frames of u16 [2048 2048].
    Ge,
    /// EMPAD: f32 [128 128], each followed by two rows that are no pixels.
    Empad,
}

/// The type of a pixel.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Pixel {
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The low byte first.
    Little,
    /// The high byte first.
    Big,
}

impl Stage for RawStack {
    type In = ();
    type Out = FramesOut;

    fn example() -> Example {
        let mut bytes = vec![0; 16];
        bytes.extend(ramp(u16::to_le_bytes));
        let path = Example::file("frames.raw", &bytes);
        Example::new(format!("path = {path:?}\ndtype = \"u16\"\nshape = [2, 3]\noffset = 16"))
    }

    fn check(&self, faults: &mut Faults) {
        check(&self.path, &self.follow, faults);
        if self.preset.is_none() {
            for (name, absent) in [("dtype", self.dtype.is_none()), ("shape", self.shape.is_none())] {
                if absent {
                    faults.add_with_help(name, "is not given", "state it, or name a `preset`");
                }
            }
        }
        if self.shape.is_some_and(|shape| shape.contains(&0)) {
            faults.add("shape", "has no pixels, wanted at least 1 x 1");
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Source for RawStack {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let kind = self.layout()?;
        self.sequence.open(cx, &self.path, kind, &self.follow, from)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<FramesOut>) -> Result<Pull> {
        self.sequence.pull(cx, slots)
    }
}
declare!(Source, "raw.stack", Kind::Source, RawStack);

impl RawStack {
    fn layout(&self) -> Result<RawFiles> {
        let known = match self.preset {
            Some(Preset::Ge) => Some((Dtype::U16, [2048, 2048], 8192, 0)),
            Some(Preset::Empad) => Some((Dtype::F32, [128, 128], 0, 2 * 128 * 4)),
            None => None,
        };
        let absent = || Error::recipe("`dtype` and `shape` are not given").help("or name a `preset`");
        let dtype = self.dtype.map(dtype).or(known.map(|k| k.0)).ok_or_else(absent)?;
        let shape = self.shape.or(known.map(|k| k.1)).ok_or_else(absent)?;
        let bytes = shape[0].checked_mul(shape[1]).and_then(|n| n.checked_mul(dtype.size()));
        let bytes = bytes.filter(|n| isize::try_from(*n).is_ok());
        let bytes =
            bytes.ok_or_else(|| Error::recipe(format!("frames of {shape:?} {dtype} are too large")))?;
        let big = self.order.unwrap_or(Order::Little) == Order::Big;
        Ok(RawFiles {
            dtype,
            shape,
            bytes: bytes as u64,
            swap: if big == cfg!(target_endian = "big") { 0 } else { dtype.size() },
            offset: self.offset.or(known.map(|k| k.2)).unwrap_or(0),
            gap: self.gap.or(known.map(|k| k.3)).unwrap_or(0),
            footer: self.footer.unwrap_or(0),
        })
    }
}

fn dtype(pixel: Pixel) -> Dtype {
    match pixel {
        Pixel::U8 => Dtype::U8,
        Pixel::U16 => Dtype::U16,
        Pixel::U32 => Dtype::U32,
        Pixel::U64 => Dtype::U64,
        Pixel::I8 => Dtype::I8,
        Pixel::I16 => Dtype::I16,
        Pixel::I32 => Dtype::I32,
        Pixel::I64 => Dtype::I64,
        Pixel::F32 => Dtype::F32,
        Pixel::F64 => Dtype::F64,
    }
}

/// Raw files as a kind: their layout.
struct RawFiles {
    dtype: Dtype,
    shape: [usize; 2],
    /// Bytes of a frame.
    bytes: u64,
    swap: usize,
    offset: u64,
    gap: u64,
    footer: u64,
}

impl RawFiles {
    fn scanned(&self, frames: u64) -> Scanned {
        let step = self.bytes.saturating_add(self.gap);
        let places = match self.gap {
            0 => Places::Block(self.offset),
            _ => Places::Each((0..frames).map(|i| self.offset + i * step).collect()),
        };
        Scanned::bare(self.dtype, &self.shape, frames, Form::Plain { places, swap: self.swap })
    }
}

impl Scan for RawFiles {
    fn endings(&self) -> &'static [&'static str] {
        &ENDINGS
    }

    fn scan(&self, path: &Path) -> Result<Scanned> {
        let length = length(path)?;
        let body = length.saturating_sub(self.offset.saturating_add(self.footer));
        let step = self.bytes.saturating_add(self.gap);
        // The gap after the last frame may be left out.
        let (frames, excess) = match (body % step, body.saturating_add(self.gap) % step) {
            (0, _) => (body / step, 0),
            (_, 0) => ((body + self.gap) / step, 0),
            (excess, _) => (body / step, excess),
        };
        if frames == 0 || excess > 0 {
            let (name, [rows, columns]) = (path.display(), self.shape);
            let text = format!(
                "{name}: is {length} bytes long, which is {frames} frames of {rows} x {columns} {} and {excess} bytes",
                self.dtype
            );
            return Err(Error::data(text).help("look at `shape`, `dtype`, `offset`, `gap` and `footer`"));
        }
        Ok(self.scanned(frames))
    }

    fn growing(self: Arc<Self>, path: &Path) -> Box<dyn Growing> {
        Box::new(GrowingRaw(self, path.to_owned()))
    }
}

/// A file to which frames are appended.
struct GrowingRaw(Arc<RawFiles>, PathBuf);

impl Growing for GrowingRaw {
    fn look(&mut self) -> Result<Scanned> {
        let body = length(&self.1)?.saturating_sub(self.0.offset);
        // What is the footer in the end may look like a frame before.
        let frames =
            body.saturating_add(self.0.gap).saturating_sub(self.0.footer) / (self.0.bytes + self.0.gap);
        match frames {
            0 => Err(Error::data(format!("{}: holds no whole frame yet", self.1.display()))),
            _ => Ok(self.0.scanned(frames)),
        }
    }
}

fn length(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).map_err(|e| Error::io("cannot read", path, &e))?.len())
}
