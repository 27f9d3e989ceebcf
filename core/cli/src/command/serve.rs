//! `isard serve`: jobs over the network.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use isard_core::error::{Blame, Error};
use isard_serve::net::{Options, Server};
use isard_serve::{Config, Confine, Files, InHosts, Jobs, Plugin, Recovery};

use crate::command::{Done, Plugins};
use crate::show::style;

/// Arguments of `isard serve`.
#[derive(Args)]
pub struct ServeArguments {
    /// Where to listen; any address but loopback needs a token.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8421")]
    bind: SocketAddr,
    /// The folder of the jobs: their database, their files, the runs of recipes.
    #[arg(long, value_name = "DIR", default_value = "jobs")]
    dir: PathBuf,
    /// A folder that jobs may read and write below; the first is where relative paths start. Without it the working directory.
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
    /// A folder of recipes: `NAME.toml` is offered as `recipe.NAME`.
    #[arg(long, value_name = "DIR")]
    recipes: Vec<PathBuf>,
    /// Jobs at once; all cores if not given.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Recipes at once among them.
    #[arg(long, value_name = "N", default_value_t = 1)]
    recipes_at_once: usize,
    /// Jobs that wait at most.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    queue: usize,
    /// Seconds that a job may work when it does not say.
    #[arg(long, value_name = "S")]
    timeout: Option<f64>,
    /// A file with the token that clients must show; else the variable ISARD_TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A name that clients call this computer by.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Requests in a second from one address at most; 0 is without a limit.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    rate: u32,
    /// Bytes of a request at most.
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20)]
    max_request: usize,
    /// Keep jobs in memory alone: a restart loses them.
    #[arg(long)]
    in_memory: bool,
    /// Write no files of input and output; the database has them.
    #[arg(long)]
    no_files: bool,
    /// Write no file of the input of a job that succeeds; `cleanJob` writes it.
    #[arg(long, conflicts_with_all = ["no_files", "in_memory"])]
    no_input_files: bool,
    /// Ended jobs that are kept on disk at most; 0 keeps all.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    keep_jobs: u64,
    /// Days that ended jobs are kept on disk; 0 is for ever. What runs of recipes have left is never removed.
    #[arg(long, value_name = "DAYS", default_value_t = 30.0)]
    keep_days: f64,
    /// Run jobs again that the end of an earlier server cut off, instead of marking them.
    #[arg(long)]
    restart_interrupted: bool,
    /// Milliseconds that changes are gathered before they are written together.
    #[arg(long, value_name = "MS", default_value_t = 2)]
    window: u64,
    /// Do not wait for the disk: a power cut may lose the last jobs, a crash of the server does not.
    #[arg(long)]
    no_sync: bool,
    /// Seconds between looks for changed plugins and recipes; 0 looks on demand alone.
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    watch: f64,
    #[command(flatten)]
    plugins: Plugins,
}

/// Serves jobs until it is told to end.
pub fn run(arguments: &ServeArguments) -> Done {
    let (bind, hosts) = (arguments.bind, arguments.host.clone());
    let token = token(arguments.token_file.as_deref())?;
    let options = Options {
        bind,
        token,
        hosts,
        rate: arguments.rate,
        body: arguments.max_request,
        ..Options::default()
    };
    if !bind.ip().is_loopback() && options.token.is_none() {
        return Err(Error::recipe(format!("listening on {bind} without a token would let anybody run jobs"))
            .help("name a file with a token (`--token-file`), or listen on 127.0.0.1")
            .into());
    }
    let signals = signal_hook::consts::TERM_SIGNALS;
    let mut signals = signal_hook::iterator::Signals::new(signals)
        .map_err(|e| Error::internal(format!("cannot listen for signals: {e}")))?;
    let jobs = Arc::new(Jobs::open(config(arguments)?)?);
    let server = Server::start(jobs.clone(), options)?;
    let plugins = jobs.catalog().list();
    let recipes = plugins.iter().filter(|p| matches!(***p, Plugin::Recipe(_))).count();
    style::print(&format!(
        "isard serves jobs at http://{}: {} plugins, {recipes} recipes, jobs in {}\n",
        server.address(),
        plugins.len() - recipes,
        arguments.dir.display()
    ));
    let waiting = jobs.numbers().waiting;
    if waiting > 0 {
        style::note(&format!("{waiting} jobs of an earlier server go on"));
    }
    signals.forever().next();
    style::note("ending: jobs that run have ten seconds (again to end at once)");
    std::thread::spawn(move || {
        signals.forever().next();
        std::process::exit(7);
    });
    jobs.close(Duration::from_secs(10));
    server.stop();
    Ok(0)
}

fn config(arguments: &ServeArguments) -> Result<Config, Error> {
    std::fs::create_dir_all(&arguments.dir)
        .map_err(|e| Error::io("cannot make the folder", &arguments.dir, &e))?;
    let mut roots = arguments.root.clone();
    if roots.is_empty() {
        roots.push(".".into());
    }
    // What one job has left, another may read.
    roots.push(arguments.dir.clone());
    let seconds =
        |s: f64| Duration::try_from_secs_f64(s).map_err(|e| Error::recipe(format!("{s} seconds: {e}")));
    let workers = arguments.workers.unwrap_or(Config::default().workers);
    Ok(Config {
        workers,
        isolated: Arc::new(InHosts::new(workers)),
        recipes_at_once: arguments.recipes_at_once,
        queue: arguments.queue,
        folder: Some(arguments.dir.clone()),
        files: match (arguments.no_files, arguments.no_input_files) {
            (true, _) => Files::None,
            (false, true) => Files::Output,
            (false, false) => Files::Both,
        },
        store: (!arguments.in_memory).then(|| arguments.dir.join("jobs.sqlite")),
        window: Duration::from_millis(arguments.window),
        sync: !arguments.no_sync,
        keep_jobs: (arguments.keep_jobs > 0).then_some(arguments.keep_jobs),
        keep_for: (arguments.keep_days > 0.0).then(|| seconds(86_400.0 * arguments.keep_days)).transpose()?,
        recovery: if arguments.restart_interrupted { Recovery::Restart } else { Recovery::Mark },
        recipe_folders: arguments.recipes.clone(),
        watch: (arguments.watch > 0.0).then(|| seconds(arguments.watch)).transpose()?,
        timeout: arguments.timeout.map(seconds).transpose()?,
        confine: Confine::to(&roots)?,
        ..base(&arguments.plugins)
    })
}

/// What jobs have in this program, on a server and without one: its plugins, and its readers.
pub fn base(plugins: &Plugins) -> Config {
    let defaults = Config::default();
    Config {
        isolated: Arc::new(InHosts::new(defaults.workers)),
        libraries: plugins.plugin.clone(),
        plugin_folders: plugins.plugin_folder.iter().cloned().collect(),
        reader: Some(Arc::new(isard_files::input::read_path)),
        ..defaults
    }
}

/// The token of a file, or of the variable ISARD_TOKEN.
pub fn token(file: Option<&std::path::Path>) -> Result<Option<String>, Error> {
    let Some(file) = file else {
        return Ok(std::env::var("ISARD_TOKEN").ok().filter(|token| !token.is_empty()));
    };
    let text = std::fs::read_to_string(file).map_err(|e| Error::io("cannot read", file, &e))?;
    match text.trim() {
        short if short.len() < 16 => {
            let (path, n) = (file.display(), short.len());
            Err(Error::new(
                Blame::Recipe,
                format!("the token in {path} has {n} characters, wanted at least 16"),
            )
            .help("make one with `openssl rand -hex 32`"))
        }
        token => Ok(Some(token.to_owned())),
    }
}
