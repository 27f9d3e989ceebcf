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

/// The folder that cargo builds into, whatever it is called here.
pub fn target() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("the folder for tests lies in the target folder").to_owned()
}

fn build(package: &str, file: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // Alone it has other features than in the workspace, so all that it needs is built once more: quickly, then.
    cargo.args(["build", "--quiet", "--config", r#"profile.dev.package."*".opt-level=0"#]);
    cargo.args(["--package", package, "--target-dir"]).arg(target());
    let done = cargo.current_dir(root()).status().unwrap();
    assert!(done.success(), "cargo could not build {package}");
    target().join("debug").join(format!(
        "{}{file}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    ))
}

/// The example library.
pub fn example() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("isard-example", "isard_example"))
}

/// The library that misbehaves on demand.
pub fn misbehaving() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("isard-misbehave", "isard_misbehave"))
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
