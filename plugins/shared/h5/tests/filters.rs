//! Filters without a plug-in: through the library, and past it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use isard_h5::{Buffers, Chunks, Dataset, File};

/// All records, put together out of chunks decoded past the library.
fn decoded(dataset: Dataset, axes: usize, growing: bool) -> Vec<u8> {
    let (records, each) = (dataset.records(axes).unwrap(), dataset.record_bytes(axes).unwrap());
    let chunks = Chunks::new(Arc::new(dataset), axes, growing).unwrap().unwrap();
    let (mut buffers, mut chunk) = (Buffers::default(), vec![0; chunks.bytes()]);
    let mut out = vec![0; records as usize * each];
    for (record, room) in (0..).zip(out.chunks_mut(each)) {
        assert!(chunks.written(record).unwrap());
        for number in chunks.of(record) {
            chunks.plausible(number).unwrap();
            assert!(chunks.fetch(number, &mut buffers, &mut chunk).unwrap());
            chunks.place(record, number, &chunk, room);
        }
    }
    out
}

fn agree(file: &Path, path: &str, axes: usize) -> Vec<u8> {
    let open = || File::open(file).unwrap().dataset(path).unwrap();
    let bytes = open().read_all().unwrap();
    assert!(decoded(open(), axes, false) == bytes, "{path} from its places");
    assert!(decoded(open(), axes, true) == bytes, "{path} chunk by chunk");
    bytes
}

#[test]
fn reference_scans_in_chunks() {
    let test = "reference_scans_in_chunks";
    let at = |name: &str| common::reference(test, &format!("stem4d/{name}"));
    let (Some(npy), Some(chunked), Some(first)) =
        (at("scan.npy"), at("scan_chunked_bslz4.h5"), at("eiger_data_000001.h5"))
    else {
        return;
    };
    // scan.npy: uint16 of 12 x 10 x 32 x 24 behind a header of 128 bytes; the README says the others hold the same.
    let scan = std::fs::read(npy).unwrap()[128..].to_vec();
    for axes in [1, 2, 3] {
        assert!(agree(&chunked, "/data", axes) == scan, "{axes}");
    }
    let wide = agree(&first, "/entry/data/data", 2);
    let narrow: Vec<u8> = wide.chunks_exact(4).flat_map(|b| [b[0], b[1]]).collect();
    assert!(narrow == scan[..50 * 32 * 24 * 2]);
}

#[test]
fn reference_detector_frames_and_mask() {
    let path = "azimuthal/eiger500k_h5/series_1_data_000001.h5";
    let Some(data) = common::reference("reference_detector_frames_and_mask", path) else {
        return;
    };
    let sum = |bytes: &[u8]| -> u64 {
        bytes.chunks_exact(2).map(|b| u64::from(u16::from_ne_bytes([b[0], b[1]]))).sum()
    };
    let frames = agree(&data, "/entry/data/data", 2);
    // Sums of the two frames, from h5py 3.16 with hdf5plugin 7.1.
    assert_eq!(frames.chunks(514 * 1030 * 2).map(sum).collect::<Vec<_>>(), [7_981_393, 8_720_057]);
    let master = data.with_file_name("series_1_master.h5");
    let mask = agree(&master, "/entry/instrument/detector/detectorSpecific/pixel_mask", 2);
    // Chunks of 33 x 129 do not divide 514 x 1030; same source: all zeros.
    assert!(mask.len() == 514 * 1030 * 4 && mask.iter().all(|b| *b == 0));
}

#[test]
fn every_filter_of_hdf5plugin_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let script = "
import h5py, numpy as np
try:
    import hdf5plugin as p
except ImportError:
    print('none'); raise SystemExit
a = (np.random.default_rng(7).poisson(3, (7, 50, 61)) ** 2).astype('u2')
filters = {'bslz4': p.Bitshuffle(), 'bs': p.Bitshuffle(cname='none'), 'bszstd': p.Bitshuffle(cname='zstd'),
    'bs64': p.Bitshuffle(nelems=64), 'lz4': p.LZ4(), 'lz4_1000': p.LZ4(nbytes=1000), 'zstd': p.Zstd(9)}
for c in ['blosclz', 'lz4', 'lz4hc', 'zlib', 'zstd']:
    for s in [0, 1, 2]:
        filters[f'blosc_{c}_{s}'] = p.Blosc(cname=c, clevel=9, shuffle=s)
for name, more in {'gzip': dict(compression='gzip', shuffle=True), 'lzf': dict(compression='lzf'),
        'sum': dict(fletcher32=True), 'all': dict(compression='lzf', shuffle=True, fletcher32=True)}.items():
    filters[name] = more
with h5py.File('a.h5', 'w', userblock_size=1024) as f:
    f['plain'] = a
    for kind in ['u1', 'u2', 'i4', 'f4', 'f8', 'c8']:
        for chunk in [(1, 50, 61), (3, 50, 61), (2, 17, 20)]:
            for name, k in filters.items():
                d = f.create_dataset(f'{kind}/{chunk[0]}/{name}', data=a.astype(kind), chunks=chunk, **dict(k))
    with_noise = np.random.default_rng(3).integers(0, 65536, (2, 300), 'u2')
    f['noise_plain'] = with_noise
    for name, k in filters.items():
        f.create_dataset(f'noise/{name}', data=with_noise, chunks=(1, 300), **dict(k))
print(len(filters))
";
    let Some(out) = common::h5py("every_filter_of_hdf5plugin_is_read", folder.path(), script) else {
        return;
    };
    if out == "none\n" {
        return common::skipped("every_filter_of_hdf5plugin_is_read (hdf5plugin not found)");
    }
    let file = folder.path().join("a.h5");
    let listing = File::open(&file).unwrap().list().unwrap();
    let read = |path: &str| File::open(&file).unwrap().dataset(path).unwrap().read_all().unwrap();
    let mut done = 0;
    for info in listing.datasets {
        if info.path.ends_with("plain") {
            continue;
        }
        let noise = info.path.starts_with("/noise");
        let (axes, same) = if noise { (1, "/noise_plain".to_owned()) } else { (2, info.path.clone()) };
        let bytes = agree(&file, &info.path, axes);
        let kind = info.path.split('/').nth(1).unwrap();
        if noise || kind == "u2" {
            assert!(bytes == read(if noise { &same } else { "/plain" }), "{}", info.path);
        } else {
            // The unfiltered twin of other types is the first one that was checked: gzip is the library's own.
            let twin = format!("/{kind}/{}/gzip", info.path.split('/').nth(2).unwrap());
            assert!(bytes == read(&twin), "{}", info.path);
        }
        done += 1;
    }
    assert_eq!(done, 26 * (6 * 3 + 1));
}

#[test]
fn a_damaged_chunk_is_told_with_its_reason() {
    let Some(data) = common::reference("a_damaged_chunk", "stem4d/eiger_data_000001.h5") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(&data).unwrap();
    // The header of a chunk of 3072 bytes in blocks of 8192: the decoded length and the block.
    let head = [0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 32, 0];
    let at = bytes.windows(12).position(|w| w == head).unwrap();
    bytes[at + 6] = 13;
    let file = folder.path().join("a.h5");
    std::fs::write(&file, bytes).unwrap();
    let open = || File::open(&file).unwrap().dataset("/entry/data/data").unwrap();
    let wanted = "the bitshuffle header says 3328 bytes, wanted 3072";
    let chunks = Chunks::new(Arc::new(open()), 2, false).unwrap().unwrap();
    let mut out = vec![0; chunks.bytes()];
    let fetch = |i| chunks.fetch(i, &mut Buffers::default(), &mut out).err();
    let errors: Vec<String> = (0..50).filter_map(fetch).map(|e| e.to_string()).collect();
    assert!(
        errors.len() == 1 && errors[0].contains(wanted) && errors[0].contains("the chunk at ["),
        "{errors:?}"
    );
    assert!(open().read_all().is_err());
}
