//! HDF5 sources: reference series, virtual datasets, frames that were never written.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/frames.rs"]
mod frames;

use std::fs;
use std::path::Path;

use common::{bytes, h5py, pull, reference, source};
use frames::{all, dataset};
use isard_core::prelude::*;
use isard_h5::{Compression, Dtype as H5, Image, Spec, Stacked};

#[test]
fn reference_scans_are_read_bit_for_bit() {
    let test = "reference_scans_are_read_bit_for_bit";
    let (Some(npy), Some(chunked)) =
        (reference(test, "stem4d/scan.npy"), reference(test, "stem4d/scan_chunked_bslz4.h5"))
    else {
        return;
    };
    // uint16 of 12 x 10 x 32 x 24 behind a header of 128 bytes; the README says that all these hold the same.
    let scan = fs::read(npy).unwrap()[128..].to_vec();
    for room in [1, 7, 64, 1000] {
        let mut source = source("hdf5.dataset", &dataset(&chunked, "/data", "scan = [\"y\", \"x\"]"));
        let (opened, pulled) = pull(&mut *source, 0, room).unwrap();
        assert_eq!(opened.scan, [("y".to_owned(), 12), ("x".to_owned(), 10)]);
        assert!(bytes(&pulled, "image") == scan, "{room}");
    }
    let mut from = source("hdf5.dataset", &dataset(&chunked, "/data", ""));
    assert!(bytes(&pull(&mut *from, 37, 8).unwrap().1, "image") == scan[37 * 32 * 24 * 2..]);
    let emd = npy_sibling(&chunked, "scan_emd10.h5");
    let path = isard_h5::File::open(&emd).unwrap().list().unwrap();
    let found = path.datasets.iter().find(|d| d.shape == [12, 10, 32, 24]).unwrap().path.clone();
    assert!(
        bytes(&pull(&mut *source("hdf5.dataset", &dataset(&emd, &found, "")), 0, 50).unwrap().1, "image")
            == scan
    );
}

fn npy_sibling(file: &Path, name: &str) -> std::path::PathBuf {
    file.with_file_name(name)
}

#[test]
fn reference_masters_are_read_bit_for_bit() {
    let test = "reference_masters_are_read_bit_for_bit";
    let (Some(npy), Some(eiger), Some(big)) = (
        reference(test, "stem4d/scan.npy"),
        reference(test, "stem4d/eiger_master.h5"),
        reference(test, "azimuthal/eiger500k_h5/series_1_master.h5"),
    ) else {
        return;
    };
    let scan = fs::read(npy).unwrap()[128..].to_vec();
    let set = format!("path = {:?}", eiger.to_str().unwrap());
    for room in [1, 16, 200] {
        let (opened, pulled) = pull(&mut *source("dectris.master", &set), 0, room).unwrap();
        let head = &opened.head;
        assert_eq!(opened.frames, Some(120));
        // As h5py 3.16 shows the master; three files of 50, 50 and 20 frames.
        assert_eq!(head.get("bit_depth_image"), Some(&Value::Int(32)));
        assert_eq!(head.get("trigger_mode").and_then(Value::text), Some("exte"));
        let narrow: Vec<u8> = bytes(&pulled, "image").chunks_exact(4).flat_map(|b| [b[0], b[1]]).collect();
        assert!(narrow == scan, "{room}");
    }
    let (opened, pulled) =
        pull(&mut *source("dectris.master", &format!("path = {:?}", big.to_str().unwrap())), 0, 5).unwrap();
    let frames = bytes(&pulled, "image");
    let sum =
        |b: &[u8]| -> u64 { b.chunks_exact(2).map(|b| u64::from(u16::from_ne_bytes([b[0], b[1]]))).sum() };
    // Sums of the frames and what the master says, from h5py 3.16 with hdf5plugin 7.1.
    assert_eq!(frames.chunks(514 * 1030 * 2).map(sum).collect::<Vec<_>>(), [7_981_393, 8_720_057]);
    assert_eq!(opened.head.get("count_time"), Some(&Value::Float(0.01)));
    assert_eq!(opened.head.get("detector_distance"), Some(&Value::Float(0.15)));
    assert_eq!(opened.head.get("incident_wavelength"), Some(&Value::Float(0.7999999999999999)));
    let Some(Value::Array(mask)) = opened.head.get("mask") else { panic!("no mask in {:?}", opened.head) };
    assert_eq!((mask.dtype(), mask.shape()), (Dtype::U32, [514, 1030].as_slice()));
}

#[test]
fn a_missing_data_file_is_an_error_or_a_gap() {
    let test = "a_missing_data_file_is_an_error_or_a_gap";
    let Some(master) = reference(test, "stem4d/eiger_master.h5") else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in ["eiger_master.h5", "eiger_data_000001.h5", "eiger_data_000003.h5"] {
        fs::copy(master.with_file_name(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("eiger_master.h5");
    let set = format!("path = {:?}\n", path.to_str().unwrap());
    let error = all("dectris.master", &set, 16).unwrap_err();
    assert!(
        error.to_string().contains("missing data file") && error.to_string().contains("eiger_data_000002.h5"),
        "{error}"
    );
    let (frames, lost) = all("dectris.master", &format!("{set}missing = \"gap\""), 16).unwrap();
    assert_eq!(frames.len(), 70 * 32 * 24 * 4);
    assert_eq!(lost.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (50..100).collect::<Vec<_>>());
    // Without the last file, the number that the master announces tells its length.
    fs::rename(folder.path().join("eiger_data_000003.h5"), folder.path().join("eiger_data_000002.h5"))
        .unwrap();
    let (_, lost) = all("dectris.master", &format!("{set}missing = \"gap\""), 16).unwrap();
    assert_eq!(lost.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (50..100).collect::<Vec<_>>());
}

#[test]
fn sets_of_many_parts_are_read_part_by_part() {
    // More parts than a process may have files open.
    let folder = tempfile::tempdir().unwrap();
    let mut parts = vec![];
    for i in 0..1100_u16 {
        let mut image = Image::sized(4096).unwrap();
        let spec = Spec::new(H5::U16, &[2]).compress(Compression::Bitshuffle);
        let slot = image.dataset("/entry/data", &spec).unwrap();
        image.append(slot, &[i.to_ne_bytes(), (i + 1).to_ne_bytes()].concat(), 1).unwrap();
        let file = format!("p{i}.h5");
        fs::write(folder.path().join(&file), image.into_bytes().unwrap()).unwrap();
        parts.push(Stacked { file, dataset: "/entry/data".into(), records: 1 });
    }
    let mut image = Image::new().unwrap();
    image.stack("/entry/data", H5::U16, &[2], &parts).unwrap();
    let master = folder.path().join("m.h5");
    fs::write(&master, image.into_bytes().unwrap()).unwrap();
    let (frames, lost) = all("hdf5.dataset", &dataset(&master, "/entry/data", "frame_axes = 1"), 64).unwrap();
    let wanted: Vec<u8> =
        (0..1100_u16).flat_map(|i| [i.to_ne_bytes(), (i + 1).to_ne_bytes()].concat()).collect();
    assert!(frames == wanted && lost.is_empty());
    fs::remove_file(folder.path().join("p700.h5")).unwrap();
    let error = all("hdf5.dataset", &dataset(&master, "/entry/data", "frame_axes = 1"), 64).unwrap_err();
    assert!(error.to_string().contains("missing source") && error.to_string().contains("p700.h5"), "{error}");
}

#[test]
fn virtual_datasets_of_h5py() {
    let test = "virtual_datasets_of_h5py";
    let folder = tempfile::tempdir().unwrap();
    let script = "
import h5py, numpy as np, os
a = np.arange(6 * 4 * 5, dtype='u2').reshape(6, 4, 5)
for i in range(3):
    with h5py.File(f'f_{i}.h5', 'w') as f:
        f.create_dataset('d', data=a[2 * i:2 * i + 2], chunks=(1, 4, 5), compression='lzf')
        f.create_dataset('one', data=a[i])
def virtual(name, shape, fill):
    v = h5py.VirtualLayout(shape=shape, dtype='u2')
    fill(v)
    with h5py.File('v.h5', 'a', libver='latest') as f:
        f.create_virtual_dataset(name, v, fillvalue=77)
def blocks(v):
    for i in range(3): v[2 * i:2 * i + 2] = h5py.VirtualSource(f'f_{i}.h5', 'd', (2, 4, 5))
def single(v):
    for i in range(3): v[i] = h5py.VirtualSource(f'f_{i}.h5', 'one', (4, 5))
def turned(v):
    v[0] = h5py.VirtualSource('f_0.h5', 'd', (2, 4, 5))[1]
    v[1] = h5py.VirtualSource('f_0.h5', 'd', (2, 4, 5))[0]
def tiles(v):
    v[:, :, :5] = h5py.VirtualSource('f_0.h5', 'd', (2, 4, 5))
    v[:, :, 5:] = h5py.VirtualSource('f_1.h5', 'd', (2, 4, 5))
def hole(v):
    v[0:2] = h5py.VirtualSource('f_0.h5', 'd', (2, 4, 5))
    v[4:6] = h5py.VirtualSource('f_2.h5', 'd', (2, 4, 5))
virtual('blocks', (6, 4, 5), blocks)
virtual('single', (3, 4, 5), single)
virtual('turned', (2, 4, 5), turned)
virtual('tiles', (2, 4, 10), tiles)
virtual('hole', (6, 4, 5), hole)
from h5py import h5d, h5s, h5p, h5t
with h5py.File('v.h5', 'a', libver='latest') as f:
    U = h5s.UNLIMITED
    space = h5s.create_simple((0, 4, 5), (U, 4, 5))
    space.select_hyperslab((0, 0, 0), (U, 1, 1), (2, 1, 1), (2, 4, 5))
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_virtual(space, b'f_%b.h5', b'd', h5s.create_simple((2, 4, 5)))
    h5d.create(f.id, b'pattern', h5t.NATIVE_UINT16, h5s.create_simple((0, 4, 5), (U, 4, 5)), plist)
with h5py.File('v.h5') as f: assert f['pattern'].shape == (6, 4, 5), f['pattern'].shape
os.mkdir('links')
with h5py.File('links/l.h5', 'w') as f:
    f['there'] = h5py.ExternalLink('../v.h5', 'blocks')
    f.create_dataset('late', shape=(6, 4, 5), chunks=(2, 2, 5), dtype='u2', fillvalue=9)
    f['late'][0:1] = a[0]; f['late'][4:6] = a[4:6]
";
    let Some(_) = h5py(test, folder.path(), script) else { return };
    let a: Vec<u8> = (0..120_u16).flat_map(u16::to_ne_bytes).collect();
    let frame = |i: usize| a[i * 40..(i + 1) * 40].to_vec();
    let v = folder.path().join("v.h5");
    let read = |path: &str, more: &str| all("hdf5.dataset", &dataset(&v, path, more), 4);
    assert!(read("/blocks", "").unwrap() == (a.clone(), vec![]));
    assert!(read("/pattern", "").unwrap() == (a.clone(), vec![]));
    assert!(read("/single", "").unwrap().0 == a[..120]);
    assert!(read("/turned", "").unwrap().0 == [frame(1), frame(0)].concat());
    let tiles = read("/tiles", "").unwrap().0;
    assert_eq!(tiles[..10], frame(0)[..10]);
    assert_eq!(tiles[10..20], frame(2)[..10]);
    let (frames, lost) = read("/hole", "").unwrap();
    assert!(frames == [&a[..80], &a[160..]].concat());
    assert_eq!(
        lost,
        [(2, "no source is mapped there".to_owned()), (3, "no source is mapped there".to_owned())]
    );
    let (frames, lost) = read("/hole", "unwritten = \"fill\"").unwrap();
    assert!(frames[80..160] == [77, 0].repeat(40) && lost.is_empty());
    assert!(read("/hole", "unwritten = \"error\"").unwrap_err().to_string().contains("frame 2: no source"));
    let links = folder.path().join("links/l.h5");
    assert!(all("hdf5.dataset", &dataset(&links, "/there", ""), 3).unwrap().0 == a);
    // Chunks of two frames: those of frames 2 and 3 were never written; frame 1 holds the fill value, in a chunk.
    let late = |more: &str| all("hdf5.dataset", &dataset(&links, "/late", more), 5);
    let (frames, lost) = late("").unwrap();
    assert!(frames == [frame(0), [9, 0].repeat(20), frame(4), frame(5)].concat());
    assert_eq!(lost.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2, 3]);
    assert!(
        late("unwritten = \"error\"")
            .unwrap_err()
            .to_string()
            .contains("frame 2: its chunk was never written")
    );
    assert_eq!(late("unwritten = \"fill\"").unwrap().0.len(), 6 * 40);
    fs::rename(folder.path().join("f_1.h5"), folder.path().join("elsewhere.h5")).unwrap();
    for path in ["/blocks", "/pattern", "/single"] {
        let error = read(path, "").unwrap_err().to_string();
        assert!(error.contains("missing source") && error.contains("f_1.h5"), "{path}: {error}");
    }
}
