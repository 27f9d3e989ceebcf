//! Sets of HDF5 files: written in pieces, broken off, gone on with, moved, read back.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Dice, Memory, context, h5py, writer};
use isard_core::prelude::*;
use isard_core::span::{Ranges, SNAPSHOT};
use isard_h5::{Attr, File};

const SET: &str =
    "path = \"out.h5\"\npart_bytes = 700\nunits = { image = \"count\", \"peaks.row\" = \"pixel\" }";

/// Frame numbers 40..44 and 71 never come.
fn lost(n: u64) -> bool {
    (40..44).contains(&n) || n == 71
}

/// Record `n` has `n % 3` peaks, peak `i` of it `i + n % 2` pixels.
fn records(from: u64, to: u64) -> Dict {
    let pixels: Vec<u16> = (from..to).flat_map(|n| (0..12).map(move |i| (n * 100 + i) as u16)).collect();
    let omega: Vec<f64> = (from..to).map(|n| n as f64 / 4.0).collect();
    let names: Vec<Value> = (from..to).map(|n| Value::from(format!("frame {n}"))).collect();
    let (mut at, mut row, mut label, mut ends, mut values) = (vec![], vec![], vec![], vec![], vec![]);
    for n in from..to {
        for i in 0..n % 3 {
            at.push(n);
            row.push(n as f64 + i as f64 / 8.0);
            label.push(Arc::from(format!("{n}:{i}")));
            values.extend((0..i + n % 2).map(|p| (n * 10 + p) as u32));
            ends.push(values.len() as u64);
        }
    }
    let table = Table::new(at.len())
        .with("row", &row)
        .unwrap()
        .with_column("label", Column::Text(label.into()))
        .unwrap()
        .with_column("pixels", Column::Ragged { ends: ends.into(), values: Array::from_slice(&values) })
        .unwrap()
        .with_records(&at)
        .unwrap();
    Dict::new()
        .with("image", Array::of(&[(to - from) as usize, 3, 4], &pixels).unwrap())
        .with("omega", Array::from_slice(&omega))
        .with("name", names)
        .with("peaks", table)
        .with("energy", 61.332)
}

/// Feeds frames `from..100` in random chunks; at random places commits, and keeps what a resume needs.
fn feed(out: &Arc<Memory>, from: u64, state: Option<Dict>, dice: &mut Dice, stop: u64) -> (u64, Dict, Files) {
    let run = context();
    let cx = Cx::new(&run, "save");
    let mut writer = writer("hdf5.write", SET);
    writer.open(&cx, out.clone(), state).unwrap();
    let mut kept = (from, Dict::new(), Files::new());
    let mut at = from;
    while at < stop {
        if lost(at) {
            let span = Span::frames(at, 1);
            writer.gap(&cx, &Gap { span, reason: Reason::Missing, why: "no beam".into() }).unwrap();
            at += 1;
        } else {
            let most = (at..100).take_while(|n| !lost(*n)).count() as u64;
            let n = (1 + dice.below(9)).min(most);
            if dice.below(4) == 0 {
                *out.fail.lock().unwrap() = 1;
            }
            // A write that fails for a moment is tried again with the same records.
            if writer.write(&cx, &Span::frames(at, n), records(at, at + n)).is_err() {
                writer.write(&cx, &Span::frames(at, n), records(at, at + n)).unwrap();
            }
            *out.fail.lock().unwrap() = 0;
            at += n;
        }
        if dice.below(5) == 0 {
            let state = writer.commit(&cx).unwrap();
            kept = (at, state, out.files.lock().unwrap().clone());
        }
    }
    if stop == 100 {
        let mut covers = Ranges::default();
        (0..100).filter(|n| !lost(*n)).for_each(|n| covers.add(n..n + 1));
        writer.finish(&cx, &covers).unwrap();
    }
    kept
}

type Files = std::collections::BTreeMap<String, Vec<u8>>;

fn numbers<const N: usize, T>(file: &File, path: &str, from: fn([u8; N]) -> T) -> Vec<T> {
    let bytes = file.dataset(path).unwrap().read_all().unwrap();
    bytes.as_chunks::<N>().0.iter().map(|b| from(*b)).collect()
}

/// Everything in the set is what was given.
fn check(folder: &Path) {
    let file = File::open(folder.join("out.h5")).unwrap();
    let good: Vec<u64> = (0..100).filter(|n| !lost(*n)).collect();
    assert_eq!(numbers(&file, "/entry/data/frame", u64::from_ne_bytes), good);
    let image = numbers(&file, "/entry/data/image", u16::from_ne_bytes);
    assert!(image.iter().copied().eq(good.iter().flat_map(|n| (0..12).map(move |i| (n * 100 + i) as u16))));
    assert_eq!(file.dataset("/entry/data/image").unwrap().shape(), [95, 3, 4]);
    assert_eq!(
        numbers(&file, "/entry/data/omega", f64::from_ne_bytes),
        good.iter().map(|n| *n as f64 / 4.0).collect::<Vec<_>>()
    );
    assert_eq!(
        file.texts("/entry/data/name").unwrap(),
        good.iter().map(|n| format!("frame {n}")).collect::<Vec<_>>()
    );
    let rows: Vec<(u64, u64)> = good.iter().flat_map(|n| (0..n % 3).map(move |i| (*n, i))).collect();
    assert!(
        numbers(&file, "/entry/tables/peaks/frame", u64::from_ne_bytes)
            .into_iter()
            .eq(rows.iter().map(|r| r.0))
    );
    assert_eq!(
        file.texts("/entry/tables/peaks/label").unwrap(),
        rows.iter().map(|(n, i)| format!("{n}:{i}")).collect::<Vec<_>>()
    );
    let offset = numbers(&file, "/entry/tables/peaks/pixels/offset", u64::from_ne_bytes);
    let count = numbers(&file, "/entry/tables/peaks/pixels/count", u64::from_ne_bytes);
    let values = numbers(&file, "/entry/tables/peaks/pixels/values", u32::from_ne_bytes);
    for (at, (n, i)) in rows.iter().enumerate() {
        let wanted: Vec<u32> = (0..i + n % 2).map(|p| (n * 10 + p) as u32).collect();
        assert_eq!(values[offset[at] as usize..(offset[at] + count[at]) as usize], wanted);
    }
    assert_eq!(numbers(&file, "/entry/missing/first", u64::from_ne_bytes), [40, 71]);
    assert_eq!(numbers(&file, "/entry/missing/count", u64::from_ne_bytes), [4, 1]);
    assert_eq!(file.texts("/entry/missing/why").unwrap(), ["no beam", "no beam"]);
    assert_eq!(numbers(&file, "/entry/covers", u64::from_ne_bytes), [0, 40, 44, 71, 72, 100]);
    assert_eq!(numbers(&file, "/entry/constants/energy", f64::from_ne_bytes), [61.332]);
    assert_eq!(file.texts("/entry/process/record").unwrap(), ["{\"recipe\": \"test\"}"]);
    let unit = |path: &str| file.attribute(path, "units").unwrap();
    assert_eq!(unit("/entry/data/image"), Some(Attr::Text("count".into())));
    assert_eq!(unit("/entry/tables/peaks/row"), Some(Attr::Text("pixel".into())));
    assert!(file.list().unwrap().broken.is_empty());
    assert_eq!(file.dataset("/entry/parts/000000/data/frame").unwrap().shape().len(), 1);
}

#[test]
fn a_set_written_in_pieces_reads_back_after_a_move() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let out = Arc::new(Memory::default());
        feed(&out, 0, None, &mut Dice(seed), 100);
        out.dump(&folder.path().join("before"));
        std::fs::rename(folder.path().join("before"), folder.path().join("after")).unwrap();
        check(&folder.path().join("after"));
    }
}

#[test]
fn a_broken_set_goes_on_from_its_last_commit() {
    for seed in 10..14 {
        let mut dice = Dice(seed);
        let out = Arc::new(Memory::default());
        let (at, state, files) = feed(&out, 0, None, &mut dice, 80);
        assert!(at > 0);
        // The state goes through the form that a checkpoint has on disk.
        let mut kept = vec![];
        isard_core::value::encode(&Value::Dict(state), &mut kept);
        let Value::Dict(state) = isard_core::value::decode(&kept).unwrap() else { panic!("a dict") };
        let out = Arc::new(Memory::rolled_back(files));
        feed(&out, at, Some(state), &mut dice, 100);
        let folder = tempfile::tempdir().unwrap();
        out.dump(folder.path());
        check(folder.path());
    }
}

#[test]
fn parts_end_at_the_same_records_however_they_come() {
    let parts = |chunk: u64| {
        let (run, out) = (context(), Arc::new(Memory::default()));
        let cx = Cx::new(&run, "save");
        let mut writer = writer("hdf5.write", SET);
        writer.open(&cx, out.clone(), None).unwrap();
        for at in (0..36).step_by(chunk as usize) {
            writer.write(&cx, &Span::frames(at, chunk), records(at, at + chunk)).unwrap();
        }
        writer.finish(&cx, &Ranges::default()).unwrap();
        // Files also keep the time of their making: what counts is which records each part holds.
        let names = out.names().into_iter().filter(|n| n.contains(".parts/"));
        let frames = |name: String| {
            let file = File::from_bytes(&out.file(&name), &name).unwrap();
            let rows = numbers(&file, "/entry/tables/peaks/row", f64::from_ne_bytes);
            (name, numbers(&file, "/entry/data/frame", u64::from_ne_bytes), rows)
        };
        names.map(frames).collect::<Vec<_>>()
    };
    let one = parts(1);
    assert!(one.len() > 4, "{one:?}");
    assert!(one == parts(4) && one == parts(36));
}

#[test]
fn one_snapshot_stays_small_and_several_make_a_series() {
    let run = context();
    let cx = Cx::new(&run, "save");
    let result = |n: u64| {
        Dict::new()
            .with("lsd", Value::Float(0.125 * n as f64).lead(n))
            .with("curve", Value::Array(Array::from_slice(&[1.0f32, 2.0, n as f32])).lead(n))
            .with("note", Value::from("good").lead(n))
    };
    let span = |n: u64| Span { axis: SNAPSHOT, start: n, len: 1 };
    for several in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let out = Arc::new(Memory::default());
        let set = "path = \"sub/fit.h5\"\nunits = { lsd = \"m\" }";
        let mut first = writer("hdf5.write", set);
        first.open(&cx, out.clone(), None).unwrap();
        first.write(&cx, &span(1), result(1)).unwrap();
        let state = first.commit(&cx).unwrap();
        assert_eq!(out.names(), ["sub/fit.h5"]);
        let mut writer = writer("hdf5.write", set);
        writer.open(&cx, out.clone(), Some(state)).unwrap();
        if several {
            writer.write(&cx, &span(2), result(2)).unwrap();
        }
        writer.finish(&cx, &Ranges::from_bounds(&[0, 8])).unwrap();
        out.dump(folder.path());
        let file = File::open(folder.path().join("sub/fit.h5")).unwrap();
        let shape = |path: &str| file.dataset(path).unwrap().shape().to_vec();
        if several {
            assert_eq!(numbers(&file, "/entry/data/snapshot", u64::from_ne_bytes), [1, 2]);
            assert_eq!(shape("/entry/data/curve"), [2, 3]);
            assert_eq!(numbers(&file, "/entry/data/lsd", f64::from_ne_bytes), [0.125, 0.25]);
            continue;
        }
        assert_eq!(out.names(), ["sub/fit.h5"]);
        assert!(shape("/entry/result/lsd").is_empty());
        assert_eq!(numbers(&file, "/entry/result/lsd", f64::from_ne_bytes), [0.125]);
        assert_eq!(file.attribute("/entry/result/lsd", "units").unwrap(), Some(Attr::Text("m".into())));
        assert_eq!(shape("/entry/result/curve"), [3]);
        assert_eq!(file.texts("/entry/result/note").unwrap(), ["good"]);
        assert_eq!(file.attribute("/entry", "default").unwrap(), Some(Attr::Text("result".into())));
        assert_eq!(file.attribute("/entry/result", "signal").unwrap(), Some(Attr::Text("curve".into())));
    }
}

#[test]
fn records_of_another_shape_are_refused() {
    let (run, out) = (context(), Arc::new(Memory::default()));
    let cx = Cx::new(&run, "save");
    let mut writer = writer("hdf5.write", "path = \"a.h5\"");
    writer.open(&cx, out, None).unwrap();
    let of = |shape: &[usize]| {
        Dict::new().with("image", Array::of(shape, &vec![0u8; shape.iter().product()]).unwrap())
    };
    writer.write(&cx, &Span::frames(0, 2), of(&[2, 3, 4])).unwrap();
    let error = writer.write(&cx, &Span::frames(2, 2), of(&[2, 4, 3])).unwrap_err();
    assert!(error.message().contains("found `image` of u8 [4, 3], wanted `image` of u8 [3, 4]"), "{error}");
    let error = writer.write(&cx, &Span::frames(2, 3), of(&[2, 4, 3])).unwrap_err();
    assert!(error.message().contains("wanted 3 records in front"), "{error}");
}

#[test]
fn a_run_without_records_has_a_master() {
    let (run, out) = (context(), Arc::new(Memory::default()));
    let cx = Cx::new(&run, "save");
    let mut writer = writer("hdf5.write", "path = \"a.h5\"\ntitle = \"nothing\"");
    writer.open(&cx, out.clone(), None).unwrap();
    writer.finish(&cx, &Ranges::default()).unwrap();
    let file = File::from_bytes(&out.file("a.h5"), "a.h5").unwrap();
    assert_eq!(file.texts("/entry/title").unwrap(), ["nothing"]);
}

#[test]
fn h5py_finds_the_default_plot() {
    let folder = tempfile::tempdir().unwrap();
    let out = Arc::new(Memory::default());
    feed(&out, 0, None, &mut Dice(5), 100);
    out.dump(folder.path());
    let script = "
import h5py
with h5py.File('out.h5') as f:
    entry = f[f.attrs['default']]
    assert entry.attrs['NX_class'] == 'NXentry'
    data = entry[entry.attrs['default']]
    assert data.attrs['NX_class'] == 'NXdata'
    signal = data[data.attrs['signal']]
    assert signal.shape == (95, 3, 4) and signal[40, 1, 2] == 4406, signal[40]
    assert list(data.attrs['axes']) == ['frame', '.', '.']
    assert data['frame'][40] == 44 and signal.attrs['units'] == 'count'
    assert entry['process'].attrs['NX_class'] == 'NXprocess'
print('read')
";
    if let Some(said) = h5py("h5py_finds_the_default_plot", folder.path(), script) {
        assert_eq!(said, "read\n");
    }
}
