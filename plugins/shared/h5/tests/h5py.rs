//! h5py reads what is built here.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;

use isard_h5::{Attr, Compression, Dtype, Image, Spec, Stacked};

#[test]
fn h5py_reads_parts_and_masters() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("p")).unwrap();
    let mut stacked = Vec::new();
    for (i, compression) in
        [Compression::None, Compression::Lzf, Compression::Deflate(4)].into_iter().enumerate()
    {
        let mut image = Image::new().unwrap();
        let spec = Spec::new(Dtype::F32, &[31, 17]).compress(compression);
        let slot = image.dataset("/entry/data", &spec).unwrap();
        let first = i * 2 * 31 * 17;
        let bytes: Vec<u8> = (first..first + 2 * 31 * 17).flat_map(|v| (v as f32).to_ne_bytes()).collect();
        image.append(slot, &bytes, 2).unwrap();
        let odd = image.dataset("/entry/odd", &Spec::new(Dtype::U8, &[7])).unwrap();
        image.append(odd, &[1, 2, 3, 4, 5, 6, 255], 1).unwrap();
        let complex = image.dataset("/entry/complex", &Spec::new(Dtype::C64, &[])).unwrap();
        image.append(complex, &[1.5_f64.to_ne_bytes(), (-2_f64).to_ne_bytes()].concat(), 1).unwrap();
        image.texts("/entry/names", &["é", "b"]).unwrap();
        image.fixed_texts("/entry/fixed", &["é", "bcd"]).unwrap();
        fs::write(folder.path().join(format!("p/{i}.h5")), image.into_bytes().unwrap()).unwrap();
        stacked.push(Stacked { file: format!("p/{i}.h5"), dataset: "/entry/data".into(), records: 2 });
    }
    let mut image = Image::new().unwrap();
    image.nexus("/entry", "NXentry").unwrap();
    image.nexus_data("/entry/data", "frames", &["n", "y", "x"]).unwrap();
    image.stack("/entry/data/frames", Dtype::F32, &[31, 17], &stacked).unwrap();
    image.attribute("/entry/data/frames", "units", "counts").unwrap();
    image.attribute("/entry/data/frames", "scale", Attr::Floats(vec![0.5, 2.0])).unwrap();
    image.link("/entry/first", "p/0.h5", "/entry/data").unwrap();
    image.nexus_default("/entry/data").unwrap();
    fs::write(folder.path().join("m.h5"), image.into_bytes().unwrap()).unwrap();
    // Read from another folder, so that relative names must start at the master.
    let script = format!(
        "
import h5py, numpy as np, os
os.chdir('/')
root = {root:?}
want = np.arange(6 * 31 * 17, dtype='f4').reshape(6, 31, 17)
with h5py.File(root + '/m.h5') as f:
    assert np.array_equal(f['entry/data/frames'][:], want)
    assert np.array_equal(f['entry/first'][:], want[:2])
    assert isinstance(f['entry'].attrs['NX_class'], str) and f['entry'].attrs['NX_class'] == 'NXentry'
    assert f.attrs['default'] == 'entry' and f['entry'].attrs['default'] == 'data'
    assert list(f['entry/data'].attrs['axes']) == ['n', 'y', 'x']
    assert all(isinstance(a, str) for a in f['entry/data'].attrs['axes'])
    assert f['entry/data'].attrs['signal'] == 'frames'
    assert f['entry/data/frames'].attrs['units'] == 'counts'
    assert list(f['entry/data/frames'].attrs['scale']) == [0.5, 2.0]
for i, compression in enumerate([None, 'lzf', 'gzip']):
    with h5py.File(root + f'/p/{{i}}.h5') as f:
        d = f['entry/data']
        assert (d.compression, d.fletcher32, d.chunks) == (compression, True, (2, 31, 17))
        assert np.array_equal(d[:], want[2 * i:2 * i + 2])
        assert list(f['entry/odd'][0]) == [1, 2, 3, 4, 5, 6, 255] and f['entry/odd'].fletcher32
        assert f['entry/complex'][0] == 1.5 - 2j
        assert list(f['entry/names'].asstr()[:]) == ['é', 'b']
        assert list(f['entry/fixed'].asstr()[:]) == ['é', 'bcd']
print('read')
",
        root = folder.path().to_str().unwrap()
    );
    if let Some(out) = common::h5py("h5py_reads_parts_and_masters", folder.path(), &script) {
        assert_eq!(out, "read\n");
    }
}

#[test]
fn hdf5plugin_reads_bitshuffled_parts() {
    let folder = tempfile::tempdir().unwrap();
    let mut image = Image::new().unwrap();
    for (name, dtype) in [("a", Dtype::U8), ("b", Dtype::U16), ("c", Dtype::U32), ("d", Dtype::F64)] {
        for (sum, chunk) in [(true, 1), (false, 2)] {
            let spec =
                Spec::new(dtype, &[31, 17]).compress(Compression::Bitshuffle).fletcher32(sum).chunk(chunk);
            let slot = image.dataset(&format!("/{name}{chunk}"), &spec).unwrap();
            let bytes: Vec<u8> = (0..5 * 31 * 17 * dtype.size()).map(|i| (i * i / 97 % 51) as u8).collect();
            image.append(slot, &bytes, 5).unwrap();
        }
    }
    fs::write(folder.path().join("a.h5"), image.into_bytes().unwrap()).unwrap();
    let script = "
import h5py, numpy as np
try:
    import hdf5plugin
except ImportError:
    print('none'); raise SystemExit
with h5py.File('a.h5') as f:
    for name, kind in zip('abcd', ['u1', 'u2', 'u4', 'f8']):
        for chunk in [1, 2]:
            d = f[f'{name}{chunk}']
            assert (d.dtype, d.shape, d.chunks) == (np.dtype(kind), (5, 31, 17), (chunk, 31, 17)), d
            assert '32008' in d._filters and d.fletcher32 == (chunk == 1), d._filters
            i = np.arange(d.nbytes)
            assert (i * i // 97 % 51).astype('u1').tobytes() == d[()].tobytes(), name
print('read')
";
    match common::h5py("hdf5plugin_reads_bitshuffled_parts", folder.path(), script) {
        Some(out) if out == "none\n" => {
            common::skipped("hdf5plugin_reads_bitshuffled_parts (hdf5plugin not found)");
        }
        Some(out) => assert_eq!(out, "read\n"),
        None => {}
    }
}
