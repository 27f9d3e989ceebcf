//! `run.per`: instances end as soon as their value can no longer come, so that many values take no more than few.
//!
//! All expected numbers are worked out by hand from what the toy stages do: the pixels of a frame are its number.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use isard_core::prelude::*;
use isard_core::run::{self, Options, Out, Outcome, Report};
use isard_core::span::Ranges;
use isard_core::store::testing::{Fail, FailingFiles, ForgetfulFiles};
use isard_core::store::{self, Files, Verdict};

use support::analysis::ImageIn;
use support::set::Set;

/// Instances that are open now and at most, by the name that a test gave them.
static OPEN: Mutex<BTreeMap<String, (u64, u64)>> = Mutex::new(BTreeMap::new());

/// Counts an instance as open as long as it lives.
struct Guard(String);

impl Guard {
    fn new(name: &str) -> Guard {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = open.entry(name.into()).or_default();
        entry.0 += 1;
        entry.1 = entry.1.max(entry.0);
        Guard(name.into())
    }

    /// How many are open, and how many were at most.
    fn count(name: &str) -> (u64, u64) {
        OPEN.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or_default()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(self.0.clone()).or_default().0 -= 1;
    }
}

/// Sums frames; its answer counts the steps that it took after it had all data: always three.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct Steps {
    /// Under this name open instances are counted.
    name: String,
    #[serde(skip)]
    #[schemars(skip)]
    guard: Option<Guard>,
    #[serde(skip)]
    #[schemars(skip)]
    sum: f64,
    #[serde(skip)]
    #[schemars(skip)]
    steps: i64,
    #[serde(skip)]
    #[schemars(skip)]
    complete: bool,
}

/// What they come to.
#[derive(Ports)]
struct StepsOut {
    /// The sum of all pixels.
    sum: f64,
    /// Steps after the last frame.
    steps: i64,
}

impl Stage for Steps {
    type In = ImageIn;
    type Out = StepsOut;
    fn example() -> Example {
        let pixels: Vec<u16> = (0..40).collect();
        Example::new("").frames("image", Array::of(&[40, 1, 1], &pixels).unwrap()).tolerance("sum", 1e-9)
    }
}

impl Fit for Steps {
    fn absorb(&mut self, _: &Cx, _: &Span, input: ImageIn) -> Result<()> {
        self.guard.get_or_insert_with(|| Guard::new(&self.name));
        self.sum += input.image.to_f64()?.iter().sum::<f64>();
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }
    fn complete(&mut self, _: &Cx) -> Result<()> {
        (self.complete, self.steps) = (true, 0);
        Ok(())
    }
    fn refine(&mut self, _: &Cx, _: &Slice) -> Result<Fitness> {
        self.steps += i64::from(self.complete);
        Ok(Fitness { cost: 1.0, more: self.complete && self.steps < 3 })
    }
    fn snapshot(&self, _: &Cx) -> Result<Option<StepsOut>> {
        Ok(Some(StepsOut { sum: self.sum, steps: self.steps }))
    }
    fn save(&self) -> Result<Dict> {
        Ok(Dict::new().with("sum", self.sum).with("steps", self.steps))
    }
    fn load(&mut self, state: Dict) -> Result<()> {
        self.sum = state.need("sum")?.number().unwrap_or(f64::NAN);
        self.steps = state.need("steps")?.number().unwrap_or(f64::NAN) as i64;
        self.guard = Some(Guard::new(&self.name));
        Ok(())
    }
}
declare!(Fit, "toy.steps", Kind::Fitter, Steps);

/// A set whose open instances are counted.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct Counted {
    /// The master's name.
    path: String,
    /// Under this name open instances are counted.
    name: String,
    #[serde(skip)]
    #[schemars(skip)]
    guard: Option<Guard>,
    #[serde(skip)]
    #[schemars(skip)]
    set: Set,
}

impl Stage for Counted {
    type In = Dict;
    type Out = ();
    fn example() -> Example {
        Set::example()
    }
}

impl Writer for Counted {
    fn open(&mut self, cx: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.guard = Some(Guard::new(&self.name));
        self.set = Set::at(&self.path, 2);
        self.set.open(cx, out, committed)
    }
    fn write(&mut self, cx: &Cx, span: &Span, input: Dict) -> Result<()> {
        self.set.write(cx, span, input)
    }
    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()> {
        self.set.gap(cx, gap)
    }
    fn corrupt(&mut self, cx: &Cx, gap: &Gap, frame: Dict) -> Result<bool> {
        self.set.corrupt(cx, gap, frame)
    }
    fn commit(&mut self, cx: &Cx) -> Result<Dict> {
        self.set.commit(cx)
    }
    fn finish(&mut self, cx: &Cx, covers: &Ranges) -> Result<()> {
        self.set.finish(cx, covers)
    }
}
declare!(Writer, "toy.counted", Kind::Writer, Counted);

/// Frames in `values` groups of `each`, a fit and a writer for every group.
fn recipe(name: &str, axes: &str, run: &str, source: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "ends"
        [run]
        {run}
        limits = {{ missing = 99, corrupt = 99 }}
        [scan]
        axes = [{axes}]
        [stage.frames]
        use = "toy.count"
        set = {{ size = 1, {source} }}
        [stage.fit]
        use = "toy.steps"
        from = "frames"
        set = {{ name = "{name}.fit" }}
        run = {{ per = "layer" }}
        [stage.save]
        use = "toy.counted"
        from = "frames"
        in = {{ image = "frames.image" }}
        set = {{ path = "layer_{{per}}.txt", name = "{name}.save" }}
        run = {{ per = "layer", lane = "record" }}
        [stage.blobs]
        use = "toy.blobs"
        from = "frames"
        set = {{ dark = 7 }}
        run = {{ per = "layer" }}
        [stage.window]
        use = "toy.window"
        from = "frames"
        set = {{ window = 3 }}
        [stage.behind]
        use = "toy.counted"
        from = "window"
        in = {{ image = "window.image" }}
        set = {{ path = "behind_{{per}}.txt", name = "{name}.behind" }}
        run = {{ per = "layer" }}
        [out]
        sum = "fit.sum"
        steps = "fit.steps"
        "#
    )
}

const SLOW: &str = r#"{ name = "layer", n = 200 }, { name = "omega", n = 4 }"#;
const FAST: &str = r#"{ name = "omega", n = 4 }, { name = "layer", n = 200 }"#;

fn options(files: Arc<dyn Files>) -> Options {
    let mut options = Options::new(Out::Folder { path: "/out".into(), overwrite: true });
    options.files = files;
    options
}

fn numbers(report: &Report, name: &str) -> Vec<f64> {
    match report.results.need(name).unwrap() {
        Value::Array(array) => array.to_f64().unwrap(),
        other => panic!("`{name}` is {}", other.describe()),
    }
}

/// The frame numbers in the file of a value, and the kinds of their lines.
fn lines(files: &dyn Files, path: &str) -> Vec<String> {
    let parts = Path::new("/out").join(format!("{path}.parts"));
    let mut all = vec![];
    for entry in files.list(&parts).unwrap() {
        let bytes = files.read(&parts.join(&entry.name)).unwrap();
        assert_eq!(support::set::fault(&bytes), None, "{}", entry.name);
        let text = String::from_utf8(bytes).unwrap();
        all.extend(text.lines().skip(1).map(|l| l.split(' ').take(2).collect::<Vec<_>>().join(" ")));
    }
    all
}

fn go(text: &str) -> (Report, Arc<ForgetfulFiles>) {
    let files = Arc::new(ForgetfulFiles::new());
    let report = run::run(&support::plan(text), options(files.clone())).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let verdict = store::verify(&*files, Path::new("/out")).unwrap();
    assert_eq!(verdict.verdict, Verdict::Good, "{verdict}");
    (report, files)
}

#[test]
fn two_hundred_values_take_few_instances_at_once() {
    // Layer 9 loses all its frames, layer 8 its first and last, layer 3 has a damaged one.
    let source = "frames = 800, lose = [32, 35, 36, 37, 38, 39], corrupt = [13]";
    let (report, files) = go(&recipe("slow", SLOW, "chunk = 16", source));
    let sum =
        |layer: u64| (4 * layer..4 * layer + 4).filter(|n| ![13, 32, 35].contains(n)).sum::<u64>() as f64;
    for (layer, (found, steps)) in
        numbers(&report, "sum").into_iter().zip(numbers(&report, "steps")).enumerate()
    {
        match layer {
            9 => assert!(found.is_nan() && steps == 0.0, "{found} {steps}"),
            _ => assert_eq!((found, steps), (sum(layer as u64), 3.0), "layer {layer}"),
        }
    }
    for layer in 0..200 {
        let frames = 4 * layer..4 * layer + 4;
        let kind = |n| match n {
            32 | 35..=39 => format!("gap {n}"),
            13 => format!("corrupt {n}"),
            _ => format!("frame {n}"),
        };
        let wanted: Vec<String> = frames.map(kind).collect();
        assert_eq!(lines(&*files, &format!("layer_{layer:03}.txt")), wanted);
    }
    // A chunk of 16 frames holds four values, and a fit takes chunks whole.
    for (stage, limit) in [("fit", 5), ("save", 2)] {
        let (now, most) = Guard::count(&format!("slow.{stage}"));
        assert!(now == 0 && (1..=limit).contains(&most), "{stage}: {most} at once, {now} left");
    }
    // A window that wraps around gives the first frame last, and gaps as they come: layers 0, 3, 8 and 9 wait.
    let (now, most) = Guard::count("slow.behind");
    assert!(now == 0 && (1..=6).contains(&most), "{most} at once");
    let mut behind = lines(&*files, "behind_000.txt");
    assert_eq!(behind, ["frame 1", "frame 2", "frame 3", "frame 0"]);
    behind = lines(&*files, "behind_008.txt");
    assert_eq!(behind, ["gap 32", "frame 33", "gap 35", "frame 34"]);
}

#[test]
fn values_that_take_turns_stay_until_their_last_frame() {
    let (report, files) = go(&recipe("fast", FAST, "chunk = 16", "frames = 800"));
    // n + (n + 200) + (n + 400) + (n + 600).
    let wanted: Vec<f64> = (0..200).map(|n| f64::from(4 * n + 1200)).collect();
    assert_eq!(numbers(&report, "sum"), wanted);
    assert_eq!(numbers(&report, "steps"), [3.0; 200]);
    assert_eq!(lines(&*files, "layer_007.txt"), [7, 207, 407, 607].map(|n| format!("frame {n}")));
    assert_eq!(Guard::count("fast.fit"), (0, 200));
}

#[test]
fn chunks_threads_and_a_detector_change_no_digest() {
    for axes in [SLOW, FAST] {
        let source = "frames = 800, lose = [32, 35], corrupt = [13]";
        let wanted = go(&recipe("same", axes, "chunk = 16", source)).0.content;
        for run in ["chunk = 1", "chunk = 7\nthreads = 1", "chunk = 64\nthreads = 4\ncheckpoint_frames = 50"]
        {
            assert_eq!(go(&recipe("same", axes, run, source)).0.content, wanted, "{axes} {run}");
        }
        let live = format!("{source}, live = true, rate = 4000.0");
        assert_eq!(go(&recipe("same", axes, "chunk = 4", &live)).0.content, wanted, "{axes} live");
    }
}

/// What a run that was cut off and resumed must share with one that nobody disturbs.
fn answer(report: &Report, files: &dyn Files) -> String {
    let verdict = store::verify(files, Path::new("/out")).unwrap();
    assert_eq!(verdict.verdict, Verdict::Good, "{verdict}");
    let all = (0..12).flat_map(|n| {
        [lines(files, &format!("layer_{n:02}.txt")), lines(files, &format!("behind_{n:02}.txt"))]
    });
    format!("{:?} {:?} {:?}", report.content, report.results, all.collect::<Vec<_>>())
}

#[test]
fn a_run_cut_off_between_two_values_is_resumed_to_the_same_answer() {
    let axes = r#"{ name = "layer", n = 12 }, { name = "omega", n = 6 }"#;
    let text = recipe(
        "cut",
        axes,
        "chunk = 4\ncheckpoint_frames = 9\nthreads = 2",
        "frames = 72, lose = [20], corrupt = [31], rate = 600.0",
    );
    let (report, files) = go(&text);
    let wanted = answer(&report, &*files);
    let counting = Arc::new(FailingFiles::new(Arc::new(ForgetfulFiles::new()), Fail::Never));
    run::run(&support::plan(&text), options(counting.clone())).unwrap();
    let (operations, tries) = (counting.calls().len() as u64, 24);
    let (mut cut, mut stopped) = (0, 0);
    for i in 0..tries {
        let disk = Arc::new(ForgetfulFiles::new());
        let at = i * operations / tries;
        let mut report = if i % 2 == 0 {
            // The power fails.
            let files = Arc::new(FailingFiles::new(disk.clone(), Fail::Stop(at)));
            let ended = run::run(&support::plan(&text), options(files));
            disk.crash(i);
            cut += 1;
            ended.ok()
        } else {
            let stop = Arc::new(AtomicBool::new(false));
            let flag = stop.clone();
            let files = FailingFiles::new(disk.clone(), Fail::Never)
                .watched(move |n, _, _| flag.store(n >= at, Ordering::Relaxed));
            let mut options = options(Arc::new(files));
            options.stop = stop;
            run::run(&support::plan(&text), options).ok()
        };
        if report.as_ref().is_none_or(|r| r.outcome != Outcome::Done) {
            stopped += u64::from(i % 2 == 1);
            let (plan, options) = (support::plan(&text), options(disk.clone()));
            let begun = disk.exists(Path::new("/out/.isard")).unwrap();
            report =
                Some(if begun { run::resume(&plan, options) } else { run::run(&plan, options) }.unwrap());
        }
        let report = report.unwrap();
        assert_eq!(report.outcome, Outcome::Done, "{i}: {:?}", report.outcome.message());
        assert_eq!(answer(&report, &*disk), wanted, "{i} of {tries}");
    }
    assert!(cut == tries / 2 && stopped > 0, "{cut} cut off, {stopped} stopped");
}
