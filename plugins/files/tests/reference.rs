//! Every reader against the reference data, bit for bit: what fabio, numpy and h5py wrote and read.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::path::Path;

use common::{bytes, pull, reference, source};
use isard_core::prelude::*;
use isard_core::stage::RunCx;
use isard_files::input::read_path;

/// A whole array.
fn npy(path: &Path) -> Array {
    match read_path(&RunCx::default(), path.to_str().unwrap()).unwrap() {
        Value::Array(array) => array,
        other => panic!("{}", other.describe()),
    }
}

fn set(path: &Path, rest: &str) -> String {
    format!("path = {:?}\n{rest}", path.to_str().unwrap())
}

/// Every file of fabio with the array it reads from it; the names of the types are in the files' names.
#[test]
fn codec_files_are_read_as_fabio_reads_them() {
    let Some(folder) = reference("codec_files_are_read_as_fabio_reads_them", "azimuthal/codec") else {
        return;
    };
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut read = 0;
    for (name, about) in expected["files"].as_object().unwrap() {
        let Some(wanted) = about["expected"].as_str() else { continue };
        let wanted = npy(&folder.join(wanted));
        let stage = if name.ends_with("edf") { "edf.sequence" } else { "cbf.sequence" };
        let (opened, pulled) = pull(&mut *source(stage, &set(&folder.join(name), "")), 0, 4).unwrap();
        assert_eq!(opened.frames, Some(1), "{name}");
        assert_eq!(opened.shapes.get("image"), Shape::array(wanted.dtype(), wanted.shape()), "{name}");
        read += 1;
        if about["roundtrip_ok"] == false {
            // Its writer took differences that overflow; fabio does not read back what went in either, but this.
            assert_eq!(adler(&bytes(&pulled, "image")), EDGE, "{name}");
            continue;
        }
        assert_eq!(bytes(&pulled, "image"), wanted.bytes(), "{name}");
    }
    assert!(read >= 12, "{read} files");
    // The header of a Pilatus, and counters of an EDF file, as they stand in the files.
    let (opened, pulled) =
        pull(&mut *source("cbf.sequence", &set(&folder.join("pilatus_header.cbf"), "")), 0, 4).unwrap();
    assert_eq!(bytes(&pulled, "image"), npy(&folder.join("small_i32.npy")).bytes());
    let head = |key: &str| opened.head.get(key).cloned();
    assert_eq!(head("exposure_period"), Some(Value::Float(0.004)));
    assert_eq!(head("wavelength"), Some(Value::Float(0.1771)));
    assert_eq!(head("beam_xy"), Some(Array::from_slice(&[737.5, 839.5]).into()));
    assert_eq!(head("detector"), Some(Value::from("PILATUS3 2M CdTe, S/N 24-0111")));
    let rest = "columns = { monitor = \"mon\", ct = \"ct\", size = \"Size\", none = \"nothing\" }";
    let (opened, pulled) =
        pull(&mut *source("edf.sequence", &set(&folder.join("e_int16.edf"), rest)), 0, 4).unwrap();
    let column = |key: &str| match pulled[0].1.get(key) {
        Some(Value::Array(a)) => a.to_f64().unwrap()[0],
        other => panic!("{other:?}"),
    };
    assert_eq!((column("monitor"), column("ct"), column("size")), (1.5, 2.5, 176.0));
    assert!(column("none").is_nan());
    assert_eq!(opened.head.get("title"), Some(&Value::from("t")));
}

/// zlib.adler32 of the pixels of `edge_i32.cbf` as fabio decodes them.
const EDGE: u32 = 4_176_723_681;

fn adler(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

/// The same piece of a frame in three formats; sum and zlib.adler32 of its pixels by tifffile.
#[test]
fn three_formats_hold_one_frame() {
    let Some(folder) = reference("three_formats_hold_one_frame", "frames/hedm") else { return };
    let mut all = vec![];
    for (stage, name) in [
        ("tiff.sequence", "ge3_crop512.tif"),
        ("edf.sequence", "ge3_crop512.edf"),
        ("cbf.sequence", "ge3_crop512.cbf"),
    ] {
        let (_, pulled) = pull(&mut *source(stage, &set(&folder.join(name), "")), 0, 4).unwrap();
        let Some(Value::Array(image)) = pulled[0].1.get("image") else { panic!("an image") };
        all.push(image.to_f64().unwrap());
        assert_eq!(npy(&folder.join(name)).bytes(), image.bytes());
    }
    assert_eq!(all[0].iter().sum::<f64>(), 58_903_473.0);
    assert!(all[1] == all[0] && all[2] == all[0]);
}

/// A frame of a Pilatus 2M whose shape and digest fabio checks; the sum is numpy's of fabio's array.
#[test]
fn a_frame_of_a_pilatus() {
    let Some(folder) = reference("a_frame_of_a_pilatus", "azimuthal/pilatus2m_cdte_cbf") else { return };
    for rest in ["", "md5 = false"] {
        let (opened, pulled) =
            pull(&mut *source("cbf.sequence", &set(&folder.join("frame.cbf"), rest)), 0, 1).unwrap();
        assert_eq!(opened.shapes.get("image"), Shape::array(Dtype::I32, &[1679, 1475]));
        let Some(Value::Array(image)) = pulled[0].1.get("image") else { panic!("an image") };
        assert_eq!(image.to_f64().unwrap().iter().sum::<f64>(), PILATUS_SUM);
    }
}

const PILATUS_SUM: f64 = 8_563_095.0;

/// The stack of the 4D-STEM cases as raw bytes and as NPY.
#[test]
fn a_raw_stack_is_the_npy_stack() {
    let Some(folder) = reference("a_raw_stack_is_the_npy_stack", "stem4d") else { return };
    let wanted = npy(&folder.join("scan.npy"));
    let (rows, columns) = (wanted.shape()[2], wanted.shape()[3]);
    let rest = format!("dtype = \"u16\"\nshape = [{rows}, {columns}]");
    for room in [1, 7, 64] {
        let (opened, pulled) =
            pull(&mut *source("raw.stack", &set(&folder.join("scan.raw"), &rest)), 0, room).unwrap();
        assert_eq!(opened.frames, Some((wanted.shape()[0] * wanted.shape()[1]) as u64));
        assert_eq!(bytes(&pulled, "image"), wanted.bytes());
    }
    let (_, pulled) =
        pull(&mut *source("npy.stack", &set(&folder.join("counting_frames.npy"), "")), 0, 3).unwrap();
    assert_eq!(bytes(&pulled, "image"), npy(&folder.join("counting_frames.npy")).bytes());
}

/// The sparse frames of alpha-zirconium against the dense stack that was made from them.
#[test]
fn sparse_frames_are_the_dense_ones() {
    let Some(folder) = reference("sparse_frames_are_the_dense_ones", "frames/hedm") else { return };
    let sparse = set(&folder.join("LT1_Ne_zr001_00000-fc_GE2.npz"), "columns = { omega = \"omega\" }");
    let (opened, pulled) = pull(&mut *source("npz.stack", &sparse), 0, 16).unwrap();
    assert_eq!(opened.frames, Some(100));
    assert_eq!(opened.shapes.get("omega"), Shape::array(Dtype::F64, &[2]));
    let dense =
        format!("path = \"{}::/entry/measurement/frames\"", folder.join("alpha_zr_ge2_dense.h5").display());
    let (_, wanted) = pull(&mut *source("hdf5.dataset", &dense), 0, 16).unwrap();
    assert!(bytes(&pulled, "image") == bytes(&wanted, "image"));
    let Some(Value::Array(omega)) = pulled[0].1.get("omega") else { panic!("omega") };
    assert_eq!(omega.to_f64().unwrap()[..4], [-115.0, -114.0, -114.0, -113.0]);

    // Pixels above 0, counted by numpy in the archives themselves.
    for (name, from, pixels) in [
        ("mruby-0129_000004_ff1_000012-cachefile.npz", 1400, 3704),
        ("mruby-0129_0004-ff2_0_0.npz", 1200, 39_673),
    ] {
        let mut count = 0;
        let mut source = source("npz.stack", &set(&folder.join(name), ""));
        let run = common::context();
        let cx = Cx::new(&run, "sparse");
        assert_eq!(source.begin(&cx, Position { next: from }).unwrap().frames, Some(1440));
        loop {
            let runs = source.next(&cx, 4).unwrap();
            if runs.is_empty() {
                break;
            }
            for (_, data) in runs {
                let Some(Value::Array(image)) = data.get("image") else { panic!("an image") };
                count += image.as_slice::<u16>().unwrap().iter().filter(|p| **p > 0).count();
            }
        }
        assert_eq!(count, pixels, "{name}");
    }
}
