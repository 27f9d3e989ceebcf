//! Files that are written, read by other programs and by this one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

use isard_core::plan;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_core::store::{self, RealFiles, Verdict};
use isard_stem as _;

/// Runs a recipe into a folder, stopped and resumed in between when asked.
fn run(text: &str, out: &Path) {
    let recipe = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let (plan, _) = plan::make(&recipe, &Registry::built_in().unwrap()).unwrap_or_else(|f| panic!("{f}"));
    let report =
        run::run(&plan, Options::new(Out::Folder { path: out.to_owned(), overwrite: false })).unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    assert_eq!(store::verify(&RealFiles, out).unwrap().verdict, Verdict::Good);
}

fn recipe(write: &str) -> String {
    format!(
        r#"
        isard = "0.1"
        name = "written"
        [run]
        chunk = 5
        seed = 4
        checkpoint_frames = 13
        limits = {{ missing = 2 }}
        [stage.frames]
        use = "stem.simulate"
        set = {{ scan = [6, 7], grid = [32, 32], repeat = [1, 1, 1], shape = [16, 12], model = "phase", dose = 2000.0, lose = [9, 41] }}
        {write}
        "#
    )
}

fn emd(more: &str) -> String {
    recipe(&format!(
        "[stage.save]\nuse = \"emd.write\"\nfrom = \"frames\"\nin = {{ image = \"frames.image\", axes = \"frames.head.axes\" }}\nset = {{ path = \"scan.emd\"{more} }}"
    ))
}

/// The cube of an EMD file.
fn cube(out: &Path) -> (Vec<u64>, Vec<u8>, Vec<u8>) {
    let file = isard_h5::File::open(out.join("scan.emd")).unwrap();
    let data = file.dataset("/scan/image/data").unwrap();
    let valid = file.dataset("/scan/image_valid/data").unwrap().read_all().unwrap();
    (data.shape().to_vec(), data.read_all().unwrap(), valid)
}

#[test]
fn a_scan_larger_than_its_part_goes_into_parts_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    run(&emd(""), &whole);
    let (shape, pixels, valid) = cube(&whole);
    assert_eq!(shape, [6, 7, 16, 12]);
    assert_eq!(valid.iter().filter(|v| **v == 0).count(), 2);
    assert!(!whole.join("scan.parts").exists());
    // A frame is 384 bytes, a line of seven 2688.
    for (bytes, parts) in [(3000, 6), (6000, 3), (9000, 2)] {
        let out = folder.path().join(format!("parts{bytes}"));
        run(&emd(&format!(", part_bytes = {bytes}")), &out);
        assert_eq!(cube(&out), (shape.clone(), pixels.clone(), valid.clone()), "{bytes}");
        let found = std::fs::read_dir(out.join("scan.parts")).unwrap().count();
        assert!(found.abs_diff(parts) <= 1 && found > 1, "{bytes}: {found} parts");
    }
}

#[test]
fn h5py_finds_the_cube_of_an_emd_file() {
    let python = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let there = Command::new(&python).args(["-c", "import h5py, numpy"]).output();
    if !there.is_ok_and(|out| out.status.success()) {
        let text = "skipped: h5py_finds_the_cube_of_an_emd_file (python3 with h5py not found)\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, more) in [("whole", ""), ("parts", ", part_bytes = 3000")] {
        let out = folder.path().join(name);
        run(&emd(more), &out);
        // What emdfile asks of a file, and the axes by their definition: two points each, with name and unit.
        let script = "import h5py, numpy as np\nf = h5py.File('scan.emd')\n\
            assert f.attrs['emd_group_type'] == 'file' and f.attrs['version_major'] == 1\n\
            assert f['scan'].attrs['emd_group_type'] == 'root'\ng = f['scan/image']\n\
            assert g.attrs['emd_group_type'] == 'array' and g.attrs['python_class'] == 'DataCube'\n\
            d = g['data'][...]\nassert d.shape == (6, 7, 16, 12) and d.dtype == np.uint16\n\
            assert [g['dim%d' % i].attrs['name'] for i in range(4)] == ['scan_y', 'scan_x', 'detector_y', 'detector_x']\n\
            assert g['dim0'].attrs['units'] == 'angstrom' and g['dim2'].attrs['units'] == 'rad'\n\
            assert abs(g['dim1'][1] - g['dim1'][0] - 5.4309 / 7) < 1e-9\n\
            assert d[1, 2].sum() == 0 and d[5, 6].sum() == 0 and d[0, 0].sum() > 1000\nprint('read')\n";
        let read = Command::new(&python).args(["-c", script]).current_dir(&out).output().unwrap();
        assert!(read.status.success(), "{name}: {}", String::from_utf8_lossy(&read.stderr));
    }
}

#[test]
fn a_mib_file_is_the_scan_with_lost_frames_at_their_points() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    run(
        &recipe(
            "[stage.save]\nuse = \"mib.write\"\nfrom = \"frames\"\nset = { path = \"scan.mib\" }\n[stage.raw]\nuse = \"emd.write\"\nfrom = \"frames\"\nin = { image = \"frames.image\", axes = \"frames.head.axes\" }\nset = { path = \"scan.emd\" }",
        ),
        &out,
    );
    let (_, pixels, _) = cube(&out);
    let path = out.join("scan.mib");
    let again = folder.path().join("again");
    let text = format!(
        "isard = \"0.1\"\nname = \"again\"\n[run]\nlimits = {{ missing = 2 }}\n[stage.frames]\nuse = \"stem.mib\"\nset = {{ path = {:?}, scan = [6, 7] }}\n\
         [stage.save]\nuse = \"emd.write\"\nfrom = \"frames\"\nin = {{ image = \"frames.image\", axes = \"frames.head.axes\" }}\nset = {{ path = \"scan.emd\" }}\n",
        path.display()
    );
    run(&text, &again);
    let (shape, back, valid) = cube(&again);
    assert_eq!(shape, [6, 7, 16, 12]);
    assert!(back == pixels);
    let lost: Vec<usize> = valid.iter().enumerate().filter(|(_, v)| **v == 0).map(|(n, _)| n).collect();
    assert_eq!(lost, [9, 41]);
}

/// What does not fit in memory is put aside, and the file is the same; resumed or not, with checkpoints on the way.
#[test]
fn a_mib_file_is_the_same_whatever_is_put_aside() {
    let folder = tempfile::tempdir().unwrap();
    for stream in [false, true] {
        let write = |more: &str| {
            let set = format!("{{ path = \"scan.mib\", stream = {stream}{more} }}");
            recipe(&format!("[stage.save]\nuse = \"mib.write\"\nfrom = \"frames\"\nset = {set}"))
        };
        let whole = folder.path().join(format!("whole{stream}"));
        run(&write(""), &whole);
        let wanted = std::fs::read(whole.join("scan.mib")).unwrap();
        // A frame takes 768 bytes: pieces of one frame, of some, and a limit below one.
        for bytes in [1, 800, 5000, 20_000] {
            let out = folder.path().join(format!("pieces{stream}{bytes}"));
            run(&write(&format!(", piece_bytes = {bytes}")), &out);
            assert!(std::fs::read(out.join("scan.mib")).unwrap() == wanted, "{bytes}");
            let names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert!(names.iter().all(|n| !n.to_string_lossy().contains("mib.0")), "{names:?}");
        }
    }
}
