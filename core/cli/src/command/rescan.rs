//! `isard rescan`: the scan points whose frames have to be taken again.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use isard_core::error::Error;
use isard_core::span::Ranges;
use isard_core::store::{Files, Provenance, RealFiles};
use serde_json::json;

use crate::command::{Done, run_folder};
use crate::show::style;

/// Arguments of `isard rescan`.
#[derive(Args)]
pub struct RescanArguments {
    /// The output folder of the run.
    folder: PathBuf,
    /// The source or recorder whose frames are meant, where there are several.
    #[arg(long, value_name = "STAGE")]
    stage: Option<String>,
    /// Write the list as CSV into this file, which must not exist.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Lists the frames that are missing, corrupt or late, each at its scan point.
pub fn run(arguments: &RescanArguments) -> Done {
    run_folder(&arguments.folder)?;
    let record = Provenance::read(&RealFiles, &arguments.folder)?;
    if record.status == "running" {
        let error = Error::recipe("the run has not ended: what is lost is not known yet");
        return Err(error.help("`isard repair` tells it of a run that was cut off").into());
    }
    let taken = |class: &str| ["missing", "corrupt", "late"].contains(&class);
    let mut stages: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    for gap in record.gaps.iter().filter(|g| taken(&g.reason)) {
        let frames = Ranges::from_bounds(&gap.bounds);
        stages.entry(&gap.stage).or_default().extend(frames.numbers().map(|n| (n, gap.reason.as_str())));
    }
    let first = || stages.keys().find(|s| record.scans.contains_key(**s)).or(stages.keys().next()).copied();
    let stage = arguments.stage.as_deref().or_else(first).unwrap_or_default();
    let mut list = stages.remove(stage).unwrap_or_default();
    list.sort_unstable();
    list.dedup_by_key(|(n, _)| *n);
    let scan = record.scans.get(stage).or_else(|| record.scans.values().next()).cloned().unwrap_or_default();
    if let Some(path) = &arguments.csv {
        let text = csv(&scan, &list);
        RealFiles.write_new(path, text.as_bytes()).map_err(|e| Error::io("cannot write", path, &e))?;
    }
    if arguments.json {
        let points =
            list.iter().map(|(n, why)| json!({ "frame": n, "point": point(&scan, *n), "reason": why }));
        let axes: Vec<&String> = scan.iter().map(|(axis, _)| axis).collect();
        let all = json!({ "stage": stage, "axes": axes, "frames": points.collect::<Vec<_>>() });
        style::print(&format!("{all:#}\n"));
    } else if arguments.csv.is_none() {
        style::print(&csv(&scan, &list));
    }
    Ok(0)
}

fn csv(scan: &[(String, u64)], list: &[(u64, &str)]) -> String {
    let mut text = String::from("frame");
    scan.iter().for_each(|(axis, _)| text += &format!(",{axis}"));
    text += ",reason\n";
    for (n, why) in list {
        let _ = write!(text, "{n}");
        point(scan, *n).iter().for_each(|at| text += &format!(",{at}"));
        let _ = writeln!(text, ",{why}");
    }
    text
}

/// Where a frame is in the scan.
fn point(scan: &[(String, u64)], n: u64) -> Vec<u64> {
    let (mut rest, mut at) = (n, vec![]);
    for (_, extent) in scan.iter().rev() {
        at.push(rest % (*extent).max(1));
        rest /= (*extent).max(1);
    }
    at.reverse();
    at
}
