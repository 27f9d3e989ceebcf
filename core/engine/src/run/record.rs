//! What is known of a run before it begins: its recipe, plugins and inputs.

use std::path::Path;

use crate::plan::{Plan, What};
use crate::run::options::Options;
use crate::store::{self, Input, PluginUsed, Provenance, Recording};

/// What is known of a run before it begins.
pub(super) fn provenance(plan: &Plan, options: &Options) -> Provenance {
    let mut plugins: Vec<PluginUsed> = vec![];
    for node in &plan.nodes {
        if let What::Stage(d) = &node.what
            && !plugins.iter().any(|p| p.name == d.name)
        {
            let (name, origin, version) = (d.name.clone(), d.origin.clone(), d.version.clone());
            // A loaded library is known by its path, and pinned by its digest.
            let sha256 = std::path::Path::new(&origin)
                .is_file()
                .then(|| crate::load::hash(origin.as_ref()).ok())
                .flatten();
            plugins.push(PluginUsed { name, origin, version, sha256 });
        }
    }
    Provenance {
        isard: env!("CARGO_PKG_VERSION").into(),
        name: plan.name.clone(),
        written: plan.written.iter().map(|(p, t)| (absolute(p), t.clone())).collect(),
        resolved: plan.resolved.clone(),
        plugins,
        inputs: inputs(plan),
        options: options.said.clone(),
        recording: recording(plan),
        seed: plan.run.seed,
        part: options.part,
        started: store::utc_now(),
        host: store::Holder::this().host,
        status: "running".into(),
        ..Provenance::default()
    }
}

/// How the recorders of a plan put what they take on the disk.
fn recording(plan: &Plan) -> Vec<Recording> {
    let recorders = plan.nodes.iter().filter(|n| n.run.record);
    let stated = recorders.map(|n| {
        let policy = n.run.sync();
        Recording {
            stage: n.name.clone(),
            sync_s: policy.seconds,
            sync_bytes: policy.bytes,
            read_back: n.run.read_back,
        }
    });
    stated.collect()
}

/// A run is resumed from anywhere: its recipe must be found from there.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// The input files that parameters name, as they are now.
fn inputs(plan: &Plan) -> Vec<Input> {
    let mut found: Vec<Input> = vec![];
    for node in &plan.nodes {
        let What::Stage(declaration) = &node.what else { continue };
        let properties = declaration.schema.get("properties").and_then(serde_json::Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            if property.get("x-path").and_then(serde_json::Value::as_str) != Some("input") {
                continue;
            }
            let Some(path) = node.set.get(name).and_then(serde_json::Value::as_str) else { continue };
            let file = path.split("::").next().unwrap_or(path);
            // A folder or a pattern has no size of its own; its source says which files it found.
            if let Ok(input) = Input::of(file.as_ref())
                && !found.contains(&input)
            {
                found.push(input);
            }
        }
    }
    found
}

/// Half of the memory that can be had now; none where the machine does not say.
pub fn machine_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024 / 2)
}
