//! Recipes as they are shipped and as jobs: the live integration, and a run that a kill cuts off.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use isard_core::recipe::{self, Overrides};
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out};
use isard_core::{Value, plan};
use isard_serve::{Config, Jobs, Request, State};
// Linked so that the sum and the detector are declared.
use isard_image as _;
use isard_live as _;

use common::{array, poni};

#[test]
fn the_live_integration_gives_a_curve_for_every_image_that_came() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/small/live-integration.toml");
    let recipe = recipe::load(&path, &Overrides::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let (plan, _) = plan::make(&recipe, &Registry::built_in().unwrap()).unwrap_or_else(|f| panic!("{f}"));
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out");
    let report = run::run(&plan, Options::new(Out::Folder { path: out.clone(), overwrite: false })).unwrap();
    assert_eq!(report.outcome.word(), "done", "{:?}", report.outcome.message());
    let curves = out.join("curves.nxs").display().to_string();
    let (_, frames) = array(&format!("{curves}::/entry_0000/results/frame"));
    let wanted: Vec<f64> = (0..40).filter(|k| ![7, 13].contains(k)).map(f64::from).collect();
    assert_eq!(frames, wanted);
    let (shape, data) = array(&format!("{curves}::/entry_0000/results/data"));
    assert_eq!(shape, [38, 50]);
    // The detector's images have 0 to 12 counts and a small spot of 100 more: no mean along a ring is far from 6.
    let means: Vec<f64> = data.chunks(50).map(|c| c.iter().sum::<f64>() / 50.0).collect();
    assert!(means.iter().all(|m| (2.0..20.0).contains(m)), "{means:?}");
    let (shape, set) = array(&format!("{}::/entry/data/intensity", out.join("curves.h5").display()));
    assert_eq!((shape, set), (vec![38, 50], data));
}

/// Frames at a pace, each to a curve, with a checkpoint every tenth of a second.
fn recipe(pace: &str) -> String {
    format!(
        "isard = \"0.1\"\nname = \"curves\"\n[run]\nseed = 3\nchunk = 2\ncheckpoint_s = 0.1\n[in]\nframes = \"\"\ngeometry = \"\"\n\
         [stage.frames]\nuse = \"npy.stack\"\nset = {{ path = {{ in = \"frames\" }} }}\n{pace}\n\
         [stage.curves]\nuse = \"azimuthal.integrate1d\"\nfrom = \"frames\"\n\
         set = {{ geometry = {{ in = \"geometry\" }}, bins = 20, unit = \"r_mm\" }}\n\
         [stage.set]\nuse = \"hdf5.write\"\nfrom = \"curves\"\nin = {{ intensity = \"curves.intensity\" }}\n\
         set = {{ path = \"curves.h5\", signal = \"intensity\" }}\n\
         [stage.total]\nuse = \"image.sum\"\nfrom = \"frames\"\n[out]\ntotal = \"total.image\"\n"
    )
}

fn config(folder: &Path, window: Duration) -> Config {
    Config {
        window,
        workers: 1,
        store: Some(folder.join("jobs.sqlite")),
        folder: Some(folder.to_owned()),
        recipe_folders: vec![folder.join("recipes")],
        reader: Some(Arc::new(isard_files::input::read_path)),
        ..Config::default()
    }
}

/// What the killed process does: one job, until it is killed.
#[test]
fn child_that_is_killed() {
    let Some(folder) = std::env::var_os("ISARD_TEST_CHILD") else { return };
    let folder = Path::new(&folder);
    let window = std::env::var("ISARD_TEST_WINDOW").unwrap().parse().unwrap();
    let jobs = Jobs::open(config(folder, Duration::from_millis(window))).unwrap();
    let id = jobs.start(request("recipe.slow", folder)).unwrap();
    let state = jobs.wait(id as i64, Some(Duration::from_secs(300))).unwrap();
    panic!("it was to be killed, and ended as {state}: {}", jobs.error(id as i64).unwrap());
}

fn request(plugin: &str, folder: &Path) -> Request {
    let input =
        serde_json::json!({ "frames": folder.join("frames.npy"), "geometry": folder.join("geometry.poni") });
    Request::from_text(plugin, &input.to_string()).unwrap()
}

#[test]
fn a_recipe_cut_off_by_a_kill_is_resumed_to_the_same_result() {
    cut_off(2, ".isard", "checkpoint-");
    // Before the store has noted that the job began.
    cut_off(4000, ".isard", "checkpoint-");
    // Before it has noted that the job ended: nothing is left to do.
    cut_off(4000, "", "manifest.json");
}

/// Kills a server when there is such a file in the folder of its job's run, in a folder of that.
fn cut_off(window: u64, inside: &str, file: &str) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    std::fs::create_dir(folder.join("recipes")).unwrap();
    std::fs::write(folder.join("recipes/slow.toml"), recipe("run = { pace = 40.0 }")).unwrap();
    std::fs::write(folder.join("recipes/quick.toml"), recipe("")).unwrap();
    poni(folder, [12, 16], 0.1);
    let pixels: Vec<u8> =
        (0..200 * 192u32).flat_map(|k| ((k * 37 % 101 + k / 192) as u16).to_ne_bytes()).collect();
    let mut npy = isard_files::npy::header(isard_h5::Dtype::U16, &[200, 12, 16]);
    npy.extend_from_slice(&pixels);
    std::fs::write(folder.join("frames.npy"), npy).unwrap();

    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed", "--test-threads", "1"])
        .env("ISARD_TEST_CHILD", folder)
        .env("ISARD_TEST_WINDOW", window.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A checkpoint is there long before the last of 200 frames at 40 a second.
    let run = folder.join("0000/00001_run");
    let deadline = Instant::now() + Duration::from_secs(60);
    let begun = || {
        let names = std::fs::read_dir(run.join(inside)).into_iter().flatten().flatten();
        names.filter(|e| e.file_name().to_string_lossy().starts_with(file)).count() > 0
    };
    while !begun() {
        assert!(
            Instant::now() < deadline && child.try_wait().unwrap().is_none(),
            "no {file} in {}",
            run.display()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let jobs = Jobs::open(config(folder, Duration::from_millis(2))).unwrap();
    assert!(jobs.info(1).unwrap().interrupted, "window {window}, {file}");
    let well = |id: u64| {
        let state = jobs.wait(id as i64, Some(Duration::from_secs(120))).unwrap();
        assert_eq!(state, State::Success, "{}", jobs.error(id as i64).unwrap());
        let output = jobs.output(id as i64).unwrap();
        let run = output.get("run_folder").and_then(Value::text).unwrap().to_owned();
        (run, output.need("total").unwrap().clone())
    };
    let (resumed, total) = well(jobs.resume(1).unwrap());
    assert!(resumed.ends_with("00001_run"), "{resumed}");
    let (quick, wanted) = well(jobs.start(request("recipe.quick", folder)).unwrap());
    assert!(matches!(&wanted, Value::Array(sum) if sum.shape() == [12, 16]), "{wanted:?}");
    assert_eq!(total, wanted, "window {window}, {file}");
    let content = |run: &str| {
        let record = std::fs::read(Path::new(run).join("run.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        assert!(record["content"].as_object().is_some_and(|c| !c.is_empty()), "{record}");
        record["content"].clone()
    };
    assert_eq!(content(&resumed), content(&quick));
    let curves = |run: &str| array(&format!("{run}/curves.h5::/entry/data/intensity"));
    assert_eq!(curves(&resumed).0, [200, 20]);
    assert_eq!(curves(&resumed), curves(&quick));
}
