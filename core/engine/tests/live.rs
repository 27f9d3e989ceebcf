//! A detector that does not wait: killed with SIGKILL and resumed, the run misses what was sent meanwhile, and says so.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use isard_core::prelude::*;
use isard_core::run::{self, Outcome, Report};
use isard_core::store::{self, Provenance, RealFiles, Verdict};

use support::{ledger, options, plan, set};

/// Sends frames by the clock of the world, whoever listens; keeps the last few for those who come late.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct Sender {
    /// How many frames it sends.
    frames: u64,
    /// Frames per second.
    rate: f64,
    /// How many frames it keeps.
    ring: u64,
    /// A file that holds when it began, in nanoseconds; it begins when the file is not there.
    clock: String,
    #[serde(skip)]
    #[schemars(skip)]
    begun: u64,
    #[serde(skip)]
    #[schemars(skip)]
    next: u64,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// How many frames have been sent since a clock was started.
fn sent(begun: u64, rate: f64, frames: u64) -> u64 {
    let seconds = now().saturating_sub(begun) as f64 / 1e9;
    ((seconds * rate) as u64).min(frames)
}

impl Stage for Sender {
    type In = ();
    type Out = support::analysis::ImageOut;
    fn example() -> Example {
        Example::new("frames = 4\nrate = 1000.0\nring = 9\nclock = \"/nowhere\"")
    }
}

impl Source for Sender {
    fn open(&mut self, _: &Cx, _: (), from: Position) -> Result<Opened> {
        self.begun = match std::fs::read_to_string(&self.clock) {
            Ok(text) => text.parse().map_err(|_| Error::data("no time in the clock"))?,
            Err(_) => {
                let begun = now();
                std::fs::write(&self.clock, begun.to_string()).map_err(|e| Error::data(e.to_string()))?;
                begun
            }
        };
        self.next = from.next;
        let shapes = Shapes::default().with("image", Shape::array(Dtype::U16, &[4, 4]));
        Ok(Opened { frames: Some(self.frames), shapes, live: true, ..Opened::default() })
    }
    fn pull(&mut self, _: &Cx, slots: &mut Slots<Self::Out>) -> Result<Pull> {
        let sent = sent(self.begun, self.rate, self.frames);
        self.next = self.next.max(sent.saturating_sub(self.ring));
        if self.next >= self.frames {
            return Ok(Pull::End);
        }
        let end = sent.min(self.next + slots.room());
        if self.next >= end {
            return Ok(Pull::Wait(Duration::from_millis(1)));
        }
        for n in self.next..end {
            let image = Array::of(&[1, 4, 4], &[n as u16; 16])?;
            slots.put(n, support::analysis::ImageOut { image })?;
        }
        self.next = end;
        Ok(Pull::Ready)
    }
}
declare!(Source, "toy.sender", Kind::Simulator, Sender);

const FRAMES: u64 = 1500;
const RATE: f64 = 500.0;

fn recipe(source: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "live"
        [run]
        chunk = 4
        reorder = 8
        checkpoint_frames = 20
        checkpoint_s = 0.0
        limits = {{ missing = {FRAMES} }}
        [stage.frames]
        {source}
        [stage.record]
        use = "toy.set"
        from = "frames"
        in = {{ image = "frames.image" }}
        set = {{ path = "raw.txt", records = 10 }}
        run = {{ lane = "record" }}
        [stage.total]
        use = "toy.total"
        from = "frames"
        [stage.blobs]
        use = "toy.blobs"
        from = "frames"
        set = {{ dark = 7 }}
        [stage.line]
        use = "toy.line"
        from = "frames"
        [out]
        total = "total.total"
        "#
    )
}

fn live(clock: &Path) -> String {
    recipe(&format!(
        "use = \"toy.sender\"\nset = {{ frames = {FRAMES}, rate = {RATE:?}, ring = 40, clock = {:?} }}",
        clock.to_str().unwrap()
    ))
}

fn go_on(out: &Path, clock: &Path) -> Report {
    let plan = plan(&live(clock));
    match out.join(store::INNER).exists() {
        true => run::resume(&plan, options(out)).unwrap(),
        false => run::run(&plan, options(out)).unwrap(),
    }
}

/// Not a test of its own: what a child process runs that another test kills.
#[test]
fn child() {
    let Some(folder) = std::env::var_os("ISARD_LIVE_CHILD").map(PathBuf::from) else { return };
    go_on(&folder.join("out"), &folder.join("clock"));
}

fn spawn(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child"]).env("ISARD_LIVE_CHILD", folder);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until something is so.
fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_live_run_that_is_killed_misses_what_was_sent_meanwhile_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (out, clock) = (folder.path().join("out"), folder.path().join("clock"));
    let parts = || std::fs::read_dir(out.join("raw.txt.parts")).map_or(0, Iterator::count);
    let begun = || std::fs::read_to_string(&clock).ok().and_then(|t| t.parse().ok()).unwrap_or_else(now);
    for turn in 1..3 {
        let before = parts();
        let mut child = spawn(folder.path());
        wait_for("a recording", || parts() >= before + 5);
        child.kill().unwrap();
        let end = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&end), Some(9), "turn {turn}: {end}");
        let at = sent(begun(), RATE, FRAMES);
        wait_for("a hundred frames more", || sent(begun(), RATE, FRAMES) >= (at + 100).min(FRAMES));
    }
    let report = go_on(&out, &clock);
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let verdict = store::verify(&RealFiles, &out).unwrap();
    assert_eq!(verdict.verdict, Verdict::Good, "{verdict}");

    // Every frame has one line, in order; what is not there is said to be missing.
    let lines = set::lines(&out, "raw.txt");
    let mut missing = vec![];
    assert_eq!(lines.len() as u64, FRAMES);
    for (n, line) in (0..FRAMES).zip(&lines) {
        match line.starts_with(&format!("frame {n} ")) {
            true => (),
            false => {
                assert_eq!(*line, format!("gap {n} missing"));
                missing.push(n);
            }
        }
    }
    // Twice a hundred frames were sent to nobody, of which the detector kept forty each time.
    assert!(missing.len() >= 120, "{}", missing.len());
    let wanted = format!("{} of {FRAMES} done, {} missing", FRAMES as usize - missing.len(), missing.len());
    for stage in ["frames", "record", "total", "blobs", "line"] {
        assert_eq!(ledger(&report, stage), wanted, "{stage}");
    }
    let record = Provenance::read(&RealFiles, &out).unwrap();
    let listed = record.gaps.iter().find(|g| g.stage == "frames" && g.reason == "missing").unwrap();
    let listed = isard_core::span::Ranges::from_bounds(&listed.bounds);
    assert!(listed.numbers().eq(missing.iter().copied()), "{listed}");
    assert_eq!(record.resumed.len(), 2);

    // A series that lost these frames for good, read at leisure, has the same content.
    let calm = folder.path().join("calm");
    let source = format!("use = \"toy.count\"\nset = {{ frames = {FRAMES}, lose = {missing:?} }}");
    let wanted = run::run(&plan(&recipe(&source)), options(&calm)).unwrap();
    assert_eq!(wanted.outcome, Outcome::Done, "{:?}", wanted.outcome.message());
    assert_eq!(report.content, wanted.content);
    assert_eq!(report.results, wanted.results);
}
