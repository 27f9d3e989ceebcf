//! Scans that are still being written: a paced writer beside each source.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::built;
use isard_core::prelude::*;
use isard_core::stage::{Arrival, Built};

/// What a source gave: frames, and what it said of those that are lost.
#[derive(Default)]
struct Got {
    frames: BTreeMap<u64, Vec<u8>>,
    lost: BTreeMap<u64, (Reason, String)>,
    scan: Vec<(String, u64)>,
}

/// Drives a source to its end.
fn drive(name: &str, set: &str, from: u64) -> Result<Got> {
    let Built::Source(mut source) = built(name, set) else { panic!("`{name}` is no source") };
    assert_eq!(source.check(), []);
    let run = common::run();
    let cx = Cx::new(&run, "source");
    let opened = source.open(&cx, Dict::new(), Position { next: from })?;
    let (mut got, began) = (Got { scan: opened.scan, ..Got::default() }, Instant::now());
    loop {
        assert!(began.elapsed() < Duration::from_secs(60), "{} frames and no end", got.frames.len());
        let mut slots = Slots::new(5, 0);
        match source.pull(&cx, &mut slots)? {
            Pull::Wait(pause) => std::thread::sleep(pause),
            Pull::Ready => {}
            Pull::End => return Ok(got),
        }
        for arrival in slots.take() {
            match arrival {
                Arrival::Frames { first, count, data } => {
                    let Some(Value::Array(images)) = data.get("image") else { panic!("an image") };
                    for i in 0..count {
                        let image = images.record(i as usize)?;
                        assert!(got.frames.insert(first + i, image.bytes().to_vec()).is_none());
                    }
                }
                Arrival::Lost { number, reason, why, .. } => {
                    assert!(got.lost.insert(number, (reason, why.to_string())).is_none());
                }
            }
        }
    }
}

/// Appends bytes in pieces, with a pause in the middle of each frame.
fn slowly(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    for piece in bytes.chunks(bytes.len() / 3 + 1) {
        file.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// A frame of a MIB file: 2 x 3 bytes, each the number.
fn mib(n: u32) -> Vec<u8> {
    let header = format!(
        "MQ1,{n:06},00384,01,0003,0002,U08,   1x1,0F,2020-05-18 16:51:49,0.0005,0,0,0,5,0,0,0,0,0,0,0,"
    );
    [format!("{header:\0<384}").as_bytes(), &[n as u8; 6]].concat()
}

/// The header of an MRC file of sections of 2 x 3 words.
fn mrc(sections: i32) -> Vec<u8> {
    let mut bytes = vec![0u8; 1024];
    for (at, word) in [(0, 3i32), (4, 2), (8, sections), (12, 6)] {
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    bytes[208..214].copy_from_slice(b"MAP DD");
    bytes
}

fn section(n: u16) -> Vec<u8> {
    n.to_le_bytes().repeat(6)
}

fn empad(n: u32) -> Vec<u8> {
    (0..130 * 128).flat_map(|i| ((n * 100_000 + i) as f32).to_le_bytes()).collect()
}

#[test]
fn one_file_that_grows_is_read_frame_by_frame() {
    type Grow = fn(&Path, u64);
    let in_mib: Grow = |path, n| slowly(path, &mib(n as u32 + 1));
    let in_mrc: Grow = |path, n| {
        if n == 0 {
            slowly(path, &mrc(0));
        }
        slowly(path, &section(n as u16));
        // The count is put in at the end.
        if n == 11 {
            OpenOptions::new().write(true).open(path).unwrap().write_all_at(&mrc(12), 0).unwrap();
        }
    };
    let in_empad: Grow = |path, n| slowly(path, &empad(n as u32));
    for (name, ending, grow) in
        [("stem.mib", "mib", in_mib), ("stem.mrc", "mrc", in_mrc), ("stem.empad", "raw", in_empad)]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("scan.{ending}"));
        // Three lines of three points with one frame of flyback each.
        let set =
            format!("path = {path:?}\nscan = [3, 3]\nflyback = 1\nfollow = {{ frames = 12, poll = 0.002 }}");
        let writer = std::thread::spawn(move || (0..12).for_each(|n| grow(&path, n)));
        let got = drive(name, &set, 0).unwrap();
        writer.join().unwrap();
        assert_eq!(got.scan, [("y".to_owned(), 3), ("x".to_owned(), 3)], "{name}");
        assert!(got.lost.is_empty(), "{name}: {:?}", got.lost);
        assert_eq!(got.frames.keys().copied().collect::<Vec<_>>(), (0..9).collect::<Vec<_>>(), "{name}");
        for (point, bytes) in &got.frames {
            let n = point / 3 * 4 + point % 3;
            let wanted = match name {
                "stem.mib" => vec![n as u8 + 1; 6],
                "stem.mrc" => section(n as u16),
                _ => empad(n as u32)[..128 * 128 * 4].to_vec(),
            };
            assert!(*bytes == wanted, "{name} {point}");
        }
    }
}

#[test]
fn files_that_appear_go_by_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let set = format!("path = {path:?}\nfollow = {{ marker = \"done\", poll = 0.002, patience = 0.2 }}");
    let writer = std::thread::spawn(move || {
        let write = |name: &str, numbers: std::ops::Range<u32>| {
            numbers.for_each(|n| slowly(&path.join(name), &mib(n)));
        };
        // Names that do not sort as the numbers do; one file that comes whole, by a rename.
        write("z1.mib", 1..6);
        fs::write(path.join(".hidden"), (6..9).flat_map(mib).collect::<Vec<u8>>()).unwrap();
        fs::rename(path.join(".hidden"), path.join("m2.mib")).unwrap();
        // The number 9 is lost for good, and the file that begins with 14 is there before that with 10.
        write("a4.mib", 14..16);
        std::thread::sleep(Duration::from_millis(40));
        write("b3.mib", 10..14);
        File::create(path.join("done")).unwrap();
    });
    let got = drive("stem.mib", &set, 0).unwrap();
    writer.join().unwrap();
    assert_eq!(got.lost.keys().copied().collect::<Vec<_>>(), [8], "{:?}", got.lost);
    assert!(got.lost[&8].1.contains("sequence number 9"), "{:?}", got.lost);
    let wanted: Vec<u64> = (0..15).filter(|n| *n != 8).collect();
    assert_eq!(got.frames.keys().copied().collect::<Vec<_>>(), wanted);
    assert!(got.frames.iter().all(|(n, bytes)| bytes[..] == [*n as u8 + 1; 6]));
}

#[test]
fn what_stays_half_written_is_corrupt_and_what_is_short_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let follow = "scan = [2, 3]\nfollow = { silence = 0.1, poll = 0.002 }";
    let torn = |whole: Vec<u8>, part: Vec<u8>| [&whole[..], &part[..part.len() / 2]].concat();
    let files = [
        ("stem.mib", "a.mib", torn([mib(1), mib(2)].concat(), mib(3))),
        ("stem.mrc", "a.mrc", torn([mrc(0), section(0), section(1)].concat(), section(2))),
        ("stem.empad", "a.raw", torn([empad(0), empad(1)].concat(), empad(2))),
    ];
    for (name, file, bytes) in files {
        let path = folder.path().join(file);
        fs::write(&path, bytes).unwrap();
        let got = drive(name, &format!("path = {path:?}\n{follow}"), 0).unwrap();
        assert_eq!(got.frames.keys().copied().collect::<Vec<_>>(), [0, 1], "{name}");
        assert!(got.lost[&2].0 == Reason::Corrupt && got.lost[&2].1.contains("frame 2"), "{:?}", got.lost);
        for point in 3..6 {
            assert!(got.lost[&point].0 == Reason::Missing, "{name}: {:?}", got.lost);
        }
        // Going on later gives the rest alone.
        let rest = drive(name, &format!("path = {path:?}\n{follow}"), 1).unwrap();
        assert_eq!(rest.frames.keys().copied().collect::<Vec<_>>(), [1], "{name}");
    }
    let set = format!("path = {:?}\nfollow = {{ silence = 0.05 }}", folder.path().join("none.mib"));
    let error = drive("stem.mib", &set, 0).err().unwrap();
    assert!(error.message().contains("ended before the first frame came"), "{error}");
    let shrunk = folder.path().join("shrunk.mrc");
    fs::write(&shrunk, [mrc(0), section(0), section(1)].concat()).unwrap();
    let Built::Source(mut source) =
        built("stem.mrc", &format!("path = {shrunk:?}\nfollow = {{ frames = 9 }}"))
    else {
        panic!("a source")
    };
    let run = common::run();
    let cx = Cx::new(&run, "source");
    source.open(&cx, Dict::new(), Position { next: 0 }).unwrap();
    let mut pull = || source.pull(&cx, &mut Slots::new(5, 0));
    while pull().unwrap() == Pull::Ready {}
    fs::write(&shrunk, mrc(0)).unwrap();
    let error = pull().unwrap_err();
    assert!(error.message().contains("is 1024 bytes long, and was 1048"), "{error}");
}
