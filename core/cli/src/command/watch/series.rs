//! `isard run --each-series`: a run for each series that a source gives.

use std::path::Path;
use std::sync::atomic::Ordering;

use isard_core::error::{Blame, Error};
use isard_core::plan::{Plan, What};
use isard_core::registry::Role;
use isard_core::run::{self, Out, Outcome, Report};

use crate::command::run::{Asked, ShowArguments, said, shown};
use crate::command::watch::account::Account;
use crate::command::watch::each::Each;
use crate::command::watch::look::Finder;
use crate::command::{Done, RecipeArguments, planned};

/// Runs a recipe for each series.
pub fn run(recipe: &RecipeArguments, out: Option<&Path>, retry: bool, show: &ShowArguments) -> Done {
    let (_, plan, _) = planned(recipe, show.json)?;
    let asked = Asked::listen()?;
    match patterns(&plan).as_slice() {
        [] => one_after_the_other(&plan, recipe, out, show, &asked),
        [(place, pattern)] => {
            let mut each = Each::new(recipe, Some(place), out, show, &asked)?;
            each.retry = retry;
            let mut finder = Finder::new(pattern)?;
            let mut found = 0;
            for path in finder.look()? {
                for scan in finder.scans(&path)? {
                    found += 1;
                    if !asked.stops() {
                        each.run(&scan, &finder.name(&scan));
                    }
                }
            }
            if found == 0 {
                let error = Error::data(format!("{pattern}: fits no series"));
                return Err(error.help("`isard info FILE` lists the datasets of a file").into());
            }
            Ok(each.account.finish(asked.stops()))
        }
        several => {
            let names: Vec<String> = several.iter().map(|(place, _)| format!("`{place}`")).collect();
            let error = Error::recipe(format!("several series are named by {}", names.join(" and ")));
            Err(error.help("leave a pattern in one of them").into())
        }
    }
}

/// The parameters of sources in which a pattern stands for series, with the patterns.
fn patterns(plan: &Plan) -> Vec<(String, String)> {
    let mut found = vec![];
    for node in plan.nodes.iter().filter(|node| node.role() == Some(Role::Source)) {
        let What::Stage(declaration) = &node.what else { continue };
        let properties = declaration.schema.get("properties").and_then(|p| p.as_object());
        for (name, schema) in properties.into_iter().flatten() {
            let text = node.set.get(name).and_then(|value| value.as_str());
            let text = text.filter(|_| schema.get("x-series").is_some_and(|yes| yes == true));
            if let Some(text) = text.filter(|text| text.contains(['*', '?', '#'])) {
                found.push((format!("{}.{name}", node.name), text.to_owned()));
            }
        }
    }
    found
}

/// Runs for the series of a detector, as they come, each into the next numbered folder.
fn one_after_the_other(
    plan: &Plan,
    recipe: &RecipeArguments,
    out: Option<&Path>,
    show: &ShowArguments,
    asked: &Asked,
) -> Done {
    let base = out.unwrap_or(Path::new("runs"));
    let mut account = Account::new(show.json);
    for n in 1u64.. {
        // Until frames come a signal has nothing to drain.
        asked.waiting.store(true, Ordering::Relaxed);
        let said = said(recipe);
        let report = shown(plan, Out::Numbered(base.to_owned()), show, asked, |plan, mut options| {
            options.said = said;
            run::run(plan, options)
        });
        asked.waiting.store(false, Ordering::Relaxed);
        let report = report?;
        if asked.stops() && nothing_came(&report) {
            // A folder without a series would look like one whose frames were lost.
            std::fs::remove_dir_all(&report.out).map_err(|e| Error::io("cannot remove", &report.out, &e))?;
            break;
        }
        account.book(&format!("series {n}"), &report);
        // What is read from files would be the same series again.
        if asked.stops() || !report.live {
            break;
        }
    }
    Ok(account.finish(asked.stops()))
}

/// Whether a run was ended while it waited for its first frame.
fn nothing_came(report: &Report) -> bool {
    let ended = match &report.outcome {
        Outcome::Failed(error) => error.blame() == Blame::Cancelled,
        other => *other == Outcome::Stopped,
    };
    ended && report.stages.iter().all(|stage| stage.records == 0)
}
