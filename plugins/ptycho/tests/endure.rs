//! Runs that are killed at any moment are resumed to the same files, and a growing file is followed by another process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "moments are chosen here, not drawn")]
#[path = "../../../tests/support/kill.rs"]
mod kill;

mod common;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isard_core::run::{self, Options, Outcome};
use isard_core::store::{self, Files, RealFiles, Verdict};
use isard_ptycho::file::ptyd::Ptyd;

use common::run::{TO_PTYD, planned};
use kill::{KillFiles, Moment};

/// Raw frames become linked chunks in a folder of their own, and one file of all.
const PREPARE: &str = r#"
    isard = "0.1"
    name = "prepare"
    [run]
    seed = 1
    checkpoint_frames = 12
    checkpoint_s = 0.0
    threads = 2
    [stage.frames]
    use = "ptycho.simulate"
    set = { num_frames = 60, shape = 48, photons = 1e6, density = 0.1 }
    [stage.cut]
    use = "scan.prepare"
    from = "frames"
    in = { image = "frames.image", psize = "frames.head.psize" }
    set = { shape = 32, center = "auto", orientation = 5, rebin = 2, rebin_mode = "sum" }
    [stage.linked]
    use = "ptyd.write"
    from = "cut"
    in = { image = "cut.image", mask = "cut.mask", position = "frames.position", energy = "frames.head.energy", distance = "frames.head.distance", num_frames = "frames.head.num_frames" }
    set = { path = "scans/one/linked.ptyd", frames = 8 }
    [stage.appended]
    use = "ptyd.write"
    from = "cut"
    in = { image = "cut.image", mask = "cut.mask", position = "frames.position", energy = "frames.head.energy", distance = "frames.head.distance", num_frames = "frames.head.num_frames" }
    set = { path = "appended.ptyd", save = "append", frames = 8 }
    [stage.merged]
    use = "ptyd.write"
    from = "cut"
    in = { image = "cut.image", mask = "cut.mask", position = "frames.position", energy = "frames.head.energy", distance = "frames.head.distance", num_frames = "frames.head.num_frames" }
    set = { path = "merged.ptyd", save = "merge" }
"#;

/// A reconstruction of a whole scan.
const FIT: &str = r#"
    isard = "0.1"
    name = "fit"
    [run]
    seed = 1
    checkpoint_frames = 12
    checkpoint_s = 0.0
    threads = 2
    [stage.frames]
    use = "ptycho.simulate"
    set = { num_frames = 40, shape = 48, photons = 1e6, density = 0.1 }
    [stage.fit]
    use = "ptycho.reconstruct"
    from = "frames"
    in = { energy = "frames.head.energy", distance = "frames.head.distance", psize = "frames.head.psize", center = "frames.head.center" }
    set = { engines = [{ name = "DM", numiter = 12 }, { name = "EPIE", numiter = 8, batch = 4 }, { name = "ML", numiter = 10, position_refinement = { start = 2 } }] }
    [stage.ptyr]
    use = "ptyr.write"
    from = "fit"
    set = { path = "result.ptyr" }
    [stage.cxi]
    use = "cxi.write"
    from = "fit"
    in = { distance = "frames.head.distance", psize = "frames.head.psize" }
    set = { path = "result.cxi", frames = "frames.h5::/entry/data/image" }
"#;

fn onto(out: &Path, files: Arc<dyn Files>) -> Options {
    Options { files, ..common::run::onto(out) }
}

/// What must not depend on how often a run was cut off: the digests of all stages, and the accounts.
fn answer(out: &Path) -> BTreeMap<String, String> {
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(record["status"], "done", "{record}");
    assert_eq!(store::verify(&RealFiles, out).unwrap().verdict, Verdict::Good);
    let content = record["content"].as_object().unwrap();
    let mut answer: BTreeMap<_, _> = content.iter().map(|(k, v)| (k.clone(), v.to_string())).collect();
    assert!(!answer.is_empty());
    answer.insert("ledger".into(), record["ledger"].to_string());
    answer
}

/// Index, position, data and mask.
type Held = (u64, [f64; 2], Vec<u8>, Vec<u8>);

/// All frames of a file.
fn frames(path: &Path) -> Vec<Held> {
    let file = Ptyd::open(path).unwrap();
    assert!(file.dead.is_empty() && file.ended, "{}", path.display());
    let one = |chunk: &isard_ptycho::file::ptyd::Live, k: usize| {
        let (data, mask) = (file.data(chunk, k, 1).unwrap(), file.mask(chunk, k, 1).unwrap());
        (chunk.indices[k], chunk.positions[k], data, mask)
    };
    file.chunks
        .iter()
        .flat_map(|c| (0..c.indices.len()).map(move |k| (c, k)))
        .map(|(c, k)| one(c, k))
        .collect()
}

/// Not a test of its own: what a child process runs that another test kills.
#[test]
fn child() {
    let Some(out) = std::env::var_os("ISARD_CHILD_OUT").map(PathBuf::from) else { return };
    let text = std::env::var("ISARD_CHILD_RECIPE").unwrap();
    let moment = std::env::var("ISARD_KILL").ok().and_then(|t| Moment::parse(&t));
    let files: Arc<dyn Files> = Arc::new(KillFiles::new(moment));
    let begun = out.join(store::INNER).exists();
    let report = if begun {
        run::resume(&planned(&text), onto(&out, files))
    } else {
        run::run(&planned(&text), onto(&out, files))
    };
    // A run that was killed between its manifest and its end has nothing left to do.
    match report {
        Ok(report) => {
            assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
            std::fs::write(out.with_extension("json"), report.to_json().to_string()).unwrap();
        }
        Err(error) => assert!(error.to_string().contains("is done"), "{error}"),
    }
}

fn spawn(recipe: &str, out: &Path, kill: Option<String>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env("ISARD_CHILD_OUT", out);
    command.env("ISARD_CHILD_RECIPE", recipe).env_remove("ISARD_KILL");
    command.envs(kill.map(|k| ("ISARD_KILL", k)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs a child to its end, or until it has lasted for so long; `true` when it was killed.
fn run_child(recipe: &str, out: &Path, kill: Option<String>, for_at_most: Option<Duration>) -> bool {
    let mut child = spawn(recipe, out, kill);
    if let Some(time) = for_at_most {
        std::thread::sleep(time);
        let _ = child.kill();
    }
    let end = child.wait_with_output().unwrap();
    let killed = end.status.signal() == Some(9);
    let text = String::from_utf8_lossy(&end.stderr);
    assert!(killed || end.status.success(), "a child ended with {}: {text}", end.status);
    killed
}

/// Kills children at operations on files and at times, and resumes each to its end.
fn killed_and_resumed(recipe: &str, moments: &[(&str, &str, u64)], same: impl Fn(&Path, &Path)) {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let begun = Instant::now();
    assert!(!run_child(recipe, &whole, None, None));
    let lasted = begun.elapsed();
    let wanted = answer(&whole);
    let mut killed = 0;
    let late = [0.3, 0.5, 0.7, 0.9].map(|part| lasted.mul_f64(part));
    let times = late.iter().map(|time| (None, Some(*time)));
    let points = moments.iter().map(|(op, word, count)| {
        (Some(Moment { op: (*op).into(), word: (*word).into(), count: *count }.text()), None)
    });
    let all: Vec<_> = points.chain(times).collect();
    for (turn, (kill, time)) in all.iter().enumerate() {
        let out = folder.path().join(format!("killed{turn}"));
        killed += u32::from(run_child(recipe, &out, kill.clone(), *time));
        run_child(recipe, &out, None, None);
        assert_eq!(answer(&out), wanted, "turn {turn}: {kill:?} {time:?}");
        same(&whole, &out);
    }
    eprintln!("{killed} of {} kills struck while the run was alive", all.len());
    assert!(killed as usize > moments.len() / 2, "kills must strike: {killed}");
}

#[test]
fn a_preparation_killed_at_any_moment_is_resumed_to_the_same_files() {
    let moments = [
        ("WriteNew", "linked.ptyd.part", 2),
        ("Rename", "linked.ptyd.part", 4),
        ("WriteNew", "linked.ptyd", 5),
        ("Rename", "appended.ptyd", 1),
        ("Rename", "checkpoint-", 2),
        ("WriteNew", "manifest", 0),
    ];
    killed_and_resumed(PREPARE, &moments, |whole, killed| {
        for name in ["scans/one/linked.ptyd", "appended.ptyd", "merged.ptyd"] {
            assert!(frames(&whole.join(name)) == frames(&killed.join(name)), "{name}");
        }
        // By hand: the axis is cut to pixel 16 of 32, mirroring columns takes it to 31 - 16 = 15; both over 2, pixels twice.
        let meta = Ptyd::open(&killed.join("appended.ptyd")).unwrap().meta;
        assert_eq!((meta.center, meta.psize), ([8.0, 7.5], [344e-6; 2]));
        // Three ways to save one scan.
        let all = frames(&killed.join("appended.ptyd"));
        assert_eq!(all.iter().map(|f| f.0).collect::<Vec<_>>(), (0..60).collect::<Vec<u64>>());
        assert!(
            all == frames(&killed.join("scans/one/linked.ptyd"))
                && all == frames(&killed.join("merged.ptyd"))
        );
    });
}

#[test]
fn a_reconstruction_killed_at_any_moment_is_resumed_to_the_same_object() {
    let moments =
        [("Rename", "checkpoint-", 1), ("Rename", "checkpoint-", 2), ("WriteNew", "result.ptyr", 0)];
    killed_and_resumed(FIT, &moments, |whole, killed| {
        for name in ["obj", "probe"] {
            let read = |folder: &Path| {
                let file = isard_h5::File::open(folder.join("result.ptyr")).unwrap();
                file.dataset(&format!("content/{name}/SS00G00/data")).unwrap().read_all().unwrap()
            };
            assert!(read(whole) == read(killed), "{name}");
        }
    });
}

/// A scan that is reconstructed while it runs, or when it is over.
fn live(rate: f64) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "live"
        [run]
        seed = 3
        checkpoint_frames = 8
        checkpoint_s = 0.0
        threads = 2
        [stage.frames]
        use = "ptycho.simulate"
        set = {{ num_frames = 60, shape = 64, density = 0.09, photons = 1e7, psize = 344e-6, rate = {rate:.1}, illumination = {{ size = 1.8e-6, parallel = 4e-4 }} }}
        [stage.fit]
        use = "ptycho.reconstruct"
        from = "frames"
        in = {{ energy = "frames.head.energy", distance = "frames.head.distance", psize = "frames.head.psize" }}
        set = {{ engines = [{{ name = "DM", numiter = 60 }}], illumination = {{ size = 1.8e-6 }} }}
        [stage.metrics]
        use = "ptycho.metrics"
        from = "fit"
        in = {{ truth = "frames.head.object", truth_center = "frames.head.object_center", lit = "frames.head.lit" }}
        [stage.ptyr]
        use = "ptyr.write"
        from = "fit"
        set = {{ path = "result.ptyr" }}
        [out]
        rms = "metrics.rms"
        frames = "fit.frames"
    "#
    )
}

#[test]
fn a_live_run_that_is_killed_and_resumed_ends_as_one_over_a_closed_scan() {
    let folder = tempfile::tempdir().unwrap();
    let result = |out: &Path, key: &str| -> f64 {
        let record: serde_json::Value =
            serde_json::from_slice(&std::fs::read(out.with_extension("json")).unwrap()).unwrap();
        record["results"][key].as_f64().unwrap_or_else(|| panic!("{key}: {}", record["results"]))
    };
    let closed = folder.path().join("closed");
    assert!(!run_child(&live(0.0), &closed, None, None));
    let offline = result(&closed, "rms");
    for (turn, part) in [0.4, 0.8].into_iter().enumerate() {
        let out = folder.path().join(format!("live{turn}"));
        // The scan lasts three seconds.
        assert!(run_child(&live(20.0), &out, None, Some(Duration::from_secs_f64(3.0 * part))));
        run_child(&live(20.0), &out, None, None);
        let rms = result(&out, "rms");
        eprintln!("killed after {part} of the scan: RMS {rms:.4}, {offline:.4} over the closed one");
        assert_eq!(result(&out, "frames"), 60.0);
        assert!(rms <= 1.05 * offline, "{rms} resumed, {offline} offline");
    }
}

#[test]
fn a_growing_file_is_followed_by_other_processes() {
    let folder = tempfile::tempdir().unwrap();
    let (writes, reads) = (folder.path().join("writes"), folder.path().join("reads"));
    // Two frames a chunk: the master is replaced thirty times while the other side looks at it.
    let writer = format!(
        r#"
        isard = "0.1"
        name = "writer"
        [run]
        seed = 1
        [stage.frames]
        use = "ptycho.simulate"
        set = {{ num_frames = 60, shape = 32, photons = 1e6, density = 0.12, rate = 40.0 }}
        [stage.save]
        use = "ptyd.write"
        from = "frames"
        {TO_PTYD}
        set = {{ path = "sub/scan.ptyd", frames = 2 }}
    "#
    );
    let reader = format!(
        r#"
        isard = "0.1"
        name = "reader"
        [run]
        seed = 1
        [stage.frames]
        use = "ptyd.read"
        set = {{ path = {:?}, follow = true, idle_s = 60.0 }}
        [stage.fit]
        use = "ptycho.reconstruct"
        from = "frames"
        in = {{ mask = "frames.mask", energy = "frames.head.energy", distance = "frames.head.distance", psize = "frames.head.psize", center = "frames.head.center" }}
        set = {{ engines = [{{ name = "EPIE", numiter = 5 }}] }}
        [stage.copy]
        use = "ptyd.write"
        from = "frames"
        in = {{ mask = "frames.mask", energy = "frames.head.energy", distance = "frames.head.distance", psize = "frames.head.psize", num_frames = "frames.head.num_frames" }}
        set = {{ path = "copy.ptyd", save = "append" }}
        [stage.ptyr]
        use = "ptyr.write"
        from = "fit"
        set = {{ path = "result.ptyr" }}
    "#,
        writes.join("sub/scan.ptyd")
    );
    // The readers are there before the writer has begun.
    let others: Vec<PathBuf> = (0..2).map(|k| reads.join(k.to_string())).collect();
    std::fs::create_dir_all(&reads).unwrap();
    let readers: Vec<Child> = others.iter().map(|out| spawn(&reader, out, None)).collect();
    let writing = spawn(&writer, &writes, None);
    for (who, child) in std::iter::once(("writer", writing)).chain(readers.into_iter().map(|r| ("reader", r)))
    {
        let end = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&end.stderr);
        assert!(end.status.success(), "the {who} ended with {}: {text}", end.status);
    }
    let all = frames(&writes.join("sub/scan.ptyd"));
    assert_eq!(all.len(), 60);
    for out in &others {
        assert!(frames(&out.join("copy.ptyd")) == all, "{}", out.display());
        assert!(out.join("result.ptyr").exists());
    }
}
