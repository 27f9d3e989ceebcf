//! Chunk files that are gone, as the library sees them; what a run says of them is tested with the command.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;

use common::run::{TO_PTYD, ran};
use isard_core::run::Outcome;
use isard_ptycho::file::ptyd::Ptyd;

/// A scan of 24 frames in four linked files.
fn write(out: &Path) {
    let recipe = format!(
        r#"
        isard = "0.1"
        name = "write"
        [run]
        seed = 1
        [stage.frames]
        use = "ptycho.simulate"
        set = {{ num_frames = 24, shape = 32, photons = 1e6, density = 0.12 }}
        [stage.save]
        use = "ptyd.write"
        from = "frames"
        {TO_PTYD}
        set = {{ path = "scan.ptyd", frames = 6 }}
    "#
    );
    assert_eq!(ran(&recipe, out).outcome, Outcome::Done);
}

#[test]
fn a_chunk_file_that_goes_while_it_is_read_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let file = Ptyd::open(&folder.path().join("scan.ptyd")).unwrap();
    std::fs::remove_file(folder.path().join("scan.ptyd.part001")).unwrap();
    let said = file.data(&file.chunks[1], 0, 6).unwrap_err().to_string();
    assert!(said.contains("chunks/1"), "{said}");
}

#[test]
fn without_its_first_chunk_a_scan_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("scan"));
    for part in 0..4 {
        std::fs::remove_file(at("scan").join(format!("scan.ptyd.part00{part}"))).unwrap();
    }
    let path = at("scan").join("scan.ptyd");
    let report = ran(
        &format!(
            r#"
            isard = "0.1"
            name = "read"
            [run]
            seed = 1
            limits = {{ missing = 24 }}
            [stage.frames]
            use = "ptyd.read"
            set = {{ path = {path:?} }}
            [stage.fit]
            use = "ptycho.reconstruct"
            from = "frames"
            in = {{ mask = "frames.mask", energy = "frames.head.energy", distance = "frames.head.distance", psize = "frames.head.psize" }}
            set = {{ engines = [{{ name = "EPIE", numiter = 3 }}] }}
        "#
        ),
        &at("out"),
    );
    let message = report.outcome.message().unwrap_or_default();
    assert!(message.contains("no chunk can be read"), "{message}");
}
