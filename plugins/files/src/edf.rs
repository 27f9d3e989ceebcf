//! EDF, the ESRF data format: text headers, each followed by the frame it describes.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use isard_h5::Dtype;

use crate::format::{FormatError, Result, swap};
use crate::inflate::{self, Coding};

/// Headers are shorter than this.
const HEADER: usize = 1 << 20;
/// Headers are padded to multiples of this.
const BLOCK: usize = 512;

/// The frames of an EDF file.
#[derive(Debug, Clone, PartialEq)]
pub struct Edf {
    name: String,
    /// Type of the pixels.
    pub dtype: Dtype,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Whether bytes on disk are in the order of this machine.
    pub native: bool,
    /// How the frames are compressed.
    pub coding: Coding,
    /// Where each frame lies.
    pub frames: Vec<Place>,
    /// The header of the first frame, and of what came before it.
    pub header: BTreeMap<String, String>,
    /// The values of the wanted keys, frame by frame; what is no number is NaN.
    pub columns: Vec<Vec<f64>>,
    /// Where the next header would begin.
    end: u64,
    wanted: Vec<String>,
}

/// Where the bytes of a frame lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the beginning of the file.
    pub offset: u64,
    /// Length in bytes, as stored.
    pub bytes: u64,
}

impl Edf {
    /// Reads the headers of a whole file; `wanted` are the keys of which every frame's value is kept.
    ///
    /// With `growing`, what stands at the end and is not whole yet is left for a later scan.
    pub fn scan<R: Read + Seek>(mut reader: R, name: &str, wanted: &[String], growing: bool) -> Result<Self> {
        let mut edf = Self {
            name: name.into(),
            dtype: Dtype::U8,
            shape: [0; 2],
            native: true,
            coding: Coding::Plain,
            frames: vec![],
            header: BTreeMap::new(),
            columns: wanted.iter().map(|_| vec![]).collect(),
            end: 0,
            wanted: wanted.to_vec(),
        };
        edf.go_on(&mut reader, growing)?;
        match edf.frames.is_empty() {
            true => Err(edf.fault("holds no frame")),
            false => Ok(edf),
        }
    }

    /// Reads the headers that were added since the last scan.
    pub fn go_on<R: Read + Seek>(&mut self, reader: &mut R, growing: bool) -> Result<()> {
        let io = |e: io::Error| FormatError::new(&self.name, e);
        let length = reader.seek(SeekFrom::End(0)).map_err(io)?;
        if length == 0 {
            return Err(self.fault("is empty"));
        }
        while self.end < length {
            match self.block(reader, length) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Fault::Cut(_)) if growing && !self.frames.is_empty() => break,
                Err(Fault::Cut(text) | Fault::Bad(text)) => return Err(self.fault(text)),
            }
        }
        Ok(())
    }

    /// Bytes of a decoded frame.
    pub fn len(&self) -> usize {
        self.shape[0] * self.shape[1] * self.dtype.size()
    }

    /// Whether frames have no pixels, which the scan refuses.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decodes a compressed frame out of the bytes of the file, or copies a plain one.
    pub fn read(&self, file: &[u8], frame: usize, out: &mut [u8]) -> Result<()> {
        let place = self.frames.get(frame).ok_or_else(|| self.fault(format!("has no frame {frame}")))?;
        let from = file.get(place.offset as usize..(place.offset + place.bytes) as usize);
        let from = from.ok_or_else(|| self.fault(format!("frame {frame}: the file has become shorter")))?;
        inflate::exactly(from, self.coding, out)
            .map_err(|text| self.fault(format!("frame {frame}: {text}")))?;
        self.arrange(out);
        Ok(())
    }

    /// Puts bytes that were read from the file into native order.
    pub fn arrange(&self, bytes: &mut [u8]) {
        if !self.native {
            swap(bytes, self.dtype.size());
        }
    }

    fn fault(&self, text: impl std::fmt::Display) -> FormatError {
        FormatError::new(&self.name, text)
    }

    /// Takes one header and what it describes; false at the end of the frames.
    fn block<R: Read + Seek>(&mut self, reader: &mut R, length: u64) -> std::result::Result<bool, Fault> {
        let number = self.frames.len();
        let at = self.end;
        let io = |e: io::Error| Fault::Bad(format!("header {number}: {e}"));
        reader.seek(SeekFrom::Start(at)).map_err(io)?;
        let Some((text, size)) = header(reader, number)? else { return Ok(false) };
        let values = parse(&text);
        let get = |keys: &[&str]| keys.iter().find_map(|key| values.get(&key.to_lowercase()));
        let count = |key: &str, text: &String| -> std::result::Result<u64, Fault> {
            text.parse()
                .map_err(|_| Fault::Bad(format!("header {number}: `{key}` is `{text}`, wanted a count")))
        };
        let begin = at + size;
        let Some(columns) = get(&["Dim_1"]) else {
            // A general header describes no frame; it may still be followed by bytes.
            let skip =
                get(&["EDF_BinarySize", "Size"]).map_or(Ok(0), |text| count("EDF_BinarySize", text))?;
            if number == 0 {
                self.header.extend(values.clone());
            }
            self.end = begin.saturating_add(skip);
            return Ok(true);
        };
        let columns = count("Dim_1", columns)?;
        let rows = get(&["Dim_2"]).map_or(Ok(1), |text| count("Dim_2", text))?;
        let deep = get(&["Dim_3"]).map_or(Ok(1), |text| count("Dim_3", text))?;
        let kind =
            get(&["DataType"]).ok_or_else(|| Fault::Bad(format!("header {number}: has no `DataType`")))?;
        let dtype = dtype(kind).ok_or_else(|| {
            Fault::Bad(format!(
                "header {number}: pixels are `{kind}`, wanted such as UnsignedShort or FloatValue"
            ))
        })?;
        let native = match get(&["ByteOrder"]).map(|text| text.to_lowercase()) {
            None => true,
            Some(order) if order == "lowbytefirst" => cfg!(target_endian = "little"),
            Some(order) if order == "highbytefirst" => cfg!(target_endian = "big"),
            Some(order) => {
                return Err(Fault::Bad(format!(
                    "header {number}: byte order is `{order}`, wanted LowByteFirst or HighByteFirst"
                )));
            }
        };
        let coding = match get(&["Compression"]).map(|text| text.to_lowercase()).as_deref() {
            None | Some("" | "none" | "nocompression") => Coding::Plain,
            Some("gzip" | "gzipcompression") => Coding::Gzip,
            Some("zlib" | "z" | "zcompression") => Coding::Zlib,
            Some(other) => {
                return Err(Fault::Bad(format!(
                    "header {number}: compression `{other}` is not built in, wanted gzip or zlib"
                )));
            }
        };
        let frame = columns.checked_mul(rows).and_then(|n| n.checked_mul(dtype.size() as u64));
        let frame = frame.filter(|n| *n > 0 && *n <= isize::MAX as u64);
        let whole = frame.and_then(|n| n.checked_mul(deep)).filter(|_| deep > 0);
        let (Some(frame), Some(whole)) = (frame, whole) else {
            let text = format!("header {number}: {deep} x {rows} x {columns} is nothing or too large");
            return Err(Fault::Bad(text));
        };
        let stored = match get(&["EDF_BinarySize", "Size"]) {
            Some(text) => count("Size", text)?,
            None if coding == Coding::Plain => whole,
            None => return Err(Fault::Bad(format!("header {number}: a compressed frame has no `Size`"))),
        };
        if coding == Coding::Plain && stored < whole {
            let text = format!(
                "header {number}: `Size` is {stored}, {deep} x {rows} x {columns} {dtype} take {whole}"
            );
            return Err(Fault::Bad(text));
        }
        // Nothing deflates better than this; more is damage.
        if coding != Coding::Plain && (deep != 1 || frame / 1040 > stored) {
            let text =
                format!("header {number}: {stored} compressed bytes for {deep} x {rows} x {columns} {dtype}");
            return Err(Fault::Bad(text));
        }
        let end = begin.checked_add(stored).filter(|end| *end <= length).ok_or_else(|| {
            Fault::Cut(format!(
                "frame {number}: wants {stored} bytes at {begin}, the file has {length}, is it cut short"
            ))
        })?;
        let shape = [rows as usize, columns as usize];
        if number == 0 {
            (self.dtype, self.shape, self.native, self.coding) = (dtype, shape, native, coding);
            self.header.extend(values.clone());
        } else if (self.dtype, self.shape, self.native, self.coding) != (dtype, shape, native, coding) {
            let text = format!(
                "frame {number}: is {dtype} {shape:?}, wanted {} {:?} in the same order and coding as frame 0",
                self.dtype, self.shape
            );
            return Err(Fault::Bad(text));
        }
        let found: Vec<f64> = self.wanted.iter().map(|key| value(&values, key)).collect();
        let each = if coding == Coding::Plain { frame } else { stored };
        for i in 0..deep {
            self.frames.push(Place { offset: begin + i * each, bytes: each });
            self.columns.iter_mut().zip(&found).for_each(|(column, v)| column.push(*v));
        }
        self.end = end;
        Ok(true)
    }
}

/// Why a block was not taken.
enum Fault {
    /// The file ends before the block does.
    Cut(String),
    /// The block is not as the format wants.
    Bad(String),
}

/// The text between braces, and the bytes up to where its frame begins; none where only blanks are left.
fn header<R: Read>(reader: &mut R, number: usize) -> std::result::Result<Option<(String, u64)>, Fault> {
    let mut bytes: Vec<u8> = vec![];
    let mut searched = 0;
    loop {
        let before = bytes.len();
        let read = reader.take(BLOCK as u64).read_to_end(&mut bytes);
        read.map_err(|e| Fault::Bad(format!("header {number}: {e}")))?;
        let blank = |b: &u8| matches!(b, b'\n' | b'\r' | b' ' | 0);
        let Some(start) = bytes.iter().position(|b| !blank(b)) else {
            match bytes.len() {
                n if n == before => return Ok(None),
                n if n > HEADER => {
                    return Err(Fault::Bad(format!("header {number}: {n} blanks stand before it")));
                }
                _ => continue,
            }
        };
        if bytes[start] != b'{' {
            let found = String::from_utf8_lossy(&bytes[start..bytes.len().min(start + 16)]).into_owned();
            return Err(Fault::Bad(format!("header {number}: begins with {found:?}, wanted `{{`")));
        }
        // The brace that ends the header ends its line; a brace inside a value does not.
        let ends = |i: usize| match (bytes[i], bytes.get(i + 1), bytes.get(i + 2)) {
            (b'}', Some(b'\n'), _) => Some(i + 2),
            (b'}', Some(b'\r'), Some(b'\n')) => Some(i + 3),
            _ => None,
        };
        if let Some(end) = (searched.max(start)..bytes.len()).find_map(ends) {
            let close = bytes[..end].iter().rposition(|b| *b == b'}').unwrap_or(end);
            let text = String::from_utf8_lossy(&bytes[start + 1..close]).into_owned();
            return Ok(Some((text, end as u64)));
        }
        searched = bytes.len().saturating_sub(2);
        if bytes.len() == before {
            return Err(Fault::Cut(format!(
                "header {number}: has no end after {before} bytes, is the file cut short"
            )));
        }
        if bytes.len() > HEADER {
            return Err(Fault::Bad(format!("header {number}: has no end in {} bytes", bytes.len())));
        }
    }
}

/// The lines `key = value ;`; keys in lower case, as the format does not tell them apart.
fn parse(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim().trim_end_matches(';').trim();
        Some((key.trim().to_lowercase(), value.to_owned()))
    };
    text.split('\n').filter_map(pair).collect()
}

/// A number of a header: a key, or a counter or motor by its name.
fn value(values: &BTreeMap<String, String>, key: &str) -> f64 {
    let number = |text: &str| text.split_whitespace().next().and_then(|word| word.parse().ok());
    if let Some(found) = values.get(&key.to_lowercase()).and_then(|text| number(text)) {
        return found;
    }
    for list in ["counter", "motor"] {
        let words = |what: &str| values.get(&format!("{list}_{what}")).map(|text| text.split_whitespace());
        if let (Some(mut names), Some(mut positions)) = (words("mne"), words("pos"))
            && let Some(at) = names.position(|name| name == key)
            && let Some(found) = positions.nth(at).and_then(|word| word.parse().ok())
        {
            return found;
        }
    }
    f64::NAN
}

fn dtype(text: &str) -> Option<Dtype> {
    Some(match text.to_lowercase().as_str() {
        "signedbyte" | "signed8" => Dtype::I8,
        "unsignedbyte" | "unsigned8" => Dtype::U8,
        "signedshort" | "signed16" => Dtype::I16,
        "unsignedshort" | "unsigned16" => Dtype::U16,
        "signedinteger" | "signedlong" | "signed32" => Dtype::I32,
        "unsignedinteger" | "unsignedlong" | "unsigned32" => Dtype::U32,
        "signed64" | "signedlonglong" => Dtype::I64,
        "unsigned64" | "unsignedlonglong" => Dtype::U64,
        "floatvalue" | "float" | "real" | "floatieee32" | "float32" => Dtype::F32,
        "doublevalue" | "double" | "floatieee64" | "float64" => Dtype::F64,
        _ => return None,
    })
}

/// Whether frames of this type can be kept.
pub fn holds(dtype: Dtype) -> bool {
    name(dtype).is_some()
}

fn name(dtype: Dtype) -> Option<&'static str> {
    Some(match dtype {
        Dtype::I8 => "SignedByte",
        Dtype::U8 => "UnsignedByte",
        Dtype::I16 => "SignedShort",
        Dtype::U16 => "UnsignedShort",
        Dtype::I32 => "SignedInteger",
        Dtype::U32 => "UnsignedInteger",
        Dtype::I64 => "Signed64",
        Dtype::U64 => "Unsigned64",
        Dtype::F32 => "FloatValue",
        Dtype::F64 => "DoubleValue",
        Dtype::C32 | Dtype::C64 => return None,
    })
}

/// One header and its frame in the byte order of this machine; none for a type that the format does not hold.
///
/// `lines` are further keys with their values.
pub fn block(
    dtype: Dtype,
    shape: [usize; 2],
    pixels: &[u8],
    number: u64,
    lines: &[(&str, &str)],
) -> Option<Vec<u8>> {
    let order = if cfg!(target_endian = "little") { "LowByteFirst" } else { "HighByteFirst" };
    let mut keys = vec![
        ("EDF_DataBlockID".to_owned(), format!("{number}.Image.Psd")),
        ("EDF_BinarySize".to_owned(), pixels.len().to_string()),
        ("ByteOrder".to_owned(), order.to_owned()),
        ("DataType".to_owned(), name(dtype)?.to_owned()),
        ("Dim_1".to_owned(), shape[1].to_string()),
        ("Dim_2".to_owned(), shape[0].to_string()),
        ("Image".to_owned(), number.to_string()),
        ("HeaderID".to_owned(), format!("EH:{:06}:000000:000000", number + 1)),
        ("Size".to_owned(), pixels.len().to_string()),
    ];
    // A brace at the end of a line, a semicolon or a line break would end the value early.
    let clean = |text: &str| text.replace(['\r', '\n', '{', '}', ';'], " ");
    keys.extend(lines.iter().map(|(key, value)| (clean(key), clean(value))));
    let mut text = "{\n".to_owned();
    for (key, value) in keys {
        text += &format!("{key} = {value} ;\n");
    }
    let whole = (text.len() + 2).next_multiple_of(BLOCK);
    let mut bytes = text.into_bytes();
    bytes.resize(whole - 2, b' ');
    bytes.extend_from_slice(b"}\n");
    bytes.extend_from_slice(pixels);
    Some(bytes)
}
