//! `isard run`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use isard_core::error::Error;
use isard_core::plan::Plan;
use isard_core::run::{self, Options, Out, Report, Reuse};
use isard_core::store::Part;

use crate::command::watch::series;
use crate::command::{Done, RecipeArguments, Stop, planned, run_options};
use crate::notify::{self, Notifier, Watcher};
use crate::show::{log, progress::Progress, style, table, view};

/// Arguments of `isard run`.
#[derive(Args)]
pub struct RunArguments {
    #[command(flatten)]
    recipe: RecipeArguments,
    /// The output folder; without it the next free `runs/NAME-001`.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Remove what an earlier run left in the output folder.
    #[arg(long, requires = "out")]
    overwrite: bool,
    /// Run one part of the frames, such as `2/8`; `isard merge` makes one run of all parts.
    #[arg(long, value_name = "I/N")]
    part: Option<Part>,
    /// Take a kept output of an earlier run instead of running the stage and what only it needs.
    #[arg(long, value_name = "STAGE=PATH", conflicts_with = "part")]
    reuse: Vec<String>,
    /// Reuse outputs even if another recipe made them.
    #[arg(long, requires = "reuse")]
    reuse_anyway: bool,
    /// Run for each series the source gives, each into a folder of its own: the datasets that a pattern such as
    /// `scan.h5::/*/measurement/eiger` fits, or one series of a detector after the other, until stopped.
    #[arg(long, conflicts_with_all = ["part", "reuse", "overwrite"])]
    each_series: bool,
    /// With `--each-series`: run series again whose run failed.
    #[arg(long, requires = "each_series")]
    retry: bool,
    #[command(flatten)]
    show: ShowArguments,
}

/// What a run shows while it goes on and when it is over.
#[derive(Args, Clone, Default)]
pub struct ShowArguments {
    /// Print the closing report as JSON.
    #[arg(long)]
    pub json: bool,
    /// Write one JSON line a second with rates, queues and busy times.
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
    /// Write a trace of every call of every stage, for Chrome's tracing page or Perfetto.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Tell the sinks of this file what happens: mail, web hooks, commands, a signal light, logs, a socket.
    #[arg(long, value_name = "FILE", env = "ISARD_NOTIFY")]
    pub notify: Option<PathBuf>,
    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,
    /// Show a live picture of each stage, or of the ports named: in the terminal, elsewhere as OUT/view.png.
    #[arg(long, value_name = "STAGE.PORT,..", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub view: Option<String>,
}

/// Runs a recipe.
pub fn run(arguments: &RunArguments) -> Done {
    if arguments.each_series {
        let (recipe, show) = (&arguments.recipe, &arguments.show);
        return series::run(recipe, arguments.out.as_deref(), arguments.retry, show);
    }
    let (_, plan, _) = planned(&arguments.recipe, arguments.show.json)?;
    let out = match &arguments.out {
        Some(path) => Out::Folder { path: path.clone(), overwrite: arguments.overwrite },
        None => Out::Numbered("runs".into()),
    };
    let said = said(&arguments.recipe);
    let reuse = arguments.reuse.iter().map(|text| reused(text, arguments.reuse_anyway));
    let reuse = reuse.collect::<Result<Vec<Reuse>, Error>>()?;
    go(&plan, out, &arguments.show, |plan, mut options| {
        (options.said, options.part, options.reuse) = (said, arguments.part, reuse);
        run::run(plan, options)
    })
}

/// `STAGE=PATH`.
fn reused(text: &str, anyway: bool) -> Result<Reuse, Error> {
    let (stage, path) = text
        .split_once('=')
        .filter(|(stage, path)| !stage.is_empty() && !path.is_empty())
        .ok_or_else(|| {
            Error::recipe(format!("`--reuse {text}` names no stage and path"))
                .help("write `--reuse stage=runs/NAME-001`")
        })?;
    Ok(Reuse { stage: stage.to_owned(), path: path.into(), anyway })
}

/// What the command line says beside the recipe: kept, so that `resume` means the same recipe.
pub fn said(recipe: &RecipeArguments) -> BTreeMap<String, serde_json::Value> {
    let mut said = BTreeMap::new();
    let lists = [("set", &recipe.set), ("in", &recipe.arguments)];
    for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        said.insert(key.to_owned(), list.clone().into());
    }
    if !recipe.arguments.is_empty() {
        // A run is resumed from anywhere, and must mean the same files.
        let folder = std::path::absolute(recipe.folder.join(".")).unwrap_or_else(|_| recipe.folder.clone());
        said.insert("folder".to_owned(), vec![folder.display().to_string()].into());
    }
    if let Some(scan) = &recipe.scan {
        said.insert(run::SCAN_OPTION.to_owned(), vec![scan.clone()].into());
    }
    if let Some(site) = &recipe.site {
        let site = std::path::absolute(site).unwrap_or_else(|_| site.clone());
        said.insert("site".to_owned(), vec![site.display().to_string()].into());
    }
    said
}

/// Runs or resumes a plan with progress, signals and the closing table.
pub fn go(
    plan: &Plan,
    out: Out,
    show: &ShowArguments,
    start: impl FnOnce(&Plan, Options) -> isard_core::Result<Report>,
) -> Done {
    let report = shown(plan, out, show, &Asked::listen()?, start)?;
    if show.json {
        style::print(&format!("{:#}\n", report.to_json()));
    } else {
        style::print(&table::closing(plan, &report, style::colour_out()));
    }
    Ok(report.outcome.exit_code())
}

/// Runs or resumes a plan with progress, and gives its report.
pub fn shown(
    plan: &Plan,
    out: Out,
    show: &ShowArguments,
    asked: &Asked,
    start: impl FnOnce(&Plan, Options) -> isard_core::Result<Report>,
) -> Result<Report, Stop> {
    let mut options = run_options(out);
    (options.stop, options.cancel) = (asked.stop.clone(), asked.cancel.clone());
    let watch = show.view.as_ref().map(|ports| view::watch(plan, ports)).transpose()?;
    let (board, folder, picture) = match watch {
        Some(watch) => (watch.board, watch.folder, Some(watch.view)),
        None => Default::default(),
    };
    options.view = picture;
    options.trace = show.trace.as_deref().map(run::Trace::create).transpose()?.map(Arc::new);
    let mut progress = Progress::new(plan, show, board.clone())?;
    let waiting = asked.waiting.clone();
    let sinks = show.notify.as_deref().map(notify::Config::read).transpose()?;
    let sinks = sinks.map(|config| Notifier::start(&config, &asked.stop)).transpose()?;
    let watcher = Arc::new(Mutex::new(sinks.map(Watcher::new)));
    let (seeing, told) = (watcher.clone(), watcher.clone());
    options.observer = Some(Box::new(move |seen| {
        waiting.store(false, Ordering::Relaxed);
        progress.see(seen);
        if let Some(watcher) = &mut *seeing.lock().unwrap_or_else(PoisonError::into_inner) {
            watcher.see(seen);
        }
    }));
    options.started = Some(Box::new(move |out| {
        log::into(Some(out.path("log.txt")));
        if let Some(watcher) = &mut *told.lock().unwrap_or_else(PoisonError::into_inner) {
            watcher.begins(&out.root().display().to_string());
        }
        // It is told once: a run has one folder.
        let _ = folder.set(out.root().to_owned());
    }));
    view::activate(board);
    let report = start(plan, options);
    if let Some(watcher) = watcher.lock().unwrap_or_else(PoisonError::into_inner).take() {
        watcher.ends(&report);
    }
    style::complain(&view::activate(None));
    log::into(None);
    Ok(report?)
}

/// What signals ask of the runs of this process.
#[derive(Clone, Default)]
pub struct Asked {
    /// Drain and commit.
    pub stop: Arc<AtomicBool>,
    /// End at once.
    pub cancel: Arc<AtomicBool>,
    /// A source waits for its series: there is nothing to drain yet.
    pub waiting: Arc<AtomicBool>,
}

impl Asked {
    /// Listens: Ctrl-C or SIGTERM once drains and commits, twice cancels.
    pub fn listen() -> Result<Asked, Error> {
        use signal_hook::consts::{SIGINT, SIGTERM};
        let signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]);
        let mut signals = signals.map_err(|e| Error::internal(format!("cannot listen for signals: {e}")))?;
        let asked = Asked::default();
        let Asked { stop, cancel, waiting } = asked.clone();
        std::thread::spawn(move || {
            for _ in signals.forever() {
                if stop.swap(true, Ordering::Relaxed) {
                    style::note("cancelled; the last checkpoint stays");
                    cancel.store(true, Ordering::Relaxed);
                } else if waiting.load(Ordering::Relaxed) {
                    style::note("stopping: nothing is on its way");
                    cancel.store(true, Ordering::Relaxed);
                } else {
                    style::note("stopping: what is on its way is finished and committed (again to cancel)");
                }
            }
        });
        Ok(asked)
    }

    /// Whether to stop.
    pub fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
