//! Tables as streams: positions, motors and monitors that are joined with frames.

use std::path::Path;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;

use crate::convert::format;
use crate::text::{Cells, Columns};

/// Endings of files with columns of text.
pub(crate) const ENDINGS: [&str; 5] = [".csv", ".tsv", ".txt", ".dat", ".xy"];

/// One record for each row of a table: positions, motors, monitors.
///
/// The table is a text file with columns (CSV, or columns between blanks, with `#` for comments), or arrays that lead with
/// the rows: `positions.npy`, or datasets of an HDF5 file. Each column is an output of its name. With `flow.join` by number the
/// rows meet the frames of another source.
///
/// Keeps order and count; with `number` a row takes the number that stands in that column. The whole table is kept in
/// memory.
///
/// Source: RFC 4180 for CSV.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableRows {
    /// The table, such as `positions.csv`.
    ///
    /// Also `motors.txt`, `positions.npy` or `scan.h5::/entry/omega`.
    #[schemars(extend("x-path" = "input", "x-endings" = ENDINGS))]
    path: String,
    /// The columns that are given, each under its name.
    ///
    /// Without it all of a text file, or one called `value`. Of a text file these are names of its columns; else paths of their own, such as `scan.h5::/entry/y`, or `/entry/y` in
    /// the file of `path`.
    #[serde(default)]
    columns: std::collections::BTreeMap<String, String>,
    /// The column that holds the number of each row; else they are counted from 0.
    #[serde(default)]
    number: Option<String>,
    #[serde(skip)]
    #[schemars(skip)]
    state: Option<State>,
}

/// What [`TableRows`] gives.
#[derive(Ports)]
pub struct TableOut {
    /// The columns, each under its name.
    #[port(open)]
    columns: Dict,
}

struct State {
    columns: Dict,
    /// The number of each row, where they are not counted.
    numbers: Option<Vec<u64>>,
    rows: usize,
    next: usize,
}

impl Stage for TableRows {
    type In = ();
    type Out = TableOut;

    fn example() -> Example {
        let path = Example::file("positions.csv", b"y,x\n0.0,0.0\n0.0,0.5\n0.5,0.0\n0.5,0.5\n");
        Example::new(format!("path = {path:?}"))
    }

    fn check(&self, faults: &mut Faults) {
        if self.path.is_empty() {
            faults.add("path", "is empty, wanted a table");
        }
    }
}

impl Source for TableRows {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let mut columns = self.read(cx)?;
        let numbers = match &self.number {
            Some(name) => {
                let column = columns.take(name);
                columns.retain(|key| key != name);
                Some(numbers(column, name, &self.path)?)
            }
            None => None,
        };
        let rows = columns.values().find_map(Value::records).or(numbers.as_ref().map(Vec::len));
        let rows = rows.filter(|_| !columns.is_empty());
        let rows = rows.ok_or_else(|| Error::data(format!("{}: holds no column", self.path)))?;
        for (name, column) in columns.iter() {
            if column.records() != Some(rows) {
                let found = column.describe();
                return Err(Error::data(format!(
                    "column `{name}` is {found}, wanted {rows} rows as the first has"
                )));
            }
        }
        let mut shapes = Shapes::default();
        for (name, column) in columns.iter() {
            if let Value::Array(array) = column {
                shapes = shapes.with(name.as_str(), Shape::array(array.dtype(), &array.shape()[1..]));
            }
        }
        let (next, frames) = match &numbers {
            Some(numbers) => {
                (numbers.iter().take_while(|n| **n < from.next).count(), numbers.last().map_or(0, |n| n + 1))
            }
            None => ((from.next as usize).min(rows), rows as u64),
        };
        self.state = Some(State { columns, numbers, rows, next });
        Ok(Opened { frames: Some(frames), shapes, ..Opened::default() })
    }

    fn pull(&mut self, _: &Cx, slots: &mut Slots<TableOut>) -> Result<Pull> {
        let state = self.state.as_mut();
        let state = state.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        if state.next >= state.rows {
            return Ok(Pull::End);
        }
        let at = state.next;
        let most = (at + slots.room().max(1) as usize).min(state.rows);
        let number = |row: usize| state.numbers.as_ref().map_or(row as u64, |n| n[row]);
        let end = (at + 1..most).find(|row| number(*row) != number(row - 1) + 1).unwrap_or(most);
        let cut = |(key, value): (&Key, &Value)| Ok((key.clone(), value.cut(0, at as u64, end as u64)?));
        let columns = state.columns.iter().map(cut).collect::<Result<Dict>>()?;
        slots.put(number(at), TableOut { columns })?;
        if let Some(numbers) = &state.numbers
            && let Some(later) = numbers.get(end)
        {
            for lost in numbers[end - 1] + 1..*later {
                slots.missing(lost, "the table has no row of this number");
            }
        }
        state.next = end;
        Ok(Pull::Ready)
    }
}
declare!(Source, "table.rows", Kind::Source, TableRows);

impl TableRows {
    fn read(&self, cx: &Cx) -> Result<Dict> {
        let text = crate::input::folder::has_ending(&self.path, &ENDINGS);
        let mut found = Dict::new();
        if !text {
            if self.columns.is_empty() {
                found.set("value", cx.read_array(&self.path)?);
            }
            for (name, path) in &self.columns {
                let file = self.path.split_once("::").map_or(self.path.as_str(), |(file, _)| file);
                let path = if path.starts_with('/') { format!("{file}::{path}") } else { path.clone() };
                found.set(name.clone(), cx.read(&path).map_err(|e| e.at(format!("column `{name}`")))?);
            }
            if let Some(name) = self.number.as_ref().filter(|name| found.get(name).is_none()) {
                let file = self.path.split_once("::").map_or(self.path.as_str(), |(file, _)| file);
                found.set(name.clone(), cx.read(&format!("{file}::{name}"))?);
            }
            return Ok(found);
        }
        let columns = parse(Path::new(&self.path))?;
        let get = |wanted: &str| {
            let column = columns.columns.iter().find(|(name, _)| name == wanted);
            column.map(|(_, cells)| value(cells)).ok_or_else(|| {
                let names: Vec<String> = columns.columns.iter().map(|(n, _)| format!("`{n}`")).collect();
                let error = Error::data(format!("{}: has no column `{wanted}`", self.path));
                error.help(format!("there are {}", names.join(", ")))
            })
        };
        for (name, column) in &self.columns {
            found.set(name.clone(), get(column)?);
        }
        if self.columns.is_empty() {
            columns.columns.iter().for_each(|(name, cells)| found.set(name.clone(), value(cells)));
        } else if let Some(name) = &self.number {
            found.set(name.clone(), get(name)?);
        }
        Ok(found)
    }
}

/// The numbers of the rows, which must rise.
fn numbers(column: Option<Value>, name: &str, path: &str) -> Result<Vec<u64>> {
    let Some(Value::Array(array)) = column else {
        return Err(Error::data(format!("{path}: column `{name}` holds no numbers of rows")));
    };
    let mut numbers: Vec<u64> = vec![];
    for (row, x) in array.to_f64()?.into_iter().enumerate() {
        let after = numbers.last().map_or(0.0, |last| *last as f64 + 1.0);
        if x.fract() != 0.0 || x < after || x > 9e15 {
            let text =
                format!("{path}: row {row}: `{name}` is {x}, wanted a whole number of at least {after}");
            return Err(Error::data(text).help("sort the table by its numbers"));
        }
        numbers.push(x as u64);
    }
    Ok(numbers)
}

fn parse(path: &Path) -> Result<Columns> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("cannot read", path, &e))?;
    Columns::parse(&String::from_utf8_lossy(&bytes), &path.display().to_string()).map_err(format)
}

fn value(cells: &Cells) -> Value {
    match cells {
        Cells::Whole(numbers) => Array::from_slice(numbers).into(),
        Cells::Numbers(numbers) => Array::from_slice(numbers).into(),
        Cells::Text(texts) => texts.iter().map(|t| Value::from(t.as_str())).collect::<Vec<_>>().into(),
    }
}

/// The table of a text file.
pub(crate) fn read(path: &Path) -> Result<Table> {
    let columns = parse(path)?;
    let mut table = Table::new(columns.rows);
    for (name, cells) in columns.columns {
        let column = match cells {
            Cells::Whole(numbers) => Column::Array(Array::from_slice(&numbers)),
            Cells::Numbers(numbers) => Column::Array(Array::from_slice(&numbers)),
            Cells::Text(texts) => Column::Text(texts.into_iter().map(Arc::from).collect()),
        };
        table = table.with_column(name, column)?;
    }
    Ok(table)
}
