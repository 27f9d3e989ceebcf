//! Jobs run again from their files, in this process and without a server.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use isard_core::error::{Error, Result};
use isard_core::stage::{RunCx, guard};
use isard_core::value::{Dict, Key, Value};

use crate::abort::Abort;
use crate::catalog::{Catalog, Plugin};
use crate::config::Config;
use crate::executor::Call;
use crate::files::{Folder, safe};
use crate::json;
use crate::log;
use crate::recipe::{self, Surroundings};
use crate::request::dictionary;
use crate::state::State;

/// Keys that make no sense offline: other jobs by their ids, and switches of the older server.
const OFFLINE: [&str; 3] = ["metadata_job", "wait_for", "do_profiling"];

/// How jobs are run again.
pub struct Reprocess {
    /// The folder that outputs go to, exactly this one.
    pub out: PathBuf,
    /// Keys of every input to set anew.
    pub set: Dict,
    /// Keys of every input to leave out.
    pub ignore: Vec<String>,
    /// Jobs at once.
    pub at_once: usize,
}

/// What became of one file.
pub struct Done {
    /// Its place among the files, counted from 0.
    pub index: usize,
    /// The file.
    pub file: PathBuf,
    /// None for a file that is not there.
    pub state: Option<State>,
    /// The output; empty after an error.
    pub output: Dict,
    /// The error.
    pub error: Option<Error>,
    /// Keys that were left out because they make no sense offline.
    pub ignored: Vec<String>,
}

/// Runs the jobs of files again; `told` hears of each as it ends, and what it began with.
pub fn reprocess(
    config: &Config,
    how: &Reprocess,
    files: &[PathBuf],
    told: impl Fn(&Done) + Sync,
) -> Result<Vec<Done>> {
    let catalog = Catalog::new(config)?;
    let folder = Folder::open(&how.out)?;
    let again = Again { config, how, catalog, folder };
    let (next, all) = (AtomicUsize::new(0), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        for _ in 0..how.at_once.clamp(1, files.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(index) else { return };
                    let done = again.one(index, file);
                    told(&done);
                    all.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|done| done.index);
    Ok(all)
}

struct Again<'a> {
    config: &'a Config,
    how: &'a Reprocess,
    catalog: Catalog,
    folder: Folder,
}

impl Again<'_> {
    fn one(&self, index: usize, file: &Path) -> Done {
        let mut done = Done {
            index,
            file: file.to_owned(),
            state: None,
            output: Dict::new(),
            error: None,
            ignored: vec![],
        };
        if !file.is_file() {
            return done;
        }
        let begun = Instant::now();
        let made = self.read(file, &mut done.ignored).and_then(|(plugin, mut input)| {
            input.set(Key::Static("job_id"), index as i64);
            let (made, lines) = log::collect(|| guard("job", || self.run(index, &plugin, &input)));
            let mut output = made?;
            if output.get("logging").is_none() {
                output.set("logging", lines.into_iter().map(Value::from).collect::<Vec<_>>());
            }
            Ok((plugin, input, output))
        });
        let made = made.and_then(|(plugin, input, mut output)| {
            output.set("job_runtime", begun.elapsed().as_secs_f64());
            self.write(index, plugin.name(), &input, &output).map(|()| output)
        });
        match made {
            Ok(output) => (done.state, done.output) = (Some(State::Success), output),
            Err(error) => (done.state, done.error) = (Some(State::Failure), Some(error)),
        }
        done
    }

    fn read(&self, file: &Path, ignored: &mut Vec<String>) -> Result<(Arc<Plugin>, Dict)> {
        let text = std::fs::read_to_string(file).map_err(|e| Error::io("cannot read", file, &e))?;
        let mut input = dictionary(&json::parse(&text)?)?;
        let Some(Value::Text(name)) = input.get("plugin_name").cloned() else {
            return Err(Error::data("found no `plugin_name`, wanted the input of a job")
                .help("files of jobs are those that end in .inp, or any JSON with that key"));
        };
        let plugin = self.catalog.find(&name)?;
        let knows = |key: &str| matches!(&*plugin, Plugin::Task(task) if task.knows(key));
        input.retain(|key| {
            let asked = self.how.ignore.iter().any(|ignore| ignore == key);
            let offline = OFFLINE.contains(&key) && !knows(key);
            if asked || offline {
                ignored.push(key.to_owned());
            }
            !(asked || offline)
        });
        for (key, value) in self.how.set.iter() {
            input.set(key.clone(), value.clone());
        }
        Ok((plugin, input))
    }

    fn run(&self, index: usize, plugin: &Plugin, input: &Dict) -> Result<Dict> {
        let abort = Abort::default();
        let run = RunCx { reader: self.config.reader.clone(), ..RunCx::default() };
        match plugin {
            Plugin::Task(task) => {
                let add = |name: &str| input.get(name).cloned().unwrap_or_default();
                let (set, input) = task.bind(input, &self.config.confine, &run, add)?;
                let declaration = &task.declaration;
                let loaded = declaration.origin.contains('/');
                let executor = if loaded { &self.config.isolated } else { &self.config.executor };
                executor.run(Call { id: index as u64, declaration, set, input, run: &run, abort: &abort })
            }
            Plugin::Recipe(recipe) => recipe::run(
                recipe,
                input,
                &Surroundings {
                    registry: &self.catalog.registry(),
                    out: &self.folder.root().join(format!("{index:05}_run")),
                    confine: &self.config.confine,
                    reader: self.config.reader.clone(),
                    prepared: run.prepared.clone(),
                    abort: &abort,
                    resume: false,
                },
            ),
        }
    }

    fn write(&self, index: usize, plugin: &str, input: &Dict, output: &Dict) -> Result<()> {
        let what = safe(plugin.rsplit('.').next().unwrap_or(plugin));
        for (ending, dict) in [("inp", input), ("out", output)] {
            let path = self.folder.root().join(format!("{index:05}_{what}.{ending}"));
            let text = json::spread(dict, self.config.not_numbers);
            std::fs::write(&path, text).map_err(|e| Error::io("cannot write", &path, &e))?;
        }
        Ok(())
    }
}
