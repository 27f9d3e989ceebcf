//! Stages that fail, panic, return nonsense or hang, in every role: the error names them, what was committed stays.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isard_core::Blame;
use isard_core::prelude::*;
use isard_core::run::{self, Outcome, Report};
use isard_core::span::Ranges;
use isard_core::store::{self, RealFiles, Verdict};
use rustix::process::{Pid, Signal, kill_process};

use support::moody::CURED;
use support::{options, plan, set};

/// A recorder beside one stage that misbehaves at frame 66, with checkpoints every 16 frames.
fn recipe(stage: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "misbehave"
        [run]
        chunk = 4
        checkpoint_frames = 16
        checkpoint_s = 0.0
        hang_s = 1.0
        threads = 2
        [stage.frames]
        use = "toy.count"
        set = {{ frames = 120, rate = 4000.0 }}
        [stage.record]
        use = "toy.set"
        from = "frames"
        set = {{ path = "raw.txt", records = 8 }}
        run = {{ lane = "record" }}
        {stage}
        "#
    )
}

/// The stage `bad` in each role, with each operation that may go wrong.
fn cases() -> Vec<(&'static str, String)> {
    let mut cases = vec![];
    let mut add = |what: &'static str, stage: String| cases.push((what, stage));
    add("apply", "[stage.bad]\nuse = \"moody.map\"\nfrom = \"frames\"".into());
    add(
        "apply",
        "[stage.first]\nuse = \"toy.pass\"\nfrom = \"frames\"\n[stage.bad]\nuse = \"moody.map\"\nfrom = \"first\"\n\
         [stage.last]\nuse = \"toy.pass\"\nfrom = \"bad\"\n"
            .into(),
    );
    for op in ["push", "finish", "save"] {
        add(op, format!("[stage.bad]\nuse = \"moody.fold\"\nfrom = \"frames\"\nset = {{ op = \"{op}\" }}"));
    }
    for op in ["add", "merge", "finish", "save"] {
        add(op, format!("[stage.bad]\nuse = \"moody.reduce\"\nfrom = \"frames\"\nset = {{ op = \"{op}\" }}"));
    }
    for op in ["absorb", "refine", "snapshot", "save"] {
        add(op, format!("[stage.bad]\nuse = \"moody.fit\"\nfrom = \"frames\"\nset = {{ op = \"{op}\" }}"));
    }
    for op in ["open", "write", "commit", "finish"] {
        let path = "path = \"bad.txt\", ";
        add(
            op,
            format!(
                "[stage.bad]\nuse = \"moody.writer\"\nfrom = \"frames\"\nset = {{ {path}op = \"{op}\" }}"
            ),
        );
    }
    for op in ["open", "pull"] {
        add(op, format!("[stage.bad]\nuse = \"moody.source\"\nset = {{ op = \"{op}\" }}"));
    }
    add("run", "[stage.bad]\nuse = \"moody.task\"".into());
    add(
        "run",
        "[stage.sum]\nuse = \"toy.total\"\nfrom = \"frames\"\n[stage.bad]\nuse = \"moody.task\"\nfrom = \"sum\"\n\
         in = { value = \"sum.total\" }"
            .into(),
    );
    let total = "[stage.total]\nuse = \"toy.total\"\nfrom = \"frames\"\n";
    add("run", format!("{total}[stage.bad]\nuse = \"moody.task\"\nin = {{ value = \"total.total\" }}"));
    cases
}

/// With a mood put into the stage; the mood is not in the recipe, so that the cured run has the same one.
fn failed(text: &str, out: &Path, mood: &str) -> (Outcome, Duration) {
    CURED.set(mood);
    let begun = Instant::now();
    let outcome = match run::run(&plan(text), options(out)) {
        Ok(report) => report.outcome,
        Err(error) => Outcome::Failed(error),
    };
    (outcome, begun.elapsed())
}

fn resumed(text: &str, out: &Path) -> Report {
    CURED.set("good");
    run::resume(&plan(text), options(out)).unwrap()
}

fn whole(report: &Report, out: &Path, what: &str) {
    assert_eq!(report.outcome, Outcome::Done, "{what}: {:?}", report.outcome.message());
    let verdict = store::verify(&RealFiles, out).unwrap();
    assert_eq!(verdict.verdict, Verdict::Good, "{what}: {verdict}");
    let raw = set::lines(out, "raw.txt");
    // Behind a number comes the digest of the pixels.
    let frames: Vec<String> = (0..120).map(|n| format!("frame {n} ")).collect();
    assert!(raw.len() == 120 && raw.iter().zip(&frames).all(|(a, b)| a.starts_with(b.as_str())), "{what}");
}

/// One mood in every place: named, nothing committed lost, cured on resume with the content of an undisturbed run.
fn check(mood: &str, blame: &[Blame]) {
    for (what, stage) in cases() {
        // A wrong value can only come from what returns values.
        let gives = ["apply", "push", "snapshot", "pull", "run"].contains(&what)
            || (what == "finish" && stage.contains("reduce"));
        if ["shape", "dtype", "missing"].contains(&mood) && !gives {
            continue;
        }
        // Each hang takes more than a second: one operation of each role, unless there is time.
        let quick = ["apply", "push", "merge", "refine", "commit", "open", "run", "pull"].contains(&what);
        if mood == "hang" && !quick && std::env::var("ISARD_SLOW").is_err() {
            continue;
        }
        let text = recipe(&stage);
        let folder = tempfile::tempdir().unwrap();
        let label = format!("{mood} in {what} of {stage}");
        let calm = folder.path().join("calm");
        CURED.set("good");
        let wanted = run::run(&plan(&text), options(&calm)).unwrap();
        assert_eq!(wanted.outcome, Outcome::Done, "{label}: {:?}", wanted.outcome.message());

        let out = folder.path().join("out");
        let (outcome, took) = failed(&text, &out, mood);
        let Outcome::Failed(error) = &outcome else { panic!("{label}: {outcome:?}") };
        let said = error.to_string();
        assert!(said.contains("stage `bad`"), "{label}: {said}");
        assert!(blame.contains(&error.blame()), "{label}: {error:?}");
        if ["apply", "push", "add", "absorb", "write"].contains(&what) {
            assert!(said.contains("64..68"), "{label}: {said}");
        }
        match mood {
            "error" => assert!(said.contains("a bad day"), "{label}: {said}"),
            "panic" => {
                assert!(said.contains("panicked") && said.contains("a very bad day"), "{label}: {said}")
            }
            "hang" => assert!(said.contains("hangs") && said.contains(what), "{label}: {said}"),
            _ => {
                let port = if ["apply", "push", "pull"].contains(&what) { "image" } else { "sum" };
                for word in [&format!("port `{port}`"), "found", "wanted"] {
                    assert!(said.contains(word), "{label}: no {word} in: {said}");
                }
            }
        }
        assert!(took < Duration::from_secs(8), "{label}: {took:?}");
        if out.join("run.json").exists() {
            let verdict = store::verify(&RealFiles, &out).unwrap();
            assert!(verdict.is_good(), "{label}: {verdict}");
        }
        let report = resumed(&text, &out);
        whole(&report, &out, &label);
        assert_eq!(report.content, wanted.content, "{label}");
    }
}

/// The moods are one setting of the process: one test takes them in turn.
#[test]
fn every_role_and_operation_may_fail_or_panic() {
    check("error", &[Blame::Data]);
    check("panic", &[Blame::Plugin]);
    check("shape", &[Blame::Plugin]);
    check("dtype", &[Blame::Plugin]);
    check("missing", &[Blame::Plugin]);
    check("hang", &[Blame::Plugin]);
}

/// A task that takes its time, piece by piece.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pieces {
    /// How many.
    pieces: u32,
    /// Seconds for each.
    seconds: f64,
}

/// How many pieces were done.
#[derive(Ports)]
struct PiecesOut {
    /// Their number.
    done: i64,
}

impl Stage for Pieces {
    type In = ();
    type Out = PiecesOut;
    fn example() -> Example {
        Example::new("pieces = 1\nseconds = 0.0")
    }
}

impl Task for Pieces {
    fn run(&mut self, cx: &Cx, _: ()) -> isard_core::Result<PiecesOut> {
        cx.par(self.pieces as usize, |_| {
            println!("at work");
            // A long sleep would end while the process is stopped; many short ones go on behind it.
            (0..(100.0 * self.seconds) as u32).for_each(|_| std::thread::sleep(Duration::from_millis(10)));
            Ok(())
        })?;
        Ok(PiecesOut { done: self.pieces.into() })
    }
}
declare!(Task, "slow.pieces", Kind::Tool, Pieces);

#[test]
fn a_call_that_does_pieces_does_not_hang() {
    let recipe = |pieces: u32, seconds: f64| {
        format!(
            r#"
            isard = "0.1"
            name = "pieces"
            [run]
            hang_s = 1.0
            threads = 2
            [stage.slow]
            use = "slow.pieces"
            set = {{ pieces = {pieces}, seconds = {seconds} }}
            "#
        )
    };
    // By hand: thirty pieces of a tenth of a second on two threads take 1.5 s.
    assert_eq!(support::run(&recipe(30, 0.1)).outcome, Outcome::Done);
    let Outcome::Failed(error) = support::run(&recipe(2, 3.0)).outcome else { panic!("it hangs") };
    assert!(error.to_string().contains("stage `slow` hangs: `run`"), "{error}");
}

/// A child process of the test below; nothing without its recipe.
#[test]
fn child() {
    let Ok(recipe) = std::env::var("ISARD_STOPPED") else { return };
    assert_eq!(support::run(&recipe).outcome, Outcome::Done);
}

#[test]
fn a_run_that_was_stopped_for_a_while_does_not_hang() {
    let recipe = r#"
        isard = "0.1"
        name = "stopped"
        [run]
        hang_s = 3.0
        [stage.slow]
        use = "slow.pieces"
        set = { pieces = 1, seconds = 0.5 }
        "#;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env("ISARD_STOPPED", recipe);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("at work")), "the stage never began");
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    kill_process(pid, Signal::CONT).unwrap();
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    let end = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&end.stderr);
    assert!(end.status.success(), "{}\n{said}\n{}", end.status, rest.join("\n"));
}

/// A writer that makes all its files at the end, one after the other.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Files {
    /// How many.
    files: u32,
    /// Seconds for each.
    seconds: f64,
    #[serde(skip)]
    out: Option<Arc<dyn Output>>,
}

impl Stage for Files {
    type In = Dict;
    type Out = ();
    fn example() -> Example {
        Example::new("files = 1\nseconds = 0.0").frames("data", Array::from_slice(&[1.0, 2.0]))
    }
}

impl Writer for Files {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, _: Option<Dict>) -> isard_core::Result<()> {
        self.out = Some(out);
        Ok(())
    }
    fn write(&mut self, _: &Cx, _: &Span, _: Dict) -> isard_core::Result<()> {
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap) -> isard_core::Result<()> {
        Ok(())
    }
    fn commit(&mut self, _: &Cx) -> isard_core::Result<Dict> {
        Ok(Dict::new())
    }
    fn finish(&mut self, _: &Cx, _: &Ranges) -> isard_core::Result<()> {
        let made = |n| {
            std::thread::sleep(Duration::from_secs_f64(self.seconds));
            Ok((format!("{n}.txt"), vec![b'x']))
        };
        self.out.as_ref().map_or(Ok(()), |out| out.seal_all(&mut (0..self.files).map(made)))
    }
}
declare!(Writer, "slow.files", Kind::Writer, Files);

#[test]
fn a_writer_of_many_files_does_not_hang() {
    let recipe = |files: u32, seconds: f64| {
        format!(
            r#"
            isard = "0.1"
            name = "files"
            [run]
            hang_s = 1.0
            [stage.frames]
            use = "toy.count"
            set = {{ frames = 4 }}
            [stage.slow]
            use = "slow.files"
            from = "frames"
            set = {{ files = {files}, seconds = {seconds} }}
            "#
        )
    };
    // By hand: all files together take 1.5 s.
    assert_eq!(support::run(&recipe(15, 0.1)).outcome, Outcome::Done);
    let Outcome::Failed(error) = support::run(&recipe(1, 3.0)).outcome else { panic!("it hangs") };
    assert!(error.to_string().contains("stage `slow` hangs: `finish`"), "{error}");
}
