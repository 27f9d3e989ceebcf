//! Parts of a run and their merge, and outputs that a later run reuses: every digest is that of the single run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isard_core::Blame;
use isard_core::run::{self, Options, Out, Outcome, Report, Reuse};
use isard_core::store::testing::{Fail, FailingFiles, ForgetfulFiles};
use isard_core::store::{self, Files, Part, Provenance, Verdict};

use support::{ledger, plan};

/// Two sources, one of them bad; maps, reductions at once and behind a fold, a fit, a join, a task that others read,
/// writers of frames, of tables and of results, a stage nobody reads.
const RECIPE: &str = r#"
    isard = "0.1"
    name = "cut"
    [run]
    chunk = 7
    reorder = 16
    checkpoint_frames = 50
    checkpoint_s = 0.0
    limits = { missing = 20, corrupt = 1, extra = 2 }
    [stage.frames]
    use = "toy.count"
    set = { frames = 500, lose = [70, 126, 129], corrupt = [131], repeat = [200], late = [127], delay = 5, shuffle = 4 }
    [stage.other]
    use = "toy.count"
    set = { frames = 490, lose = [300] }
    [stage.once]
    use = "toy.pass"
    from = "frames"
    set = { mood = "giveup", at = 150 }
    [stage.early]
    use = "toy.total"
    from = "once"
    [stage.leaf]
    use = "toy.pass"
    from = "once"
    [stage.window]
    use = "toy.window"
    from = "once"
    set = { window = 7 }
    [stage.blobs]
    use = "toy.blobs"
    from = "once"
    set = { dark = 11 }
    [stage.save_blobs]
    use = "toy.set"
    from = "blobs"
    set = { path = "blobs.txt", records = 5 }
    [stage.total]
    use = "toy.total"
    from = "window"
    [stage.line]
    use = "toy.line"
    from = "once"
    run = { keep = true }
    [stage.save_line]
    use = "toy.set"
    from = "line"
    set = { path = "line.txt" }
    [stage.save]
    use = "toy.set"
    from = "once"
    set = { path = "once.txt", records = 16 }
    [stage.both]
    use = "flow.join"
    from = ["frames", "other"]
    set = { wait = { frames = 1000 } }
    [stage.of_both]
    use = "toy.total"
    from = "both"
    in = { image = "frames.image" }
    [stage.grid]
    use = "toy.grid"
    set = { step = 0.5 }
    [stage.after]
    use = "toy.grid"
    in = { centre = "early.total" }
    set = { step = 0.25 }
    [out]
    centre = "after.centre"
    total = "early.total"
"#;

fn options(disk: &Arc<dyn Files>, out: &str) -> Options {
    let mut options = Options::new(Out::Folder { path: PathBuf::from(out), overwrite: false });
    options.files = disk.clone();
    options
}

fn part(disk: &Arc<dyn Files>, recipe: &str, number: u64, of: u64) -> (String, Report) {
    let out = format!("/part-{number}-{of}");
    let mut options = options(disk, &out);
    options.part = Some(Part { number, of });
    let report = run::run(&plan(recipe), options).unwrap();
    (out, report)
}

fn done(report: &Report) {
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
}

fn memory() -> Arc<dyn Files> {
    Arc::new(ForgetfulFiles::new())
}

/// The content and the accounts of a finished run.
fn record(disk: &Arc<dyn Files>, out: &str) -> (Provenance, serde_json::Value) {
    let verdict = store::verify(&**disk, Path::new(out)).unwrap();
    assert_eq!(verdict.verdict, Verdict::Good, "{verdict}");
    let record = Provenance::read(&**disk, Path::new(out)).unwrap();
    let ledger = record.ledger.clone();
    (record, ledger)
}

fn set(recipe: &str, from: &str, to: &str) -> String {
    assert!(recipe.contains(from), "{from}");
    recipe.replace(from, to)
}

#[test]
fn any_cut_merges_to_the_single_run() {
    let disk = memory();
    let whole = run::run(&plan(RECIPE), options(&disk, "/whole")).unwrap();
    done(&whole);
    let (wanted, accounts) = record(&disk, "/whole");
    assert!(wanted.content.len() >= 10, "{:?}", wanted.content.keys());
    for of in [1, 2, 4, 9] {
        let mut folders: Vec<PathBuf> = vec![];
        for number in 1..=of {
            let (folder, report) = part(&disk, RECIPE, number, of);
            done(&report);
            record(&disk, &folder);
            assert!(report.content.is_empty() && report.results.is_empty());
            folders.push(folder.into());
        }
        // In any order.
        folders.reverse();
        let out = format!("/merged-{of}");
        let merged = run::merge(&plan(RECIPE), options(&disk, &out), &folders).unwrap();
        done(&merged);
        let (found, ledgers) = record(&disk, &out);
        assert_eq!(found.content, wanted.content, "{of} parts");
        assert_eq!(format!("{:?}", merged.results), format!("{:?}", whole.results));
        assert_eq!(ledgers, accounts, "{of} parts");
        assert_eq!(found.parts.len() as u64, of);
    }
}

#[test]
fn a_part_pulls_its_own_frames_and_accounts_for_them() {
    let disk = memory();
    let (_, report) = part(&disk, RECIPE, 2, 4);
    // 500 frames are 8 blocks of 64: the second of four parts has 128..256, of which 129, 131 and 126's neighbours are bad.
    assert_eq!(ledger(&report, "frames"), "126 of 128 done, 1 missing, 1 corrupt, 1 extra");
    assert_eq!(ledger(&report, "early"), "125 of 128 done, 1 skipped, 1 missing, 1 corrupt");
    let names: Vec<&str> = report.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["frames", "other", "once", "early", "leaf"], "what stands behind waits for the merge");
}

#[test]
fn passes_and_loops_behind_the_cut_run_in_the_merge() {
    let recipe = r#"
        isard = "0.1"
        name = "passes"
        [run]
        chunk = 4
        [pass.coarse]
        [pass.make]
        [loop.refine]
        passes = ["make"]
        repeat = 2
        vary = { "shift.step" = [0.5, 0.25] }
        carry = { centre = { first = "coarse.sum.total", then = "make.shift.centre" } }
        [stage.frames]
        use = "toy.count"
        set = { frames = 200 }
        [stage.sum]
        use = "toy.total"
        from = "frames"
        [stage.shift]
        use = "toy.grid"
        in = { centre = "carry.centre" }
        set = { step = 1.0 }
        run = { pass = "make" }
        [stage.again]
        use = "toy.total"
        from = "coarse.frames"
        run = { pass = "make" }
        [out]
        step = "make.shift.centre"
    "#;
    let disk = memory();
    done(&run::run(&plan(recipe), options(&disk, "/whole")).unwrap());
    let folders: Vec<PathBuf> = (1..=3).map(|n| part(&disk, recipe, n, 3).0.into()).collect();
    done(&run::merge(&plan(recipe), options(&disk, "/merged"), &folders).unwrap());
    let (wanted, found) = (record(&disk, "/whole"), record(&disk, "/merged"));
    assert_eq!((found.0.content, found.1), (wanted.0.content, wanted.1));
}

#[test]
fn parts_and_merges_that_are_cut_off_go_on_to_the_same() {
    let disk = memory();
    done(&run::run(&plan(RECIPE), options(&disk, "/whole")).unwrap());
    let wanted = record(&disk, "/whole").0.content;
    let counting = Arc::new(FailingFiles::new(Arc::new(ForgetfulFiles::new()), Fail::Never));
    let counted: Arc<dyn Files> = counting.clone();
    done(&part(&counted, RECIPE, 1, 2).1);
    let operations = counting.calls().len() as u64;
    let tries = if std::env::var("ISARD_SLOW").is_ok() { operations } else { 16 };
    for i in 0..tries {
        let disk = Arc::new(ForgetfulFiles::new());
        let plain: Arc<dyn Files> = disk.clone();
        let folders: Vec<PathBuf> = ["/part-1-2", "/part-2-2"].map(PathBuf::from).to_vec();
        done(&part(&plain, RECIPE, 2, 2).1);
        let stop = Arc::new(AtomicBool::new(false));
        // Cut off at any operation on files, or stopped there.
        let (at, cut, flag) = (i * operations / tries, i % 2 == 0, stop.clone());
        let files = FailingFiles::new(disk.clone(), if cut { Fail::Stop(at) } else { Fail::Never })
            .watched(move |n, _, _| flag.store(!cut && n >= at, Ordering::Relaxed));
        let mut first = options(&(Arc::new(files) as Arc<dyn Files>), "/part-1-2");
        (first.part, first.stop) = (Some(Part { number: 1, of: 2 }), stop);
        let before = run::run(&plan(RECIPE), first);
        if cut {
            disk.crash(i);
        }
        goes_on(&plain, before, "/part-1-2", |options| {
            let mut options = options;
            options.part = Some(Part { number: 1, of: 2 });
            run::run(&plan(RECIPE), options)
        });
        // The merge is cut off likewise.
        let files = FailingFiles::new(disk.clone(), Fail::Stop(2 * at));
        let before =
            run::merge(&plan(RECIPE), options(&(Arc::new(files) as Arc<dyn Files>), "/merged"), &folders);
        disk.crash(i);
        goes_on(&plain, before, "/merged", |options| run::merge(&plan(RECIPE), options, &folders));
        assert_eq!(record(&plain, "/merged").0.content, wanted, "cut off at {at}");
    }
}

/// Resumes a run that was cut off, or begins it when nothing is there yet.
fn goes_on(
    disk: &Arc<dyn Files>,
    before: isard_core::Result<Report>,
    out: &str,
    again: impl FnOnce(Options) -> isard_core::Result<Report>,
) {
    let begun = disk.exists(&Path::new(out).join(store::INNER)).unwrap();
    let known = Provenance::read(&**disk, Path::new(out)).is_ok();
    let report = match (begun, known) {
        (true, true) => run::resume(&plan(RECIPE), options(disk, out)),
        _ => {
            let mut options = options(disk, out);
            options.out = Out::Folder { path: out.into(), overwrite: true };
            again(options)
        }
    };
    match report {
        Ok(report) => done(&report),
        Err(error) if error.to_string().contains("is done") => {
            assert!(before.is_ok() || disk.exists(&Path::new(out).join(store::MANIFEST)).unwrap())
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let disk = memory();
    let folders: Vec<PathBuf> = (1..=3).map(|n| part(&disk, RECIPE, n, 3).0.into()).collect();
    let refuse = |recipe: &str, folders: &[PathBuf], blame: Blame, words: &[&str]| {
        let error = run::merge(&plan(recipe), options(&disk, "/merged"), folders).unwrap_err();
        assert_eq!(error.blame(), blame, "{error}");
        words.iter().for_each(|w| assert!(error.to_string().contains(w), "{w}: {error}"));
        assert!(!disk.exists(Path::new("/merged")).unwrap(), "a merge that cannot be leaves nothing");
    };
    let [a, b, c] = &folders[..] else { panic!("three parts") };
    refuse(RECIPE, &[a.clone(), c.clone()], Blame::Recipe, &["part 2 of 3 is missing", "--part 2/3"]);
    refuse(RECIPE, std::slice::from_ref(a), Blame::Recipe, &["parts 2, 3 of 3 are missing"]);
    let twice = [a.clone(), b.clone(), c.clone(), b.clone()];
    refuse(RECIPE, &twice, Blame::Recipe, &["part 2 of 3", "is there twice"]);
    let other: PathBuf = part(&disk, RECIPE, 1, 2).0.into();
    refuse(RECIPE, &[other, b.clone(), c.clone()], Blame::Recipe, &["does not go with"]);
    let changed = set(RECIPE, "window = 7", "window = 9");
    let lines = ["-        \"window\": 7", "+        \"window\": 9", "the same recipe"];
    refuse(
        &changed,
        &folders,
        Blame::Recipe,
        &lines.map(|l| l.trim()).map(|l| l.trim_start_matches(['-', '+']).trim()),
    );
    let seed = set(RECIPE, "chunk = 7", "chunk = 7\n    seed = 3");
    refuse(&seed, &folders, Blame::Recipe, &["\"seed\": 0", "\"seed\": 3"]);
    done(&run::run(&plan(RECIPE), options(&disk, "/whole")).unwrap());
    refuse(RECIPE, &["/whole".into()], Blame::Recipe, &["/whole is not a part of a run"]);
    let mut onto = options(&disk, "/part-1-3");
    onto.out = Out::Folder { path: a.clone(), overwrite: true };
    let error = run::merge(&plan(RECIPE), onto, &folders).unwrap_err().to_string();
    assert!(error.contains("/part-1-3 is read and cannot be written to"), "{error}");

    // One flipped byte in what a part kept.
    let kept = Path::new("/part-2-3/.isard/streams/main/once/00000000");
    let mut bytes = disk.read(kept).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    disk.remove(kept).unwrap();
    disk.write_new(kept, &bytes).unwrap();
    let verdict = store::verify(&*disk, Path::new("/part-2-3")).unwrap();
    assert_eq!(verdict.verdict, Verdict::Damaged);
    refuse(RECIPE, &folders, Blame::Data, &["part 2 of 3", "is damaged", "once/00000000"]);
}

#[test]
fn frames_that_cannot_be_cut_are_refused_before_the_first() {
    let disk = memory();
    let mut of = options(&disk, "/part");
    of.part = Some(Part { number: 1, of: 2 });
    let endless =
        "isard = \"0.1\"\nname = \"e\"\n[stage.frames]\nuse = \"toy.count\"\nset = { endless = true }";
    let report = run::run(&plan(endless), of).unwrap();
    let message = report.outcome.message().unwrap();
    assert!(message.contains("does not say how many frames it has"), "{message}");
    let mut of = options(&disk, "/none");
    of.part = Some(Part { number: 1, of: 2 });
    let none = "isard = \"0.1\"\nname = \"n\"\n[stage.grid]\nuse = \"toy.grid\"\nset = { step = 0.5 }";
    let error = run::run(&plan(none), of).unwrap_err().to_string();
    assert!(error.contains("has no source"), "{error}");
    let mut both = options(&disk, "/both");
    both.part = Some(Part { number: 1, of: 2 });
    both.reuse = vec![Reuse { stage: "once".into(), path: "/none".into(), anyway: false }];
    let error = run::run(&plan(RECIPE), both).unwrap_err().to_string();
    assert!(error.contains("a part of a run cannot reuse"), "{error}");
}

fn reuse(
    disk: &Arc<dyn Files>,
    recipe: &str,
    out: &str,
    stage: &str,
    path: &str,
    anyway: bool,
) -> isard_core::Result<Report> {
    let mut options = options(disk, out);
    options.reuse = vec![Reuse { stage: stage.into(), path: path.into(), anyway }];
    run::run(&plan(recipe), options)
}

#[test]
fn a_kept_output_is_reused_and_what_only_it_needs_does_not_run() {
    let recipe = r#"
        isard = "0.1"
        name = "reuse"
        [run]
        limits = { missing = 1 }
        [stage.frames]
        use = "toy.count"
        set = { frames = 100, lose = [40] }
        [stage.slow]
        use = "toy.pass"
        from = "frames"
        run = { keep = true }
        [stage.window]
        use = "toy.window"
        from = "slow"
        set = { window = 7 }
        [stage.save]
        use = "toy.set"
        from = "window"
        set = { path = "window.txt", records = 16 }
        [stage.total]
        use = "toy.total"
        from = "slow"
        in = { image = "frames.image" }
    "#;
    let disk = memory();
    let first = run::run(&plan(recipe), options(&disk, "/first")).unwrap();
    done(&first);
    let again = reuse(&disk, recipe, "/again", "slow", "/first", false).unwrap();
    done(&again);
    assert_eq!(again.content, first.content);
    assert!(again.stages.iter().all(|s| s.name != "frames"), "the source does not run");
    let note = record(&disk, "/again").0.reused;
    assert_eq!((note.len(), note[0].stage.as_str(), note[0].path.as_str()), (1, "slow", "/first"));
    assert_eq!(note[0].content["main"].len(), 64);

    // A stage behind it may change; the path may be the kept output itself.
    let behind = set(recipe, "window = 7", "window = 9");
    let path = "/first/.isard/streams/main/slow";
    let other = reuse(&disk, &behind, "/behind", "slow", path, false).unwrap();
    done(&other);
    let fresh = run::run(&plan(&behind), options(&disk, "/fresh")).unwrap();
    assert_eq!(other.content, fresh.content);
    assert_ne!(other.content["save"], first.content["save"]);

    // What made it may not, unless asked for.
    let before = set(recipe, "lose = [40]", "lose = [41]");
    let error = reuse(&disk, &before, "/refused", "slow", "/first", false).unwrap_err();
    let text = error.to_string();
    assert!(error.blame() == Blame::Recipe && text.contains("40") && text.contains("41"), "{text}");
    assert!(text.contains("--reuse-anyway"), "{text}");
    done(&reuse(&disk, &before, "/anyway", "slow", "/first", true).unwrap());
    assert!(record(&disk, "/anyway").0.reused[0].anyway);

    for (stage, words) in [("window", "kept no whole output of `window`"), ("slwo", "did you mean `slow`")] {
        let error = reuse(&disk, recipe, "/refused", stage, "/first", false).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let kept = Path::new("/first/.isard/streams/main/slow/00000000");
    let mut bytes = disk.read(kept).unwrap();
    bytes[100] ^= 1;
    disk.remove(kept).unwrap();
    disk.write_new(kept, &bytes).unwrap();
    let error = reuse(&disk, recipe, "/refused", "slow", "/first", false).unwrap_err();
    assert!(error.blame() == Blame::Data && error.to_string().contains("is damaged"), "{error}");
}

#[test]
fn what_tasks_fits_and_merges_gave_is_reused() {
    let recipe = set(RECIPE, "set = { step = 0.5 }", "set = { step = 0.5 }\n    run = { keep = true }");
    let recipe = set(&recipe, "set = { step = 0.25 }", "set = { step = 0.25 }\n    run = { keep = true }");
    let recipe = set(
        &recipe,
        "[out]",
        "[stage.around]\n    use = \"toy.grid\"\n    in = { centre = \"grid.step\" }\n    set = { step = 0.125 }\n    [out]",
    );
    let disk = memory();
    let folders: Vec<PathBuf> = (1..=2).map(|n| part(&disk, &recipe, n, 2).0.into()).collect();
    let first = run::merge(&plan(&recipe), options(&disk, "/first"), &folders).unwrap();
    done(&first);
    // The merge kept what the recipe says, for any later run.
    for stage in ["line", "grid", "after"] {
        let out = format!("/reuse-{stage}");
        let again = reuse(&disk, &recipe, &out, stage, "/first", false).unwrap();
        done(&again);
        assert_eq!(again.content, first.content, "{stage}");
        record(&disk, &out);
    }
    // A part whose branch ended by itself is not the whole either.
    let broken = set(
        &recipe,
        "set = { mood = \"giveup\", at = 150 }",
        "set = { mood = \"error\", at = 150 }\n    run = { on_error = \"detach\" }",
    );
    let mut of = options(&disk, "/broken");
    of.part = Some(Part { number: 1, of: 1 });
    let report = run::run(&plan(&broken), of).unwrap();
    assert_eq!(report.outcome, Outcome::Detached);
    let error =
        run::merge(&plan(&broken), options(&disk, "/refused"), &["/broken".into()]).unwrap_err().to_string();
    assert!(error.contains("it is `detached`") && error.contains("log.txt"), "{error}");
    // From a part nothing is taken: it is not the whole.
    let error = reuse(&disk, &recipe, "/refused", "line", "/part-1-2", false).unwrap_err().to_string();
    assert!(error.contains("kept no whole output of `line`"), "{error}");
}
