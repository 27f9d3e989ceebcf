//! Recipes with isolated stages: what the plan settles, and what a crash costs.

use std::path::Path;

use isard_core::load;
use isard_core::plan::{self, Plan};
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome, Report};

use crate::host;
use crate::library::{example, misbehaving};

/// Frames, and a branch behind them that does as it is told beside one that works.
fn recipe(how: &str, branch: &str, moments: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "apart"
        [run]
        chunk = 4
        hang_s = 1.0
        [stage.beat]
        use = "example.beat"
        set = {{ frames = 40, size = [8, 8] }}
        [stage.norm]
        use = "example.normalize"
        from = "beat"
        run = {{ isolate = true }}
        [stage.bad]
        use = "test.misbehave"
        from = "norm"
        in = {{ image = "norm.image" }}
        set = {{ how = "{how}" }}
        run = {{ {branch} }}
        [stage.lines]
        use = "example.csv"
        from = "bad"
        in = {{ image = "bad.image" }}
        set = {{ name = "lines.csv" }}
        [stage.moments]
        use = "example.moments"
        from = "beat"
        run = {{ {moments} }}
        [out]
        mean = "moments.mean"
        "#
    )
}

fn registry() -> Registry {
    host();
    let mut registry = Registry::default();
    for library in [example(), misbehaving()] {
        load::library(library).unwrap().into_iter().for_each(|d| registry.add(d).unwrap());
    }
    registry
}

fn plan(text: &str) -> Result<Plan, String> {
    let recipe = recipe::parse(text, Path::new("test.toml")).map_err(|faults| faults.to_string())?;
    plan::make(&recipe, &registry()).map(|(plan, _)| plan).map_err(|faults| faults.to_string())
}

fn run(text: &str) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let out = Out::Folder { path: folder.path().join("out"), overwrite: true };
    run::run(&plan(text).unwrap(), Options::new(out)).unwrap()
}

fn isolated(plan: &Plan, name: &str) -> bool {
    plan.nodes.iter().find(|node| node.name == name).unwrap().run.isolate
}

#[test]
fn isolated_and_in_process_runs_give_the_same_content() {
    let near = run(&recipe("nothing", "", ""));
    let apart = run(&recipe("nothing", "isolate = true", "isolate = true"));
    for report in [&near, &apart] {
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    }
    assert!(near.content.len() >= 2, "{:?}", near.content);
    assert_eq!(near.content, apart.content);
    assert_eq!(near.results, apart.results);
}

#[test]
fn a_crash_fails_the_run_with_plugin_stage_signal_and_frames() {
    let report = run(&recipe("abort", "isolate = true", ""));
    let Outcome::Failed(error) = &report.outcome else { panic!("{:?}", report.outcome) };
    let text = error.to_string();
    for part in ["`bad`", "libisard_misbehave.so", "SIGABRT"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Two chunks are in the host at once, and either may be the one that ends it.
    let frames = ["0..4", "4..8"].map(|frames| format!("in `apply` on frames {frames}"));
    assert!(frames.iter().any(|part| text.contains(part)), "{text}");
}

#[test]
fn a_crash_or_a_hang_of_a_branch_that_may_end_costs_that_branch_alone() {
    for (how, wanted) in
        [("abort", "SIGABRT"), ("stubborn", "has not come back for 1 s; its host process was killed")]
    {
        let report = run(&recipe(how, r#"isolate = true, on_error = "detach""#, ""));
        assert_eq!(report.outcome, Outcome::Detached, "{how}: {:?}", report.outcome.message());
        let error = report.stages.iter().find_map(|s| s.detached.as_ref()).unwrap().to_string();
        assert!(error.contains(wanted), "{how}: {error}");
        assert!(report.results.get("mean").is_some(), "{how}: {:?}", report.results);
    }
}

#[test]
fn loaded_stages_beside_a_recorder_are_isolated_unless_the_recipe_says_no() {
    let text = recipe("nothing", "", "isolate = false");
    let beside = text.replace(
        r#"set = { name = "lines.csv" }"#,
        r#"set = { name = "lines.csv" }
        run = { lane = "record" }"#,
    );
    let (alone, beside) = (plan(&text).unwrap(), plan(&beside).unwrap());
    assert!(!isolated(&alone, "bad") && isolated(&alone, "norm") && alone.isolates());
    assert!(isolated(&beside, "bad") && isolated(&beside, "beat") && isolated(&beside, "lines"));
    assert!(!isolated(&beside, "moments"));
}
