//! One recipe, run once for each scan, into a folder of its own.

use std::path::{Path, PathBuf};

use isard_core::error::Error;
use isard_core::plan::Plan;
use isard_core::recipe;
use isard_core::registry::{Registry, Role};
use isard_core::run::{self, Out, Report};
use isard_core::store::{Provenance, RUN, RealFiles};

use crate::command::run::{Asked, ShowArguments, said, shown};
use crate::command::watch::account::Account;
use crate::command::{RecipeArguments, Stop, overrides, planned_with};

/// Runs a recipe for one scan after the other.
pub(super) struct Each<'a> {
    recipe: &'a RecipeArguments,
    show: &'a ShowArguments,
    asked: &'a Asked,
    registry: Registry,
    place: Place,
    base: PathBuf,
    /// Runs that failed are done again.
    pub retry: bool,
    /// What came of the scans.
    pub account: Account,
}

/// Where a recipe says what it reads.
struct Place {
    stage: String,
    parameter: String,
    /// What it says now.
    value: Option<String>,
    follows: bool,
}

/// The exit code of a run that was stopped or cancelled.
const CANCELLED: i32 = 7;

/// What an earlier run left of a scan.
enum Before {
    Nothing,
    Done,
    Failed,
    /// Stopped, cancelled or cut off.
    Begun,
}

impl<'a> Each<'a> {
    /// Finds the parameter that gets each scan, and checks the recipe.
    pub fn new(
        recipe: &'a RecipeArguments,
        source: Option<&str>,
        out: Option<&Path>,
        show: &'a ShowArguments,
        asked: &'a Asked,
    ) -> Result<Each<'a>, Stop> {
        let registry = crate::registry(&recipe.plugins)?;
        let place = place(&registry, recipe, source, show.json)?;
        let (account, base) = (Account::new(show.json), PathBuf::new());
        let mut each = Each { recipe, show, asked, registry, place, base, retry: false, account };
        // Faults of the recipe show at once; until a scan is there, the recipe itself stands for a file that is.
        let own = std::path::absolute(&recipe.recipe).unwrap_or_else(|_| recipe.recipe.clone());
        let (_, plan) = planned_with(&each.registry, &each.with(&own.display().to_string()), show.json)?;
        each.base = out.map_or_else(|| Path::new("runs").join(&plan.name), Path::to_owned);
        Ok(each)
    }

    /// Whether the source reads scans that still grow.
    pub fn follows(&self) -> bool {
        self.place.follows
    }

    /// The recipe with a scan in its place.
    fn with(&self, scan: &str) -> RecipeArguments {
        let Place { stage, parameter, value, .. } = &self.place;
        let inside = value.as_ref().and_then(|value| value.split_once("::")).map(|(_, inside)| inside);
        let path = match inside {
            Some(inside) if !scan.contains("::") => format!("{scan}::{inside}"),
            _ => scan.to_owned(),
        };
        let mut recipe = self.recipe.clone();
        recipe.set.push(format!("{stage}.{parameter}={}", serde_json::Value::from(path)));
        recipe.scan = Some(scan.to_owned());
        recipe
    }

    /// Runs a scan unless it was run before; whatever goes wrong is this scan's affair.
    pub fn run(&mut self, scan: &str, name: &str) {
        let (folder, before) = self.folder(scan, name);
        match before {
            Before::Done => return self.account.skip(scan, &folder, "done before", None),
            Before::Failed if !self.retry => {
                return self.account.skip(scan, &folder, "failed before", Some("`--retry` runs it again"));
            }
            _ => (),
        }
        let recipe = self.with(scan);
        let report = planned_with(&self.registry, &recipe, self.show.json)
            .and_then(|(_, plan)| self.go(&plan, &recipe, &folder, &before));
        match report {
            Ok(report) => self.account.book(scan, &report),
            Err(Stop::Error(error)) => self.account.fail(scan, &folder, &error),
            Err(Stop::Faults(faults, _)) => {
                // A recipe that was changed meanwhile, or a file that has gone.
                self.account.fail(scan, &folder, &Error::recipe(faults.render(false).trim_end()));
            }
        }
    }

    fn go(
        &self,
        plan: &Plan,
        recipe: &RecipeArguments,
        folder: &Path,
        before: &Before,
    ) -> Result<Report, Stop> {
        let overwrite = matches!(before, Before::Failed);
        let out = Out::Folder { path: folder.to_owned(), overwrite };
        let said = said(recipe);
        shown(plan, out, self.show, self.asked, |plan, mut options| {
            options.said = said;
            match before {
                Before::Begun => run::resume(plan, options),
                _ => run::run(plan, options),
            }
        })
    }

    /// The folder of a scan, and what an earlier run left there.
    ///
    /// Scans of one name (`a.h5` beside `a.hdf5`) get a number behind it.
    fn folder(&self, scan: &str, name: &str) -> (PathBuf, Before) {
        for n in 1u32.. {
            let name = if n == 1 { name.to_owned() } else { format!("{name}-{n}") };
            let folder = self.base.join(name);
            if !folder.join(RUN).exists() {
                return (folder, Before::Nothing);
            }
            let Ok(record) = Provenance::read(&RealFiles, &folder) else { continue };
            if record.options.get(run::SCAN_OPTION).is_some_and(|list| list[0] == scan) {
                let before = match record.status.as_str() {
                    "done" | "detached" | "limits" | "repaired" => Before::Done,
                    "failed" if record.exit != Some(CANCELLED) => Before::Failed,
                    _ => Before::Begun,
                };
                return (folder, before);
            }
        }
        (self.base.join(name), Before::Nothing)
    }
}

/// The parameter that says what the recipe reads.
fn place(
    registry: &Registry,
    arguments: &RecipeArguments,
    wanted: Option<&str>,
    json: bool,
) -> Result<Place, Stop> {
    let over = overrides(arguments)?;
    let recipe = recipe::load(&arguments.recipe, &over).map_err(|faults| Stop::Faults(faults, json))?;
    let mut found = vec![];
    for stage in &recipe.stages {
        let Some(Ok(declaration)) = stage.plugin.as_ref().map(|plugin| registry.find(&plugin.text)) else {
            continue;
        };
        let properties = declaration.schema.get("properties").and_then(|p| p.as_object());
        let reads = |schema: &serde_json::Value| schema.get("x-path").is_some_and(|way| way == "input");
        for (name, _) in properties.into_iter().flatten().filter(|(_, schema)| reads(schema)) {
            let full = format!("{}.{name}", stage.name.text);
            let named = wanted.is_some_and(|wanted| wanted == full || wanted == stage.name.text);
            if named || wanted.is_none() && declaration.role == Role::Source {
                let value = stage.set.get(name).and_then(|item| item.text().map(str::to_owned));
                found.push(Place {
                    stage: stage.name.text.clone(),
                    parameter: name.clone(),
                    value,
                    follows: stage.set.get("follow").is_some(),
                });
            }
        }
    }
    let names: Vec<String> = found.iter().map(|p| format!("`{}.{}`", p.stage, p.parameter)).collect();
    match (found.pop(), names.len()) {
        (Some(place), 1) => Ok(place),
        (None, _) => {
            let error = match wanted {
                Some(wanted) => format!("`--source {wanted}` names no parameter of the recipe that is read"),
                None => "no source of the recipe reads files".into(),
            };
            Err(Error::recipe(error).help("name one with `--source STAGE.PARAMETER`").into())
        }
        _ => {
            let error = Error::recipe(format!("the recipe reads files by {}", names.join(" and ")));
            Err(error.help("say by `--source` which of them gets each scan").into())
        }
    }
}
