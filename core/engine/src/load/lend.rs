//! Values lent to the other side for the length of a call.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::null;

use crate::load::abi::{self, Any, Text, kind};
use crate::value::{Array, Column, Dict, Table, Value};

/// Keeps arrays of this binary for the other side: a handle is a boxed [`Array`].
pub(crate) static KEEPER: abi::Keeper = abi::Keeper { retain: retain_array, release: release_array };

unsafe extern "C" fn retain_array(owner: *const c_void) -> *const c_void {
    // SAFETY: `owner` is what `Loan::array` lent or this function gave: a pointer to a live `Array`.
    let array = unsafe { &*owner.cast::<Array>() };
    Box::into_raw(Box::new(array.clone())).cast_const().cast()
}

unsafe extern "C" fn release_array(handle: *const c_void) {
    // SAFETY: `handle` came from `retain_array` and is released once.
    drop(unsafe { Box::from_raw(handle.cast::<Array>().cast_mut()) });
}

/// The C form of an array: valid while the array is.
///
/// What another library keeps is lent in its name: an array that goes back and forth is not wrapped again each time.
pub(crate) fn array(array: &Array) -> abi::Array {
    let (keeper, owner) = match array.lender() {
        Some(lender) => (lender.keeper.cast(), lender.handle),
        None => (&raw const KEEPER, std::ptr::from_ref(array).cast()),
    };
    abi::Array {
        data: array.bytes().as_ptr().cast(),
        shape: array.shape().as_ptr().cast(),
        owner,
        keeper,
        dtype: array.dtype() as u32,
        ndim: array.shape().len() as u32,
    }
}

/// A frozen array as an owner that the other side must release.
pub(crate) fn give(array: Array) -> abi::Array {
    self::array(Box::leak(Box::new(array)))
}

/// What a value needs beside itself while it is lent: the C form of its insides.
///
/// A flat dictionary of arrays, the usual input of a stage, takes one allocation.
#[derive(Default)]
pub(crate) struct Loan<'a> {
    entries: Vec<Vec<abi::Entry>>,
    values: Vec<Vec<abi::Value>>,
    tables: Vec<Vec<abi::Table>>,
    columns: Vec<Vec<abi::Column>>,
    texts: Vec<Vec<Text>>,
    lender: PhantomData<&'a Value>,
}

impl<'a> Loan<'a> {
    /// Lends a dictionary: valid while it and the loan are.
    pub fn dict(&mut self, dict: &'a Dict) -> abi::Dict {
        let mut entries = Vec::with_capacity(dict.len());
        for (key, value) in dict.iter() {
            entries.push(abi::Entry { key: Text::of(key.as_str()), value: self.value(value) });
        }
        let lent = abi::Dict { entries: entries.as_ptr(), len: entries.len() as u64 };
        self.entries.push(entries);
        lent
    }

    /// Lends a value: valid while it and the loan are.
    pub fn value(&mut self, value: &'a Value) -> abi::Value {
        let (kind, as_) = match value {
            Value::None => (kind::NONE, Any { int: 0 }),
            Value::Bool(x) => (kind::BOOL, Any { int: i64::from(*x) }),
            Value::Int(x) => (kind::INT, Any { int: *x }),
            Value::Float(x) => (kind::FLOAT, Any { float: *x }),
            Value::Text(x) => (kind::TEXT, Any { text: Text::of(x) }),
            Value::List(x) => {
                let items: Vec<abi::Value> = x.iter().map(|v| self.value(v)).collect();
                let list = abi::List { items: items.as_ptr(), len: items.len() as u64 };
                self.values.push(items);
                (kind::LIST, Any { list })
            }
            Value::Array(x) => (kind::ARRAY, Any { array: array(x) }),
            Value::Table(x) => (kind::TABLE, Any { table: self.table(x) }),
            Value::Dict(x) => (kind::DICT, Any { dict: self.dict(x) }),
        };
        abi::Value { kind, reserved: 0, as_ }
    }

    fn table(&mut self, table: &'a Table) -> *const abi::Table {
        let columns: Vec<abi::Column> =
            table.columns().map(|(key, column)| self.column(key.as_str(), column)).collect();
        // An empty table of a stream differs from one outside: its record numbers are there, all none of them.
        let numbered = match table.rows() {
            0 => table.clone().with_records(&[]).is_ok_and(|with| with == *table),
            _ => !table.records().is_empty(),
        };
        let lent = vec![abi::Table {
            rows: table.rows() as u64,
            records: if numbered { table.records().as_ptr() } else { null() },
            columns: columns.as_ptr(),
            len: columns.len() as u64,
        }];
        let at = lent.as_ptr();
        self.columns.push(columns);
        self.tables.push(lent);
        at
    }

    fn column(&mut self, name: &'a str, column: &'a Column) -> abi::Column {
        let none =
            abi::Array { data: null(), shape: null(), owner: null(), keeper: null(), dtype: 0, ndim: 0 };
        let mut lent = abi::Column {
            name: Text::of(name),
            kind: abi::column::ARRAY,
            reserved: 0,
            array: none,
            texts: null(),
            ends: null(),
        };
        match column {
            Column::Array(a) => lent.array = array(a),
            Column::Text(all) => {
                let texts: Vec<Text> = all.iter().map(|t| Text::of(t)).collect();
                lent.kind = abi::column::TEXT;
                lent.texts = texts.as_ptr();
                self.texts.push(texts);
            }
            Column::Ragged { ends, values } => {
                lent.kind = abi::column::RAGGED;
                lent.array = array(values);
                lent.ends = ends.as_ptr();
            }
        }
        lent
    }
}
