//! Merlin streams against recorded ones, and over loopback with what goes wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Taken, ledger, noted, reference, run, sums_of, take};
use isard_core::run::Outcome;
use isard_core::value::{Dict, Value};
use isard_live::merlin::{Detector, Faults};

/// What the source makes of a recording, read and replayed over loopback; `check` is given the sums of all frames and
/// the numbers that its maker notes.
fn both(name: &str, check: impl Fn(&Taken, &str, &[u64], &[u64])) {
    let Some(folder) = reference(name, "stem4d") else { return };
    let (sums, noted) = (sums_of(&folder, "merlin_stream.bin"), noted(&folder, name));
    // Two lines, as the frames of a trigger say.
    let columns = sums.len() as u64 / 2;
    let path = folder.join(name).display().to_string();
    let set = format!("scan = [2, {columns}]");
    let read = take("live.merlin", &format!("recording = {path:?}\n{set}"), Dict::new()).unwrap();
    check(&read, "read", &sums, &noted);
    let simulated = Detector { recording: Some(path), ..Detector::default() }.begin().unwrap();
    let input = Dict::new().with("address", simulated.data().to_string());
    let wired = take("live.merlin", &format!("wait = 10.0\nstall = 0.5\n{set}"), input).unwrap();
    check(&wired, "wired", &sums, &noted);
    assert_eq!(wired.opened.head, read.opened.head);
    assert_eq!(wired.opened.scan, [("y".to_owned(), 2), ("x".to_owned(), columns)]);
}

#[test]
fn a_whole_stream_gives_the_sums_of_the_reference() {
    both("merlin_stream.bin", |taken, how, sums, _| {
        let n = sums.len() as u64;
        assert_eq!(taken.opened.frames, Some(n), "{how}");
        assert_eq!((taken.numbers(), taken.sums()), ((0..n).collect(), sums.to_vec()), "{how}");
        assert!(taken.lost.is_empty(), "{how}: {:?}", taken.lost);
        assert_eq!(taken.opened.head.get("exposure"), Some(&Value::Float(0.001)));
        let Some(Value::Dict(said)) = taken.opened.head.get("acquisition") else { panic!("{how}") };
        assert_eq!(said.get("Frames per Trigger (Number)"), Some(&Value::Int(n as i64 / 2)));
    });
}

#[test]
fn after_a_lost_frame_the_others_stay_at_their_scan_points() {
    both("merlin_stream_lost_frame.bin", |taken, how, sums, noted| {
        // Sequence numbers count from 1.
        let lost = noted[0] - 1;
        let others: Vec<u64> = (0..sums.len() as u64).filter(|n| *n != lost).collect();
        assert_eq!(taken.numbers(), others, "{how}");
        let wanted: Vec<u64> = others.iter().map(|n| sums[*n as usize]).collect();
        assert_eq!(taken.sums(), wanted, "{how}");
        let why = "the detector's sequence numbers pass over it".to_owned();
        assert_eq!(taken.lost, [(lost, why)], "{how}");
    });
}

#[test]
fn a_truncated_stream_is_reported_and_its_whole_frames_are_good() {
    both("merlin_stream_truncated.bin", |taken, how, sums, noted| {
        let good = noted[0];
        assert_eq!(taken.numbers(), (0..good).collect::<Vec<_>>(), "{how}");
        assert_eq!(taken.sums(), sums[..good as usize], "{how}");
        let [(number, why)] = &taken.lost[..] else { panic!("{how}: {:?}", taken.lost) };
        assert_eq!(*number, good);
        let told = match how {
            "read" => "in the middle of a message".to_owned(),
            _ => format!("frame {}", good - 1),
        };
        assert!(why.contains(&told), "{how}: {why}");
    });
}

fn loopback(detector: &Detector, set: &str) -> Taken {
    let simulated = detector.begin().unwrap();
    let input = Dict::new()
        .with("address", simulated.data().to_string())
        .with("control", simulated.control().to_string());
    take("live.merlin", &format!("wait = 10.0\nstall = 0.5\n{set}"), input).unwrap()
}

#[test]
fn every_depth_comes_through_bit_by_bit_behind_garbage() {
    for bits in [8, 16, 32] {
        let faults = Faults { garbage: 37, ..Faults::default() };
        let detector = Detector { bits, frames: 5, shape: [16, 24], faults, ..Detector::default() };
        let taken = loopback(&detector, "");
        assert_eq!(taken.numbers(), [0, 1, 2, 3, 4], "{bits}: {:?}", taken.lost);
        for n in 0..5 {
            assert_eq!(taken.image(n).bytes(), detector.pixels(n as u64), "{bits} bits, frame {n}");
        }
    }
}

#[test]
fn under_every_fault_the_ledger_balances_and_the_run_ends() {
    let folder = tempfile::tempdir().unwrap();
    for (what, faults, wanted) in [
        ("nothing", "", "40 of 40 done"),
        ("loss", "lose = [0, 3, 4, 39]", "36 of 40 done, 4 missing"),
        ("corruption", "corrupt = [5]", "39 of 40 done, 1 corrupt"),
        ("truncation", "truncate = 30", "30 of 40 done, 10 missing"),
        ("lost connection", "cut = [10, 20]", "38 of 40 done, 2 missing"),
        ("restart", "restart = 25", "25 of 40 done, 15 missing"),
        ("stall", "stall = 12", "12 of 40 done, 28 missing"),
    ] {
        let text = format!(
            r#"
            isard = "0.1"
            name = "faults"
            [run]
            chunk = 4
            limits = {{ missing = 40, corrupt = 9 }}
            [stage.simulator]
            use = "live.merlin_simulate"
            set = {{ frames = 40, shape = [16, 24], rate = 800.0, faults = {{ {faults} }} }}
            [stage.images]
            use = "live.merlin"
            in = {{ address = "simulator.address" }}
            set = {{ wait = 10.0, stall = 0.5, scan = [5, 8] }}
            "#
        );
        let report = run(&text, &folder.path().join("out"));
        assert_eq!(report.outcome, Outcome::Done, "{what}: {:?}", report.outcome.message());
        assert_eq!(ledger(&report, "images"), wanted, "{what}");
    }
}

#[test]
fn settings_are_read_back_and_the_acquisition_is_started() {
    let detector = Detector {
        start: "control".into(),
        shape: [8, 8],
        faults: Faults { garbage: 20, ..Faults::default() },
        ..Detector::default()
    };
    let simulated = detector.begin().unwrap();
    let input = || {
        Dict::new()
            .with("address", simulated.data().to_string())
            .with("control", simulated.control().to_string())
    };
    let set = "wait = 10.0\nstall = 0.5\n[control]\ntrigger = true\n[control.settings]\nNUMFRAMESTOACQUIRE = 7\nACQUISITIONTIME = 1.5\n";
    let taken = take("live.merlin", set, input()).unwrap();
    assert_eq!(taken.numbers(), (0..7).collect::<Vec<_>>());
    let Some(Value::Dict(settings)) = taken.opened.head.get("settings") else { panic!("no settings") };
    assert_eq!(settings.get("ACQUISITIONTIME"), Some(&Value::Float(1.5)));
    assert_eq!(simulated.commands(), ["STARTACQUISITION", "SOFTTRIGGER"]);
}

#[test]
fn a_detector_that_does_not_take_a_setting_is_refused() {
    let refused = |settings: &str| {
        let deaf = vec!["COUNTERDEPTH".to_owned()];
        let simulated = Detector { start: "control".into(), deaf, ..Detector::default() }.begin().unwrap();
        let input = Dict::new()
            .with("address", simulated.data().to_string())
            .with("control", simulated.control().to_string());
        let set = format!("wait = 5.0\n[control.settings]\n{settings}\n");
        let error = take("live.merlin", &set, input).err().unwrap().to_string();
        assert!(simulated.commands().is_empty());
        error
    };
    let error = refused("COUNTERDEPTH = 24");
    assert!(error.contains("did not take its settings: `COUNTERDEPTH` is 12, wanted 24"), "{error}");
    let error = refused("NUMFRAMES = 3");
    assert!(error.contains("`SET,NUMFRAMES,3` is not known to it"), "{error}");
    let error = refused("ACQUISITIONTIME = -1");
    assert!(error.contains("is out of range"), "{error}");
}
