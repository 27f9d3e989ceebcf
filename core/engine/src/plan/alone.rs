//! Parameters of one stage outside a recipe: of its example, or from a command line.

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostics, Files, Place};
use crate::plan::parameters::{Check, Owner};
use crate::recipe::{self, Table};
use crate::registry::{Declaration, Role};

/// The parameters of a stage from TOML, as it stands under `set`; defaults are filled in.
pub fn parameters(declaration: &Declaration, text: &str) -> Result<Json, Diagnostics> {
    let mut files = Files::default();
    let mut faults = vec![];
    let file = files.add_option(&declaration.name, text);
    let table = recipe::table(text, file, &mut faults);
    if !faults.is_empty() {
        return Err(Diagnostics::new(files, faults));
    }
    check(declaration, &table, Place { file, start: 0, end: 0 }, files, faults)
}

/// The parameters of a stage from `key=value` texts; defaults are filled in.
pub fn parameters_from_text(declaration: &Declaration, set: &[String]) -> Result<Json, Diagnostics> {
    let (mut files, mut faults, mut table) = (Files::default(), vec![], Table::default());
    for text in set {
        recipe::set(&mut table, text, &mut files, &mut faults);
    }
    // What is missing has no place of its own: the stage's name stands for it.
    let file = files.add_option("--set", &declaration.name);
    let at = Place { file, start: 0, end: declaration.name.len() };
    check(declaration, &table, at, files, faults)
}

fn check(
    declaration: &Declaration,
    table: &Table,
    at: Place,
    files: Files,
    mut faults: Vec<crate::diagnostic::Diagnostic>,
) -> Result<Json, Diagnostics> {
    let owner = Owner {
        noun: "parameter",
        name: format!("stage `{}`", declaration.name),
        unknown: "E0112",
        writes: declaration.role == Role::Writer,
        without: vec![],
    };
    let mut check = Check::new(&owner, &declaration.schema, &files);
    let json = check.table(table, at);
    faults.append(&mut check.faults);
    if faults.is_empty() { Ok(json) } else { Err(Diagnostics::new(files, faults)) }
}
