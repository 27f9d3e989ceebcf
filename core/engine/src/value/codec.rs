//! A compact binary form of values, for checkpoints, kept streams and digests.
//!
//! Little-endian throughout; every value starts with one byte that names its kind.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::value::{Array, Column, Dict, Dtype, Key, Pool, Table, Value};

/// Appends the binary form of a value.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    put(value, out, &mut array);
}

/// Gives the binary form of a value piece by piece; large arrays are given where they are, not copied.
pub(crate) fn encode_to<E>(
    value: &Value,
    sink: &mut dyn FnMut(&[u8]) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let (mut out, mut done) = (vec![], Ok(()));
    put(value, &mut out, &mut |a: &Array, out: &mut Vec<u8>| {
        header(a, out);
        if out.len() + a.bytes().len() < PIECE {
            out.extend(a.bytes());
        } else if done.is_ok() {
            done = sink(out).and_then(|()| sink(a.bytes()));
            out.clear();
        }
    });
    done.and_then(|()| sink(&out))
}

/// Bytes that are gathered before they are given on.
const PIECE: usize = 1 << 20;

/// Appends the binary form of a value whose arrays `far` may put as references instead.
pub(crate) fn encode_far(value: &Value, out: &mut Vec<u8>, far: &mut dyn FnMut(&Array) -> Option<FarArray>) {
    put(value, out, &mut |a: &Array, out: &mut Vec<u8>| match far(a) {
        None => array(a, out),
        Some(place) => {
            let words = [place.id, place.segment, place.offset];
            out.extend([if place.back { BACK } else { FAR }, a.dtype() as u8, a.shape().len() as u8]);
            a.shape().iter().for_each(|n| count(*n, out));
            words.iter().for_each(|w| out.extend(w.to_le_bytes()));
        }
    });
}

/// Where the elements of an array are that is not copied into its binary form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FarArray {
    /// Whether it is an array of the receiver that comes back.
    pub back: bool,
    /// The number under which the sender keeps it; of the receiver, when it comes back.
    pub id: u64,
    /// The shared memory of the sender.
    pub segment: u64,
    /// Where it begins: in the segment, or in the array that comes back.
    pub offset: u64,
}

/// The codes that stand for a dtype in references.
const FAR: u8 = 0xff;
const BACK: u8 = 0xfe;

fn put(value: &Value, out: &mut Vec<u8>, array: &mut impl FnMut(&Array, &mut Vec<u8>)) {
    match value {
        Value::None => out.push(0),
        Value::Bool(x) => out.extend([1, u8::from(*x)]),
        Value::Int(x) => {
            out.push(2);
            out.extend(x.to_le_bytes());
        }
        Value::Float(x) => {
            out.push(3);
            out.extend(x.to_le_bytes());
        }
        Value::Text(x) => {
            out.push(4);
            text(x, out);
        }
        Value::List(list) => {
            out.push(5);
            count(list.len(), out);
            list.iter().for_each(|v| put(v, out, array));
        }
        Value::Array(a) => {
            out.push(6);
            array(a, out);
        }
        Value::Table(t) => {
            out.push(7);
            table(t, out, array);
        }
        Value::Dict(d) => {
            out.push(8);
            count(d.len(), out);
            for (key, value) in d.iter() {
                text(key.as_str(), out);
                put(value, out, array);
            }
        }
    }
}

fn count(n: usize, out: &mut Vec<u8>) {
    out.extend((n as u64).to_le_bytes());
}

fn text(s: &str, out: &mut Vec<u8>) {
    count(s.len(), out);
    out.extend(s.as_bytes());
}

fn array(a: &Array, out: &mut Vec<u8>) {
    header(a, out);
    out.extend(a.bytes());
}

/// What stands before the elements of an array.
fn header(a: &Array, out: &mut Vec<u8>) {
    out.push(a.dtype() as u8);
    out.push(a.shape().len() as u8);
    a.shape().iter().for_each(|n| count(*n, out));
}

fn table(t: &Table, out: &mut Vec<u8>, array: &mut impl FnMut(&Array, &mut Vec<u8>)) {
    count(t.rows(), out);
    out.push(u8::from(t.has_records()));
    t.records().iter().for_each(|r| out.extend(r.to_le_bytes()));
    count(t.columns().count(), out);
    for (key, column) in t.columns() {
        text(key.as_str(), out);
        match column {
            Column::Array(a) => {
                out.push(0);
                array(a, out);
            }
            Column::Text(t) => {
                out.push(1);
                count(t.len(), out);
                t.iter().for_each(|s| text(s, out));
            }
            Column::Ragged { ends, values } => {
                out.push(2);
                count(ends.len(), out);
                ends.iter().for_each(|e| out.extend(e.to_le_bytes()));
                array(values, out);
            }
        }
    }
}

/// Reads one value back; damaged bytes are an error, never a panic.
pub fn decode(bytes: &[u8]) -> Result<Value> {
    let mut reader = Reader { rest: bytes, depth: 0, far: None };
    let value = reader.value()?;
    match reader.rest.len() {
        0 => Ok(value),
        n => Err(Error::data(format!("{n} bytes too many after an encoded value"))),
    }
}

/// Finds an array that was put as a reference.
pub(crate) type FindFar<'f> = dyn FnMut(FarArray, Dtype, &[usize]) -> Result<Array> + 'f;

/// Reads the value that bytes begin with, and says how many bytes it took.
pub(crate) fn decode_far(bytes: &[u8], far: &mut FindFar<'_>) -> Result<(Value, usize)> {
    let mut reader = Reader { rest: bytes, depth: 0, far: Some(far) };
    let value = reader.value()?;
    Ok((value, bytes.len() - reader.rest.len()))
}

struct Reader<'a, 'f> {
    rest: &'a [u8],
    depth: usize,
    far: Option<&'a mut FindFar<'f>>,
}

impl<'a> Reader<'a, '_> {
    fn bytes(&mut self, n: usize) -> Result<&'a [u8]> {
        let found = self.rest.len();
        let (head, rest) = self.rest.split_at_checked(n).ok_or_else(|| {
            Error::data(format!("an encoded value ends early: wanted {n} bytes, found {found}"))
        })?;
        self.rest = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.bytes(1)?[0])
    }

    fn word(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes(8)?.try_into().expect("eight bytes were read")))
    }

    /// A count of things that take at least `least` bytes each, so that damage cannot ask for all memory.
    fn count(&mut self, least: usize) -> Result<usize> {
        let (n, room) = (self.word()?, self.rest.len());
        match usize::try_from(n).ok().and_then(|n| n.checked_mul(least).filter(|b| *b <= room).map(|_| n)) {
            Some(n) => Ok(n),
            None => Err(Error::data(format!("an encoded value claims {n} entries in {room} bytes"))),
        }
    }

    fn text(&mut self) -> Result<&'a str> {
        let n = self.count(1)?;
        std::str::from_utf8(self.bytes(n)?)
            .map_err(|e| Error::data(format!("an encoded text is not UTF-8: {e}")))
    }

    fn array(&mut self) -> Result<Array> {
        let first = self.byte()?;
        let reference = first >= BACK && self.far.is_some();
        let code = if reference { self.byte()? } else { first };
        let dtype =
            Dtype::from_code(code).ok_or_else(|| Error::data(format!("no dtype has the code {code}")))?;
        let axes = self.byte()?;
        let shape = (0..axes).map(|_| Ok(self.word()? as usize)).collect::<Result<Vec<_>>>()?;
        if reference {
            let (id, segment, offset) = (self.word()?, self.word()?, self.word()?);
            if let Some(far) = &mut self.far {
                return far(FarArray { back: first == BACK, id, segment, offset }, dtype, &shape);
            }
        }
        let wanted = shape.iter().try_fold(dtype.size(), |n, d| n.checked_mul(*d)).unwrap_or(usize::MAX);
        let bytes = self.bytes(wanted)?;
        let mut out = Pool::unpooled().take(dtype, &shape)?;
        out.bytes_mut().copy_from_slice(bytes);
        Ok(out.freeze())
    }

    fn table(&mut self) -> Result<Table> {
        let rows = self.word()? as usize;
        let mut table = Table::new(rows);
        if self.byte()? == 1 {
            let records = self.words(rows)?;
            table = table.with_records(&records)?;
        }
        for _ in 0..self.count(10)? {
            let key = Key::from(self.text()?.to_owned());
            let column = match self.byte()? {
                0 => Column::Array(self.array()?),
                1 => {
                    let n = self.count(8)?;
                    Column::Text(
                        (0..n).map(|_| Ok(Arc::from(self.text()?))).collect::<Result<Vec<_>>>()?.into(),
                    )
                }
                2 => {
                    let n = self.count(8)?;
                    let ends = self.words(n)?;
                    let values = self.array()?;
                    let last = ends.last().copied().unwrap_or(0);
                    let rising = ends.windows(2).all(|w| w[0] <= w[1]);
                    if !rising || values.shape().first().copied() != Some(last as usize) {
                        return Err(Error::data(format!(
                            "the rows of encoded column `{key}` do not fit its values"
                        )));
                    }
                    Column::Ragged { ends: ends.into(), values }
                }
                kind => return Err(Error::data(format!("no column kind has the code {kind}"))),
            };
            table = table.with_column(key, column)?;
        }
        Ok(table)
    }

    fn words(&mut self, n: usize) -> Result<Vec<u64>> {
        let bytes = self.bytes(n.saturating_mul(8))?;
        Ok(bytes
            .chunks_exact(8)
            .map(|b| u64::from_le_bytes(b.try_into().expect("chunks of eight")))
            .collect())
    }

    fn value(&mut self) -> Result<Value> {
        if self.depth > 64 {
            return Err(Error::data("an encoded value is nested more than 64 deep"));
        }
        self.depth += 1;
        let value = match self.byte()? {
            0 => Value::None,
            1 => Value::Bool(self.byte()? != 0),
            2 => Value::Int(self.word()? as i64),
            3 => Value::Float(f64::from_bits(self.word()?)),
            4 => Value::Text(self.text()?.into()),
            5 => {
                let n = self.count(1)?;
                Value::List((0..n).map(|_| self.value()).collect::<Result<Vec<_>>>()?.into())
            }
            6 => Value::Array(self.array()?),
            7 => Value::Table(self.table()?),
            8 => {
                let n = self.count(9)?;
                let entries = (0..n).map(|_| Ok((Key::from(self.text()?.to_owned()), self.value()?)));
                Value::Dict(entries.collect::<Result<Dict>>()?)
            }
            kind => return Err(Error::data(format!("no kind of value has the code {kind}"))),
        };
        self.depth -= 1;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        let table = Table::new(2).with("x", &[1.5, 2.5]).unwrap().with_records(&[3, 3]).unwrap();
        let table = table.with_column("name", Column::Text([Arc::from("a"), Arc::from("b")].into())).unwrap();
        Dict::new()
            .with("none", Value::None)
            .with("list", vec![Value::Bool(true), Value::Int(-4), Value::from("text")])
            .with("image", Array::of(&[2, 3], &[1u16, 2, 3, 4, 5, 6]).unwrap())
            .with("table", table)
            .into()
    }

    #[test]
    fn pieces_are_the_whole() {
        // Arrays around the size of a piece, in a table and in a list too.
        let large = |n: usize| Array::from_slice(&(0..n).map(|k| k as u8).collect::<Vec<u8>>());
        let table = Table::new(2 << 20).with_column("x", Column::Array(large(2 << 20))).unwrap();
        let list: Vec<Value> = [10, PIECE - 40, PIECE, 3 * PIECE].map(|n| Value::Array(large(n))).to_vec();
        let value =
            Value::Dict(Dict::new().with("a", list).with("b", Value::Table(table)).with("c", sample()));
        let (mut whole, mut pieces, mut most) = (vec![], vec![], 0);
        encode(&value, &mut whole);
        let end: std::result::Result<(), ()> = encode_to(&value, &mut |piece| {
            most = most.max(piece.len());
            pieces.extend_from_slice(piece);
            Ok(())
        });
        end.unwrap();
        assert!(pieces == whole && most == 3 * PIECE);
        let mut given = 0;
        let stopped = encode_to(&value, &mut |_| {
            given += 1;
            if given == 2 { Err("full") } else { Ok(()) }
        });
        assert_eq!((stopped, given), (Err("full"), 2));
    }

    #[test]
    fn what_was_encoded_comes_back() {
        let mut bytes = vec![];
        encode(&sample(), &mut bytes);
        assert_eq!(decode(&bytes).unwrap(), sample());
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let mut bytes = vec![];
        encode(&sample(), &mut bytes);
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
            for flip in [1u8, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let _ = decode(&damaged);
            }
        }
    }
}
