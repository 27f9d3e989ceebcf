//! What does one call cost through the plugin interface?
//!
//! A map that gives its 512x512 f32 image back: linked, loaded from Rust, loaded from C. The work is nothing, so the
//! time is that of the interface. Run it with `cargo bench -p isard-core --bench load`.
//!
//! Two cores of a shared AMD EPYC, rustc 1.95, the least of ten rounds: linked 130 ns, loaded from C 230 ns, loaded
//! from Rust 750 ns.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use isard_core::prelude::*;
use isard_core::registry::{Declaration, Registry};
use isard_core::stage::{Built, RunCx};
use isard_core::{declare, load};

/// Gives its image back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Same {
    /// As the loaded one has it.
    #[serde(rename = "how")]
    _how: String,
}

#[derive(Ports)]
struct Image {
    /// An image.
    #[port(dtype = "f32", axes = "y x")]
    image: Array,
}

impl Stage for Same {
    type In = Image;
    type Out = Image;
    fn example() -> Example {
        Example::new("how = \"nothing\"")
    }
}

impl Map for Same {
    fn apply(&self, _: &Cx, _: &Span, input: Image) -> Result<Image> {
        Ok(input)
    }
}

declare!(Map, "bench.same", Kind::Reducer, Same);

const C: &str = r#"
#include "isard.h"
static isard_text declare(void) {
    return isard_string("[{\"name\": \"bench.c\", \"kind\": \"reducer\", \"role\": \"map\", \"doc\": \"Same.\","
        "\"schema\": {}, \"outputs\": [{\"name\": \"image\", \"doc\": \"Image.\", \"kind\": \"any\"}]}]");
}
static isard_status build(isard_text n, isard_text p, const isard_out *o, void **s)
{ static int one; (void)n; (void)p; (void)o; *s = &one; return ISARD_OK; }
static isard_status call(void *s, const isard_request *r, const isard_out *o, const isard_host *h) {
    (void)s; (void)h;
    return isard_put_array(o, "image", isard_get_array(r->input, "image", ISARD_F32));
}
static void discard(void *s) { (void)s; }
const struct isard_plugin isard_plugin = { ISARD_MAGIC, ISARD_VERSION, sizeof(struct isard_plugin), NULL, declare,
    build, call, discard, NULL };
"#;

fn rust_library(root: &Path) -> PathBuf {
    let target = std::env::current_exe().expect("a bench knows where it lies");
    let target = target.ancestors().find(|p| p.ends_with("release")).expect("benches are built for release");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--quiet", "-p", "isard-misbehave", "--target-dir"]);
    cargo.arg(target.parent().expect("release lies in the target folder")).current_dir(root);
    assert!(cargo.status().expect("cargo starts").success(), "cargo could not build the library");
    target.join("libisard_misbehave.so")
}

fn c_library(root: &Path, folder: &Path) -> PathBuf {
    let (code, library) = (folder.join("same.c"), folder.join("libsame.so"));
    std::fs::write(&code, C).expect("the folder can be written to");
    let mut cc = Command::new("cc");
    cc.args(["-std=c99", "-O2", "-fPIC", "-shared", "-I"]).arg(root.join("core/engine/include"));
    assert!(cc.arg(&code).arg("-o").arg(&library).status().expect("cc starts").success());
    library
}

/// Nanoseconds per call: the least of ten rounds, which is the one least disturbed.
fn time(declaration: &Declaration) -> f64 {
    let set = serde_json::json!({"how": "nothing"});
    let Ok(Built::Map(map)) = (declaration.build)(set) else { panic!("a map") };
    let run = RunCx::default();
    let cx = Cx::new(&run, "same");
    let image = cx.array(Dtype::F32, &[1, 512, 512]).expect("a megabyte").freeze();
    let span = Span::frames(0, 1);
    let round = || {
        let n = 20_000;
        let start = Instant::now();
        for _ in 0..n {
            let input = Dict::new().with("image", image.clone());
            black_box(map.apply(&cx, &span, input).expect("the map gives its image back"));
        }
        start.elapsed().as_nanos() as f64 / f64::from(n)
    };
    (0..10).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let built_in = Registry::built_in().expect("no name twice");
    let linked = built_in.find("bench.same").expect("declared above");
    let rust = load::library(&rust_library(&root)).expect("the library was just built");
    let c = load::library(&c_library(&root, folder.path())).expect("the library was just built");
    let rust = rust.iter().find(|d| d.name == "test.misbehave").expect("the library declares it");
    for (what, declaration) in [("linked", &**linked), ("loaded, Rust", rust), ("loaded, C", &c[0])] {
        println!("{what:14} {:7.0} ns per call", time(declaration));
    }
}
