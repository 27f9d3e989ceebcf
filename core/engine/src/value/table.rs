//! Tables: named columns of equal length.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::value::{Array, Dtype, Element, Key, Pool};

/// One column of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Numbers; further axes make a row an array.
    Array(Array),
    /// Texts.
    Text(Arc<[Arc<str>]>),
    /// Ragged arrays: row `i` holds `values[ends[i-1]..ends[i]]`.
    Ragged {
        /// Where each row ends in `values`.
        ends: Arc<[u64]>,
        /// The elements of all rows, one after the other.
        values: Array,
    },
}

impl Column {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        match self {
            Column::Array(a) => a.shape().first().copied().unwrap_or(0),
            Column::Text(t) => t.len(),
            Column::Ragged { ends, .. } => ends.len(),
        }
    }

    fn cut(&self, a: usize, b: usize) -> Result<Column> {
        Ok(match self {
            Column::Array(array) => Column::Array(array.records(a..b)?),
            Column::Text(t) => Column::Text(t[a..b].into()),
            Column::Ragged { ends, values } => {
                let start = if a == 0 { 0 } else { ends[a - 1] };
                let end = if b == 0 { 0 } else { ends[b - 1] };
                let ends = ends[a..b].iter().map(|e| e - start).collect();
                Column::Ragged { ends, values: values.records(start as usize..end as usize)? }
            }
        })
    }
}

/// Named columns of equal length; in a stream each row carries the number of its record, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    rows: usize,
    record: Option<Array>,
    columns: Vec<(Key, Column)>,
}

impl Table {
    /// A table with no columns yet and `rows` rows.
    pub fn new(rows: usize) -> Self {
        Self { rows, record: None, columns: vec![] }
    }

    /// Adds a column of numbers.
    pub fn with<T: Element>(self, name: impl Into<Key>, column: &[T]) -> Result<Self> {
        self.with_column(name, Column::Array(Array::from_slice(column)))
    }

    /// Adds a column.
    pub fn with_column(mut self, name: impl Into<Key>, column: Column) -> Result<Self> {
        let name = name.into();
        if column.rows() != self.rows {
            let (found, wanted) = (column.rows(), self.rows);
            return Err(Error::plugin(format!("column `{name}` has {found} rows, the table has {wanted}")));
        }
        if self.columns.iter().any(|(k, _)| *k == name) {
            return Err(Error::plugin(format!("column `{name}` is in the table already")));
        }
        self.columns.push((name, column));
        Ok(self)
    }

    /// Gives every row its record number; they must not fall.
    pub fn with_records(mut self, records: &[u64]) -> Result<Self> {
        if records.len() != self.rows {
            let (found, wanted) = (records.len(), self.rows);
            return Err(Error::plugin(format!("found {found} record numbers for {wanted} rows")));
        }
        if let Some(at) = records.windows(2).position(|w| w[1] < w[0]) {
            let (a, b) = (records[at], records[at + 1]);
            return Err(Error::plugin(format!("record numbers of a table must not fall: {a} then {b}")));
        }
        self.record = Some(Array::from_slice(records));
        Ok(self)
    }

    /// Gives every row the same record number.
    pub fn with_record(mut self, record: u64) -> Self {
        self.record = Some(Array::from_slice(&vec![record; self.rows]));
        self
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The record number of each row; empty for a table outside a stream.
    pub fn records(&self) -> &[u64] {
        self.record.as_ref().and_then(|r| r.as_slice().ok()).unwrap_or(&[])
    }

    /// Whether rows carry record numbers, even when there are no rows.
    pub fn has_records(&self) -> bool {
        self.record.is_some()
    }

    /// The names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(k, _)| k.as_str())
    }

    /// The columns with their names.
    pub fn columns(&self) -> impl Iterator<Item = (&Key, &Column)> {
        self.columns.iter().map(|(k, c)| (k, c))
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Result<&Column> {
        self.columns.iter().find(|(k, _)| k.as_str() == name).map(|(_, c)| c).ok_or_else(|| {
            let names: Vec<&str> = self.names().collect();
            Error::data(format!("no column `{name}`, found {}", names.join(", ")))
        })
    }

    /// The elements of a column of numbers.
    pub fn numbers<T: Element>(&self, name: &str) -> Result<&[T]> {
        match self.column(name)? {
            Column::Array(a) => a.as_slice().map_err(|e| e.at(format!("column `{name}`"))),
            _ => Err(Error::data(format!("column `{name}` holds no plain numbers"))),
        }
    }

    /// Bytes it keeps in memory, roughly.
    pub fn bytes(&self) -> usize {
        let column = |c: &Column| match c {
            Column::Array(a) => a.bytes().len(),
            Column::Text(t) => t.iter().map(|s| s.len() + 16).sum(),
            Column::Ragged { ends, values } => ends.len() * 8 + values.bytes().len(),
        };
        self.rows * 8 + self.columns.iter().map(|(_, c)| column(c)).sum::<usize>()
    }

    /// The rows `a..b`.
    pub fn cut(&self, a: usize, b: usize) -> Result<Table> {
        let columns = self.columns.iter().map(|(k, c)| Ok((k.clone(), c.cut(a, b)?)));
        Ok(Table {
            rows: b - a,
            record: self.record.as_ref().map(|r| r.records(a..b)).transpose()?,
            columns: columns.collect::<Result<_>>()?,
        })
    }

    /// The rows of records `from..to`.
    pub fn between(&self, from: u64, to: u64) -> Result<Table> {
        if self.record.is_none() && self.rows > 0 {
            return Err(Error::plugin("a table in a stream must carry the record number of each row"));
        }
        let records = self.records();
        self.cut(records.partition_point(|r| *r < from), records.partition_point(|r| *r < to))
    }

    /// Joins tables with the same columns, one after the other.
    pub fn concat(parts: &[&Table], pool: &Pool) -> Result<Table> {
        let [first, ..] = parts else { return Err(Error::internal("nothing to join")) };
        if let Some(other) = parts.iter().find(|t| !t.names().eq(first.names())) {
            let names = |t: &Table| t.names().collect::<Vec<_>>().join(", ");
            return Err(Error::data(format!("cannot join columns {} with {}", names(first), names(other))));
        }
        let rows = parts.iter().map(|t| t.rows).sum();
        // A table without rows may not know yet that its rows will carry records.
        let record = parts.iter().any(|t| t.has_records()).then(|| {
            let all: Vec<u64> = parts.iter().flat_map(|t| t.records().iter().copied()).collect();
            Array::from_slice(&all)
        });
        let mut columns = vec![];
        for (at, (key, _)) in first.columns.iter().enumerate() {
            let cells: Vec<&Column> = parts.iter().map(|t| &t.columns[at].1).collect();
            columns.push((key.clone(), join(key, &cells, pool)?));
        }
        Ok(Table { rows, record, columns })
    }

    /// An empty table with the same columns.
    pub fn emptied(&self) -> Result<Table> {
        self.cut(0, 0)
    }

    /// The dtype of each plain column.
    pub fn dtypes(&self) -> impl Iterator<Item = (&str, Option<Dtype>)> {
        self.columns
            .iter()
            .map(|(k, c)| (k.as_str(), if let Column::Array(a) = c { Some(a.dtype()) } else { None }))
    }
}

fn join(key: &Key, cells: &[&Column], pool: &Pool) -> Result<Column> {
    let differ = || Error::data(format!("column `{key}` is of another kind in the next table"));
    match cells[0] {
        Column::Array(_) => {
            let arrays: Option<Vec<&Array>> =
                cells.iter().map(|c| if let Column::Array(a) = c { Some(a) } else { None }).collect();
            Ok(Column::Array(Array::concat(&arrays.ok_or_else(differ)?, pool)?))
        }
        Column::Text(_) => {
            let mut all = vec![];
            for cell in cells {
                let Column::Text(t) = cell else { return Err(differ()) };
                all.extend(t.iter().cloned());
            }
            Ok(Column::Text(all.into()))
        }
        Column::Ragged { .. } => {
            let (mut all_ends, mut arrays, mut shift) = (vec![], vec![], 0);
            for cell in cells {
                let Column::Ragged { ends, values } = cell else { return Err(differ()) };
                all_ends.extend(ends.iter().map(|e| e + shift));
                shift += ends.last().copied().unwrap_or(0);
                arrays.push(values);
            }
            Ok(Column::Ragged { ends: all_ends.into(), values: Array::concat(&arrays, pool)? })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let ragged =
            Column::Ragged { ends: [2, 2, 3, 5].into(), values: Array::from_slice(&[1u8, 2, 3, 4, 5]) };
        Table::new(4)
            .with("x", &[1.0, 2.0, 3.0, 4.0])
            .unwrap()
            .with_column("pixels", ragged)
            .unwrap()
            .with_records(&[7, 7, 9, 12])
            .unwrap()
    }

    #[test]
    fn a_table_is_cut_anywhere_and_joined_again() {
        let (all, pool) = (table(), Pool::new(0));
        for cut in 7..13 {
            let (a, b) = (all.between(0, cut).unwrap(), all.between(cut, 99).unwrap());
            assert_eq!(Table::concat(&[&a, &b], &pool).unwrap(), all);
        }
        assert_eq!(all.between(8, 10).unwrap().numbers::<f64>("x").unwrap(), &[3.0]);
    }

    #[test]
    fn an_empty_table_keeps_its_record_numbers() {
        use crate::value::{Value, decode, encode};
        let (all, pool) = (table(), Pool::new(0));
        let empty = all.between(0, 1).unwrap();
        assert!(empty.has_records() && empty.rows() == 0);
        let mut bytes = vec![];
        encode(&Value::Table(empty.clone()), &mut bytes);
        assert_eq!(decode(&bytes).unwrap(), Value::Table(empty.clone()));
        assert_eq!(Table::concat(&[&empty, &all], &pool).unwrap(), all);
    }

    #[test]
    fn unequal_columns_and_falling_records_are_refused() {
        assert!(Table::new(2).with("x", &[1.0]).is_err());
        assert!(Table::new(2).with_records(&[3, 2]).is_err());
    }
}
