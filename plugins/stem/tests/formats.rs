//! Formats against reference files that other programs wrote and read.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use isard_stem::format::dm;
use isard_stem::format::mib::Header;
use isard_stem::format::mrc::{HEADER, Mrc};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The reference data, or a printed line that says why the test is skipped.
fn data(test: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ISARD_SHARED").map(PathBuf::from);
    let root = root.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let folder = root.join("data/stem4d");
    if folder.is_dir() {
        return Some(folder);
    }
    // Past the harness, which swallows what a passing test prints.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("skipped: {test} (no reference data)\n").as_bytes(),
    );
    None
}

#[test]
fn every_depth_and_layout_of_mib_is_decoded() {
    let Some(folder) = data("mib") else { return };
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    let mut seen = 0;
    for (name, entry) in index.as_object().unwrap().iter().filter(|(n, _)| n.ends_with(".mib")) {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let (mut at, mut sums, mut frames) = (0, vec![], vec![]);
        while at < bytes.len() {
            let header = Header::parse(&bytes[at..], name).unwrap();
            let [rows, columns] = header.shape();
            let size = header.dtype().size();
            let mut out = vec![0u8; rows * columns * size];
            header.decode(&bytes[at + header.offset..at + header.step()], &mut out);
            let pixels: Vec<u32> = out
                .chunks_exact(size)
                .map(|b| b.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)))
                .collect();
            assert_eq!(entry["frame_shape"], serde_json::json!([rows, columns]), "{name}");
            sums.push(pixels.iter().map(|p| u64::from(*p)).sum::<u64>());
            assert_eq!(header.sequence, sums.len() as u64);
            frames.extend(pixels.iter().flat_map(|p| p.to_le_bytes()));
            at += header.step();
        }
        assert_eq!(at, bytes.len(), "{name}");
        assert_eq!(entry["frame_sums"], serde_json::json!(sums), "{name}");
        let digest: String = Sha256::digest(&frames).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(entry["decoded_sha256_u32le"], Value::from(digest), "{name}");
        seen += 1;
    }
    assert!(seen >= 11, "{seen} files of the index");
}

/// The scan of the cases: lines, points, rows and columns.
fn shape(folder: &Path) -> [u64; 4] {
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    std::array::from_fn(|i| index["_scan"]["shape"][i].as_u64().unwrap())
}

#[test]
fn mrc_holds_the_scan() {
    let Some(folder) = data("mrc") else { return };
    let [sy, sx, rows, columns] = shape(&folder);
    let scan = std::fs::read(folder.join("scan.raw")).unwrap();
    let scan: Vec<u16> = scan.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    for name in ["scan_mode6.mrc", "scan_mode2.mrc"] {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let mrc = Mrc::parse(&bytes[..HEADER], bytes.len() as u64, name).unwrap();
        assert_eq!(mrc.shape, [sy * sx, rows, columns]);
        let mut found = vec![];
        for section in bytes[mrc.offset as usize..].chunks_exact(mrc.section() as usize) {
            let mut out = vec![0u8; (rows * columns) as usize * mrc.dtype().size()];
            mrc.decode(section, &mut out);
            match mrc.dtype().size() {
                2 => found.extend(out.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]]))),
                _ => found
                    .extend(out.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]) as u16)),
            }
        }
        assert_eq!(found, scan, "{name}");
    }
}

#[test]
fn dm4_holds_the_scan_with_its_axes() {
    let Some(folder) = data("dm4") else { return };
    let bytes = std::fs::read(folder.join("scan.dm4")).unwrap();
    let (tree, image) = dm::parse(&bytes, "scan.dm4").unwrap();
    assert_eq!((image.dtype, image.big, image.scan_fastest), (isard_core::Dtype::U16, false, false));
    assert_eq!(image.shape, shape(&folder));
    let scan = std::fs::read(folder.join("scan.raw")).unwrap();
    assert!(bytes[image.offset as usize..][..scan.len()] == scan[..]);
    assert!(image.axes.iter().all(|(step, _, unit)| *step > 0.0 && unit == "nm"), "{:?}", image.axes);
    assert_eq!(tree.number("ImageList.0.ImageData.Dimensions.0"), Some(shape(&folder)[3] as f64));
}
