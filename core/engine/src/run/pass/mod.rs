//! One pass: open the sources, wire the stages, start a thread for each, watch them to the end.

mod detached;
mod edges;
mod marks;
mod names;
mod open;
mod place;
mod units;
mod watch;

pub use names::{Names, scan_name};
pub(super) use open::parameters;
pub(super) use units::Measured;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use crate::error::{Error, Result};
use crate::plan::{NodeId, Plan, Step};
use crate::run::control::{Control, Meter};
use crate::run::edge::{Gauge, Inbox, Item, Outlet};
use crate::run::graph::Graph;
use crate::run::node::{Committed, Finals};
use crate::run::scope::Scope;
use crate::run::trace::Trace;
use crate::run::view::Taps;
use crate::run::wire::{Changes, Latch};
use crate::stage::{Opened, Output, RunCx, Shape};
use crate::store::{Files, Folder};
use crate::value::{Dict, Key, Value};

/// What a pass needs from the run around it.
pub struct Surroundings<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The step.
    pub step: &'a Step,
    /// What stands for the placeholders that are the same in all steps.
    pub names: &'a Names,
    /// What all stages share.
    pub run: Arc<RunCx>,
    /// Set to let sources end and everything drain.
    pub stop: Arc<AtomicBool>,
    /// Final values of earlier steps; those of this one are added.
    pub finals: Arc<Finals>,
    /// The folder for what is put aside.
    pub scratch: PathBuf,
    /// The run's folder, for recorders.
    pub folder: Arc<Folder>,
    /// The door to kept streams.
    pub files: Arc<dyn Files>,
    /// The folder of kept streams.
    pub streams: PathBuf,
    /// Makes the output of a writer, and what it calls after a commit.
    pub output: &'a MakeOutput<'a>,
    /// As `output`, for kept streams.
    pub keep: &'a MakeOutput<'a>,
    /// The newest mark of the steps before, or that of the checkpoint.
    pub first_mark: u64,
    /// Saves a checkpoint: the mark and every stage's state.
    pub save: &'a mut dyn FnMut(u64, Dict) -> Result<()>,
    /// Sees the meters now and then.
    pub watch: &'a mut dyn FnMut(&[Watched]),
    /// Checks memory and disk once the sources are open and the tasks that need no stream have run.
    pub budget: &'a Weigh<'a>,
    /// States of a checkpoint to go on from.
    pub resume: Option<Dict>,
    /// Where every call of every stage is noted.
    pub trace: Option<Arc<Trace>>,
    /// Where a viewer looks.
    pub taps: Option<Arc<Taps>>,
    /// What of the step runs here, and what is given to it.
    pub scope: &'a Scope,
}

/// Weighs what opened sources, tasks that have run and files tell.
pub type Weigh<'a> =
    dyn Fn(&BTreeMap<NodeId, Opened>, &BTreeMap<NodeId, Dict>, &FileShapes) -> Result<()> + 'a;

/// The shapes of what files hold that inputs name.
pub type FileShapes = BTreeMap<String, Shape>;

/// Makes the output of a stage, and what is called after its commits.
pub type MakeOutput<'a> = dyn Fn(&str) -> (Arc<dyn Output>, Committed) + 'a;

/// First frame, version and value of a latched value, whenever it changed.
pub type Versions = Vec<(u64, u64, Value)>;

/// A stage as progress sees it.
#[derive(Clone)]
pub struct Watched {
    /// The place in the plan.
    pub node: NodeId,
    /// Its counts.
    pub meter: Arc<Meter>,
    /// How many records are expected, when known.
    pub expected: Option<u64>,
    /// Items waiting in its queue.
    pub queue: Option<Gauge>,
    /// Whether its frames come at their own pace.
    pub live: bool,
}

/// What a pass came to.
pub struct PassEnd {
    /// The meters of its stages.
    pub stages: Vec<Watched>,
    /// Branches that ended by themselves.
    pub detached: Vec<(NodeId, Error)>,
    /// Content digests by stage.
    pub content: BTreeMap<NodeId, String>,
    /// What every latched input was, and from which frame on.
    pub latched: Vec<(NodeId, Key, Versions)>,
    /// The first failure.
    pub failure: Option<Error>,
    /// Whether a stream ended before its time because the run was stopped.
    pub cut_short: bool,
    /// Whether a source gives frames that cannot be had again.
    pub live: bool,
    /// Seconds from the last frame until each writer had written everything.
    pub delays: BTreeMap<NodeId, f64>,
    /// The scan axes of its sources.
    pub scans: Vec<(NodeId, Vec<(String, u64)>)>,
}

/// A stage's thread, ready to start.
type Work = Box<dyn FnOnce() -> Result<Dict> + Send>;

struct Builder<'a, 'b> {
    s: &'b mut Surroundings<'a>,
    graph: Graph<'a>,
    control: Arc<Control>,
    meters: HashMap<NodeId, Arc<Meter>>,
    outlets: HashMap<NodeId, Outlet>,
    inboxes: HashMap<NodeId, Vec<Inbox>>,
    opened: BTreeMap<NodeId, Opened>,
    /// The frames of each source in a part of a run.
    ranges: HashMap<NodeId, Range<u64>>,
    latches: HashMap<(NodeId, String), Arc<Latch>>,
    queues: HashMap<NodeId, Gauge>,
    changes: Vec<(NodeId, Key, Changes)>,
    /// Branches that had ended by themselves before the checkpoint: they stay ended.
    gone_before: Vec<(NodeId, Error)>,
    /// The engine's own listeners, with the stages they listen to.
    helpers: Vec<(NodeId, NodeId)>,
    /// Digests of what tasks gave before the threads began.
    early_content: BTreeMap<NodeId, String>,
    /// The listeners that play kept streams.
    players: Vec<NodeId>,
    /// What files hold that inputs name, read for its shape and not yet taken.
    read: RefCell<HashMap<String, Value>>,
    next_id: NodeId,
    names: HashMap<NodeId, String>,
    work: Vec<(NodeId, bool, Work)>,
    /// The consumers' ends of edges, held until it is known whether a branch ended by its own choice.
    holds: HashMap<NodeId, Vec<Receiver<Item>>>,
}

/// How long a stage that does not come back is waited for once the run is over.
const GRACE: Duration = Duration::from_secs(2);

/// Runs one pass.
pub fn run(s: &mut Surroundings) -> Result<PassEnd> {
    let (events_tx, events) = unbounded();
    let cancel = s.run.cancel.clone();
    let control = Arc::new(Control::new(cancel, s.stop.clone(), s.first_mark, events_tx));
    let graph = Graph::new(s.plan, s.step.pass, s.scope);
    let names = s.plan.nodes.iter().enumerate().map(|(i, n)| (i, n.name.clone())).collect();
    let next_id = s.plan.nodes.len();
    let mut builder = Builder {
        s,
        graph,
        control,
        meters: HashMap::new(),
        outlets: HashMap::new(),
        inboxes: HashMap::new(),
        opened: BTreeMap::new(),
        ranges: HashMap::new(),
        latches: HashMap::new(),
        queues: HashMap::new(),
        changes: vec![],
        gone_before: vec![],
        helpers: vec![],
        early_content: BTreeMap::new(),
        players: vec![],
        read: RefCell::default(),
        next_id,
        names,
        work: vec![],
        holds: HashMap::new(),
    };
    builder.build()?;
    builder.watch(&events)
}
