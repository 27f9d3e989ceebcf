//! What `run.per` makes of a stage's outputs: they gain the axis in front.

use crate::plan::make::Draft;
use crate::port::{ColumnSpec, Dtypes, Port, PortKind};
use crate::registry::{Declaration, Role};
use crate::stage::Lag;
use crate::value::Dtype;

/// The ports of a stage with an instance for each value of an axis; the message when a name is taken.
pub(crate) fn ports(draft: &Draft<'_>, declaration: &Declaration, axis: &str) -> Result<Vec<Port>, String> {
    let merged = matches!(draft.lag, Some(Lag::Merged { .. }));
    let stacked = matches!(declaration.role, Role::Reduce | Role::Fit);
    if !merged && !stacked {
        return Ok(declaration.outputs.clone());
    }
    let mut ports = vec![];
    for port in &declaration.outputs {
        let mut port = port.clone();
        if merged && port.name == axis {
            return Err(format!("it has an output `{axis}` of its own"));
        }
        if let PortKind::Table { columns } = &mut port.kind {
            if columns.iter().any(|c| c.name == axis) {
                return Err(format!("its output `{}` has a column `{axis}` of its own", port.name));
            }
            // A table that does not say its columns promises none.
            if !columns.is_empty() {
                let dtype = Some(Dtypes::one(Dtype::U64));
                columns.insert(0, ColumnSpec { name: axis.to_owned(), dtype, unit: None });
            }
        } else if stacked {
            port.kind = stack(port.kind, axis);
            port.fixed = false;
        }
        ports.push(port);
    }
    if merged {
        ports.push(Port {
            name: axis.to_owned().into(),
            doc: "The value of the scan axis that the record belongs to.".into(),
            kind: PortKind::Array { dtype: Dtypes::one(Dtype::U64), axes: Some(vec![]) },
            unit: None,
            optional: false,
            fixed: false,
            open: false,
        });
    }
    Ok(ports)
}

/// The kind of the values of all instances as one.
fn stack(kind: PortKind, axis: &str) -> PortKind {
    let numbers = |dtype| PortKind::Array { dtype: Dtypes::one(dtype), axes: Some(vec![axis.to_owned()]) };
    match kind {
        PortKind::Bool => numbers(Dtype::U8),
        PortKind::Int => numbers(Dtype::I64),
        PortKind::Float => numbers(Dtype::F64),
        PortKind::Text | PortKind::List | PortKind::Dict => PortKind::List,
        PortKind::Array { dtype, axes } => {
            let axes = axes.map(|axes| [vec![axis.to_owned()], axes].concat());
            PortKind::Array { dtype, axes }
        }
        other => other,
    }
}
