//! Runs that are killed at any moment are resumed to the same spots.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/kill.rs"]
mod kill;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isard_core::plan::{self, Plan};
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_core::store::{self, Files, RealFiles, Verdict};
use isard_dct as _;
use isard_h5::File;
use isard_image as _;

use kill::{KillFiles, Moment};

/// Every stage that keeps state, over a frame without beam and the seam of the ring.
const SCAN: &str = r#"
    isard = "0.1"
    name = "scan"
    [run]
    seed = 1
    checkpoint_frames = 12
    checkpoint_s = 0.0
    threads = 2
    limits = { missing = 1 }
    [stage.frames]
    use = "dct.simulate"
    set = { frames = 60, shape = [160, 200], blobs = 30, no_beam = [31] }
    [stage.offset]
    use = "dct.offset"
    from = "frames"
    in = { image = "frames.image", dark = "frames.head.dark" }
    [stage.even]
    use = "dct.normalize"
    from = "offset"
    set = { normalization = "monitor" }
    in = { image = "offset.image", monitor = "frames.monitor" }
    [stage.background]
    use = "dct.background"
    from = "even"
    set = { window = 11, stride = 3, edge = "wrap" }
    [stage.clean]
    use = "image.median"
    from = "background"
    [stage.segment]
    use = "dct.segment"
    from = "clean"
    in = { image = "clean.image", omega = "frames.omega" }
    set = { threshold = "9 sigma", t_low = 20, bb_max = [10, 30, 30], wrap = true, min_seed_voxels = 10, exclude_box = { x = [50, 150], y = [40, 120] } }
    [stage.spots]
    use = "dct.difspots"
    from = "segment"
    [stage.overview]
    use = "dct.overview"
    from = "segment"
    set = { shape = [160, 200], frames = 60, bins = 12 }
    [out]
    spots = "overview.spots"
"#;

fn planned(text: &str) -> Plan {
    let recipe = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let made = plan::make(&recipe, &Registry::built_in().unwrap());
    made.unwrap_or_else(|faults| panic!("{faults}")).0
}

/// The spots' files by name, each as its values: the format keeps the time in each object, so bytes differ.
fn spots(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(out.join("difspots")).unwrap();
    let values = |path: &Path| -> Vec<u8> {
        let file = File::open(path).unwrap();
        let names = ["Data", "Mask", "Projection", "BoundingBox", "CentroidIndex", "difspotID", "Integral"];
        names.iter().flat_map(|name| file.dataset(name).unwrap().read_all().unwrap()).collect()
    };
    let entry = |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), values(&path));
    entries.map(|e| entry(e.unwrap().path())).collect()
}

/// Whether the full sizes are asked for.
fn full() -> bool {
    std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full")
}

fn onto(out: &Path, files: Arc<dyn Files>) -> Options {
    let mut options = Options::new(Out::Folder { path: out.to_owned(), overwrite: true });
    options.files = files;
    options
}

/// What must not depend on how often a run was cut off: the digests of spots and frames, and the accounts.
fn answer(out: &Path) -> BTreeMap<String, String> {
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(record["status"], "done", "{record}");
    assert_eq!(store::verify(&RealFiles, out).unwrap().verdict, Verdict::Good);
    let content = record["content"].as_object().unwrap();
    let mut answer: BTreeMap<_, _> = content.iter().map(|(k, v)| (k.clone(), v.to_string())).collect();
    assert!(answer.keys().any(|k| k.contains("spots")), "{:?}", answer.keys());
    answer.insert("ledger".into(), record["ledger"].to_string());
    answer
}

/// Not a test of its own: what a child process runs that another test kills.
#[test]
fn child() {
    let Some(out) = std::env::var_os("ISARD_CHILD_OUT").map(PathBuf::from) else { return };
    let moment = std::env::var("ISARD_KILL").ok().and_then(|t| Moment::parse(&t));
    let files: Arc<dyn Files> = Arc::new(KillFiles::new(moment));
    let begun = out.join(store::INNER).exists();
    let report = if begun {
        run::resume(&planned(SCAN), onto(&out, files))
    } else {
        run::run(&planned(SCAN), onto(&out, files))
    };
    // A run that was killed between its manifest and its end has nothing left to do.
    match report {
        Ok(report) => assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message()),
        Err(error) => assert!(error.to_string().contains("is done"), "{error}"),
    }
}

/// Runs a child to its end, or until it has lasted for so long; `true` when it was killed.
fn run_child(out: &Path, set: &[(&str, String)], for_at_most: Option<Duration>) -> (bool, Output) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env("ISARD_CHILD_OUT", out);
    command.env_remove("ISARD_KILL").envs(set.iter().map(|(k, v)| (*k, v)));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    if let Some(time) = for_at_most {
        std::thread::sleep(time);
        let _ = child.kill();
    }
    let end = child.wait_with_output().unwrap();
    let killed = end.status.signal() == Some(9);
    let text = String::from_utf8_lossy(&end.stderr);
    assert!(killed || end.status.success(), "a child ended with {}: {text}", end.status);
    (killed, end)
}

#[test]
fn a_scan_killed_at_any_moment_is_resumed_to_the_same_spots() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let counting = Arc::new(KillFiles::new(None));
    let begun = Instant::now();
    let report = run::run(&planned(SCAN), onto(&whole, counting.clone())).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let lasted = begun.elapsed().as_millis() as u64;
    let (wanted, found) = (answer(&whole), spots(&whole));
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = std::env::var("ISARD_SEED").ok().and_then(|s| s.parse().ok());
    let mut seed: u64 = seed.unwrap_or(clock.as_nanos() as u64 | 1);
    eprintln!("seed {seed}: ISARD_SEED={seed} draws the same moments");
    let mut roll = |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 20) % n.max(1)
    };
    let counts: Vec<_> = counting.counts().into_iter().collect();
    let (mut killed, mut drawn) = (0, 0);
    for turn in 0..if full() { 100 } else { 6 } {
        let out = folder.path().join(format!("killed{turn}"));
        for _ in 0..1 + turn % 2 {
            drawn += 1;
            let ((op, word), n) = &counts[roll(counts.len() as u64) as usize];
            let moment = Moment { op: op.clone(), word: word.clone(), count: roll(*n) };
            let (set, time) = match roll(4) {
                0 => (vec![], Some(Duration::from_millis(roll(lasted)))),
                _ => (vec![("ISARD_KILL", moment.text())], None),
            };
            killed += u32::from(run_child(&out, &set, time).0);
        }
        run_child(&out, &[], None);
        assert_eq!(answer(&out), wanted, "turn {turn}");
        assert_eq!(spots(&out), found, "turn {turn}");
    }
    eprintln!("{killed} of {drawn} kills struck while the run was alive");
    assert!(killed * 3 > drawn, "kills must strike: {killed} of {drawn}");
}
