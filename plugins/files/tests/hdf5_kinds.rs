//! Kinds of HDF5 data that are rare: half floats, foreign filters, detectors with several thresholds.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/frames.rs"]
mod frames;

use common::{bytes, h5py, pull, source};
use frames::{all, dataset};
use isard_core::prelude::*;

#[test]
fn half_floats_are_given_in_single_precision() {
    let folder = tempfile::tempdir().unwrap();
    // The extremes of the format: the largest, the smallest normal and the smallest of all, infinity, both zeros.
    let script = "
import h5py, hdf5plugin, numpy as np
half = np.array([65504, 6.103515625e-05, 5.960464477539063e-08, np.inf, -0.0, 0, -1.5, 0.333251953125], 'f2')
with h5py.File('a.h5', 'w') as f:
    f['plain'] = half.reshape(2, 2, 2)
    f.create_dataset('packed', data=half.reshape(2, 2, 2), chunks=(1, 2, 2), **hdf5plugin.Bitshuffle())
";
    let Some(_) = h5py("half_floats_are_given_in_single_precision", folder.path(), script) else { return };
    let wanted = [65504.0, 6.103_515_6e-5, 5.960_464_5e-8, f32::INFINITY, -0.0, 0.0, -1.5, 0.333_251_95];
    let wanted: Vec<u8> = wanted.iter().flat_map(|x: &f32| x.to_ne_bytes()).collect();
    for name in ["/plain", "/packed"] {
        let mut source = source("hdf5.dataset", &dataset(&folder.path().join("a.h5"), name, ""));
        let (opened, pulled) = pull(&mut *source, 0, 3).unwrap();
        assert_eq!(opened.shapes.get("image").dtype, Some(Dtype::F32));
        assert_eq!(bytes(&pulled, "image"), wanted, "{name}");
    }
}

#[test]
fn a_filter_that_is_not_built_in_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let script = "
import h5py, hdf5plugin, numpy as np
data = np.arange(48, dtype='u2').reshape(4, 3, 4)
with h5py.File('a.h5', 'w') as f: f.create_dataset('data', data=data, chunks=(1, 3, 4), **hdf5plugin.Blosc2())
";
    let Some(_) = h5py("a_filter_that_is_not_built_in_is_named", folder.path(), script) else { return };
    let error = all("hdf5.dataset", &dataset(&folder.path().join("a.h5"), "/data", ""), 2).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("filter 32026 `blosc2` is not built in") && error.contains("h5repack"), "{error}");
}

/// A master of three images with two thresholds as the specification of the file writer has it (v2024.2).
const CHANNELS: &str = "
import h5py, hdf5plugin, numpy as np
data = np.arange(3 * 2 * 2 * 4, dtype='u4').reshape(3, 2, 2, 4)
with h5py.File('s_data_000001.h5', 'w') as f:
    f.create_dataset('entry/data/data', data=data, chunks=CHUNKS, **hdf5plugin.Bitshuffle())
with h5py.File('s_master.h5', 'w') as f:
    layout = h5py.VirtualLayout(shape=data.shape, dtype='u4')
    layout[:] = h5py.VirtualSource('s_data_000001.h5', 'entry/data/data', shape=data.shape)
    f.create_virtual_dataset('entry/data/data', layout)
    detector = f.create_group('entry/instrument/detector')
    detector['count_time'] = 0.01
    for n in (1, 2):
        detector[f'threshold_{n}_channel/pixel_mask'] = np.full((2, 4), n, 'u4')
        detector[f'threshold_{n}_channel/threshold_energy'] = 4000.0 * n
";

#[test]
fn of_several_thresholds_one_is_read() {
    let test = "of_several_thresholds_one_is_read";
    // One chunk for each threshold, one for each image, and one for two images.
    for chunks in ["(1, 1, 2, 4)", "(1, 2, 2, 4)", "(2, 2, 2, 4)"] {
        let folder = tempfile::tempdir().unwrap();
        let Some(_) = h5py(test, folder.path(), &CHANNELS.replace("CHUNKS", chunks)) else { return };
        let path = folder.path().join("s_master.h5");
        let set = |more: &str| format!("path = {:?}\n{more}", path.to_str().unwrap());
        for (channel, room) in [(1_u32, 1), (1, 5), (2, 1), (2, 2)] {
            let mut source = source("dectris.master", &set(&format!("channel = {channel}")));
            let (opened, pulled) = pull(&mut *source, 0, room).unwrap();
            assert_eq!(opened.frames, Some(3));
            // Images count on: threshold 2 of image n begins with pixel 16 n + 8.
            let pixel = |n: u32| 16 * (n / 8) + 8 * (channel - 1) + n % 8;
            let wanted: Vec<u8> = (0..24).flat_map(|n| pixel(n).to_ne_bytes()).collect();
            assert_eq!(bytes(&pulled, "image"), wanted, "{chunks}, channel {channel}, {room} at once");
            let Some(Value::Array(mask)) = opened.head.get("mask") else { panic!("{:?}", opened.head) };
            assert_eq!(mask.as_slice::<u32>().unwrap(), [channel; 8]);
            assert_eq!(opened.head.get("threshold_energy"), Some(&Value::Float(4000.0 * f64::from(channel))));
            assert_eq!(opened.head.get("count_time"), Some(&Value::Float(0.01)));
        }
        let error = all("dectris.master", &set(""), 4).unwrap_err();
        let said = format!("{error} {}", error.advice().unwrap_or_default());
        assert!(said.contains("has 2 channels") && said.contains("`threshold_2_channel`"), "{said}");
        let error = all("dectris.master", &set("channel = 3"), 4).unwrap_err().to_string();
        assert!(error.contains("there is no channel 3, each frame has 2"), "{error}");
    }
}

/// What numpy gives for the same slices of the same datasets, plain, in chunks of several frames, virtual and of two axes.
#[test]
fn a_slice_is_a_series_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let script = "
import h5py, numpy as np
data = np.arange(10 * 2 * 3, dtype='u2').reshape(10, 2, 3)
with h5py.File('part.h5', 'w') as f: f['x'] = data[4:]
with h5py.File('a.h5', 'w') as f:
    f['plain'] = data
    f.create_dataset('packed', data=data, chunks=(4, 2, 3), compression='gzip')
    layout = h5py.VirtualLayout(shape=data.shape, dtype='u2')
    layout[:4] = h5py.VirtualSource('a.h5', 'plain', shape=data.shape)[:4]
    layout[4:] = h5py.VirtualSource('part.h5', 'x', shape=(6, 2, 3))
    f.create_virtual_dataset('virtual', layout)
    f['grid'] = data.reshape(5, 2, 2, 3)
    f['omega'] = np.arange(10) / 4
data[3:8].tofile('wanted')
data[2:8].tofile('rows')
";
    let Some(_) = h5py("a_slice_is_a_series_of_its_own", folder.path(), script) else { return };
    let file = folder.path().join("a.h5");
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    for name in ["/plain[3:8]", "/packed[3:8]", "/virtual[3:8]"] {
        let more = "columns = { omega = \"/omega\" }";
        let mut source = source("hdf5.dataset", &dataset(&file, name, more));
        let (opened, pulled) = pull(&mut *source, 0, 2).unwrap();
        assert_eq!(opened.frames, Some(5), "{name}");
        assert_eq!(bytes(&pulled, "image"), read("wanted"), "{name}");
        let omega: Vec<u8> = (3..8).flat_map(|k| (f64::from(k) / 4.0).to_ne_bytes()).collect();
        assert_eq!(bytes(&pulled, "omega"), omega, "{name}");
    }
    // The slice is one of the first axis.
    let mut source = source("hdf5.dataset", &dataset(&file, "/grid[1:4]", "scan = [\"y\", \"x\"]"));
    let (opened, pulled) = pull(&mut *source, 0, 4).unwrap();
    assert_eq!(opened.scan, [("y".to_owned(), 3), ("x".to_owned(), 2)]);
    assert_eq!(bytes(&pulled, "image"), read("rows"));
    let error = all("hdf5.dataset", &dataset(&file, "/plain[3:11]", ""), 2).unwrap_err().to_string();
    assert!(error.contains("the slice [3:11] of 10 records, wanted a part of [0:10]"), "{error}");
    // A static input is sliced too.
    let run = isard_core::stage::RunCx::default();
    let path = |slice: &str| format!("{}::/omega{slice}", file.display());
    let Value::Array(some) = isard_files::input::read_path(&run, &path("[8:]")).unwrap() else {
        panic!("an array")
    };
    assert_eq!(some.as_slice::<f64>().unwrap(), [2.0, 2.25]);
    assert!(isard_files::input::read_path(&run, &path("[8:12]")).is_err());
}
