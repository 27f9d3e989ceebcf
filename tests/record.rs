//! A detector that delivers damaged frames, recorded live, stopped and resumed, and played again offline.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isard as _;
use isard_core::plan::{self, Plan};
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome, Report};
use isard_core::store::{self, RealFiles, Verdict};
use isard_core::value::Value;
use isard_h5::File;

fn plan(text: &str) -> Plan {
    let recipe = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    plan::make(&recipe, &Registry::built_in().unwrap()).unwrap_or_else(|faults| panic!("{faults}")).0
}

fn options(out: &Path) -> Options {
    Options::new(Out::Folder { path: out.to_owned(), overwrite: true })
}

fn done(report: &Report, out: &Path) {
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let verdict = store::verify(&RealFiles, out).unwrap();
    assert_eq!(verdict.verdict, Verdict::Good, "{verdict}");
}

fn recipe(source: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "record"
        [run]
        chunk = 4
        checkpoint_frames = 8
        checkpoint_s = 0.0
        limits = {{ corrupt = 5 }}
        [stage.frames]
        {source}
        [stage.save]
        use = "hdf5.write"
        from = "frames"
        in = {{ image = "frames.image" }}
        set = {{ path = "raw.h5" }}
        run = {{ lane = "record" }}
        [stage.sum]
        use = "image.sum"
        from = "frames"
        [out]
        sum = "sum.image"
        "#
    )
}

const BAD: [u64; 5] = [0, 13, 14, 31, 59];

fn detector(more: &str) -> String {
    recipe(&format!(
        "use = \"powder.simulate\"\nset = {{ frames = 60, shape = [16, 20], corrupt = {BAD:?}{more} }}"
    ))
}

/// The pixels of a recording, frame by frame, and its verdicts.
fn recorded(out: &Path) -> (Vec<Vec<u16>>, Vec<u8>) {
    let file = File::open(out.join("raw.h5")).unwrap();
    let bytes = file.dataset("/entry/data/image").unwrap().read_all().unwrap();
    let pixels: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|b| u16::from_ne_bytes(*b)).collect();
    let verdicts = file.dataset("/entry/data/verdict").unwrap().read_all().unwrap();
    (pixels.chunks(16 * 20).map(<[u16]>::to_vec).collect(), verdicts)
}

#[test]
fn damaged_frames_of_a_detector_are_recorded_marked_and_played_again_as_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let out = place("offline");
    let offline = run::run(&plan(&detector("")), options(&out)).unwrap();
    done(&offline, &out);
    let (frames, verdicts) = recorded(&out);
    let marked: Vec<u8> = (0..60).map(|n| u8::from(BAD.contains(&n))).collect();
    assert_eq!(verdicts, marked);
    // The simulator fills the second half of a damaged frame with ones; the first half is as it was.
    assert!(BAD.iter().all(|n| frames[*n as usize][160..].iter().all(|p| *p == 0xffff)));
    assert!((0..60).filter(|n| !BAD.contains(n)).all(|n| frames[n as usize].iter().all(|p| *p < 0xffff)));
    // The sum is one of the good frames, added here by hand.
    let good = frames.iter().zip(&verdicts).filter(|(_, v)| **v == 0).map(|(f, _)| f);
    let mut sum = vec![0.0; 16 * 20];
    good.for_each(|f| sum.iter_mut().zip(f).for_each(|(s, p)| *s += f64::from(*p)));
    let Some(Value::Array(found)) = offline.results.get("sum") else { panic!("no sum") };
    assert_eq!(found.to_f64().unwrap(), sum);

    let out = place("live");
    let live = run::run(&plan(&detector(", rate = 400.0")), options(&out)).unwrap();
    done(&live, &out);
    assert_eq!(live.content, offline.content);
    assert_eq!(recorded(&out), (frames.clone(), verdicts.clone()));

    // Stopped as soon as some frames have come, until it is done.
    let (out, text) = (place("stopped"), detector(", rate = 20.0"));
    let mut turns = 0;
    let resumed = loop {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, mut before) = (stop.clone(), None);
        let mut options = options(&out);
        options.stop = stop;
        options.observer = Some(Box::new(move |progress| {
            let taken = progress.stages.iter().map(|s| s.meter.records.load(Ordering::Relaxed)).max();
            let first = *before.get_or_insert(taken);
            flag.store(taken.unwrap_or(0) >= first.unwrap_or(0) + 5, Ordering::Relaxed);
        }));
        let report = match turns {
            0 => run::run(&plan(&text), options).unwrap(),
            _ => run::resume(&plan(&text), options).unwrap(),
        };
        turns += 1;
        if report.outcome != Outcome::Stopped {
            break report;
        }
    };
    assert!(turns > 1);
    done(&resumed, &out);
    assert_eq!(resumed.content, offline.content);
    assert_eq!(recorded(&out), (frames.clone(), verdicts.clone()));

    // Played again: the same frames are damaged, and recorded as such once more.
    let raw = place("offline").join("raw.h5");
    let again = recipe(&format!(
        "use = \"hdf5.dataset\"\nset = {{ path = {:?} }}",
        format!("{}::/entry/data/image", raw.display())
    ));
    let out = place("again");
    let again = run::run(&plan(&again), options(&out)).unwrap();
    done(&again, &out);
    assert_eq!(again.content, offline.content);
    assert_eq!(recorded(&out), (frames, verdicts));
    for report in [&offline, &live, &resumed, &again] {
        for stage in ["frames", "save", "sum"] {
            let found = report.stages.iter().find(|s| s.name == stage).unwrap().ledger.clone().unwrap();
            assert_eq!(found.to_string(), "55 of 60 done, 5 corrupt", "{stage}");
            assert_eq!(found.corrupt.numbers().collect::<Vec<_>>(), BAD, "{stage}");
        }
    }
}
