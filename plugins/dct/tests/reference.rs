//! The whole chain against the plain reference of every rule, over random scans.
//!
//! The reference is a Python program that isard did not write (`ref_chain.py`, `ref_dthr.py` of the reference data, and
//! scans of its generator `gen_dct.py`). It runs with the interpreter of `ISARD_PYTHON`, else `python3`; where numpy,
//! scipy or h5py are missing, or the reference data, the test is skipped and says so. `ISARD_CASES=2000` takes more
//! scans, `ISARD_CASES=400..2000` those from the four hundredth on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "reference/case.rs"]
mod case;
#[path = "reference/covered.rs"]
mod covered;
#[path = "reference/engine.rs"]
mod engine;
#[path = "reference/stages.rs"]
mod stages;

use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use isard_core::prelude::*;
use isard_core::stage::RunCx;
use isard_dct as _;
use isard_image as _;

use case::Case;
use covered::Covered;
use stages::Chain;

fn skipped(why: &str) {
    // Past the harness, which keeps what passing tests print.
    let _ = writeln!(std::io::stderr(), "skipped: the_chain_is_that_of_the_reference ({why})");
}

/// The scans to look at.
fn cases() -> Range<usize> {
    let Ok(text) = std::env::var("ISARD_CASES") else { return 0..300 };
    match text.split_once("..") {
        Some((first, end)) => first.parse().unwrap()..end.parse().unwrap(),
        None => 0..text.parse().unwrap(),
    }
}

/// Every way that a scan of this kind may go, held against the reference; gives the spots of one of them.
fn check(cx: &Cx, folder: &Path, k: usize, covered: &mut Covered) -> usize {
    let case = Case::load(folder, k);
    covered.note(&case);
    let chunk = [1, 3, 16][k % 3];
    let chain = Chain { cx, case: &case, chunk };
    let mut spots = vec![];
    // In 32-bit floats the dark cancels to the bit where it is a whole number.
    let whole = case.stack.as_ref().is_none_or(|s| case.is("dark_reduce", "median") && s.shape()[0] % 2 == 1);
    if case.is("norm", "none") && case.is("dtype", "u16") && whole {
        spots.push(chain.check("counts", chain.counts(false)));
        // In integers the median beside a masked pixel is rounded, so masks go with floats.
        if !case.marked() {
            spots.push(chain.check("words", chain.counts(true)));
        }
    }
    if !case.is("kind", "counts") {
        spots.push(chain.check("raw frames", chain.raw()));
        spots.push(chain.check("stages", chain.stages()));
    }
    if k.is_multiple_of(4) {
        spots.push(engine::check(&case, folder, k, chunk));
    }
    spots[0]
}

#[test]
fn the_chain_is_that_of_the_reference() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let reference = manifest.join("../../../shared/reference/dct");
    if !reference.exists() {
        return skipped("no reference data");
    }
    let python = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let imports = Command::new(&python).args(["-c", "import numpy, scipy, h5py"]).output();
    if !imports.is_ok_and(|o| o.status.success()) {
        return skipped("no python with numpy, scipy and h5py: name one in ISARD_PYTHON");
    }
    let folder = tempfile::tempdir().unwrap();
    let cases = cases();
    let made = Command::new(&python)
        .arg("-B")
        .arg(manifest.join("tests/reference.py"))
        .args([reference.as_os_str(), folder.path().as_os_str()])
        .args([cases.start.to_string(), cases.end.to_string()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let run = RunCx::default();
    let cx = Cx::new(&run, "tested");
    let mut covered = Covered::default();
    let spots: usize = cases.clone().map(|k| check(&cx, folder.path(), k, &mut covered)).sum();
    assert!(spots > 3 * cases.len(), "{spots} spots are too few to mean much");
    eprintln!("{} scans, {spots} spots", cases.len());
    if cases.len() >= 300 {
        covered.check();
    }
}
