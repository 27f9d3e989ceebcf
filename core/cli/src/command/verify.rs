//! `isard verify`.

use std::path::PathBuf;

use clap::Args;
use isard_core::store::{RealFiles, Verdict, verify};

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
    let report = verify(&RealFiles, &arguments.folder)?;
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
