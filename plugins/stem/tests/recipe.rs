//! The shipped recipe of a small simulated scan, on the engine.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::{plan, recipe, run};
use isard_image as _;
use isard_stem as _;

#[test]
fn the_whole_recipe_runs_on_the_reference_scan() {
    let Some(_) = common::data("recipe") else { return };
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/stem.toml");
    let recipe = recipe::load(&at, &recipe::Overrides::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let registry = Registry::built_in().unwrap();
    let (plan, _) = plan::make(&recipe, &registry).unwrap_or_else(|faults| panic!("{faults}"));
    let out = std::env::temp_dir().join(format!("isard-stem-whole-{}", std::process::id()));
    let options = run::Options::new(run::Out::Folder { path: out.clone(), overwrite: true });
    let report = run::run(&plan, options).unwrap();
    assert_eq!(report.outcome, run::Outcome::Done, "{:?}", report.outcome.message());
    let file = isard_h5::File::open(out.join("pictures.nxs")).unwrap();
    let found = file.dataset("/entry/result/annular").unwrap().read_all().unwrap();
    assert_eq!(
        found,
        common::npy("exp_ring.npy")
            .to_f64()
            .unwrap()
            .iter()
            .flat_map(|x| x.to_ne_bytes())
            .collect::<Vec<_>>()
    );
    std::fs::remove_dir_all(out).unwrap();
}

#[test]
fn the_small_recipe_finds_the_rotation_and_writes_emd() {
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/small/stem.toml");
    let registry = Registry::built_in().unwrap();
    let text = std::fs::read_to_string(&at).unwrap();
    let recipe = recipe::parse(&text, &at).unwrap_or_else(|faults| panic!("{faults}"));
    let (plan, _) = plan::make(&recipe, &registry).unwrap_or_else(|faults| panic!("{faults}"));
    let out = std::env::temp_dir().join(format!("isard-stem-recipe-{}", std::process::id()));
    let options = run::Options::new(run::Out::Folder { path: out.clone(), overwrite: true });
    let report = run::run(&plan, options).unwrap();
    assert!(
        matches!(report.outcome, run::Outcome::Done | run::Outcome::Limits(_)),
        "{:?}",
        report.outcome.message()
    );
    let phase = report.stages.iter().find(|s| s.name == "phase").unwrap();
    let found = phase.results.get("guess_rotation").and_then(Value::number).unwrap();
    assert!((found - 40.0).abs() < 3.0, "{found} for 40 degrees");
    let file = isard_h5::File::open(out.join("scan.emd")).unwrap();
    assert_eq!(file.dataset("/scan/phase/data").unwrap().shape(), [12, 12]);
    let unit = file.attribute("/scan/phase/dim0", "units").unwrap();
    assert_eq!(unit, Some(isard_h5::Attr::Text("angstrom".into())));
    std::fs::remove_dir_all(out).unwrap();
}
