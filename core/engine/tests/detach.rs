//! Branches that end by themselves, across stops, failures and resumes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use isard_core::run::{self, Outcome, Report};
use isard_core::store::{self, RealFiles, Verdict};
use isard_core::value::Value;

use support::moody::CURED;
use support::{ledger, options, plan, set};

/// A recorder and a total beside a branch of a map, a writer and a total that fails at frame 50.
const RECIPE: &str = r#"
    isard = "0.1"
    name = "detach"
    [run]
    chunk = 4
    checkpoint_frames = 8
    checkpoint_s = 0.0
    [stage.frames]
    use = "toy.count"
    set = { frames = 160, rate = 150.0 }
    [stage.record]
    use = "toy.set"
    from = "frames"
    set = { path = "raw.txt", records = 8 }
    run = { lane = "record" }
    [stage.other]
    use = "toy.total"
    from = "frames"
    [stage.first]
    use = "toy.pass"
    from = "frames"
    run = { on_error = "detach" }
    [stage.bad]
    use = "toy.pass"
    from = "first"
    set = { mood = "error", at = 50 }
    [stage.kept]
    use = "toy.set"
    from = "bad"
    set = { path = "kept.txt", records = 4 }
    [stage.total]
    use = "toy.total"
    from = "bad"
    [stage.grid]
    use = "toy.grid"
    set = { step = 1.0 }
    in = { centre = "total.total" }
    [out]
    other = "other.total"
"#;

/// Runs or goes on until so many frames of the source have been taken.
fn until(text: &str, out: &Path, resume: bool, frames: u64) -> Report {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let mut options = options(out);
    options.stop = stop;
    options.observer = Some(Box::new(move |progress| {
        let taken =
            progress.stages.iter().map(|s| s.meter.records.load(Ordering::Relaxed)).max().unwrap_or(0);
        flag.store(taken >= frames, Ordering::Relaxed);
    }));
    if resume { run::resume(&plan(text), options).unwrap() } else { run::run(&plan(text), options).unwrap() }
}

/// What the recorder and the other total came to, which a branch that ends may not touch.
fn untouched(report: &Report, out: &Path) -> [Option<String>; 2] {
    let lines = set::lines(out, "raw.txt");
    assert_eq!(lines.len(), 160);
    assert!(lines.iter().enumerate().all(|(n, line)| line.starts_with(&format!("frame {n} "))));
    for stage in ["frames", "record", "other"] {
        assert_eq!(ledger(report, stage), "160 of 160 done", "{stage}");
    }
    let verdict = store::verify(&RealFiles, out).unwrap();
    assert_eq!(verdict.verdict, Verdict::Good, "{verdict}");
    ["record", "other"].map(|stage| report.content.get(stage).cloned())
}

fn error(report: &Report, stage: &str) -> String {
    let found = report.stages.iter().find(|s| s.name == stage).unwrap();
    found.detached.as_ref().map_or(String::new(), ToString::to_string)
}

#[test]
fn a_branch_that_had_ended_before_the_checkpoint_stays_ended() {
    let folder = tempfile::tempdir().unwrap();
    let calm = folder.path().join("calm");
    let report = run::run(&plan(RECIPE), options(&calm)).unwrap();
    assert_eq!(report.outcome, Outcome::Detached, "{:?}", report.outcome.message());
    let wanted = untouched(&report, &calm);
    // Twelve chunks of four are before the one with frame 50; the last of them may not have been committed.
    let kept = set::lines(&calm, "kept.txt");
    assert!((40..=48).contains(&kept.len()), "{}", kept.len());

    // However long a checkpoint takes: the frames that would end the run come when it has been stopped.
    let gates = tempfile::tempdir().unwrap();
    let held = format!("rate = 150.0, held = [100, 140], gates = \"{}\"", gates.path().display());
    let text = RECIPE.replace("rate = 150.0", &held);
    let open = |gate: &str| std::fs::write(gates.path().join(gate), "").unwrap();
    let out = folder.path().join("out");
    let report = until(&text, &out, false, 80);
    assert_eq!(report.outcome, Outcome::Stopped, "{:?}", report.outcome.message());
    assert!(error(&report, "bad").contains("a bad day"), "{}", error(&report, "bad"));
    let before = set::lines(&out, "kept.txt");
    // Stopped once more: what is known of the branch is handed on.
    open("100");
    let report = until(&text, &out, true, 120);
    assert_eq!(report.outcome, Outcome::Stopped, "{:?}", report.outcome.message());
    open("140");
    let report = run::resume(&plan(&text), options(&out)).unwrap();
    assert_eq!(report.outcome, Outcome::Detached, "{:?}", report.outcome.message());
    assert_eq!(report.outcome.exit_code(), 9);
    assert_eq!(untouched(&report, &out), wanted);
    let told = error(&report, "bad");
    assert!(told.contains("stage `bad`, frames 48..52") && told.contains("a bad day"), "{told}");
    assert_eq!(told.matches("(before the run was resumed)").count(), 1, "{told}");
    // Nothing of the branch is taken for a result, and nothing that it had committed is lost.
    let total = report.stages.iter().find(|s| s.name == "total").unwrap();
    assert!(total.results.is_empty() && total.content.is_none());
    assert_eq!(set::lines(&out, "kept.txt")[..40], before[..40]);
    assert!(ledger(&report, "total").starts_with("48 of 160 done"), "{}", ledger(&report, "total"));
}

#[test]
fn a_branch_whose_state_is_in_the_checkpoint_goes_on() {
    // The writer in the main stream fails at frame 66, and so does the branch beside it; the checkpoint of frame 40 has
    // a fifth of a second to be made before.
    let text = r#"
        isard = "0.1"
        name = "cured"
        [run]
        chunk = 4
        checkpoint_frames = 40
        checkpoint_s = 0.0
        [stage.frames]
        use = "toy.count"
        set = { frames = 120, rate = 120.0 }
        [stage.save]
        use = "moody.writer"
        from = "frames"
        set = { path = "raw.txt", op = "write" }
        [stage.bad]
        use = "moody.map"
        from = "frames"
        run = { on_error = "detach" }
        [stage.total]
        use = "toy.total"
        from = "bad"
        [out]
        total = "total.total"
    "#;
    let folder = tempfile::tempdir().unwrap();
    CURED.set("good");
    let calm = run::run(&plan(text), options(&folder.path().join("calm"))).unwrap();
    assert_eq!(calm.outcome, Outcome::Done, "{:?}", calm.outcome.message());
    let out = folder.path().join("out");
    CURED.set("error");
    let report = run::run(&plan(text), options(&out)).unwrap();
    assert!(matches!(report.outcome, Outcome::Failed(_)), "{:?}", report.outcome);
    CURED.set("good");
    let report = run::resume(&plan(text), options(&out)).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    assert_eq!(report.content, calm.content);
    assert_eq!(ledger(&report, "total"), "120 of 120 done");
    // 16 pixels times the sum of 0..120.
    assert_eq!(report.results.get("total"), Some(&Value::Float(16.0 * 7140.0)));
}

#[test]
fn what_waits_for_a_branch_that_ended_ends_with_it() {
    let begun = Instant::now();
    let report = support::run(&RECIPE.replace("rate = 150.0", "rate = 4000.0"));
    assert_eq!(report.outcome, Outcome::Detached, "{:?}", report.outcome.message());
    assert!(begun.elapsed() < Duration::from_secs(60));
    let grid = report.stages.iter().find(|s| s.name == "grid").unwrap();
    assert!(grid.results.is_empty() && grid.content.is_none());
}

#[test]
fn a_later_pass_still_says_that_a_branch_had_ended_and_a_restart_runs_it_again() {
    let passes = "[pass.first]\n[pass.second]\n[stage.frames]";
    let again = "[stage.again]\nuse = \"toy.pass\"\nfrom = \"first.frames\"\nset = { mood = \"slow\", pause = 40 }\n\
                 run = { pass = \"second\" }\n[stage.sum]\nuse = \"toy.total\"\nfrom = \"again\"\nrun = { pass = \"second\" }\n\
                 [stage.raw]\nuse = \"toy.set\"\nfrom = \"again\"\nset = { path = \"again.txt\" }\nrun = { pass = \"second\" }\n[out]";
    let text = RECIPE
        .replace("[stage.frames]", passes)
        .replace("[out]", again)
        .replace("other = \"other.total\"", "other = \"first.other.total\"")
        .replace("rate = 150.0", "rate = 4000.0");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let mut stopping = options(&out);
    stopping.stop = stop;
    stopping.observer =
        Some(Box::new(move |progress| flag.store(progress.step == "second", Ordering::Relaxed)));
    let report = run::run(&plan(&text), stopping).unwrap();
    assert_eq!(report.outcome, Outcome::Stopped, "{:?}", report.outcome.message());
    let report = run::resume(&plan(&text), options(&out)).unwrap();
    assert_eq!(report.outcome, Outcome::Detached, "{:?}", report.outcome.message());
    assert!(report.stages.iter().all(|s| s.step == "second"));
    let report = run::restart(&plan(&text), options(&out), "first").unwrap();
    assert_eq!(report.outcome, Outcome::Detached, "{:?}", report.outcome.message());
    let told = error(&report, "bad");
    assert!(told.contains("a bad day") && !told.contains("before the run was resumed"), "{told}");
}
