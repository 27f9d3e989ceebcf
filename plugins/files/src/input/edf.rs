//! EDF files as frames.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;

use crate::convert::format;
use crate::edf::{Edf, block};
use crate::format::FormatError;
use crate::inflate::{self, Coding};
use crate::input::follow::Follow;
use crate::input::scan::{Anew, Growing, Scan, Scanned};
use crate::input::sequence::{Held, check, check_columns, ramp};
use crate::input::series::{Decode, Form, HeadedOut, Places};

/// Endings of EDF files.
pub(crate) const ENDINGS: [&str; 2] = [".edf", ".edf.gz"];

/// Frames from EDF files: the frames of one file, or the files of a folder.
///
/// Files come in natural order (`a2` before `a10`), their frames in the order of the file. All must have the same shape,
/// dtype and byte order. The header of the first frame is the head: numbers as numbers, the rest as text, keys in lower
/// case. The files must be closed, for they are mapped; with `follow` they may still appear and grow: a frame is given once
/// all its bytes are there, and the next name is predicted from the number in it.
///
/// Keeps order and count; a frame that cannot be decoded is a corrupt one. Plain frames of this machine's byte order are
/// handed out as they lie in the file without a copy where they are aligned; compressed ones (gzip, zlib) are decoded on
/// all cores; a file compressed as a whole is decompressed into memory.
///
/// Source: the ESRF data format as fabio reads and writes it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EdfSequence {
    /// One file, a folder, or a pattern such as `scan/frame_*.edf`.
    #[schemars(extend("x-path" = "input", "x-endings" = ENDINGS))]
    path: String,
    /// Outputs that hold one number for each frame, by name.
    ///
    /// Each is a key of the header, or the name of a counter or motor in it; where it is no number it is NaN.
    #[serde(default)]
    columns: BTreeMap<String, String>,
    /// Reads on while frames and files are still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(skip)]
    #[schemars(skip)]
    sequence: Held,
}

impl Stage for EdfSequence {
    type In = ();
    type Out = HeadedOut;

    fn example() -> Example {
        let frame = |(n, pixels): (usize, &[u8])| {
            let omega = format!("{}", n as f64 * 0.5);
            block(isard_h5::Dtype::U16, [2, 3], pixels, n as u64, &[("Omega", omega.as_str())])
        };
        let pixels = ramp(u16::to_ne_bytes);
        let bytes: Vec<u8> = pixels.chunks(12).enumerate().filter_map(frame).flatten().collect();
        let path = Example::file("frames.edf", &bytes);
        Example::new(format!("path = {path:?}\ncolumns = {{ omega = \"Omega\" }}"))
    }

    fn check(&self, faults: &mut Faults) {
        check(&self.path, &self.follow, faults);
        check_columns(&self.columns, faults);
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Source for EdfSequence {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let kind = EdfFiles { columns: self.columns.clone() };
        self.sequence.open(cx, &self.path, kind, &self.follow, from)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<HeadedOut>) -> Result<Pull> {
        self.sequence.pull(cx, slots)
    }
}
declare!(Source, "edf.sequence", Kind::Source, EdfSequence);

/// The lines of a header as a head: numbers as numbers, the rest as text.
pub(crate) fn head<'a>(lines: impl IntoIterator<Item = (&'a str, &'a str)>) -> Dict {
    let mut head = Dict::new();
    for (key, text) in lines {
        let key = key.to_lowercase().replace(' ', "_");
        let value = match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => Value::Int(whole),
            (_, Ok(number)) => Value::Float(number),
            _ => Value::from(text),
        };
        head.set(key, value);
    }
    head
}

/// EDF files as a kind.
pub(crate) struct EdfFiles {
    /// Header keys of the columns, by name.
    pub columns: BTreeMap<String, String>,
}

impl EdfFiles {
    fn wanted(&self) -> Vec<String> {
        self.columns.values().cloned().collect()
    }
}

impl Scan for EdfFiles {
    fn endings(&self) -> &'static [&'static str] {
        &ENDINGS
    }

    fn scan(&self, path: &Path) -> Result<Scanned> {
        let name = path.display().to_string();
        let mut file = File::open(path).map_err(|e| Error::io("cannot open", path, &e))?;
        let mut magic = [0; 2];
        let zipped = file.read(&mut magic).is_ok_and(|n| n == 2) && magic == [0x1f, 0x8b];
        if zipped {
            let bytes = unzipped(path)?;
            let edf = Edf::scan(Cursor::new(&bytes), &name, &self.wanted(), false).map_err(format)?;
            let found = scanned(&edf);
            return Ok(Scanned { form: Form::Decoded(Arc::new(Zipped(edf))), ..found });
        }
        let edf = Edf::scan(BufReader::new(file), &name, &self.wanted(), false).map_err(format)?;
        Ok(scanned(&edf))
    }

    fn growing(self: Arc<Self>, path: &Path) -> Box<dyn Growing> {
        match path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz")) {
            true => Box::new(Anew(self, path.to_owned())),
            false => Box::new(GrowingEdf { path: path.to_owned(), wanted: self.wanted(), known: None }),
        }
    }

    fn columns(&self) -> Vec<Key> {
        self.columns.keys().map(|name| Key::from(name.clone())).collect()
    }
}

/// A file to which frames are appended.
struct GrowingEdf {
    path: PathBuf,
    wanted: Vec<String>,
    known: Option<Edf>,
}

impl Growing for GrowingEdf {
    fn look(&mut self) -> Result<Scanned> {
        let file = File::open(&self.path).map_err(|e| Error::io("cannot open", &self.path, &e))?;
        let mut reader = BufReader::new(file);
        let edf = match &mut self.known {
            Some(edf) => {
                edf.go_on(&mut reader, true).map_err(format)?;
                edf
            }
            None => {
                let name = self.path.display().to_string();
                self.known.insert(Edf::scan(reader, &name, &self.wanted, true).map_err(format)?)
            }
        };
        Ok(scanned(edf))
    }
}

/// A file that is compressed as a whole.
struct Zipped(Edf);

fn unzipped(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("cannot read", path, &e))?;
    let whole = inflate::whole(&bytes, Coding::Gzip, inflate::most(bytes.len() as u64));
    whole.map_err(|text| {
        Error::data(format!("{}: {text}", path.display())).help("decompress it with `gunzip` first")
    })
}

impl Decode for Zipped {
    fn read(
        &self,
        path: &Path,
        file: &[u8],
        frame: u64,
        out: &mut [u8],
    ) -> std::result::Result<(), FormatError> {
        let fault = |text: String| FormatError::new(&path.display().to_string(), text);
        let whole = inflate::whole(file, Coding::Gzip, inflate::most(file.len() as u64)).map_err(fault)?;
        self.0.read(&whole, frame as usize, out)
    }
}

impl Decode for Edf {
    fn read(
        &self,
        _: &Path,
        file: &[u8],
        frame: u64,
        out: &mut [u8],
    ) -> std::result::Result<(), FormatError> {
        Edf::read(self, file, frame as usize, out)
    }
}

fn scanned(edf: &Edf) -> Scanned {
    let form = match edf.coding {
        Coding::Plain => {
            let places = Places::Each(edf.frames.iter().map(|place| place.offset).collect());
            Form::Plain { places, swap: if edf.native { 0 } else { edf.dtype.size() } }
        }
        _ => Form::Decoded(Arc::new(edf.clone())),
    };
    let head = head(edf.header.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let columns = edf.columns.iter().map(|column| Array::from_slice(column)).collect();
    let frames = edf.frames.len() as u64;
    Scanned { head, columns, ..Scanned::bare(Dtype::from(edf.dtype), &edf.shape, frames, form) }
}
