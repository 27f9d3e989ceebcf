//! CBOR as stream v2 sends it: read without a copy of long strings, written by the simulator.
//!
//! Source: RFC 8949 (CBOR).

use std::borrow::Cow;

/// One item.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cbor<'a> {
    /// A whole number.
    Int(i128),
    /// A real number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Null, undefined, or a simple value without a meaning here.
    Null,
    /// Bytes; borrowed unless they came in pieces.
    Bytes(Cow<'a, [u8]>),
    /// Text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Cbor<'a>>),
    /// Keys and values in the order they came.
    Map(Vec<(Cbor<'a>, Cbor<'a>)>),
    /// An item with a tag.
    Tag(u64, Box<Cbor<'a>>),
}

/// Items inside items at most.
const DEEP: u32 = 24;

impl<'a> Cbor<'a> {
    /// Reads the one item that a message is.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Cbor<'a>, String> {
        let mut reader = Reader { bytes, at: 0 };
        let item = reader.item(0)?;
        match bytes.len() - reader.at {
            0 => Ok(item),
            n => Err(format!("{n} bytes follow the CBOR item")),
        }
    }

    /// The value of a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Cbor<'a>> {
        let Cbor::Map(map) = self else { return None };
        map.iter().find(|(k, _)| matches!(k, Cbor::Text(t) if t == key)).map(|(_, v)| v)
    }

    /// A whole number that is not negative.
    pub(crate) fn count(&self) -> Option<u64> {
        if let Cbor::Int(i) = self { u64::try_from(*i).ok() } else { None }
    }

    /// A number.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Cbor::Int(i) => Some(*i as f64),
            Cbor::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// Text.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Cbor::Text(t) = self { Some(t) } else { None }
    }

    /// A list.
    pub(crate) fn list(&self) -> Option<&[Cbor<'a>]> {
        if let Cbor::List(l) = self { Some(l) } else { None }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn item(&mut self, deep: u32) -> Result<Cbor<'a>, String> {
        if deep > DEEP {
            return Err(format!("items stand more than {DEEP} deep in each other"));
        }
        let start = self.at;
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        if major == 7 {
            return self.simple(info);
        }
        if info == 31 {
            return self.pieces(major, deep, start);
        }
        let n = self.argument(info)?;
        Ok(match major {
            0 => Cbor::Int(i128::from(n)),
            1 => Cbor::Int(-1 - i128::from(n)),
            2 => Cbor::Bytes(Cow::Borrowed(self.long(n)?)),
            3 => Cbor::Text(Cow::Borrowed(text(self.long(n)?)?)),
            4 => {
                let mut list = vec![];
                for _ in 0..n {
                    list.push(self.item(deep + 1)?);
                }
                Cbor::List(list)
            }
            5 => {
                let mut map = vec![];
                for _ in 0..n {
                    map.push((self.item(deep + 1)?, self.item(deep + 1)?));
                }
                Cbor::Map(map)
            }
            _ => Cbor::Tag(n, Box::new(self.item(deep + 1)?)),
        })
    }

    /// An item of indefinite length.
    fn pieces(&mut self, major: u8, deep: u32, start: usize) -> Result<Cbor<'a>, String> {
        match major {
            2 => {
                let mut all = vec![];
                while !self.ended()? {
                    match self.item(deep + 1)? {
                        Cbor::Bytes(piece) => all.extend_from_slice(&piece),
                        _ => return Err(format!("a byte string at {start} has a piece that is none")),
                    }
                }
                Ok(Cbor::Bytes(Cow::Owned(all)))
            }
            3 => {
                let mut all = String::new();
                while !self.ended()? {
                    match self.item(deep + 1)? {
                        Cbor::Text(piece) => all.push_str(&piece),
                        _ => return Err(format!("a text at {start} has a piece that is none")),
                    }
                }
                Ok(Cbor::Text(Cow::Owned(all)))
            }
            4 => {
                let mut list = vec![];
                while !self.ended()? {
                    list.push(self.item(deep + 1)?);
                }
                Ok(Cbor::List(list))
            }
            5 => {
                let mut map = vec![];
                while !self.ended()? {
                    map.push((self.item(deep + 1)?, self.item(deep + 1)?));
                }
                Ok(Cbor::Map(map))
            }
            _ => Err(format!("byte {start} has a length that its type cannot have")),
        }
    }

    fn simple(&mut self, info: u8) -> Result<Cbor<'a>, String> {
        Ok(match info {
            20 => Cbor::Bool(false),
            21 => Cbor::Bool(true),
            24 => {
                self.take(1)?;
                Cbor::Null
            }
            25 => Cbor::Float(half(self.argument(25)? as u16)),
            26 => Cbor::Float(f64::from(f32::from_bits(self.argument(26)? as u32))),
            27 => Cbor::Float(f64::from_bits(self.argument(27)?)),
            0..=23 => Cbor::Null,
            _ => return Err(format!("byte {} is no item", self.at - 1)),
        })
    }

    /// Whether the break of an indefinite length is next; it is passed over.
    fn ended(&mut self) -> Result<bool, String> {
        match self.bytes.get(self.at) {
            Some(0xff) => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Ok(false),
            None => Err("it is cut short".into()),
        }
    }

    fn argument(&mut self, info: u8) -> Result<u64, String> {
        let n = match info {
            0..=23 => return Ok(u64::from(info)),
            24..=27 => 1 << (info - 24),
            _ => return Err(format!("byte {} has a length of no known width", self.at - 1)),
        };
        Ok(self.take(n)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn long(&mut self, n: u64) -> Result<&'a [u8], String> {
        usize::try_from(n).map_err(|_| format!("a string says it has {n} bytes")).and_then(|n| self.take(n))
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let left = self.bytes.len() - self.at;
        if n > left {
            return Err(format!("it is cut short: wanted {n} bytes at {}, found {left}", self.at));
        }
        self.at += n;
        Ok(&self.bytes[self.at - n..self.at])
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8".into())
}

fn half(bits: u16) -> f64 {
    let (sign, exponent, fraction) = (bits >> 15, i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let value = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        e => (1024.0 + fraction) * 2f64.powi(e - 25),
    };
    if sign == 1 { -value } else { value }
}

impl Cbor<'_> {
    /// Appends the item.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Cbor::Int(i) if *i < 0 => head(1, (-1 - i) as u64, out),
            Cbor::Int(i) => head(0, *i as u64, out),
            Cbor::Float(x) => {
                out.push(0xfb);
                out.extend(x.to_be_bytes());
            }
            Cbor::Bool(b) => out.push(0xf4 + u8::from(*b)),
            Cbor::Null => out.push(0xf6),
            Cbor::Bytes(b) => {
                head(2, b.len() as u64, out);
                out.extend_from_slice(b);
            }
            Cbor::Text(t) => {
                head(3, t.len() as u64, out);
                out.extend_from_slice(t.as_bytes());
            }
            Cbor::List(list) => {
                head(4, list.len() as u64, out);
                list.iter().for_each(|item| item.write(out));
            }
            Cbor::Map(map) => {
                head(5, map.len() as u64, out);
                for (key, value) in map {
                    key.write(out);
                    value.write(out);
                }
            }
            Cbor::Tag(tag, item) => {
                head(6, *tag, out);
                item.write(out);
            }
        }
    }
}

fn head(major: u8, n: u64, out: &mut Vec<u8>) {
    let bytes = n.to_be_bytes();
    let width = match n {
        0..=23 => {
            out.push(major << 5 | n as u8);
            return;
        }
        24..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8_usize,
    };
    out.push((major << 5) | (24 + width.trailing_zeros() as u8));
    out.extend_from_slice(&bytes[8 - width..]);
}

impl From<&str> for Cbor<'_> {
    fn from(text: &str) -> Self {
        Cbor::Text(Cow::Owned(text.to_owned()))
    }
}

impl From<u64> for Cbor<'_> {
    fn from(n: u64) -> Self {
        Cbor::Int(i128::from(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8949, appendix A.
    #[test]
    fn the_examples_of_the_standard_are_read() {
        let text = |t: &'static str| Cbor::Text(Cow::Borrowed(t));
        for (bytes, wanted) in [
            (&b"\x18\x64"[..], Cbor::Int(100)),
            (b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", Cbor::Int(u64::MAX.into())),
            (b"\x39\x03\xe7", Cbor::Int(-1000)),
            (b"\xf9\x3c\x00", Cbor::Float(1.0)),
            (b"\xf9\xc4\x00", Cbor::Float(-4.0)),
            (b"\xf9\x00\x01", Cbor::Float(5.960464477539063e-8)),
            (b"\xfa\x47\xc3\x50\x00", Cbor::Float(100_000.0)),
            (b"\xfb\x7e\x37\xe4\x3c\x88\x00\x75\x9c", Cbor::Float(1e300)),
            (b"\xf5", Cbor::Bool(true)),
            (b"\xf6", Cbor::Null),
            (b"\x64IETF", text("IETF")),
            (b"\x5f\x42\x01\x02\x43\x03\x04\x05\xff", Cbor::Bytes(Cow::Borrowed(&[1, 2, 3, 4, 5]))),
            (b"\x7f\x65strea\x64ming\xff", text("streaming")),
            (b"\x9f\x01\x82\x02\x03\xff", Cbor::List(vec![1.into(), Cbor::List(vec![2.into(), 3.into()])])),
            (b"\xbf\x61a\x01\xff", Cbor::Map(vec![(text("a"), 1.into())])),
            (b"\xc1\x1a\x51\x4b\x67\xb0", Cbor::Tag(1, Box::new(1_363_896_240.into()))),
        ] {
            assert_eq!(Cbor::read(bytes), Ok(wanted), "{bytes:02x?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let item = Cbor::Map(vec![
            ("a".into(), Cbor::List(vec![Cbor::Int(-70_000), 23.into(), 24.into(), (1 << 40).into()])),
            ("b".into(), Cbor::Tag(56500, Box::new(Cbor::Bytes(Cow::Owned(vec![7; 300]))))),
            ("c".into(), Cbor::List(vec![Cbor::Null, Cbor::Bool(false), Cbor::Float(0.1)])),
        ]);
        let mut bytes = vec![];
        item.write(&mut bytes);
        assert_eq!(Cbor::read(&bytes), Ok(item));
    }

    #[test]
    fn damaged_items_are_faults() {
        for (bytes, wanted) in [
            (
                &b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"[..],
                "it is cut short: wanted 9223372036854775807 bytes",
            ),
            (b"\x82\x01", "it is cut short"),
            (b"\x01\x02", "1 bytes follow the CBOR item"),
            (b"\x61\xff", "a text is not UTF-8"),
            (b"\x9f\x01", "it is cut short"),
            (b"\x1c", "has a length of no known width"),
            (&[0x81; 40], "more than 24 deep"),
        ] {
            let error = Cbor::read(bytes).unwrap_err();
            assert!(error.contains(wanted), "{bytes:02x?}: {error}");
        }
    }
}
