//! NPZ files as frames: dense stacks, and the sparse form.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use isard_core::prelude::*;
use isard_core::schemars;

use crate::convert::{extents, format};
use crate::format::FormatError;
use crate::inflate;
use crate::input::follow::Follow;
use crate::input::scan::{Anew, Growing, Scan, Scanned};
use crate::input::sequence::{Held, check, check_columns, ramp};
use crate::input::series::{Decode, Form, HeadedOut, Places};
use crate::npy::Npy;
use crate::npz::{Npz, Sparse, archive};

/// Endings of NPZ files.
pub(crate) const ENDINGS: [&str; 1] = [".npz"];

/// Frames from NPZ files: a dense array [n y x], or sparse frames.
///
/// The sparse form holds `shape`, `nframes`, `dtype` and for each frame `i_row`, `i_col`, `i_data`: the pixels above a
/// threshold, every other one is 0. Of a dense file the array is named by `key`, or is the only one of three axes. Files of
/// a folder or a pattern come in natural order, one after another; with `follow` they may still appear, and one is read
/// once its directory, which stands at the end, is there.
///
/// Keeps order and count; a sparse frame that cannot be decoded is a corrupt one. Sparse frames are decoded on all cores; a
/// compressed dense array is a single stream, which one core decodes, and going back in it means beginning again.
///
/// Source: numpy's archives, and the frame caches of HEXRD.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NpzStack {
    /// One file, a folder, or a pattern such as `scan/*.npz`.
    #[schemars(extend("x-path" = "input", "x-endings" = ENDINGS))]
    path: String,
    /// The array that holds the frames of a dense file.
    #[serde(default)]
    key: Option<String>,
    /// Outputs that hold one value (or array) for each frame, by name.
    ///
    /// Each is an array of the file with as many records.
    #[serde(default)]
    columns: BTreeMap<String, String>,
    /// Reads on while files are still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(skip)]
    #[schemars(skip)]
    sequence: Held,
}

impl Stage for NpzStack {
    type In = ();
    type Out = HeadedOut;

    fn example() -> Example {
        use isard_h5::Dtype as H5;
        let pixels = ramp(u16::to_ne_bytes);
        let omega: Vec<u8> = (0..4).flat_map(|i| (f64::from(i) * 0.5).to_ne_bytes()).collect();
        let bytes = archive(&[("frames", H5::U16, &[4, 2, 3], &pixels), ("omega", H5::F64, &[4], &omega)]);
        let path = Example::file("stack.npz", &bytes);
        Example::new(format!("path = {path:?}\ncolumns = {{ omega = \"omega\" }}"))
    }

    fn check(&self, faults: &mut Faults) {
        check(&self.path, &self.follow, faults);
        check_columns(&self.columns, faults);
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Source for NpzStack {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let kind = NpzFiles { key: self.key.clone(), columns: self.columns.clone() };
        self.sequence.open(cx, &self.path, kind, &self.follow, from)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<HeadedOut>) -> Result<Pull> {
        self.sequence.pull(cx, slots)
    }
}
declare!(Source, "npz.stack", Kind::Source, NpzStack);

/// NPZ files as a kind.
#[derive(Default)]
pub(crate) struct NpzFiles {
    /// The array of a dense file.
    pub key: Option<String>,
    /// Arrays of the columns, by name.
    pub columns: BTreeMap<String, String>,
}

impl Scan for NpzFiles {
    fn endings(&self) -> &'static [&'static str] {
        &ENDINGS
    }

    fn scan(&self, path: &Path) -> Result<Scanned> {
        let npz = Npz::scan(path).map_err(format)?;
        let sparse = match &self.key {
            None => Sparse::scan(&npz, path).map_err(format)?,
            Some(_) => None,
        };
        let mut found = match sparse {
            Some(sparse) => {
                let (dtype, shape, frames) = (Dtype::from(sparse.dtype), sparse.shape, sparse.frames);
                let form = Form::Decoded(Arc::new(SparseFrames { npz: npz.clone(), sparse }));
                let head = Dict::new().with("layout", "sparse");
                Scanned { head, ..Scanned::bare(dtype, &shape, frames, form) }
            }
            None => self.dense(&npz, path)?,
        };
        for (name, key) in &self.columns {
            let (npy, bytes) = npz.read(path, key, inflate::most(npz.length)).map_err(format)?;
            let shape = extents(&npy.shape);
            if shape.first().map(|n| *n as u64) != Some(found.frames) {
                let text = format!(
                    "{}: `{key}` has shape {shape:?}, wanted {} records",
                    path.display(),
                    found.frames
                );
                return Err(Error::data(text).at(format!("column `{name}`")));
            }
            let mut out = isard_core::Pool::unpooled().take(Dtype::from(npy.dtype), &shape)?;
            out.bytes_mut().copy_from_slice(&bytes);
            found.columns.push(out.freeze());
        }
        Ok(found)
    }

    fn growing(self: Arc<Self>, path: &Path) -> Box<dyn Growing> {
        Box::new(Anew(self, path.to_owned()))
    }

    fn sealed(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Key> {
        self.columns.keys().map(|name| Key::from(name.clone())).collect()
    }
}

impl NpzFiles {
    fn dense(&self, npz: &Npz, path: &Path) -> Result<Scanned> {
        let axes = |key: &str| npz.open(path, key).map(|(npy, _)| npy.shape.len());
        let key = match &self.key {
            Some(key) => key.clone(),
            None => {
                let stacks: Vec<&str> = npz.names().filter(|key| axes(key).is_ok_and(|n| n == 3)).collect();
                match stacks[..] {
                    [one] => one.to_owned(),
                    _ => {
                        let (n, name) = (stacks.len(), path.display());
                        let names: Vec<String> = npz.names().take(8).map(|n| format!("`{n}`")).collect();
                        let error =
                            Error::data(format!("{name}: holds {n} arrays of three axes, wanted one"));
                        return Err(error.help(format!("set `key` to one of {}", names.join(", "))));
                    }
                }
            }
        };
        let (npy, _) = npz.open(path, &key).map_err(format)?;
        let (dtype, shape) = (Dtype::from(npy.dtype), extents(&npy.shape));
        let (frames, dims) = match shape.len() {
            2 => (1, &shape[..]),
            3 => (npy.shape[0], &shape[1..]),
            n => {
                let text =
                    format!("{}: `{key}` has {n} axes {shape:?}, wanted [n y x] or [y x]", path.display());
                return Err(Error::data(text));
            }
        };
        let form = match npz.place(path, &key).map_err(format)? {
            Some(at) => {
                let parts = if dtype.is_complex() { 2 } else { 1 };
                let swap = if npy.native { 0 } else { dtype.size() / parts };
                Form::Plain { places: Places::Block(at + npy.offset as u64), swap }
            }
            None => Form::Decoded(Arc::new(Stream {
                npz: npz.clone(),
                path: path.to_owned(),
                key,
                npy,
                at: Mutex::new((0, None)),
            })),
        };
        Ok(Scanned::bare(dtype, dims, frames, form))
    }
}

/// Frames of the sparse form.
struct SparseFrames {
    npz: Npz,
    sparse: Sparse,
}

impl Decode for SparseFrames {
    fn read(
        &self,
        path: &Path,
        _: &[u8],
        frame: u64,
        out: &mut [u8],
    ) -> std::result::Result<(), FormatError> {
        self.sparse.read(&self.npz, path, frame, out)
    }
}

/// Frames of one compressed array.
struct Stream {
    npz: Npz,
    path: PathBuf,
    key: String,
    npy: Npy,
    /// The frame that comes next, and what is left of the stream.
    #[allow(clippy::type_complexity, reason = "a number and a stream")]
    at: Mutex<(u64, Option<Box<dyn Read + Send>>)>,
}

impl Decode for Stream {
    fn read(&self, _: &Path, _: &[u8], frame: u64, out: &mut [u8]) -> std::result::Result<(), FormatError> {
        let fault =
            |e: std::io::Error| self.npz.fault(&self.key, format!("frame {frame} does not decompress: {e}"));
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if at.1.is_none() || at.0 > frame {
            *at = (0, Some(self.npz.open(&self.path, &self.key)?.1));
        }
        let skip = (frame - at.0) * out.len() as u64;
        let (next, Some(stream)) = &mut *at else { return Err(self.npz.absent(&self.key)) };
        let read = std::io::copy(&mut stream.take(skip), &mut std::io::sink());
        let done = read.and_then(|n| match n == skip {
            true => stream.read_exact(out),
            false => Err(std::io::ErrorKind::UnexpectedEof.into()),
        });
        *next = frame + 1;
        if let Err(error) = done {
            // The stream is lost; the next frame begins anew.
            at.1 = None;
            return Err(fault(error));
        }
        self.npy.arrange(out);
        Ok(())
    }

    fn ordered(&self) -> bool {
        true
    }
}
