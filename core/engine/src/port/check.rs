//! Whether what a stage gave is what its ports promise.

use crate::error::{Context, Error, Result, nearest};
use crate::port::{ColumnSpec, Port, PortKind};
use crate::span::Span;
use crate::value::{Array, Column, Dict, Table, Value};

/// Holds an output against the ports that promise it: kinds, dtypes, axes, columns, and the records it leads with.
///
/// `span` is the span of a chunk; none for values outside a stream, such as the result of a task or one snapshot.
pub fn check_output(ports: &[Port], span: Option<&Span>, output: &Dict) -> Result<()> {
    let mut given = 0;
    for port in ports.iter().filter(|port| !port.open) {
        match output.get(&port.name) {
            None | Some(Value::None) if port.optional => {
                given += usize::from(output.get(&port.name).is_some())
            }
            None | Some(Value::None) => {
                return Err(Error::plugin(format!("found nothing, wanted {}", port.kind)).at(place(port)));
            }
            Some(value) => {
                given += 1;
                let span = span.filter(|_| !port.fixed);
                value_fits(port, span, value).at(|| place(port))?;
            }
        }
    }
    // Counting is enough in the usual case: every entry belongs to a port.
    if given == output.len() || ports.iter().any(|port| port.open) {
        return Ok(());
    }
    let names = || ports.iter().map(|port| &*port.name);
    let stray = output.keys().find(|key| !names().any(|name| name == key.as_str()));
    match stray {
        None => Ok(()),
        Some(key) => {
            let wanted = names().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            let error = Error::plugin(format!("found an output `{key}` that is no port, wanted {wanted}"));
            Err(match nearest(key.as_str(), names()) {
                Some(name) => error.help(format!("did you mean `{name}`?")),
                None => error,
            })
        }
    }
}

fn place(port: &Port) -> String {
    format!("port `{}`", port.name)
}

fn value_fits(port: &Port, span: Option<&Span>, value: &Value) -> Result<()> {
    let fits = match (&port.kind, value) {
        (PortKind::Any, _) => return leads(span, value, &port.kind),
        (PortKind::Bool, Value::Bool(_))
        | (PortKind::Int, Value::Int(_))
        | (PortKind::Float, Value::Float(_) | Value::Int(_))
        | (PortKind::Text, Value::Text(_))
        | (PortKind::Dict, Value::Dict(_)) => true,
        (PortKind::List, Value::List(_)) => return leads(span, value, &port.kind),
        (PortKind::Array { dtype, axes }, Value::Array(array)) => {
            leads(span, value, &port.kind)?;
            let lead = usize::from(span.is_some());
            dtype.has(array.dtype()) && axes.as_ref().is_none_or(|a| a.len() + lead == array.shape().len())
        }
        (PortKind::Table { columns }, Value::Table(table)) => return table_fits(columns, span, table),
        _ => false,
    };
    if fits { Ok(()) } else { Err(differs(&port.kind, span, value)) }
}

fn differs(kind: &PortKind, span: Option<&Span>, value: &Value) -> Error {
    let found = value.describe();
    match (kind, span) {
        // What leads is part of what was wanted: `[y x]` of 4 frames is `[4 y x]`.
        (PortKind::Array { dtype, axes }, Some(span)) => {
            let axes =
                axes.as_ref().map_or(" ..".into(), |a| a.iter().map(|x| format!(" {x}")).collect::<String>());
            Error::plugin(format!("found {found}, wanted array of {dtype} [{}{axes}] for {span}", span.len))
        }
        _ => Error::plugin(format!("found {found}, wanted {kind}")),
    }
}

/// Whether a value leads with the records of a chunk.
fn leads(span: Option<&Span>, value: &Value, kind: &PortKind) -> Result<()> {
    let Some(span) = span else { return Ok(()) };
    match value {
        Value::Table(table) => table_fits(&[], Some(span), table),
        _ if value.records() == Some(span.len as usize) => Ok(()),
        _ => Err(differs(kind, Some(span), value)),
    }
}

fn table_fits(columns: &[ColumnSpec], span: Option<&Span>, table: &Table) -> Result<()> {
    for wanted in columns {
        let found = table.column(&wanted.name).map_err(|e| Error::plugin(e.message()))?;
        let (fits, what) = match (found, &wanted.dtype) {
            (Column::Text(_), None) => (true, String::new()),
            (Column::Text(_), Some(_)) => (false, "text".into()),
            (Column::Array(a) | Column::Ragged { values: a, .. }, Some(set)) => {
                (set.has(a.dtype()), named(a))
            }
            (Column::Array(a) | Column::Ragged { values: a, .. }, None) => (false, named(a)),
        };
        if !fits {
            let set = wanted.dtype.map_or("text".into(), |set| set.to_string());
            return Err(Error::plugin(format!("column `{}`: found {what}, wanted {set}", wanted.name)));
        }
    }
    let Some(span) = span.filter(|_| table.rows() > 0) else { return Ok(()) };
    let records = table.records();
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Err(Error::plugin("found a table without record numbers, wanted one for each row"));
    };
    if *first < span.start || *last >= span.end() {
        return Err(Error::plugin(format!("found rows of records {first} to {last}, wanted {span}")));
    }
    Ok(())
}

fn named(array: &Array) -> String {
    array.dtype().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Vec<Port> {
        vec![Port::of::<Array>("image", "An image.").dtype("u16").axes("y x")]
    }

    fn fault(ports: &[Port], span: Option<&Span>, output: Dict) -> String {
        check_output(ports, span, &output).unwrap_err().to_string()
    }

    fn array(dims: &[usize]) -> Array {
        Array::of(dims, &vec![0u16; dims.iter().product()]).unwrap()
    }

    #[test]
    fn arrays_are_held_against_dtype_axes_and_records() {
        let (ports, span) = (image(), Span::frames(8, 4));
        check_output(&ports, Some(&span), &Dict::new().with("image", array(&[4, 2, 3]))).unwrap();
        check_output(&ports, None, &Dict::new().with("image", array(&[2, 3]))).unwrap();
        assert_eq!(
            fault(&ports, Some(&span), Dict::new().with("image", array(&[3, 2, 3]))),
            "port `image`: found array of u16 [3, 2, 3], wanted array of u16 [4 y x] for frames 8..12"
        );
        assert_eq!(
            fault(&ports, Some(&span), Dict::new().with("image", array(&[4, 6]))),
            "port `image`: found array of u16 [4, 6], wanted array of u16 [4 y x] for frames 8..12"
        );
        assert_eq!(
            fault(&ports, None, Dict::new().with("image", Array::of(&[1, 1], &[0f32]).unwrap())),
            "port `image`: found array of f32 [1, 1], wanted array of u16 [y x]"
        );
    }

    #[test]
    fn missing_and_stray_outputs_are_named() {
        let ports = image();
        assert_eq!(
            fault(&ports, None, Dict::new()),
            "port `image`: found nothing, wanted array of u16 [y x]"
        );
        let both = Dict::new().with("image", array(&[2, 3])).with("imge", 3);
        assert_eq!(
            fault(&ports, None, both),
            "found an output `imge` that is no port, wanted `image` (help: did you mean `image`?)"
        );
    }

    #[test]
    fn tables_need_their_columns_and_record_numbers() {
        let ports = vec![Port::of::<Table>("spots", "Spots.").columns("row: f64 pixel, name: text")];
        let span = Span::frames(5, 2);
        let table = |records: &[u64]| {
            let names = Column::Text(records.iter().map(|_| "a".into()).collect());
            let rows = vec![0.5f64; records.len()];
            let table =
                Table::new(records.len()).with("row", &rows).unwrap().with_column("name", names).unwrap();
            Dict::new().with("spots", table.with_records(records).unwrap())
        };
        check_output(&ports, Some(&span), &table(&[5, 6, 6])).unwrap();
        check_output(&ports, Some(&span), &table(&[])).unwrap();
        assert_eq!(
            fault(&ports, Some(&span), table(&[5, 7])),
            "port `spots`: found rows of records 5 to 7, wanted frames 5..7"
        );
        let bare = Dict::new().with("spots", Table::new(1).with("row", &[1.0f32]).unwrap());
        assert_eq!(fault(&ports, Some(&span), bare), "port `spots`: column `row`: found f32, wanted f64");
    }
}
