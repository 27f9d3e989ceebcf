//! CBF files as frames.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;

use crate::cbf::{Cbf, HEADER, ended, file};
use crate::convert::format;
use crate::format::FormatError;
use crate::input::follow::Follow;
use crate::input::scan::{Growing, Scan, Scanned};
use crate::input::sequence::{Held, check, check_columns, ramp};
use crate::input::series::{Decode, Form, HeadedOut};

/// Endings of CBF files.
pub(crate) const ENDINGS: [&str; 1] = [".cbf"];

/// Frames from CBF files, as Pilatus detectors write them: one frame in a file.
///
/// Files come in natural order (`a2` before `a10`). All must have the same shape and dtype. The lines `# key value` of the
/// first header are the head, keys in lower case: a value with its unit becomes a number (`exposure_time` in s,
/// `wavelength` in angstrom, as the detector writes them), two values become an array in the order of the file, the rest is
/// text. With `follow` files may still appear: one is given once its end is there, and the next name is predicted.
///
/// Keeps order and count; a frame whose digest or code is wrong is a corrupt one. Decoding takes half a nanosecond for each
/// pixel on all cores, the digest two.
///
/// Source: the crystallographic binary format with byte offsets, and the PILATUS_1.2 header.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CbfSequence {
    /// One file, a folder, or a pattern such as `scan/frame_*.cbf`.
    #[schemars(extend("x-path" = "input", "x-endings" = ENDINGS))]
    path: String,
    /// Whether the MD5 digest of each frame is compared, where the file has one.
    #[serde(default = "yes")]
    md5: bool,
    /// Outputs that hold one number for each frame, by name.
    ///
    /// Each is a key of the header, such as `Start_angle`; every header is then read when the series is opened.
    #[serde(default)]
    columns: BTreeMap<String, String>,
    /// Reads on while files are still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(skip)]
    #[schemars(skip)]
    sequence: Held,
}

fn yes() -> bool {
    true
}

impl Stage for CbfSequence {
    type In = ();
    type Out = HeadedOut;

    fn example() -> Example {
        let mut path = String::new();
        for (n, pixels) in ramp(|pixel| i32::from(pixel).to_ne_bytes()).chunks(24).enumerate() {
            let angle = format!("{:.4} deg.", n as f64 * 0.1);
            let lines = [("Exposure_time", "0.1 s"), ("Start_angle", angle.as_str())];
            let bytes = file(isard_h5::Dtype::I32, [2, 3], pixels, "frame", &lines);
            let bytes = bytes.expect("integers of 32 bits can be kept");
            path = Example::file(&format!("frames.cbf.d/frame_{n:05}.cbf"), &bytes);
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        Example::new(format!("path = {folder:?}\ncolumns = {{ omega = \"Start_angle\" }}"))
    }

    fn check(&self, faults: &mut Faults) {
        check(&self.path, &self.follow, faults);
        check_columns(&self.columns, faults);
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Source for CbfSequence {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let kind = CbfFiles { md5: self.md5, columns: self.columns.clone() };
        self.sequence.open(cx, &self.path, kind, &self.follow, from)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<HeadedOut>) -> Result<Pull> {
        self.sequence.pull(cx, slots)
    }
}
declare!(Source, "cbf.sequence", Kind::Source, CbfSequence);

/// CBF files as a kind.
pub(crate) struct CbfFiles {
    /// Whether digests are compared.
    pub md5: bool,
    /// Header keys of the columns, by name.
    pub columns: BTreeMap<String, String>,
}

impl CbfFiles {
    /// The frame of a file; `whole` asks for the line at its end too.
    fn look(&self, path: &Path, whole: bool) -> Result<Scanned> {
        let io = |e| Error::io("cannot read", path, &e);
        let name = path.display().to_string();
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut bytes = vec![];
        (&file).take(HEADER.min(16 << 10) as u64).read_to_end(&mut bytes).map_err(io)?;
        let mut cbf = Cbf::parse(&bytes, length, &name);
        if cbf.is_err() && bytes.len() as u64 == (16 << 10) && length > 16 << 10 {
            // A header that is longer than most.
            (&file).take(HEADER as u64).read_to_end(&mut bytes).map_err(io)?;
            cbf = Cbf::parse(&bytes, length, &name);
        }
        let cbf = cbf.map_err(format)?;
        if whole {
            let begin = (cbf.offset + cbf.bytes) as u64;
            let mut tail = vec![0; (length - begin).min(8 << 10) as usize];
            file.read_exact_at(&mut tail, begin).map_err(io)?;
            if !ended(&tail) {
                return Err(Error::data(format!("{name}: has no end of its binary section yet")));
            }
        }
        let (dtype, dims) = (Dtype::from(cbf.dtype), [cbf.height, cbf.width]);
        let lines = || cbf.lines.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let number = |wanted: &String| {
            let found = lines().find(|(key, _)| key.eq_ignore_ascii_case(wanted));
            match found.map(|(_, text)| measured(text)) {
                Some(Value::Float(x)) => x,
                _ => f64::NAN,
            }
        };
        let columns = self.columns.values().map(|key| Array::from_slice(&[number(key)])).collect();
        let mut head = Dict::new();
        lines().for_each(|(key, text)| head.set(key.to_lowercase(), measured(text)));
        let frame = OneFrame { dims, dtype: cbf.dtype, md5: self.md5 };
        let form = Form::Decoded(Arc::new(frame));
        Ok(Scanned { head, columns, ..Scanned::bare(dtype, &dims, 1, form) })
    }
}

impl Scan for CbfFiles {
    fn endings(&self) -> &'static [&'static str] {
        &ENDINGS
    }

    fn scan(&self, path: &Path) -> Result<Scanned> {
        self.look(path, false)
    }

    fn growing(self: Arc<Self>, path: &Path) -> Box<dyn Growing> {
        Box::new(Sealed(self, path.to_owned()))
    }

    fn single(&self) -> bool {
        true
    }

    fn sealed(&self) -> bool {
        true
    }

    fn columns(&self) -> Vec<Key> {
        self.columns.keys().map(|name| Key::from(name.clone())).collect()
    }
}

/// A file that is whole once its end is there.
struct Sealed(Arc<CbfFiles>, PathBuf);

impl Growing for Sealed {
    fn look(&mut self) -> Result<Scanned> {
        self.0.look(&self.1, true)
    }
}

/// The frames of a series: each file is like the first, or its frame is corrupt.
struct OneFrame {
    dims: [usize; 2],
    dtype: isard_h5::Dtype,
    md5: bool,
}

impl Decode for OneFrame {
    fn read(&self, path: &Path, file: &[u8], _: u64, out: &mut [u8]) -> std::result::Result<(), FormatError> {
        let name = path.display().to_string();
        let cbf = Cbf::parse(file, file.len() as u64, &name)?;
        if (cbf.dtype, [cbf.height, cbf.width]) != (self.dtype, self.dims) {
            let (dtype, shape) = (cbf.dtype, [cbf.height, cbf.width]);
            let text =
                format!("is {dtype} {shape:?}, wanted {} {:?} as the first file", self.dtype, self.dims);
            return Err(FormatError::new(&name, text));
        }
        cbf.read(file, self.md5, out)
    }
}

/// A value as a detector writes it: `0.1 s`, `172e-6 m x 172e-6 m`, `(737.50, 839.50) pixels`.
fn measured(text: &str) -> Value {
    let clean: String = text.chars().map(|c| if "(),".contains(c) { ' ' } else { c }).collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    let numbers: Vec<f64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let begins = words.first().is_some_and(|word| word.parse::<f64>().is_ok());
    match (begins, numbers.as_slice(), words.len()) {
        (true, [one], ..=2) => Value::Float(*one),
        (true, [_, _], ..=5) => Array::from_slice(&numbers).into(),
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_detectors_write_them() {
        for (text, wanted) in [
            ("0.0039500 s", Value::Float(0.00395)),
            ("0", Value::Float(0.0)),
            ("172e-6 m x 172e-6 m", Array::from_slice(&[172e-6, 172e-6]).into()),
            ("(737.50, 839.50) pixels", Array::from_slice(&[737.5, 839.5]).into()),
            ("PILATUS3 2M CdTe, S/N 24-0111", Value::from("PILATUS3 2M CdTe, S/N 24-0111")),
            ("sensor, thickness 0.001000 m", Value::from("sensor, thickness 0.001000 m")),
        ] {
            assert_eq!(measured(text), wanted, "{text}");
        }
    }
}
