//! The parameters of one stage outside a recipe.

use std::path::Path;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::parameters::{Check, Owner};
use crate::recipe;
use crate::registry::{Declaration, Role};

/// The parameters of a stage from a `set` table as TOML, checked, defaults filled in.
///
/// Paths stand relative to the working directory.
pub fn parameters_of(declaration: &Declaration, set: &str) -> Result<serde_json::Value, Diagnostics> {
    let name = &declaration.name;
    let text = format!("isard = \"0.1\"\n[stage.it]\nuse = \"{name}\"\n[stage.it.set]\n{set}\n");
    let recipe = recipe::parse(&text, Path::new("set"))?;
    let Some(stage) = recipe.stages.first() else {
        let fault = Diagnostic::error("E0112", format!("stage `{name}` has no parameters that can be read"));
        return Err(Diagnostics::new(recipe.files.clone(), vec![fault]));
    };
    let owner = Owner {
        noun: "parameter",
        name: format!("stage `{name}`"),
        unknown: "E0112",
        writes: declaration.role == Role::Writer,
        without: vec![],
    };
    let mut check = Check::new(&owner, &declaration.schema, &recipe.files);
    let json = check.table(&stage.set, stage.set_at);
    match check.faults.is_empty() {
        true => Ok(json),
        false => Err(Diagnostics::new(recipe.files.clone(), check.faults)),
    }
}
