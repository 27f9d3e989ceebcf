//! `isard schema`.

use clap::Args;

use crate::command::{Done, Plugins};
use crate::show::style;

/// Arguments of `isard schema`.
#[derive(Args)]
pub struct SchemaArguments {
    #[command(flatten)]
    plugins: Plugins,
}

/// Prints the JSON schema of recipes.
pub fn run(arguments: &SchemaArguments) -> Done {
    let registry = crate::registry(&arguments.plugins)?;
    style::print(&text(&registry));
    Ok(0)
}

/// The schema as text: what `docs/schema.json` holds.
pub fn text(registry: &isard_core::registry::Registry) -> String {
    format!("{:#}\n", isard_core::plan::recipe_schema(registry))
}
