//! Damaged files give errors, never a panic.
//!
//! Heaps of variable strings are left whole: libhdf5 2.2 walks a free block of 0 bytes in one for ever
//! (`H5HG__cache_heap_deserialize`), and nothing outside the library can look there first.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use isard_h5::{Compression, Dtype, File, Image, Spec};

/// A file with a bit of everything.
fn whole() -> Vec<u8> {
    let mut image = Image::new().unwrap();
    for (name, spec) in [
        ("raw", Spec::new(Dtype::U16, &[4, 4]).fletcher32(false)),
        ("sum", Spec::new(Dtype::F32, &[4, 4])),
        ("deflate", Spec::new(Dtype::I64, &[2]).compress(Compression::Deflate(1))),
        ("lzf", Spec::new(Dtype::C32, &[]).compress(Compression::Lzf)),
        ("bits", Spec::new(Dtype::U16, &[40]).compress(Compression::Bitshuffle)),
    ] {
        let bytes = vec![7; spec.record_bytes().unwrap() * 3];
        let slot = image.dataset(&format!("/entry/{name}"), &spec).unwrap();
        image.append(slot, &bytes, 3).unwrap();
    }
    image.attribute("/entry", "NX_class", "NXentry").unwrap();
    image.texts("/entry/names", &["a", "bc"]).unwrap();
    image.into_bytes().unwrap()
}

/// Reads all that can be read; the count keeps the work from being dropped.
fn explore(bytes: &[u8]) -> usize {
    let Ok(file) = File::from_bytes(bytes, "damaged") else {
        return 0;
    };
    let Ok(listing) = file.list() else {
        return 1;
    };
    let mut done = 2;
    for info in listing.datasets {
        let Ok(dataset) = file.dataset(&info.path) else {
            continue;
        };
        done += usize::from(dataset.layout(0).is_ok());
        if dataset.record_bytes(dataset.shape().len()).is_ok_and(|n| n < 1 << 20) {
            done += dataset.read_all().map_or(0, |bytes| bytes.len());
        }
        done += file.texts(&info.path).map_or(0, |texts| texts.len());
    }
    done
}

#[test]
fn mutated_bytes_never_panic() {
    let whole = whole();
    let healthy = explore(&whole);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let heaps: Vec<usize> = (0..whole.len() - 4).filter(|at| &whole[*at..at + 4] == b"GCOL").collect();
    // The library makes heaps of 4096 bytes.
    let in_heap = |at: usize| heaps.iter().any(|heap| (*heap..heap + 4096).contains(&at));
    let mut hurt = 0;
    for round in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..1 + round % 4 {
            let at = random() % bytes.len();
            if !in_heap(at) {
                bytes[at] = random() as u8;
            }
        }
        hurt += usize::from(explore(&bytes) != healthy);
    }
    // Most bytes are padding: it is enough that some of the damage was met.
    assert!(hurt > 20, "{hurt} of 400 mutations were noticed");
}

#[test]
fn cut_files_never_panic() {
    let whole = whole();
    for length in (0..whole.len()).step_by(97) {
        assert!(explore(&whole[..length]) < explore(&whole), "cut to {length}");
    }
}
