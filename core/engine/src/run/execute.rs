//! Step after step: checkpoints, finals, skipped passes, the record of the run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::error::{Blame, Error, Result};
use crate::plan::{NodeId, Plan, What, budget};
use crate::registry::Role;
use crate::run::commits::Commits;
use crate::run::ledger::Ledger;
use crate::run::node::{Committed, Finals};
use crate::run::options::{Options, Progress};
use crate::run::parts;
use crate::run::pass::{self, FileShapes, Names, PassEnd, Surroundings, Watched};
use crate::run::record::machine_memory;
use crate::run::report::{Outcome, Report, StageReport};
use crate::run::results;
use crate::run::scope::Scope;
use crate::run::view::Watching;
use crate::stage::{Opened, RunCx};
use crate::store::{self, Checkpoint, Folder, GapList, Provenance, Sealed, checkpoint};
use crate::value::{Dict, Key, Pool, Value};

/// The account of frames of one stage in one step.
struct Account {
    /// The stage, with its step in a recipe with passes.
    name: String,
    ledger: Ledger,
    /// Whether its branch ended by itself: then it need not balance.
    detached: bool,
}

/// A run under way.
pub(super) struct Execution<'a> {
    plan: &'a Plan,
    folder: Arc<Folder>,
    record: Provenance,
    /// What of each step runs here; a step without one runs whole.
    scopes: Vec<Scope>,
    options: Options,
    run: Arc<RunCx>,
    watching: Option<Watching>,
    finals: Arc<Finals>,
    commits: Arc<Commits>,
    begun: Instant,
    mark: u64,
    /// Branches that ended by themselves in earlier steps: the stage and its error.
    detached: Vec<(String, String)>,
    /// The accounts of frames of the steps so far.
    accounts: Vec<Account>,
    report: Report,
}

impl<'a> Execution<'a> {
    /// A run that is about to begin or to go on.
    pub fn new(
        plan: &'a Plan,
        folder: Arc<Folder>,
        record: Provenance,
        scopes: Vec<Scope>,
        mut options: Options,
    ) -> Result<Self> {
        let threads =
            plan.run.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("isard work {i}"))
            .build();
        let pool = pool.map_err(|e| {
            Error::new(crate::Blame::Resources, format!("cannot start {threads} threads: {e}"))
        })?;
        let run = Arc::new(RunCx {
            pool: if plan.isolates() { Pool::shared(1 << 30) } else { Pool::new(1 << 30) },
            seed: plan.run.seed,
            cancel: options.cancel.clone(),
            threads: Some(Arc::new(pool)),
            reader: options.reader.clone(),
            prepared: options.prepared.clone(),
            hang_s: plan.run.hang_s,
        });
        if let Some(started) = options.started.take() {
            started(&folder);
        }
        let report = Report {
            name: plan.name.clone(),
            out: folder.root().to_owned(),
            outcome: Outcome::Done,
            seconds: 0.0,
            stages: vec![],
            skipped: vec![],
            content: record.content.clone(),
            results: Dict::new(),
            live: false,
            peak_buffers: 0,
        };
        let watching = options.view.take().map(Watching::start).transpose()?;
        let (finals, commits) = (Arc::default(), Arc::default());
        let begun = Instant::now();
        Ok(Execution {
            plan,
            folder,
            record,
            scopes,
            options,
            run,
            watching,
            finals,
            commits,
            begun,
            mark: 0,
            detached: vec![],
            accounts: vec![],
            report,
        })
    }

    /// Runs all steps, or those from a checkpoint on.
    pub fn go(mut self, mut from: Option<Checkpoint>) -> Result<Report> {
        self.folder.set_record(self.record.to_json());
        self.folder.put_run(&self.record.to_json())?;
        let part = self.record.part.map_or_else(String::new, |part| format!(", {part}"));
        self.log(&format!("isard {} runs `{}`{part}", self.record.isard, self.plan.name))?;
        let mut first = 0;
        if let Some(checkpoint) = &from {
            let known = self.plan.steps.iter().position(|s| s.name == checkpoint.step);
            first =
                known.ok_or_else(|| Error::data(format!("no pass `{}` in the recipe", checkpoint.step)))?;
            if let Some(Value::Dict(finals)) = checkpoint.more.get("finals") {
                self.finals.load(finals)?;
            }
            if let Some(Value::Dict(content)) = checkpoint.more.get("content") {
                self.report.content = content
                    .iter()
                    .map(|(k, v)| (k.to_string(), v.text().unwrap_or_default().to_owned()))
                    .collect();
            }
            if let Some(Value::Dict(detached)) = checkpoint.more.get("detached") {
                for (stage, error) in detached.iter() {
                    let error = error.text().unwrap_or_default();
                    tracing::warn!(%stage, error, "A branch had ended in an earlier pass.");
                    self.detached.push((stage.to_string(), error.to_owned()));
                }
            }
            for (name, saved) in checkpoint.ledger.iter() {
                if let Value::Dict(saved) = saved {
                    let (name, ledger) = (name.to_string(), Ledger::load(saved)?);
                    self.accounts.push(Account { name, ledger, detached: false });
                }
            }
            self.record.done = self.plan.steps[..first].iter().map(|s| s.name.clone()).collect();
            self.mark = checkpoint.mark;
            self.log(&format!("resumed at mark {} of pass {}", checkpoint.mark, checkpoint.step))?;
        }
        let mut failure = None;
        let mut stopped = false;
        // The frames of the first pass are what parts share; whatever comes later is for their merge.
        let steps = if self.record.part.is_some() { 1 } else { self.plan.steps.len() };
        for step in first..steps {
            if step > first && self.options.stop.load(Ordering::Relaxed) {
                // Between two passes there is nothing to drain, but the checkpoint has to say where to go on.
                stopped = true;
                let at = self.boundary(step);
                failure = checkpoint::save(&self.folder, &at).err();
                break;
            }
            let resumed = from.take().filter(|c| !c.nodes.is_empty());
            match self.step(step, resumed) {
                Ok(ended) => stopped = ended,
                Err(error) => failure = Some(error),
            }
            if failure.is_some() || stopped {
                break;
            }
        }
        self.finish(failure, stopped)
    }

    /// Runs one step; says whether it was stopped.
    fn step(&mut self, at: usize, resumed: Option<Checkpoint>) -> Result<bool> {
        let plan = self.plan;
        let step = &plan.steps[at];
        let pass = &plan.passes[step.pass];
        if let Some((node, port)) = &pass.needs
            && self.finals.get(*node, port.as_str()).is_none_or(|v| is_empty(&v))
        {
            self.report.skipped.push(step.name.clone());
            self.log(&format!(
                "pass {} is skipped: `{}.{port}` is empty",
                step.name, plan.nodes[*node].name
            ))?;
            return Ok(false);
        }
        let files_before: Vec<Sealed> = match &resumed {
            Some(checkpoint) => checkpoint.files.clone(),
            None => self.folder.sealed(),
        };
        let begin = Checkpoint { files: files_before.clone(), ..self.boundary(at) };
        if resumed.is_none() {
            let checkpoint = begin.clone();
            checkpoint::save(&self.folder, &checkpoint)?;
            if plan.steps.len() > 1 {
                checkpoint::keep(&self.folder, &checkpoint)?;
            }
        }
        let scratch = self.folder.path(store::INNER);
        let folder = self.folder.clone();
        let commits = self.commits.clone();
        let output = |stage: &str| {
            let (folder, commits, name) = (folder.clone(), commits.clone(), stage.to_owned());
            let committed: Committed = Arc::new({
                let folder = folder.clone();
                move |mark| commits.note(&name, mark, folder.commit(&name))
            });
            committed
        };
        let keep = |name: &str| (self.folder.inner(name), output(name));
        let output = |name: &str| (self.folder.output(name), output(name));
        let writers: Vec<String> = pass
            .nodes
            .iter()
            .map(|n| &plan.nodes[*n])
            .filter(|n| n.role() == Some(Role::Writer))
            .map(|n| n.name.clone())
            .chain(pass.nodes.iter().map(|n| format!("keep.{}", plan.nodes[*n].name)))
            .collect();
        let mut newest = self.mark;
        let save_folder = self.folder.clone();
        let save_commits = self.commits.clone();
        let mut save = |mark: u64, nodes: Dict| {
            let mut files: Vec<Sealed> =
                files_before.iter().filter(|f| !writers.contains(&f.stage)).cloned().collect();
            for writer in &writers {
                // A writer that had ended before the checkpoint resumed from keeps its files.
                let before = || files_before.iter().filter(|f| f.stage == *writer).cloned().collect();
                files.extend(save_commits.at(writer, mark).unwrap_or_else(before));
            }
            newest = mark;
            // Values that this step has come to stand with the stages that have ended: what the step began with must
            // stay what it was, or a stage that reads what an earlier turn left would read its own turn's instead.
            checkpoint::save(&save_folder, &Checkpoint { mark, nodes, files, ..begin.clone() })
        };
        let (begun, mut observer) = (self.begun, self.options.observer.take());
        let mut watch = |stages: &[Watched]| {
            if let Some(observer) = &mut observer {
                observer(&Progress { step: &step.name, stages, seconds: begun.elapsed().as_secs_f64() });
            }
        };
        let names = Names::of(&self.record);
        let disk = self.folder.free_bytes().ok();
        let budget =
            |opened: &BTreeMap<NodeId, Opened>, early: &BTreeMap<NodeId, Dict>, files: &FileShapes| {
                let weighed = budget(plan, opened, early, files, machine_memory(), disk);
                // Shapes that do not fit are the recipe's fault; too little memory or disk is the machine's.
                let blame = |codes: &[&str]| match codes.contains(&"E0162") {
                    true => crate::Blame::Recipe,
                    false => crate::Blame::Resources,
                };
                weighed.map(drop).map_err(|f| Error::new(blame(&f.codes()), f.render(false).trim_end()))
            };
        let whole = Scope::default();
        let ended = pass::run(&mut Surroundings {
            plan,
            step,
            names: &names,
            run: self.run.clone(),
            stop: self.options.stop.clone(),
            finals: self.finals.clone(),
            scratch,
            folder: self.folder.clone(),
            files: self.folder.files().clone(),
            streams: self.folder.path(&format!("{}/streams", store::INNER)),
            output: &output,
            keep: &keep,
            first_mark: self.mark,
            save: &mut save,
            watch: &mut watch,
            budget: &budget,
            resume: resumed.map(|c| c.nodes),
            trace: self.options.trace.clone(),
            taps: self.watching.as_ref().map(Watching::taps),
            scope: self.scopes.get(at).unwrap_or(&whole),
        });
        self.mark = newest + 1;
        self.options.observer = observer;
        match ended {
            // A stop came while a source still waited to be opened.
            Err(error) if error.blame() == Blame::Cancelled && self.was_stopped() => Ok(true),
            ended => self.book(step.name.clone(), ended?),
        }
    }

    /// Whether the run was asked to stop, and not to end at once.
    fn was_stopped(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed) && !self.run.cancel.load(Ordering::Relaxed)
    }

    /// The checkpoint at the beginning of a step.
    fn boundary(&self, step: usize) -> Checkpoint {
        let text = |(k, v): (&String, &String)| (Key::from(k.clone()), Value::from(v.as_str()));
        let content: Dict = self.report.content.iter().map(text).collect();
        let detached = |(stage, error): &(String, String)| (Key::from(stage.clone()), error.as_str().into());
        let detached: Dict = self.detached.iter().map(detached).collect();
        let more = Dict::new().with("finals", self.finals.save()).with("content", content);
        let account = |a: &Account| (Key::from(a.name.clone()), Value::Dict(a.ledger.save()));
        Checkpoint {
            recipe: self.record.recipe_digest(),
            step: self.plan.steps[step].name.clone(),
            mark: self.mark,
            nodes: Dict::new(),
            ledger: self.accounts.iter().filter(|a| !a.detached).map(account).collect(),
            more: more.with("detached", detached),
            files: self.folder.sealed(),
        }
    }

    /// Takes over what a step came to; says whether it was stopped.
    fn book(&mut self, step: String, end: PassEnd) -> Result<bool> {
        let plan = self.plan;
        let many = plan.steps.len() > 1;
        self.report.live |= end.live;
        for watched in &end.stages {
            let node = &plan.nodes[watched.node];
            let what = match &node.what {
                What::Stage(d) => d.name.clone(),
                What::Join(_) => "flow.join".into(),
            };
            let content = end.content.get(&watched.node).cloned();
            if let Some(digest) = &content {
                let name = if many { format!("{step}.{}", node.name) } else { node.name.clone() };
                self.report.content.insert(name, digest.clone());
            }
            if let Some(ledger) = watched.meter.account() {
                let name = if many { format!("{step}.{}", node.name) } else { node.name.clone() };
                let detached = watched.meter.detached.load(Ordering::Relaxed);
                self.accounts.push(Account { name, ledger, detached });
            }
            let settles = matches!(node.role(), Some(Role::Fit | Role::Reduce | Role::Task));
            self.report.stages.push(StageReport {
                step: step.clone(),
                name: node.name.clone(),
                what,
                records: watched.meter.records.load(Ordering::Relaxed),
                earlier: watched.meter.earlier.load(Ordering::Relaxed),
                busy: watched.meter.busy().as_secs_f64(),
                snapshots: watched.meter.snapshots.load(Ordering::Relaxed),
                delay: end.delays.get(&watched.node).copied(),
                ledger: watched.meter.account(),
                detached: end.detached.iter().find(|(n, _)| *n == watched.node).map(|(_, e)| e.clone()),
                results: if settles { self.finals.of(watched.node) } else { Dict::new() },
                content,
            });
        }
        for (node, scan) in end.scans {
            self.record.scans.insert(plan.nodes[node].name.clone(), scan);
        }
        for (node, error) in &end.detached {
            if let Some(node) = plan.nodes.get(*node) {
                let name = if many { format!("{step}.{}", node.name) } else { node.name.clone() };
                self.detached.push((name, error.to_string()));
            }
        }
        for (node, port, changes) in &end.latched {
            let key = format!("latched {}.{port}", plan.nodes[*node].name);
            let changes: Vec<_> = changes
                .iter()
                .map(|(frame, version, value)| serde_json::json!([frame, version, value.to_json()]))
                .collect();
            self.record.options.insert(key, changes.into());
        }
        match end.failure {
            Some(error) => Err(error),
            None if end.cut_short => Ok(true),
            None => {
                self.record.done.push(step);
                Ok(false)
            }
        }
    }

    /// Weighs the outcome, writes the record and, for a run that is over, the manifest.
    fn finish(mut self, failure: Option<Error>, stopped: bool) -> Result<Report> {
        // The last look comes before the folder is closed.
        drop(self.watching.take());
        let mut unbalanced = None;
        let mut limits = vec![];
        for account in &self.accounts {
            if let Err(error) = account.ledger.balance()
                && !account.detached
            {
                unbalanced.get_or_insert(error.at(format!("stage `{}`", account.name)));
            }
            let exceeded = account.ledger.exceeds(&self.plan.run.limits);
            limits.extend(exceeded.into_iter().map(|text| format!("{}: {text}", account.name)));
        }
        let accounts = std::mem::take(&mut self.accounts);
        self.report.outcome = match (failure, unbalanced) {
            (Some(error), _) => Outcome::Failed(error),
            (None, _) if stopped => Outcome::Stopped,
            (None, Some(error)) => Outcome::Failed(error),
            _ if !limits.is_empty() => Outcome::Limits(limits),
            _ if !self.detached.is_empty() => Outcome::Detached,
            _ => Outcome::Done,
        };
        for (name, node, port) in &self.plan.results {
            if let Some(value) = self.finals.get(*node, port.as_str()) {
                self.report.results.set(name.clone(), value);
            }
        }
        self.report.seconds = self.begun.elapsed().as_secs_f64();
        self.report.peak_buffers = self.run.pool.peak();
        let outcome = &self.report.outcome;
        self.record.ended = Some(store::utc_now());
        self.record.status = outcome.word().into();
        self.record.exit = Some(outcome.exit_code());
        self.record.error = outcome.message();
        self.record.content = self.report.content.clone();
        // A stage of a pass that runs again is known by its last turn.
        let delay = |s: &StageReport| Some((s.name.clone(), (s.delay? * 1e3).round() / 1e3));
        self.record.delays = self.report.stages.iter().filter_map(delay).collect();
        self.record.ledger = accounts
            .iter()
            .map(|a| (a.name.clone(), a.ledger.to_json()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        self.record.gaps = accounts
            .iter()
            .flat_map(|a| a.ledger.classes().into_iter().skip(1).map(move |(word, set)| (&a.name, word, set)))
            .filter(|(_, _, set)| !set.is_empty())
            .map(|(n, word, set)| GapList::new(n, word, set))
            .collect();
        let goes_on = matches!(outcome, Outcome::Failed(_) | Outcome::Stopped);
        let left = match outcome {
            _ if goes_on => Ok(()),
            _ if self.record.part.is_some() => parts::leave_accounts(&self.folder, &self.report.stages),
            Outcome::Done => results::leave(&self.folder, &self.report.results),
            _ => Ok(()),
        };
        let told = self.log(&format!(
            "{}{}",
            outcome.word(),
            outcome.message().map_or(String::new(), |m| format!(": {m}"))
        ));
        let written =
            left.and(told).and_then(|()| self.folder.put_run(&self.record.to_json())).and_then(|()| {
                // Only a run that will not go on gets its manifest; the others are resumed from their checkpoint.
                match goes_on {
                    true => Ok(()),
                    false => store::finish(&self.folder, &self.report.content).map(drop),
                }
            });
        if let Err(error) = written
            && !matches!(self.report.outcome, Outcome::Failed(_))
        {
            self.report.outcome = Outcome::Failed(error);
        }
        self.folder.close();
        Ok(self.report)
    }

    fn log(&self, text: &str) -> Result<()> {
        self.folder.log(&format!("{} {text}\n", store::utc_now()))
    }
}

/// Whether a value holds nothing: the pass that needs it is skipped.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::None => true,
        Value::Text(t) => t.is_empty(),
        Value::List(l) => l.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Table(t) => t.rows() == 0,
        Value::Dict(d) => d.is_empty(),
        _ => false,
    }
}
