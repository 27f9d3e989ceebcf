//! Slow, stuck and failing consumers cost nobody else a frame.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isard_core::run::{self, Ledger, Outcome, Report};
use isard_core::value::Value;

use support::{ledger, options, plan, set};

/// A live detector at 250 frames a second that keeps 1.6 s of them, and a recorder.
fn recipe(frames: u64, more: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "lanes"
        [run]
        chunk = 4
        latency_ms = 20
        checkpoint_frames = 100
        hang_s = 1.0
        limits = {{ dropped = {frames} }}
        [stage.frames]
        use = "toy.count"
        set = {{ frames = {frames}, rate = 250.0, live = true, ring = 400 }}
        [stage.record]
        use = "toy.set"
        from = "frames"
        set = {{ path = "raw.txt", records = 50 }}
        run = {{ lane = "record" }}
        {more}
        "#
    )
}

fn account(report: &Report, stage: &str) -> Ledger {
    report.stages.iter().find(|s| s.name == stage).and_then(|s| s.ledger.clone()).unwrap()
}

/// What a stage had done when the last frame was fetched from the detector: records, and seconds in its own code.
///
/// A stage that holds the detector up has nearly all behind it then, however busy the machine is.
type Then = (u64, f64);

/// Runs it and sees that neither the detector nor the recorder lost anything; says how far `beside` was at the end.
fn recorded(frames: u64, beside: &str, more: &str, wanted: &Outcome) -> (Report, Then) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let then: Arc<Mutex<Option<Then>>> = Arc::default();
    let (noted, beside) = (then.clone(), beside.to_owned());
    let mut options = options(&out);
    options.observer = Some(Box::new(move |progress| {
        let stage = |name: &str| progress.stages.iter().find(|s| &*s.meter.name == name);
        let all = stage("frames").is_some_and(|s| s.meter.records.load(Ordering::Relaxed) == frames);
        if all && let Some(s) = stage(&beside) {
            let now = (s.meter.records.load(Ordering::Relaxed), s.meter.busy().as_secs_f64());
            noted.lock().unwrap().get_or_insert(now);
        }
    }));
    let report = run::run(&plan(&recipe(frames, more)), options).unwrap();
    assert_eq!(&report.outcome, wanted, "{:?}", report.outcome.message());
    let all = format!("{frames} of {frames} done");
    assert_eq!((ledger(&report, "frames"), ledger(&report, "record")), (all.clone(), all));
    let lines = set::lines(&out, "raw.txt");
    assert_eq!(lines.len() as u64, frames);
    assert!(lines.iter().enumerate().all(|(n, line)| line.starts_with(&format!("frame {n} "))));
    let then = then.lock().unwrap().expect("the last frame was fetched");
    (report, then)
}

/// The ring is what makes this test able to fail: a detector that is not fetched from in time loses frames.
#[test]
fn a_consumer_that_blocks_a_live_detector_costs_frames() {
    let text = recipe(
        1000,
        "[stage.view]\nuse = \"toy.pass\"\nfrom = \"frames\"\nset = { mood = \"slow\", pause = 100 }\nrun = { queue = 2 }",
    );
    let report = support::run(&text);
    assert!(account(&report, "frames").missing.count() > 50, "{}", ledger(&report, "frames"));
    assert!(matches!(report.outcome, Outcome::Limits(_)), "{:?}", report.outcome);
}

/// A viewer that takes 100 ms a picture sees the newest and holds nobody up.
#[test]
fn a_slow_viewer_slows_nothing() {
    for overflow in ["latest", "drop"] {
        let view = format!(
            "[stage.view]\nuse = \"toy.pass\"\nfrom = \"frames\"\nset = {{ mood = \"slow\", pause = 100 }}\n\
             run = {{ overflow = \"{overflow}\" }}\n[stage.seen]\nuse = \"toy.total\"\nfrom = \"view\""
        );
        let (report, (seen, _)) = recorded(1000, "view", &view, &Outcome::Done);
        // Had it held the detector up, no more than a queue would have been left.
        assert!(seen < 500, "{overflow}: {seen} of 1000 were seen when the last frame was fetched");
        let seen = account(&report, "seen");
        assert_eq!(seen.done.count() + seen.dropped.count(), 1000, "{seen}");
        assert!(seen.dropped.count() > 500, "{seen}");
    }
}

/// What a recorder cannot write while its disk is busy waits in 64 MiB, however small frames are, and not in the
/// detector.
#[test]
fn a_disk_that_stands_still_for_a_while_costs_no_frame() {
    let text = recipe(1250, "").replace("records = 50", "records = 50, halt = [200, 3200]");
    let report = support::run(&text.replace("hang_s = 1.0", "hang_s = 60.0"));
    // 800 frames come meanwhile, twice what the detector keeps.
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    assert_eq!(ledger(&report, "record"), "1250 of 1250 done");
}

/// A viewer that never comes back is given up, named, and costs nobody a frame.
#[test]
fn a_stuck_viewer_is_given_up() {
    for overflow in ["latest", "block"] {
        let view = format!(
            "[stage.view]\nuse = \"toy.pass\"\nfrom = \"frames\"\nset = {{ mood = \"hang\", at = 100, pause = 90000 }}\n\
             run = {{ overflow = \"{overflow}\", on_error = \"detach\", queue = 400 }}\n\
             [stage.seen]\nuse = \"toy.total\"\nfrom = \"view\""
        );
        let begun = Instant::now();
        let (report, _) = recorded(800, "view", &view, &Outcome::Detached);
        assert!(begun.elapsed() < Duration::from_secs(45), "it was waited for: {:?}", begun.elapsed());
        let error = report.stages.iter().find(|s| s.name == "view").unwrap().detached.clone().unwrap();
        assert!(error.to_string().contains("stage `view` hangs: `apply`"), "{error}");
    }
}

/// A branch that fails ends alone.
#[test]
fn a_failing_branch_costs_the_recorder_nothing() {
    for mood in ["error", "panic", "shape"] {
        let branch = format!(
            "[stage.bad]\nuse = \"toy.pass\"\nfrom = \"frames\"\nset = {{ mood = \"{mood}\", at = 50 }}\n\
             run = {{ on_error = \"detach\" }}\n[stage.total]\nuse = \"toy.total\"\nfrom = \"bad\"\n\
             [stage.other]\nuse = \"toy.total\"\nfrom = \"frames\""
        );
        let (report, _) = recorded(300, "other", &branch, &Outcome::Detached);
        assert_eq!(report.outcome.exit_code(), 9);
        assert_eq!(ledger(&report, "other"), "300 of 300 done", "{mood}");
    }
}

/// A fitter whose refinement takes ten times the frames' pace never stops the detector, and covers all at the end.
#[test]
fn a_slow_fitter_never_stops_the_detector() {
    let fit = "[stage.fit]\nuse = \"toy.line\"\nfrom = \"frames\"\nset = { pause = 100 }\nrun = { snapshot_s = 0.1, queue = 64 }";
    let (report, (_, busy)) = recorded(1000, "fit", fit, &Outcome::Done);
    // A refinement after each of the 250 chunks, but for the 64 that may wait, would be 18 s.
    let refined = busy / 0.1;
    assert!(refined < 125.0, "{refined} refinements when the last of 250 chunks was fetched");
    assert_eq!(ledger(&report, "fit"), "1000 of 1000 done");
    let fit = report.stages.iter().find(|s| s.name == "fit").unwrap();
    assert!(fit.snapshots > 3, "{} snapshots", fit.snapshots);
    assert_eq!(fit.results.get("used"), Some(&Value::Int(1000)));
    assert_eq!(fit.results.get("slope"), Some(&Value::Float(1.0)));
}

/// A second at twice the rate is absorbed by a recorder that could not keep up with it, if its queue has room for it.
#[test]
fn a_burst_of_twice_the_rate_is_absorbed() {
    // The recorder takes 278 frames a second at most: 500 in a second leave more than 220 waiting. The ring holds a fifth
    // of a second of them, so that a short halt of the machine is not taken for a lack of room.
    let text = |queue: u64| {
        format!(
            r#"
            isard = "0.1"
            name = "burst"
            [run]
            chunk = 4
            latency_ms = 20
            limits = {{ missing = 1000 }}
            [stage.frames]
            use = "toy.count"
            set = {{ frames = 1000, rate = 250.0, live = true, ring = 100, burst = [200, 700] }}
            [stage.record]
            use = "toy.set"
            from = "frames"
            in = {{ image = "frames.image" }}
            set = {{ path = "raw.txt", records = 500, pause = 3600 }}
            run = {{ lane = "record", queue = {queue} }}
            "#
        )
    };
    // The ring is what makes this test able to fail.
    let lost = account(&support::run(&text(2)), "frames").missing.count();
    assert!(lost > 50, "{lost} frames were lost without room");
    let report = support::run(&text(1000));
    assert_eq!(ledger(&report, "record"), "1000 of 1000 done");
}

/// What does not fit in memory is put aside and comes back in order: a slow analysis gets every frame.
#[test]
fn replay_gives_every_frame_to_a_slow_analysis_in_order() {
    // 400 frames of 512 * 512 pixels of two bytes are 200 MiB, and 64 MiB are kept in memory.
    let report = support::run(
        r#"
        isard = "0.1"
        name = "replay"
        [run]
        chunk = 4
        checkpoint_frames = 100
        [stage.frames]
        use = "toy.count"
        set = { frames = 400, size = 512, rate = 400.0, live = true, ring = 200 }
        [stage.slow]
        use = "toy.pass"
        from = "frames"
        set = { mood = "slow", pause = 40 }
        run = { overflow = "replay" }
        [stage.blobs]
        use = "toy.blobs"
        from = "slow"
        set = { dark = 7 }
        [stage.total]
        use = "toy.total"
        from = "slow"
        "#,
    );
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    for stage in ["frames", "blobs", "total"] {
        assert_eq!(ledger(&report, stage), "400 of 400 done", "{stage}");
    }
    // Pixels are frame numbers: 512 * 512 * (0 + 1 + ... + 399).
    let total = report.stages.iter().find(|s| s.name == "total").unwrap();
    assert_eq!(total.results.get("total"), Some(&Value::Float(512.0 * 512.0 * 79_800.0)));
    // Blobs are runs of frames between multiples of 7: in order there are 57, out of order there would be more.
    let blobs = report.stages.iter().find(|s| s.name == "blobs").unwrap();
    assert_eq!(blobs.records, 400);
    assert!(!report.out.join(".isard/aside.slow").exists());
}

/// Cancelled from outside while every role is at work: the run ends within a second.
#[test]
fn cancel_returns_within_a_second_from_every_role() {
    let stages = [
        "[stage.x]\nuse = \"toy.pass\"\nfrom = \"frames\"\nset = { mood = \"slow\", pause = 30 }",
        "[stage.x]\nuse = \"toy.window\"\nfrom = \"frames\"\nset = { window = 3 }",
        "[stage.x]\nuse = \"toy.total\"\nfrom = \"frames\"",
        "[stage.x]\nuse = \"toy.line\"\nfrom = \"frames\"\nset = { pause = 30 }",
        "[stage.x]\nuse = \"toy.lines\"\nfrom = \"frames\"\nset = { path = \"x.txt\" }",
        "[stage.t]\nuse = \"toy.total\"\nfrom = \"frames\"\n[stage.x]\nuse = \"toy.grid\"\nset = { step = 1.0 }\nin = { centre = \"t.total\" }",
        "[stage.two]\nuse = \"toy.count\"\nset = { frames = 5, rate = 1.0, live = true }\n[stage.x]\nuse = \"flow.join\"\nfrom = [\"frames\", \"two\"]\nset = { wait = { frames = 1000 } }\n[stage.y]\nuse = \"toy.total\"\nfrom = \"x\"\nin = { image = \"two.image\" }",
    ];
    for stage in stages {
        let folder = tempfile::tempdir().unwrap();
        let mut options = options(&folder.path().join("out"));
        let cancel = Arc::new(AtomicBool::new(false));
        options.cancel = cancel.clone();
        let plan = plan(&recipe(100_000, stage));
        let thread = std::thread::spawn(move || run::run(&plan, options).unwrap());
        std::thread::sleep(Duration::from_millis(300));
        let since = Instant::now();
        cancel.store(true, Ordering::Relaxed);
        let report = thread.join().unwrap();
        assert!(since.elapsed() < Duration::from_secs(1), "{stage}: {:?}", since.elapsed());
        assert_eq!(report.outcome.exit_code(), 7, "{stage}: {:?}", report.outcome);
    }
}

/// A mark is not overtaken by a picture that was taken after it: stopped and resumed, every frame is counted once.
#[test]
fn a_viewer_that_lets_frames_go_is_resumed_without_doubles() {
    for overflow in ["latest", "drop"] {
        let text = format!(
            r#"
            isard = "0.1"
            name = "viewer"
            [run]
            chunk = 2
            checkpoint_frames = 10
            limits = {{ dropped = 900 }}
            [stage.frames]
            use = "toy.count"
            set = {{ frames = 900, rate = 3000.0 }}
            [stage.view]
            use = "toy.pass"
            from = "frames"
            set = {{ mood = "slow", pause = 7 }}
            run = {{ overflow = "{overflow}", queue = 2 }}
            [stage.save]
            use = "toy.set"
            from = "view"
            set = {{ path = "seen.txt", records = 5 }}
            "#
        );
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        for turn in 0.. {
            let stop = Arc::new(AtomicBool::new(false));
            let mut options = options(&out);
            options.stop = stop.clone();
            let plan = plan(&text);
            let thread = std::thread::spawn(move || match turn {
                0 => run::run(&plan, options).unwrap(),
                _ => run::resume(&plan, options).unwrap(),
            });
            std::thread::sleep(Duration::from_millis(70));
            stop.store(turn < 3, Ordering::Relaxed);
            let report = thread.join().unwrap();
            if turn < 3 && report.outcome == Outcome::Stopped {
                continue;
            }
            assert_eq!(report.outcome, Outcome::Done, "{overflow}: {:?}", report.outcome.message());
            let save = account(&report, "save");
            save.balance().unwrap();
            assert!(save.dropped.count() > 100, "{overflow}: {save}");
            let lines = set::lines(&out, "seen.txt");
            let number = |line: &String| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap();
            assert!(lines.iter().map(number).eq(0..900), "{overflow}: {lines:?}");
            break;
        }
    }
}
