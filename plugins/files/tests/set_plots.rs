//! Every kind of result has a default plot that others find, wherever the folder is.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::{Memory, context, h5py, writer};
use isard_core::prelude::*;
use isard_core::span::{FRAME, Ranges, SNAPSHOT};

/// Writes two chunks of records of an axis; `record` gives what a chunk holds.
fn write(name: &str, axis: Key, chunks: &[(u64, u64)], record: impl Fn(u64, u64) -> Dict) -> Memory {
    let out = Arc::new(Memory::default());
    let run = context();
    let cx = Cx::new(&run, "save");
    let mut writer = writer("hdf5.write", &format!("path = \"{name}.h5\"\npart_bytes = 64"));
    writer.open(&cx, out.clone(), None).unwrap();
    for (start, len) in chunks {
        let span = Span { axis: axis.clone(), start: *start, len: *len };
        writer.write(&cx, &span, record(*start, *len)).unwrap();
    }
    writer.finish(&cx, &Ranges::from_bounds(&[0, 6])).unwrap();
    drop(writer);
    Arc::into_inner(out).unwrap()
}

fn ramp(shape: &[usize]) -> Array {
    let n = shape.iter().product::<usize>();
    Array::of(shape, &(0..n).map(|i| i as f64).collect::<Vec<_>>()).unwrap()
}

#[test]
fn whatever_is_written_has_a_default_plot() {
    let test = "whatever_is_written_has_a_default_plot";
    let folder = tempfile::tempdir().unwrap();
    let before = folder.path().join("before");
    let frames = [(0, 3), (3, 3)];
    let one = [(1, 1)];
    let several = [(1, 1), (2, 1)];
    let image = |_, n: u64| Dict::new().with("image", ramp(&[n as usize, 4, 5]));
    let curve = |_, n: u64| Dict::new().with("intensity", ramp(&[n as usize, 7]));
    let number = |_, n: u64| Dict::new().with("monitor", ramp(&[n as usize]));
    let mixed = |first, n: u64| {
        Dict::new()
            .with("note", vec![Value::from("good"); n as usize])
            .with("monitor", ramp(&[n as usize]))
            .with("image", ramp(&[n as usize, 2, 3]))
            .with("first", Array::from_slice(&vec![first; n as usize]))
    };
    for out in [
        write("frames", FRAME, &frames, image),
        write("curves", FRAME, &frames, curve),
        write("numbers", FRAME, &frames, number),
        write("mixed", FRAME, &frames, mixed),
        write("one_image", SNAPSHOT, &one, image),
        write("one_curve", SNAPSHOT, &one, curve),
        write("snapshots", SNAPSHOT, &several, image),
        write("fit", SNAPSHOT, &several, number),
    ] {
        out.dump(&before);
    }
    std::fs::rename(&before, folder.path().join("after")).unwrap();
    // The rule of NeXus as silx.io.nxdata applies it: follow `default`, find the NXdata, its signal, an axis for each
    // dimension of it; and every link opens from another working directory.
    let script = "
import os, h5py
here = os.getcwd()
os.chdir('/')
seen = {}
for folder, _, names in os.walk(here + '/after'):
    for name in names:
        with h5py.File(os.path.join(folder, name)) as f:
            at = f
            while 'default' in at.attrs: at = at[at.attrs['default']]
            assert at.attrs['NX_class'] == 'NXdata', (name, at)
            signal = at[at.attrs['signal']]
            assert signal.dtype.kind in 'iuf' and signal.size > 0, (name, signal)
            axes = at.attrs.get('axes', ['.'] * signal.ndim)
            axes = [axes] if isinstance(axes, str) else list(axes)
            assert len(axes) == signal.ndim, (name, axes, signal.shape)
            for n, axis in zip(signal.shape, axes):
                assert axis == '.' or at[axis].shape == (n,), (name, axis)
            signal[()]
            def links(path, group):
                for key in group:
                    link = group.get(key, getlink=True)
                    if isinstance(link, h5py.ExternalLink): assert not os.path.isabs(link.filename), link.filename
                    if isinstance(group[key], h5py.Group): links(path + '/' + key, group[key])
            links('', f)
            if '.parts' not in folder: seen[name] = (at.attrs['signal'], signal.shape)
for name in sorted(seen): print(name, *seen[name])
";
    let Some(said) = h5py(test, folder.path(), script) else { return };
    // Six frames in two chunks; one snapshot loses its leading axis.
    let wanted = "\
curves.h5 intensity (6, 7)
fit.h5 monitor (2,)
frames.h5 image (6, 4, 5)
mixed.h5 image (6, 2, 3)
numbers.h5 monitor (6,)
one_curve.h5 intensity (7,)
one_image.h5 image (4, 5)
snapshots.h5 image (2, 4, 5)
";
    assert_eq!(said, wanted);
}
