//! `isard check`.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::Args;
use isard_core::error::Error;
use isard_core::plan::{self, Plan, Stream, What};
use isard_core::registry::Registry;
use isard_core::run;

use crate::command::self_check::{Trouble, differences};
use crate::command::{Done, RecipeArguments, Stop, overrides, planned, run_options};
use crate::show::style;
use crate::show::table::{bytes, short};

/// Arguments of `isard check`.
#[derive(Args)]
pub struct CheckArguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// Open the sources too, and check shapes, memory and disk.
    #[arg(long)]
    open: bool,
    /// Run the recipe's own `[[test]]` blocks too, in a scratch folder.
    #[arg(long)]
    test: bool,
    /// Print faults or the resolved recipe as JSON.
    #[arg(long)]
    json: bool,
}

/// Finds every fault of a recipe.
pub fn run(arguments: &CheckArguments) -> Done {
    let (_, plan, registry) = planned(&arguments.recipe, arguments.json)?;
    let faults = |faults| Stop::Faults(faults, arguments.json);
    let options = run_options(run::Out::Numbered(std::env::temp_dir()));
    let early = run::early(&plan, &options).map_err(faults)?;
    let (opened, files) = match arguments.open {
        true => (run::open(&plan, &options)?, run::files(&plan, &options)?),
        false => (BTreeMap::new(), BTreeMap::new()),
    };
    // Without --open only what the recipe itself says is weighed.
    let memory = if arguments.open { run::machine_memory() } else { None };
    let budget = plan::budget(&plan, &opened, &early, &files, memory, None).map_err(faults)?;
    if arguments.json {
        style::print(&format!("{:#}\n", plan.resolved));
        return Ok(0);
    }
    let mut text = outline(&plan);
    for node in early.keys() {
        let _ = writeln!(text, "task `{}`: ran", plan.nodes[*node].name);
    }
    if arguments.open {
        for (node, opened) in opened {
            let extent = opened.frames.map_or_else(|| "an unknown number of".into(), |n| n.to_string());
            let name = &plan.nodes[node].name;
            let _ = write!(text, "source `{name}`: {extent} frames");
            for (port, shape) in opened.shapes.iter() {
                if let (Some(dtype), Some(dims)) = (shape.dtype, &shape.dims) {
                    let _ = write!(text, ", {port} {dtype} {dims:?}");
                }
            }
            text.push('\n');
        }
    }
    text.push_str(&needs(&budget, arguments.open));
    style::print(&text);
    if arguments.test { tests(arguments, &plan, &registry) } else { Ok(0) }
}

/// What a run takes, as far as its stages can tell.
fn needs(budget: &plan::Budget, open: bool) -> String {
    let mut all = vec![format!("{} of memory", bytes(budget.memory))];
    if budget.disk > 0 {
        all.push(format!("{} of disk", bytes(budget.disk)));
    }
    let hours = budget.seconds / 3600.0;
    match budget.seconds {
        s if s < 1.0 => {}
        s if s < 600.0 => all.push(format!("{s:.0} core-seconds")),
        _ => all.push(format!("{} core-hours", short(hours))),
    }
    let how = if open { "" } else { " (more is known with --open)" };
    format!("needs about {}{how}\n", all.join(", "))
}

/// Runs the recipe's own tests; a line each.
fn tests(arguments: &CheckArguments, plan: &Plan, registry: &Registry) -> Done {
    let over = overrides(&arguments.recipe)?;
    if plan.tests.is_empty() {
        return Err(Error::recipe("the recipe carries no `[[test]]`")
            .help("leave out --test, or write one")
            .into());
    }
    let mut broken = 0;
    for (at, test) in plan.tests.iter().enumerate() {
        let scratch = std::env::temp_dir().join(format!("isard-test-{}-{at}", std::process::id()));
        let result = differences(&arguments.recipe.recipe, &over, test, registry, &scratch);
        // Scratch: what cannot be removed now is in the temporary folder anyway.
        let _ = std::fs::remove_dir_all(&scratch);
        let differ = result.map_err(|trouble| match trouble {
            Trouble::Faults(faults) => Stop::Faults(faults, false),
            Trouble::Error(error) => Stop::Error(error),
        })?;
        let verdict = if differ.is_empty() { "ok" } else { "FAILED" };
        style::print(&format!("test {}: {verdict}\n", test.name.text));
        differ.iter().for_each(|text| style::print(&format!("  {text}\n")));
        broken += usize::from(!differ.is_empty());
    }
    Ok(if broken == 0 { 0 } else { 4 })
}

/// What a recipe means, a line a stage.
fn outline(plan: &Plan) -> String {
    let mut text = format!("`{}` is in order: {} stages", plan.name, plan.nodes.len());
    if plan.steps.len() > 1 {
        let steps: Vec<&str> = plan.steps.iter().map(|s| s.name.as_str()).collect();
        let _ = write!(text, ", passes {}", steps.join(", "));
    }
    text.push('\n');
    let width = plan.nodes.iter().map(|n| n.name.len()).max().unwrap_or(0);
    for node in &plan.nodes {
        let what = match &node.what {
            What::Stage(d) => format!("{} ({})", d.name, d.role),
            What::Join(_) => "flow.join".into(),
        };
        let _ = write!(text, "  {:width$}  {what}", node.name);
        let from = node.from.iter().map(|s| match s {
            Stream::Live(id) | Stream::Kept(id) => plan.nodes[*id].name.as_str(),
        });
        let from: Vec<&str> = from.collect();
        if !from.is_empty() {
            let _ = write!(text, "  from {}", from.join(" and "));
        }
        text.push('\n');
    }
    text
}
