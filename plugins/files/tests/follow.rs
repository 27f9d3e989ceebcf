//! Growing input: a paced writer beside each source, with pauses, renames and half-written frames.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{build, context};
use isard_core::prelude::*;
use isard_core::stage::{AnySource, Arrival, Built, RunCx};
use isard_files::npy::header;
use isard_files::npz::archive;
use isard_files::tiff::Writer as Pages;
use isard_files::{cbf, edf};
use isard_h5::Dtype as H5;

const SHAPE: [usize; 2] = [16, 24];

/// Frame `n` as all writers write it.
fn frame(n: u64) -> Vec<u8> {
    (0..SHAPE[0] * SHAPE[1]).flat_map(|i| (n as u16 * 1000 + i as u16).to_ne_bytes()).collect()
}

fn source(name: &str, set: &str) -> Box<dyn AnySource> {
    let Built::Source(source) = build(name, set).unwrap() else { panic!("`{name}` is no source") };
    assert_eq!(source.check(), []);
    source
}

fn set(path: &Path, follow: &str) -> String {
    format!("path = {:?}\nfollow = {{ {follow} }}", path.to_str().unwrap())
}

/// What a source gave: frames, and what it said of those that are lost.
#[derive(Default)]
struct Got {
    frames: BTreeMap<u64, Vec<u8>>,
    lost: BTreeMap<u64, (Reason, String)>,
}

/// Drives a source to its end.
fn drive(mut source: Box<dyn AnySource>, from: u64) -> Got {
    let run: RunCx = context();
    let cx = Cx::new(&run, "source");
    source.open(&cx, Dict::new(), Position { next: from }).unwrap();
    let (mut got, began) = (Got::default(), Instant::now());
    loop {
        assert!(began.elapsed() < Duration::from_secs(60), "{} frames and no end", got.frames.len());
        let mut slots = Slots::new(5, 0);
        match source.pull(&cx, &mut slots).unwrap() {
            Pull::Wait(pause) => std::thread::sleep(pause),
            Pull::Ready => {}
            Pull::End => return got,
        }
        for arrival in slots.take() {
            match arrival {
                Arrival::Frames { first, count, data } => {
                    let Some(Value::Array(images)) = data.get("image") else { panic!("an image") };
                    for i in 0..count {
                        let image = images.record(i as usize).unwrap();
                        assert!(got.frames.insert(first + i, image.bytes().to_vec()).is_none());
                    }
                }
                Arrival::Lost { number, reason, why, .. } => {
                    got.lost.insert(number, (reason, why.to_string()));
                }
            }
        }
    }
}

fn check(name: &str, got: &Got, n: u64) {
    assert!(got.lost.is_empty(), "{name}: {:?}", got.lost);
    assert_eq!(got.frames.keys().copied().collect::<Vec<_>>(), (0..n).collect::<Vec<_>>(), "{name}");
    for (number, bytes) in &got.frames {
        assert_eq!(*bytes, frame(*number), "{name} {number}");
    }
}

/// Writes bytes in pieces, with a pause in the middle of each frame.
fn slowly(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    for piece in bytes.chunks(bytes.len() / 3 + 1) {
        file.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(8));
    }
}

/// A source, an ending of its files, and what makes the file of one frame.
type OneFrame = (&'static str, &'static str, fn(u64) -> Vec<u8>);

/// The file of one frame in each format, and the source that reads it.
fn formats() -> Vec<OneFrame> {
    let tiff = |n| {
        let mut pages = Pages::new(H5::U16, SHAPE, false).unwrap();
        pages.page(&frame(n)).unwrap();
        pages.into_bytes().unwrap()
    };
    vec![
        ("tiff.sequence", "tif", tiff),
        ("edf.sequence", "edf", |n| edf::block(H5::U16, SHAPE, &frame(n), n, &[]).unwrap()),
        ("cbf.sequence", "cbf", |n| cbf::file(H5::U16, SHAPE, &frame(n), "f", &[]).unwrap()),
        ("npy.stack", "npy", |n| [header(H5::U16, &[SHAPE[0] as u64, SHAPE[1] as u64]), frame(n)].concat()),
        ("npz.stack", "npz", |n| {
            archive(&[("f", H5::U16, &[1, SHAPE[0] as u64, SHAPE[1] as u64], &frame(n))])
        }),
    ]
}

#[test]
fn files_that_appear_are_read_whole_and_in_order() {
    for (name, ending, bytes) in formats() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let writer = std::thread::spawn(move || {
            for n in 0..14u64 {
                let at = path.join(format!("scan_{:03}.{ending}", n + 95));
                match n % 3 {
                    // Half written for a while, under its own name.
                    0 => slowly(&at, &bytes(n)),
                    // Whole under another name, then renamed.
                    1 => {
                        let beside = path.join(format!(".scan_{n}.part"));
                        slowly(&beside, &bytes(n));
                        fs::rename(beside, at).unwrap();
                    }
                    _ => fs::write(at, bytes(n)).unwrap(),
                }
                if n == 7 {
                    std::thread::sleep(Duration::from_millis(250));
                }
            }
            File::create(path.join("done")).unwrap();
        });
        let got =
            drive(source(name, &set(&folder.path().join("scan_*"), "marker = \"done\", poll = 0.005")), 0);
        writer.join().unwrap();
        check(name, &got, 14);
    }
}

#[test]
fn a_scan_that_ends_before_it_is_looked_at_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let set = set(&folder.path().join("scan_*"), "marker = \"done\", poll = 0.005");
    let writer = std::thread::spawn(move || {
        // The source finds an empty folder first, and then a scan that begins with a late number.
        std::thread::sleep(Duration::from_millis(100));
        for n in 0..3 {
            let bytes = cbf::file(H5::U16, SHAPE, &frame(n), "f", &[]).unwrap();
            fs::write(path.join(format!("scan_{:03}.cbf", n + 95)), bytes).unwrap();
        }
        File::create(path.join("done")).unwrap();
    });
    let got = drive(source("cbf.sequence", &set), 0);
    writer.join().unwrap();
    check("cbf.sequence", &got, 3);
}

#[test]
fn files_that_grow_are_read_frame_by_frame() {
    type Grow = fn(&Path, u64);
    let tiff: Grow = |path, n| {
        // All pages so far, written anew in place: readers see every state in between.
        let mut pages = Pages::new(H5::U16, SHAPE, false).unwrap();
        (0..=n).for_each(|i| pages.page(&frame(i)).unwrap());
        let bytes = pages.into_bytes().unwrap();
        let old = fs::metadata(path).map_or(0, |m| m.len()) as usize;
        // The data of a page come first, then its directory, and the link to it comes last.
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes[old..], old as u64).unwrap();
        file.flush().unwrap();
        std::thread::sleep(Duration::from_millis(10));
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes[..old], 0).unwrap();
    };
    let raw: Grow = |path, n| slowly(path, &frame(n));
    let npy: Grow = |path, n| {
        let head = header(H5::U16, &[12, SHAPE[0] as u64, SHAPE[1] as u64]);
        if n == 0 {
            slowly(path, &head);
        }
        slowly(path, &frame(n));
    };
    let edf: Grow = |path, n| slowly(path, &edf::block(H5::U16, SHAPE, &frame(n), n, &[]).unwrap());
    for (name, ending, grow) in [
        ("tiff.sequence", "tif", tiff),
        ("raw.stack", "raw", raw),
        ("npy.stack", "npy", npy),
        ("edf.sequence", "edf", edf),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("scan.{ending}"));
        let layout = if name == "raw.stack" { "\ndtype = \"u16\"\nshape = [16, 24]" } else { "" };
        let set = set(&path, "frames = 12, poll = 0.003") + layout;
        let writer = std::thread::spawn(move || (0..12).for_each(|n| grow(&path, n)));
        let got = drive(source(name, &set), 0);
        writer.join().unwrap();
        check(name, &got, 12);
    }
}

#[test]
fn several_stacks_follow_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let set = set(&path, "silence = 0.4, poll = 0.003");
    let writer = std::thread::spawn(move || {
        for n in 0..23u64 {
            let at = path.join(format!("scan_{:04}.edf", n / 5));
            slowly(&at, &edf::block(H5::U16, SHAPE, &frame(n), n % 5, &[]).unwrap());
        }
    });
    let got = drive(source("edf.sequence", &set), 0);
    writer.join().unwrap();
    check("stacks", &got, 23);
}

#[test]
fn a_lost_file_is_missing_and_a_torn_one_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |n| cbf::file(H5::U16, SHAPE, &frame(n), "f", &[]).unwrap();
    for n in (0..30u64).filter(|n| ![4, 5].contains(n) && !(12..22).contains(n)) {
        let whole = bytes(n);
        let kept = if n == 9 { &whole[..whole.len() - 40] } else { &whole[..] };
        fs::write(folder.path().join(format!("f{n}.cbf")), kept).unwrap();
    }
    let set = set(folder.path(), "silence = 0.3, poll = 0.002, patience = 0.1");
    let got = drive(source("cbf.sequence", &set), 0);
    let missing: Vec<u64> = [4, 5].into_iter().chain(12..22).collect();
    for number in 0..30 {
        match got.lost.get(&number) {
            Some((Reason::Missing, why)) => {
                assert!(missing.contains(&number) && why.contains(&format!("f{number}.cbf")), "{why}");
            }
            Some((Reason::Corrupt, why)) => assert!(number == 9 && why.contains("f9.cbf"), "{why}"),
            Some(other) => panic!("{other:?}"),
            None => assert_eq!(got.frames[&number], frame(number)),
        }
    }
    assert_eq!(got.lost.len(), 13);
    // Going on later gives the rest alone.
    let rest = drive(source("cbf.sequence", &set), 25);
    assert_eq!(rest.frames.keys().copied().collect::<Vec<_>>(), [25, 26, 27, 28, 29]);
    // A digest that is wrong shows when the frame is read.
    let mut damaged = bytes(3);
    let at = damaged.len() - 60;
    damaged[at] ^= 1;
    fs::write(folder.path().join("f3.cbf"), damaged).unwrap();
    let got = drive(source("cbf.sequence", &set), 0);
    assert!(
        got.lost[&3].0 == Reason::Corrupt && got.lost[&3].1.contains("f3.cbf: the MD5"),
        "{:?}",
        got.lost[&3]
    );
}

#[test]
fn a_last_frame_that_stays_half_written_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.raw");
    fs::write(&path, [frame(0), frame(1), frame(2)[..100].to_vec()].concat()).unwrap();
    let set = set(&path, "silence = 0.1, poll = 0.002") + "\ndtype = \"u16\"\nshape = [16, 24]";
    let got = drive(source("raw.stack", &set), 0);
    assert_eq!(got.frames.keys().copied().collect::<Vec<_>>(), [0, 1]);
    assert!(got.lost[&2].0 == Reason::Corrupt && got.lost[&2].1.contains("and 100 bytes"), "{:?}", got.lost);
}

/// A look at a folder costs the same however many files it holds: names are predicted.
#[test]
fn a_poll_does_not_list_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = cbf::file(H5::U16, SHAPE, &frame(0), "f", &[]).unwrap();
    let name = |n: usize| -> PathBuf { folder.path().join(format!("f{n:07}.cbf")) };
    fs::write(name(0), &bytes).unwrap();
    let files = std::env::var("ISARD_MANY_FILES").map_or(20_000, |n| n.parse().unwrap());
    for n in 0..files {
        File::create(folder.path().join(format!("other_{n:07}.log"))).unwrap();
    }
    let mut source = source("cbf.sequence", &set(&folder.path().join("f*.cbf"), "silence = 60"));
    let run = context();
    let cx = Cx::new(&run, "source");
    source.open(&cx, Dict::new(), Position { next: 0 }).unwrap();
    let mut times = vec![];
    for n in 1..40 {
        let mut slots = Slots::new(4, 0);
        while source.pull(&cx, &mut slots).unwrap() == Pull::Ready {}
        assert!(!slots.take().is_empty());
        let began = Instant::now();
        assert!(matches!(source.pull(&cx, &mut slots).unwrap(), Pull::Wait(_)));
        times.push(began.elapsed());
        fs::write(name(n), &bytes).unwrap();
    }
    times.sort();
    let poll = times[times.len() / 2];
    println!("a poll beside {files} files: {poll:?}");
    assert!(poll < Duration::from_millis(1), "{poll:?}");
}
