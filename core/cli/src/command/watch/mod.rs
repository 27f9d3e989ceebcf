//! `isard watch`: a run for every scan that appears.

mod account;
mod each;
mod look;
pub mod series;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use isard_core::error::Error;

use crate::command::run::{Asked, ShowArguments};
use crate::command::{Done, RecipeArguments};
use crate::show::style;

use each::Each;
use look::{Finder, Settling};

/// A pause between two questions whether to stop.
const STEP: Duration = Duration::from_millis(20);

/// Arguments of `isard watch`.
#[derive(Args)]
pub struct WatchArguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// The scans, in quotes: `'raw/**/scan*.h5'`; `*`, `?` and `#` stand in names, `**` for any folders.
    ///
    /// A dataset may stand behind it, `'raw/*.h5::/entry/data'`, also as a pattern; else that of the recipe is read.
    pattern: String,
    /// The folder of the runs, one folder for each scan; without it `runs/NAME`.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The parameter that gets each scan; needed only where the recipe has several sources of files.
    #[arg(long, value_name = "STAGE[.PARAMETER]")]
    source: Option<String>,
    /// End when all scans that are there have run.
    #[arg(long)]
    once: bool,
    /// End after so many scans.
    #[arg(long, value_name = "N")]
    scans: Option<u64>,
    /// End when nothing has appeared for so many seconds.
    #[arg(long, value_name = "SECONDS")]
    silence: Option<f64>,
    /// How long a scan must rest before it is run: 2, or 0 where the source follows it while it grows.
    #[arg(long, value_name = "SECONDS")]
    settle: Option<f64>,
    /// The pause between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    poll: f64,
    /// Run scans again whose run failed.
    #[arg(long)]
    retry: bool,
    #[command(flatten)]
    show: ShowArguments,
}

/// Watches for scans.
pub fn run(arguments: &WatchArguments) -> Done {
    let poll = seconds("poll", arguments.poll)?;
    let silence = arguments.silence.map(|s| seconds("silence", s)).transpose()?;
    let mut finder = Finder::new(&arguments.pattern)?;
    let asked = Asked::listen()?;
    let mut each = Each::new(
        &arguments.recipe,
        arguments.source.as_deref(),
        arguments.out.as_deref(),
        &arguments.show,
        &asked,
    )?;
    each.retry = arguments.retry;
    let settle = match arguments.settle {
        Some(s) => seconds("settle", s)?,
        None if each.follows() => Duration::ZERO,
        None => Duration::from_secs(2),
    };
    if !arguments.show.quiet {
        style::note(&format!("watching for {} (Ctrl-C ends)", arguments.pattern));
    }
    let mut settling = Settling::new(settle);
    let mut quiet = Instant::now();
    let full = |each: &Each| arguments.scans.is_some_and(|n| each.account.ran() >= n);
    while !asked.stops() && !full(&each) {
        let looked = Instant::now();
        for path in finder.look()? {
            settling.add(path);
            quiet = Instant::now();
        }
        for path in settling.ready() {
            match finder.scans(&path) {
                Ok(scans) => {
                    for scan in scans {
                        if !asked.stops() && !full(&each) {
                            each.run(&scan, &finder.name(&scan));
                        }
                    }
                }
                Err(error) => each.account.fail(&path.display().to_string(), Path::new(""), &error),
            }
            quiet = Instant::now();
        }
        let idle = settling.is_empty();
        if idle && (arguments.once || silence.is_some_and(|s| quiet.elapsed() >= s)) {
            break;
        }
        // What is about to be ready is looked at sooner than what may appear.
        let pause = if idle { poll } else { poll.min(settle / 4).max(STEP) };
        while looked.elapsed() < pause && !asked.stops() {
            std::thread::sleep(STEP.min(pause));
        }
    }
    Ok(each.account.finish(asked.stops()))
}

/// A time that a user gave.
fn seconds(name: &str, value: f64) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| Error::recipe(format!("`--{name} {value}` is no time in seconds")))
}
