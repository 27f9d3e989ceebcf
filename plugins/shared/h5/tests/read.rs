//! Reading: reference files, leading axes, types, places of records.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;

use isard_h5::{Address, Attr, Dataset, Dtype, Element, File, Image, Kind, Spec};

/// Adler-32 as RFC 1950 defines it, to compare with zlib's.
fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

#[test]
fn reference_stack_of_frames() {
    let Some(file) = common::reference("reference_stack_of_frames", "frames/hedm/alpha_zr_ge2_dense.h5")
    else {
        return;
    };
    let file = File::open(file).unwrap();
    let frames = file.dataset("/entry/measurement/frames").unwrap();
    assert_eq!(frames.shape(), [100, 2048, 2048]);
    frames.expect(Dtype::U16).unwrap();
    assert_eq!(frames.layout(2).unwrap(), None);
    let mut out = vec![0; 2048 * 2048 * 2];
    // Sums and zlib.adler32 of the frames' bytes, read with h5py 3.16.
    for (index, sum, adler) in
        [(0, 74_594_u64, 2_601_863_231), (37, 251_155, 1_573_442_074), (99, 52_630, 2_900_151_448)]
    {
        frames.read(2, index, 1, &mut out).unwrap();
        let values = out.chunks_exact(2).map(|b| u64::from(u16::from_ne_bytes([b[0], b[1]])));
        assert_eq!((values.sum::<u64>(), adler32(&out)), (sum, adler), "frame {index}");
    }
    // Same source: omega runs -115 to -65 and 65 to 115 in steps of 1 degree.
    let omega = file.dataset("/entry/measurement/omega_start").unwrap();
    let mut two = [0; 16];
    omega.read(0, 49, 2, &mut two).unwrap();
    assert_eq!(two, [(-66_f64).to_ne_bytes(), 65_f64.to_ne_bytes()].concat()[..]);
    let signal = file.attribute("/entry/measurement", "signal").unwrap();
    assert_eq!(signal, Some(Attr::Text("frames".into())));
}

#[test]
fn reference_pilatus_frame() {
    let path = "frames/hedm/ceria_50x30_740mm_000005_Pilatus2M.hdf5";
    let Some(file) = common::reference("reference_pilatus_frame", path) else {
        return;
    };
    let images = File::open(file).unwrap().dataset("imageseries/images").unwrap();
    assert_eq!(images.dtype().unwrap(), Dtype::I32);
    let bytes = images.read_all().unwrap();
    let values: Vec<i32> =
        bytes.chunks_exact(4).map(|b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
    // From h5py 3.16 and numpy; 203,286 and 3,564,777 stand in the data's README too.
    assert_eq!(values.iter().map(|v| i64::from(*v)).sum::<i64>(), 1_804_763_158);
    assert_eq!(values.iter().filter(|v| **v < 0).count(), 203_286);
    assert_eq!(values.iter().max(), Some(&3_564_777));
    assert_eq!(adler32(&bytes), 1_228_579_260);
}

#[test]
fn reference_master_behind_an_external_link() {
    let test = "reference_master_behind_an_external_link";
    let Some(file) = common::reference(test, "azimuthal/eiger500k_h5/series_1_master.h5") else {
        return;
    };
    let file = File::open(file).unwrap();
    let listing = file.list().unwrap();
    let data = listing.datasets.iter().find(|d| d.path == "/entry/data/data_000001").unwrap();
    // Shape and filter as h5py 3.16 shows them.
    assert_eq!(data.shape[1..], [514, 1030]);
    assert!(data.filters[0].starts_with("bitshuffle"), "{:?}", data.filters);
    let bytes = file.dataset("/entry/data/data_000001").unwrap().read_all().unwrap();
    // From h5py 3.16 with hdf5plugin 7.1: sum of all pixels, zlib.adler32 of the bytes.
    let values = bytes.chunks_exact(2).map(|b| u64::from(u16::from_ne_bytes([b[0], b[1]])));
    assert_eq!((values.sum::<u64>(), adler32(&bytes)), (16_701_450, 3_242_845_933));
}

fn scan() -> (Vec<u8>, Vec<u8>) {
    let mut image = Image::new().unwrap();
    let spec = Spec::new(Dtype::I16, &[4, 5, 6]).fletcher32(false);
    let slot = image.dataset("/scan", &spec.chunk(1)).unwrap();
    let bytes: Vec<u8> = (0..3 * 4 * 5 * 6_i16).flat_map(i16::to_ne_bytes).collect();
    image.append(slot, &bytes, 3).unwrap();
    (image.into_bytes().unwrap(), bytes)
}

#[test]
fn leading_axes_are_flattened() {
    let (file, bytes) = scan();
    let scan = File::from_bytes(&file, "scan").unwrap().dataset("/scan").unwrap();
    for (axes, records) in [(0, 360), (1, 60), (2, 12), (3, 3), (4, 1)] {
        assert_eq!(scan.records(axes).unwrap(), records);
        let size = scan.record_bytes(axes).unwrap();
        for first in 0..records {
            let count = (records - first).min(7);
            let mut out = vec![0; size * count as usize];
            scan.read(axes, first, count, &mut out).unwrap();
            let at = size * first as usize;
            assert_eq!(out, bytes[at..at + out.len()], "{axes} axes from {first}");
        }
    }
    let text = scan.read(2, 10, 3, &mut [0; 180]).unwrap_err().to_string();
    assert_eq!(text, "scan::/scan: records 10 to 13 of 12");
    let text = scan.read(2, 0, 1, &mut [0; 59]).unwrap_err().to_string();
    assert_eq!(text, "scan::/scan: 1 records of 60 bytes do not fill a buffer of 59");
    assert_eq!(scan.records(5).unwrap_err().kind(), Kind::Mismatch);
    assert_eq!(
        scan.expect(Dtype::F32).unwrap_err().to_string(),
        "scan::/scan: element type is int16, wanted float32"
    );
    assert!(scan.read(2, u64::MAX, 2, &mut [0; 120]).is_err());
}

#[test]
fn places_of_records_hold_the_records() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("scan.h5");
    let (file, bytes) = scan();
    fs::write(&at, file).unwrap();
    let scan = Dataset::open(&Address { file: at.clone(), dataset: "/scan".into(), slice: None }).unwrap();
    for axes in [1, 2, 3] {
        let layout = scan.layout(axes).unwrap().unwrap();
        assert_eq!(layout.file, at);
        let plain = fs::File::open(&layout.file).unwrap();
        let mut all = Vec::new();
        for extent in layout.records {
            let mut record = vec![0; extent.bytes as usize];
            plain.read_exact_at(&mut record, extent.offset).unwrap();
            all.extend(record);
        }
        assert_eq!(all, bytes, "{axes} axes");
    }
    assert_eq!(scan.layout(4).unwrap(), None);
}

#[test]
fn files_of_h5py_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let script = "
import h5py, numpy as np
a = np.arange(60).reshape(3, 4, 5)
with h5py.File('a.h5', 'w', userblock_size=512) as f:
    f['contiguous'] = a.astype('<u2')
    f['big'] = a.astype('>i4')
    f['bool'] = a % 2 == 0
    f['complex'] = (a + 1j).astype('c8')
    f['half'] = a.astype('f2')
    f.create_dataset('pairs', data=a.astype('<f4'), chunks=(2, 4, 5))
    f.create_dataset('tiles', data=a.astype('<f4'), chunks=(1, 2, 5))
    f.create_dataset('lzf', data=a.astype('<f8'), compression='lzf', shuffle=True, fletcher32=True)
    f['text'] = ['eins', 'zwei µ']
    f['ascii'] = np.array([b'ab', b'c'], dtype='S4')
    f['empty'] = h5py.Empty('f4')
    f['contiguous'].attrs['fixed'] = np.bytes_('mm')
    f['contiguous'].attrs['flag'] = True
    f['contiguous'].attrs['ratio'] = np.float32(0.5)
    f['contiguous'].attrs['table'] = np.zeros((2, 2), 'u8')
    f['contiguous'].attrs['where'] = f['big'].ref
";
    let Some(_) = common::h5py("files_of_h5py_are_read", folder.path(), script) else {
        return;
    };
    let file = File::open(folder.path().join("a.h5")).unwrap();
    let all = |path: &str| file.dataset(path).unwrap().read_all().unwrap();
    let numbers = || 0..60_u8;
    assert_eq!(all("contiguous"), numbers().flat_map(|i| u16::from(i).to_ne_bytes()).collect::<Vec<_>>());
    assert_eq!(all("big"), numbers().flat_map(|i| i32::from(i).to_ne_bytes()).collect::<Vec<_>>());
    assert_eq!(all("bool"), numbers().map(|i| 1 - i % 2).collect::<Vec<_>>());
    assert_eq!(all("lzf"), numbers().flat_map(|i| f64::from(i).to_ne_bytes()).collect::<Vec<_>>());
    let pairs = numbers().flat_map(|i| [f32::from(i).to_ne_bytes(), 1_f32.to_ne_bytes()].concat());
    assert_eq!(all("complex"), pairs.collect::<Vec<_>>());
    assert_eq!(*file.dataset("half").unwrap().element(), Element::Number(Dtype::F32));
    assert_eq!(all("half"), numbers().flat_map(|i| f32::from(i).to_ne_bytes()).collect::<Vec<_>>());
    assert_eq!(file.dataset("empty").unwrap_err().kind(), Kind::Mismatch);
    assert_eq!(file.texts("text").unwrap(), ["eins", "zwei µ"]);
    assert_eq!(file.texts("ascii").unwrap(), ["ab", "c"]);
    assert!(file.texts("big").is_err());
    let attributes = file.attributes("contiguous").unwrap();
    assert_eq!(attributes[0], ("fixed".into(), Attr::Text("mm".into())));
    assert_eq!(attributes[1], ("flag".into(), Attr::Int(1)));
    assert_eq!(attributes[2], ("ratio".into(), Attr::Float(0.5)));
    assert_eq!(attributes[3], ("table".into(), Attr::Ints(vec![0; 4])));
    assert!(matches!(attributes[4].1, Attr::Other(_)));
    // Two records to a chunk and a user block in front: places must allow for both.
    for (path, there) in [("contiguous", true), ("pairs", true), ("tiles", false), ("big", false)] {
        let dataset = file.dataset(path).unwrap();
        let layout = dataset.layout(2).unwrap();
        assert_eq!(layout.is_some(), there, "{path}");
        if let Some(layout) = layout {
            let bytes = fs::read(&layout.file).unwrap();
            let run = |e: &isard_h5::Extent| bytes[e.offset as usize..][..e.bytes as usize].to_vec();
            assert_eq!(layout.records.iter().flat_map(run).collect::<Vec<_>>(), all(path), "{path}");
        }
    }
}
