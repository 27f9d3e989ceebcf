//! `isard selftest`: simulate, stream, analyse and compare with the truth, on this machine.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use include_dir::{Dir, DirEntry, include_dir};
use isard_core::error::Error;
use isard_core::plan;
use isard_core::recipe::{self, Overrides};
use isard_core::registry::Registry;
use isard_core::run::{self, Out};
use serde_json::json;

use crate::command::self_check::{Trouble, differences};
use crate::command::{DAMAGED, Done, Stop, run_options};
use crate::show::style;

static RECIPES: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../recipes");

/// What is tried: the family, the recipe, and a recipe that makes what it plays, with the parameter that names it.
const TRIALS: [Trial; 13] = [
    Trial::of("powder", "small/quickstart.toml"),
    Trial::of("powder", "small/calibrate.toml"),
    Trial::of("azimuthal", "small/integrate.toml"),
    Trial::of("image", "small/peaks.toml"),
    Trial::of("live, DECTRIS", "small/live-dectris.toml"),
    Trial::of("live, Timepix3", "selftest/tpx3.toml"),
    Trial {
        family: "live, Merlin",
        recipe: "selftest/merlin.toml",
        before: Some(("selftest/wire.toml", "simulator.recording", "scan.mib")),
    },
    Trial::of("stem", "small/stem.toml"),
    Trial::of("dct", "small/dct.toml"),
    Trial::of("hedm", "small/nf-hedm.toml"),
    Trial::of("ptycho", "small/ptycho.toml"),
    Trial::of("tomography", "small/xrdct.toml"),
    Trial::of("recording", "selftest/record.toml"),
];

struct Trial {
    family: &'static str,
    recipe: &'static str,
    before: Option<(&'static str, &'static str, &'static str)>,
}

impl Trial {
    const fn of(family: &'static str, recipe: &'static str) -> Trial {
        Trial { family, recipe, before: None }
    }
}

/// Arguments of `isard selftest`.
#[derive(Args)]
pub struct SelftestArguments {
    /// Try only families whose name contains this word.
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Keep the outputs in this folder; else they go.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// What a trial came to.
struct Row {
    family: &'static str,
    what: String,
    differ: Vec<String>,
    seconds: f64,
}

/// Runs all trials and prints a table.
pub fn run(arguments: &SelftestArguments) -> Done {
    let begun = Instant::now();
    let scratch = match &arguments.keep {
        // Recipes are read from there, and paths in them would start from theirs.
        Some(folder) => std::path::absolute(folder).unwrap_or_else(|_| folder.clone()),
        None => std::env::temp_dir().join(format!("isard-selftest-{}", std::process::id())),
    };
    let made = std::fs::create_dir(&scratch);
    made.map_err(|e| Error::io("cannot make", &scratch, &e).help("name a folder that is not there"))?;
    let rows = all(arguments, &scratch);
    if arguments.keep.is_none() {
        // What cannot be removed now is in the temporary folder anyway.
        let _ = std::fs::remove_dir_all(&scratch);
    }
    let rows = rows?;
    let broken = rows.iter().filter(|row| !row.differ.is_empty()).count();
    let seconds = begun.elapsed().as_secs_f64();
    if arguments.json {
        let rows = rows.iter().map(|row| {
            json!({ "family": row.family, "test": row.what, "ok": row.differ.is_empty(), "differ": row.differ, "seconds": row.seconds })
        });
        let rows: Vec<_> = rows.collect();
        style::print(&format!("{:#}\n", json!({ "ok": broken == 0, "seconds": seconds, "trials": rows })));
    } else {
        let verdict =
            if broken == 0 { "all are as they should be".into() } else { format!("{broken} differ") };
        style::print(&format!("{} trials in {seconds:.1} s: {verdict}\n", rows.len()));
    }
    Ok(if broken == 0 { 0 } else { DAMAGED })
}

fn all(arguments: &SelftestArguments, scratch: &Path) -> Result<Vec<Row>, Stop> {
    let registry = Registry::built_in()?;
    let recipes = scratch.join("recipes");
    unpack(&RECIPES, &recipes)?;
    let wanted = |t: &&Trial| arguments.only.as_ref().is_none_or(|word| t.family.contains(word.as_str()));
    let mut rows = vec![];
    for (at, trial) in TRIALS.iter().enumerate().filter(|(_, t)| wanted(t)) {
        let folder = scratch.join(format!("{at:02}"));
        for row in tried(trial, &recipes, &folder, &registry)? {
            if !arguments.json {
                let verdict = if row.differ.is_empty() { "ok    " } else { "DIFFERS" };
                style::print(&format!("{:<15} {verdict} {:6.1} s  {}\n", row.family, row.seconds, row.what));
                row.differ.iter().for_each(|text| style::print(&format!("{:16}{text}\n", "")));
            }
            rows.push(row);
        }
    }
    if rows.is_empty() {
        let families: Vec<&str> = TRIALS.iter().map(|t| t.family).collect();
        let error = Error::recipe("no family is called like that");
        return Err(error.help(format!("there are {}", families.join(", "))).into());
    }
    Ok(rows)
}

/// Writes the recipes that the program carries.
fn unpack(from: &Dir, to: &Path) -> Result<(), Error> {
    let at = |e: std::io::Error| Error::io("cannot write recipes to", to, &e);
    std::fs::create_dir_all(to).map_err(at)?;
    for entry in from.entries() {
        let name = entry.path().file_name().unwrap_or_default();
        match entry {
            DirEntry::Dir(dir) => unpack(dir, &to.join(name))?,
            DirEntry::File(file) => std::fs::write(to.join(name), file.contents()).map_err(at)?,
        }
    }
    Ok(())
}

/// The tests of a trial's recipe, one row each.
fn tried(trial: &Trial, recipes: &Path, folder: &Path, registry: &Registry) -> Result<Vec<Row>, Stop> {
    let faults = |faults| Stop::Faults(faults, false);
    let mut over = Overrides::default();
    let mut begun = Instant::now();
    if let Some((recipe, parameter, file)) = trial.before {
        let recipe = recipe::load(&recipes.join(recipe), &over).map_err(faults)?;
        let (plan, _) = plan::make(&recipe, registry).map_err(faults)?;
        let out = folder.join("before");
        let report = run::run(&plan, run_options(Out::Folder { path: out.clone(), overwrite: false }))?;
        if let run::Outcome::Failed(error) = report.outcome {
            return Err(error.into());
        }
        over.set.push(format!("{parameter}={:?}", out.join(file).display().to_string()));
    }
    let path = recipes.join(trial.recipe);
    let recipe = recipe::load(&path, &over).map_err(faults)?;
    let (plan, _) = plan::make(&recipe, registry).map_err(faults)?;
    let mut rows = vec![];
    for (at, test) in plan.tests.iter().enumerate() {
        let differ = differences(&path, &over, test, registry, &folder.join(format!("{at}")));
        let differ = differ.map_err(|trouble| match trouble {
            Trouble::Faults(found) => faults(found),
            Trouble::Error(error) => Stop::Error(error),
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        rows.push(Row { family: trial.family, what: test.name.text.clone(), differ, seconds });
        begun = Instant::now();
    }
    Ok(rows)
}
