//! Every frame is in exactly one class, with exactly the counts that the faults were made with.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use isard_core::run::{Ledger, Outcome, Report};

use support::{ledger, run, run_well};

fn account(report: &Report, stage: &str) -> Ledger {
    let found = report.stages.iter().find(|s| s.name == stage).and_then(|s| s.ledger.clone());
    found.unwrap_or_else(|| panic!("stage `{stage}` keeps an account"))
}

/// A recipe whose source misbehaves as told, with a writer, a reduction and a fold that all count.
fn recipe(faults: &str, limits: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "ledger"
        [run]
        chunk = 4
        reorder = 8
        limits = {{ {limits} }}
        [stage.frames]
        use = "toy.count"
        set = {{ {faults} }}
        [stage.save]
        use = "toy.set"
        from = "frames"
        set = {{ path = "raw.txt", records = 10 }}
        [stage.total]
        use = "toy.total"
        from = "frames"
        [stage.blobs]
        use = "toy.blobs"
        from = "frames"
        set = {{ dark = 7 }}
        "#
    )
}

/// Lost, repeated, delayed and corrupt frames: counts, list, reasons, at the source and at every end.
#[test]
fn lost_repeated_delayed_and_corrupt_frames_are_counted_and_listed() {
    let faults =
        "frames = 100, lose = [3, 50, 51], repeat = [7, 60], corrupt = [20], late = [30], delay = 20";
    let report = run(&recipe(faults, "missing = 4, corrupt = 1, late = 1, extra = 2"));
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    assert_eq!(ledger(&report, "frames"), "95 of 100 done, 3 missing, 1 corrupt, 1 late, 2 extra");
    let source = account(&report, "frames");
    assert_eq!(source.again().to_string(), "3, 20, 30, 50-51");
    assert_eq!(source.late.to_string(), "30");
    assert_eq!(source.extra_numbers, [7, 60]);
    let why =
        |n: u64| source.reasons.iter().find(|(r, ..)| r.contains(&n)).map(|(_, _, why)| why.to_string());
    assert_eq!(why(20).as_deref(), Some("checksum differs"));
    assert!(why(3).is_some_and(|w| w.contains("reorder limit 8")), "{:?}", why(3));
    // Behind the source a late frame stays what it was there: it never came.
    for stage in ["save", "total", "blobs"] {
        assert_eq!(ledger(&report, stage), "95 of 100 done, 4 missing, 1 corrupt", "{stage}");
        account(&report, stage).balance().unwrap();
    }
}

/// One frame more than the recipe allows is a failure with its own exit code, and names the stage and the class.
#[test]
fn limits_decide_the_exit_code() {
    let cases = [
        ("frames = 40, lose = [5]", "missing", "missing = 1"),
        ("frames = 40, corrupt = [5]", "corrupt", "corrupt = 1"),
        ("frames = 40, repeat = [5]", "extra", "extra = 1"),
        ("frames = 60, late = [5], delay = 20", "late", "missing = 1, late = 1"),
    ];
    for (faults, class, enough) in cases {
        let report = run(&recipe(faults, if class == "late" { "missing = 1" } else { "" }));
        let Outcome::Limits(list) = &report.outcome else { panic!("{faults}: {:?}", report.outcome) };
        assert_eq!(report.outcome.exit_code(), 8);
        let told = |text: &String| {
            text.starts_with(&format!("frames: 1 frame {class}, the first is number "))
                && text.ends_with(&format!("; the recipe allows 0 in `run.limits.{class}`"))
        };
        assert!(list.iter().any(told), "{faults}: {list:?}");
        let report = run(&recipe(faults, enough));
        assert_eq!(report.outcome, Outcome::Done, "{faults}: {:?}", report.outcome.message());
        assert_eq!(report.outcome.exit_code(), 0);
    }
}

/// The record lists which frames to take again.
#[test]
fn the_record_lists_the_frames_to_take_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let text = recipe("frames = 40, lose = [5, 6], corrupt = [9]", "missing = 2, corrupt = 1");
    isard_core::run::run(&support::plan(&text), support::options(&out)).unwrap();
    let record = isard_core::store::Provenance::read(&isard_core::store::RealFiles, &out).unwrap();
    let of_source: Vec<(&str, &[u64])> = record
        .gaps
        .iter()
        .filter(|g| g.stage == "frames")
        .map(|g| (g.reason.as_str(), g.bounds.as_slice()))
        .collect();
    assert_eq!(of_source, [("missing", &[5, 7][..]), ("corrupt", &[9, 10][..])]);
    assert_eq!(record.ledger["save"]["missing"]["frames"], "5-6");
}

/// A source that does not know its extent: nobody claims to know that all came.
#[test]
fn an_unknown_extent_is_said_to_be_unknown() {
    let report = run(&recipe("frames = 30, endless = true, lose = [4]", "missing = 1"));
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    for stage in ["frames", "save", "total", "blobs"] {
        assert_eq!(ledger(&report, stage), "29 done, extent unknown, 1 missing", "{stage}");
    }
}

/// Frames that a map gives up are skipped from there on, and not missing.
#[test]
fn frames_given_up_by_a_map_are_skipped() {
    let report = run_well(
        r#"
        isard = "0.1"
        name = "skipped"
        [run]
        chunk = 4
        [stage.frames]
        use = "toy.count"
        set = { frames = 40 }
        [stage.pass]
        use = "toy.pass"
        from = "frames"
        set = { mood = "giveup", at = 17 }
        [stage.total]
        use = "toy.total"
        from = "pass"
        [stage.save]
        use = "toy.set"
        from = "pass"
        set = { path = "x.txt" }
        "#,
    );
    assert_eq!(ledger(&report, "frames"), "40 of 40 done");
    for stage in ["total", "save"] {
        assert_eq!(ledger(&report, stage), "39 of 40 done, 1 skipped");
        let (range, _, why) = account(&report, stage).reasons[0].clone();
        assert_eq!((range, &*why), (17..18, "no beam"));
    }
}

/// What a declared overflow lets go is counted where it was let go, and nowhere else.
#[test]
fn frames_let_go_by_drop_and_latest_are_counted() {
    for overflow in ["drop", "latest"] {
        let report = run(&format!(
            r#"
            isard = "0.1"
            name = "overflow"
            [run]
            chunk = 2
            checkpoint_frames = 20
            limits = {{ dropped = 200, missing = 1 }}
            [stage.frames]
            use = "toy.count"
            set = {{ frames = 200, rate = 2000.0, live = true, lose = [51] }}
            [stage.save]
            use = "toy.set"
            from = "frames"
            set = {{ path = "raw.txt" }}
            [stage.view]
            use = "toy.pass"
            from = "frames"
            set = {{ mood = "slow", pause = 20 }}
            run = {{ overflow = "{overflow}", queue = 2 }}
            [stage.seen]
            use = "toy.total"
            from = "view"
            "#
        ));
        assert_eq!(report.outcome, Outcome::Done, "{overflow}: {:?}", report.outcome.message());
        assert_eq!(ledger(&report, "frames"), "199 of 200 done, 1 missing");
        assert_eq!(ledger(&report, "save"), "199 of 200 done, 1 missing");
        let seen = account(&report, "seen");
        seen.balance().unwrap();
        assert!(seen.dropped.count() > 50, "{overflow}: {seen}");
        assert_eq!(seen.done.count() + seen.dropped.count(), 199, "{overflow}: {seen}");
        // Gaps come in order with the frames around them.
        let order: Vec<u64> = seen.reasons.iter().map(|(r, ..)| r.start).collect();
        assert!(order.is_sorted(), "{overflow}: {order:?}");
    }
}

/// A hundred random patterns of faults: every account balances and says what was done to it.
#[test]
fn random_faults_always_add_up() {
    let mut seed = 0x1234_5678_9abc_def1u64;
    let mut dice = move |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 20) % n
    };
    for round in 0..60 {
        let frames = 20 + dice(120);
        let mut classes: Vec<Vec<u64>> = vec![vec![]; 4];
        for n in 0..frames {
            if let Some(class) = classes.get_mut(dice(12) as usize) {
                class.push(n);
            }
        }
        let [lose, repeat, corrupt, late] = &classes[..] else { unreachable!() };
        let (chunk, shuffle, delay) = (1 + dice(20), 1 + dice(6), 30 + dice(30));
        let text = recipe(
            &format!(
                "frames = {frames}, shuffle = {shuffle}, lose = {lose:?}, repeat = {repeat:?}, \
                 corrupt = {corrupt:?}, late = {late:?}, delay = {delay}"
            ),
            "missing = 999, corrupt = 999, late = 999, extra = 999",
        );
        let report = run(&text.replace("chunk = 4", &format!("chunk = {chunk}")));
        assert_eq!(report.outcome, Outcome::Done, "round {round}: {:?}", report.outcome.message());
        let source = account(&report, "frames");
        let list = |set: &isard_core::span::Ranges| set.numbers().collect::<Vec<u64>>();
        assert_eq!(list(&source.corrupt), *corrupt, "round {round}");
        assert_eq!(source.extra, repeat.len() as u64, "round {round}: {source}");
        // A delayed frame near the end still finds its place, or comes when all others have.
        let gone: Vec<u64> = list(&source.missing);
        assert_eq!(gone, *lose, "round {round}: {source}");
        assert!(source.late.numbers().all(|n| late.contains(&n)), "round {round}: {source}");
        let sum: u64 = source.classes().iter().map(|(_, set)| set.count()).sum();
        assert_eq!(sum, frames, "round {round}: {source}");
        for stage in ["save", "total", "blobs"] {
            let end = account(&report, stage);
            end.balance().unwrap();
            assert_eq!(end.done, source.done, "round {round}, {stage}");
            assert_eq!(end.missing.count(), source.missing.count() + source.late.count());
        }
    }
}
