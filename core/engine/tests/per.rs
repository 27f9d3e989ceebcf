//! `run.per`: one instance of a stage for each value of a scan axis.
//!
//! All expected numbers are worked out by hand from what the toy stages do: the pixels of a frame are its number.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use isard_core::plan;
use isard_core::prelude::*;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome, Report};
use isard_core::store::testing::{Fail, FailingFiles, ForgetfulFiles};
use isard_core::store::{self, Files, Verdict};

use support::set;

/// Counting frames whose scan axes come from the source itself.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct Scan {
    /// Layers.
    layers: u64,
    /// Frames to a layer.
    frames: u64,
    #[serde(skip)]
    #[schemars(skip)]
    next: u64,
}

impl Stage for Scan {
    type In = ();
    type Out = support::analysis::ImageOut;
    fn example() -> Example {
        Example::new("layers = 2\nframes = 5")
    }
}

impl Source for Scan {
    fn open(&mut self, _: &Cx, _: (), from: Position) -> Result<Opened> {
        self.next = from.next;
        let scan = vec![("layer".to_owned(), self.layers), ("omega".to_owned(), self.frames)];
        Ok(Opened { scan, ..Opened::default() })
    }
    fn pull(&mut self, _: &Cx, slots: &mut Slots<Self::Out>) -> Result<Pull> {
        for _ in 0..slots.room() {
            if self.next == self.layers * self.frames {
                return Ok(Pull::End);
            }
            let image = Array::of(&[1, 1, 1], &[self.next as u16])?;
            slots.put(self.next, support::analysis::ImageOut { image })?;
            self.next += 1;
        }
        Ok(Pull::Ready)
    }
}
declare!(Source, "toy.scan", Kind::Simulator, Scan);

/// The difference to the frame it took before; frames leave late, in uneven groups.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Step {
    /// Frames held back.
    lag: u64,
    #[serde(skip)]
    #[schemars(skip)]
    held: Vec<(u64, f64)>,
    #[serde(skip)]
    #[schemars(skip)]
    before: f64,
}

impl Step {
    fn let_go(&mut self, keep: usize, emit: &mut Emit<StepOut>) {
        while self.held.len() > keep {
            let (n, mean) = self.held.remove(0);
            emit.put(Span::frames(n, 1), StepOut { step: Array::from_slice(&[mean - self.before]) });
            self.before = mean;
        }
    }
}

/// A difference.
#[derive(Ports)]
struct StepOut {
    /// To the frame before.
    #[port(dtype = "f64", axes = "")]
    step: Array,
}

impl Stage for Step {
    type In = support::analysis::ImageIn;
    type Out = StepOut;
    fn example() -> Example {
        let pixels: Vec<u16> = (0..40).collect();
        Example::new("lag = 3").frames("image", Array::of(&[40, 1, 1], &pixels).unwrap())
    }
}

impl Fold for Step {
    fn lag(&self) -> Lag {
        Lag::Kept { lag: self.lag }
    }
    fn push(&mut self, _: &Cx, span: &Span, input: Self::In, emit: &mut Emit<StepOut>) -> Result<()> {
        for (i, n) in span.range().enumerate() {
            self.held.push((n, input.image.record(i)?.to_f64()?[0]));
            // Frames whose number is a multiple of three let all before them go: values fall out of step.
            let keep = if n % 3 == 0 { 0 } else { self.lag as usize };
            self.let_go(keep, emit);
        }
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap, _: &mut Emit<StepOut>) -> Result<()> {
        Ok(())
    }
    fn finish(&mut self, _: &Cx, emit: &mut Emit<StepOut>) -> Result<()> {
        self.let_go(0, emit);
        Ok(())
    }
    fn save(&self) -> Result<Dict> {
        let (n, x): (Vec<u64>, Vec<f64>) = self.held.iter().copied().unzip();
        let state = Dict::new().with("n", Array::from_slice(&n)).with("x", Array::from_slice(&x));
        Ok(state.with("before", self.before))
    }
    fn load(&mut self, state: Dict) -> Result<()> {
        let (Value::Array(n), Value::Array(x)) = (state.need("n")?, state.need("x")?) else {
            return Err(Error::data("no arrays"));
        };
        self.held = n.as_slice::<u64>()?.iter().copied().zip(x.as_slice::<f64>()?.iter().copied()).collect();
        self.before = state.need("before")?.number().unwrap_or(0.0);
        Ok(())
    }
}
declare!(Fold, "toy.step", Kind::Reducer, Step);

/// Two distances of twenty frames each, in the order of axes that is asked for.
fn recipe(axes: &str, run: &str, source: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "per"
        [run]
        {run}
        [scan]
        axes = [{axes}]
        [stage.frames]
        use = "toy.count"
        set = {{ frames = 40, size = 4, {source} }}
        [stage.total]
        use = "toy.total"
        from = "frames"
        run = {{ per = "distance" }}
        [stage.line]
        use = "toy.line"
        from = "frames"
        run = {{ per = "distance" }}
        [stage.blobs]
        use = "toy.blobs"
        from = "frames"
        set = {{ dark = 7 }}
        run = {{ per = "distance" }}
        [stage.save_blobs]
        use = "toy.set"
        from = "blobs"
        set = {{ path = "blobs.txt", records = 2 }}
        [stage.window]
        use = "toy.window"
        from = "frames"
        set = {{ window = 5 }}
        run = {{ per = "distance" }}
        [stage.step]
        use = "toy.step"
        from = "frames"
        set = {{ lag = 4 }}
        run = {{ per = "distance" }}
        [stage.save_step]
        use = "toy.set"
        from = "step"
        set = {{ path = "step.txt" }}
        [stage.save]
        use = "toy.set"
        from = "frames"
        in = {{ image = "frames.image" }}
        set = {{ path = "frames_{{per}}.txt", records = 6 }}
        run = {{ per = "distance" }}
        [out]
        total = "total.total"
        frames = "total.frames"
        bright = "total.bright"
        slope = "line.slope"
        used = "line.used"
        blobs = "blobs.blobs"
        of = "blobs.distance"
        window = "window.image"
        step = "step.step"
        "#
    )
}

const SLOWEST: &str = r#"{ name = "distance", n = 2 }, { name = "omega", n = 20 }"#;
const FASTEST: &str = r#"{ name = "omega", n = 20 }, { name = "distance", n = 2 }"#;
const BETWEEN: &str = r#"{ name = "y", n = 4 }, { name = "distance", n = 2 }, { name = "x", n = 5 }"#;

fn options(out: &Path, files: Arc<dyn Files>) -> Options {
    let mut options = Options::new(Out::Folder { path: out.to_owned(), overwrite: true });
    options.files = files;
    options
}

fn numbers(report: &Report, name: &str) -> Vec<f64> {
    match report.results.need(name).unwrap() {
        Value::Array(array) => array.to_f64().unwrap(),
        other => panic!("`{name}` is {}", other.describe()),
    }
}

fn table(report: &Report, name: &str) -> Table {
    match report.results.need(name).unwrap() {
        Value::Table(table) => table.clone(),
        other => panic!("`{name}` is {}", other.describe()),
    }
}

/// The lines that a writer of one value left, without the digests of their values.
fn lines(files: &dyn Files, path: &str) -> Vec<String> {
    let parts = Path::new("/out").join(format!("{path}.parts"));
    let mut all = vec![];
    for entry in files.list(&parts).unwrap() {
        let bytes = files.read(&parts.join(&entry.name)).unwrap();
        assert_eq!(set::fault(&bytes), None, "{}", entry.name);
        let text = String::from_utf8(bytes).unwrap();
        all.extend(text.lines().skip(1).map(|l| l.split(' ').take(2).collect::<Vec<_>>().join(" ")));
    }
    all
}

fn go(text: &str) -> (Report, Arc<ForgetfulFiles>) {
    let files = Arc::new(ForgetfulFiles::new());
    let report = run::run(&support::plan(text), options(Path::new("/out"), files.clone())).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    (report, files)
}

fn frames(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("frame {n}")).collect()
}

#[test]
fn the_slowest_axis_parts_the_frames_into_runs() {
    let (report, files) = go(&recipe(SLOWEST, "", ""));
    // 16 pixels times the sum of 0..20 and of 20..40.
    assert_eq!(numbers(&report, "total"), [16.0 * 190.0, 16.0 * 590.0]);
    assert_eq!(numbers(&report, "frames"), [20.0, 20.0]);
    // Frames above the mean of their own distance, 9.5 and 29.5.
    let bright = table(&report, "bright");
    assert_eq!(bright.names().collect::<Vec<_>>(), ["distance", "number"]);
    let wanted: Vec<u64> = (10..20).chain(30..40).collect();
    assert_eq!(bright.numbers::<u64>("number").unwrap(), wanted);
    assert_eq!(bright.numbers::<u64>("distance").unwrap(), [[0u64; 10], [1; 10]].concat());
    assert_eq!(numbers(&report, "slope"), [1.0, 1.0]);
    assert_eq!(numbers(&report, "used"), [20.0, 20.0]);
    // Frames 15 to 20 would be one blob if the second distance did not begin at 20.
    let blobs = table(&report, "blobs");
    assert_eq!(blobs.names().collect::<Vec<_>>(), ["distance", "first", "length", "frames"]);
    assert_eq!(blobs.numbers::<u64>("first").unwrap(), [1, 8, 15, 20, 22, 29, 36]);
    assert_eq!(blobs.numbers::<u64>("length").unwrap(), [6, 6, 5, 1, 6, 6, 4]);
    assert_eq!(blobs.numbers::<u64>("distance").unwrap(), [0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(numbers(&report, "of"), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(lines(&*files, "frames_0.txt"), frames(0..20));
    assert_eq!(lines(&*files, "frames_1.txt"), frames(20..40));
    // Each begins with itself; those behind differ by one from the frame before.
    let steps: Vec<f64> = (0..40).map(|n| if n == 0 || n == 20 { f64::from(n) } else { 1.0 }).collect();
    assert_eq!(numbers(&report, "step"), steps);
    assert_eq!(lines(&*files, "step.txt"), frames(0..40));
}

#[test]
fn an_axis_that_is_not_the_slowest_takes_turns() {
    let (report, files) = go(&recipe(FASTEST, "", ""));
    // 16 pixels times the sum of the even and of the odd numbers below 40.
    assert_eq!(numbers(&report, "total"), [16.0 * 380.0, 16.0 * 400.0]);
    assert_eq!(numbers(&report, "used"), [20.0, 20.0]);
    assert_eq!(numbers(&report, "slope"), [1.0, 1.0]);
    // Even frames are dark at 0, 14, 28, odd ones at 7, 21, 35; blobs come in the order they end.
    let blobs = table(&report, "blobs");
    assert_eq!(blobs.numbers::<u64>("first").unwrap(), [1, 2, 9, 16, 23, 30, 37]);
    assert_eq!(blobs.numbers::<u64>("length").unwrap(), [3, 6, 6, 6, 6, 5, 2]);
    assert_eq!(blobs.numbers::<u64>("distance").unwrap(), [1, 0, 1, 0, 1, 0, 1]);
    assert_eq!(lines(&*files, "frames_0.txt"), frames((0..40).step_by(2)));
    assert_eq!(lines(&*files, "frames_1.txt"), frames((1..40).step_by(2)));
    // Frames leave in their order, though the instances let them go out of step.
    assert_eq!(lines(&*files, "step.txt"), frames(0..40));
    let steps: Vec<f64> = (0..40).map(|n| if n < 2 { f64::from(n) } else { 2.0 }).collect();
    assert_eq!(numbers(&report, "step"), steps);
    let (report, files) = go(&recipe(BETWEEN, "", ""));
    // Frames 0-4, 10-14, 20-24, 30-34 against the others.
    assert_eq!(numbers(&report, "total"), [16.0 * 340.0, 16.0 * 440.0]);
    assert_eq!(lines(&*files, "frames_1.txt"), frames((0..40).filter(|n| n / 5 % 2 == 1)));
}

#[test]
fn chunks_and_threads_change_no_digest() {
    for axes in [SLOWEST, FASTEST, BETWEEN] {
        let wanted = go(&recipe(axes, "chunk = 16", "")).0.content;
        assert_eq!(wanted.len(), 8, "{wanted:?}");
        for run in ["chunk = 1", "chunk = 3\nthreads = 1", "chunk = 16\nthreads = 4", "checkpoint_frames = 5"]
        {
            assert_eq!(go(&recipe(axes, run, "")).0.content, wanted, "{axes} {run}");
        }
        assert_eq!(go(&recipe(axes, "reorder = 16", "shuffle = 8")).0.content, wanted, "{axes}");
    }
}

/// What a stopped and resumed run must share with one that nobody disturbs.
fn answer(report: &Report, files: &dyn Files) -> String {
    let verdict = store::verify(files, Path::new("/out")).unwrap();
    assert_eq!(verdict.verdict, Verdict::Good, "{verdict}");
    let lines = ["frames_0.txt", "frames_1.txt", "blobs.txt", "step.txt"].map(|path| lines(files, path));
    format!("{:?} {:?} {lines:?}", report.content, report.results)
}

#[test]
fn a_stopped_run_is_resumed_to_the_same_answer() {
    for axes in [SLOWEST, FASTEST] {
        let text = recipe(axes, "chunk = 3\ncheckpoint_frames = 6\nthreads = 2", "rate = 400.0");
        let (report, files) = go(&text);
        let wanted = answer(&report, &*files);
        let counting = Arc::new(FailingFiles::new(Arc::new(ForgetfulFiles::new()), Fail::Never));
        run::run(&support::plan(&text), options(Path::new("/out"), counting.clone())).unwrap();
        let (operations, tries) = (counting.calls().len() as u64, 8);
        let mut stopped = 0;
        for i in 0..tries {
            let disk = Arc::new(ForgetfulFiles::new());
            let stop = Arc::new(AtomicBool::new(false));
            let (flag, at) = (stop.clone(), i * operations / tries);
            let watched = FailingFiles::new(disk.clone(), Fail::Never)
                .watched(move |n, _, _| flag.store(n >= at, Ordering::Relaxed));
            let mut options = options(Path::new("/out"), Arc::new(watched));
            options.stop = stop;
            let mut report = run::run(&support::plan(&text), options).unwrap();
            if report.outcome != Outcome::Done {
                assert_eq!(report.outcome, Outcome::Stopped, "{:?}", report.outcome.message());
                stopped += 1;
                report = run::resume(&support::plan(&text), self::options(Path::new("/out"), disk.clone()))
                    .unwrap();
            }
            assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
            assert_eq!(answer(&report, &*disk), wanted, "stop {i} of {tries}, {axes}");
        }
        assert!(stopped >= tries / 2, "{stopped} of {tries} runs were stopped at all");
    }
}

/// What was logged by all tests of this process.
static LOG: Mutex<Vec<u8>> = Mutex::new(vec![]);

struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_value_without_frames_is_blank_and_said_to_be() {
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).finish();
    tracing_subscriber::util::SubscriberInitExt::try_init(subscriber).unwrap();
    let lost: Vec<String> = (20..40).map(|n| n.to_string()).collect();
    let (limits, lose) = ("limits = { missing = 20 }", format!("lose = [{}]", lost.join(", ")));
    let (report, files) = go(&recipe(SLOWEST, limits, &lose));
    let total = numbers(&report, "total");
    assert!(total[0] == 3040.0 && total[1].is_nan(), "{total:?}");
    assert_eq!(numbers(&report, "frames"), [20.0, 0.0]);
    assert!(numbers(&report, "slope")[1].is_nan());
    assert_eq!(table(&report, "bright").numbers::<u64>("distance").unwrap(), [0; 10]);
    assert_eq!(table(&report, "blobs").numbers::<u64>("distance").unwrap(), [0, 0, 0]);
    // The writer of that distance tells of every frame that it lost.
    let gaps: Vec<String> = (20..40).map(|n| format!("gap {n}")).collect();
    assert_eq!(lines(&*files, "frames_1.txt"), gaps);
    let log = String::from_utf8(LOG.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap();
    for stage in ["total", "line", "blobs", "window", "step", "save"] {
        let told = log.lines().any(|line| {
            line.contains("No frames came for some values of the axis")
                && line.contains(&format!("stage={stage} "))
        });
        assert!(told, "{stage}: {log}");
    }
}

#[test]
fn the_axes_of_a_source_serve_later_passes_too() {
    let text = r#"
        isard = "0.1"
        [pass.first]
        [pass.second]
        [stage.frames]
        use = "toy.scan"
        set = { layers = 3, frames = 4 }
        [stage.pass]
        use = "toy.pass"
        from = "frames"
        [stage.total]
        use = "toy.total"
        from = "pass"
        run = { per = "layer" }
        [stage.again]
        use = "toy.total"
        from = "first.pass"
        run = { per = "layer", pass = "second" }
        [out]
        total = "first.total.total"
        again = "again.total"
    "#;
    let (report, _) = go(text);
    // Four frames to a layer: 0+1+2+3, 4+5+6+7, 8+9+10+11.
    assert_eq!(numbers(&report, "total"), [6.0, 22.0, 38.0]);
    assert_eq!(numbers(&report, "again"), [6.0, 22.0, 38.0]);
    let wrong = text.replace("per = \"layer\" }", "per = \"leyer\" }");
    let files = Arc::new(ForgetfulFiles::new());
    let report = run::run(&support::plan(&wrong), options(Path::new("/out"), files));
    let message = match report {
        Ok(report) => report.outcome.message().unwrap_or_default().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(message.contains("the scan has no axis `leyer`, found `layer`, `omega`"), "{message}");
    assert!(message.contains("did you mean `layer`?"), "{message}");
}

#[test]
fn what_an_axis_in_front_does_to_ports_is_checked_before_the_run() {
    let faults = |text: &str| {
        let recipe = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|f| panic!("{f}"));
        plan::make(&recipe, &Registry::built_in().unwrap()).err().map_or(vec![], |faults| faults.codes())
    };
    let snapshots = recipe(SLOWEST, "", "").replace(
        "set = { path = \"blobs.txt\", records = 2 }",
        "set = { path = \"b{per}.txt\" }\nrun = { per = \"distance\" }",
    );
    assert_eq!(faults(&snapshots), ["E0141"]);
    // The axis would be a second column of the same name.
    let taken = recipe(SLOWEST, "", "").replace("of = \"blobs.distance\"", "").replace("distance", "first");
    assert_eq!(faults(&taken), ["E0142"]);
    // The slopes of all distances are no single centre.
    let grid = "[stage.grid]\nuse = \"toy.grid\"\nfrom = \"line\"\nset = { step = 1.0 }\nin = { centre = \"line.slope\" }\n[out]";
    assert_eq!(faults(&recipe(SLOWEST, "", "").replace("[out]", grid)), ["E0134"]);
}
