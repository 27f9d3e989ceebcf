//! NPY files as frames.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use isard_core::prelude::*;
use isard_core::schemars;

use crate::convert::{core, extents, format};
use crate::input::folder::files;
use crate::input::series::{FileFrames, Form, FramesOut, Places, Series, alike, example_file};
use crate::input::tiff::{next, put};
use crate::npy::{Npy, header};

/// Headers are shorter than this but for tables of hundreds of columns.
const HEADER: u64 = 64 << 10;

/// Frames from NPY files: an array [n y x], or files of one frame each.
///
/// A file of three axes is a stack of frames, one of two axes a single frame; files of a folder or a pattern come in
/// natural order (`a2` before `a10`), one after another. All must have the same frame shape and dtype. The files must be
/// closed: they are mapped, not read again.
///
/// Keeps order and count. A stack in this machine's byte order is handed out as it lies in the file without a copy;
/// single frames and other byte orders are copied once.
///
/// Source: the NPY format, versions 1.0 to 3.0, as numpy documents it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NpyStack {
    /// One file, a folder, or a pattern such as `scan/frame_*.npy`.
    #[schemars(extend("x-path" = "input"))]
    path: String,
    #[serde(skip)]
    #[schemars(skip)]
    series: Option<Series>,
}

impl Stage for NpyStack {
    type In = ();
    type Out = FramesOut;

    fn example() -> Example {
        let mut bytes = header(isard_h5::Dtype::F32, &[4, 2, 3]);
        bytes.extend((0..24).flat_map(|i| (i as f32).to_ne_bytes()));
        Example::new(format!("path = {:?}", example_file("stack.npy", &bytes)))
    }

    fn check(&self, faults: &mut Faults) {
        if self.path.is_empty() {
            faults.add("path", "is empty, wanted a file, a folder or a pattern");
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Source for NpyStack {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let paths = files(&self.path, &[".npy"])?;
        let mut like: Option<(Dtype, Vec<usize>)> = None;
        let mut found = vec![];
        for path in &paths {
            cx.check()?;
            let npy = read_header(path)?;
            let (dtype, shape) = (core(npy.dtype), extents(&npy.shape));
            let dims = match shape.len() {
                2 => shape.clone(),
                3 => shape[1..].to_vec(),
                n => {
                    let path = path.display();
                    return Err(Error::data(format!(
                        "{path}: has {n} axes {shape:?}, wanted [n y x] or [y x]"
                    ))
                    .help("reshape it with numpy, or read it whole as a static input"));
                }
            };
            let frames = if shape.len() == 3 { npy.shape[0] } else { 1 };
            let (wanted, wanted_dims) = like.get_or_insert_with(|| (dtype, dims.clone()));
            alike(&paths[0], (*wanted, wanted_dims), path, (dtype, &dims))?;
            let places = Places::Block(npy.offset as u64);
            let parts = if dtype.is_complex() { 2 } else { 1 };
            let swap = if npy.native { 0 } else { dtype.size() / parts };
            found.push(FileFrames { path: path.clone(), frames, form: Form::Plain { places, swap } });
        }
        let (dtype, dims) =
            like.ok_or_else(|| Error::data(format!("{}: no npy file was found", self.path)))?;
        let series = Series::new(dtype, &dims, found, from.next)?;
        let opened = series.opened();
        self.series = Some(series);
        Ok(opened)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<FramesOut>) -> Result<Pull> {
        put(self.next_frames(cx, slots.room())?, slots)
    }
}
declare!(Source, "npy.stack", Kind::Source, NpyStack);

impl NpyStack {
    /// The next frames after `open`, for whoever has no engine: runs with the number of their first; none at the end.
    pub fn next_frames(&mut self, cx: &Cx, room: u64) -> Result<Vec<(u64, FramesOut)>> {
        next(self.series.as_mut(), cx, room)
    }
}

/// The header of a file, whose length must be what it says.
fn read_header(path: &Path) -> Result<Npy> {
    let io = |e| Error::io("cannot read", path, &e);
    let name = path.display().to_string();
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut bytes = vec![];
    file.take(HEADER).read_to_end(&mut bytes).map_err(io)?;
    let npy = Npy::parse(&bytes, &name).map_err(format)?;
    let wanted = npy.offset as u64 + npy.len() as u64;
    if length < wanted {
        return Err(Error::data(format!(
            "{name}: is {length} bytes long, wanted {wanted} for {:?}",
            npy.shape
        ))
        .help("the file was cut short, or is still being written; copy it again"));
    }
    Ok(npy)
}
