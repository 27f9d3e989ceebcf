//! Sources against files whose bytes are known, and their faults.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{bytes, pull, source};
use isard_core::prelude::*;
use isard_core::stage::{Arrival, Built, RunCx};
use isard_files::input::read_path;
use isard_files::npy::header;
use isard_files::tiff::Writer as Pages;
use isard_h5::{Compression, Dtype as H5, Image, Spec};

/// Frame `n` of 3 x 5 pixels.
fn frame(n: u16) -> Vec<u8> {
    (0..15).flat_map(|i| (n * 100 + i).to_ne_bytes()).collect()
}

fn frames(range: std::ops::Range<u16>) -> Vec<u8> {
    range.flat_map(frame).collect()
}

fn tiff(path: &Path, range: std::ops::Range<u16>, deflate: bool) {
    let mut pages = Pages::new(H5::U16, [3, 5], false).unwrap();
    if deflate {
        pages = pages.deflate();
    }
    range.for_each(|n| pages.page(&frame(n)).unwrap());
    fs::write(path, pages.into_bytes().unwrap()).unwrap();
}

fn npy(path: &Path, shape: &[u64], range: std::ops::Range<u16>) {
    fs::write(path, [header(H5::U16, shape), frames(range)].concat()).unwrap();
}

/// Gives the same frames from every position in pulls of every size, with exact extents.
fn gives(name: &str, set: &str, n: u16) {
    for room in [1, 3, 16] {
        for from in [0, 4, u64::from(n)] {
            let (opened, pulled) = pull(&mut *source(name, set), from, room).unwrap();
            assert_eq!((opened.frames, opened.live), (Some(u64::from(n)), false));
            assert_eq!(opened.shapes.get("image"), Shape::array(Dtype::U16, &[3, 5]));
            assert_eq!(bytes(&pulled, "image"), frames(from as u16..n), "{name} from {from} by {room}");
        }
    }
}

fn path(path: &Path) -> String {
    format!("path = {:?}", path.to_str().unwrap())
}

fn refuses(name: &str, set: &str) -> Error {
    pull(&mut *source(name, set), 0, 4).unwrap_err()
}

#[test]
fn pages_of_one_file() {
    let folder = tempfile::tempdir().unwrap();
    for (name, deflate) in [("raw.tif", false), ("deflate.tif", true)] {
        tiff(&folder.path().join(name), 0..7, deflate);
        gives("tiff.sequence", &path(&folder.path().join(name)), 7);
    }
}

#[test]
fn files_of_a_folder_come_in_natural_order() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..11 {
        tiff(&folder.path().join(format!("f{n}.tif")), n..n + 1, n % 2 == 1);
        npy(&folder.path().join(format!("f{n}.npy")), &[3, 5], n..n + 1);
    }
    gives("tiff.sequence", &path(folder.path()), 11);
    gives("tiff.sequence", &path(&folder.path().join("f*.tif")), 11);
    gives("npy.stack", &path(folder.path()), 11);
    gives("npy.stack", &path(&folder.path().join("f?*.npy")), 11);
    // Single and several pages by turns.
    tiff(&folder.path().join("f10.tif"), 10..14, false);
    tiff(&folder.path().join("f11.tif"), 14..15, false);
    gives("tiff.sequence", &path(folder.path()), 15);
}

#[test]
fn a_raw_stack_is_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    npy(&folder.path().join("a.npy"), &[6, 3, 5], 0..6);
    gives("npy.stack", &path(&folder.path().join("a.npy")), 6);
    let (_, pulled) = pull(&mut *source("npy.stack", &path(&folder.path().join("a.npy"))), 0, 2).unwrap();
    let at = |i: usize| match pulled[i].1.get("image") {
        Some(Value::Array(a)) => a.bytes().as_ptr() as usize,
        other => panic!("{other:?}"),
    };
    assert_eq!((at(1) - at(0), at(2) - at(1)), (60, 60));
}

#[test]
fn foreign_byte_order_is_turned() {
    // Written by numpy: see tests/formats.rs for what the pixels are.
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let of = |file: &str| pull(&mut *source("tiff.sequence", &path(&data.join(file))), 0, 4).unwrap().1;
    let (little, big) = (of("raw_u2_le.tif"), of("raw_u2_be.tif"));
    assert_eq!(bytes(&little, "image"), bytes(&big, "image"));
    let wanted: Vec<u8> = (0..117).flat_map(|i: i32| (3 * i % 120 - 60).to_ne_bytes()).collect();
    let stack = pull(&mut *source("npy.stack", &path(&data.join("c_be.npy"))), 0, 4).unwrap().1;
    assert_eq!(bytes(&stack, "image"), wanted);
    let whole = read_path(&RunCx::default(), data.join("c_be.npy").to_str().unwrap()).unwrap();
    let Value::Array(whole) = whole else { panic!("an array") };
    assert_eq!((whole.dtype(), whole.shape(), whole.bytes()), (Dtype::I32, &[13, 9][..], &*wanted));
}

#[test]
fn tiff_faults_name_file_and_page() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    tiff(&at("a1.tif"), 0..2, false);
    let mut other = Pages::new(H5::U8, [3, 5], false).unwrap();
    other.page(&[0; 15]).unwrap();
    fs::write(at("a2.tif"), other.into_bytes().unwrap()).unwrap();
    let error = refuses("tiff.sequence", &path(folder.path()));
    let wanted = format!("{}: frames are u8 [3, 5], wanted u16 [3, 5] as in a1.tif", at("a2.tif").display());
    assert_eq!((error.message(), error.blame()), (wanted.as_str(), Blame::Data));
    let whole = fs::read(at("a1.tif")).unwrap();
    fs::write(at("cut.tif"), &whole[..60]).unwrap();
    let error = refuses("tiff.sequence", &path(&at("cut.tif"))).to_string();
    assert!(error.contains("cut.tif"), "{error}");
    let error = refuses("tiff.sequence", &path(&at("a3.tif")));
    assert!(error.advice().unwrap().starts_with("did you mean `a"), "{error}");
}

#[test]
fn npy_faults_say_what_was_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("a.npy");
    npy(&at, &[7, 3, 5], 0..6);
    let error = refuses("npy.stack", &path(&at)).to_string();
    assert!(error.contains("is 308 bytes long, wanted 338"), "{error}");
    npy(&at, &[90], 0..6);
    assert!(refuses("npy.stack", &path(&at)).message().contains("has 1 axes [90], wanted [n y x] or [y x]"));
}

fn scan(at: &Path, compression: Compression) {
    let mut image = Image::new().unwrap();
    let spec = Spec::new(H5::U16, &[3, 5]).compress(compression).fletcher32(compression != Compression::None);
    let data = image.dataset("/entry/data", &spec).unwrap();
    image.append(data, &frames(0..8), 8).unwrap();
    image.attribute("/entry/data", "units", "count").unwrap();
    let omega = image.dataset("/entry/omega", &Spec::new(H5::F64, &[])).unwrap();
    image.append(omega, &(0..8).flat_map(|i| f64::from(i).to_ne_bytes()).collect::<Vec<_>>(), 8).unwrap();
    let mask = image.dataset("/entry/mask", &Spec::new(H5::U8, &[5])).unwrap();
    image.append(mask, &[1; 15], 3).unwrap();
    image.scalar("/entry/energy", H5::F64, &61.332f64.to_ne_bytes()).unwrap();
    image.text("/entry/sample", "gold").unwrap();
    fs::write(at, image.into_bytes().unwrap()).unwrap();
}

#[test]
fn datasets_with_head_and_columns() {
    let folder = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Deflate(1)] {
        let at = folder.path().join("scan.h5");
        scan(&at, compression);
        let address = format!("path = \"{}::/entry/data\"", at.display());
        gives("hdf5.dataset", &address, 8);
        let set = format!(
            "{address}\ncolumns = {{ omega = \"/entry/omega\" }}\nhead = {{ mask = \"/entry/mask\", \
             energy = \"/entry/energy\", sample = \"/entry/sample\", unit = \"/entry/data@units\" }}\nscan = [\"omega\"]"
        );
        let (opened, pulled) = pull(&mut *source("hdf5.dataset", &set), 3, 2).unwrap();
        assert_eq!(opened.scan, [("omega".to_owned(), 8)]);
        assert_eq!(opened.head.get("energy"), Some(&Value::Float(61.332)));
        assert_eq!(opened.head.get("sample"), Some(&Value::from("gold")));
        assert_eq!(opened.head.get("unit"), Some(&Value::from("count")));
        assert_eq!(opened.head.get("mask"), Some(&Array::of(&[3, 5], &[1u8; 15]).unwrap().into()));
        let omega: Vec<u8> = (3..8).flat_map(|i| f64::from(i).to_ne_bytes()).collect();
        assert_eq!(bytes(&pulled, "omega"), omega);
        assert_eq!(bytes(&pulled, "image"), frames(3..8));
    }
}

#[test]
fn hdf5_faults_name_what_is_near() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("scan.h5");
    scan(&at, Compression::None);
    let of = |rest: &str| format!("path = \"{}{rest}", folder.path().display());
    let error = refuses("hdf5.dataset", &of("/scam.h5::/entry/data\""));
    assert_eq!(error.advice(), Some("did you mean `scan.h5`?"));
    let error = refuses("hdf5.dataset", &of("/scan.h5::/entry/date\"")).to_string();
    assert!(error.contains("`/entry/data`"), "{error}");
    let error = refuses("hdf5.dataset", &of("/scan.h5::/entry/data\"\ncolumns = { m = \"/entry/mask\" }"));
    assert!(error.to_string().contains("has shape [3, 5], wanted 8 records"), "{error}");
    let error = refuses("hdf5.dataset", &of("/scan.h5::/entry/data\"\nhead = { m = \"/entry/data@unit\" }"));
    assert!(error.advice().unwrap().contains("`units`"), "{error}");
    let whole = fs::read(&at).unwrap();
    fs::write(&at, &whole[..whole.len() / 2]).unwrap();
    assert!(refuses("hdf5.dataset", &of("/scan.h5::/entry/data\"")).to_string().contains("scan.h5"));
}

#[test]
fn static_inputs_are_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let run = RunCx::default();
    npy(Path::new(&at("dark.npy")), &[3, 5], 4..5);
    tiff(Path::new(&at("mask.tif")), 4..5, true);
    tiff(Path::new(&at("many.tif")), 4..6, false);
    scan(Path::new(&at("scan.h5")), Compression::Lzf);
    let one: Value = Array::of(&[3, 5], &(400..415).collect::<Vec<u16>>()).unwrap().into();
    assert_eq!(read_path(&run, &at("dark.npy")).unwrap(), one);
    assert_eq!(read_path(&run, &at("mask.tif")).unwrap(), one);
    let Value::Array(many) = read_path(&run, &at("many.tif")).unwrap() else { panic!("an array") };
    assert_eq!((many.shape(), many.bytes()), (&[2, 3, 5][..], &*frames(4..6)));
    assert_eq!(read_path(&run, &(at("scan.h5") + "::/entry/energy")).unwrap(), Value::Float(61.332));
    assert!(read_path(&run, &at("scan.h5")).unwrap_err().advice().unwrap().contains("::/entry/data"));
    assert!(read_path(&run, &at("scan.doc")).unwrap_err().message().contains("no such file"));
}

#[test]
fn examples_run() {
    for name in [
        "tiff.sequence",
        "edf.sequence",
        "cbf.sequence",
        "npy.stack",
        "npz.stack",
        "raw.stack",
        "hdf5.dataset",
    ] {
        let registry = isard_core::registry::Registry::built_in().unwrap();
        let example = (registry.find(name).unwrap().example)();
        let (opened, pulled) = pull(&mut *source(name, &example.set), 0, 3).unwrap();
        assert_eq!(opened.frames, Some(4), "{name}");
        assert_eq!(pulled.iter().map(|(_, d)| d.get("image").unwrap().records().unwrap()).sum::<usize>(), 4);
    }
}

#[test]
fn rows_of_tables_take_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("motors.txt");
    fs::write(&at, "# n omega name\n2 0.5 a\n3 1.0 b\n7 1.5 c\n").unwrap();
    let rows = |set: &str| {
        let Built::Source(mut source) = common::build("table.rows", &(path(&at) + set)).unwrap() else {
            panic!("a source")
        };
        let run = common::context();
        let cx = Cx::new(&run, "rows");
        let opened = source.open(&cx, Dict::new(), Position { next: 0 }).unwrap();
        let mut slots = Slots::<Dict>::new(2, 0);
        while source.pull(&cx, &mut slots).unwrap() == Pull::Ready {}
        (opened.frames, slots.take())
    };
    let (frames, given) = rows("\nnumber = \"n\"\ncolumns = { angle = \"omega\" }");
    assert_eq!(frames, Some(8));
    let said: Vec<String> = given
        .iter()
        .map(|arrival| match arrival {
            Arrival::Frames { first, count, data } => format!("{first}+{count} {:?}", data.get("angle")),
            Arrival::Lost { number, .. } => format!("lost {number}"),
        })
        .collect();
    assert_eq!(said.len(), 5, "{said:?}");
    assert!(said[0].starts_with("2+2") && said[4].starts_with("7+1"), "{said:?}");
    assert_eq!(said[1..4], ["lost 4", "lost 5", "lost 6"]);
    // Counted rows, texts among them; and datasets of one file.
    let (frames, given) = rows("");
    assert_eq!((frames, given.len()), (Some(3), 2));
    let Arrival::Frames { data, .. } = &given[0] else { panic!("rows") };
    assert_eq!(data.get("name"), Some(&vec![Value::from("a"), Value::from("b")].into()));
    let scan_at = folder.path().join("scan.h5");
    scan(&scan_at, Compression::None);
    let set =
        format!("path = \"{}::/entry/omega\"\ncolumns = {{ omega = \"/entry/omega\" }}", scan_at.display());
    let Built::Source(mut source) = common::build("table.rows", &set).unwrap() else { panic!("a source") };
    let run = RunCx { reader: Some(std::sync::Arc::new(read_path)), ..RunCx::default() };
    let cx = Cx::new(&run, "rows");
    assert_eq!(source.open(&cx, Dict::new(), Position { next: 3 }).unwrap().frames, Some(8));
    let mut slots = Slots::<Dict>::new(16, 3);
    source.pull(&cx, &mut slots).unwrap();
    let Some(Arrival::Frames { first: 3, count: 5, data }) = slots.take().pop() else { panic!("rows") };
    assert_eq!(data.get("omega"), Some(&Array::from_slice(&[3.0, 4.0, 5.0, 6.0, 7.0]).into()));
}
