//! `csv.write`: numbers for spreadsheets.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::{Ranges, SNAPSHOT};

use crate::output::name;

/// More elements than this in one record belong in another format.
const WIDEST: usize = 256;

/// Writes numbers of each record, or one table, as comma-separated text.
///
/// The first column is the record number under the name of its axis; a number for each record makes one column, a short
/// vector several (`centre_0`, `centre_1`), a table one row for each of its rows. The file is replaced in one step at
/// each checkpoint and at the end; past `file_bytes` the text goes on in `NAME.000001.csv`. A snapshot of numbers makes a
/// row; a snapshot of curves or of a table makes a file of its own, and the last one stays.
///
/// Changes neither order nor count; numbers are written so that they read back exactly. Keeps at most `file_bytes` in
/// memory.
///
/// Source: RFC 4180, with line feeds.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvWrite {
    /// The file, relative to the run's folder; must end in `.csv`.
    #[schemars(extend("x-path" = "output", "x-endings" = [".csv"]))]
    path: String,
    /// A file that has grown to this is followed by another.
    #[serde(default = "file_bytes")]
    #[schemars(range(min = 1), extend("x-unit" = "byte", "x-level" = "expert"))]
    file_bytes: u64,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

fn file_bytes() -> u64 {
    16 << 20
}

#[derive(Default)]
struct State {
    out: Option<Arc<dyn Output>>,
    /// The line of names, once known.
    names: String,
    /// The lines of the file at hand.
    text: String,
    /// Files that are full.
    full: u64,
    /// The record after the last one taken.
    next: u64,
    /// Whether the text has changed since it was written.
    stale: bool,
}

/// One column: its name and its cells.
struct Cells {
    name: String,
    cells: Vec<String>,
}

impl Stage for CsvWrite {
    type In = Dict;
    type Out = ();

    fn example() -> Example {
        Example::new("path = \"sums.csv\"")
            .frames("sum", Array::from_slice(&[10.5, 11.0, 12.25]))
            .frames("centre", Array::of(&[3, 2], &[1.0, 2.0, 1.5, 2.5, 2.0, 3.0]).expect("three pairs"))
    }

    fn check(&self, faults: &mut Faults) {
        name::check(&self.path, &[".csv"], faults);
        if self.file_bytes == 0 {
            faults.add("file_bytes", "is 0, wanted at least 1");
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        Cost { memory: 2 * self.file_bytes, disk_per_record: 2 * input.bytes() as u64, ..Cost::default() }
    }
}

impl Writer for CsvWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.state = State { out: Some(out), ..State::default() };
        let Some(kept) = committed else { return Ok(()) };
        let text = |key: &str| kept.get(key).and_then(Value::text).unwrap_or_default().to_owned();
        let whole = |key: &str| if let Some(Value::Int(n)) = kept.get(key) { *n as u64 } else { 0 };
        (self.state.names, self.state.text) = (text("names"), text("text"));
        (self.state.full, self.state.next) = (whole("full"), whole("next"));
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: Dict) -> Result<()> {
        if span.axis == SNAPSHOT {
            let last = span.len as usize - 1;
            let one: Dict =
                input.iter().map(|(k, v)| Ok((k.clone(), v.unlead(last)?))).collect::<Result<_>>()?;
            let own = |v: &Value| match v {
                Value::Table(_) => true,
                Value::Array(a) => !a.shape().is_empty(),
                _ => false,
            };
            if one.values().any(own) {
                let columns = curves(&one)?;
                self.state.names = names(&columns);
                self.state.text = lines(&columns).concat();
                self.state.stale = true;
                return Ok(());
            }
        }
        let columns = columns(span, &input)?;
        let found = names(&columns);
        if self.state.names.is_empty() {
            self.state.names = found;
        } else if self.state.names != found {
            let wanted = self.state.names.trim_end();
            return Err(Error::data(format!(
                "{span}: found columns {}, wanted {wanted} as before",
                found.trim_end()
            )));
        }
        // Rows of one record stay in one file, and records taken before an error are not taken again.
        let records: Vec<u64> = match input.values().find_map(as_table) {
            Some(table) => table.records().to_vec(),
            None => span.range().collect(),
        };
        let (lines, mut from) = (lines(&columns), 0);
        while from < lines.len() {
            let same = records[from..].iter().take_while(|r| **r == records[from]).count();
            if records[from] >= self.state.next {
                if self.state.text.len() as u64 >= self.file_bytes {
                    self.flush()?;
                    self.state.text.clear();
                    self.state.full += 1;
                }
                self.state.text.extend(lines[from..from + same].iter().map(String::as_str));
                self.state.next = records[from] + 1;
                self.state.stale = true;
            }
            from += same;
        }
        self.state.next = self.state.next.max(span.end());
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        self.flush()?;
        Ok(Dict::new()
            .with("names", self.state.names.as_str())
            .with("text", self.state.text.as_str())
            .with("full", self.state.full as i64)
            .with("next", self.state.next as i64))
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        self.flush()
    }
}
declare!(Writer, "csv.write", Kind::Writer, CsvWrite);

impl CsvWrite {
    fn flush(&mut self) -> Result<()> {
        if !self.state.stale {
            return Ok(());
        }
        let out = self.state.out.as_ref();
        let out = out.ok_or_else(|| Error::internal("a writer was used before it was opened"))?;
        let path = match self.state.full {
            0 => self.path.clone(),
            n => format!("{}.{n:06}.csv", name::stem(&self.path)),
        };
        out.replace(&path, format!("{}{}", self.state.names, self.state.text).as_bytes())?;
        self.state.stale = false;
        Ok(())
    }
}

fn as_table(value: &Value) -> Option<&Table> {
    if let Value::Table(table) = value { Some(table) } else { None }
}

/// The columns of records.
fn columns(span: &Span, input: &Dict) -> Result<Vec<Cells>> {
    let axis = span.axis.to_string();
    if let Some(table) = input.values().find_map(as_table) {
        if input.len() > 1 {
            return Err(Error::recipe(format!("found a table and {} other inputs", input.len() - 1)).help(
                "a csv file holds either one table or numbers of each record: use one stage for each",
            ));
        }
        let records = table.records().iter().map(u64::to_string).collect();
        let mut found = vec![Cells { name: axis, cells: records }];
        table_columns(table, &mut found)?;
        return Ok(found);
    }
    let mut found = vec![Cells { name: axis, cells: span.range().map(|n| n.to_string()).collect() }];
    for (key, value) in input.iter() {
        let n = span.len as usize;
        if value.records() != Some(n) {
            let what = value.describe();
            return Err(Error::data(format!("`{key}` is {what}, wanted {n} records"))
                .help("what is the same for the whole run has no place in a csv file"));
        }
        add(key.as_str(), value, &mut found)?;
    }
    Ok(found)
}

/// The columns of one snapshot: a table, or curves of equal length.
fn curves(one: &Dict) -> Result<Vec<Cells>> {
    let mut found: Vec<Cells> = vec![];
    for (key, value) in one.iter() {
        match value {
            Value::Table(table) if one.len() == 1 => table_columns(table, &mut found)?,
            Value::Array(a) if !a.shape().is_empty() => add(key.as_str(), value, &mut found)?,
            other => {
                return Err(Error::recipe(format!(
                    "`{key}` is {} beside a curve or a table",
                    other.describe()
                ))
                .help(
                    "a csv file holds curves of one length, one table, or numbers: use one stage for each",
                ));
            }
        }
        let n = found.first().map_or(0, |c| c.cells.len());
        if let Some(other) = found.iter().find(|c| c.cells.len() != n) {
            let (a, m) = (&other.name, other.cells.len());
            return Err(Error::data(format!("`{a}` has {m} elements, `{}` has {n}", found[0].name)));
        }
    }
    Ok(found)
}

fn table_columns(table: &Table, found: &mut Vec<Cells>) -> Result<()> {
    for (key, column) in table.columns() {
        match column {
            Column::Array(array) => add(key.as_str(), &Value::Array(array.clone()), found)?,
            Column::Text(texts) => {
                found.push(Cells { name: key.to_string(), cells: texts.iter().map(|t| quoted(t)).collect() });
            }
            Column::Ragged { .. } => {
                return Err(Error::data(format!("column `{key}` is ragged, which a csv file cannot hold"))
                    .help("`hdf5.write` takes it"));
            }
        }
    }
    Ok(())
}

/// Adds the columns of a value that leads with the rows.
fn add(name: &str, value: &Value, found: &mut Vec<Cells>) -> Result<()> {
    match value {
        Value::List(list) => {
            let text = |v: &Value| v.text().map_or_else(|| v.to_json().to_string(), str::to_owned);
            found.push(Cells { name: name.into(), cells: list.iter().map(|v| quoted(&text(v))).collect() });
        }
        Value::Array(array) => {
            let width: usize = array.shape()[1..].iter().product();
            if array.shape().len() > 2 || width > WIDEST {
                let shape = &array.shape()[1..];
                return Err(Error::data(format!(
                    "`{name}` holds {shape:?} for each row, wanted a number or a vector"
                ))
                .help("`hdf5.write` and `npy.write` take arrays"));
            }
            for at in 0..width {
                let name = if array.shape().len() == 1 { name.to_owned() } else { format!("{name}_{at}") };
                let cells = isard_core::dispatch!(array.dtype(), T => {
                    let slice = array.as_slice::<T>()?;
                    slice.iter().skip(at).step_by(width).map(|x| x.to_string()).collect()
                }, complex => return Err(Error::data(format!("`{name}` is complex, which a csv file cannot hold"))));
                found.push(Cells { name, cells });
            }
        }
        other => return Err(Error::data(format!("`{name}` is {}, wanted numbers", other.describe()))),
    }
    Ok(())
}

fn names(columns: &[Cells]) -> String {
    let names: Vec<String> = columns.iter().map(|c| quoted(&c.name)).collect();
    names.join(",") + "\n"
}

fn lines(columns: &[Cells]) -> Vec<String> {
    let n = columns.first().map_or(0, |c| c.cells.len());
    let row = |i: usize| columns.iter().map(|c| c.cells[i].as_str()).collect::<Vec<_>>().join(",") + "\n";
    (0..n).map(row).collect()
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
