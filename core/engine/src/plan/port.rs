//! Whether what one port gives is what another takes.

use crate::diagnostic::Diagnostic;
use crate::plan::unit;
use crate::port::{ColumnSpec, Port, PortKind};
use crate::value::Value;

/// The fault of feeding a port from another, none when they fit.
pub(crate) fn differ(given: &Port, full: &str, port: &Port, stage: &str) -> Option<Diagnostic> {
    let what = format!("input `{}` of stage `{stage}`", port.name);
    let found = |kind: &PortKind| format!("`{full}`, {kind}");
    if !kinds(&given.kind, &port.kind) {
        let message = format!("{what} has the wrong kind");
        return Some(Diagnostic::error("E0134", message).found(found(&given.kind), port.kind.to_string()));
    }
    if let (PortKind::Table { columns: have }, PortKind::Table { columns: want }) = (&given.kind, &port.kind)
        && !have.is_empty()
        && let Some(fault) = columns(have, want, &what, full)
    {
        return Some(fault);
    }
    match (&given.unit, &port.unit) {
        (Some(a), Some(b)) if !unit::same(a, b) => Some(
            Diagnostic::error("E0135", format!("{what} has the wrong unit"))
                .found(format!("`{full}` in {a}"), b.to_string())
                .help("data are never converted in silence; put a stage between that does it"),
        ),
        _ => None,
    }
}

fn kinds(given: &PortKind, wanted: &PortKind) -> bool {
    match (given, wanted) {
        (PortKind::Any, _) | (_, PortKind::Any) => true,
        (PortKind::Int | PortKind::Float, PortKind::Float) => true,
        (PortKind::Array { dtype: a, axes: x }, PortKind::Array { dtype: b, axes: y }) => {
            a.meets(*b) && (x.is_none() || y.is_none() || x == y)
        }
        // Scalars of snapshots and arrays of one number for each record turn into each other.
        (PortKind::Array { axes, .. }, PortKind::Int | PortKind::Float | PortKind::Bool) => scalar(axes),
        (PortKind::Int | PortKind::Float | PortKind::Bool, PortKind::Array { axes, .. }) => scalar(axes),
        (PortKind::Table { .. }, PortKind::Table { .. }) => true,
        (a, b) => a == b,
    }
}

fn scalar(axes: &Option<Vec<String>>) -> bool {
    axes.as_ref().is_none_or(Vec::is_empty)
}

fn columns(have: &[ColumnSpec], want: &[ColumnSpec], what: &str, full: &str) -> Option<Diagnostic> {
    for column in want {
        let Some(own) = have.iter().find(|c| c.name == column.name) else {
            let names = have.iter().map(|c| c.name.as_str());
            let all = names.clone().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            return Some(
                Diagnostic::error("E0136", format!("{what} needs the column `{}`", column.name))
                    .similar(crate::error::nearest(&column.name, names))
                    .note(format!("columns of `{full}`: {all}")),
            );
        };
        let word = |c: &ColumnSpec| c.dtype.map_or("text".to_owned(), |d| d.to_string());
        let fits = match (own.dtype, column.dtype) {
            (Some(a), Some(b)) => a.meets(b),
            (a, b) => a.is_none() == b.is_none(),
        };
        if !fits {
            let message = format!("{what} has the wrong kind in column `{}`", column.name);
            return Some(Diagnostic::error("E0134", message).found(word(own), word(column)));
        }
        if let (Some(a), Some(b)) = (&own.unit, &column.unit)
            && !unit::same(a, b)
        {
            let message = format!("{what} has the wrong unit in column `{}`", column.name);
            return Some(Diagnostic::error("E0135", message).found(a.clone(), b.clone()));
        }
    }
    None
}

/// Whether a value written in the recipe fits a port.
pub(crate) fn holds(kind: &PortKind, value: &Value) -> bool {
    matches!(
        (kind, value),
        (PortKind::Any, _)
            | (PortKind::Bool, Value::Bool(_))
            | (PortKind::Int, Value::Int(_))
            | (PortKind::Float, Value::Int(_) | Value::Float(_))
            | (PortKind::Text, Value::Text(_))
            | (PortKind::List, Value::List(_))
            | (PortKind::Dict, Value::Dict(_))
    )
}
