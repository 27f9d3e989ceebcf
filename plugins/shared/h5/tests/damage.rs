//! Damaged files give errors, never a panic and never a hang.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;

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
    // A heap that is longer than the library's first read of one.
    let long = "x".repeat(9000);
    image.texts("/entry/long", &[long.as_str(), "end"]).unwrap();
    image.into_bytes().unwrap()
}

/// Reads all that can be read, from memory or through a file; the count keeps the work from being dropped.
fn explore(bytes: &[u8], path: Option<&Path>) -> usize {
    let file = match path {
        None => File::from_bytes(bytes, "damaged"),
        Some(path) => {
            std::fs::write(path, bytes).unwrap();
            File::open(path)
        }
    };
    let Ok(file) = file else {
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
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let healthy = explore(&whole, None);
    assert_eq!(explore(&whole, Some(&path)), healthy);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let heaps: Vec<usize> = (0..whole.len() - 4).filter(|at| &whole[*at..at + 4] == b"GCOL").collect();
    assert!(heaps.len() >= 2, "{heaps:?}");
    let mut hurt = 0;
    for round in 0..1200 {
        let mut bytes = whole.clone();
        for _ in 0..1 + round % 4 {
            // Every other hit is at the heads of a heap's objects, where lengths stand.
            let at = match round % 2 {
                0 => random() % bytes.len(),
                _ => heaps[random() % heaps.len()] + random() % 64,
            };
            bytes[at] = [random() as u8, 0][random() % 2];
        }
        hurt += usize::from(explore(&bytes, Some(&path).filter(|_| round % 3 > 0).map(|p| &**p)) != healthy);
    }
    // Most bytes are padding: it is enough that some of the damage was met.
    assert!(hurt > 100, "{hurt} of 1200 mutations were noticed");
}

#[test]
fn cut_files_never_panic() {
    let whole = whole();
    for length in (0..whole.len()).step_by(97) {
        assert!(explore(&whole[..length], None) < explore(&whole, None), "cut to {length}");
    }
}

#[test]
fn a_heap_with_an_object_of_no_length_is_refused() {
    let whole = whole();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let heap = (0..whole.len()).find(|at| whole[*at..].starts_with(b"GCOL")).unwrap();
    let mut bytes = whole.clone();
    // The first object becomes free space of nothing: the library would look at it for ever.
    bytes[heap + 16..heap + 32].fill(0);
    assert!(File::from_bytes(&bytes, "a").unwrap_err().to_string().contains("heap of strings is damaged"));
    std::fs::write(&path, bytes).unwrap();
    let file = File::open(&path).unwrap();
    let texts = ["/entry/names", "/entry/long"].map(|at| file.texts(at).is_err());
    let attribute = file.attributes("/entry").is_err();
    assert!(texts[0] || texts[1] || attribute, "what stands in that heap cannot be read");
}
