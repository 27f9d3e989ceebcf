//! NPY, TIFF, CSV and PNG as written, broken off and gone on with.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::{Memory, bytes, context, h5py, pull, source, writer};
use isard_core::prelude::*;
use isard_core::span::{Ranges, SNAPSHOT};

fn image(from: u64, to: u64) -> Dict {
    let pixels: Vec<u16> = (from..to).flat_map(|n| (0..6).map(move |i| (n * 10 + i) as u16)).collect();
    Dict::new().with("image", Array::of(&[(to - from) as usize, 2, 3], &pixels).unwrap())
}

/// Writes spans of frames with a commit after the second, from which a fresh writer goes on.
fn write(name: &str, set: &str, spans: &[(u64, u64)], input: impl Fn(u64, u64) -> Dict) -> Arc<Memory> {
    let (run, out) = (context(), Arc::new(Memory::default()));
    let cx = Cx::new(&run, "save");
    let mut stage = writer(name, set);
    stage.open(&cx, out.clone(), None).unwrap();
    for (i, (from, to)) in spans.iter().enumerate() {
        *out.fail.lock().unwrap() = 1;
        let once = |stage: &mut Box<dyn isard_core::stage::AnyWriter>| {
            stage.write(&cx, &Span::frames(*from, to - from), input(*from, *to))
        };
        if once(&mut stage).is_err() {
            once(&mut stage).unwrap();
        }
        *out.fail.lock().unwrap() = 0;
        if i == 1 {
            let state = stage.commit(&cx).unwrap();
            stage = writer(name, set);
            stage.open(&cx, out.clone(), Some(state)).unwrap();
        }
    }
    stage.finish(&cx, &Ranges::default()).unwrap();
    out
}

fn snapshots(name: &str, set: &str, last: u64, input: impl Fn(u64) -> Dict) -> Arc<Memory> {
    let (run, out) = (context(), Arc::new(Memory::default()));
    let cx = Cx::new(&run, "save");
    let mut stage = writer(name, set);
    stage.open(&cx, out.clone(), None).unwrap();
    for n in 0..=last {
        let input = input(n).into_iter().map(|(k, v)| (k, v.lead(n))).collect();
        stage.write(&cx, &Span { axis: SNAPSHOT, start: n, len: 1 }, input).unwrap();
    }
    stage.finish(&cx, &Ranges::default()).unwrap();
    out
}

/// What a source reads from the files of an output.
fn back(out: &Memory, name: &str, path: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    out.dump(folder.path());
    let set = format!("path = {:?}", folder.path().join(path).to_str().unwrap());
    bytes(&pull(&mut *source(name, &set), 0, 4).unwrap().1, "image")
}

fn pixels(ranges: &[(u64, u64)]) -> Vec<u8> {
    let of = |(a, b): &(u64, u64)| bytes(&[(0, image(*a, *b))], "image");
    ranges.iter().flat_map(of).collect()
}

#[test]
fn npy_parts_and_the_whole() {
    let spans = [(0, 3), (3, 5), (5, 9)];
    let out = write("npy.write", "path = \"a.npy\"\npart_bytes = 48", &spans, image);
    // Four frames of twelve bytes fill a part; the commit after frame 4 ends one early.
    let parts = ["a.parts/000000000.npy", "a.parts/000000004.npy", "a.parts/000000005.npy"];
    assert_eq!(out.names(), [&["a.npy"][..], &parts].concat());
    assert_eq!(back(&out, "npy.stack", "a.npy"), pixels(&[(0, 9)]));
    assert_eq!(back(&out, "npy.stack", "a.parts"), pixels(&[(0, 9)]));
    let out = write("npy.write", "path = \"a.npy\"\nwhole_bytes = 100", &spans, image);
    assert_eq!(out.names(), ["a.parts/000000000.npy", "a.parts/000000005.npy"]);
    let out = write("npy.write", "path = \"a.npy\"", &[(0, 2), (4, 5)], image);
    assert_eq!(out.names(), ["a.parts/000000000.npy", "a.parts/000000004.npy"]);
    let one = |n: u64| Dict::new().with("image", Array::from_slice(&[n as f64, 0.5]));
    let out = snapshots("npy.write", "path = \"a.npy\"", 2, one);
    assert_eq!(out.names(), ["a.npy"]);
    assert!(out.file("a.npy").ends_with(&[2.0f64, 0.5].map(f64::to_ne_bytes).concat()));
}

#[test]
fn tiff_files_are_named_by_their_first_frame() {
    let spans = [(0, 3), (5, 6), (6, 9)];
    let out = write("tiff.write", "path = \"a.tif\"\npages = 2", &spans, image);
    let names = ["a.parts/000000000.tif", "a.parts/000000002.tif", "a.parts/000000005.tif"];
    assert_eq!(out.names(), [&names[..], &["a.parts/000000006.tif", "a.parts/000000008.tif"]].concat());
    assert_eq!(back(&out, "tiff.sequence", "a.parts"), pixels(&[(0, 3), (5, 9)]));
    let out = write("tiff.write", "path = \"a.tiff\"\ncompress = true", &spans, image);
    assert_eq!(out.names().len(), 7);
    assert_eq!(back(&out, "tiff.sequence", "a.parts"), pixels(&[(0, 3), (5, 9)]));
    let one = |n: u64| Dict::new().with("image", Array::of(&[1, 2], &[n as f32, 0.5]).unwrap());
    let out = snapshots("tiff.write", "path = \"a.tif\"", 1, one);
    assert_eq!(back(&out, "tiff.sequence", "a.tif"), [1.0f32, 0.5].map(f32::to_ne_bytes).concat());
}

#[test]
fn numpy_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    write("npy.write", "path = \"a.npy\"", &[(0, 3), (3, 5)], image).dump(folder.path());
    write("csv.write", "path = \"a.csv\"", &[(0, 3), (5, 6)], sums).dump(folder.path());
    let script = "
import numpy as np
want = np.array([[n * 10 + i for i in range(6)] for n in range(5)], 'u2').reshape(5, 2, 3)
got = np.load('a.npy')
assert got.dtype == want.dtype and np.array_equal(got, want)
rows = np.genfromtxt('a.csv', delimiter=',', names=True)
assert rows.dtype.names == ('frame', 'sum', 'centre_0', 'centre_1'), rows.dtype
assert list(rows['frame']) == [0, 1, 2, 5] and list(rows['sum']) == [0.1, 1.1, 2.1, 5.1]
print('read')
";
    if let Some(said) = h5py("numpy_reads_them", folder.path(), script) {
        assert_eq!(said, "read\n");
    }
}

fn sums(from: u64, to: u64) -> Dict {
    let sum: Vec<f64> = (from..to).map(|n| format!("{n}.1").parse().unwrap()).collect();
    let centre: Vec<f32> = (from..to).flat_map(|n| [n as f32, f32::NAN]).collect();
    let shape = [sum.len(), 2];
    Dict::new().with("sum", Array::from_slice(&sum)).with("centre", Array::of(&shape, &centre).unwrap())
}

fn text(out: &Memory, name: &str) -> String {
    String::from_utf8(out.file(name)).unwrap()
}

#[test]
fn csv_rows_of_numbers() {
    let out = write("csv.write", "path = \"a.csv\"", &[(0, 1), (1, 2), (7, 8)], sums);
    assert_eq!(text(&out, "a.csv"), "frame,sum,centre_0,centre_1\n0,0.1,0,NaN\n1,1.1,1,NaN\n7,7.1,7,NaN\n");
    let out = write("csv.write", "path = \"a.csv\"\nfile_bytes = 20", &[(0, 1), (1, 2), (2, 5)], sums);
    assert_eq!(out.names(), ["a.000001.csv", "a.000002.csv", "a.csv"]);
    assert_eq!(text(&out, "a.000002.csv"), "frame,sum,centre_0,centre_1\n4,4.1,4,NaN\n");
    let out = snapshots("csv.write", "path = \"a.csv\"", 1, |n| Dict::new().with("cost", n as f64 / 2.0));
    assert_eq!(text(&out, "a.csv"), "snapshot,cost\n0,0\n1,0.5\n");
}

#[test]
fn csv_of_tables_and_curves() {
    let table = |from: u64, to: u64| {
        let at: Vec<u64> = (from..to).flat_map(|n| vec![n; n as usize % 3]).collect();
        let label = at.iter().map(|n| Arc::from(format!("a \"{n}\", b"))).collect();
        let table = Table::new(at.len()).with_column("label", Column::Text(label)).unwrap();
        Dict::new().with("peaks", table.with_records(&at).unwrap())
    };
    let out = write("csv.write", "path = \"a.csv\"", &[(0, 2), (2, 3)], table);
    let row = |n: u64| format!("{n},\"a \"\"{n}\"\", b\"\n");
    assert_eq!(text(&out, "a.csv"), format!("frame,label\n{}{}{}", row(1), row(2), row(2)));
    let curves = |n: u64| {
        let (q, i) = (Array::from_slice(&[0.5, 1.5]), Array::from_slice(&[n as f32, 3.0]));
        Dict::new().with("q", q).with("intensity", i)
    };
    let out = snapshots("csv.write", "path = \"a.csv\"", 2, curves);
    assert_eq!(text(&out, "a.csv"), "q,intensity\n0.5,2\n1.5,3\n");
}

#[test]
fn csv_refuses_images() {
    let (run, out) = (context(), Arc::new(Memory::default()));
    let cx = Cx::new(&run, "save");
    let mut stage = writer("csv.write", "path = \"a.csv\"");
    stage.open(&cx, out, None).unwrap();
    let error = stage.write(&cx, &Span::frames(0, 1), image(0, 1)).unwrap_err();
    assert_eq!(error.message(), "`image` holds [2, 3] for each row, wanted a number or a vector");
}

/// Width and height of a PNG file.
fn size(png: &[u8]) -> (u32, u32) {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let at = |i: usize| u32::from_be_bytes(png[i..i + 4].try_into().unwrap());
    (at(16), at(20))
}

#[test]
fn pictures_show_the_latest_and_keep_some() {
    let spans = [(0, 3), (3, 5), (5, 9)];
    let set = "path = \"a.png\"\nevery = 4\ntitle = \"frame\"";
    let out = write("png.write", set, &spans, image);
    let kept = ["a.parts/000000000.png", "a.parts/000000004.png", "a.parts/000000008.png"];
    assert_eq!(out.names(), [&kept[..], &["a.png"]].concat());
    assert!(out.file("a.png") == out.file(kept[2]) && size(&out.file("a.png")).0 > 100);
    let with = |rings: Option<Table>, mask: Option<Array>| {
        let input = |from: u64, to: u64| {
            let mut input = image(from, to);
            if let Some(rings) = &rings {
                input.set("rings", rings.clone().with_record(to - 1));
            }
            if let Some(mask) = &mask {
                input.set("mask", mask.clone());
            }
            input
        };
        write("png.write", set, &spans, input).file("a.png")
    };
    let points = |third: &'static str| {
        let table = Table::new(2).with("y", &[0.0, 1.0]).unwrap().with("x", &[0.0, 2.0]).unwrap();
        table.with(third, &[1.0, 1.0]).unwrap()
    };
    let plain = with(None, None);
    let (circles, lines) = (with(Some(points("radius")), None), with(Some(points("line")), None));
    assert!(plain != circles && plain != lines && circles != lines);
    assert!(plain != with(None, Some(Array::of(&[2, 3], &[0u8, 0, 0, 0, 1, 0]).unwrap())));
    let curve = |n: u64| Dict::new().with("image", Array::from_slice(&[1.0, n as f64, 4.0]));
    assert!(size(&snapshots("png.write", "path = \"a.png\"", 1, curve).file("a.png")).0 > 400);
}

#[test]
fn wrong_parameters_are_faults() {
    let faults = |name: &str, set: &str| {
        let built = common::build(name, set).unwrap();
        built.stage().check().into_iter().map(|f| f.parameter).collect::<Vec<_>>()
    };
    assert_eq!(faults("hdf5.write", "path = \"a.tif\"\npart_bytes = 0"), ["path", "part_bytes"]);
    assert_eq!(
        faults("png.write", "path = \"a\"\nlow = 1.0\npercentiles = [5, 5]"),
        ["path", "high", "percentiles"]
    );
    assert_eq!(faults("tiff.write", "path = \".tif\"\npages = 0"), ["path", "pages"]);
    assert_eq!(faults("csv.write", "path = \"a/.csv\""), ["path"]);
    assert_eq!(faults("npy.write", "path = \"\""), ["path"]);
    assert_eq!(faults("hdf5.dataset", "path = \"a.h5\"\ncolumns = { image = \"/a\" }"), ["path", "columns"]);
    assert!(common::build("tiff.sequence", "path = \"a\"\npages = 1").is_err());
}

#[test]
fn examples_are_written() {
    for name in ["hdf5.write", "npy.write", "tiff.write", "csv.write", "png.write"] {
        let registry = isard_core::registry::Registry::built_in().unwrap();
        let declaration = registry.find(name).unwrap();
        let example = (declaration.example)();
        let (run, out) = (context(), Arc::new(Memory::default()));
        let cx = Cx::new(&run, "save");
        let mut stage = writer(name, &example.set);
        stage.open(&cx, out.clone(), None).unwrap();
        let input = example.frames.clone().into_iter().chain(example.fixed.clone()).collect();
        stage.write(&cx, &example.span(), input).unwrap();
        stage.finish(&cx, &Ranges::default()).unwrap();
        assert!(!out.names().is_empty(), "{name}");
        assert!(declaration.summary().len() <= 80, "{name}: {}", declaration.summary());
    }
}

/// The files of both writers as fabio reads them, and as the sources do.
#[test]
fn edf_and_cbf_files_are_read_by_fabio() {
    for (name, source_name, ending, set) in [
        ("edf.write", "edf.sequence", "edf", "frames = 3\nheader = { Title = \"a scan\" }"),
        ("cbf.write", "cbf.sequence", "cbf", "header = { Exposure_time = \"0.1 s\" }"),
    ] {
        let set = format!("path = \"a.{ending}\"\n{set}");
        let out = write(name, &set, &[(0, 2), (2, 4), (6, 11)], image);
        let wanted: Vec<u8> = [image(0, 4), image(6, 11)]
            .iter()
            .flat_map(|d| match d.get("image") {
                Some(Value::Array(a)) => a.bytes().to_vec(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(back(&out, source_name, "a.parts"), wanted, "{name}");
        let last = snapshots(name, &set, 3, |n| {
            image(n, n + 1).into_iter().map(|(k, v)| (k, v.unlead(0).unwrap())).collect()
        });
        assert_eq!(last.names(), [format!("a.{ending}")]);
        let folder = tempfile::tempdir().unwrap();
        out.dump(folder.path());
        let script = "import fabio, glob\nt = 0\nfor n in sorted(glob.glob('a.parts/*')):\n  f = fabio.open(n)\n  for i in range(f.nframes):\n\
             \x20   t += int(f.get_frame(i).data.astype('i8').sum())\nprint(t, f.header.get('Title'), f.nframes)";
        let test = "edf_and_cbf_files_are_read_by_fabio";
        let Some(said) = common::python(test, "fabio", folder.path(), script) else { return };
        let sum: u64 = wanted.chunks(2).map(|b| u64::from(u16::from_ne_bytes([b[0], b[1]]))).sum();
        assert!(said.starts_with(&format!("{sum} ")), "{name}: {said}, wanted {sum}");
    }
}
