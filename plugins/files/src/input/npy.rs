//! NPY files as frames.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;

use crate::convert::{extents, format};
use crate::input::follow::Follow;
use crate::input::scan::{Growing, Scan, Scanned};
use crate::input::sequence::{Held, check, ramp};
use crate::input::series::{Form, FramesOut, Places};
use crate::npy::{Npy, header};

/// Endings of NPY files.
pub(crate) const ENDINGS: [&str; 1] = [".npy"];
/// Headers are shorter than this but for tables of hundreds of columns.
const HEADER: u64 = 64 << 10;

/// Frames from NPY files: an array [n y x], or files of one frame each.
///
/// A file of three axes is a stack of frames, one of two axes a single frame; files of a folder or a pattern come in
/// natural order (`a2` before `a10`), one after another. All must have the same frame shape and dtype. The files must be
/// closed, for they are mapped; with `follow` they may still appear and grow: a frame is given once all its bytes are
/// there, so the writer must append them and not fill a file that has its full length from the beginning.
///
/// Keeps order and count. A stack in this machine's byte order is handed out as it lies in the file without a copy;
/// single frames and other byte orders are copied once.
///
/// Source: the NPY format, versions 1.0 to 3.0, as numpy documents it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NpyStack {
    /// One file, a folder, or a pattern such as `scan/frame_*.npy`.
    #[schemars(extend("x-path" = "input", "x-endings" = ENDINGS))]
    path: String,
    /// Reads on while frames and files are still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(skip)]
    #[schemars(skip)]
    sequence: Held,
}

impl Stage for NpyStack {
    type In = ();
    type Out = FramesOut;

    fn example() -> Example {
        let mut bytes = header(isard_h5::Dtype::F32, &[4, 2, 3]);
        bytes.extend(ramp(|pixel| f32::from(pixel).to_ne_bytes()));
        Example::new(format!("path = {:?}", Example::file("stack.npy", &bytes)))
    }

    fn check(&self, faults: &mut Faults) {
        check(&self.path, &self.follow, faults);
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Source for NpyStack {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        self.sequence.open(cx, &self.path, NpyFiles, &self.follow, from)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<FramesOut>) -> Result<Pull> {
        self.sequence.pull(cx, slots)
    }
}
declare!(Source, "npy.stack", Kind::Source, NpyStack);

/// NPY files as a kind.
pub(crate) struct NpyFiles;

impl Scan for NpyFiles {
    fn endings(&self) -> &'static [&'static str] {
        &ENDINGS
    }

    fn scan(&self, path: &Path) -> Result<Scanned> {
        let (npy, length) = read_header(path)?;
        let wanted = (npy.offset as u64).saturating_add(npy.len() as u64);
        if length < wanted {
            let name = path.display();
            return Err(Error::data(format!(
                "{name}: is {length} bytes long, wanted {wanted} for {:?}",
                npy.shape
            ))
            .help("the file was cut short, or is still being written; copy it again"));
        }
        let frames = if npy.shape.len() == 3 { npy.shape[0] } else { 1 };
        scanned(path, &npy, frames)
    }

    fn growing(self: Arc<Self>, path: &Path) -> Box<dyn Growing> {
        Box::new(GrowingNpy(path.to_owned()))
    }
}

/// A stack to which frames are appended.
struct GrowingNpy(PathBuf);

impl Growing for GrowingNpy {
    fn look(&mut self) -> Result<Scanned> {
        let (npy, length) = read_header(&self.0)?;
        let mut found = scanned(&self.0, &npy, 1)?;
        let each = (found.dims.iter().product::<usize>() * found.dtype.size()).max(1) as u64;
        let there = length.saturating_sub(npy.offset as u64) / each;
        // Some writers put the number of frames in at the end, and 0 before.
        let said = if npy.shape.len() == 3 { npy.shape[0] } else { 1 };
        found.frames = if said == 0 { there } else { there.min(said) };
        match found.frames {
            0 => Err(Error::data(format!("{}: holds no whole frame yet", self.0.display()))),
            _ => Ok(found),
        }
    }
}

fn scanned(path: &Path, npy: &Npy, frames: u64) -> Result<Scanned> {
    let (dtype, shape) = (Dtype::from(npy.dtype), extents(&npy.shape));
    let dims = match shape.len() {
        2 => shape.as_slice(),
        3 => &shape[1..],
        n => {
            let path = path.display();
            return Err(Error::data(format!("{path}: has {n} axes {shape:?}, wanted [n y x] or [y x]"))
                .help("reshape it with numpy, or read it whole as a static input"));
        }
    };
    let parts = if dtype.is_complex() { 2 } else { 1 };
    let swap = if npy.native { 0 } else { dtype.size() / parts };
    let form = Form::Plain { places: Places::Block(npy.offset as u64), swap };
    Ok(Scanned::bare(dtype, dims, frames, form))
}

/// The header of a file, and how long the file is.
fn read_header(path: &Path) -> Result<(Npy, u64)> {
    let io = |e| Error::io("cannot read", path, &e);
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut bytes = vec![];
    file.take(HEADER).read_to_end(&mut bytes).map_err(io)?;
    Ok((Npy::parse(&bytes, &path.display().to_string()).map_err(format)?, length))
}
