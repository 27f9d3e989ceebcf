//! The crate that `isard new-plugin` writes: it builds, passes its test, and loads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use isard_core::stage::{Built, Cx, RunCx};
use isard_core::{Array, Dict, Span, Value, load, template};

/// The root of the workspace.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The folder that cargo builds into, whatever it is called here.
fn target() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("the folder for tests lies in the target folder").to_owned()
}

/// Cargo in a crate of its own: it has other features than in the workspace, so that all is built once more, quickly then.
fn cargo(home: &Path, what: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([what, "--quiet", "--offline", "--config", "profile.dev.debug=false", "--target-dir"]);
    cargo.arg(target()).current_dir(home);
    cargo
}

#[test]
fn a_new_plugin_builds_passes_its_test_and_loads() {
    let _turn = crate::beside_others();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("two-words");
    template::write("two-words", &home, Some(&root().join("core/engine"))).unwrap();
    // The versions of this workspace, so that nothing is fetched.
    fs::copy(root().join("Cargo.lock"), home.join("Cargo.lock")).unwrap();
    let done = cargo(&home, "test").output().unwrap();
    let (out, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}\n{errors}");
    assert!(out.contains("2 passed"), "{out}");

    assert!(cargo(&home, "build").status().unwrap().success());
    let library = target().join("debug/libtwo_words.so");
    let [declaration] = &load::library(&library).unwrap()[..] else { panic!("one stage") };
    assert_eq!(declaration.name, "two_words.scale");
    assert_eq!(declaration.summary(), "Multiplies each pixel by a factor.");
    let built = (declaration.build)(serde_json::json!({ "factor": 3 })).unwrap();
    let Built::Map(map) = built else { panic!("a map") };
    let run = RunCx::default();
    let input = Dict::new().with("image", Array::of(&[1, 1, 2], &[1f32, 2.0]).unwrap());
    let output = map.apply(&Cx::new(&run, "scale"), &Span::frames(0, 1), input).unwrap();
    assert_eq!(output.get("image"), Some(&Value::from(Array::of(&[1, 1, 2], &[3f32, 6.0]).unwrap())));

    let run = Command::new(env!("CARGO_BIN_EXE_isard"))
        .args(["run", "recipe.toml", "--quiet", "--out", "done", "--plugin"])
        .arg(&library)
        .current_dir(&home)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(home.join("done/sum.png").is_file());
}
