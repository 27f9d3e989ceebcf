//! NPY: header and bytes of one array.

use isard_h5::Dtype;

use crate::format::{FormatError, Result, swap};

const MAGIC: &[u8] = b"\x93NUMPY";
/// numpy aligns the data to this.
const ALIGN: usize = 64;

/// What the header of an NPY file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Npy {
    /// Type of the elements.
    pub dtype: Dtype,
    /// Lengths of the axes; none of a scalar.
    pub shape: Vec<u64>,
    /// Whether bytes on disk are in the order of this machine.
    pub native: bool,
    /// Where the elements begin, in bytes.
    pub offset: usize,
}

impl Npy {
    /// Reads the header from the first bytes of a file; `name` is for messages.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self> {
        let bad = |text: String| FormatError::new(name, text);
        let short = || bad(format!("is {} bytes, cut short in the npy header", bytes.len()));
        if !bytes.starts_with(MAGIC) {
            return Err(bad("does not begin as an npy file".into()));
        }
        let (length, at): (usize, usize) = match *bytes.get(6).ok_or_else(short)? {
            1 => match bytes.get(8..10) {
                Some(b) => (usize::from(u16::from_le_bytes([b[0], b[1]])), 10),
                None => return Err(short()),
            },
            2 | 3 => match bytes.get(8..12) {
                Some(b) => (u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize, 12),
                None => return Err(short()),
            },
            version => return Err(bad(format!("is npy version {version}, wanted 1, 2 or 3"))),
        };
        let header = bytes.get(at..at.saturating_add(length)).ok_or_else(short)?;
        let header = String::from_utf8_lossy(header);
        let field = |key: &str| {
            value(&header, key).ok_or_else(|| bad(format!("npy header has no `{key}`: {}", header.trim())))
        };
        let (dtype, native) = dtype(field("descr")?).map_err(bad)?;
        match field("fortran_order")? {
            word if word.starts_with("False") => {}
            word if word.starts_with("True") => {
                let help = "is in fortran order, save it with `numpy.ascontiguousarray`";
                return Err(bad(help.into()));
            }
            _ => return Err(bad("npy header has a strange `fortran_order`".into())),
        }
        let shape = shape(field("shape")?).ok_or_else(|| bad("npy header has a strange `shape`".into()))?;
        let npy = Self { dtype, shape, native, offset: at + length };
        match npy.bytes() {
            Some(_) => Ok(npy),
            None => Err(bad(format!("shape {:?} is too large", npy.shape))),
        }
    }

    /// Bytes of all elements; nothing if these pass what memory can hold.
    fn bytes(&self) -> Option<usize> {
        let size = self.dtype.size() as u64;
        let n = self.shape.iter().try_fold(size, |n, d| n.checked_mul(*d))?;
        isize::try_from(n).ok().map(isize::unsigned_abs)
    }

    /// Bytes of all elements.
    pub fn len(&self) -> usize {
        self.bytes().unwrap_or(usize::MAX)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads all elements into `out`, in the byte order of this machine.
    pub fn read(&self, file: &[u8], name: &str, out: &mut [u8]) -> Result<()> {
        let bad = |text: String| FormatError::new(name, text);
        if out.len() != self.len() {
            return Err(bad(format!("holds {} bytes, the buffer has {}", self.len(), out.len())));
        }
        let held = file.len().saturating_sub(self.offset);
        let end = self.offset.saturating_add(self.len());
        let from = file.get(self.offset..end);
        let from = from.ok_or_else(|| bad(format!("holds {held} bytes, wanted {}", self.len())))?;
        out.copy_from_slice(from);
        self.arrange(out);
        Ok(())
    }

    /// Puts bytes that were read from the file into native order.
    pub fn arrange(&self, bytes: &mut [u8]) {
        if !self.native {
            // A complex number is two floats.
            let parts = if matches!(self.dtype, Dtype::C32 | Dtype::C64) { 2 } else { 1 };
            swap(bytes, self.dtype.size() / parts);
        }
    }
}

/// The header of an NPY file, to be followed by the elements in C order.
pub fn header(dtype: Dtype, shape: &[u64]) -> Vec<u8> {
    let order = match dtype.size() {
        1 => '|',
        _ if cfg!(target_endian = "little") => '<',
        _ => '>',
    };
    let kind = match dtype {
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => 'u',
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => 'i',
        Dtype::F32 | Dtype::F64 => 'f',
        Dtype::C32 | Dtype::C64 => 'c',
    };
    let axes: String = shape.iter().map(|n| format!("{n}, ")).collect();
    // A tuple of one keeps its comma, others end without.
    let axes = if shape.len() == 1 { axes.trim_end() } else { axes.trim_end_matches(", ") };
    let text =
        format!("{{'descr': '{order}{kind}{}', 'fortran_order': False, 'shape': ({axes}), }}", dtype.size());
    let whole = (10 + text.len() + 1).next_multiple_of(ALIGN);
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[1, 0]);
    // Shapes have at most some dozens of axes: the length fits version 1.
    bytes.extend_from_slice(&((whole - 10) as u16).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(whole - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// What follows a key of the header's dict.
fn value<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let found = ["'", "\""].iter().find_map(|q| header.split_once(&format!("{q}{key}{q}")))?;
    Some(found.1.trim_start().strip_prefix(':')?.trim_start())
}

fn dtype(text: &str) -> std::result::Result<(Dtype, bool), String> {
    let name = text.strip_prefix(['\'', '"']).and_then(|rest| rest.split(['\'', '"']).next());
    let Some((order, kind)) = name.and_then(|name| name.split_at_checked(1)) else {
        return Err("is a table of several columns or strange, wanted plain numbers".into());
    };
    let dtype = match kind {
        "u1" | "b1" => Dtype::U8,
        "u2" => Dtype::U16,
        "u4" => Dtype::U32,
        "u8" => Dtype::U64,
        "i1" => Dtype::I8,
        "i2" => Dtype::I16,
        "i4" => Dtype::I32,
        "i8" => Dtype::I64,
        "f4" => Dtype::F32,
        "f8" => Dtype::F64,
        "c8" => Dtype::C32,
        "c16" => Dtype::C64,
        _ => return Err(format!("element type is `{order}{kind}`, wanted integers, floats or complex")),
    };
    let native = match order {
        "|" | "=" => true,
        "<" => cfg!(target_endian = "little"),
        ">" => cfg!(target_endian = "big"),
        _ => return Err(format!("byte order is `{order}`, wanted `<`, `>` or `|`")),
    };
    Ok((dtype, native || dtype.size() == 1))
}

fn shape(text: &str) -> Option<Vec<u64>> {
    let inside = text.strip_prefix('(')?.split_once(')')?.0;
    // Old Python wrote long integers as `3L`.
    let numbers = inside.split(',').map(|n| n.trim().trim_end_matches('L')).filter(|n| !n.is_empty());
    numbers.map(|n| n.parse().ok()).collect()
}
