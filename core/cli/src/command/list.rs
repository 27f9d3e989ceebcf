//! `isard list`.

use std::fmt::Write;

use clap::Args;
use isard_core::registry::{Kind, Registry};
use serde_json::json;

use crate::command::{Done, Plugins};
use crate::show::style;

/// Arguments of `isard list`.
#[derive(Args)]
pub struct ListArguments {
    /// Only stages whose name or summary holds this.
    filter: Option<String>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plugins: Plugins,
}

/// Lists the stages that recipes can use.
pub fn run(arguments: &ListArguments) -> Done {
    let registry = crate::registry(&arguments.plugins)?;
    let filter = arguments.filter.as_deref().unwrap_or_default().to_lowercase();
    if arguments.json {
        let list: Vec<_> = registry
            .iter()
            .map(|d| {
                json!({ "name": d.name, "kind": d.kind, "role": d.role, "summary": d.summary(),
                        "origin": d.origin, "version": d.version })
            })
            .collect();
        style::print(&format!("{:#}\n", serde_json::Value::from(list)));
        return Ok(0);
    }
    style::print(&text(&registry, &filter));
    Ok(0)
}

fn text(registry: &Registry, filter: &str) -> String {
    let matches =
        |name: &str, summary: &str| name.contains(filter) || summary.to_lowercase().contains(filter);
    let mut out = String::new();
    let width = registry.iter().map(|d| d.name.len()).max().unwrap_or(0);
    for kind in Kind::ALL {
        let stages: Vec<_> =
            registry.iter().filter(|d| d.kind == kind && matches(&d.name, d.summary())).collect();
        if stages.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}", kind.plural());
        for stage in stages {
            let loaded =
                if stage.origin.contains('/') { format!("  [{}]", stage.origin) } else { String::new() };
            let _ = writeln!(out, "  {:width$}  {}{loaded}", stage.name, stage.summary());
        }
    }
    let join = ("flow.join", "Brings two streams together, by number or by time.");
    if matches(join.0, join.1) {
        let _ = writeln!(out, "of the engine itself\n  {:width$}  {}", join.0, join.1);
    }
    if out.is_empty() {
        out = format!("no stage matches `{filter}`\n");
    }
    out
}
