//! Timepix3 events against the counts that the simulator says in closed form.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Taken, take};
use isard_core::value::{Dict, Value};
use isard_live::tpx3::Events;

fn loopback(events: &Events, set: &str) -> Taken {
    let simulated = events.begin().unwrap();
    let input = Dict::new().with("address", simulated.address().to_string());
    take("live.tpx3", &format!("wait = 10.0\nstall = 5.0\n{set}"), input).unwrap()
}

fn counts(taken: &Taken, at: usize) -> Vec<u32> {
    taken.image(at).to_f64().unwrap().into_iter().map(|x| x as u32).collect()
}

#[test]
fn raw_events_become_the_frames_of_their_line_and_time() {
    let events = Events { scan: [6, 7], events: 30, ..Events::default() };
    let taken = loopback(&events, "dwell = 10.0\nscan = [6, 7]\ntriggered = true");
    assert_eq!(taken.numbers(), (0..42).collect::<Vec<_>>(), "{:?}", taken.lost);
    for n in 0..42 {
        assert_eq!(counts(&taken, n), events.counts(n as u64), "frame {n}");
    }
    assert_eq!(taken.opened.scan, [("y".to_owned(), 6), ("x".to_owned(), 7)]);
}

#[test]
fn charge_sums_the_times_over_threshold() {
    let events = Events { scan: [2, 2], events: 9, ..Events::default() };
    let taken = loopback(&events, "dwell = 10.0\nscan = [2, 2]\ntriggered = true\ncharge = true");
    // Every simulated event has a time over threshold of 10.
    let wanted: Vec<u32> = events.counts(3).into_iter().map(|n| 10 * n).collect();
    assert_eq!(counts(&taken, 3), wanted);
}

#[test]
fn sparse_frames_come_dense() {
    let events = Events { scan: [5, 4], events: 25, sparse: true, ..Events::default() };
    let taken = loopback(&events, "format = \"sparse\"");
    assert_eq!(taken.opened.frames, Some(20));
    assert_eq!(taken.numbers(), (0..20).collect::<Vec<_>>(), "{:?}", taken.lost);
    for n in 0..20 {
        assert_eq!(counts(&taken, n), events.counts(n as u64), "frame {n}");
    }
}

#[test]
fn sparse_frames_stay_sparse() {
    let events = Events { scan: [5, 4], events: 25, sparse: true, ..Events::default() };
    let taken = loopback(&events, "format = \"sparse\"\nevents = true");
    assert_eq!(taken.numbers(), (0..20).collect::<Vec<_>>(), "{:?}", taken.lost);
    for (n, frame) in &taken.frames {
        let Some(Value::Table(table)) = frame.get("events") else { panic!("no events: {frame:?}") };
        let column = |name: &str| table.numbers::<f64>(name).unwrap();
        let mut counts = vec![0; 65_536];
        for ((row, place), value) in column("row").iter().zip(column("column")).zip(column("value")) {
            counts[*row as usize * 256 + *place as usize] += *value as u32;
        }
        assert_eq!(counts, events.counts(*n), "frame {n}");
        assert!(table.records().iter().all(|record| record == n));
        let Some(Value::Array(rows)) = frame.get("count") else { panic!("no count: {frame:?}") };
        assert_eq!(rows.to_f64().unwrap(), [table.rows() as f64]);
        assert!(frame.get("image").is_none());
    }
}

#[test]
fn a_stream_that_breaks_leaves_the_rest_missing() {
    for sparse in [false, true] {
        let events = Events { scan: [6, 4], events: 8, sparse, cut: Some(3), ..Events::default() };
        let set =
            if sparse { "format = \"sparse\"" } else { "dwell = 10.0\nscan = [6, 4]\ntriggered = true" };
        let taken = loopback(&events, set);
        assert_eq!(taken.numbers(), (0..12).collect::<Vec<_>>(), "sparse {sparse}");
        let lost: Vec<u64> = taken.lost.iter().map(|(n, _)| *n).collect();
        assert_eq!(lost, (12..24).collect::<Vec<_>>(), "sparse {sparse}");
        assert_eq!(taken.lost[0].1, "never came before the end of the acquisition");
    }
}

#[test]
fn damaged_streams_are_errors_that_say_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tpx3");
    for (bytes, set, wanted) in [
        (&b"MPX,0000000010,xx"[..], "scan = [2, 2]", "wanted a chunk that begins with TPX3"),
        (&[9; 64], "format = \"sparse\"", "a record of tag 9, wanted 0 to 4"),
        (&[4; 64], "format = \"sparse\"", "the stream ends without a frame"),
        (&[], "format = \"sparse\"", "the stream ends without a frame"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let set = format!("path = {:?}\n{set}", path.display().to_string());
        let error = take("live.tpx3", &set, Dict::new()).err().unwrap().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
