//! Plugins as a user meets them: Python files, and libraries in a child process of `isard` itself.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

fn isard(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_isard")).args(arguments).current_dir(folder).output();
    output.expect("isard starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn python(test: &str) -> bool {
    let named = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(named).args(["-c", "import numpy"]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        // Past the harness, which would keep it to itself.
        let _ = writeln!(std::io::stderr(), "skipped: {test} (no python3 with numpy)");
    }
    found
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

const RECIPE: &str = r#"
isard = "0.1"
name = "counts"
[run]
chunk = 4
[stage.beat]
use = "python.beat"
set = { frames = 20, size = [32, 48] }
[stage.marks]
use = "python.threshold"
from = "beat"
set = { above = 101.5 }
[stage.most]
use = "python.maximum"
from = "beat"
[stage.count]
use = "image.sum"
from = "marks"
in = { image = "marks.mask" }
[stage.lines]
use = "python.lines"
from = "beat"
set = { path = "lines.txt" }
"#;

#[test]
fn a_python_file_is_listed_described_tried_and_run() {
    if !python("a_python_file_is_listed_described_tried_and_run") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plugin = root().join("examples/python/example.py");
    let plugin = plugin.to_str().unwrap();
    let list = isard(folder.path(), &["list", "python.", "--plugin", plugin]);
    let printed = text(&list.stdout);
    let line = printed.lines().find(|line| line.contains("python.threshold")).unwrap_or_default();
    assert!(line.contains("Marks and counts the pixels above a limit."), "{printed}");
    let describe = isard(folder.path(), &["describe", "python.threshold", "--plugin", plugin]);
    let printed = text(&describe.stdout);
    assert!(printed.contains("The limit; pixels above it are marked."), "{printed}");
    // A NPY file by hand: version 1, one image of 2 x 3 u16.
    let header = "{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), }";
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(header.as_bytes());
    [1u16, 2, 3, 4, 5, 6].iter().for_each(|x| bytes.extend(x.to_le_bytes()));
    std::fs::write(folder.path().join("image.npy"), bytes).unwrap();
    let arguments = ["try", "python.threshold", "--in", "image.npy", "--set", "above=4", "--plugin", plugin];
    let tried = isard(folder.path(), &arguments);
    assert!(text(&tried.stdout).contains("count = [2]"), "{}{}", text(&tried.stdout), text(&tried.stderr));
    std::fs::write(folder.path().join("counts.toml"), RECIPE).unwrap();
    let run = isard(folder.path(), &["run", "counts.toml", "--out", "out", "--plugin", plugin]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let lines = std::fs::read_to_string(folder.path().join("out/lines.txt")).unwrap();
    // `beat` gives 100 + number % 5 everywhere.
    let wanted: String = (0..20).map(|n| format!("{n} {0} {0}\n", 100 + n % 5)).collect();
    assert_eq!(lines, wanted);
    let record = std::fs::read_to_string(folder.path().join("out/run.json")).unwrap();
    let digest = isard_core::load::hash(plugin.as_ref()).unwrap();
    assert!(record.contains(&digest), "the plugin is pinned in run.json");
    let verify = isard(folder.path(), &["verify", "out"]);
    assert_eq!(verify.status.code(), Some(0), "{}", text(&verify.stdout));
}

#[test]
fn an_exception_in_a_recipe_names_stage_frame_file_and_line() {
    if !python("an_exception_in_a_recipe_names_stage_frame_file_and_line") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plugin = "import isard\n\n\n@isard.map(\"mine.odd\")\n\
                  def odd(cx, image: isard.Array[\"u16\", \"y x\"]) -> {\"n\": float}:\n    \"\"\"Fails at frame 6.\"\"\"\n    \
                  return {\"n\": 1 / (cx.frame - 6)}\n";
    std::fs::write(folder.path().join("mine.py"), plugin).unwrap();
    let recipe = "isard = \"0.1\"\n[run]\nchunk = 1\n[stage.detector]\nuse = \"powder.simulate\"\n\
                  set = { frames = 10, shape = [16, 16] }\n[stage.cast]\nuse = \"mine.odd\"\nfrom = \"detector\"\n\
                  [stage.sum]\nuse = \"image.sum\"\nfrom = \"cast\"\nin = { image = \"detector.image\" }\n";
    std::fs::write(folder.path().join("odd.toml"), recipe).unwrap();
    let run = isard(folder.path(), &["run", "odd.toml", "--out", "out", "--plugin", "mine.py"]);
    // Warnings come first; the closing table says how it ended.
    let said = text(&run.stderr) + &text(&run.stdout);
    for part in ["`cast`", "frame 6", "mine.py:7 in `odd`", "ZeroDivisionError"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(run.status.code(), Some(3), "{said}");
    let off = recipe.replace("use = \"mine.odd\"", "use = \"mine.odd\"\nrun = { isolate = false }");
    std::fs::write(folder.path().join("odd.toml"), off).unwrap();
    let said = text(&isard(folder.path(), &["check", "odd.toml", "--plugin", "mine.py"]).stderr);
    assert!(
        said.contains("error[E0141]: stage `cast` is always isolated: `mine.odd` runs in Python"),
        "{said}"
    );
}

#[test]
fn a_library_runs_in_a_child_of_isard_itself() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libramp.so");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-O1", "-fPIC", "-shared", "-I"]).arg(root().join("core/engine/include"));
    let done = cc.arg(root().join("examples/c-plugin/plugin.c")).arg("-o").arg(&library).status();
    assert!(done.unwrap().success());
    let recipe = |run: &str| {
        format!(
            "isard = \"0.1\"\n[stage.ramp]\nuse = \"ramp.play\"\nrun = {{ {run} }}\n[stage.sum]\nuse = \"image.sum\"\n\
             from = \"ramp\"\n[out]\nsum = \"sum.image\"\n"
        )
    };
    let content = |run: &str, out: &str| {
        std::fs::write(folder.path().join("ramp.toml"), recipe(run)).unwrap();
        let run = isard(folder.path(), &["run", "ramp.toml", "--out", out, "--plugin", "libramp.so"]);
        assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
        let record = std::fs::read_to_string(folder.path().join(out).join("run.json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        record["content"].clone()
    };
    let (near, apart) = (content("", "near"), content("isolate = true", "apart"));
    assert!(near.as_object().is_some_and(|all| !all.is_empty()), "{near}");
    assert_eq!(near, apart);
    let alone = isard(folder.path(), &["host", "libramp.so"]);
    assert_eq!(alone.status.code(), Some(3));
    assert!(
        text(&alone.stderr).contains("standard input is no connection to isard"),
        "{}",
        text(&alone.stderr)
    );
}
