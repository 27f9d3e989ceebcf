//! What the stages of this crate promise.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::registry::{Declaration, Registry};
use isard_core::stage::Built;

fn stages() -> Vec<Arc<Declaration>> {
    let registry = Registry::built_in().unwrap();
    registry.iter().filter(|d| d.origin == env!("CARGO_PKG_NAME")).cloned().collect()
}

fn built(name: &str, set: &str) -> Result<Built> {
    let registry = Registry::built_in().unwrap();
    (registry.find(name).unwrap().build)(toml::from_str(set).unwrap())
}

#[test]
fn the_contract_of_stages_is_held() {
    isard_core::contract::check_all(env!("CARGO_PKG_NAME"));
}

#[test]
fn the_family_is_complete() {
    let names: Vec<String> = stages().iter().map(|d| d.name.clone()).collect();
    assert_eq!(
        names,
        [
            "ptycho.metrics",
            "ptycho.reconstruct",
            "ptycho.simulate",
            "ptyd.read",
            "ptyd.write",
            "ptyr.write",
            "scan.positions",
            "scan.prepare",
        ]
    );
}

#[test]
fn faults_are_named() {
    let wrong = [
        ("ptycho.reconstruct", "", "engines"),
        ("ptycho.reconstruct", "engines = [{ name = \"DM\", ML_type = \"poisson\" }]", "engines"),
        ("ptycho.reconstruct", "engines = [{ name = \"ML\" }]\nenergy = -1.0", "energy"),
        ("ptycho.simulate", "shape = 3", "shape"),
        ("ptyd.write", "path = \"a.h5\"", "path"),
        ("ptyd.write", "path = \"a.ptyd\"\nchunk_format = \".part\"", "chunk_format"),
        ("ptyr.write", "path = \"a\"", "path"),
        ("scan.prepare", "shape = 10\nrebin = 3", "rebin"),
        ("scan.prepare", "orientation = 8", "orientation"),
        ("scan.positions", "", "model"),
    ];
    for (name, set, parameter) in wrong {
        let faults = built(name, set).unwrap().stage().check();
        assert!(faults.iter().any(|f| f.parameter == parameter), "{name}: {set}: {faults:?}");
    }
}
