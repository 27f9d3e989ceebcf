//! Libraries for the tests, and what every test does with them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use isard_core::registry::Declaration;
use isard_core::stage::{Built, RunCx};
use isard_core::{Value, load};

/// The root of the workspace.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A library that was built with this test, which links it.
fn beside(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let path = test.parent().unwrap().join(format!("{prefix}{name}{suffix}"));
    assert!(path.is_file(), "cargo builds no {}", path.display());
    path
}

/// The example library.
pub fn example() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| beside("isard_example"))
}

/// The library that misbehaves on demand.
pub fn misbehaving() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| beside("isard_misbehave"))
}

/// The program that hosts libraries in tests.
pub fn host() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let name = "isard-misbehave-host";
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let target = tmp.parent().expect("the folder for tests lies in the target folder");
        let mut cargo = Command::new(env!("CARGO"));
        // Of the whole workspace, and with the needs of a test: so it has the features of what is built already.
        cargo.args(["build", "--quiet", "--workspace", "--bin", name, "--test", "early", "--target-dir"]);
        let done = cargo.arg(target).current_dir(root()).status().unwrap();
        assert!(done.success(), "cargo could not build {name}");
        target.join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
    })
}

/// Compiles C into a library.
pub fn compile(source: &Path, library: &Path, flags: &[&str]) {
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O1", "-fPIC", "-shared"]).args(flags);
    cc.arg("-I").arg(root().join("core/engine/include")).arg(source).arg("-o").arg(library);
    assert!(cc.status().unwrap().success(), "cc could not compile {}", source.display());
}

/// The C example, compiled once.
pub fn c_example() -> &'static Path {
    static PATH: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PATH.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libramp.so");
        compile(&root().join("examples/c-plugin/plugin.c"), &path, &[]);
        (folder, path)
    });
    path
}

/// One declaration of a library.
pub fn declared(library: &Path, name: &str) -> Declaration {
    let all = load::library(library).unwrap();
    all.into_iter()
        .find(|d| d.name == name)
        .unwrap_or_else(|| panic!("{name} is not in {}", library.display()))
}

/// Builds a stage from parameters as JSON.
pub fn stage(declaration: &Declaration, set: &str) -> Built {
    (declaration.build)(serde_json::from_str(set).unwrap()).unwrap()
}

/// A run with two threads and a seed.
pub fn run() -> RunCx {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    RunCx { seed: 7, threads: Some(threads.into()), ..RunCx::default() }
}

/// The bytes of a value: what "bit-identical" compares.
pub fn bytes(value: impl Into<Value>) -> Vec<u8> {
    let mut out = vec![];
    isard_core::value::encode(&value.into(), &mut out);
    out
}
