//! The reduction of the reference frames, against the bits that the existing program made of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{reference, unpacked};
use isard_hedm::bits::BitReader;
use isard_hedm::files::{read_legacy, write_legacy};
use isard_hedm::reduce::{Cleaner, Edges, Settings, Worker, median_of_frames};

const ROWS: usize = 384;
const COLUMNS: usize = 512;

#[test]
fn the_reference_frames_are_reduced_as_before() {
    let Some(file) = reference("the_reference_frames_are_reduced_as_before", "reduction/ps_LoG0.txt") else {
        return;
    };
    let folder = file.parent().unwrap();
    let frames: Vec<Vec<u16>> = (0..32)
        .map(|k| {
            let file = std::fs::File::open(folder.join(format!("raw/frame_{k:06}.tif"))).unwrap();
            match tiff::decoder::Decoder::new(file).unwrap().read_image().unwrap() {
                tiff::decoder::DecodingResult::U16(pixels) => pixels,
                _ => panic!("frames of 16 bits"),
            }
        })
        .collect();
    let all: Vec<&[u16]> = frames.iter().map(Vec::as_slice).collect();
    let mut median = vec![0u16; ROWS * COLUMNS];
    median_of_frames(&all, &mut median);
    let wanted = std::fs::read(folder.join("reference_median_u16_512x384.bin")).unwrap();
    assert!(median.iter().flat_map(|m| m.to_le_bytes()).eq(wanted), "the median differs");

    for log in [false, true] {
        let edges = if log { vec![Edges::new(3.0, 8), Edges::new(1.0, 4)] } else { vec![] };
        let settings = Settings { blanket: 30, radius: 1, edges, min_pixels: 1, matched: None };
        let cleaner = Cleaner::new(settings, &median, COLUMNS);
        let name = format!("reference_SpotsInfo_LoG{}.bin.xz", u8::from(log));
        let bits = unpacked(&folder.join(name));
        let reference = BitReader::volume(&bits[..], bits.len() as u64, 1, 32, [COLUMNS, ROWS]).unwrap();
        let (mut both, mut either, mut lit, mut worker) = (0, 0, 0, Worker::default());
        for (k, frame) in frames.iter().enumerate() {
            let mut found: Vec<[u32; 2]> = cleaner
                .lit(frame, &mut worker)
                .into_iter()
                .map(|(r, c, _)| [COLUMNS as u32 - 1 - c, ROWS as u32 - 1 - r])
                .collect();
            found.sort_unstable();
            lit += found.len();
            // The phantom pixel of the existing program: linear index 2045 of frames where nothing is lit.
            let wanted: Vec<[u32; 2]> = reference
                .pixels(0, k)
                .into_iter()
                .filter(|p| *p != [COLUMNS as u32 - 1 - 509, ROWS as u32 - 1 - 3] || found.contains(p))
                .collect();
            if !log {
                assert_eq!(found, wanted, "frame {k}");
            }
            let shared = found.iter().filter(|p| wanted.binary_search(p).is_ok()).count();
            both += shared;
            either += found.len() + wanted.len() - shared;
        }
        let overlap = both as f64 / either as f64;
        println!("LoG {log}: {lit} lit, intersection over union {overlap:.4}");
        // From the description of the reference data.
        assert!(log || lit == 9221, "{lit}");
        assert!(overlap >= 0.95, "{overlap}");
    }
}

#[test]
fn a_file_of_the_older_programs_is_written_as_it_was_read() {
    let name = "a_file_of_the_older_programs_is_written_as_it_was_read";
    let Some(file) = reference(name, "reduction/reference_legacy_red_000003.bin0") else { return };
    let bytes = std::fs::read(file).unwrap();
    let pixels = read_legacy(&bytes).unwrap();
    // 35 pixels of three blobs; the first of them is the corner of the frame's only spot.
    assert_eq!((pixels.len(), pixels[0].at, pixels[0].counts, pixels[0].blob), (35, [425, 324], 149.0, 10));
    assert!(pixels.iter().all(|p| [10, 20, 30].contains(&p.blob)));
    assert_eq!(write_legacy(&pixels), bytes);
}
