//! HDF5 files that grow while they are read: nothing is lost, nothing is read half.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/frames.rs"]
mod frames;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use frames::{all, dataset};
use isard_h5::{Compression, Dtype as H5, Image, Spec, Stacked};

/// Frame `i` of 4 x 5 pixels.
fn frame(i: u64) -> Vec<u8> {
    (0..20).flat_map(|p| ((i * 31 + p * p) as u16).to_ne_bytes()).collect()
}

fn frames_of(range: std::ops::Range<u64>) -> Vec<u8> {
    range.flat_map(frame).collect()
}

/// A file that holds some frames, and the number of its first one if wanted.
fn part(range: std::ops::Range<u64>, numbered: bool) -> Vec<u8> {
    let mut image = Image::sized(1 << 16).unwrap();
    let spec = Spec::new(H5::U16, &[4, 5]).chunk(1).compress(Compression::Bitshuffle);
    let slot = image.dataset("/entry/data/data", &spec).unwrap();
    let count = range.end - range.start;
    if numbered {
        image.attribute("/entry/data/data", "image_nr_low", range.start as i64 + 1).unwrap();
    }
    image.append(slot, &frames_of(range), count).unwrap();
    image.into_bytes().unwrap()
}

fn pause() {
    std::thread::sleep(Duration::from_millis(60));
}

#[test]
fn data_files_of_a_master_appear_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_owned();
    let mut master = Image::new().unwrap();
    for i in 1..=4 {
        let (link, file) = (format!("/entry/data/data_{i:06}"), format!("s_data_{i:06}.h5"));
        master.link(&link, &file, "/entry/data/data").unwrap();
    }
    let detector = "/entry/instrument/detector/detectorSpecific";
    master.scalar(&format!("{detector}/nimages"), H5::I64, &35_i64.to_ne_bytes()).unwrap();
    master.scalar(&format!("{detector}/ntrigger"), H5::I64, &1_i64.to_ne_bytes()).unwrap();
    let master = master.into_bytes().unwrap();
    let writer = std::thread::spawn(move || {
        pause();
        fs::write(at.join("s_master.h5"), master).unwrap();
        for i in 0..4_u64 {
            pause();
            let bytes = part(i * 10..(i * 10 + 10).min(35), true);
            let name = at.join(format!("s_data_{:06}.h5", i + 1));
            if i % 2 == 0 {
                // Copied in pieces under its own name: half a file is not a file yet.
                fs::write(&name, &bytes[..bytes.len() / 2]).unwrap();
                pause();
                fs::write(&name, &bytes).unwrap();
            } else {
                fs::write(at.join("beside"), &bytes).unwrap();
                fs::rename(at.join("beside"), &name).unwrap();
            }
        }
    });
    // The end is what the master announces.
    let set = format!("path = {:?}\nfollow = {{}}", folder.path().join("s_master.h5").to_str().unwrap());
    let (found, lost) = all("dectris.master", &set, 7).unwrap();
    writer.join().unwrap();
    assert!(lost.is_empty() && found == frames_of(0..35), "{} bytes, lost {lost:?}", found.len());
}

#[test]
fn a_series_that_breaks_off_ends_by_silence_with_gaps() {
    let folder = tempfile::tempdir().unwrap();
    let mut master = Image::new().unwrap();
    for i in 1..=3 {
        let (link, file) = (format!("/entry/data/data_{i:06}"), format!("s_data_{i:06}.h5"));
        master.link(&link, &file, "/entry/data/data").unwrap();
    }
    let at = "/entry/instrument/detector/detectorSpecific/nimages";
    master.scalar(at, H5::I64, &30_i64.to_ne_bytes()).unwrap();
    fs::write(folder.path().join("s_master.h5"), master.into_bytes().unwrap()).unwrap();
    fs::write(folder.path().join("s_data_000001.h5"), part(0..10, true)).unwrap();
    let path = folder.path().join("s_master.h5");
    let set = format!("path = {:?}\nfollow = {{ silence = 0.3 }}", path.to_str().unwrap());
    let (found, lost) = all("dectris.master", &set, 7).unwrap();
    assert!(found == frames_of(0..10));
    assert_eq!(lost.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (10..30).collect::<Vec<_>>());
    assert_eq!(lost[0].1, "the series ended before it");
}

#[test]
fn a_master_that_is_replaced_shows_ever_more_parts() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_owned();
    let writer = std::thread::spawn(move || {
        let mut parts = vec![];
        for i in 0..6_u64 {
            fs::write(at.join(format!("{i}.h5")), part(i * 5..i * 5 + 5, false)).unwrap();
            parts.push(Stacked { file: format!("{i}.h5"), dataset: "/entry/data/data".into(), records: 5 });
            let mut image = Image::new().unwrap();
            image.stack("/all", H5::U16, &[4, 5], &parts).unwrap();
            fs::write(at.join("beside"), image.into_bytes().unwrap()).unwrap();
            fs::rename(at.join("beside"), at.join("m.h5")).unwrap();
            pause();
        }
        fs::write(at.join("done"), "").unwrap();
    });
    let set = dataset(&folder.path().join("m.h5"), "/all", "follow = { marker = \"done\" }");
    let (found, lost) = all("hdf5.dataset", &set, 4).unwrap();
    writer.join().unwrap();
    assert!(lost.is_empty() && found == frames_of(0..30), "{} bytes, lost {lost:?}", found.len());
}

/// Starts a writer in Python beside the reader.
fn python(test: &str, folder: &Path, script: &str) -> Option<std::process::Child> {
    common::h5py(test, folder, "import h5py")?;
    let python = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = format!(
        "
import h5py, numpy as np, time, os, sys
def frame(i): return (i * 31 + np.arange(20, dtype='u8') ** 2).astype('u2').reshape(4, 5)
{script}"
    );
    let child = Command::new(python).args(["-c", &script]).current_dir(folder).stdout(Stdio::null()).spawn();
    Some(child.unwrap())
}

#[test]
fn a_swmr_writer_loses_nothing() {
    let test = "a_swmr_writer_loses_nothing";
    for (name, chunk, filter) in
        [("one", 1, "compression='lzf', shuffle=True"), ("many", 3, "compression='gzip'"), ("plain", 1, "")]
    {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "
time.sleep(0.1)
f = h5py.File('s.h5', 'w', libver='latest')
d = f.create_dataset('d', shape=(0, 4, 5), maxshape=(None, 4, 5), chunks=({chunk}, 4, 5), dtype='u2', {filter})
f.swmr_mode = True
for i in range(50):
    d.resize(i + 1, axis=0)
    # The extent is there before the frame is.
    if i % 7 == 0: d.flush(); time.sleep(0.02)
    d[i] = frame(i)
    if i % 3 == 0: d.flush()
    time.sleep(0.15 if i == 20 else 0.004)
d.flush()
open('done', 'w').close()
time.sleep(0.3)
f.close()
"
        );
        let Some(mut writer) = python(test, folder.path(), &script) else { return };
        for end in ["marker = \"done\"", "frames = 50", "silence = 2"] {
            let set = dataset(&folder.path().join("s.h5"), "/d", &format!("follow = {{ {end} }}"));
            let (found, lost) = all("hdf5.dataset", &set, 8).unwrap();
            assert!(lost.is_empty(), "{name}, {end}: {lost:?}");
            assert!(found == frames_of(0..50), "{name}, {end}: {} bytes", found.len());
        }
        assert!(writer.wait().unwrap().success());
    }
}

#[test]
fn a_plain_writer_that_flushes_loses_nothing() {
    let test = "a_plain_writer_that_flushes_loses_nothing";
    let folder = tempfile::tempdir().unwrap();
    let script = "
f = h5py.File('s.h5', 'w')
d = f.create_dataset('d', shape=(40, 4, 5), chunks=(1, 4, 5), dtype='u2', compression='gzip', fillvalue=9)
f.flush()
for i in range(40):
    if i != 33: d[i] = frame(i)
    f.flush()
    time.sleep(0.01)
f.close()
os.rename('s.h5', 't.h5')
os.rename('t.h5', 's.h5')
";
    let Some(mut writer) = python(test, folder.path(), script) else { return };
    let set = dataset(&folder.path().join("s.h5"), "/d", "follow = { silence = 1 }");
    let (found, lost) = all("hdf5.dataset", &set, 8).unwrap();
    assert!(writer.wait().unwrap().success());
    // The extent was there from the beginning: chunks that are not written are not zeros, nor the fill value.
    assert_eq!(lost, [(33, "its chunk was never written".to_owned())]);
    assert!(found == [frames_of(0..33), frames_of(34..40)].concat());
}
