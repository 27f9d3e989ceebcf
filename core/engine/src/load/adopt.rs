//! Values of the other side, taken in: arrays are kept where they are, the rest is copied.

use std::ffi::c_void;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::load::abi::{self, Text, kind};
use crate::load::lend;
use crate::port::Port;
use crate::span::{FRAME, Gap, Reason, SNAPSHOT, Span};
use crate::value::{Array, Column, Dict, Dtype, Key, Lender, Pool, Table, Value};

/// The names that a stage uses again and again, so that a call does not allocate them.
#[derive(Default)]
pub(crate) struct Keys(Vec<Key>);

impl Keys {
    /// The names of ports.
    pub fn of(ports: &[Port]) -> Keys {
        Keys(ports.iter().map(|port| Key::from(port.name.clone())).collect())
    }

    fn key(&self, name: &str) -> Key {
        match self.0.iter().find(|key| key.as_str() == name) {
            Some(key) => key.clone(),
            None => Key::from(name.to_owned()),
        }
    }
}

/// Takes values of the other side in.
pub(crate) struct Adopt<'a> {
    /// The names to expect.
    pub keys: &'a Keys,
    /// Where arrays go that cannot be kept where they are.
    pub pool: &'a Pool,
}

/// How deep values may be nested.
const DEPTH: usize = 64;

/// # Safety
/// `len` elements at `data` must be readable for `'a`.
pub(crate) unsafe fn slice<'a, T>(data: *const T, len: u64, what: &str) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() || len > isize::MAX as u64 / size_of::<T>().max(1) as u64 {
        return Err(Error::plugin(format!("{what}: {len} entries at {data:?}")));
    }
    // SAFETY: not null, of a possible length, and readable as the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(data, len as usize) })
}

/// The text of the other side.
///
/// # Safety
/// The bytes must be readable for `'a`.
pub(crate) unsafe fn text<'a>(text: Text) -> Result<&'a str> {
    // SAFETY: as the caller promises.
    let bytes = unsafe { slice(text.data, text.len, "a text") }?;
    std::str::from_utf8(bytes).map_err(|e| Error::plugin(format!("a text that is not UTF-8: {e}")))
}

/// The extents of an array of the other side.
///
/// # Safety
/// `ndim` numbers at `shape` must be readable.
pub(crate) unsafe fn shape<'a>(shape: *const u64, ndim: u32) -> Result<&'a [usize]> {
    if ndim > 8 {
        return Err(Error::plugin(format!("an array has at most 8 axes, found {ndim}")));
    }
    // SAFETY: as the caller promises; `usize` has 64 bits here.
    unsafe { slice(shape.cast::<usize>(), u64::from(ndim), "a shape") }
}

/// The dtype of a code.
pub(crate) fn dtype(code: u32) -> Result<Dtype> {
    u8::try_from(code)
        .ok()
        .and_then(Dtype::from_code)
        .ok_or_else(|| Error::plugin(format!("no dtype has the code {code}, known are 1 to 12")))
}

/// Lets a handle of another library go.
///
/// # Safety
/// `keeper` must have given `handle`, which is not used again.
unsafe fn release(keeper: *const c_void, handle: *const c_void) {
    // SAFETY: as the caller promises; the keeper is a static of a library that is never unloaded.
    unsafe { ((*keeper.cast::<abi::Keeper>()).release)(handle) }
}

/// The array of this binary that comes back, or a part of it.
fn returned(ours: &Array, raw: &abi::Array, dtype: Dtype, shape: &[usize], len: usize) -> Option<Array> {
    let offset = (raw.data as usize).checked_sub(ours.bytes().as_ptr() as usize)?;
    let inside = offset.checked_add(len)? <= ours.bytes().len();
    if inside && dtype == ours.dtype() { ours.part(offset, shape).ok() } else { None }
}

impl Adopt<'_> {
    /// An array, kept where it is when the other side says how.
    ///
    /// # Safety
    /// The array must be as the interface demands, for the length of this call.
    pub unsafe fn array(&self, raw: &abi::Array) -> Result<Array> {
        let dtype = dtype(raw.dtype)?;
        // SAFETY: the other side lends `ndim` extents.
        let shape = unsafe { shape(raw.shape, raw.ndim) }?;
        let len = crate::value::Dims::new(shape)?
            .elements()?
            .checked_mul(dtype.size())
            .filter(|bytes| *bytes < isize::MAX as usize)
            .ok_or_else(|| Error::plugin(format!("an array of {dtype} {shape:?} does not fit in memory")))?;
        if raw.data.is_null() && len > 0 {
            return Err(Error::plugin(format!("an array of {dtype} {shape:?} without elements")));
        }
        let aligned = (raw.data as usize).is_multiple_of(dtype.size().min(8));
        if raw.keeper.is_null() || len == 0 || !aligned {
            let mut out = self.pool.take(dtype, shape)?;
            // SAFETY: the other side lends the elements that the shape counts.
            out.bytes_mut().copy_from_slice(unsafe { slice(raw.data.cast::<u8>(), len as u64, "an array") }?);
            return Ok(out.freeze());
        }
        if std::ptr::eq(raw.keeper, &raw const lend::KEEPER) {
            // SAFETY: the owner of what this binary keeps is an array, as `lend` made it.
            let ours = unsafe { &*raw.owner.cast::<Array>() };
            if let Some(array) = returned(ours, raw, dtype, shape, len) {
                return Ok(array);
            }
        }
        // SAFETY: the keeper belongs to the owner and lives as long as its library, which is for good.
        let handle = unsafe { ((*raw.keeper).retain)(raw.owner) };
        let lender = Lender { keeper: raw.keeper.cast(), handle, release };
        // SAFETY: the handle keeps the elements readable and unchanged until it is released.
        unsafe { Array::over_foreign(raw.data.cast(), len, dtype, shape, lender) }
    }

    /// A dictionary.
    ///
    /// # Safety
    /// The dictionary must be as the interface demands, for the length of this call.
    pub unsafe fn dict(&self, raw: &abi::Dict) -> Result<Dict> {
        // SAFETY: as the caller promises.
        unsafe { self.dict_at(raw, 0) }
    }

    /// A value.
    ///
    /// # Safety
    /// The value must be as the interface demands, for the length of this call.
    pub unsafe fn value(&self, raw: &abi::Value) -> Result<Value> {
        // SAFETY: as the caller promises.
        unsafe { self.value_at(raw, 0) }
    }

    /// The name of an entry.
    ///
    /// # Safety
    /// The text must be readable.
    pub unsafe fn key(&self, raw: Text) -> Result<Key> {
        // SAFETY: as the caller promises.
        Ok(self.keys.key(unsafe { text(raw) }?))
    }

    unsafe fn dict_at(&self, raw: &abi::Dict, depth: usize) -> Result<Dict> {
        // SAFETY: the other side lends its entries.
        let entries = unsafe { slice(raw.entries, raw.len, "a dict") }?;
        let mut dict = Dict::with_capacity(entries.len());
        for entry in entries {
            // SAFETY: the other side lends the name of the entry.
            let key = unsafe { self.key(entry.key) }?;
            // SAFETY: the other side lends the value of the entry.
            let value = unsafe { self.value_at(&entry.value, depth + 1) };
            dict.set(key.clone(), value.map_err(|e| e.at(format!("`{key}`")))?);
        }
        Ok(dict)
    }

    unsafe fn value_at(&self, raw: &abi::Value, depth: usize) -> Result<Value> {
        if depth > DEPTH {
            return Err(Error::plugin(format!("a value is nested more than {DEPTH} deep")));
        }
        // SAFETY: the kind says which member of the union was written; what it points to is lent.
        unsafe {
            Ok(match raw.kind {
                kind::NONE => Value::None,
                kind::BOOL => Value::Bool(raw.as_.int != 0),
                kind::INT => Value::Int(raw.as_.int),
                kind::FLOAT => Value::Float(raw.as_.float),
                kind::TEXT => Value::Text(text(raw.as_.text)?.into()),
                kind::LIST => {
                    let list = raw.as_.list;
                    let items = slice(list.items, list.len, "a list")?.iter();
                    Value::List(items.map(|v| self.value_at(v, depth + 1)).collect::<Result<_>>()?)
                }
                kind::ARRAY => Value::Array(self.array(&raw.as_.array)?),
                kind::TABLE => match raw.as_.table.as_ref() {
                    Some(table) => Value::Table(self.table(table)?),
                    None => return Err(Error::plugin("a table without content")),
                },
                kind::DICT => Value::Dict(self.dict_at(&raw.as_.dict, depth)?),
                other => {
                    return Err(Error::plugin(format!(
                        "no kind of value has the code {other}, known are 0 to 8"
                    )));
                }
            })
        }
    }

    unsafe fn table(&self, raw: &abi::Table) -> Result<Table> {
        let rows = raw.rows;
        let mut table = Table::new(rows as usize);
        if !raw.records.is_null() {
            // SAFETY: the other side lends a record number for each row.
            table = table.with_records(unsafe { slice(raw.records, rows, "record numbers") }?)?;
        }
        // SAFETY: the other side lends its columns.
        for column in unsafe { slice(raw.columns, raw.len, "the columns of a table") }? {
            // SAFETY: the other side lends the name of the column.
            let name = unsafe { self.key(column.name) }?;
            // SAFETY: the other side lends the content of the column, of as many rows as the table.
            let column = unsafe { self.column(column, rows) };
            table = table.with_column(name.clone(), column.map_err(|e| e.at(format!("column `{name}`")))?)?;
        }
        Ok(table)
    }

    unsafe fn column(&self, raw: &abi::Column, rows: u64) -> Result<Column> {
        match raw.kind {
            // SAFETY: the other side lends the array.
            abi::column::ARRAY => Ok(Column::Array(unsafe { self.array(&raw.array) }?)),
            abi::column::TEXT => {
                // SAFETY: the other side lends one text for each row.
                let texts = unsafe { slice(raw.texts, rows, "a text column") }?.iter();
                // SAFETY: as above, each text.
                Ok(Column::Text(texts.map(|t| Ok(Arc::from(unsafe { text(*t) }?))).collect::<Result<_>>()?))
            }
            abi::column::RAGGED => {
                // SAFETY: the other side lends one end for each row.
                let ends = unsafe { slice(raw.ends, rows, "a ragged column") }?;
                // SAFETY: the other side lends the array.
                let values = unsafe { self.array(&raw.array) }?;
                let (last, found) = (ends.last().copied().unwrap_or(0), values.shape().first().copied());
                if found != Some(last as usize) || ends.windows(2).any(|w| w[1] < w[0]) {
                    return Err(Error::plugin(format!(
                        "rows end at {last}, values are {:?}",
                        values.shape()
                    )));
                }
                Ok(Column::Ragged { ends: ends.into(), values })
            }
            other => Err(Error::plugin(format!("no kind of column has the code {other}, known are 0 to 2"))),
        }
    }
}

/// A span of the other side.
///
/// # Safety
/// The name of the axis must be readable.
pub(crate) unsafe fn span(raw: &abi::Records) -> Result<Span> {
    // SAFETY: as the caller promises.
    let axis = match unsafe { text(raw.axis) }? {
        "" | "frame" => FRAME,
        "snapshot" => SNAPSHOT,
        other => Key::from(other.to_owned()),
    };
    if raw.start.checked_add(raw.len).is_none() {
        return Err(Error::plugin(format!("records {} and {} more", raw.start, raw.len)));
    }
    Ok(Span { axis, start: raw.start, len: raw.len })
}

/// The reason of a code; none for good records.
pub(crate) fn reason(code: u32) -> Result<Option<Reason>> {
    Ok(Some(match code {
        abi::reason::GOOD => return Ok(None),
        abi::reason::MISSING => Reason::Missing,
        abi::reason::CORRUPT => Reason::Corrupt,
        abi::reason::SKIPPED => Reason::Skipped,
        abi::reason::DROPPED => Reason::Dropped,
        other => return Err(Error::plugin(format!("no reason has the code {other}, known are 1 to 4"))),
    }))
}

/// The code of a reason.
pub(crate) fn reason_code(reason: Reason) -> u32 {
    match reason {
        Reason::Missing => abi::reason::MISSING,
        Reason::Corrupt => abi::reason::CORRUPT,
        Reason::Skipped => abi::reason::SKIPPED,
        Reason::Dropped => abi::reason::DROPPED,
    }
}

/// The C form of a span: valid while it is.
pub(crate) fn lend_span(span: &Span) -> abi::Records {
    abi::Records {
        axis: Text::of(span.axis.as_str()),
        start: span.start,
        len: span.len,
        ..abi::Records::NONE
    }
}

/// The C form of a gap: valid while it is.
pub(crate) fn lend_gap(gap: &Gap) -> abi::Records {
    abi::Records { reason: reason_code(gap.reason), why: Text::of(&gap.why), ..lend_span(&gap.span) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::lend::Loan;

    fn adopted(value: &Value) -> Value {
        let mut loan = Loan::default();
        let lent = loan.value(value);
        let adopt = Adopt { keys: &Keys::default(), pool: Pool::unpooled() };
        // SAFETY: value and loan are alive.
        unsafe { adopt.value(&lent) }.unwrap()
    }

    fn refused(lent: abi::Value) -> String {
        let adopt = Adopt { keys: &Keys::default(), pool: Pool::unpooled() };
        // SAFETY: what is wrong with the value is found before anything is read through it.
        unsafe { adopt.value(&lent) }.unwrap_err().to_string()
    }

    #[test]
    fn every_kind_of_value_comes_back_as_it_was_and_after_the_lender_is_gone() {
        let numbers = Array::of(&[2, 3], &[1u16, 2, 3, 4, 5, 6]).unwrap();
        let names = Column::Text([Arc::from("a"), Arc::from("\u{e9}")].into());
        let ragged = Column::Ragged { ends: [0, 3].into(), values: Array::from_slice(&[1.5f32, 2.5, 3.5]) };
        let table = Table::new(2)
            .with_column("image", Column::Array(numbers.clone()))
            .and_then(|t| t.with_column("name", names))
            .and_then(|t| t.with_column("pixels", ragged))
            .unwrap();
        let value = Value::Dict(
            Dict::new()
                .with("none", Value::None)
                .with("bool", true)
                .with("int", i64::MIN)
                .with("float", -0.0)
                .with("text", "\u{3c9}")
                .with("empty", "")
                .with("list", vec![Value::Int(1), Value::from(vec![]), Value::from(Dict::new())])
                .with("array", numbers.clone())
                .with("part", numbers.record(1).unwrap())
                .with("nothing", Array::of::<f64>(&[0, 5], &[]).unwrap())
                .with("scalar", Array::of(&[], &[7i8]).unwrap())
                .with("table", table.clone())
                .with("numbered", table.with_records(&[3, 9]).unwrap()),
        );
        let bytes = |value: &Value| {
            let mut out = vec![];
            crate::value::encode(value, &mut out);
            out
        };
        let (wanted, back) = (bytes(&value), adopted(&value));
        assert_eq!(back, value);
        drop((value, numbers));
        let again = adopted(&back);
        drop(back);
        assert_eq!(bytes(&again), wanted);
    }

    #[test]
    fn an_empty_table_of_a_stream_stays_one() {
        let bare = Table::new(0).with::<f64>("x", &[]).unwrap();
        let numbered = bare.clone().with_records(&[]).unwrap();
        assert_ne!(bare, numbered);
        for table in [bare, numbered] {
            assert_eq!(adopted(&Value::Table(table.clone())), Value::Table(table));
        }
    }

    #[test]
    fn elements_stay_where_they_are_unless_there_is_no_keeper() {
        let array = Array::from_slice(&[1u32, 2, 3]);
        let Value::Array(kept) = adopted(&Value::Array(array.clone())) else { panic!("an array") };
        assert_eq!(kept.bytes().as_ptr(), array.bytes().as_ptr());

        let bare = abi::Array { keeper: std::ptr::null(), ..lend::array(&array) };
        let adopt = Adopt { keys: &Keys::default(), pool: Pool::unpooled() };
        // SAFETY: `array` is alive.
        let copied = unsafe { adopt.array(&bare) }.unwrap();
        assert_ne!(copied.bytes().as_ptr(), array.bytes().as_ptr());
        assert_eq!(copied, array);
    }

    #[test]
    fn nonsense_is_refused_before_it_is_read() {
        let value = |kind, as_| abi::Value { kind, reserved: 0, as_ };
        assert!(refused(value(99, abi::Any { int: 0 })).contains("code 99"));
        let text = Text { data: std::ptr::null(), len: 4 };
        assert!(refused(value(kind::TEXT, abi::Any { text })).contains("4 entries"));
        let text = Text { data: [0xff, 0xfe].as_ptr(), len: 2 };
        assert!(refused(value(kind::TEXT, abi::Any { text })).contains("not UTF-8"));
        let table = std::ptr::null();
        assert!(refused(value(kind::TABLE, abi::Any { table })).contains("without content"));
        let list = abi::List { items: std::ptr::null(), len: u64::MAX };
        assert!(refused(value(kind::LIST, abi::Any { list })).contains("entries"));

        let shape = [4u64, 4, 1 << 62];
        let array = lend::array(&Array::from_slice(&[1u8]));
        let broken = |dtype, ndim, data| {
            let array = abi::Array { dtype, ndim, shape: shape.as_ptr(), data, ..array };
            refused(value(kind::ARRAY, abi::Any { array }))
        };
        assert!(broken(13, 1, array.data).contains("no dtype has the code 13"));
        assert!(broken(1, 9, array.data).contains("at most 8 axes, found 9"));
        assert!(broken(1, 3, array.data).contains("does not fit in memory"));
        assert!(broken(1, 2, std::ptr::null()).contains("without elements"));

        let mut deep = Value::Int(1);
        for _ in 0..=DEPTH {
            deep = Value::from(vec![deep]);
        }
        let mut loan = Loan::default();
        assert!(refused(loan.value(&deep)).contains("more than 64 deep"));
    }
}
