//! Chunk files that are gone: the frames are missing by number, and nothing moves into their place.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome, Report};
use isard_ptycho::file::ptyd::Ptyd;

fn ran(text: &str, out: &Path) -> Report {
    let recipe = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let made = plan::make(&recipe, &Registry::built_in().unwrap());
    let plan = made.unwrap_or_else(|faults| panic!("{faults}")).0;
    run::run(&plan, Options::new(Out::Folder { path: out.to_owned(), overwrite: true })).unwrap()
}

const WRITE: &str = r#"
    isard = "0.1"
    name = "write"
    [run]
    seed = 1
    [stage.frames]
    use = "ptycho.simulate"
    set = { num_frames = 24, shape = 32, photons = 1e6, density = 0.12 }
    [stage.save]
    use = "ptyd.write"
    from = "frames"
    in = { energy = "frames.head.energy", distance = "frames.head.distance", psize = "frames.head.psize", num_frames = "frames.head.num_frames" }
    set = { path = "scan.ptyd", frames = 6 }
"#;

fn read(path: &Path, limit: u64) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "read"
        [run]
        seed = 1
        limits = {{ missing = {limit} }}
        [stage.frames]
        use = "ptyd.read"
        set = {{ path = {path:?} }}
        [stage.fit]
        use = "ptycho.reconstruct"
        from = "frames"
        in = {{ mask = "frames.mask", energy = "frames.head.energy", distance = "frames.head.distance", psize = "frames.head.psize" }}
        set = {{ engines = [{{ name = "EPIE", numiter = 3 }}] }}
        [out]
        frames = "fit.frames"
        positions = "fit.positions"
    "#
    )
}

#[test]
fn frames_of_a_chunk_file_that_is_gone_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(ran(WRITE, &at("scan")).outcome, Outcome::Done);
    let master = at("scan").join("scan.ptyd");
    std::fs::remove_file(at("scan").join("scan.ptyd.part002")).unwrap();
    // By default no frame may be missing.
    let strict = ran(&read(&master, 0), &at("strict"));
    let message = strict.outcome.message().unwrap_or_default();
    assert!(strict.outcome != Outcome::Done && message.contains("missing"), "{:?} {message}", strict.outcome);
    let record = std::fs::read_to_string(at("strict").join("run.json")).unwrap();
    assert!(record.contains("chunk 2 cannot be read"), "{record}");
    // Where they may, the others keep their numbers.
    let lax = ran(&read(&master, 6), &at("lax"));
    assert_eq!(lax.outcome, Outcome::Done, "{:?}", lax.outcome.message());
    assert_eq!(lax.results.get("frames").and_then(isard_core::Value::number), Some(18.0));
}

#[test]
fn a_chunk_file_that_goes_while_it_is_read_is_an_error_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(ran(WRITE, folder.path()).outcome, Outcome::Done);
    let file = Ptyd::open(&folder.path().join("scan.ptyd")).unwrap();
    std::fs::remove_file(folder.path().join("scan.ptyd.part001")).unwrap();
    let said = file.data(&file.chunks[1], 0, 6).unwrap_err().to_string();
    assert!(said.contains("chunks/1"), "{said}");
}

#[test]
fn without_its_first_chunk_a_scan_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(ran(WRITE, &at("scan")).outcome, Outcome::Done);
    for part in 0..4 {
        std::fs::remove_file(at("scan").join(format!("scan.ptyd.part00{part}"))).unwrap();
    }
    let report = ran(&read(&at("scan").join("scan.ptyd"), 24), &at("out"));
    let message = report.outcome.message().unwrap_or_default();
    assert!(message.contains("no chunk can be read"), "{message}");
}
