//! What a chunk puts into a set: plain columns, each counted by records, by rows or by ragged values.

use std::sync::Arc;

use isard_core::prelude::*;
use serde::Serialize;

/// One column of a set, as the master lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Leaf {
    /// Where it stands below `/entry`.
    pub path: String,
    /// The name by which a recipe knows it: `image`, `peaks.row`.
    pub name: String,
    /// What counts its elements: 0 records, others rows of a table or values of a ragged column.
    pub class: usize,
    /// The dtype's name; none for text.
    pub dtype: Option<String>,
    /// The extents of one element.
    pub dims: Vec<usize>,
}

/// A column and what a chunk adds to it.
pub(crate) struct Item {
    pub leaf: Leaf,
    pub data: Data,
}

/// What a chunk adds to a column.
pub(crate) enum Data {
    /// Numbers that lead with the class.
    Numbers(Array),
    /// Places in a ragged column, to be moved on by all values before.
    Places { local: Vec<u64>, class: usize },
    /// Texts.
    Texts(Vec<Arc<str>>),
}

impl Data {
    /// How many elements it adds.
    pub fn count(&self) -> u64 {
        match self {
            Data::Numbers(a) => a.shape().first().copied().unwrap_or(0) as u64,
            Data::Places { local, .. } => local.len() as u64,
            Data::Texts(texts) => texts.len() as u64,
        }
    }
}

/// Parts what comes with each record from what is the same for the whole run.
pub(crate) fn constants(input: Dict) -> (Dict, Dict) {
    let each = |v: &Value| matches!(v, Value::Array(_) | Value::List(_) | Value::Table(_));
    let (stream, fixed): (Vec<_>, Vec<_>) = input.into_iter().partition(|(_, v)| each(v));
    (stream.into_iter().collect(), fixed.into_iter().collect())
}

/// The columns of a chunk, record numbers first.
pub(crate) fn items(span: &Span, data: &Dict) -> Result<Vec<Item>> {
    let mut found = Found { span, items: vec![], classes: 1 };
    let numbers: Vec<u64> = span.range().collect();
    let axis = span.axis.as_str();
    found.numbers(&format!("data/{axis}"), axis, 0, Array::from_slice(&numbers))?;
    for (key, value) in data.iter() {
        let name = key.as_str();
        found.value(name, value).map_err(|e| e.at(format!("`{name}`")))?;
    }
    Ok(found.items)
}

/// Bytes of each record of a chunk.
pub(crate) fn weights(span: &Span, data: &Dict) -> Result<Vec<u64>> {
    let mut weights = vec![8; span.len as usize];
    for (key, value) in data.iter() {
        match value {
            Value::Array(array) => {
                let each = (array.bytes().len() as u64).checked_div(span.len).unwrap_or(0);
                weights.iter_mut().for_each(|w| *w += each);
            }
            Value::List(list) => {
                weights.iter_mut().zip(list.iter()).for_each(|(w, v)| *w += v.bytes() as u64)
            }
            Value::Table(table) => {
                let rows = rows(table);
                for (record, row) in table.records().iter().zip(rows) {
                    let at = record.checked_sub(span.start).map(|at| at as usize);
                    let weight = at.and_then(|at| weights.get_mut(at)).ok_or_else(|| {
                        Error::plugin(format!("`{key}` has a row of record {record}, outside {span}"))
                    })?;
                    *weight += row;
                }
            }
            _ => (),
        }
    }
    Ok(weights)
}

/// Bytes of each row of a table.
fn rows(table: &Table) -> Vec<u64> {
    let mut rows = vec![8; table.rows()];
    for (_, column) in table.columns() {
        match column {
            Column::Array(a) => {
                let each = (a.bytes().len() as u64).checked_div(table.rows() as u64).unwrap_or(0);
                rows.iter_mut().for_each(|r| *r += each);
            }
            Column::Text(t) => rows.iter_mut().zip(t.iter()).for_each(|(r, t)| *r += t.len() as u64),
            Column::Ragged { ends, values } => {
                let n = values.shape().first().copied().unwrap_or(0) as u64;
                let each = (values.bytes().len() as u64).checked_div(n).unwrap_or(0);
                let mut start = 0;
                for (row, end) in rows.iter_mut().zip(ends.iter()) {
                    *row += 16 + (end - start) * each;
                    start = *end;
                }
            }
        }
    }
    rows
}

struct Found<'a> {
    span: &'a Span,
    items: Vec<Item>,
    classes: usize,
}

impl Found<'_> {
    fn value(&mut self, name: &str, value: &Value) -> Result<()> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(Error::recipe("is no name for a dataset, wanted one without `/`"));
        }
        let wanted = self.span.len;
        match value {
            Value::Table(table) => self.table(name, table),
            value if value.records() != Some(wanted as usize) => {
                let found = value.describe();
                Err(Error::data(format!("is {found}, wanted {wanted} records in front"))
                    .help("an array that is the same for the whole run is not written with each record"))
            }
            Value::Array(array) => self.numbers(&format!("data/{name}"), name, 0, array.clone()),
            Value::List(list) => {
                let texts = list.iter().map(text).collect();
                self.texts(&format!("data/{name}"), name, 0, texts);
                Ok(())
            }
            other => Err(Error::internal(format!("{} came as a record", other.describe()))),
        }
    }

    fn table(&mut self, name: &str, table: &Table) -> Result<()> {
        if table.rows() > 0 && table.records().is_empty() {
            return Err(Error::plugin("has rows without record numbers"));
        }
        let rows = self.class();
        let axis = self.span.axis.as_str();
        let at = format!("tables/{name}");
        let path = |column: &str| format!("{at}/{column}");
        let full = |column: &str| format!("{name}.{column}");
        self.numbers(&path(axis), &full(axis), rows, Array::from_slice(table.records()))?;
        for (key, column) in table.columns() {
            let key = key.as_str();
            let (path, full) = (path(key), full(key));
            match column {
                Column::Array(array) => self.numbers(&path, &full, rows, array.clone())?,
                Column::Text(texts) => self.texts(&path, &full, rows, texts.to_vec()),
                Column::Ragged { ends, values } => {
                    let class = self.class();
                    let starts = std::iter::once(0).chain(ends.iter().copied());
                    let local: Vec<u64> = starts.take(ends.len()).collect();
                    let count: Vec<u64> = ends.iter().zip(&local).map(|(end, start)| end - start).collect();
                    let data = Data::Places { local, class };
                    let leaf = self.leaf(&format!("{path}/offset"), &full, rows, Some(Dtype::U64), &[]);
                    self.items.push(Item { leaf, data });
                    self.numbers(&format!("{path}/count"), &full, rows, Array::from_slice(&count))?;
                    self.numbers(&format!("{path}/values"), &full, class, values.clone())?;
                }
            }
        }
        Ok(())
    }

    fn class(&mut self) -> usize {
        self.classes += 1;
        self.classes - 1
    }

    fn leaf(&self, path: &str, name: &str, class: usize, dtype: Option<Dtype>, dims: &[usize]) -> Leaf {
        let dtype = dtype.map(|d| d.name().to_owned());
        Leaf { path: path.into(), name: name.into(), class, dtype, dims: dims.to_vec() }
    }

    fn numbers(&mut self, path: &str, name: &str, class: usize, array: Array) -> Result<()> {
        let dims = array.shape().get(1..).unwrap_or_default();
        if dims.contains(&0) {
            return Err(Error::data(format!("holds records of shape {dims:?}, which are empty")));
        }
        let leaf = self.leaf(path, name, class, Some(array.dtype()), dims);
        self.items.push(Item { leaf, data: Data::Numbers(array) });
        Ok(())
    }

    fn texts(&mut self, path: &str, name: &str, class: usize, texts: Vec<Arc<str>>) {
        let leaf = self.leaf(path, name, class, None, &[]);
        self.items.push(Item { leaf, data: Data::Texts(texts) });
    }
}

/// A value of a list as text: itself, or its JSON form.
fn text(value: &Value) -> Arc<str> {
    match value {
        Value::Text(text) => text.clone(),
        Value::None => "".into(),
        other => other.to_json().to_string().into(),
    }
}
