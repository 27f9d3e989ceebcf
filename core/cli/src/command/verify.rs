//! `isard verify`.

use std::path::{Path, PathBuf};

use clap::Args;
use isard_core::registry::Registry;
use isard_core::span::Ranges;
use isard_core::stage::{Arrival, Built, Cx, Position, Pull, RunCx, Slots};
use isard_core::store::{Kind, RealFiles, Verdict, verify};
use isard_core::value::{Dict, Value};
use isard_files::info::info;
use isard_files::input::read_path;

use crate::command::{DAMAGED, Done, run_folder};
use crate::show::style;

/// Arguments of `isard verify`.
#[derive(Args)]
pub struct VerifyArguments {
    /// The output folder of the run.
    folder: PathBuf,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Re-reads everything a run wrote.
pub fn run(arguments: &VerifyArguments) -> Done {
    run_folder(&arguments.folder)?;
    let mut report = verify(&RealFiles, &arguments.folder)?;
    for finding in &mut report.findings {
        let damaged = matches!(finding.kind, Kind::Changed | Kind::Truncated | Kind::Longer);
        if let Some(frames) = frames(&arguments.folder.join(&finding.path)).filter(|_| damaged) {
            finding.text += &format!("; {frames}");
        }
    }
    match arguments.json {
        true => {
            let json =
                serde_json::to_value(&report).map_err(|e| isard_core::Error::internal(e.to_string()))?;
            style::print(&format!("{json:#}\n"));
        }
        false => style::print(&format!("{}\n", report.to_string().trim_end())),
    }
    Ok(if report.verdict == Verdict::Damaged { DAMAGED } else { 0 })
}

/// Which frames of a damaged file do not match their own checksums, in words; none for a file without frames.
fn frames(path: &Path) -> Option<String> {
    let text = path.display().to_string();
    let found = match info(&text) {
        Ok(found) => found,
        Err(error) if path.extension().is_some_and(|e| e == "h5" || e == "nxs") => {
            return Some(format!("it cannot be opened: {error}"));
        }
        Err(_) => return None,
    };
    let main = found.items.iter().find(|item| item.main && item.stage.is_some())?;
    // Parts of a set say which frames they hold.
    let numbers = read_path(&RunCx::default(), &format!("{text}::/entry/data/frame"));
    let numbers: Vec<u64> = match &numbers {
        Ok(Value::Array(array)) => array.to_f64().ok()?.into_iter().map(|n| n as u64).collect(),
        _ => vec![],
    };
    let bad = match corrupt(main.stage?, &main.path) {
        Ok(bad) => bad,
        // A chunk of several frames is damaged as a whole, and others behind it may be.
        Err(error) => {
            let all: Ranges = numbers.iter().fold(Ranges::default(), |mut all, n| {
                all.add(*n..*n + 1);
                all
            });
            return Some(format!("among frames {all} some do not match their checksums: {error}"));
        }
    };
    let named: Ranges = bad.iter().fold(Ranges::default(), |mut all, n| {
        let n = numbers.get(*n as usize).copied().unwrap_or(*n);
        all.add(n..n + 1);
        all
    });
    Some(match named.is_empty() {
        true => "all its frames match their checksums: what changed is beside them".into(),
        false => format!("frames {named} do not match their checksums"),
    })
}

/// The frames that a source gives as damaged.
fn corrupt(stage: &str, path: &str) -> isard_core::Result<Vec<u64>> {
    let registry = Registry::built_in()?;
    let declaration = registry.find(stage)?;
    let said = [format!("path={}", serde_json::Value::from(path))];
    let set = isard_core::plan::parameters_from_text(declaration, &said);
    let set = set.map_err(|faults| isard_core::Error::internal(faults.render(false)))?;
    let Built::Source(mut source) = (declaration.build)(set)? else {
        return Err(isard_core::Error::internal("a source was declared that is none"));
    };
    let run = RunCx::default();
    let cx = Cx::new(&run, "verify");
    source.open(&cx, Dict::new(), Position { next: 0 })?;
    let (mut bad, mut next) = (vec![], 0);
    loop {
        let mut slots = Slots::<Dict>::new(64, next);
        let pulled = source.pull(&cx, &mut slots)?;
        for arrival in slots.take() {
            match arrival {
                Arrival::Frames { first, count, .. } => next = first + count,
                Arrival::Lost { number, .. } => {
                    bad.push(number);
                    next = number + 1;
                }
            }
        }
        match pulled {
            Pull::End => return Ok(bad),
            Pull::Wait(pause) => std::thread::sleep(pause),
            Pull::Ready => {}
        }
    }
}
