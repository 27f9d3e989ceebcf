//! Behaviour: chunks, threads, order of arrival, and a stop at any mark change nothing that is final.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::contract::play::{self, Way};
use crate::diagnostic::{Files, Place};
use crate::error::{Error, Result};
use crate::plan::{Feed, Node, Pass, Plan, RunOptions, StageOptions, Step, Stream, Take, What, parameters};
use crate::registry::{Declaration, Role};
use crate::run::{self, Options, Out, Outcome, Report};
use crate::stage::{Built, Example, Lag};
use crate::value::{Array, Key, Value};

/// How one run of the example differs from the first.
#[derive(Clone)]
struct Variant {
    name: String,
    chunk: u64,
    threads: usize,
    way: Way,
    stop_at: Option<u64>,
}

/// What a stage's behaviour breaks.
pub fn check(declaration: &Arc<Declaration>) -> Vec<String> {
    let example = (declaration.example)();
    if let Some(why) = example.external {
        // Past the test harness, which keeps what passing tests print.
        let _ = writeln!(std::io::stderr(), "skipped: the behaviour of {} ({why})", declaration.name);
        return vec![];
    }
    let takes_frames = !matches!(declaration.role, Role::Source | Role::Task);
    if takes_frames && example.span().len == 0 {
        return vec!["its example needs frames of input".into()];
    }
    let base =
        Variant { name: "as it comes".into(), chunk: 16, threads: 2, way: Way::default(), stop_at: None };
    let first = match run_variant(declaration, &example, &base) {
        Ok(report) => report,
        Err(error) => return vec![format!("its example does not run: {error}")],
    };
    let mut broken = vec![];
    if first.content.is_empty() {
        broken.push("its example comes to nothing that could be compared".into());
    }
    for variant in variants(declaration, &example) {
        let live = variant.way.rate > 0.0;
        match run_variant(declaration, &example, &variant) {
            Err(error) => broken.push(format!("{}: {error}", variant.name)),
            Ok(report) if declaration.role == Role::Fit && live => {
                broken.extend(
                    near(&example, &first, &report).into_iter().map(|b| format!("{}: {b}", variant.name)),
                );
            }
            Ok(report) if report.content != first.content => {
                broken.push(format!("{}: its result differs from the one it gives otherwise", variant.name));
            }
            Ok(_) => (),
        }
    }
    broken
}

fn variants(declaration: &Declaration, example: &Example) -> Vec<Variant> {
    let one = |name: &str, chunk, threads| Variant {
        name: name.into(),
        chunk,
        threads,
        way: Way::default(),
        stop_at: None,
    };
    let mut all = vec![
        one("in chunks of 1", 1, 2),
        one("in chunks of 3", 3, 2),
        one("on 1 thread", 16, 1),
        one("on 4 threads", 3, 4),
    ];
    if matches!(declaration.role, Role::Source | Role::Task) {
        return all;
    }
    let frames = example.span().len;
    let mut shuffled = one("live and shuffled", 3, 2);
    shuffled.way = Way { rate: (frames as f64 * 2.0).max(200.0), shuffle: 5, stop: None };
    all.push(shuffled);
    for at in [0, frames / 3, frames / 2, frames.saturating_sub(2)] {
        let mut stopped = one(&format!("stopped after frame {at} and resumed"), 4, 2);
        stopped.stop_at = Some(at);
        all.push(stopped);
    }
    all
}

/// How far the scalars of a live fit are from those fitted at once.
fn near(example: &Example, first: &Report, live: &Report) -> Vec<String> {
    let results =
        |report: &Report| report.stages.iter().rev().find(|s| s.name == "it").map(|s| s.results.clone());
    let (Some(a), Some(b)) = (results(first), results(live)) else {
        return vec!["a fit without a result".into()];
    };
    let mut broken = vec![];
    for (key, value) in a.iter() {
        let (Some(x), Some(y)) = (value.number(), b.get(key.as_str()).and_then(Value::number)) else {
            continue;
        };
        let stated = example.tolerance.iter().find(|t| t.port == key.as_str());
        let allowed = stated.map_or(0.0, |t| t.absolute);
        if (x - y).abs() > allowed {
            broken.push(format!("`{key}` is {y} live and {x} at once, {allowed} apart at most"));
        }
    }
    broken
}

fn run_variant(declaration: &Arc<Declaration>, example: &Example, variant: &Variant) -> Result<Report> {
    let folder = Scratch::new(&declaration.name)?;
    let out = Out::Folder { path: folder.0.join("out"), overwrite: true };
    let mut options = Options::new(out);
    options.reader = None;
    let mut way = variant.way.clone();
    if let Some(at) = variant.stop_at {
        way.stop = Some((options.stop.clone(), at));
    }
    let stopping = way.stop.is_some();
    let plan = plan(declaration, example, variant, way)?;
    let report = run::run(&plan, options)?;
    if stopping && report.outcome == Outcome::Stopped {
        let mut way = variant.way.clone();
        way.stop = None;
        let plan = self::plan(declaration, example, variant, way)?;
        let mut options = Options::new(Out::Folder { path: folder.0.join("out"), overwrite: false });
        options.stop = Arc::new(AtomicBool::new(false));
        return finished(run::resume(&plan, options)?);
    }
    finished(report)
}

fn finished(report: Report) -> Result<Report> {
    match &report.outcome {
        Outcome::Done | Outcome::Limits(_) => Ok(report),
        other => Err(Error::plugin(format!("{}: {}", other.word(), other.message().unwrap_or_default()))),
    }
}

/// A plan of the stage alone, behind a source that plays its example.
fn plan(declaration: &Arc<Declaration>, example: &Example, variant: &Variant, way: Way) -> Result<Plan> {
    let set = parameters(declaration, &example.set).map_err(|faults| Error::recipe(faults.to_string()))?;
    let mut nodes = vec![];
    let alone = matches!(declaration.role, Role::Source | Role::Task);
    let node = |name: &str, what: Arc<Declaration>, set, from, inputs, opens| Node {
        name: name.into(),
        what: What::Stage(what),
        set,
        from,
        inputs,
        pass: 0,
        opens,
        run: StageOptions { take: Take::Final, ..StageOptions::default() },
        at: Place::default(),
    };
    let mut inputs: Vec<(Key, Feed)> =
        example.fixed.iter().map(|(key, value)| (key.clone(), Feed::Value(value.clone()))).collect();
    let mut from = vec![];
    if !alone {
        let mut frames = example.frames.clone();
        if frames.values().all(|v| v.records().is_none()) {
            // Tables alone do not tell a source's frames apart; numbers that nobody reads do.
            let numbers: Vec<u64> = example.span().range().collect();
            frames.set("number", Array::from_slice(&numbers));
        }
        let source = play::declaration(frames, example.span(), way);
        nodes.push(node("play", Arc::new(source), serde_json::json!({}), vec![], vec![], None));
        from.push(Stream::Live(0));
        for key in example.frames.keys() {
            inputs.push((key.clone(), Feed::Stream(Key::from(format!("play.{key}")))));
        }
    } else {
        inputs.extend(example.frames.iter().map(|(k, v)| (k.clone(), Feed::Value(v.clone()))));
    }
    let opens = match (declaration.build)(set.clone())? {
        Built::Fold(fold) => match fold.lag() {
            Lag::Merged { axis } => Some(axis.to_owned()),
            _ => None,
        },
        Built::Reduce(_) | Built::Fit(_) | Built::Task(_) => Some("snapshot".into()),
        _ => None,
    };
    nodes.push(node("it", declaration.clone(), set, from, inputs, opens));
    let options = RunOptions {
        chunk: Some(variant.chunk),
        threads: Some(variant.threads),
        seed: 7,
        checkpoint_s: 0.0,
        latency_ms: 20,
        ..RunOptions::default()
    };
    Ok(Plan {
        name: "contract".into(),
        written: vec![("contract".into(), declaration.name.clone())],
        resolved: serde_json::json!({ "stage": declaration.name }),
        run: options,
        scan: vec![],
        passes: vec![Pass { name: "main".into(), nodes: (0..nodes.len()).collect(), needs: None }],
        nodes,
        loops: vec![],
        steps: vec![Step { name: "main".into(), pass: 0, turn: None }],
        arguments: BTreeMap::new(),
        results: vec![],
        tests: vec![],
        files: Files::default(),
    })
}

/// A folder that goes when its test does.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Scratch> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("isard-contract-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| Error::io("cannot create", &path, &e))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Scratch of a test: what cannot be removed now is in the temporary folder anyway.
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Dict;

    #[test]
    fn a_fit_that_strays_is_caught() {
        let example = Example::new("").tolerance("slope", 0.1);
        assert!(near(&example, &blank(1.0), &blank(1.05)).is_empty());
        assert_eq!(near(&example, &blank(1.0), &blank(1.5)).len(), 1);
    }

    fn blank(slope: f64) -> Report {
        let stage = run::StageReport {
            step: "main".into(),
            name: "it".into(),
            what: "toy.line".into(),
            earlier: 0,
            records: 0,
            busy: 0.0,
            snapshots: 1,
            delay: None,
            ledger: None,
            detached: None,
            results: Dict::new().with("slope", slope),
            content: None,
        };
        Report {
            name: "x".into(),
            out: "x".into(),
            outcome: Outcome::Done,
            seconds: 0.0,
            stages: vec![stage],
            skipped: vec![],
            content: BTreeMap::new(),
            results: Dict::new(),
            live: false,
            peak_buffers: 0,
        }
    }
}
