//! The commands.

pub mod check;
pub mod convert;
pub mod describe;
pub mod doctor;
pub mod host;
pub mod import;
pub mod info;
pub mod jobs;
pub mod list;
pub mod merge;
pub mod new_plugin;
pub mod new_recipe;
pub mod repair;
pub mod replay;
pub mod reprocess;
pub mod rescan;
pub mod resume;
pub mod run;
pub mod schema;
pub mod self_check;
pub mod selftest;
pub mod serve;
pub mod try_stage;
pub mod verify;
pub mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use isard_core::diagnostic::Diagnostics;
use isard_core::error::Error;
use isard_core::plan::{self, Plan};
use isard_core::recipe::{self, Overrides, Recipe};
use isard_core::registry::Registry;
use isard_core::store::{INNER, RealFiles, is_free};

use crate::show::style;

/// Streaming dataflow for beamline and microscope data.
#[derive(Parser)]
#[command(name = "isard", version, about, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done                      6  out of memory, disk or time
  2  a fault in the recipe     7  stopped; `isard resume` goes on
  3  a plugin failed           8  more frames went wrong than the recipe allows
  4  the data are not right    9  done, but a detached branch ended with an error
  5  a read or write failed   10  `verify` found damage, `replay` another result
                              70  a bug in isard";

/// Exit code of a `verify` that found damage, and of a `replay` that came to another result.
pub const DAMAGED: i32 = 10;

#[derive(Subcommand)]
enum Command {
    /// Run a recipe.
    Run(run::RunArguments),
    /// Find every fault of a recipe without running it.
    Check(check::CheckArguments),
    /// List the stages that recipes can use.
    List(list::ListArguments),
    /// Explain a stage: parameters, ports, cost.
    Describe(describe::DescribeArguments),
    /// Print the JSON schema of recipes, for editors.
    Schema(schema::SchemaArguments),
    /// Say what a file holds, and the path a recipe would use.
    Info(info::InfoArguments),
    /// Convert files from any format that is read to any that is written.
    Convert(convert::ConvertArguments),
    /// Run one stage on one file.
    Try(try_stage::TryArguments),
    /// Write a recipe to start from: Eiger, Pilatus, LImA, a plain folder.
    NewRecipe(new_recipe::NewRecipeArguments),
    /// Take over the parameter files of other programs.
    Import(import::ImportArguments),
    /// Write a new plugin crate that builds and passes its own test.
    NewPlugin(new_plugin::NewPluginArguments),
    /// Make one run of the parts that `isard run --part` left, bit for bit that of a single run.
    Merge(merge::MergeArguments),
    /// Go on with a run that was stopped or cut off.
    Resume(resume::ResumeArguments),
    /// Run a recipe for every scan that appears.
    ///
    /// The recipe is read anew for each scan. Each run has its outputs in a folder of its own, `DIR/SCAN`; a scan whose run
    /// is done is not run again, one whose run was stopped or cut off goes on, and one that fails does not stop the others.
    /// Ctrl-C or SIGTERM ends: what is on its way is finished and committed.
    Watch(watch::WatchArguments),
    /// Run again what a finished run did, and compare the digests.
    Replay(replay::ReplayArguments),
    /// Make whole what the recorders of a run had taken when it was cut off.
    ///
    /// Frames up to the last commit go into readable files; other outputs go back to the last checkpoint. The run is over
    /// then: a run whose source can give its frames again is better resumed. Exit code 10 if something was damaged.
    Repair(repair::RepairArguments),
    /// List the scan points whose frames have to be taken again.
    Rescan(rescan::RescanArguments),
    /// Re-read everything a run wrote and compare it with its digests.
    Verify(verify::VerifyArguments),
    /// Serve plugins and recipes as jobs, over HTTP and WebSocket.
    Serve(serve::ServeArguments),
    /// Give a job to a server.
    Submit(jobs::SubmitArguments),
    /// List the jobs of a server.
    Jobs(jobs::JobsArguments),
    /// Show a job of a server, wait for it, end it, run it again.
    Job(jobs::JobArguments),
    /// Run jobs again from their files, without a server.
    Reprocess(reprocess::ReprocessArguments),
    /// Simulate, stream, analyse and compare with the truth, for every family, on this machine.
    Selftest(selftest::SelftestArguments),
    /// Look at this machine and say what isard will find.
    Doctor(doctor::DoctorArguments),
    /// Run a plugin for another isard, which starts this by itself.
    #[command(hide = true)]
    Host(host::HostArguments),
}

/// Where plugins come from, beside those built in.
#[derive(Args, Clone, Default)]
pub struct Plugins {
    /// A plugin to load, a library or a Python file; may be given several times.
    #[arg(long, value_name = "PATH", global = true)]
    pub plugin: Vec<PathBuf>,
    /// A folder of plugins to load.
    #[arg(long, value_name = "DIR", env = "ISARD_PLUGINS", global = true)]
    pub plugin_folder: Option<PathBuf>,
}

/// A recipe and what the command line changes in it.
#[derive(Args, Clone, Default)]
pub struct RecipeArguments {
    /// The recipe.
    pub recipe: PathBuf,
    /// Change a parameter: `--set stage.key=value`.
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    pub set: Vec<String>,
    /// A value for one of the recipe's own parameters: `--in name=value`; paths start from the working directory.
    #[arg(long = "in", value_name = "NAME=VALUE")]
    pub arguments: Vec<String>,
    /// A file with the site's defaults.
    #[arg(long, value_name = "FILE", env = "ISARD_SITE")]
    pub site: Option<PathBuf>,
    /// The folder that paths given with `--in` start from.
    #[arg(skip)]
    pub folder: PathBuf,
    /// The scan that a run of many is of.
    #[arg(skip)]
    pub scan: Option<String>,
    /// Texts that stand for the recipe's files.
    #[arg(skip)]
    pub texts: BTreeMap<PathBuf, String>,
    /// Where plugins come from.
    #[command(flatten)]
    pub plugins: Plugins,
}

/// Runs a command; returns the exit code.
pub fn run(arguments: Arguments) -> i32 {
    // A host has a log of its own: its lines go to whoever started it.
    if let Command::Host(host) = &arguments.command {
        return host::run(host);
    }
    crate::show::log::start();
    let result = match arguments.command {
        Command::Run(a) => run::run(&a),
        Command::Check(a) => check::run(&a),
        Command::List(a) => list::run(&a),
        Command::Describe(a) => describe::run(&a),
        Command::Schema(a) => schema::run(&a),
        Command::Info(a) => info::run(&a),
        Command::Convert(a) => convert::run(&a),
        Command::Try(a) => try_stage::run(&a),
        Command::NewRecipe(a) => new_recipe::run(&a),
        Command::Import(a) => import::run(&a),
        Command::NewPlugin(a) => new_plugin::run(&a),
        Command::Merge(a) => merge::run(&a),
        Command::Resume(a) => resume::run(&a),
        Command::Watch(a) => watch::run(&a),
        Command::Replay(a) => replay::run(&a),
        Command::Repair(a) => repair::run(&a),
        Command::Rescan(a) => rescan::run(&a),
        Command::Verify(a) => verify::run(&a),
        Command::Serve(a) => serve::run(&a),
        Command::Submit(a) => jobs::submit(&a),
        Command::Jobs(a) => jobs::list(&a),
        Command::Job(a) => jobs::one(&a),
        Command::Reprocess(a) => reprocess::run(&a),
        Command::Selftest(a) => selftest::run(&a),
        Command::Doctor(a) => doctor::run(&a),
        Command::Host(a) => Ok(host::run(&a)),
    };
    match result {
        Ok(code) => code,
        Err(Stop::Faults(faults, json)) => {
            match json {
                true => style::print(&format!("{:#}\n", faults.to_json())),
                false => {
                    style::complain(&faults.render(style::colour()));
                    if let Some(code) = faults.codes().first() {
                        style::complain(&format!("\nmore about a fault: isard describe {code}\n"));
                    }
                }
            }
            2
        }
        Err(Stop::Error(error)) => {
            style::error(&error);
            isard_core::run::Outcome::Failed(error).exit_code()
        }
    }
}

/// Why a command did not do what was asked.
pub enum Stop {
    /// The recipe has faults; as JSON when asked.
    Faults(Diagnostics, bool),
    /// Anything else.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

/// The result of a command: its exit code.
pub type Done = Result<i32, Stop>;

/// Loads and plans a recipe; warnings are printed.
pub fn planned(arguments: &RecipeArguments, json: bool) -> Result<(Recipe, Plan, Registry), Stop> {
    let registry = crate::registry(&arguments.plugins)?;
    let (recipe, plan) = planned_with(&registry, arguments, json)?;
    Ok((recipe, plan, registry))
}

/// Loads and plans a recipe over known stages; warnings are printed.
pub fn planned_with(
    registry: &Registry,
    arguments: &RecipeArguments,
    json: bool,
) -> Result<(Recipe, Plan), Stop> {
    let overrides = overrides(arguments)?;
    let stop = |faults| Stop::Faults(faults, json);
    let recipe = recipe::load(&arguments.recipe, &overrides).map_err(stop)?;
    let (plan, warnings) = plan::make(&recipe, registry).map_err(stop)?;
    if !warnings.is_empty() && !json {
        style::complain(&warnings.render(style::colour()));
    }
    Ok((recipe, plan))
}

/// What the command line changes in a recipe.
pub fn overrides(arguments: &RecipeArguments) -> Result<Overrides, Error> {
    let (set, site, folder) = (arguments.set.clone(), arguments.site.clone(), arguments.folder.clone());
    let texts = arguments.texts.clone();
    let mut overrides = Overrides { set, site, folder, texts, ..Overrides::default() };
    for argument in &arguments.arguments {
        let (name, value) = argument.split_once('=').ok_or_else(|| {
            Error::recipe(format!("`--in {argument}` has no `=`")).help("write `--in name=value`")
        })?;
        overrides.arguments.insert(name.trim().to_owned(), recipe::value_of(value));
    }
    Ok(overrides)
}

/// An error unless a path is the output folder of a run.
pub fn run_folder(folder: &Path) -> Result<(), Error> {
    if folder.join("run.json").is_file() {
        return Ok(());
    }
    if folder.join(INNER).is_dir() && is_free(&RealFiles, folder).unwrap_or(false) {
        let folder = folder.display();
        let error = Error::recipe(format!("the run in {folder} was cut off before it wrote its record"));
        let help = format!("nothing of it is there to go on from: `isard run RECIPE --out {folder}`");
        return Err(error.help(help));
    }
    let found = if folder.is_dir() { "it holds no run.json" } else { "there is no such folder" };
    let error = Error::recipe(format!("{} is not the output folder of a run: {found}", folder.display()));
    Err(error.help("name the folder that `isard run` printed last, such as runs/NAME-001"))
}

/// The options that every run of this process shares.
pub fn run_options(out: isard_core::run::Out) -> isard_core::run::Options {
    let mut options = isard_core::run::Options::new(out);
    options.reader = Some(std::sync::Arc::new(isard_files::input::read_path));
    options
}
