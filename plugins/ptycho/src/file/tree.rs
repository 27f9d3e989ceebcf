//! The object encoding of `.ptyd` and `.ptyr` files: every object says what it is.

use isard_core::{Error, Result};
use isard_h5::{Compression, Dtype, Image, Spec};

/// Compression that other programs use.
const DEFLATE: Compression = Compression::Deflate(4);
/// The version of the encoding.
const VERSION: &str = "0.1";

/// A value as these files hold it.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Named values.
    Dict(Vec<(String, Node)>),
    /// Named values, of a parameter tree.
    Param(Vec<(String, Node)>),
    /// A dense array.
    Array(Block),
    /// A list of equal things.
    ArrayList(Block),
    /// A tuple of equal things.
    ArrayTuple(Block),
    /// Values in order.
    List(Vec<Node>),
    /// One number.
    Scalar(Block),
    /// One truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// Nothing.
    None,
}

/// Numbers with their shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// What they are.
    pub dtype: Dtype,
    /// Whether they are truth values.
    pub boolean: bool,
    /// Lengths of the axes.
    pub shape: Vec<usize>,
    /// The numbers in native byte order.
    pub bytes: Vec<u8>,
}

impl Block {
    /// Real numbers.
    pub fn floats(shape: &[usize], values: &[f64]) -> Block {
        Block::of(Dtype::F64, shape, bytemuck::cast_slice(values))
    }

    /// Whole numbers.
    pub fn ints(shape: &[usize], values: &[i64]) -> Block {
        Block::of(Dtype::I64, shape, bytemuck::cast_slice(values))
    }

    /// Truth values.
    pub fn bools(shape: &[usize], values: &[u8]) -> Block {
        Block { boolean: true, ..Block::of(Dtype::I8, shape, values) }
    }

    /// Numbers of any type.
    pub fn of(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Block {
        Block { dtype, boolean: false, shape: shape.to_vec(), bytes: bytes.to_vec() }
    }
}

impl Node {
    /// One real number.
    pub fn float(value: f64) -> Node {
        Node::Scalar(Block::floats(&[], &[value]))
    }

    /// One whole number.
    pub fn int(value: i64) -> Node {
        Node::Scalar(Block::ints(&[], &[value]))
    }

    /// A row of real numbers.
    pub fn floats(values: &[f64]) -> Node {
        Node::Array(Block::floats(&[values.len()], values))
    }

    /// A row of whole numbers.
    pub fn ints(values: &[i64]) -> Node {
        Node::Array(Block::ints(&[values.len()], values))
    }

    /// Text, or nothing.
    pub fn text(value: Option<&str>) -> Node {
        value.map_or(Node::None, |t| Node::Text(t.to_owned()))
    }

    /// Named values of a mapping that is written as it is.
    pub fn dict(members: Vec<(&str, Node)>) -> Node {
        Node::Dict(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }

    /// Named values of a parameter tree.
    pub fn param(members: Vec<(&str, Node)>) -> Node {
        Node::Param(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }

    /// A JSON value, mappings as parameter trees.
    pub fn from_json(value: &serde_json::Value) -> Node {
        use serde_json::Value as J;
        match value {
            J::Null => Node::None,
            J::Bool(b) => Node::Bool(*b),
            J::Number(n) => n.as_i64().map_or_else(|| Node::float(n.as_f64().unwrap_or(f64::NAN)), Node::int),
            J::String(s) => Node::Text(s.clone()),
            J::Array(a) => Node::List(a.iter().map(Node::from_json).collect()),
            J::Object(o) => Node::Param(o.iter().map(|(k, v)| (k.clone(), Node::from_json(v))).collect()),
        }
    }
}

/// Writes the members of a mapping below a path.
pub fn write_members(image: &mut Image, path: &str, members: &[(String, Node)]) -> Result<()> {
    for (key, node) in members {
        let name = key.replace('/', "_SLASH_");
        let at = format!("{path}/{name}");
        write(image, &at, node)?;
        if name != *key {
            image.attribute(&at, "escaped", "1").map_err(h5)?;
        }
    }
    Ok(())
}

/// Writes a value under a path.
pub fn write(image: &mut Image, path: &str, node: &Node) -> Result<()> {
    let kind = match node {
        Node::Dict(members) | Node::Param(members) => {
            image.group(path).map_err(h5)?;
            write_members(image, path, members)?;
            if matches!(node, Node::Dict(_)) { "dict" } else { "param" }
        }
        Node::Array(block) | Node::ArrayList(block) | Node::ArrayTuple(block) => {
            dataset(image, path, block)?;
            match node {
                Node::Array(_) => "array",
                Node::ArrayList(_) => "arraylist",
                _ => "arraytuple",
            }
        }
        Node::List(items) => {
            image.group(path).map_err(h5)?;
            for (k, item) in items.iter().enumerate() {
                write(image, &format!("{path}/{k:05}"), item)?;
            }
            "list"
        }
        Node::Scalar(block) => {
            image.scalar(path, block.dtype, &block.bytes).map_err(h5)?;
            "scalar"
        }
        Node::Bool(value) => {
            image.boolean(path, *value).map_err(h5)?;
            "scalar"
        }
        Node::Text(text) => {
            image.text(path, text).map_err(h5)?;
            "string"
        }
        Node::None => {
            dataset(image, path, &Block::floats(&[1], &[0.0]))?;
            "None"
        }
    };
    image.attribute(path, "type", kind).map_err(h5)
}

fn dataset(image: &mut Image, path: &str, block: &Block) -> Result<()> {
    let (first, record) =
        block.shape.split_first().ok_or_else(|| Error::internal(format!("{path}: an array without axes")))?;
    let record: Vec<u64> = record.iter().map(|n| *n as u64).collect();
    let spec = if block.boolean { Spec::boolean(&record) } else { Spec::new(block.dtype, &record) };
    let spec = spec.compress(DEFLATE).shuffle(false).fletcher32(false);
    let slot = image.dataset(path, &spec).map_err(h5)?;
    image.append(slot, &block.bytes, *first as u64).map_err(h5)
}

/// Sets the attributes of the root, with a time as C writes it.
pub fn stamp(image: &mut Image, time: &str) -> Result<()> {
    for (name, value) in [("h5rw_version", VERSION), ("ctime", time), ("mtime", time)] {
        image.attribute("/", name, value).map_err(h5)?;
    }
    Ok(())
}

/// The time now as C writes it, in UTC: `Fri Nov 20 22:17:01 2026`.
pub fn asctime() -> String {
    asctime_of(now())
}

/// The time now by ISO 8601, in UTC: `2026-11-20T22:17:01Z`.
pub fn iso() -> String {
    iso_of(now())
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Year, month and day from 0, and the day of the week from Thursday.
fn date(days: u64) -> (u64, usize, u64, usize) {
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    (year, month, day, (days % 7) as usize)
}

fn asctime_of(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (rest, (year, month, day, name)) = (seconds % 86_400, date(seconds / 86_400));
    let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{} {} {:2} {h:02}:{m:02}:{s:02} {year}", DAYS[name], MONTHS[month], day + 1)
}

fn iso_of(seconds: u64) -> String {
    let (rest, (year, month, day, _)) = (seconds % 86_400, date(seconds / 86_400));
    let (h, m, s) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year}-{:02}-{:02}T{h:02}:{m:02}:{s:02}Z", month + 1, day + 1)
}

/// An error of the HDF5 library.
pub fn h5(error: isard_h5::Error) -> Error {
    match error.kind() {
        isard_h5::Kind::Absent => Error::data(error.to_string()),
        _ => Error::data(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_c_does() {
        // `date -u -d @1795213021` and `date -u -d @951782400`.
        assert_eq!(asctime_of(1_795_213_021), "Fri Nov 20 22:17:01 2026");
        assert_eq!(asctime_of(951_782_400), "Tue Feb 29 00:00:00 2000");
        assert_eq!(asctime_of(0), "Thu Jan  1 00:00:00 1970");
        // The same ones by `date -u -Iseconds`.
        assert_eq!(iso_of(1_795_213_021), "2026-11-20T22:17:01Z");
        assert_eq!(iso_of(951_782_400), "2000-02-29T00:00:00Z");
    }
}
