//! Real series against counts of others: the reference counts of the README of the frames.
//!
//! They were counted from the voxel lists by another program, for every connectivity and threshold below.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use isard_dct::segment::{Connectivity, Overlap, Plane, Rules, Segmenter};

fn reference(test: &str, name: &str) -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    if !shared.exists() {
        // Past the harness, which keeps what passing tests print.
        let _ = writeln!(std::io::stderr(), "skipped: {test} (no reference data)");
        return None;
    }
    Some(shared.join("data/frames/hedm").join(name))
}

/// A series as a list of lit pixels for each frame.
struct Series {
    shape: [usize; 2],
    omega: Vec<f64>,
    frames: Vec<Vec<(u32, u32, f32)>>,
}

/// The arrays of an `.npz`, by name, as numbers: a ZIP archive of deflated `.npy` files.
fn npz(path: &Path) -> HashMap<String, Vec<f64>> {
    let bytes = std::fs::read(path).unwrap();
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]) as usize;
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    // The end of the archive tells where its directory is; entries are found through it.
    let end = bytes.windows(4).rposition(|w| w == b"PK\x05\x06").unwrap();
    let (count, mut at) = (u16_at(end + 10), u32_at(end + 16));
    let mut arrays = HashMap::new();
    for _ in 0..count {
        assert_eq!(&bytes[at..at + 4], b"PK\x01\x02");
        let (packed, name, local) = (u32_at(at + 20), u16_at(at + 28), u32_at(at + 42));
        let title = String::from_utf8(bytes[at + 46..at + 46 + name].to_vec()).unwrap();
        let data = local + 30 + u16_at(local + 26) + u16_at(local + 28);
        let mut npy = vec![];
        flate2::read::DeflateDecoder::new(&bytes[data..data + packed]).read_to_end(&mut npy).unwrap();
        if let Some(numbers) = numbers(&npy) {
            arrays.insert(title.trim_end_matches(".npy").to_owned(), numbers);
        }
        at += 46 + name + u16_at(at + 30) + u16_at(at + 32);
    }
    arrays
}

/// The numbers of an `.npy`; none when it holds text.
fn numbers(npy: &[u8]) -> Option<Vec<f64>> {
    let header = u16::from_le_bytes([npy[8], npy[9]]) as usize;
    let text = std::str::from_utf8(&npy[10..10 + header]).unwrap();
    let body = &npy[10 + header..];
    let dtype = text.split('\'').nth(3).unwrap();
    let each = |size: usize, of: fn(&[u8]) -> f64| Some(body.chunks_exact(size).map(of).collect());
    match dtype {
        "<u2" => each(2, |b| f64::from(u16::from_le_bytes([b[0], b[1]]))),
        "<i8" => each(8, |b| i64::from_le_bytes(b.try_into().unwrap()) as f64),
        "<f8" => each(8, |b| f64::from_le_bytes(b.try_into().unwrap())),
        _ => None,
    }
}

fn series(path: &Path) -> Series {
    let arrays = npz(path);
    let count = arrays["nframes"][0] as usize;
    let frames = (0..count).map(|k| {
        let [row, column, value] = ["row", "col", "data"].map(|what| &arrays[&format!("{k}_{what}")]);
        row.iter().zip(column).zip(value).map(|((r, c), v)| (*r as u32, *c as u32, *v as f32)).collect()
    });
    Series {
        shape: [arrays["shape"][0] as usize, arrays["shape"][1] as usize],
        omega: arrays["omega"].chunks_exact(2).map(|o| o[0]).collect(),
        frames: frames.collect(),
    }
}

/// Voxels, components, the largest, and those of ten voxels or more.
fn count(series: &Series, wrap: bool, threshold: f64, neighbours: u8) -> [u64; 4] {
    let rules = Rules {
        threshold,
        tolerance: 1.0,
        low: None,
        high: None,
        limit: [1, 1, 1],
        connectivity: Connectivity::of(neighbours).unwrap(),
        overlap: Overlap::Keep,
        least: 1,
        wrap,
        bridge: false,
        delay: None,
        dense: None,
    };
    let floor = rules.floor();
    let mut segmenter = Segmenter::new(rules, series.shape, None);
    let mut found = [0, 0, 0, 0];
    let mut blobs = vec![];
    for (k, lit) in series.frames.iter().enumerate() {
        let plane = Plane::of_pixels(k as u64, series.shape, lit.clone(), floor).unwrap();
        blobs.extend(segmenter.push(plane.with_omega(series.omega[k])).unwrap());
    }
    blobs.extend(segmenter.finish(series.frames.len() as u64).unwrap());
    for blob in &blobs {
        found[0] += blob.seed.voxels;
        found[1] += 1;
        found[2] = found[2].max(blob.seed.voxels);
        found[3] += u64::from(blob.seed.voxels >= 10);
    }
    found
}

fn check(name: &str, wrap: bool, wanted: &[(f64, u64, u64, [u64; 3])]) {
    let Some(path) = reference("components_of_real_series_are_those_of_others", name) else { return };
    let series = series(&path);
    let begun = Instant::now();
    for (threshold, voxels, faces, [corners, largest, ten]) in wanted {
        assert_eq!(count(&series, wrap, *threshold, 6)[..2], [*voxels, *faces], "{name} above {threshold}");
        let found = count(&series, wrap, *threshold, 26);
        assert_eq!(found, [*voxels, *corners, *largest, *ten], "{name} above {threshold}");
    }
    let _ =
        writeln!(std::io::stderr(), "{name}: {} segmentations in {:.1?}", 2 * wanted.len(), begun.elapsed());
}

#[test]
fn components_of_two_wedges_are_those_of_others() {
    let wanted = [
        (0.0, 309_014, 132_883, [121_970, 6252, 1587]),
        (50.0, 21_379, 904, [805, 705, 425]),
        (500.0, 3764, 306, [294, 164, 152]),
    ];
    check("LT1_Ne_zr001_00000-fc_GE2.npz", false, &wanted);
}

#[test]
fn components_of_a_full_turn_are_those_of_others() {
    let wanted = [
        (0.0, 125_700, 66_167, [66_026, 397, 1031]),
        (500.0, 30_420, 9725, [9701, 189, 502]),
        (2000.0, 5883, 542, [538, 78, 205]),
    ];
    check("mruby-0129_000004_ff1_000012-cachefile.npz", true, &wanted);
}

#[test]
fn components_of_a_quarter_panel_are_those_of_others() {
    let wanted = [
        (0.0, 237_023, 35_007, [34_994, 4320, 1471]),
        (500.0, 42_453, 5068, [5063, 677, 411]),
        (2000.0, 5084, 161, [158, 677, 42]),
    ];
    check("mruby-0129_0004-ff2_0_0.npz", true, &wanted);
}
