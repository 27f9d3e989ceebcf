//! TIFF and NPY against files that tifffile and numpy wrote.
//!
//! Fixtures in tests/data come from tifffile 2026 and numpy 2.4. Pixel
//! (y, x) of page p of 13 x 9 is made of v = 3 * (100 * p + 9 * y + x):
//! v mod 251 unsigned, v mod 120 - 60 signed, v / 4 - 20 in floats.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::PathBuf;

use isard_files::npy::{self, Npy};
use isard_files::tiff::{Tiff, Writer};
use isard_h5::Dtype;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn image(page: i64, dtype: Dtype) -> Vec<u8> {
    let value = |i: i64| {
        let v = 3 * (100 * page + i);
        let (u, s, f) = (v % 251, v % 120 - 60, v as f64 / 4.0 - 20.0);
        match dtype {
            Dtype::U8 => (u as u8).to_ne_bytes().to_vec(),
            Dtype::U16 => (u as u16).to_ne_bytes().to_vec(),
            Dtype::U32 => (u as u32).to_ne_bytes().to_vec(),
            Dtype::U64 => (u as u64).to_ne_bytes().to_vec(),
            Dtype::I8 => (s as i8).to_ne_bytes().to_vec(),
            Dtype::I16 => (s as i16).to_ne_bytes().to_vec(),
            Dtype::I32 => (s as i32).to_ne_bytes().to_vec(),
            Dtype::I64 => s.to_ne_bytes().to_vec(),
            Dtype::F32 => (f as f32).to_ne_bytes().to_vec(),
            Dtype::F64 => f.to_ne_bytes().to_vec(),
            Dtype::C32 => [(f as f32).to_ne_bytes(), 1_f32.to_ne_bytes()].concat(),
            Dtype::C64 => [f.to_ne_bytes(), 1_f64.to_ne_bytes()].concat(),
        }
    };
    (0..13 * 9).flat_map(value).collect()
}

fn pages(name: &str, dtype: Dtype, n: usize) -> Tiff {
    let bytes = fixture(name);
    let tiff = Tiff::parse(&bytes, name).unwrap();
    assert_eq!(tiff.pages().len(), n, "{name}");
    let form = tiff.uniform().unwrap();
    assert_eq!((form.height, form.width, form.dtype), (13, 9, dtype), "{name}");
    // Backwards, since no page may depend on another having been read.
    for page in (0..n).rev() {
        let mut out = vec![0; form.bytes()];
        tiff.read(&bytes, page, &mut out).unwrap();
        assert_eq!(out, image(page as i64, dtype), "{name} page {page}");
    }
    tiff
}

#[test]
fn raw_pages_of_every_type_and_order() {
    let types = [
        ("u1", Dtype::U8),
        ("u2", Dtype::U16),
        ("u4", Dtype::U32),
        ("i1", Dtype::I8),
        ("i2", Dtype::I16),
        ("i4", Dtype::I32),
        ("f4", Dtype::F32),
        ("f8", Dtype::F64),
    ];
    for (name, dtype) in types {
        for order in ["le", "be"] {
            let tiff = pages(&format!("raw_{name}_{order}.tif"), dtype, 1);
            let page = &tiff.pages()[0];
            // Strips of four rows follow each other: one run.
            assert_eq!(page.runs.as_ref().unwrap().len(), 1);
            assert_eq!(page.native, (order == "le") == cfg!(target_endian = "little"));
        }
    }
}

#[test]
fn compressed_pages() {
    for (name, dtype) in [("u2", Dtype::U16), ("f4", Dtype::F32)] {
        for method in ["packbits", "lzw", "lzw_pred", "deflate", "deflate_pred"] {
            let tiff = pages(&format!("{method}_{name}.tif"), dtype, 3);
            assert!(tiff.pages()[0].runs.is_none());
            assert!(method.starts_with(tiff.pages()[0].compression));
        }
    }
    pages("deflate_pred_be.tif", Dtype::U16, 1);
    assert!(pages("tiled.tif", Dtype::U16, 1).pages()[0].runs.is_none());
}

#[test]
fn big_tiff() {
    assert!(pages("big_raw.tif", Dtype::U16, 3).big());
    assert!(pages("big_deflate.tif", Dtype::U16, 3).big());
}

#[test]
fn written_pages_come_back() {
    for big in [false, true] {
        for deflate in [false, true] {
            let types = Dtype::ALL.into_iter().filter(|d| !matches!(d, Dtype::C32 | Dtype::C64));
            for dtype in types {
                let mut writer = Writer::new(dtype, [13, 9], big).unwrap();
                if deflate {
                    writer = writer.deflate();
                }
                for page in 0..3 {
                    writer.page(&image(page, dtype)).unwrap();
                }
                assert!(writer.page(&[0; 5]).is_err());
                let bytes = writer.into_bytes().unwrap();
                let tiff = Tiff::parse(&bytes, "written").unwrap();
                assert_eq!((tiff.big(), tiff.pages().len()), (big, 3));
                for (index, page) in tiff.pages().iter().enumerate() {
                    let mut out = vec![0; page.bytes()];
                    tiff.read(&bytes, index, &mut out).unwrap();
                    assert_eq!(out, image(index as i64, dtype));
                    assert_eq!(page.runs.is_none(), deflate);
                    if let Some(runs) = &page.runs {
                        assert_eq!((runs.len(), runs[0].offset % 16), (1, 0));
                    }
                }
            }
        }
    }
    assert!(Writer::new(Dtype::C32, [1, 1], false).is_err());
    assert!(Writer::new(Dtype::U8, [0, 1], false).is_err());
    assert!(Writer::new(Dtype::U8, [1, 1], false).unwrap().into_bytes().is_err());
}

#[test]
fn tiff_faults_say_what_and_where() {
    let said = |bytes: &[u8]| Tiff::parse(bytes, "a.tif").unwrap_err().to_string();
    assert_eq!(said(b""), "a.tif: has 0 bytes, too few for a tiff file");
    assert_eq!(said(b"\x89PNG123"), "a.tif: begins with [89, 50, 4e, 47], not as a tiff file");
    assert_eq!(said(&fixture("rgb.tif")), "a.tif: page 0: has 3 channels, wanted 1");
    let bytes = fixture("big_raw.tif");
    let tiff = Tiff::parse(&bytes, "a.tif").unwrap();
    let text = tiff.read(&bytes, 3, &mut []).unwrap_err().to_string();
    assert_eq!(text, "a.tif: page 3: no such page, there are 3");
    let text = tiff.read(&bytes, 1, &mut [0; 7]).unwrap_err().to_string();
    assert_eq!(text, "a.tif: page 1: is 234 bytes, the buffer has 7");
    let last = tiff.pages()[2].runs.as_ref().unwrap()[0];
    let cut = &bytes[..(last.offset + last.bytes - 1) as usize];
    let text = tiff.read(cut, 2, &mut [0; 234]).unwrap_err().to_string();
    assert_eq!(text, "a.tif: page 2: the file has become shorter");
    assert_eq!(said(cut), "a.tif: page 1: directory: lies at 1006, the file has 1005 bytes");
    let bytes = fixture("raw_u2_le.tif");
    let cut = said(&bytes[..bytes.len() - 1]);
    assert!(cut.starts_with("a.tif: page 0: wants 234 bytes at ") && cut.ends_with("cut short"), "{cut}");
}

#[test]
fn reference_frames() {
    // Sums and zlib.adler32 of pixels as tifffile 2026 reads them; the second
    // file is deflate without predictor.
    for (path, shape, sum, adler) in [
        ("frames/hedm/ge3_crop512.tif", (512, 512), 58_903_473_u64, 2_332_359_935_u32),
        ("nf-hedm/reduction/raw/frame_000007.tif", (384, 512), 13_466_396, 3_365_630_772),
    ] {
        let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
        let root = std::env::var_os("ISARD_SHARED").map_or(beside, PathBuf::from);
        let Ok(bytes) = fs::read(root.join("data").join(path)) else {
            skipped("reference_frames (no reference data)");
            return;
        };
        let tiff = Tiff::parse(&bytes, path).unwrap();
        let page = &tiff.pages()[0];
        assert_eq!(((page.height, page.width), page.dtype), (shape, Dtype::U16));
        let mut out = vec![0; page.bytes()];
        tiff.read(&bytes, 0, &mut out).unwrap();
        let values = out.chunks_exact(2).map(|b| u64::from(u16::from_ne_bytes([b[0], b[1]])));
        assert_eq!(values.sum::<u64>(), sum);
        let (a, b) = out.iter().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (b + a) % 65521)
        });
        assert_eq!(b << 16 | a, adler);
    }
}

#[test]
fn npy_files_of_numpy() {
    let read = |name: &str| {
        let bytes = fixture(name);
        let npy = Npy::parse(&bytes, name).unwrap();
        let mut out = vec![0; npy.len()];
        npy.read(&bytes, name, &mut out).unwrap();
        (npy, out)
    };
    for (name, dtype) in [
        ("c_le.npy", Dtype::F32),
        ("c_be.npy", Dtype::I32),
        ("complex_be.npy", Dtype::C32),
        ("v2.npy", Dtype::U16),
        ("v3.npy", Dtype::U16),
    ] {
        let (npy, out) = read(name);
        assert_eq!((npy.dtype, npy.shape.as_slice()), (dtype, [13, 9].as_slice()), "{name}");
        assert_eq!(out, image(0, dtype), "{name}");
    }
    assert_eq!((read("scalar.npy").0.shape, read("scalar.npy").1), (vec![], vec![5, 0]));
    assert_eq!((read("one.npy").0.shape, read("one.npy").1), (vec![4], vec![0, 1, 2, 3]));
    let text = Npy::parse(&fixture("fortran.npy"), "f.npy").unwrap_err().to_string();
    assert_eq!(text, "f.npy: is in fortran order, save it with `numpy.ascontiguousarray`");
    assert_eq!(Npy::parse(b"PK", "f.npy").unwrap_err().to_string(), "f.npy: does not begin as an npy file");
}

#[test]
fn npy_headers_are_those_of_numpy() {
    for (name, dtype, shape) in [
        ("c_le.npy", Dtype::F32, vec![13, 9]),
        ("scalar.npy", Dtype::U16, vec![]),
        ("one.npy", Dtype::U8, vec![4]),
    ] {
        let bytes = fixture(name);
        let ours = npy::header(dtype, &shape);
        assert_eq!(String::from_utf8_lossy(&bytes[..ours.len()]), String::from_utf8_lossy(&ours));
    }
    for dtype in Dtype::ALL {
        let npy = Npy::parse(&npy::header(dtype, &[3, 4, 5]), "own").unwrap();
        assert_eq!((npy.dtype, npy.shape.as_slice(), npy.native), (dtype, [3, 4, 5].as_slice(), true));
    }
}

#[test]
fn mutated_files_never_panic() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let (mut whole, mut refused) = (0, 0);
    let names = ["raw_u2_be.tif", "lzw_pred_u2.tif", "deflate_pred_f4.tif", "big_deflate.tif", "tiled.tif"];
    for name in names.into_iter().chain(["packbits_u2.tif", "big_raw.tif", "c_be.npy", "v3.npy"]) {
        let healthy = fixture(name);
        for round in 0..600 {
            let mut bytes = healthy.clone();
            for _ in 0..1 + round % 4 {
                // Half of the hits go to the header, where they hurt most.
                let reach = if round % 2 == 0 { bytes.len().min(200) } else { bytes.len() };
                bytes[random() % reach] = random() as u8;
            }
            if round % 5 == 0 {
                bytes.truncate(random() % bytes.len());
            }
            if name.ends_with("npy") {
                match Npy::parse(&bytes, name) {
                    Ok(npy) if npy.len() < 1 << 20 => {
                        let ok = npy.read(&bytes, name, &mut vec![0; npy.len()]).is_ok();
                        *(if ok { &mut whole } else { &mut refused }) += 1;
                    }
                    _ => refused += 1,
                }
                continue;
            }
            let Ok(tiff) = Tiff::parse(&bytes, name) else {
                refused += 1;
                continue;
            };
            for (index, page) in tiff.pages().iter().enumerate() {
                let ok = tiff.read(&bytes, index, &mut vec![0; page.bytes()]).is_ok();
                *(if ok { &mut whole } else { &mut refused }) += 1;
            }
        }
    }
    assert!(whole > 500 && refused > 500, "{whole} read, {refused} refused");
}

/// Says that a test is skipped, past the harness, which keeps what passing tests print.
fn skipped(what: &str) {
    use std::io::Write;
    // Nobody can be told that stderr is gone.
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}
