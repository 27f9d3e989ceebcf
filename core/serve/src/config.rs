//! How a job server works.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use isard_core::stage::Reader;

use crate::confine::Confine;
use crate::executor::{Executor, InProcess};
use crate::json::NotNumbers;

/// What happens at a start to jobs that were cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// They have failed, are marked, and can be resumed or restarted.
    #[default]
    Mark,
    /// They run again under their ids; recipes go on from their last checkpoint.
    Restart,
}

/// Which files the folder of the jobs has of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Files {
    /// None: a job that is cleaned has both.
    #[default]
    None,
    /// The output; the input, too, of a job that did not succeed or is cleaned.
    ///
    /// Without a database it is as `Both`, since inputs would be nowhere.
    Output,
    /// The input and the output; with a database those of inputs are put off where jobs end faster than files can be made.
    Both,
}

/// How jobs are run and kept.
#[derive(Clone)]
pub struct Config {
    /// Jobs that run at once.
    pub workers: usize,
    /// Recipes among them that run at once: each takes all cores.
    pub recipes_at_once: usize,
    /// Jobs that wait at most; more are refused.
    pub queue: usize,
    /// Bytes of input that wait at most.
    pub queue_bytes: usize,
    /// Ended jobs that stay in memory.
    pub history: usize,
    /// Bytes of input and output of ended jobs that stay in memory.
    pub history_bytes: usize,
    /// Bytes that the output of a job may have.
    pub output_bytes: usize,
    /// The folder of the jobs' files and of the runs of recipes; none writes no files and runs no recipes.
    pub folder: Option<PathBuf>,
    /// Which of each job's input and output are written as files.
    pub files: Files,
    /// The database of the jobs; none keeps them in memory alone.
    pub store: Option<PathBuf>,
    /// How long accepted and ended jobs are gathered before they are written together.
    pub window: Duration,
    /// Waits for the disk at each write, so that a power cut loses nothing either.
    pub sync: bool,
    /// Ended jobs that stay on disk, in the database and as files; none keeps all.
    pub keep_jobs: Option<u64>,
    /// How long ended jobs stay in the database, with their files; none is for ever.
    pub keep_for: Option<Duration>,
    /// What happens to jobs that were cut off.
    pub recovery: Recovery,
    /// Plugin libraries.
    pub libraries: Vec<PathBuf>,
    /// Folders of plugin libraries, which are looked at again on demand.
    pub plugin_folders: Vec<PathBuf>,
    /// Folders of recipes: `NAME.toml` is offered as `recipe.NAME`.
    pub recipe_folders: Vec<PathBuf>,
    /// Looks for changed plugins and recipes this often; none looks on demand alone.
    pub watch: Option<Duration>,
    /// Which paths jobs may use.
    pub confine: Confine,
    /// Reads what paths name.
    pub reader: Option<Arc<Reader>>,
    /// Where built-in plugins run.
    pub executor: Arc<dyn Executor>,
    /// Where plugins of libraries run.
    pub isolated: Arc<dyn Executor>,
    /// The time a job may work when it does not say; none is for ever.
    pub timeout: Option<Duration>,
    /// How long an ended job may hold its worker before another worker takes its place.
    pub grace: Duration,
    /// How numbers that are none are written to files.
    pub not_numbers: NotNumbers,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            recipes_at_once: 1,
            queue: 100_000,
            queue_bytes: 1 << 30,
            history: 10_000,
            history_bytes: 256 << 20,
            output_bytes: 64 << 20,
            folder: None,
            files: Files::None,
            store: None,
            window: Duration::from_millis(2),
            sync: true,
            keep_jobs: Some(1_000_000),
            keep_for: Some(Duration::from_secs(30 * 86_400)),
            recovery: Recovery::Mark,
            libraries: vec![],
            plugin_folders: vec![],
            recipe_folders: vec![],
            watch: None,
            confine: Confine::anywhere(),
            reader: None,
            executor: Arc::new(InProcess),
            isolated: Arc::new(InProcess),
            timeout: None,
            grace: Duration::from_secs(5),
            not_numbers: NotNumbers::Text,
        }
    }
}
