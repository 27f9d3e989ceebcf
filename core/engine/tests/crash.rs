//! Runs that are killed, cut off, stopped or starved at any moment end with the content of one that never was.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use isard_core::run::{self, Options, Out, Outcome, Report};
use isard_core::store::testing::{Fail, FailingFiles, ForgetfulFiles};
use isard_core::store::{self, Files, RealFiles, Verdict};
use isard_core::{Blame, Error};

use support::kill::{KillFiles, Moment};
use support::{ledger, plan, set};

/// Every role that keeps state, two writers of frames, one of results, and a second pass that plays the first again.
const RECIPE: &str = r#"
    isard = "0.1"
    name = "crash"
    [run]
    chunk = 4
    checkpoint_frames = 24
    checkpoint_s = 0.0
    threads = 2
    reorder = 8
    limits = { missing = 2, corrupt = 2, extra = 2 }
    [pass.first]
    [pass.second]
    [stage.frames]
    use = "toy.count"
    set = { frames = 180, size = 4, shuffle = 4, lose = [37, 90], corrupt = [55], repeat = [61] }
    [stage.once]
    use = "toy.pass"
    from = "frames"
    set = { mood = "giveup", at = 100 }
    [stage.twice]
    use = "toy.pass"
    from = "once"
    [stage.window]
    use = "toy.window"
    from = "twice"
    set = { window = 5 }
    [stage.save]
    use = "toy.set"
    from = "window"
    set = { path = "window.txt", records = 10 }
    [stage.raw]
    use = "toy.set"
    from = "frames"
    in = { image = "frames.image" }
    set = { path = "raw.txt", records = 16 }
    run = { lane = "record" }
    [stage.blobs]
    use = "toy.blobs"
    from = "twice"
    set = { dark = 7 }
    [stage.total]
    use = "toy.total"
    from = "twice"
    [stage.again]
    use = "toy.pass"
    from = "first.twice"
    run = { pass = "second" }
    [stage.line]
    use = "toy.line"
    from = "again"
    run = { pass = "second" }
    [stage.more]
    use = "toy.set"
    from = "again"
    set = { path = "again.txt", records = 7 }
    run = { pass = "second" }
    [out]
    total = "first.total.total"
    slope = "line.slope"
"#;

/// How many moments are tried: few by default, many with `ISARD_SLOW=full`.
fn moments(quick: u64, full: u64) -> u64 {
    if std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full") { full } else { quick }
}

/// A folder in memory where there is one: killing a process loses nothing that it wrote.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn options(out: &Path, files: Arc<dyn Files>) -> Options {
    let mut options = Options::new(Out::Folder { path: out.to_owned(), overwrite: true });
    options.files = files;
    options
}

/// Goes on with what is there, or begins.
fn go_on(text: &str, out: &Path, files: Arc<dyn Files>) -> Result<Report, Error> {
    let begun = files.exists(&out.join(store::INNER)).unwrap();
    let (plan, options) = (plan(text), options(out, files));
    if begun { run::resume(&plan, options) } else { run::run(&plan, options) }
}

/// What a run came to that must not depend on how often it was cut off.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    content: BTreeMap<String, String>,
    results: String,
    raw: Vec<String>,
    window: Vec<String>,
    again: Vec<String>,
    accounts: String,
}

/// The accounts of all steps as the record of the run keeps them.
fn accounts(json: &[u8]) -> String {
    let record: serde_json::Value = serde_json::from_slice(json).unwrap();
    record["ledger"].to_string()
}

fn lines(files: &dyn Files, out: &Path, path: &str) -> Vec<String> {
    let parts = out.join(format!("{path}.parts"));
    let mut all = vec![];
    for entry in files.list(&parts).unwrap() {
        let bytes = files.read(&parts.join(&entry.name)).unwrap();
        assert_eq!(set::fault(&bytes), None, "{}", entry.name);
        all.extend(String::from_utf8(bytes).unwrap().lines().skip(1).map(str::to_owned));
    }
    all
}

fn answer(files: &dyn Files, out: &Path) -> Answer {
    let json = files.read(&out.join("run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(record["status"], "done", "{record}");
    let content = record["content"].as_object().unwrap();
    let verdict = store::verify(files, out).unwrap();
    assert_eq!(verdict.verdict, Verdict::Good, "{verdict}");
    Answer {
        content: content.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect(),
        results: format!("{:?}", run::results(files, out).unwrap().unwrap()),
        raw: lines(files, out, "raw.txt"),
        window: lines(files, out, "window.txt"),
        again: lines(files, out, "again.txt"),
        accounts: accounts(&json),
    }
}

/// The answer of a run that nobody disturbs.
fn undisturbed() -> Answer {
    let files = Arc::new(ForgetfulFiles::new());
    let out = Path::new("/out");
    let report = run::run(&plan(RECIPE), options(out, files.clone())).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    assert_eq!(ledger(&report, "raw"), "177 of 180 done, 2 missing, 1 corrupt");
    let answer = answer(&*files, out);
    assert_eq!(report.results.keys().map(ToString::to_string).collect::<Vec<_>>(), ["total", "slope"]);
    assert_eq!(answer.results, format!("{:?}", report.results));
    // What stands in the files is every frame once and in order: lost ones as gaps, the damaged one marked.
    let wanted: Vec<String> = (0..180)
        .map(|n| match n {
            37 | 90 => format!("gap {n} missing"),
            55 => format!("corrupt {n} [55.0, "),
            _ => format!("frame {n} "),
        })
        .collect();
    assert_eq!(answer.raw.len(), 180);
    assert!(answer.raw.iter().zip(&wanted).all(|(a, b)| a.starts_with(b.as_str())), "{:?}", answer.raw);
    answer
}

/// A small generator whose seed is printed, so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn seeded() -> Dice {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = std::env::var("ISARD_SEED").ok().and_then(|s| s.parse().ok());
        let seed = seed.unwrap_or(clock.as_nanos() as u64 | 1);
        eprintln!("seed {seed}: ISARD_SEED={seed} draws the same moments");
        Dice(seed)
    }
    fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % n.max(1)
    }
}

/// Not a test of its own: what a child process runs that another test kills.
#[test]
fn child() {
    let Some(out) = std::env::var_os("ISARD_CHILD_OUT").map(PathBuf::from) else { return };
    let moment = std::env::var("ISARD_KILL").ok().and_then(|t| Moment::parse(&t));
    let report = go_on(RECIPE, &out, Arc::new(KillFiles::new(moment)));
    // A run that was killed between its manifest and its end has nothing left to do.
    match report {
        Ok(report) => assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message()),
        Err(error) => assert!(error.to_string().contains("is done"), "{error}"),
    }
}

/// How a child is to die.
#[derive(Clone, Debug)]
enum Death {
    At(Moment),
    Frame(u64),
    After(Duration),
}

fn spawn(out: &Path, death: Option<&Death>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env("ISARD_CHILD_OUT", out);
    command.env_remove("ISARD_KILL").env_remove("ISARD_KILL_FRAME");
    match death {
        Some(Death::At(moment)) => drop(command.env("ISARD_KILL", moment.text())),
        Some(Death::Frame(n)) => drop(command.env("ISARD_KILL_FRAME", n.to_string())),
        _ => (),
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs a child to its end, of whatever kind; says whether it was killed.
fn live_and_die(out: &Path, death: Option<&Death>) -> bool {
    let mut child = spawn(out, death);
    if let Some(Death::After(time)) = death {
        std::thread::sleep(*time);
        let _ = child.kill();
    }
    let end = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&end.stderr);
    let killed = std::os::unix::process::ExitStatusExt::signal(&end.status) == Some(9);
    assert!(killed || end.status.success(), "a child ended with {} after {death:?}: {text}", end.status);
    killed
}

/// Looks at every file under its final name, again and again; none may ever be half a file.
fn watch(out: PathBuf, over: Arc<AtomicBool>, looked: Arc<AtomicU64>) -> std::thread::JoinHandle<()> {
    fn look(folder: &Path, looked: &AtomicU64) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name == ".isard" || name.contains(".part-") || name == "log.txt" {
                continue;
            }
            if path.is_dir() {
                look(&path, looked);
            } else if let Ok(bytes) = std::fs::read(&path) {
                looked.fetch_add(1, Ordering::Relaxed);
                if name.ends_with(".json") {
                    let json = serde_json::from_slice::<serde_json::Value>(&bytes);
                    assert!(json.is_ok(), "half a file: {}", path.display());
                } else {
                    assert_eq!(set::fault(&bytes), None, "half a file: {}", path.display());
                }
            }
        }
    }
    std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            look(&out, &looked);
            std::thread::sleep(Duration::from_millis(2));
        }
        look(&out, &looked);
    })
}

/// Killed with SIGKILL in the source, in writes, checkpoints, renames and at the close, and by the clock.
#[test]
fn a_run_killed_at_any_moment_is_resumed_to_the_same_answer() {
    let wanted = undisturbed();
    let folder = scratch();
    let counting = Arc::new(KillFiles::new(None));
    let begun = Instant::now();
    run::run(&plan(RECIPE), options(&folder.path().join("count"), counting.clone())).unwrap();
    let whole = begun.elapsed();
    let counts: Vec<((String, String), u64)> = counting.counts().into_iter().collect();
    let mut dice = Dice::seeded();
    let mut draw = || match dice.roll(10) {
        0 => Death::Frame(dice.roll(180)),
        1 => Death::After(Duration::from_millis(dice.roll(whole.as_millis() as u64 + 30))),
        _ => {
            let ((op, word), n) = counts[dice.roll(counts.len() as u64) as usize].clone();
            Death::At(Moment { op, word, count: dice.roll(n) })
        }
    };
    let deaths: Vec<Vec<Death>> = (0..moments(50, 400))
        .map(|i| (0..1 + usize::from(i % 3 == 0) + usize::from(i % 9 == 0)).map(|_| draw()).collect())
        .collect();
    let next = AtomicU64::new(0);
    let killed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(deaths) = deaths.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let folder = scratch();
                    let out = folder.path().join("out");
                    let (over, looked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
                    let reader = watch(out.clone(), over.clone(), looked.clone());
                    for death in deaths {
                        killed.fetch_add(u64::from(live_and_die(&out, Some(death))), Ordering::Relaxed);
                    }
                    live_and_die(&out, None);
                    over.store(true, Ordering::Relaxed);
                    reader.join().unwrap_or_else(|_| panic!("a reader met half a file after {deaths:?}"));
                    assert!(looked.load(Ordering::Relaxed) > 0);
                    assert_eq!(answer(&RealFiles, &out), wanted, "after {deaths:?}");
                }
            });
        }
    });
    let (killed, drawn) = (killed.into_inner(), deaths.iter().map(Vec::len).sum::<usize>());
    eprintln!("{killed} of {drawn} deaths struck while the run was alive");
    assert!(killed * 2 > drawn as u64, "most deaths must strike: {killed} of {drawn}");
}

/// A power cut forgets and tears what was not synced.
#[test]
fn a_power_cut_at_any_operation_is_resumed_to_the_same_answer() {
    let wanted = undisturbed();
    let out = Path::new("/out");
    let counting = Arc::new(FailingFiles::new(Arc::new(ForgetfulFiles::new()), Fail::Never));
    run::run(&plan(RECIPE), options(out, counting.clone())).unwrap();
    let operations = counting.calls().len() as u64;
    let mut dice = Dice::seeded();
    let tries = moments(60, operations);
    for i in 0..tries {
        let disk = Arc::new(ForgetfulFiles::new());
        // Once more while it is resumed, now and then.
        for again in 0..=u64::from(i % 4 == 0) {
            let at = if again == 0 { i * operations / tries } else { dice.roll(operations / 2) };
            let files = Arc::new(FailingFiles::new(disk.clone(), Fail::Stop(at)));
            let ended = go_on(RECIPE, out, files);
            assert!(
                again > 0 || !matches!(&ended, Ok(r) if r.outcome == Outcome::Done && at + 40 < operations)
            );
            disk.crash(dice.roll(1 << 40));
        }
        let report = go_on(RECIPE, out, disk.clone());
        match report {
            Ok(report) => {
                assert_eq!(report.outcome, Outcome::Done, "operation {i}: {:?}", report.outcome.message())
            }
            Err(error) => assert!(error.to_string().contains("is done"), "operation {i}: {error}"),
        }
        assert_eq!(answer(&*disk, out), wanted, "cut {i} of {tries}");
    }
}

/// A full disk is said to be one; what was committed stays; with space again the run goes on.
#[test]
fn a_full_disk_is_named_and_resumed_from() {
    let wanted = undisturbed();
    let out = Path::new("/out");
    let counting = Arc::new(FailingFiles::new(Arc::new(ForgetfulFiles::new()), Fail::Never));
    run::run(&plan(RECIPE), options(out, counting)).unwrap();
    let mut failed = 0;
    let tries = moments(40, 300);
    for i in 0..tries {
        let disk = Arc::new(ForgetfulFiles::new());
        let files = Arc::new(FailingFiles::new(disk.clone(), Fail::Budget(2000 + i * 400_000 / tries)));
        let error = match go_on(RECIPE, out, files.clone()) {
            Ok(report) => match report.outcome {
                Outcome::Failed(error) => error,
                outcome => {
                    assert_eq!(outcome, Outcome::Done);
                    continue;
                }
            },
            Err(error) => error,
        };
        failed += 1;
        assert_eq!(error.blame(), Blame::Resources, "{error}");
        assert!(error.to_string().contains("resume"), "{error}");
        if disk.exists(&out.join("run.json")).unwrap() {
            let verdict = store::verify(&*disk, out).unwrap();
            assert!(verdict.is_good(), "{verdict}");
        }
        let report = go_on(RECIPE, out, disk.clone()).unwrap();
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
        assert_eq!(answer(&*disk, out), wanted, "disk {i} of {tries}");
    }
    assert!(failed > tries / 4, "only {failed} of {tries} disks were too small");
}

/// Stop drains, leaves a checkpoint, and is no failure; each pass can be stopped in.
#[test]
fn a_stopped_run_is_resumed_to_the_same_answer() {
    let wanted = undisturbed();
    let out = Path::new("/out");
    let counting = Arc::new(FailingFiles::new(Arc::new(ForgetfulFiles::new()), Fail::Never));
    run::run(&plan(RECIPE), options(out, counting.clone())).unwrap();
    let operations = counting.calls().len() as u64;
    let tries = moments(24, 200);
    let mut steps = BTreeMap::new();
    for i in 0..tries {
        let disk = Arc::new(ForgetfulFiles::new());
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, at) = (stop.clone(), i * operations / tries);
        let files = FailingFiles::new(disk.clone(), Fail::Never)
            .watched(move |n, _, _| flag.store(n >= at, Ordering::Relaxed));
        let mut options = options(out, Arc::new(files));
        options.stop = stop;
        let report = run::run(&plan(RECIPE), options).unwrap();
        if report.outcome == Outcome::Done {
            continue;
        }
        assert_eq!(report.outcome, Outcome::Stopped, "{:?}", report.outcome.message());
        assert_eq!(report.outcome.exit_code(), 7);
        *steps.entry(report.stages.last().map(|s| s.step.clone()).unwrap_or_default()).or_insert(0) += 1;
        let verdict = store::verify(&*disk, out).unwrap();
        assert_ne!(verdict.verdict, Verdict::Damaged, "{verdict}");
        let report = go_on(RECIPE, out, disk.clone()).unwrap();
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
        assert_eq!(answer(&*disk, out), wanted, "stop {i} of {tries}");
    }
    eprintln!("stopped in {steps:?}");
    assert!(steps.contains_key("first") && steps.contains_key("second"), "{steps:?}");
}

/// A pass that plays at a rate gives chunks in pieces; where it is stopped between two of them, none comes twice.
#[test]
fn a_paced_pass_stopped_inside_a_chunk_goes_on_with_the_rest() {
    let wanted = undisturbed();
    let out = Path::new("/out");
    let paced = RECIPE.replace("chunk = 4", "chunk = 16\n    latency_ms = 2").replace(
        "from = \"first.twice\"\n    run = { pass = \"second\" }",
        "from = \"first.twice\"\n    run = { pass = \"second\", pace = 900.0 }",
    );
    assert!(paced.contains("pace") && paced.contains("latency_ms"));
    let plays = Duration::from_secs_f64(179.0 / 900.0);
    let mut stops = 0;
    for i in 0..moments(6, 60) {
        let disk = Arc::new(ForgetfulFiles::new());
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, disk_seen) = (stop.clone(), disk.clone());
        // Some time after the second pass has begun.
        let stopper = std::thread::spawn(move || {
            let begun = Instant::now();
            let second = || disk_seen.exists(&Path::new("/out").join("again.txt.parts")).unwrap_or(false);
            while !second() && begun.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(plays.mul_f64((i as f64 * 0.37).fract() * 0.9));
            flag.store(true, Ordering::Relaxed);
        });
        let mut first = options(out, disk.clone());
        first.stop = stop;
        let begun = Instant::now();
        let report = run::run(&plan(&paced), first).unwrap();
        stopper.join().unwrap();
        match report.outcome {
            Outcome::Stopped => stops += 1,
            outcome => {
                assert_eq!(outcome, Outcome::Done);
                assert!(begun.elapsed() >= plays, "{:?} for {plays:?} of frames", begun.elapsed());
                continue;
            }
        }
        let report = go_on(&paced, out, disk.clone()).unwrap();
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
        assert_eq!(answer(&*disk, out), wanted, "stop {i}");
    }
    assert!(stops > 0, "no stop struck");
}
