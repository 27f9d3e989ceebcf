//! What sets look like to others: default plots, units, links, bitshuffled parts.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::{Memory, context, h5py, skipped, writer};
use isard_core::prelude::*;
use isard_core::span::Ranges;
use isard_h5::{Attr, File};

fn pixels(n: u64) -> Vec<u16> {
    (0..48 * 40_u64).map(|i| ((i * i / 97 + n) % 23) as u16).collect()
}

fn written(set: &str) -> Memory {
    let mut out = Memory::default();
    let units = [("image", "count"), ("omega", "degree"), ("peaks.row", "pixel")];
    out.units = units.map(|(name, unit)| (name.to_owned(), unit.to_owned())).into();
    let out = Arc::new(out);
    let run = context();
    let cx = Cx::new(&run, "save");
    let mut writer = writer("hdf5.write", set);
    writer.open(&cx, out.clone(), None).unwrap();
    for first in (0..30).step_by(6) {
        let image: Vec<u16> = (first..first + 6).flat_map(pixels).collect();
        let omega: Vec<f64> = (first..first + 6).map(|n| n as f64 / 4.0).collect();
        let rows: Vec<f64> = (first..first + 6).map(|n| n as f64).collect();
        let numbers: Vec<u64> = (first..first + 6).collect();
        let peaks = Table::new(6).with("row", &rows).unwrap().with_records(&numbers).unwrap();
        let input = Dict::new()
            .with("image", Array::of(&[6, 48, 40], &image).unwrap())
            .with("omega", Array::from_slice(&omega))
            .with("peaks", peaks);
        writer.write(&cx, &Span { axis: isard_core::span::FRAME, start: first, len: 6 }, input).unwrap();
    }
    let mut covers = Ranges::default();
    covers.add(0..30);
    writer.finish(&cx, &covers).unwrap();
    drop(writer);
    Arc::into_inner(out).unwrap()
}

#[test]
fn units_of_ports_reach_the_datasets() {
    let out = written("path = \"out.h5\"\npart_bytes = 40000\nunits = { omega = \"mrad\" }");
    let names = out.names();
    assert!(names.len() > 3, "{names:?}");
    for name in names {
        let file = File::from_bytes(&out.file(&name), &name).unwrap();
        // What the recipe says stands over what the port says.
        for (path, unit) in [("data/image", "count"), ("data/omega", "mrad"), ("tables/peaks/row", "pixel")] {
            let found = file.attribute(&format!("/entry/{path}"), "units");
            if name == "out.h5" && found.is_err() {
                // In memory the master has no parts beside it, so its datasets do not open.
                continue;
            }
            assert_eq!(found.unwrap(), Some(Attr::Text(unit.into())), "{name} {path}");
        }
        assert_eq!(file.attribute("/", "default").unwrap(), Some(Attr::Text("entry".into())), "{name}");
        assert_eq!(
            file.attribute("/entry/data", "signal").unwrap(),
            Some(Attr::Text("image".into())),
            "{name}"
        );
    }
}

#[test]
fn every_compression_holds_the_same_frames() {
    let wanted: Vec<u8> = (0..30).flat_map(pixels).flat_map(u16::to_ne_bytes).collect();
    for compression in ["none", "deflate", "lzf", "bitshuffle"] {
        let out = written(&format!("path = \"out.h5\"\npart_bytes = 40000\ncompression = \"{compression}\""));
        let folder = tempfile::tempdir().unwrap();
        out.dump(folder.path());
        let file = File::open(folder.path().join("out.h5")).unwrap();
        assert!(file.dataset("/entry/data/image").unwrap().read_all().unwrap() == wanted, "{compression}");
        let part = File::open(folder.path().join("out.parts/000000.h5")).unwrap();
        let filters = part.list().unwrap().datasets.into_iter().find(|d| d.path == "/entry/data/image");
        let filters = filters.unwrap().filters.concat();
        let word = if compression == "none" { "fletcher32" } else { compression };
        assert!(filters.contains(word), "{filters}");
    }
}

#[test]
fn others_find_the_default_plot_wherever_the_folder_is() {
    let test = "others_find_the_default_plot_wherever_the_folder_is";
    let out = written("path = \"out.h5\"\npart_bytes = 40000\ncompression = \"bitshuffle\"");
    let folder = tempfile::tempdir().unwrap();
    out.dump(&folder.path().join("before"));
    std::fs::rename(folder.path().join("before"), folder.path().join("after")).unwrap();
    // The rule of NeXus, as silx.io.nxdata.get_default applies it.
    let script = "
import os
try:
    import hdf5plugin
except ImportError:
    print('none'); raise SystemExit
import h5py, numpy as np
here = os.getcwd()
os.chdir('/')
i = np.arange(48 * 40, dtype='u8')
want = np.stack([((i * i // 97 + n) % 23).astype('u2').reshape(48, 40) for n in range(30)])
def default(f):
    at = f
    while 'default' in at.attrs: at = at[at.attrs['default']]
    assert at.attrs['NX_class'] == 'NXdata', at
    signal = at[at.attrs['signal']]
    axes = list(at.attrs['axes'])
    assert len(axes) == signal.ndim, (axes, signal.shape)
    for n, axis in zip(signal.shape, axes):
        assert axis == '.' or at[axis].shape == (n,), axis
    return signal
for name in ['out.h5'] + ['out.parts/' + n for n in os.listdir(here + '/after/out.parts')]:
    with h5py.File(here + '/after/' + name) as f:
        assert f['entry'].attrs['NX_class'] == 'NXentry'
        signal = default(f)
        numbers = f['entry/data/frame'][()]
        assert np.array_equal(signal[()], want[numbers]), name
        assert signal.attrs['units'] == 'count' and f['entry/data/omega'].attrs['units'] == 'degree'
        if name == 'out.h5':
            assert signal.shape == (30, 48, 40)
            assert f['entry/process'].attrs['NX_class'] == 'NXprocess'
            assert 'recipe' in f['entry/process/record'].asstr()[()]
            for part in f['entry/parts']:
                link = f['entry/parts'].get(part, getlink=True)
                assert not os.path.isabs(link.filename) and f['entry/parts'][part]['data/image'].shape[1:] == (48, 40)
        else:
            assert '32008' in signal._filters
try:
    import silx.io.nxdata as nx
    with h5py.File(here + '/after/out.h5') as f: assert nx.get_default(f).is_valid
except ImportError:
    pass
print('read')
";
    match h5py(test, folder.path(), script) {
        Some(out) if out == "none\n" => skipped(&format!("{test} (hdf5plugin not found)")),
        Some(out) => assert_eq!(out, "read\n"),
        None => {}
    }
}
