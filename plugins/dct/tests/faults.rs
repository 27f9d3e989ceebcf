//! Faults that are told before the first frame, and what goes wrong later and is stated.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::Arc;

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_dct as _;
use isard_h5::{Dtype, Image, Spec};
use isard_image as _;

fn options(out: &Path) -> Options {
    let mut options = Options::new(Out::Folder { path: out.to_owned(), overwrite: false });
    options.reader = Some(Arc::new(isard_files::input::read_path));
    options
}

/// A scan of 20 frames, and what does not fit it.
fn scan(path: &Path) {
    let mut image = Image::new().unwrap();
    for group in ["/2.3", "/2.3/measurement", "/4.1", "/4.1/measurement"] {
        image.group(group).unwrap();
    }
    let mut put = |path: &str, dims: [u64; 3]| {
        let slot = image.dataset(path, &Spec::new(Dtype::U16, &dims[1..])).unwrap();
        image.append(slot, &vec![7; 2 * dims.iter().product::<u64>() as usize], dims[0]).unwrap();
    };
    put("/2.3/measurement/marana", [20, 32, 32]);
    put("/4.1/measurement/small", [3, 16, 32]);
    let flat = image.dataset("/4.1/measurement/mask", &Spec::new(Dtype::U8, &[16])).unwrap();
    image.append(flat, &[0; 32 * 16], 32).unwrap();
    std::fs::write(path, image.into_bytes().unwrap()).unwrap();
}

/// `UPDATE=1 cargo test -p isard-dct --test faults` writes the golden files anew.
#[test]
fn faults_are_told_before_the_first_frame() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().display().to_string();
    scan(&folder.path().join("scan.h5"));
    let mut names: Vec<_> = std::fs::read_dir(&cases).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    names.sort();
    assert!(names.len() >= 13, "{names:?}");
    for path in names {
        let name = path.file_name().unwrap();
        let text = std::fs::read_to_string(&path).unwrap().replace("FOLDER", &scratch);
        let recipe = recipe::parse(&text, Path::new(name)).unwrap();
        let out = folder.path().join("out").join(name);
        let told = match plan::make(&recipe, &Registry::built_in().unwrap()) {
            Err(faults) => faults.to_string(),
            Ok((plan, _)) => {
                let report = run::run(&plan, options(&out)).unwrap();
                assert!(matches!(report.outcome, Outcome::Failed(_)), "{}", path.display());
                let taken: u64 = report.stages.iter().map(|s| s.records).sum();
                assert_eq!(taken, 0, "{}: no frame is taken", path.display());
                report.outcome.message().unwrap()
            }
        };
        let found = format!("{}\n", told.replace(&scratch, "FOLDER").trim_end());
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&golden, &found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(&golden).unwrap_or_default(), "{}", path.display());
        let file = name.to_str().unwrap();
        assert!(found.contains(&format!("{file}:")), "{found} names no place in the recipe");
    }
}

#[test]
fn a_lost_beam_is_stated_and_the_pace_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/small/dct-live.toml");
    let mut text = std::fs::read_to_string(path).unwrap();
    // Pictures are another family's.
    let (from, to) = (text.find("[stage.picture]").unwrap(), text.find("[out]").unwrap());
    text.replace_range(from..to, "");
    let recipe = recipe::parse(&text, Path::new("dct-live.toml")).unwrap();
    let plan = plan::make(&recipe, &Registry::built_in().unwrap()).unwrap().0;
    let report = run::run(&plan, options(&out)).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let stage = |name: &str| report.stages.iter().find(|s| s.name == name).unwrap();
    let ledger = |name: &str| stage(name).ledger.as_ref().unwrap();
    assert_eq!(ledger("frames").to_string(), "60 of 60 done");
    // The detector gave all frames; without beam frame 31 is of no use to whoever comes behind.
    assert!(ledger("background").missing.has(31), "{}", ledger("background"));
    assert!(ledger("segment").missing.has(31), "{}", ledger("segment"));
    // Played at 200 frames a second the last of 60 is due after 59 periods.
    assert!(report.seconds > 59.0 / 200.0, "{} s", report.seconds);
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    let delay = stage("spots").delay.unwrap();
    assert!((0.0..60.0).contains(&delay), "{delay} s");
    assert_eq!(record["delays"]["spots"].as_f64().unwrap(), (delay * 1e3).round() / 1e3);
}
