//! What becomes of frames that come damaged: a gap for every stage, marked bytes for a recorder that can mark.
//!
//! All expected numbers are worked out by hand from what the toy stages do: the pixels of a frame are its number.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::path::Path;

use isard_core::prelude::*;
use isard_core::run::{self, Outcome, Report};
use isard_core::store::{self, RealFiles, Verdict};

use support::{ledger, options, plan, set};

/// A source whose damaged frames look like nothing it has promised.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct Torn {
    /// Whether it says what a frame looks like.
    tells: bool,
    #[serde(skip)]
    #[schemars(skip)]
    next: u64,
}

impl Stage for Torn {
    type In = ();
    type Out = support::analysis::ImageOut;
    fn example() -> Example {
        Example::new("")
    }
}

impl Source for Torn {
    fn open(&mut self, _: &Cx, _: (), from: Position) -> Result<Opened> {
        self.next = from.next;
        let mut shapes = Shapes::default();
        if self.tells {
            shapes = shapes.with("image", Shape::array(Dtype::U16, &[2, 2]));
        }
        Ok(Opened { frames: Some(6), shapes, ..Opened::default() })
    }
    fn pull(&mut self, _: &Cx, slots: &mut Slots<Self::Out>) -> Result<Pull> {
        let n = self.next;
        self.next += 1;
        let frame = |shape: &[usize]| {
            let pixels = vec![n as u16; shape.iter().product()];
            Array::of(shape, &pixels).map(|image| support::analysis::ImageOut { image })
        };
        match n {
            0 => slots.corrupt(n, "torn", Some(frame(&[1, 2, 2])?)),
            // Half of the rows have come.
            3 => slots.corrupt(n, "torn", Some(frame(&[1, 1, 2])?)),
            4 => slots.corrupt(n, "torn", None),
            6.. => return Ok(Pull::End),
            _ => slots.put(n, frame(&[1, 2, 2])?)?,
        }
        Ok(Pull::Ready)
    }
}
declare!(Source, "toy.torn", Kind::Simulator, Torn);

/// Two recorders, one that can mark; a writer beside the lane and one behind a map; a reduction.
fn recipe(source: &str, run: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "record"
        [run]
        {run}
        limits = {{ corrupt = 9 }}
        [stage.frames]
        {source}
        [stage.marks]
        use = "toy.set"
        from = "frames"
        in = {{ image = "frames.image" }}
        set = {{ path = "marks.txt", records = 5 }}
        run = {{ lane = "record" }}
        [stage.cannot]
        use = "toy.lines"
        from = "frames"
        in = {{ image = "frames.image" }}
        set = {{ path = "cannot.txt" }}
        run = {{ lane = "record" }}
        [stage.beside]
        use = "toy.set"
        from = "frames"
        in = {{ image = "frames.image" }}
        set = {{ path = "beside.txt" }}
        [stage.pass]
        use = "toy.pass"
        from = "frames"
        [stage.behind]
        use = "toy.set"
        from = "pass"
        in = {{ image = "pass.image" }}
        set = {{ path = "behind.txt" }}
        run = {{ lane = "record" }}
        [stage.total]
        use = "toy.total"
        from = "frames"
        [out]
        total = "total.total"
        "#
    )
}

const COUNT: &str = "use = \"toy.count\"\nset = { frames = 40, size = 2, corrupt = [0, 7, 8, 39] }";

fn go(text: &str, out: &Path) -> Report {
    let report = run::run(&plan(text), options(out)).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let verdict = store::verify(&RealFiles, out).unwrap();
    assert_eq!(verdict.verdict, Verdict::Good, "{verdict}");
    report
}

/// The lines of a set that are no good frames.
fn odd(out: &Path, path: &str) -> Vec<String> {
    set::lines(out, path).into_iter().filter(|line| !line.starts_with("frame ")).collect()
}

#[test]
fn a_recorder_keeps_damaged_frames_marked_and_nobody_else_sees_them() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let report = go(&recipe(COUNT, "chunk = 4"), &out);
    let marked = [0, 7, 8, 39].map(|n: u64| format!("corrupt {n} {:?}", [n as f64; 4]));
    assert_eq!(odd(&out, "marks.txt"), marked);
    // In order with the good ones: every frame has its line.
    let lines = set::lines(&out, "marks.txt");
    let number = |line: &String| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
    assert!(lines.iter().map(number).eq(0..40), "{lines:?}");
    let gaps = [0, 7, 8, 39].map(|n: u64| format!("gap {n} corrupt"));
    assert_eq!(odd(&out, "beside.txt"), gaps, "outside of the lane");
    assert_eq!(odd(&out, "behind.txt"), gaps, "in the lane, but behind a map");
    let text = std::fs::read_to_string(out.join("cannot.txt.parts/000000")).unwrap();
    let cannot: Vec<&str> = text.lines().filter(|line| !line.starts_with("frame ")).collect();
    assert_eq!(cannot, gaps, "a writer that cannot mark");
    // 4 pixels times the sum of 0..40 without 7, 8 and 39.
    assert_eq!(report.results.get("total"), Some(&Value::Float(4.0 * (780.0 - 54.0))));
    for stage in ["frames", "marks", "cannot", "beside", "behind", "total"] {
        assert_eq!(ledger(&report, stage), "36 of 40 done, 4 corrupt", "{stage}");
    }
}

#[test]
fn digests_tell_marked_bytes_from_gaps_and_from_good_frames() {
    let folder = tempfile::tempdir().unwrap();
    let digests = |name: &str, text: &str| go(text, &folder.path().join(name)).content;
    let wanted = digests("a", &recipe(COUNT, "chunk = 4"));
    let runs = [
        ("b", recipe(COUNT, "chunk = 1")),
        ("c", recipe(COUNT, "chunk = 16\nthreads = 4\ncheckpoint_frames = 7")),
        ("d", recipe(&COUNT.replace("size = 2", "size = 2, rate = 2000.0, live = true"), "chunk = 4")),
        ("e", recipe(&COUNT.replace("size = 2", "size = 2, shuffle = 8"), "chunk = 3\nreorder = 16")),
    ];
    for (name, text) in &runs {
        assert_eq!(digests(name, text), wanted, "{text}");
    }
    assert_ne!(wanted["marks"], wanted["beside"]);
    assert_eq!(wanted["beside"], wanted["cannot"]);
    let good = digests("good", &recipe(&COUNT.replace("0, 7, 8, 39", ""), "chunk = 4"));
    assert!(["marks", "beside", "total"].iter().all(|stage| good[*stage] != wanted[*stage]));
    let other = digests("other", &recipe(&COUNT.replace("0, 7, 8, 39", "0, 7, 9, 39"), "chunk = 4"));
    assert_ne!(other["marks"], wanted["marks"]);
}

#[test]
fn bytes_that_cannot_stand_among_good_frames_are_a_gap_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let whys = |report: &Report| {
        let source = report.stages.iter().find(|s| s.name == "frames").unwrap();
        let reasons = &source.ledger.as_ref().unwrap().reasons;
        reasons.iter().map(|(range, _, why)| (range.start, why.to_string())).collect::<Vec<_>>()
    };
    let out = folder.path().join("tells");
    let report = go(&recipe("use = \"toy.torn\"\nset = { tells = true }", "chunk = 4"), &out);
    assert_eq!(odd(&out, "marks.txt"), ["corrupt 0 [0.0, 0.0, 0.0, 0.0]", "gap 3 corrupt", "gap 4 corrupt"]);
    assert_eq!(ledger(&report, "marks"), "3 of 6 done, 3 corrupt");
    let told = "torn; its bytes are not kept: port `image`: found a frame of shape [1, 2], wanted [2, 2]";
    assert_eq!(whys(&report), [(0, "torn".into()), (3, told.into()), (4, "torn".into())]);
    // Which frames came before must not decide what is kept: a source that promises nothing has gaps only.
    let out = folder.path().join("silent");
    let report = go(&recipe("use = \"toy.torn\"", "chunk = 4"), &out);
    assert_eq!(odd(&out, "marks.txt"), ["gap 0 corrupt", "gap 3 corrupt", "gap 4 corrupt"]);
    assert!(whys(&report)[0].1.contains("wanted one that the source tells when it is opened"));
}
