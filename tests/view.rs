//! Watching a run: the viewer sees the newest, and costs the run nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use isard as _;
use isard_core::plan::{self, Plan};
use isard_core::prelude::*;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome, Report, Sight, View, Viewer};

fn text(rate: f64) -> String {
    format!(
        r#"
isard = "0.1"
name = "watched"
[run]
chunk = 8
latency_ms = 20
checkpoint_frames = 50
[stage.detector]
use = "powder.simulate"
set = {{ frames = 300, rate = {rate:?}, shape = [48, 64] }}
[stage.bin]
use = "image.bin"
from = "detector"
[stage.lit]
use = "image.threshold"
from = "bin"
set = {{ above = 1.0, binary = true }}
[stage.sum]
use = "image.sum"
from = "lit"
[stage.counts]
use = "image.histogram"
from = "detector"
set = {{ low = 0.0, high = 20.0, bins = 50 }}
[stage.raw]
use = "npy.write"
from = "detector"
set = {{ path = "raw.npy" }}
run = {{ lane = "record" }}
"#
    )
}

fn plan(rate: f64) -> Plan {
    let recipe =
        recipe::parse(&text(rate), Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    plan::make(&recipe, &Registry::built_in().unwrap()).unwrap_or_else(|faults| panic!("{faults}")).0
}

/// Runs with a viewer that looks every 50 ms.
fn watched(rate: f64, ports: &[(&str, &str)], viewer: Option<Box<dyn Viewer>>) -> (Report, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::new(Out::Folder { path: folder.path().join("out"), overwrite: false });
    let ports = ports.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let every = Duration::from_millis(50);
    options.view = viewer.map(|viewer| View { ports, every, viewer });
    let begun = Instant::now();
    let report = run::run(&plan(rate), options).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    for stage in report.stages.iter().filter_map(|s| s.ledger.as_ref()) {
        assert_eq!(stage.to_string(), "300 of 300 done");
    }
    (report, begun.elapsed())
}

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Look>>>);

/// When the viewer was called, and with what.
type Look = (Instant, Vec<Sight>);

impl Viewer for Notes {
    fn see(&mut self, news: &[Sight]) {
        self.0.lock().unwrap().push((Instant::now(), news.to_vec()));
    }
}

impl Notes {
    fn of(&self, stage: &str) -> Vec<Sight> {
        let all = self.0.lock().unwrap();
        all.iter().flat_map(|(_, news)| news).filter(|s| &*s.stage == stage).cloned().collect()
    }
}

#[test]
fn a_viewer_sees_frames_snapshots_and_the_last_of_each() {
    let notes = Notes::default();
    // Three seconds: partial sums are made for the viewer as it asks for them.
    let (report, _) = watched(100.0, &[], Some(Box::new(notes.clone())));
    for stage in ["detector", "bin", "lit"] {
        let seen = notes.of(stage);
        let frames: Vec<u64> = seen.iter().map(|s| s.span.start).collect();
        assert!(frames.is_sorted() && frames.len() > 8, "{stage}: {frames:?}");
        assert_eq!(frames.last(), Some(&299), "{stage}");
        assert!(seen.iter().all(|s| s.port == "image" && s.span.len == 1 && s.covers.is_none()));
    }
    let Value::Array(image) = &notes.of("bin")[0].value else { panic!("an image") };
    assert_eq!(image.shape(), [24, 32]);
    for stage in ["sum", "counts"] {
        let seen = notes.of(stage);
        let covers: Vec<u64> = seen.iter().filter_map(|s| s.covers).collect();
        assert!(covers.is_sorted() && covers.len() >= 2 && covers[0] < 300, "{stage}: {covers:?}");
        assert!(seen.last().unwrap().last && !seen[0].last && covers.last() == Some(&300), "{stage}");
    }
    // What is shown last is the result itself.
    let sum = notes.of("sum").into_iter().rfind(|s| s.port == "image").unwrap().value;
    let result = report.stages.iter().find(|s| s.name == "sum").unwrap();
    assert_eq!(result.results.get("image"), Some(&sum));
    // Steady: the looks keep their distance, however often frames come.
    let looks: Vec<Instant> = notes.0.lock().unwrap().iter().map(|(at, _)| *at).collect();
    let close = looks.windows(2).filter(|w| w[1] - w[0] < Duration::from_millis(45)).count();
    assert!(close <= 1 && looks.len() <= 100, "{close} of {} looks came too soon", looks.len());
}

/// Gives frames of one pixel at a rate, each the time in seconds at which it was given.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Clock {
    /// How many frames there are.
    frames: u64,
    /// Frames a second.
    rate: f64,
    #[serde(skip)]
    #[schemars(skip)]
    state: Option<(Instant, u64)>,
}

/// What a clock gives.
#[derive(Ports)]
struct Ticks {
    /// The time.
    #[port(dtype = "f64", axes = "y x")]
    image: Array,
}

/// Seconds since the first call.
fn now() -> f64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed().as_secs_f64()
}

impl Stage for Clock {
    type In = ();
    type Out = Ticks;
    fn example() -> Example {
        Example { external: Some("each frame is another time"), ..Example::new("frames = 3\nrate = 1000.0") }
    }
}

impl Source for Clock {
    fn open(&mut self, _: &Cx, (): (), from: Position) -> Result<Opened> {
        self.state = Some((Instant::now(), from.next));
        let shapes = Shapes::default().with("image", Shape::array(Dtype::F64, &[1, 1]));
        Ok(Opened { frames: Some(self.frames), shapes, live: true, ..Opened::default() })
    }

    fn pull(&mut self, _: &Cx, slots: &mut Slots<Ticks>) -> Result<Pull> {
        let Some((begun, next)) = &mut self.state else { return Ok(Pull::End) };
        if *next >= self.frames {
            return Ok(Pull::End);
        }
        let due = Duration::from_secs_f64(*next as f64 / self.rate);
        if begun.elapsed() < due {
            return Ok(Pull::Wait(due - begun.elapsed()));
        }
        slots.put(*next, Ticks { image: Array::of(&[1, 1, 1], &[now()])? })?;
        *next += 1;
        Ok(Pull::Ready)
    }
}
declare!(Source, "toy.clock", Kind::Source, Clock);

/// Notes how old the newest frame of a picture is when it is seen.
struct Ages(Arc<Mutex<Vec<f64>>>);

impl Viewer for Ages {
    fn see(&mut self, news: &[Sight]) {
        let seen = news.iter().filter(|s| s.span.is_frames() || !s.last).filter_map(|s| match &s.value {
            Value::Array(a) => a.to_f64().unwrap().into_iter().reduce(f64::max),
            _ => None,
        });
        self.0.lock().unwrap().extend(seen.map(|time| now() - time));
    }
}

/// From the moment at which a source gives a frame to that at which its picture, and the picture of all frames so far, is
/// on the screen: at the 95th of 100 below 200 ms.
#[test]
fn pictures_are_no_older_than_a_fifth_of_a_second() {
    let text = r#"
isard = "0.1"
name = "aged"
[run]
latency_ms = 20
[stage.clock]
use = "toy.clock"
set = { frames = 1500, rate = 500.0 }
[stage.newest]
use = "image.max"
from = "clock"
"#;
    for stage in ["clock", "newest"] {
        let (folder, ages) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(vec![])));
        let recipe = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
        let (plan, _) = plan::make(&recipe, &Registry::built_in().unwrap()).unwrap_or_else(|f| panic!("{f}"));
        let mut options = Options::new(Out::Folder { path: folder.path().join("out"), overwrite: false });
        let ports = vec![(stage.to_owned(), "image".to_owned())];
        // As the terminal looks.
        let every = Duration::from_millis(80);
        options.view = Some(View { ports, every, viewer: Box::new(Ages(ages.clone())) });
        assert_eq!(run::run(&plan, options).unwrap().outcome, Outcome::Done);
        let mut ages = ages.lock().unwrap().clone();
        ages.sort_by(f64::total_cmp);
        // Fewer where a busy machine makes a look dear: of a stage's time it gets a fiftieth.
        assert!(ages.len() >= 5, "{stage}: {} pictures in three seconds", ages.len());
        let age = ages[ages.len() * 95 / 100];
        eprintln!(
            "pictures of `{stage}`: {:.3} s old at the 95th of 100, {:.3} s at half",
            age,
            ages[ages.len() / 2]
        );
        assert!(age < 0.2, "{stage}: {age} s");
    }
}

#[test]
fn only_named_ports_are_watched() {
    let notes = Notes::default();
    watched(400.0, &[("counts", "counts"), ("lit", "image")], Some(Box::new(notes.clone())));
    assert_eq!((notes.of("detector").len(), notes.of("sum").len()), (0, 0));
    assert!(notes.of("counts").iter().all(|s| s.port == "counts"));
    assert!(!notes.of("lit").is_empty() && !notes.of("counts").is_empty());
}

/// Comes back only when the test is over, if ever.
struct Stuck(std::sync::mpsc::Receiver<()>);

impl Viewer for Stuck {
    fn see(&mut self, _: &[Sight]) {
        let _ = self.0.recv();
    }
}

struct Clumsy;

impl Viewer for Clumsy {
    fn see(&mut self, _: &[Sight]) {
        panic!("dropped the picture");
    }
}

#[test]
fn a_viewer_that_never_returns_slows_nothing_and_changes_no_digest() {
    let (alone, plain) = watched(100.0, &[], None);
    let (hold, wait) = std::sync::mpsc::channel();
    let (stuck, took) = watched(100.0, &[], Some(Box::new(Stuck(wait))));
    drop(hold);
    assert!(took < plain + Duration::from_secs(2), "{took:?}, {plain:?} without a viewer");
    let (clumsy, _) = watched(0.0, &[], Some(Box::new(Clumsy)));
    assert!(alone.content.len() >= 3, "{:?}", alone.content);
    assert_eq!((&alone.content, &alone.content), (&stuck.content, &clumsy.content));
}

#[test]
fn without_a_terminal_a_whole_png_is_replaced_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.toml"), text(100.0)).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
        .args(["run", "r.toml", "--out", "out", "--view"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let path = folder.path().join("out/view.png");
    // Read again and again while the run goes on: half a picture would not decode.
    let mut seen: Vec<Vec<u8>> = vec![];
    while child.try_wait().unwrap().is_none() {
        if let Ok(bytes) = std::fs::read(&path) {
            let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let size = reader.next_frame(&mut pixels).unwrap();
            // Small images are enlarged to some 380 dots.
            assert!(size.width > 380 && size.height > 280, "{} x {}", size.width, size.height);
            assert!(pixels.chunks_exact(3).any(|p| p == [68, 1, 84]), "the low end of the colours is there");
            if seen.last() != Some(&bytes) {
                seen.push(bytes);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(seen.len() >= 2, "{} pictures in three seconds", seen.len());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("view: out/view.png"), "{said}");
    let mut verify = Command::new(env!("CARGO_BIN_EXE_isard"));
    let verify = verify.args(["verify", "out"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(verify.status.code(), Some(0), "{}", String::from_utf8_lossy(&verify.stdout));
}

#[test]
fn ports_that_are_not_there_are_refused_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.toml"), text(0.0)).unwrap();
    for (view, wanted) in [
        ("--view=som.image", "did you mean `sum`?"),
        ("--view=sum.imag", "did you mean `image`?"),
        ("--view=raw", "stage `raw` has no output to view"),
    ] {
        let run = Command::new(env!("CARGO_BIN_EXE_isard"))
            .args(["run", "r.toml", "--out", "out", view])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.code() == Some(2) && said.contains(wanted), "{view}: {said}");
        assert!(!folder.path().join("out").exists());
    }
}
