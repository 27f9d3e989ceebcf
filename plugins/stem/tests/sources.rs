//! Sources against the scan of the reference cases.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{data, flat, npy, scan_shape, source};
use isard_core::prelude::*;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

fn path(name: &str) -> String {
    format!("path = {:?}\n", data(name).unwrap().join(name).to_str().unwrap())
}

/// The steps and units of a source, slowest axis first.
fn steps(opened: &Opened) -> Vec<(f64, String)> {
    let Some(Value::Dict(axes)) = opened.head.get("axes") else { panic!("no axes: {:?}", opened.head) };
    ["scan_y", "scan_x", "detector_y", "detector_x"]
        .iter()
        .map(|name| {
            let Some(Value::Dict(axis)) = axes.get(name) else { panic!("no axis {name}") };
            (
                axis.get("step").unwrap().number().unwrap(),
                axis.get("unit").unwrap().text().unwrap().to_owned(),
            )
        })
        .collect()
}

#[test]
fn every_format_holds_the_scan() {
    if data("formats").is_none() {
        return;
    }
    let wanted = flat(&npy("scan.npy"));
    let [y, x, ..] = scan_shape().map(|n| n as u64);
    let (scan, n) = (format!("scan = [{y}, {x}]"), y * x);
    for (stage, name, more) in [
        ("stem.npy", "scan.npy", ""),
        ("stem.mrc", "scan_mode6.mrc", &scan),
        ("stem.mrc", "scan_mode2.mrc", &scan),
        ("stem.dm", "scan.dm4", ""),
        ("stem.emd", "scan_emd10.h5", ""),
        ("stem.emd", "scan_emd02.emd", ""),
    ] {
        let given = source(stage, &(path(name) + more), 0).unwrap();
        assert_eq!(given.opened.scan, [("y".to_owned(), y), ("x".to_owned(), x)], "{name}");
        assert_eq!(given.opened.frames, Some(n), "{name}");
        assert_eq!(given.numbers(), (0..n).collect::<Vec<_>>(), "{name}");
        let all = given.all();
        match all.dtype() {
            Dtype::U16 => assert!(all == wanted, "{name}"),
            _ => assert_eq!(all.to_f64().unwrap(), wanted.to_f64().unwrap(), "{name}"),
        }
        let later = source(stage, &(path(name) + more), n / 2).unwrap();
        assert_eq!(later.numbers().first(), Some(&(n / 2)), "{name}");
    }
    let dm = source("stem.dm", &path("scan.dm4"), 0).unwrap();
    assert!(
        steps(&dm.opened).iter().all(|(step, unit)| *step > 0.0 && unit == "nm"),
        "{:?}",
        steps(&dm.opened)
    );
}

/// The units are what h5py reads of the files.
#[test]
fn axes_of_emd_have_steps_and_units() {
    if data("axes").is_none() {
        return;
    }
    for (name, wanted) in [("scan_emd10.h5", "A"), ("scan_emd02.emd", "nm")] {
        let given = source("stem.emd", &path(name), 0).unwrap();
        let steps = steps(&given.opened);
        let scan: Vec<&str> = steps[..2].iter().map(|(_, unit)| unit.as_str()).collect();
        assert_eq!(scan, [wanted, wanted], "{name}: {steps:?}");
        assert!(steps.iter().all(|(step, _)| *step > 0.0 && step.is_finite()), "{name}: {steps:?}");
    }
}

#[test]
fn every_mib_is_decoded() {
    if data("mib").is_none() {
        return;
    }
    let index = common::index();
    let mut seen = 0;
    for (name, entry) in index.as_object().unwrap().iter().filter(|(n, _)| n.ends_with(".mib")) {
        let given = source("stem.mib", &path(name), 0).unwrap();
        let all = given.all();
        let pixels: Vec<u32> = all.to_f64().unwrap().iter().map(|p| *p as u32).collect();
        let bytes: Vec<u8> = pixels.iter().flat_map(|p| p.to_le_bytes()).collect();
        let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(entry["decoded_sha256_u32le"], Json::from(digest), "{name}");
        assert_eq!(entry["frames"], Json::from(all.shape()[0]), "{name}");
        seen += 1;
    }
    assert!(seen >= 11, "{seen} files of the index");
    let hdr = source("stem.mib", &path("single_u08.hdr"), 0).unwrap();
    assert_eq!(Some(hdr.numbers().len() as u64), index["single_u08.mib"]["frames"].as_u64());
    assert!(hdr.opened.head.get("hdr").is_some());
}

/// A folder of this test, emptied.
fn folder(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("isard-stem-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// A MIB file of frames of 2 x 3 bytes, each filled with its number.
fn mib(numbers: &[u32]) -> Vec<u8> {
    let mut out = vec![];
    for n in numbers {
        let header = format!(
            "MQ1,{n:06},00384,01,0003,0002,U08,   1x1,0F,2020-05-18 16:51:49,0.0005,0,0,0,5,0,0,0,0,0,0,0,"
        );
        out.extend(format!("{header:\0<384}").as_bytes());
        out.extend([*n as u8; 6]);
    }
    out
}

#[test]
fn mib_files_go_by_their_numbers_and_lost_frames_shift_nothing() {
    let at = folder("mib");
    // Names in the other order than the numbers; number 5 was lost; the last file ends within frame 9.
    std::fs::write(at.join("b.mib"), mib(&[1, 2, 3])).unwrap();
    let mut last = mib(&[6, 7, 8, 9]);
    last.truncate(last.len() - 3);
    std::fs::write(at.join("a.mib"), last).unwrap();
    std::fs::write(at.join("c.mib"), mib(&[4])).unwrap();
    let set = format!("path = {:?}\nscan = [3, 3]\n", at.to_str().unwrap());
    let error = source("stem.mib", &set, 0).unwrap_err();
    assert!(error.message().contains("ends within frame 3"), "{error}");
    let given = source("stem.mib", &format!("{set}cut = \"gap\""), 0).unwrap();
    assert_eq!(given.numbers(), [0, 1, 2, 3, 5, 6, 7]);
    for (first, image) in &given.frames {
        for (i, frame) in image.bytes().chunks(6).enumerate() {
            assert!(frame.iter().all(|b| u64::from(*b) == first + i as u64 + 1));
        }
    }
    let lost: Vec<_> = given.lost.iter().map(|(n, reason, _)| (*n, *reason)).collect();
    assert_eq!(lost, [(4, Reason::Missing), (8, Reason::Corrupt)]);
    assert!(given.lost[0].2.contains("sequence number 5"), "{:?}", given.lost);
    // The same numbers twice are two acquisitions.
    std::fs::write(at.join("d.mib"), mib(&[2, 3])).unwrap();
    let error = source("stem.mib", &format!("{set}cut = \"gap\""), 0).unwrap_err();
    assert!(error.message().contains("wanted"), "{error}");
    std::fs::remove_dir_all(at).unwrap();
}

#[test]
fn flyback_and_offset_place_frames() {
    let at = folder("flyback");
    let file = at.join("scan.mib");
    std::fs::write(&file, mib(&(1..=12).collect::<Vec<_>>())).unwrap();
    // By hand: one frame before the scan, then lines of one skipped frame, three points and one frame of flyback.
    let set =
        format!("path = {:?}\nscan = [3, 3]\noffset = 1\nline_skip = 1\nflyback = 1", file.to_str().unwrap());
    let given = source("stem.mib", &set, 0).unwrap();
    assert_eq!(given.numbers(), [0, 1, 2, 3, 4, 5]);
    let first: Vec<u8> = given.all().bytes().chunks(6).map(|f| f[0]).collect();
    assert_eq!(first, [3, 4, 5, 8, 9, 10]);
    // Frame 12 is the skipped one of the third line; its points have none.
    assert_eq!(given.lost.iter().map(|(n, ..)| *n).collect::<Vec<_>>(), [6, 7, 8]);
    assert_eq!(given.opened.head.get("unused_frames").and_then(Value::number), Some(6.0));
    std::fs::remove_dir_all(at).unwrap();
}

/// Twelve frames of 2 x 3 words, the first pixel of each its number.
fn words(order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    (0..12u16).flat_map(|n| [n, 7, 7, 7, 7, 7]).flat_map(order).collect()
}

#[test]
fn flyback_and_offset_place_frames_of_every_format() {
    let at = folder("placed");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(at.join(name), bytes).unwrap();
        format!("path = {:?}", at.join(name).to_str().unwrap())
    };
    let mut mrc = vec![0u8; 1024];
    for (place, word) in [(0, 3i32), (4, 2), (8, 12), (12, 6)] {
        mrc[place..place + 4].copy_from_slice(&word.to_le_bytes());
    }
    mrc[208..214].copy_from_slice(b"MAP DD");
    mrc.extend(words(u16::to_le_bytes));
    let header = "{'descr': '<u2', 'fortran_order': False, 'shape': (12, 2, 3), }";
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend(118u16.to_le_bytes());
    npy.extend(format!("{header:<117}\n").as_bytes());
    npy.extend(words(u16::to_le_bytes));
    let mut image = isard_h5::Image::new().unwrap();
    image.attribute("/", "version_major", 0i64).unwrap();
    image.attribute("/", "version_minor", 2i64).unwrap();
    image.group("/one").unwrap();
    image.attribute("/one", "emd_group_type", 1i64).unwrap();
    let data = image.dataset("/one/data", &isard_h5::Spec::new(isard_h5::Dtype::U16, &[2, 3])).unwrap();
    image.append(data, &words(u16::to_ne_bytes), 12).unwrap();
    let emd = image.into_bytes().unwrap();
    let raw = [&[1; 5], &words(u16::to_be_bytes)[..]].concat();
    let raw_layout = "dtype = \"u16\"\norder = \"big\"\nshape = [2, 3]\nheader = 5";
    write("scan.h5", &emd);
    let cases = [
        ("stem.mrc", write("scan.mrc", &mrc)),
        ("stem.npy", write("scan.npy", &npy)),
        ("stem.emd", write("scan.emd", &emd)),
        ("stem.hdf5", format!("path = \"{}::/one/data\"", at.join("scan.h5").display())),
        ("stem.raw", write("scan.raw", &raw) + "\n" + raw_layout),
    ];
    for (stage, path) in cases {
        // By hand: one frame before the scan, then lines of one skipped frame, three points and one frame of flyback.
        let set = format!("{path}\nscan = [3, 3]\noffset = 1\nline_skip = 1\nflyback = 1");
        let given = source(stage, &set, 0).unwrap();
        let first = |given: &common::Given| -> Vec<f64> {
            given.all().to_f64().unwrap().chunks(6).map(|f| f[0]).collect()
        };
        assert_eq!(given.opened.scan, [("y".to_owned(), 3), ("x".to_owned(), 3)], "{stage}");
        assert_eq!(given.numbers(), [0, 1, 2, 3, 4, 5], "{stage}");
        assert_eq!(first(&given), [2.0, 3.0, 4.0, 7.0, 8.0, 9.0], "{stage}");
        assert_eq!(given.lost.iter().map(|(n, ..)| *n).collect::<Vec<_>>(), [6, 7, 8], "{stage}");
        assert_eq!(given.opened.head.get("unused_frames").and_then(Value::number), Some(6.0), "{stage}");
        let later = source(stage, &set, 4).unwrap();
        assert_eq!((later.numbers(), first(&later)), (vec![4, 5], vec![8.0, 9.0]), "{stage}");
        // Two points before the first frame.
        let set = format!("{path}\nscan = [2, 4]\noffset = -2");
        let given = source(stage, &set, 0).unwrap();
        assert_eq!(given.numbers(), [2, 3, 4, 5, 6, 7], "{stage}");
        assert_eq!(first(&given), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "{stage}");
        assert_eq!(given.lost.iter().map(|(n, ..)| *n).collect::<Vec<_>>(), [0, 1], "{stage}");
        let given = source(stage, &path, 0).unwrap();
        assert_eq!((given.opened.scan.len(), given.numbers().len()), (0, 12), "{stage}");
        let error = source(stage, &format!("{path}\nflyback = 1"), 0).unwrap_err();
        assert!(error.to_string().contains("size is not known"), "{stage}: {error}");
    }
    std::fs::remove_dir_all(at).unwrap();
}

#[test]
fn the_hdr_gives_the_scan() {
    let at = folder("hdr");
    std::fs::write(at.join("run.mib"), mib(&[1, 2, 3, 4, 5, 6])).unwrap();
    std::fs::write(at.join("other1.mib"), mib(&[1])).unwrap();
    let text = "HDR,\t\r\nFrames in Acquisition (Number):\t6\r\nFrames per Trigger (Number):\t3\r\nEnd\t\r\n";
    std::fs::write(at.join("run.hdr"), text).unwrap();
    let given = source("stem.mib", &format!("path = {:?}", at.join("run.hdr").to_str().unwrap()), 0).unwrap();
    assert_eq!(given.opened.scan, [("y".to_owned(), 2), ("x".to_owned(), 3)]);
    assert_eq!(given.numbers(), [0, 1, 2, 3, 4, 5]);
    std::fs::remove_dir_all(at).unwrap();
}

#[test]
fn empad_leaves_its_last_rows_out() {
    let at = folder("empad");
    let mut bytes = vec![];
    for frame in 0..6u32 {
        bytes.extend((0..130 * 128).flat_map(|i| ((frame * 100_000 + i) as f32).to_le_bytes()));
    }
    std::fs::write(at.join("scan_x3_y2.raw"), &bytes).unwrap();
    let xml = r#"<root><raw_file filename="D:\data\scan_x3_y2.raw"/><pix_x>3</pix_x><pix_y>2</pix_y></root>"#;
    std::fs::write(at.join("a.xml"), xml).unwrap();
    let given = source("stem.empad", &format!("path = {:?}", at.join("a.xml").to_str().unwrap()), 0).unwrap();
    assert_eq!(given.opened.scan, [("y".to_owned(), 2), ("x".to_owned(), 3)]);
    let all = given.all();
    assert_eq!((all.shape(), all.dtype()), (&[6, 128, 128][..], Dtype::F32));
    let pixels = all.as_slice::<f32>().unwrap();
    assert_eq!((pixels[0], pixels[16383], pixels[16384]), (0.0, 16383.0, 100_000.0));
    std::fs::remove_dir_all(at).unwrap();
}
