//! `isard replay`: run again what a finished run did, and compare the digests.

use std::path::{Path, PathBuf};

use clap::Args;
use isard_core::error::Error;
use isard_core::plan::Plan;
use isard_core::run::{self, Out, Outcome, Report, Reuse};
use isard_core::store::{Input, Provenance, RealFiles};
use serde_json::json;

use crate::command::resume::recipe_of;
use crate::command::run::{Asked, ShowArguments, said, shown};
use crate::command::{DAMAGED, Done, Plugins, planned, run_folder};
use crate::show::style;

/// Arguments of `isard replay`.
#[derive(Args)]
pub struct ReplayArguments {
    /// The output folder of the run.
    folder: PathBuf,
    /// Where the new outputs go; without it the next free folder beside the run.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    plugins: Plugins,
    #[command(flatten)]
    show: ShowArguments,
}

/// Runs a finished run again.
pub fn run(arguments: &ReplayArguments) -> Done {
    run_folder(&arguments.folder)?;
    let record = Provenance::read(&RealFiles, &arguments.folder)?;
    finished(&record, &arguments.folder)?;
    let mut recipe = recipe_of(&record, None, &arguments.plugins);
    // The recipe as it was then: its file may have changed or gone.
    recipe.texts = record.written.iter().map(|(path, text)| (path.into(), text.clone())).collect();
    let (_, plan, _) = planned(&recipe, arguments.show.json)?;
    let mut notes = strange(&record, &plan);
    let out = match &arguments.out {
        Some(path) => Out::Folder { path: path.clone(), overwrite: false },
        None => Out::Numbered(beside(&arguments.folder)),
    };
    let said = said(&recipe);
    let report = shown(&plan, out, &arguments.show, &Asked::listen()?, |plan, mut options| {
        options.said = said;
        options.part = record.part;
        let again = |r: &isard_core::store::Reused| Reuse {
            stage: r.stage.clone(),
            path: r.path.clone().into(),
            anyway: r.anyway,
        };
        options.reuse = record.reused.iter().map(again).collect();
        run::run(plan, options)
    })?;
    if report.live {
        notes.push("a source keeps its own pace; what came late or was lost then may come now".into());
    }
    let lines = compared(&record, &report);
    let same = lines.iter().all(|line| line.was == line.is);
    let ended = matches!(report.outcome, Outcome::Done | Outcome::Detached | Outcome::Limits(_));
    say(arguments, &report, &lines, &notes, same && ended);
    Ok(match (ended, same) {
        (false, _) => report.outcome.exit_code(),
        (true, true) => 0,
        (true, false) => DAMAGED,
    })
}

/// An error unless a run came to its end.
fn finished(record: &Provenance, folder: &Path) -> Result<(), Error> {
    if ["done", "detached", "limits"].contains(&record.status.as_str()) {
        return Ok(());
    }
    let (folder, status) = (folder.display(), &record.status);
    let error =
        Error::recipe(format!("the run in {folder} is `{status}`: there is no result to compare with"));
    Err(error.help(format!("finish it first: `isard resume {folder}`")))
}

/// The folder that a run's folder lies in.
fn beside(folder: &Path) -> PathBuf {
    let full = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let above = full.parent().map(Path::to_owned).unwrap_or(full);
    // Shown as the user would write it.
    let here = std::env::current_dir().unwrap_or_default();
    match above.strip_prefix(&here) {
        Ok(near) if !near.as_os_str().is_empty() => near.to_owned(),
        _ => above,
    }
}

/// What is not as it was: inputs, versions, the recipe as resolved.
fn strange(record: &Provenance, plan: &Plan) -> Vec<String> {
    let mut notes = vec![];
    for input in &record.inputs {
        match Input::of(input.path.as_ref()) {
            Ok(now) if now == *input => (),
            Ok(now) if now.bytes == input.bytes => {
                let text =
                    format!("{} was changed at {}, then at {}", input.path, now.changed, input.changed);
                notes.push(text);
            }
            Ok(now) => {
                let text = format!("{} has {} bytes, then {}", input.path, now.bytes, input.bytes);
                notes.push(text);
            }
            Err(error) => notes.push(error.to_string()),
        }
    }
    let now = env!("CARGO_PKG_VERSION");
    if record.isard != now {
        notes.push(format!("this is isard {now}, then {}", record.isard));
    }
    for used in &record.plugins {
        let found = plan.nodes.iter().find_map(|node| match &node.what {
            isard_core::plan::What::Stage(d) if d.name == used.name => Some(d),
            _ => None,
        });
        if let Some(found) = found.filter(|d| d.version != used.version || d.origin != used.origin) {
            notes.push(format!(
                "`{}` is {} of {}, then {} of {}",
                used.name, found.version, found.origin, used.version, used.origin
            ));
        }
    }
    if plan.resolved != record.resolved {
        notes.push("the recipe resolves to other parameters than then, by other defaults or stages".into());
    }
    notes
}

/// One digest then and now.
struct Line {
    stage: String,
    was: Option<String>,
    is: Option<String>,
}

/// The digests of both runs.
fn compared(record: &Provenance, report: &Report) -> Vec<Line> {
    let mut stages: Vec<&String> = record.content.keys().chain(report.content.keys()).collect();
    stages.sort();
    stages.dedup();
    let line = |stage: &String| Line {
        stage: stage.clone(),
        was: record.content.get(stage).cloned(),
        is: report.content.get(stage).cloned(),
    };
    stages.into_iter().map(line).collect()
}

fn say(arguments: &ReplayArguments, report: &Report, lines: &[Line], notes: &[String], same: bool) {
    let of = arguments.folder.display();
    if arguments.show.json {
        let content: serde_json::Map<_, _> = lines
            .iter()
            .map(|l| (l.stage.clone(), json!({ "was": l.was, "is": l.is, "same": l.was == l.is })))
            .collect();
        let done = json!({
            "of": arguments.folder, "out": report.out, "same": same, "outcome": report.outcome.word(),
            "message": report.outcome.message(), "seconds": report.seconds, "content": content, "notes": notes,
        });
        style::print(&format!("{done:#}\n"));
        return;
    }
    let width = lines.iter().map(|line| line.stage.len()).max().unwrap_or(0);
    let short = |digest: &Option<String>| match digest {
        Some(digest) => digest.chars().take(12).collect::<String>(),
        None => "none".into(),
    };
    let mut text = String::new();
    for line in lines {
        let (stage, was, is) = (&line.stage, short(&line.was), short(&line.is));
        text += &match line.was == line.is {
            true => format!("  {stage:width$}  {was}  the same\n"),
            false => format!("  {stage:width$}  {was}  is now {is}\n"),
        };
    }
    let differ = lines.iter().filter(|line| line.was != line.is).count();
    text += &match report.outcome.message() {
        Some(message) => format!("{}: {message}\n", report.outcome.word()),
        None if same => format!("the replay of {of} came to the same results"),
        None if differ > 0 => format!("the replay of {of} differs in {differ} of {} results", lines.len()),
        None => format!("the replay of {of} was {}", report.outcome.word()),
    };
    text = format!("{}\noutputs in {}\n", text.trim_end(), report.out.display());
    style::print(&text);
    notes.iter().for_each(|note| style::note(note));
}
