//! Frames that came damaged, kept in a set and marked: read back here and by h5py, given as corrupt again.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::{Memory, build, context, h5py, writer};
use isard_core::prelude::*;
use isard_core::span::Ranges;
use isard_core::stage::{Arrival, Built};
use isard_h5::File;

fn frames(from: u64, to: u64) -> Dict {
    let pixels: Vec<u16> = (from..to).flat_map(|n| [n as u16; 6]).collect();
    Dict::new()
        .with("image", Array::of(&[(to - from) as usize, 2, 3], &pixels).unwrap())
        .with("name", (from..to).map(|n| Value::from(format!("frame {n}"))).collect::<Vec<_>>())
}

fn gap(n: u64, reason: Reason) -> Gap {
    Gap { span: Span::frames(n, 1), reason, why: "the cable".into() }
}

/// Frames 0 to 19 but 9, which never comes; 0, 7, 8 and 19 come damaged. Parts hold four frames or fewer.
fn record(folder: &std::path::Path) {
    let run = context();
    let cx = Cx::new(&run, "save");
    let out = Arc::new(Memory::default());
    let set = "path = \"raw.h5\"\npart_bytes = 120";
    let mut writer = writer("hdf5.write", set);
    writer.open(&cx, out.clone(), None).unwrap();
    for n in 0..20 {
        match n {
            0 | 7 | 8 | 19 => {
                // A write that fails for a moment is tried again with the same frame, which is kept once.
                *out.fail.lock().unwrap() = u32::from(n != 0);
                let kept = writer.corrupt(&cx, &gap(n, Reason::Corrupt), frames(n, n + 1));
                *out.fail.lock().unwrap() = 0;
                assert!(
                    kept.or_else(|_| writer.corrupt(&cx, &gap(n, Reason::Corrupt), frames(n, n + 1)))
                        .unwrap()
                );
            }
            9 => writer.gap(&cx, &gap(n, Reason::Missing)).unwrap(),
            _ => writer.write(&cx, &Span::frames(n, 1), frames(n, n + 1)).unwrap(),
        }
        if n == 12 {
            // Broken off, and gone on with.
            let state = writer.commit(&cx).unwrap();
            writer = common::writer("hdf5.write", set);
            writer.open(&cx, out.clone(), Some(state)).unwrap();
        }
    }
    writer.finish(&cx, &Ranges::default()).unwrap();
    out.dump(folder);
}

#[test]
fn a_recording_tells_damaged_frames_from_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path());
    let file = File::open(folder.path().join("raw.h5")).unwrap();
    let marked: Vec<u8> = (0..20).filter(|n| *n != 9).map(|n| u8::from([0, 7, 8, 19].contains(&n))).collect();
    assert_eq!(file.dataset("/entry/data/verdict").unwrap().read_all().unwrap(), marked);
    assert_eq!(file.dataset("/entry/data/image").unwrap().shape(), [19, 2, 3]);
    assert_eq!(file.texts("/entry/missing/reason").unwrap(), ["corrupt", "corrupt", "missing", "corrupt"]);
    assert_eq!(file.texts("/entry/data/name").unwrap()[7], "frame 7");
    // Every part says the same by itself.
    let parts = (0..).map_while(|i| File::open(folder.path().join(format!("raw.parts/{i:06}.h5"))).ok());
    let mut all = vec![];
    for part in parts {
        let n = part.dataset("/entry/data/frame").unwrap().shape()[0] as usize;
        let verdicts = part.dataset("/entry/data/verdict").map(|d| d.read_all().unwrap());
        all.extend(verdicts.unwrap_or_else(|_| vec![0; n]));
    }
    assert_eq!(all, marked);
    let script = "
import h5py
with h5py.File('raw.h5') as f:
    data = f['entry/data']
    bad = data['verdict'][()] != 0
    assert list(data['frame'][bad]) == [0, 7, 8, 19], data['frame'][bad]
    assert (data['image'][bad][:, 0, 0] == [0, 7, 8, 19]).all()
    assert data['verdict'].attrs['meaning'] == '0 good, 1 corrupt'
print('read')
";
    if let Some(said) = h5py("a_recording_tells_damaged_frames_from_good_ones", folder.path(), script) {
        assert_eq!(said, "read\n");
    }
}

#[test]
fn a_set_without_damaged_frames_has_no_verdicts() {
    let (run, out) = (context(), Arc::new(Memory::default()));
    let cx = Cx::new(&run, "save");
    let mut writer = writer("hdf5.write", "path = \"a.h5\"");
    writer.open(&cx, out.clone(), None).unwrap();
    writer.write(&cx, &Span::frames(0, 3), frames(0, 3)).unwrap();
    writer.finish(&cx, &Ranges::default()).unwrap();
    let file = File::from_bytes(&out.file("a.h5"), "a.h5").unwrap();
    assert!(file.list().unwrap().datasets.iter().all(|d| !d.path.contains("verdict")));
}

#[test]
fn a_frame_that_cannot_be_marked_is_left_out() {
    let (run, out) = (context(), Arc::new(Memory::default()));
    let cx = Cx::new(&run, "save");
    let mut writer = writer("hdf5.write", "path = \"a.h5\"");
    writer.open(&cx, out.clone(), None).unwrap();
    let named = |n: u64| Dict::new().with("verdict", Array::from_slice(&[n as f64]));
    writer.write(&cx, &Span::frames(0, 1), named(0)).unwrap();
    assert!(!writer.corrupt(&cx, &gap(1, Reason::Corrupt), named(1)).unwrap());
    writer.finish(&cx, &Ranges::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    out.dump(folder.path());
    let file = File::open(folder.path().join("a.h5")).unwrap();
    assert_eq!(file.dataset("/entry/data/verdict").unwrap().shape(), [1]);
    assert_eq!(file.texts("/entry/missing/reason").unwrap(), ["corrupt"]);
}

#[test]
fn a_recording_played_again_gives_them_as_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    record(folder.path());
    let raw = folder.path().join("raw.h5");
    let path = format!("{}::/entry/data/image", raw.display());
    let set = format!("path = {path:?}\ncolumns = {{ number = \"/entry/data/frame\" }}");
    for (room, from) in [(1, 0), (5, 0), (64, 0), (5, 6), (5, 7)] {
        let Built::Source(mut source) = build("hdf5.dataset", &set).unwrap() else { panic!("a source") };
        let run = context();
        let cx = Cx::new(&run, "again");
        source.open(&cx, Dict::new(), Position { next: from }).unwrap();
        let (mut good, mut bad) = (vec![], vec![]);
        while let (Pull::Ready, all) = isard_core::contract::pull(&mut *source, &cx, room, 0).unwrap() {
            for arrival in all {
                match arrival {
                    Arrival::Frames { first, count, data } => {
                        let (Some(Value::Array(image)), Some(Value::Array(number))) =
                            (data.get("image"), data.get("number"))
                        else {
                            panic!("an image and its number")
                        };
                        assert_eq!(image.shape(), [count as usize, 2, 3]);
                        let pixels: Vec<f64> = image.to_f64().unwrap().into_iter().step_by(6).collect();
                        assert_eq!(pixels, number.to_f64().unwrap());
                        good.extend((first..first + count).zip(pixels));
                    }
                    Arrival::Lost { number, reason, data, .. } => {
                        let data = data.expect("its bytes, for a recorder");
                        let Some(Value::Array(image)) = data.get("image") else { panic!("an image") };
                        assert_eq!((reason, image.shape()), (Reason::Corrupt, &[1, 2, 3][..]));
                        bad.push((number, image.to_f64().unwrap()[0]));
                    }
                }
            }
        }
        // The tenth record is frame 10: frame 9 never came.
        let number = |record: u64| if record < 9 { record } else { record + 1 };
        let wanted = |is_bad: bool| -> Vec<(u64, f64)> {
            let records = (from..19).filter(|r| [0, 7, 8, 18].contains(r) == is_bad);
            records.map(|r| (r, number(r) as f64)).collect()
        };
        assert_eq!((good, bad), (wanted(false), wanted(true)), "room {room}, from {from}");
    }
    let error = isard_files::input::read_path(&context(), &path).unwrap_err().to_string();
    assert!(error.contains("4 frames are marked as corrupt") && error.contains("hdf5.dataset"), "{error}");
    let numbers = format!("{}::/entry/data/frame", raw.display());
    assert!(isard_files::input::read_path(&context(), &numbers).is_ok());
}
