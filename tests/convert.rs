//! `isard convert` and `isard info`: every pixel comes back, and what a format cannot hold is said.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/shared.rs"]
mod shared;

use std::path::Path;
use std::process::{Command, Output};

use isard_core::stage::RunCx;
use isard_core::value::{Array, Value};
use isard_files::input::read_path;
use isard_files::output::npy_bytes;
use shared::reference;

fn isard(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_isard")).args(arguments).current_dir(folder).output();
    output.expect("isard starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Converts and gives what was printed.
fn convert(folder: &Path, arguments: &[&str]) -> String {
    let output = isard(folder, &[&["convert"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout) + &text(&output.stderr)
}

fn array(path: &Path) -> Array {
    match read_path(&RunCx::default(), path.to_str().unwrap()).unwrap() {
        Value::Array(array) => array,
        other => panic!("{}", other.describe()),
    }
}

#[test]
fn pixels_go_through_every_format_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let pixels: Vec<u16> = (0..7 * 5 * 4u32).map(|i| (i * 977 % 65536) as u16).collect();
    let stack = Array::of(&[7, 5, 4], &pixels).unwrap();
    std::fs::write(at("a.npy"), npy_bytes(&stack)).unwrap();
    let chain = ["a.npy", "b.tif", "c.edf", "d.nxs", "e.tiff", "f.npy"];
    for pair in chain.windows(2) {
        convert(folder.path(), &[pair[0], pair[1]]);
    }
    assert_eq!(std::fs::read(at("f.npy")).unwrap(), std::fs::read(at("a.npy")).unwrap());
    // One frame in a file: a folder, which is read back as one series.
    let said = convert(folder.path(), &["d.nxs", "g.cbf"]);
    assert!(said.contains("7 frames by hdf5.dataset and cbf.write: 7 files"), "{said}");
    convert(folder.path(), &["g.parts", "h.npy"]);
    assert_eq!(std::fs::read(at("h.npy")).unwrap(), std::fs::read(at("a.npy")).unwrap());
    assert!(!at("h.parts").exists() && !at("b.parts").exists());
    // What is there stays unless it is said.
    let output = isard(folder.path(), &["convert", "a.npy", "f.npy"]);
    assert!(text(&output.stderr).contains("--overwrite"), "{}", text(&output.stderr));
    convert(folder.path(), &["a.npy", "f.npy", "--overwrite"]);
}

#[test]
fn what_a_format_cannot_hold_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let stack = Array::of(&[2, 2, 2], &[0.5f32, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]).unwrap();
    std::fs::write(at("a.npy"), npy_bytes(&stack)).unwrap();
    let output = isard(folder.path(), &["convert", "a.npy", "a.cbf"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("f32, which CBF files do not hold"), "{}", text(&output.stderr));
    let output = isard(folder.path(), &["convert", "a.npy", "a.xyz"]);
    assert!(
        text(&output.stderr).contains(".tif") && output.status.code() == Some(2),
        "{}",
        text(&output.stderr)
    );
    // Units, columns, a mask: a NeXus set keeps them, a TIFF file cannot.
    use isard_h5::{Dtype, Image, Spec};
    let mut image = Image::new().unwrap();
    let data = image.dataset("/entry/data/data", &Spec::new(Dtype::U16, &[2, 3])).unwrap();
    image.append(data, &(0..24u16).flat_map(u16::to_ne_bytes).collect::<Vec<_>>(), 4).unwrap();
    image.attribute("/entry/data/data", "units", "count").unwrap();
    let omega = image.dataset("/entry/data/omega", &Spec::new(Dtype::F64, &[])).unwrap();
    image.append(omega, &[0.0f64, 0.5, 1.0, 1.5].map(f64::to_ne_bytes).concat(), 4).unwrap();
    image.attribute("/entry/data/omega", "units", "degree").unwrap();
    image.nexus_data("/entry/data", "data", &["omega", ".", "."]).unwrap();
    let mask = image.dataset("/entry/instrument/detector/pixel_mask", &Spec::new(Dtype::U8, &[3])).unwrap();
    image.append(mask, &[0, 0, 1, 0, 0, 0], 2).unwrap();
    std::fs::write(at("scan.h5"), image.into_bytes().unwrap()).unwrap();
    let said = convert(folder.path(), &["scan.h5", "scan.tif"]);
    for wanted in ["units are not kept: image in count", "`pixel_mask`", "plotted against `omega`"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let said = convert(folder.path(), &["scan.h5::/entry/data/data", "out/kept.nxs"]);
    assert!(!said.contains("not kept"), "{said}");
    // And once more, from what isard wrote.
    convert(folder.path(), &["out/kept.nxs", "again.nxs"]);
    for file in ["out/kept.nxs", "again.nxs"] {
        let read =
            |path: &str| read_path(&RunCx::default(), &format!("{}::{path}", at(file).display())).unwrap();
        assert_eq!(read("/entry/data/omega"), Array::from_slice(&[0.0, 0.5, 1.0, 1.5]).into());
        assert_eq!(read("/entry/data/image@units"), Value::from("count"));
        assert_eq!(read("/entry/data/omega@units"), Value::from("degree"));
        let mask = Array::of(&[2, 3], &[0u8, 0, 1, 0, 0, 0]).unwrap();
        assert_eq!(read("/entry/constants/head/pixel_mask"), mask.into());
        let axes = isard_h5::File::open(at(file)).unwrap().attribute("/entry/data", "axes").unwrap();
        assert_eq!(axes, Some(isard_h5::Attr::from(&["omega", ".", "."][..])));
    }
}

#[test]
fn a_picture_keeps_no_pixels_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.npy"), npy_bytes(&Array::of(&[2, 2, 2], &[1u8; 8]).unwrap()))
        .unwrap();
    let output = isard(folder.path(), &["convert", "a.npy", "a.png"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("pixels are not kept"), "{}", text(&output.stderr));
}

/// The frames of all data files of a master, not those of one.
#[test]
fn a_master_file_is_one_series() {
    let Some(npy) = reference("a_master_file_is_one_series", "data/stem4d/scan.npy") else { return };
    let master = npy.with_file_name("eiger_master.h5");
    let folder = tempfile::tempdir().unwrap();
    let info = isard(folder.path(), &["info", master.to_str().unwrap(), "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    let main = found["items"].as_array().unwrap().iter().find(|item| item["main"] == true).unwrap();
    let scan = array(&npy);
    let points = (scan.shape()[0] * scan.shape()[1]) as u64;
    assert_eq!((main["stage"].as_str(), main["frames"].as_u64()), (Some("dectris.master"), Some(points)));
    // As h5py 3.16 shows the master.
    let trigger = found["items"].as_array().unwrap().iter().find(|item| item["value"] == "exte");
    assert!(trigger.is_some_and(|item| item["path"].as_str().unwrap().ends_with("/trigger_mode")));
    convert(folder.path(), &[master.to_str().unwrap(), "all.npy"]);
    // The README of the reference data says that both hold the same counts, here in 32 bits.
    let all = array(&folder.path().join("all.npy"));
    assert!(all.to_f64().unwrap() == scan.to_f64().unwrap());
}

#[test]
fn info_names_the_path_of_a_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let pixels: Vec<i32> = (0..24).collect();
    std::fs::write(folder.path().join("a.npy"), npy_bytes(&Array::of(&[4, 2, 3], &pixels).unwrap())).unwrap();
    convert(folder.path(), &["a.npy", "a.nxs"]);
    convert(folder.path(), &["a.npy", "frames.cbf"]);
    for (path, stage, wanted) in [
        ("a.npy", "npy.stack", "a.npy"),
        ("a.nxs", "hdf5.dataset", "a.nxs::/entry/data/image"),
        ("frames.parts", "cbf.sequence", "frames.parts"),
    ] {
        let output = isard(folder.path(), &["info", path, "--json"]);
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let items = found["items"].as_array().unwrap();
        let main = items.iter().find(|item| item["main"] == true).unwrap();
        assert_eq!((main["stage"].as_str(), main["path"].as_str()), (Some(stage), Some(wanted)));
        assert_eq!(main["dtype"], "i32");
        // The path is what a recipe takes.
        let recipe = format!(
            "isard = \"0.1\"\nname = \"t\"\n[stage.frames]\nuse = {stage:?}\nset = {{ path = {wanted:?} }}\n\
             [stage.sum]\nuse = \"image.sum\"\nfrom = \"frames\"\n[stage.save]\nuse = \"npy.write\"\nfrom = \"sum\"\n\
             in = {{ image = \"sum.image\" }}\nset = {{ path = \"sum.npy\" }}\n"
        );
        std::fs::write(folder.path().join("t.toml"), recipe).unwrap();
        let run = isard(folder.path(), &["run", "t.toml", "--quiet"]);
        assert_eq!(run.status.code(), Some(0), "{path}: {}", text(&run.stderr));
        assert!(text(&isard(folder.path(), &["info", path]).stdout).contains(&format!("use = {stage:?}")));
    }
    let output = isard(folder.path(), &["info", "b.npy"]);
    assert!(text(&output.stderr).contains("did you mean `a.npy`"), "{}", text(&output.stderr));
}

#[test]
fn real_frames_come_back() {
    let name = "real_frames_come_back";
    let Some(from) = reference(name, "data/frames/hedm/ge3_crop512.cbf") else { return };
    let folder = tempfile::tempdir().unwrap();
    let from = from.to_str().unwrap();
    let said = convert(folder.path(), &[from, "a.edf"]);
    assert!(said.contains("constants are not kept: `title`"), "{said}");
    convert(folder.path(), &["a.edf", "b.cbf"]);
    convert(folder.path(), &["b.cbf", "c.tif"]);
    assert_eq!(array(&folder.path().join("c.tif")).bytes(), array(Path::new(from)).bytes());
}

#[test]
fn new_recipes_are_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["eiger", "pilatus", "lima", "folder"] {
        std::fs::write(folder.path().join(format!("{kind}.h5")), "").unwrap();
        let data = format!("{kind}.h5::/entry/data");
        let made = isard(folder.path(), &["new-recipe", kind, "--data", &data]);
        assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
        let recipe = std::fs::read_to_string(folder.path().join(format!("{kind}.toml"))).unwrap();
        // A master file speaks for its datasets.
        let path = if kind == "eiger" { "eiger.h5" } else { data.as_str() };
        assert!(recipe.contains(&format!("path = {path:?}")), "{recipe}");
        let checked = isard(folder.path(), &["check", &format!("{kind}.toml")]);
        assert_eq!(checked.status.code(), Some(0), "{kind}: {}", text(&checked.stderr));
        let again = isard(folder.path(), &["new-recipe", kind]);
        assert!(text(&again.stderr).contains("--out"), "{}", text(&again.stderr));
    }
    // What is followed may still have to appear.
    let recipe = std::fs::read_to_string(folder.path().join("pilatus.toml")).unwrap();
    let recipe =
        recipe.replace("# follow", "follow").replace("pilatus.h5::/entry/data", "later/scan_#####.cbf");
    std::fs::write(folder.path().join("later.toml"), recipe).unwrap();
    let checked = isard(folder.path(), &["check", "later.toml"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    // A folder of frames runs as it stands.
    let stack = Array::of(&[3, 2, 2], &[0u16, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]).unwrap();
    std::fs::write(folder.path().join("a.npy"), npy_bytes(&stack)).unwrap();
    convert(folder.path(), &["a.npy", "frames.tif", "--write", "pages=1"]);
    isard(folder.path(), &["new-recipe", "folder", "--data", "frames.parts", "--out", "mine.toml"]);
    let run = isard(folder.path(), &["run", "mine.toml", "--quiet", "--out", "out"]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let sum = read_path(
        &RunCx::default(),
        &format!("{}::/entry/result/image", folder.path().join("out/sum.nxs").display()),
    );
    let Value::Array(sum) = sum.unwrap() else { panic!("an array") };
    assert_eq!(sum.to_f64().unwrap(), [12.0, 15.0, 18.0, 21.0]);
}

/// The geometry of the case that pyFAI made: without tilts the beam's centre is the point of normal incidence.
#[test]
fn a_poni_file_becomes_lines_of_a_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let poni = "poni_version: 2\nDetector: Detector\nDetector_config: {\"pixel1\": 1e-4, \"pixel2\": 2e-4, \
                \"max_shape\": [100, 50]}\nDistance: 0.25\nPoni1: 0.005\nPoni2: 0.004\nRot1: 0\nRot2: 0\nRot3: 0\n\
                Wavelength: 1e-10\n";
    std::fs::write(folder.path().join("a.poni"), poni).unwrap();
    let made = isard(folder.path(), &["import", "poni", "a.poni"]);
    let said = text(&made.stdout);
    for wanted in [
        "distance = \"250 mm\"",
        "row = \"50 pixel\"",
        "column = \"20 pixel\"",
        "pixel_column = \"200 um\"",
        "wavelength = \"1 angstrom\"",
        "shape = [100, 50]",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said} {}", text(&made.stderr));
    }
}
