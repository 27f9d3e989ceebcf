//! What does a call in a host process cost above the plugin's own time?
//!
//! A task gets a frame of 4 Mpixel (2048x2048 u16) that lies in shared memory and gives nothing, a sum, an image of
//! its own, or the frame itself. The same work is done by the same library in this process; the difference is the
//! way. Run it with `cargo bench -p isard-core --bench isolate`; with `ISARD_PYTHON` named, a Python task is timed too.
//!
//! Two cores of a virtual AMD EPYC (Zen 5), rustc 1.95, the middle of 500 calls, above the work itself: nothing 8 us
//! (14 before both sides looked for a moment before they sleep), a sum 37 to 62 us, an image of its own 7 to 37 us, the
//! frame back 8 us; a Python task 31 us in all. The elements do not move; what a sum takes longer is that shared memory
//! lies in small pages.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use isard_core::load::isolate::{Hosts, use_host};
use isard_core::prelude::*;
use isard_core::registry::Declaration;
use isard_core::stage::{Built, RunCx};
use isard_core::{Pool, load};

const EDGE: usize = 2048;

fn library(root: &Path) -> PathBuf {
    let target = std::env::current_exe().expect("a bench knows where it lies");
    let target = target.ancestors().find(|p| p.ends_with("release")).expect("benches are built for release");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--quiet", "-p", "isard-misbehave", "--target-dir"]);
    cargo.arg(target.parent().expect("release lies in the target folder")).current_dir(root);
    assert!(cargo.status().expect("cargo starts").success(), "cargo could not build the library");
    target.join("libisard_misbehave.so")
}

/// Microseconds per call: the middle of many, and the least.
fn time(mut call: impl FnMut()) -> (f64, f64) {
    (0..20).for_each(|_| call());
    let one = |_| {
        let start = Instant::now();
        call();
        start.elapsed().as_nanos() as f64 / 1000.0
    };
    let mut all: Vec<f64> = (0..500).map(one).collect();
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2], all[0])
}

fn frame(pool: &Pool) -> Array {
    let mut frame = pool.take(Dtype::U16, &[EDGE, EDGE]).expect("eight megabytes");
    frame.as_slice_mut::<u16>().expect("made as u16").iter_mut().enumerate().for_each(|(i, x)| *x = i as u16);
    frame.freeze()
}

fn compare(task: &Declaration, what: &str) {
    let hosts = Hosts::new(1);
    let set = serde_json::json!({ "what": what });
    let frame = frame(hosts.pool());
    let mut apart = hosts.take(task, &set).expect("the task is built");
    let far = time(|| {
        let input = Dict::new().with("image", frame.clone());
        black_box(apart.call(&input).expect("the task runs"));
    });
    let Ok(Built::Task(mut near)) = (task.build)(set) else { panic!("a task") };
    let run = RunCx { pool: Pool::new(1 << 28), ..RunCx::default() };
    let cx = Cx::new(&run, "it");
    let own = time(|| {
        let input = Dict::new().with("image", frame.clone());
        black_box(near.run(&cx, input).expect("the task runs"));
    });
    println!(
        "{what:8} isolated {:8.1} us (least {:8.1}), in process {:8.1} us (least {:8.1}), above {:6.1} us",
        far.0,
        far.1,
        own.0,
        own.1,
        far.0 - own.0
    );
}

fn python(folder: &Path) {
    let plugin = folder.join("bench.py");
    let text = "import isard\n\n@isard.task(\"bench.python\")\n\
                def nothing(image: isard.Array[\"u16\", \"y x\"]) -> {\"sum\": int}:\n    \
                \"Gives a pixel.\"\n    return {\"sum\": int(image[0, 7])}\n";
    std::fs::write(&plugin, text).expect("the folder can be written to");
    let all = match load::library(&plugin) {
        Ok(all) => all,
        Err(error) => return println!("python   skipped: {error}"),
    };
    let hosts = Hosts::new(1);
    let frame = frame(hosts.pool());
    let mut task = hosts.take(&all[0], &serde_json::json!({})).expect("the task is built");
    let far = time(|| {
        let input = Dict::new().with("image", frame.clone());
        black_box(task.call(&input).expect("the task runs"));
    });
    println!("python   isolated {:8.1} us (least {:8.1}), the task itself about 1 us", far.0, far.1);
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let library = library(&root);
    use_host(&library.with_file_name("isard-misbehave-host"));
    let all = load::library(&library).expect("the library was just built");
    let task = all.iter().find(|d| d.name == "test.job").expect("the library declares it");
    for what in ["nothing", "sum", "next", "same"] {
        compare(task, what);
    }
    python(tempfile::tempdir().expect("a temporary folder").path());
}
