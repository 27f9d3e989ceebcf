//! The toys that prove the words: if one needs a word that DESIGN does not have, the words are wrong.

mod support;

use std::sync::atomic::Ordering;

use isard_core::run::{self, Outcome};
use isard_core::value::Value;

use support::{ledger, options, plan, run as run_recipe, run_well};

/// A lagging fold that wraps around, then ragged blobs across chunks.
#[test]
fn a_window_wraps_and_blobs_are_ragged() {
    for chunk in [1, 3, 16] {
        let report = run_well(&format!(
            r#"
            isard = "0.1"
            name = "blobs"
            [run]
            chunk = {chunk}
            [stage.frames]
            use = "toy.count"
            set = {{ frames = 50 }}
            [stage.window]
            use = "toy.window"
            from = "frames"
            set = {{ window = 5 }}
            [stage.total]
            use = "toy.total"
            from = "window"
            [stage.blobs]
            use = "toy.blobs"
            from = "frames"
            set = {{ dark = 7 }}
            [stage.save]
            use = "toy.lines"
            from = "blobs"
            set = {{ path = "blobs.txt" }}
            [out]
            total = "total.total"
            "#
        ));
        // Every frame stands in five windows of a full turn: 5 * 16 pixels * (0 + 1 + ... + 49).
        assert_eq!(report.results.get("total"), Some(&Value::Float(5.0 * 16.0 * 1225.0)));
        // The eight multiples of 7 below 50 leave seven runs between them.
        let save = report.stages.iter().find(|s| s.name == "save").unwrap();
        assert_eq!(save.records, 7);
        assert_eq!(ledger(&report, "blobs"), "50 of 50 done");
    }
}

/// Two distances, coarse to fine: passes repeat, vary, carry and skip.
#[test]
fn passes_repeat_vary_carry_and_skip() {
    let recipe = |frames: u64| {
        format!(
            r#"
            isard = "0.1"
            name = "coarse to fine"
            [scan]
            axes = [{{ name = "distance", n = 2 }}, {{ name = "omega", n = {half} }}]
            [pass.coarse]
            [pass.seeded]
            needs = "coarse.total.bright"
            [pass.unseeded]
            [loop.refine]
            passes = ["seeded", "unseeded"]
            repeat = 2
            vary = {{ "fine.step" = [0.5, 0.25] }}
            carry = {{ centre = {{ first = "coarse.start.centre", then = "unseeded.again.centre" }} }}
            [stage.frames]
            use = "toy.count"
            set = {{ frames = {frames} }}
            [stage.total]
            use = "toy.total"
            from = "frames"
            [stage.start]
            use = "toy.grid"
            set = {{ step = 1.0 }}
            [stage.fine]
            use = "toy.grid"
            in = {{ centre = "carry.centre" }}
            set = {{ step = 1.0 }}
            run = {{ pass = "seeded" }}
            [stage.replayed]
            use = "toy.total"
            from = "coarse.frames"
            run = {{ pass = "unseeded" }}
            [stage.again]
            use = "toy.grid"
            in = {{ centre = "replayed.total" }}
            from = "replayed"
            set = {{ step = 0.125 }}
            run = {{ pass = "unseeded" }}
            [out]
            step = "seeded.fine.step"
            centre = "seeded.fine.centre"
            "#,
            half = frames / 2
        )
    };
    let plan = plan(&recipe(20));
    let names: Vec<&str> = plan.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(
        names,
        ["coarse", "refine.1.seeded", "refine.1.unseeded", "refine.2.seeded", "refine.2.unseeded"]
    );
    let report = run_well(&recipe(20));
    assert!(report.skipped.is_empty());
    assert_eq!(report.results.get("step"), Some(&Value::Float(0.25)));
    // The second turn is centred on what the first one's unseeded pass made: 16 pixels * (0 + ... + 19).
    assert_eq!(report.results.get("centre"), Some(&Value::Float(16.0 * 190.0)));
    // Frames 0 and 1: no, with two frames one is brighter than the mean; with none of them the pass is skipped.
    let report = run_recipe(
        &recipe(2)
            .replace("frames = 2 }", "frames = 2, lose = [0, 1] }")
            .replace("[scan]", "[run]\nlimits = { missing = 2 }\n[scan]"),
    );
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    assert_eq!(report.skipped, ["refine.1.seeded", "refine.2.seeded"]);
}

/// A recipe called as a job: one dictionary in, one out, set-up prepared once.
#[test]
fn a_recipe_is_called_as_a_job_with_prepared_set_up() {
    let text = r#"
        isard = "0.1"
        name = "job"
        [in]
        centre = 1.0
        [stage.grid]
        use = "toy.grid"
        in = { centre = "in.centre" }
        set = { step = 0.0625 }
        [out]
        points = "grid.points"
    "#;
    let before = support::analysis::BUILT.load(Ordering::Relaxed);
    let prepared = std::sync::Arc::<isard_core::stage::Prepared>::default();
    let folder = tempfile::tempdir().unwrap();
    for (job, centre) in [3.0, 4.0, 5.0].into_iter().enumerate() {
        let mut plan = plan(text);
        plan.arguments.insert("centre".into(), Value::Float(centre));
        let mut options = options(&folder.path().join(job.to_string()));
        options.prepared = prepared.clone();
        let report = run::run(&plan, options).unwrap();
        let Some(Value::Table(points)) = report.results.get("points") else { panic!("a table of points") };
        assert_eq!(points.numbers::<f64>("x").unwrap()[2], centre);
    }
    assert_eq!(support::analysis::BUILT.load(Ordering::Relaxed) - before, 1);
}

/// Two sources joined by number, a half that comes too late, and a slow fitter behind.
#[test]
fn two_sources_join_with_a_late_half_and_a_slow_fitter() {
    let report = run_recipe(
        r#"
        isard = "0.1"
        name = "join"
        [run]
        chunk = 4
        reorder = 8
        limits = { missing = 10, late = 2 }
        [stage.left]
        use = "toy.count"
        set = { frames = 60, live = true, rate = 400.0 }
        [stage.right]
        use = "toy.count"
        set = { frames = 60, live = true, rate = 400.0, late = [20], delay = 15, lose = [33] }
        [stage.both]
        use = "flow.join"
        from = ["left", "right"]
        set = { wait = { frames = 30 } }
        [stage.fit]
        use = "toy.line"
        from = "both"
        in = { image = "right.image" }
        set = { pause = 30 }
        "#,
    );
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    assert_eq!(ledger(&report, "left"), "60 of 60 done");
    assert_eq!(ledger(&report, "right"), "58 of 60 done, 1 missing, 1 late");
    assert_eq!(ledger(&report, "fit"), "58 of 60 done, 2 missing");
    let fit = report.stages.iter().find(|s| s.name == "fit").unwrap();
    assert_eq!(fit.results.get("used"), Some(&Value::Int(58)));
    let why = &fit.ledger.as_ref().unwrap().reasons[0].2;
    assert!(why.contains("right"), "{why}");
}

/// A recorder in its own lane beside an analysis that fails.
#[test]
fn a_recorder_survives_an_analysis_that_fails() {
    let report = run_recipe(
        r#"
        isard = "0.1"
        name = "recorder"
        [run]
        chunk = 4
        [stage.frames]
        use = "toy.count"
        set = { frames = 100 }
        [stage.record]
        use = "toy.lines"
        from = "frames"
        set = { path = "raw.txt" }
        run = { lane = "record" }
        [stage.bad]
        use = "toy.pass"
        from = "frames"
        set = { mood = "panic", at = 42 }
        run = { on_error = "detach" }
        [stage.total]
        use = "toy.total"
        from = "bad"
        "#,
    );
    assert_eq!(report.outcome, Outcome::Detached);
    assert_eq!(report.outcome.exit_code(), 9);
    assert_eq!(ledger(&report, "record"), "100 of 100 done");
    let bad = report.stages.iter().find(|s| s.name == "bad").unwrap();
    let error = bad.detached.as_ref().unwrap().to_string();
    assert!(
        error.contains("stage `bad`") && error.contains("a very bad day") && error.contains("40..44"),
        "{error}"
    );
}

/// Sixteen reductions share one read.
#[test]
fn sixteen_reductions_share_one_read() {
    let mut text = String::from(
        r#"
        isard = "0.1"
        name = "sixteen"
        [stage.frames]
        use = "toy.count"
        set = { frames = 300 }
        "#,
    );
    for i in 0..16 {
        text +=
            &format!("[stage.total{i}]\nuse = \"toy.total\"\nfrom = \"frames\"\nset = {{ times = {i}.0 }}\n");
    }
    let report = run_well(&text);
    let frames = report.stages.iter().find(|s| s.name == "frames").unwrap();
    assert_eq!(frames.records, 300);
    for i in 0..16 {
        let stage = report.stages.iter().find(|s| s.name == format!("total{i}")).unwrap();
        assert_eq!(
            stage.results.get("total"),
            Some(&Value::Float(f64::from(i) * 16.0 * 44850.0)),
            "total{i}"
        );
    }
}
