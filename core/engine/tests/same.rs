//! The same answer however it is run: any chunks, any threads, live or not, in one go, restarted or stopped in a loop.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isard_core::run::{self, Options, Out, Outcome, Report};
use isard_core::store::testing::{Fail, FailingFiles, ForgetfulFiles};
use isard_core::store::{self, Files, Provenance, Verdict};

use support::plan;

/// A bit of everything behind one source.
fn mixed(run: &str, source: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "mixed"
        [run]
        reorder = 16
        limits = {{ missing = 2, corrupt = 1 }}
        {run}
        [stage.frames]
        use = "toy.count"
        set = {{ frames = 300, lose = [70, 200], corrupt = [131], {source} }}
        [stage.once]
        use = "toy.pass"
        from = "frames"
        set = {{ mood = "giveup", at = 150 }}
        [stage.twice]
        use = "toy.pass"
        from = "once"
        [stage.window]
        use = "toy.window"
        from = "twice"
        set = {{ window = 7 }}
        [stage.blobs]
        use = "toy.blobs"
        from = "twice"
        set = {{ dark = 11 }}
        [stage.save_blobs]
        use = "toy.set"
        from = "blobs"
        set = {{ path = "blobs.txt", records = 5 }}
        [stage.total]
        use = "toy.total"
        from = "window"
        [stage.line]
        use = "toy.line"
        from = "twice"
        [stage.save_line]
        use = "toy.set"
        from = "line"
        set = {{ path = "line.txt" }}
        [stage.save]
        use = "toy.set"
        from = "window"
        set = {{ path = "window.txt", records = 16 }}
        "#
    )
}

fn memory(out: &Path, files: Arc<dyn Files>) -> Options {
    let mut options = Options::new(Out::Folder { path: out.to_owned(), overwrite: true });
    options.files = files;
    options
}

fn content(text: &str) -> BTreeMap<String, String> {
    let report = run::run(&plan(text), memory(Path::new("/out"), Arc::new(ForgetfulFiles::new()))).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    report.content
}

#[test]
fn chunks_threads_and_pace_change_no_digest() {
    let wanted = content(&mixed("chunk = 16\nthreads = 1", ""));
    let names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    assert_eq!(names, ["line", "save", "save_blobs", "save_line", "total"]);
    for chunk in [1, 3, 16] {
        for threads in [1, 4] {
            let run = format!("chunk = {chunk}\nthreads = {threads}");
            assert_eq!(content(&mixed(&run, "")), wanted, "{run}");
            let live = content(&mixed(&run, "live = true, rate = 1500.0, shuffle = 8"));
            assert_eq!(live, wanted, "live, {run}");
        }
    }
    let snapshots = mixed("chunk = 3", "live = true, rate = 800.0").replace(
        "from = \"twice\"\n        [stage.save_line]",
        "from = \"twice\"\n        run = { snapshot_s = 0.02 }\n        [stage.save_line]",
    );
    assert!(snapshots.contains("snapshot_s"));
    assert_eq!(content(&snapshots), wanted, "with snapshots on the way");
}

/// Two passes that repeat, with a carried value, a kept stream of the loop's own and one from before it.
const LOOP: &str = r#"
    isard = "0.1"
    name = "loop"
    [run]
    chunk = 4
    checkpoint_frames = 16
    checkpoint_s = 0.0
    [pass.coarse]
    [pass.make]
    [pass.use]
    [loop.refine]
    passes = ["make", "use"]
    repeat = 3
    vary = { "shift.step" = [0.5, 0.25, 0.125] }
    carry = { centre = { first = "coarse.start.centre", then = "use.next.centre" } }
    [stage.frames]
    use = "toy.count"
    set = { frames = 60 }
    [stage.start]
    use = "toy.grid"
    set = { step = 1.0 }
    [stage.save]
    use = "toy.set"
    from = "frames"
    set = { path = "raw.txt", records = 10 }
    [stage.shift]
    use = "toy.grid"
    in = { centre = "carry.centre" }
    set = { step = 1.0 }
    run = { pass = "make" }
    [stage.sum]
    use = "toy.window"
    from = "coarse.frames"
    set = { window = 3 }
    run = { pass = "make" }
    [stage.read]
    use = "toy.total"
    from = "make.sum"
    run = { pass = "use" }
    [stage.next]
    use = "toy.grid"
    in = { centre = "read.total" }
    from = "read"
    set = { step = 0.125 }
    run = { pass = "use" }
    [stage.tell]
    use = "toy.set"
    from = "make.sum"
    set = { path = "sum-{turn}.txt", records = 7 }
    run = { pass = "use" }
    [out]
    step = "make.shift.step"
    centre = "make.shift.centre"
"#;

fn finished(disk: &dyn Files, out: &Path) -> (BTreeMap<String, String>, serde_json::Value) {
    let verdict = store::verify(disk, out).unwrap();
    assert_eq!(verdict.verdict, Verdict::Good, "{verdict}");
    let record = Provenance::read(disk, out).unwrap();
    assert_eq!(record.status, "done");
    (record.content, record.ledger)
}

/// A loop that is stopped or cut off in every pass and turn goes on there and ends the same.
#[test]
fn a_loop_interrupted_in_any_pass_ends_the_same() {
    let out = Path::new("/out");
    let disk = Arc::new(ForgetfulFiles::new());
    let counting = Arc::new(FailingFiles::new(disk.clone(), Fail::Never));
    let calm = run::run(&plan(LOOP), memory(out, counting.clone())).unwrap();
    assert_eq!(calm.outcome, Outcome::Done, "{:?}", calm.outcome.message());
    let wanted = finished(&*disk, out);
    let operations = counting.calls().len() as u64;
    let tries = if std::env::var("ISARD_SLOW").is_ok() { operations } else { 40 };
    let mut steps: BTreeMap<String, u64> = BTreeMap::new();
    for i in 0..tries {
        let (at, cut) = (i * operations / tries, i % 2 == 0);
        let disk = Arc::new(ForgetfulFiles::new());
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let files = FailingFiles::new(disk.clone(), if cut { Fail::Stop(at) } else { Fail::Never })
            .watched(move |n, _, _| flag.store(!cut && n >= at, Ordering::Relaxed));
        let mut first = memory(out, Arc::new(files));
        first.stop = stop;
        let before = run::run(&plan(LOOP), first);
        if cut {
            disk.crash(i);
        }
        if let Ok(report) = &before
            && report.outcome == Outcome::Stopped
        {
            *steps.entry(report.stages.last().map_or("start".into(), |s| s.step.clone())).or_default() += 1;
        }
        let begun = disk.exists(&out.join(store::INNER)).unwrap();
        let (plan, options) = (plan(LOOP), memory(out, disk.clone()));
        let report = if begun { run::resume(&plan, options) } else { run::run(&plan, options) };
        match report {
            Ok(report) => {
                assert_eq!(report.outcome, Outcome::Done, "{at}: {:?}", report.outcome.message());
                assert_eq!(report.results, calm.results, "operation {at} of {operations}, after {before:?}");
            }
            Err(error) => assert!(error.to_string().contains("is done"), "{at}: {error}"),
        }
        assert_eq!(finished(&*disk, out), wanted, "operation {at} of {operations}");
    }
    assert!(steps.len() >= 4, "{steps:?}");
}

/// Each pass can be run again from its beginning, also an earlier turn of a loop.
#[test]
fn a_restart_from_any_pass_ends_the_same() {
    let out = Path::new("/out");
    let disk = Arc::new(ForgetfulFiles::new());
    let report = run::run(&plan(LOOP), memory(out, disk.clone())).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let wanted = finished(&*disk, out);
    let names = run::restart_names(&*disk, out).unwrap();
    let all = [
        "coarse",
        "refine.1.make",
        "refine.1.use",
        "refine.2.make",
        "refine.2.use",
        "refine.3.make",
        "refine.3.use",
    ];
    assert_eq!(names, all);
    for name in all.into_iter().rev() {
        let again = run::restart(&plan(LOOP), memory(out, disk.clone()), name).unwrap();
        assert_eq!(again.outcome, Outcome::Done, "{name}: {:?}", again.outcome.message());
        assert_eq!(again.results, report.results, "{name}");
        assert_eq!(finished(&*disk, out), wanted, "{name}");
    }
    let unknown =
        run::restart(&plan(LOOP), memory(out, disk.clone()), "refine.4.make").unwrap_err().to_string();
    assert!(unknown.contains("refine.4.make") && unknown.contains("refine.3.use"), "{unknown}");
}

fn stopped(text: &str, out: &Path, disk: &Arc<ForgetfulFiles>) -> Report {
    let mut options = memory(out, disk.clone());
    options.stop = Arc::new(AtomicBool::new(true));
    run::run(&plan(text), options).unwrap()
}

/// A later pass reads what a source said that only the first one opened, also when it is begun again.
#[test]
fn the_head_of_a_source_is_there_in_later_passes() {
    let text = "isard = \"0.1\"\n[pass.first]\n[pass.second]\n[stage.frames]\nuse = \"toy.count\"\n\
                set = { frames = 8 }\n[stage.sum]\nuse = \"toy.total\"\nfrom = \"frames\"\n\
                [stage.grid]\nuse = \"toy.grid\"\nset = { step = 0.5 }\nin = { centre = \"first.frames.head.offset\" }\n\
                run = { pass = \"second\" }\n[out]\nsum = \"first.sum.total\"\ncentre = \"second.grid.centre\"";
    let (out, disk) = (Path::new("/out"), Arc::new(ForgetfulFiles::new()));
    let report = run::run(&plan(text), memory(out, disk.clone())).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let again = run::restart(&plan(text), memory(out, disk), "second").unwrap();
    assert_eq!(again.outcome, Outcome::Done, "{:?}", again.outcome.message());
    assert_eq!(again.results, report.results);
}

/// A run goes on with its own recipe only, and a finished one does not go on at all.
#[test]
fn a_changed_recipe_is_refused_and_the_difference_shown() {
    let (out, disk) = (Path::new("/out"), Arc::new(ForgetfulFiles::new()));
    let text = mixed("chunk = 4", "");
    let first = stopped(&text, out, &disk);
    assert_eq!(first.outcome, Outcome::Stopped);
    let changed = text.replace("window = 7", "window = 9");
    let refusals = [
        run::resume(&plan(&changed), memory(out, disk.clone())),
        run::restart(&plan(&changed), memory(out, disk.clone()), "mixed"),
    ];
    for refusal in refusals {
        let error = refusal.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("window = 7") && said.contains("window = 9"), "{said}");
        assert_eq!(error.blame(), isard_core::Blame::Recipe);
    }
    let report = run::resume(&plan(&text), memory(out, disk.clone())).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    assert_eq!(report.content, content(&text));
    let taken = |r: &Report| r.stages.iter().map(|s| (s.name.clone(), s.records)).collect::<Vec<_>>();
    let earlier: Vec<_> = report.stages.iter().map(|s| (s.name.clone(), s.earlier)).collect();
    assert_eq!(earlier, taken(&first), "what the first run took is told apart");
    let done = run::resume(&plan(&text), memory(out, disk.clone())).unwrap_err().to_string();
    assert!(done.contains("is done"), "{done}");
}

/// Two sources of different length that lose frames alone and together, stopped or cut off anywhere.
#[test]
fn a_join_interrupted_anywhere_ends_the_same() {
    let text = r#"
        isard = "0.1"
        name = "join"
        [run]
        chunk = 4
        checkpoint_frames = 12
        checkpoint_s = 0.0
        limits = { missing = 50 }
        [stage.left]
        use = "toy.count"
        set = { frames = 120, lose = [30, 31, 80], rate = 4000.0 }
        [stage.right]
        use = "toy.count"
        set = { frames = 90, lose = [31, 60], rate = 2500.0 }
        [stage.both]
        use = "flow.join"
        from = ["left", "right"]
        set = { wait = { frames = 1000 } }
        [stage.line]
        use = "toy.line"
        from = "both"
        in = { image = "right.image" }
        [stage.alone]
        use = "toy.total"
        from = "right"
        [stage.save]
        use = "toy.set"
        from = "both"
        in = { image = "left.image" }
        set = { path = "both.txt", records = 9 }
    "#;
    let out = Path::new("/out");
    let disk = Arc::new(ForgetfulFiles::new());
    let counting = Arc::new(FailingFiles::new(disk.clone(), Fail::Never));
    let calm = run::run(&plan(text), memory(out, counting.clone())).unwrap();
    assert_eq!(calm.outcome, Outcome::Done, "{:?}", calm.outcome.message());
    // 120 frames without 30, 31, 80, 60 and the thirty that the other one never had.
    assert_eq!(support::ledger(&calm, "save"), "86 of 120 done, 34 missing");
    let wanted = finished(&*disk, out);
    let operations = counting.calls().len() as u64;
    let tries = if std::env::var("ISARD_SLOW").is_ok() { operations } else { 30 };
    for i in 0..tries {
        let (at, cut) = (i * operations / tries, i % 2 == 0);
        let disk = Arc::new(ForgetfulFiles::new());
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let files = FailingFiles::new(disk.clone(), if cut { Fail::Stop(at) } else { Fail::Never })
            .watched(move |n, _, _| flag.store(!cut && n >= at, Ordering::Relaxed));
        let mut first = memory(out, Arc::new(files));
        first.stop = stop;
        let before = run::run(&plan(text), first);
        if cut {
            disk.crash(i);
        }
        let begun = disk.exists(&out.join(store::INNER)).unwrap();
        let (plan, options) = (plan(text), memory(out, disk.clone()));
        match if begun { run::resume(&plan, options) } else { run::run(&plan, options) } {
            Ok(report) => assert_eq!(report.outcome, Outcome::Done, "{at}: {:?}", report.outcome.message()),
            Err(error) => assert!(error.to_string().contains("is done"), "{at}: {error}"),
        }
        assert_eq!(finished(&*disk, out), wanted, "operation {at} of {operations}, after {before:?}");
    }
}
