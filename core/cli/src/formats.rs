//! Which stage reads or writes a file: each declares the endings of its files in the schema of its parameters.

use std::sync::Arc;

use isard_core::error::{Error, Result};
use isard_core::registry::{Declaration, Registry, Role};

/// The stage of a role whose path parameter declares the ending of a name, and that parameter.
pub fn by_ending(registry: &Registry, name: &str, role: Role) -> Option<(Arc<Declaration>, String)> {
    let name = name.to_lowercase();
    let stages = registry.iter().filter(|d| d.role == role);
    let mut found: Option<(usize, Arc<Declaration>, String)> = None;
    for stage in stages {
        for (parameter, ending) in endings(stage) {
            // The longest ending wins: `.edf.gz` before `.gz`. Of two, the one that knows more of its files: an EMD file is HDF5.
            let special = stage.origin != "isard-files";
            let better = |(length, other, _): &(usize, Arc<Declaration>, String)| {
                ending.len() > *length || ending.len() == *length && special && other.origin == "isard-files"
            };
            if name.ends_with(&ending) && found.as_ref().is_none_or(better) {
                found = Some((ending.len(), stage.clone(), parameter));
            }
        }
    }
    found.map(|(_, stage, parameter)| (stage, parameter))
}

/// The path parameters of a stage with the endings they take.
pub fn endings(stage: &Declaration) -> Vec<(String, String)> {
    let mut found = vec![];
    let properties = stage.schema.get("properties").and_then(|p| p.as_object());
    for (name, schema) in properties.into_iter().flatten() {
        let list = schema.get("x-endings").and_then(|e| e.as_array());
        for ending in list.into_iter().flatten().filter_map(|e| e.as_str()) {
            found.push((name.clone(), ending.to_owned()));
        }
    }
    found
}

/// The writer of a file by its ending, or an error that lists the endings there are.
pub fn writer(registry: &Registry, name: &str) -> Result<(Arc<Declaration>, String)> {
    by_ending(registry, name, Role::Writer).ok_or_else(|| {
        let writers = registry.iter().filter(|d| d.role == Role::Writer);
        let mut known: Vec<String> = writers.flat_map(|d| endings(d)).map(|(_, ending)| ending).collect();
        known.sort();
        known.dedup();
        Error::recipe(format!("{name}: no writer knows this ending"))
            .help(format!("wanted one of {}", known.join(", ")))
    })
}
