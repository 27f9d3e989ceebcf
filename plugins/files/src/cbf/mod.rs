//! CBF: the mini form that DECTRIS detectors write, one frame in a file.

mod md5;
mod offset;

use isard_h5::Dtype;

use crate::format::{FormatError, Result};

use offset::Damage;

const SECTION: &[u8] = b"--CIF-BINARY-FORMAT-SECTION--";
const MARK: [u8; 4] = [0x0c, 0x1a, 0x04, 0xd5];
/// What stands before the pixels is shorter than this.
pub(crate) const HEADER: usize = 256 << 10;

/// The header of a CBF file.
#[derive(Debug, Clone, PartialEq)]
pub struct Cbf {
    name: String,
    /// Type of the pixels.
    pub dtype: Dtype,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Where the compressed bytes begin.
    pub offset: usize,
    /// How many compressed bytes there are.
    pub bytes: usize,
    /// The digest of the compressed bytes in base 64, where the file has one.
    pub md5: Option<String>,
    /// The lines `# key value` that the detector wrote, in order.
    pub lines: Vec<(String, String)>,
}

impl Cbf {
    /// Reads the header from the first bytes of a file of `length` bytes; `name` is for messages.
    pub fn parse(bytes: &[u8], length: u64, name: &str) -> Result<Self> {
        let bad = |text: String| FormatError::new(name, text);
        if !bytes.starts_with(b"###CBF") {
            return Err(bad(format!("is {length} bytes long and does not begin with `###CBF`")));
        }
        let head = &bytes[..bytes.len().min(HEADER)];
        let cut = || bad(format!("is cut short in the header, after {length} bytes"));
        let section = find(head, SECTION).ok_or_else(cut)?;
        let mark = section + find(&head[section..], &MARK).ok_or_else(cut)?;
        let text = String::from_utf8_lossy(&head[section..mark]);
        let field = |key: &str| {
            text.lines().find_map(|line| {
                let (found, value) = line.trim().split_once([':', '='])?;
                let value = value.trim().trim_matches(['"', ';']).trim();
                found.trim().eq_ignore_ascii_case(key).then(|| value.to_owned())
            })
        };
        let need = |key: &str| field(key).ok_or_else(|| bad(format!("has no `{key}` in its binary section")));
        let number = |key: &str| -> Result<usize> {
            let text = need(key)?;
            text.parse().map_err(|_| bad(format!("`{key}` is `{text}`, wanted a count")))
        };
        let coding = need("conversions")?;
        if !coding.eq_ignore_ascii_case("x-CBF_BYTE_OFFSET") {
            return Err(bad(format!("is coded as `{coding}`, only `x-CBF_BYTE_OFFSET` is built in")));
        }
        if let Some(order) = field("X-Binary-Element-Byte-Order")
            && order != "LITTLE_ENDIAN"
        {
            return Err(bad(format!("has byte order `{order}`, wanted `LITTLE_ENDIAN`")));
        }
        let kind = need("X-Binary-Element-Type")?;
        let dtype = dtype(&kind).ok_or_else(|| {
            bad(format!("has pixels of `{kind}`, wanted signed or unsigned integers of 8, 16 or 32 bits"))
        })?;
        let (width, height) =
            (number("X-Binary-Size-Fastest-Dimension")?, number("X-Binary-Size-Second-Dimension")?);
        let (stored, offset) = (number("X-Binary-Size")?, mark + MARK.len());
        let pixels = height.checked_mul(width).filter(|n| *n > 0);
        let pixels =
            pixels.ok_or_else(|| bad(format!("is {height} x {width}, which is nothing or too large")))?;
        if let Some(text) = field("X-Binary-Number-of-Elements")
            && text != pixels.to_string()
        {
            return Err(bad(format!("announces {text} pixels for {height} x {width}")));
        }
        // A pixel takes at least one byte: what is announced is bounded by what is there.
        if pixels > stored {
            return Err(bad(format!("holds {stored} bytes, too few for {height} x {width} pixels")));
        }
        let end = offset.checked_add(stored).and_then(|end| u64::try_from(end).ok());
        if end.is_none_or(|end| end > length) {
            return Err(bad(format!(
                "is {length} bytes long, wanted {stored} from {offset} on, is it cut short"
            )));
        }
        let md5 = field("Content-MD5").filter(|text| !text.is_empty());
        Ok(Self {
            name: name.into(),
            dtype,
            height,
            width,
            offset,
            bytes: stored,
            md5,
            lines: lines(&head[..section]),
        })
    }

    /// Bytes of the decoded frame.
    pub fn len(&self) -> usize {
        self.height.saturating_mul(self.width).saturating_mul(self.dtype.size())
    }

    /// Whether there are no pixels, which the parser refuses.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decodes the pixels of the whole file `file`; `check` compares the digest first.
    pub fn read(&self, file: &[u8], check: bool, out: &mut [u8]) -> Result<()> {
        let bad = |text: String| FormatError::new(&self.name, text);
        if out.len() != self.len() {
            return Err(bad(format!("decodes to {} bytes, the buffer has {}", self.len(), out.len())));
        }
        let code = file.get(self.offset..self.offset + self.bytes);
        let code = code.ok_or_else(|| bad(format!("has become shorter: {} bytes", file.len())))?;
        if let Some(wanted) = self.md5.as_ref().filter(|_| check) {
            let found = md5::md5(code);
            if found != *wanted {
                return Err(bad(format!("the MD5 of its pixels is {found}, the file says {wanted}")));
            }
        }
        let place = |pixel: usize| format!("pixel ({}, {})", pixel / self.width, pixel % self.width);
        offset::decode(code, self.dtype, out).map_err(|damage| {
            bad(match damage {
                Damage::Short(pixel) => format!("{} bytes of code end at {}", code.len(), place(pixel)),
                Damage::Range(pixel, v) => {
                    format!("{} is {v}, which {} does not hold", place(pixel), self.dtype)
                }
                Damage::Left(n) => {
                    format!("{n} of {} bytes of code are left after the last pixel", code.len())
                }
            })
        })
    }
}

/// Whether the end of a file's bytes holds the line that ends the binary section.
pub(crate) fn ended(tail: &[u8]) -> bool {
    find(tail, SECTION).is_some()
}

/// A file that holds one frame; none for a type that the code does not hold.
///
/// `name` becomes the data block's name, `lines` the detector's lines `# key value`.
pub fn file(
    dtype: Dtype,
    shape: [usize; 2],
    pixels: &[u8],
    name: &str,
    lines: &[(&str, &str)],
) -> Option<Vec<u8>> {
    let code = offset::encode(pixels, dtype)?;
    let kind = match dtype {
        Dtype::U8 => "unsigned 8-bit integer",
        Dtype::I8 => "signed 8-bit integer",
        Dtype::U16 => "unsigned 16-bit integer",
        Dtype::I16 => "signed 16-bit integer",
        Dtype::U32 => "unsigned 32-bit integer",
        _ => "signed 32-bit integer",
    };
    let mut contents = String::new();
    for (key, value) in lines {
        contents += &format!("# {key} {}\r\n", value.replace(['\r', '\n'], " "));
    }
    if !contents.is_empty() {
        let convention = "_array_data.header_convention \"PILATUS_1.2\"\r\n";
        contents = format!("{convention}_array_data.header_contents\r\n;\r\n{contents};\r\n\r\n");
    }
    let word: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let (rows, columns) = (shape[0], shape[1]);
    let version = env!("CARGO_PKG_VERSION");
    let head = format!(
        "###CBF: VERSION 1.5, isard {version}\r\n\r\ndata_{word}\r\n\r\n{contents}_array_data.data\r\n;\r\n\
         --CIF-BINARY-FORMAT-SECTION--\r\nContent-Type: application/octet-stream;\r\n\
         \x20    conversions=\"x-CBF_BYTE_OFFSET\"\r\nContent-Transfer-Encoding: BINARY\r\n\
         X-Binary-Size: {}\r\nX-Binary-ID: 1\r\nX-Binary-Element-Type: \"{kind}\"\r\n\
         X-Binary-Element-Byte-Order: LITTLE_ENDIAN\r\nContent-MD5: {}\r\n\
         X-Binary-Number-of-Elements: {}\r\nX-Binary-Size-Fastest-Dimension: {columns}\r\n\
         X-Binary-Size-Second-Dimension: {rows}\r\nX-Binary-Size-Padding: 1\r\n\r\n",
        code.len(),
        md5::md5(&code),
        rows * columns,
    );
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&MARK);
    bytes.extend_from_slice(&code);
    bytes.extend_from_slice(b"\0\r\n--CIF-BINARY-FORMAT-SECTION----\r\n;\r\n\r\n");
    Some(bytes)
}

/// Whether a frame of this type can be kept without changing a pixel.
pub fn holds(dtype: Dtype) -> bool {
    offset::holds(dtype)
}

fn dtype(text: &str) -> Option<Dtype> {
    let text = text.to_lowercase();
    let signed = !text.starts_with("unsigned");
    Some(match (text.split_whitespace().nth(1)?, signed) {
        ("8-bit", true) => Dtype::I8,
        ("8-bit", false) => Dtype::U8,
        ("16-bit", true) => Dtype::I16,
        ("16-bit", false) => Dtype::U16,
        ("32-bit", true) if !text.contains("real") => Dtype::I32,
        ("32-bit", false) => Dtype::U32,
        _ => return None,
    })
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|w| w == wanted)
}

/// The comment lines of the CIF part: a key of one word, and the rest.
fn lines(head: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(head);
    let lines = text.lines().filter_map(|line| line.strip_prefix("# "));
    let pair = |line: &str| {
        // The only line that begins with a number is the date.
        if line.trim().starts_with(|c: char| c.is_ascii_digit()) {
            return ("date".to_owned(), line.trim().to_owned());
        }
        let (key, value) = line.trim().split_once([' ', '\t']).unwrap_or((line.trim(), ""));
        let value = value.trim().trim_start_matches(['=', ':']).trim();
        (key.trim_end_matches([':', '=']).to_owned(), value.to_owned())
    };
    lines.map(pair).filter(|(key, _)| !key.is_empty()).collect()
}
