//! How to run a plan, and who watches.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::run::pass::Watched;
use crate::run::trace::Trace;
use crate::run::view::View;
use crate::stage::{Prepared, Reader};
use crate::store::{Files, Folder, Part, RealFiles};

/// Where a run leaves its outputs.
#[derive(Clone, Debug)]
pub enum Out {
    /// The next free numbered folder below this one.
    Numbered(PathBuf),
    /// This folder; an earlier run's outputs go only when asked.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Remove what an earlier run left there.
        overwrite: bool,
    },
}

/// What progress sees now and then.
pub struct Progress<'a> {
    /// The step that runs.
    pub step: &'a str,
    /// Its stages.
    pub stages: &'a [Watched],
    /// Seconds since the run began.
    pub seconds: f64,
}

/// Sees a run's progress.
pub type Observer = dyn FnMut(&Progress) + Send;

/// How to run a plan.
pub struct Options {
    /// Where the outputs go.
    pub out: Out,
    /// The door to the outputs' files.
    pub files: Arc<dyn Files>,
    /// Set to let the sources end and everything drain.
    pub stop: Arc<AtomicBool>,
    /// Set to end at once.
    pub cancel: Arc<AtomicBool>,
    /// Sees progress.
    pub observer: Option<Box<Observer>>,
    /// Sees the newest values of stages; nothing waits for it.
    pub view: Option<View>,
    /// Notes every call of every stage.
    pub trace: Option<Arc<Trace>>,
    /// Reads what paths in a recipe name.
    pub reader: Option<Arc<Reader>>,
    /// Costly set-up, shared with other runs of this process.
    pub prepared: Arc<Prepared>,
    /// What the command line says, for `run.json` and for `resume`.
    pub said: BTreeMap<String, serde_json::Value>,
    /// Told where the outputs go, before anything runs.
    pub started: Option<Box<Started>>,
    /// The part of the frames to run; none takes all.
    pub part: Option<Part>,
    /// Outputs of earlier runs to take instead of running their stages.
    pub reuse: Vec<Reuse>,
}

/// An output of an earlier run to take instead of running its stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// The stage.
    pub stage: String,
    /// The folder of the earlier run, or the kept output in it.
    pub path: PathBuf,
    /// Take it even if the recipe that made it differs.
    pub anyway: bool,
}

/// Told where the outputs go.
pub type Started = dyn FnOnce(&Folder) + Send;

impl Options {
    /// The usual ones.
    pub fn new(out: Out) -> Options {
        Options {
            out,
            files: Arc::new(RealFiles),
            stop: Arc::default(),
            cancel: Arc::default(),
            observer: None,
            view: None,
            trace: None,
            reader: None,
            prepared: Arc::default(),
            said: BTreeMap::new(),
            started: None,
            part: None,
            reuse: vec![],
        }
    }
}
