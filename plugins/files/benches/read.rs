//! How fast do frames of a cached file reach a sum, beside a loop of plain reads into one buffer?

#![allow(clippy::unwrap_used, reason = "a bench has no caller to tell")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use divan::Bencher;
use divan::counter::BytesCount;
use isard_core::prelude::*;
use isard_core::stage::Arrival;
use isard_core::stage::RunCx;
use isard_files::input::{FramesOut, NpyStack, TiffSequence};
use isard_files::npy::header;
use isard_files::tiff::{Tiff, Writer};

const SIDE: usize = 2048;
const FRAMES: usize = 32;
const BYTES: usize = SIDE * SIDE * 2;

fn main() {
    divan::main();
}

/// The files, written once: both hold the same frames.
fn files() -> &'static (tempfile::TempDir, PathBuf, PathBuf) {
    static FILES: OnceLock<(tempfile::TempDir, PathBuf, PathBuf)> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let frame: Vec<u8> = (0..SIDE * SIDE).flat_map(|i| (i as u16 % 1021).to_ne_bytes()).collect();
        let mut writer = Writer::new(isard_h5::Dtype::U16, [SIDE, SIDE], false).unwrap();
        let mut npy = header(isard_h5::Dtype::U16, &[FRAMES as u64, SIDE as u64, SIDE as u64]);
        for _ in 0..FRAMES {
            writer.page(&frame).unwrap();
            npy.extend_from_slice(&frame);
        }
        let (t, n) = (folder.path().join("a.tif"), folder.path().join("a.npy"));
        std::fs::write(&t, writer.into_bytes().unwrap()).unwrap();
        std::fs::write(&n, npy).unwrap();
        (folder, t, n)
    })
}

fn sum(pixels: &[u16]) -> u64 {
    pixels.iter().map(|x| u64::from(*x)).sum()
}

/// Sums what a source gives, frames over frames until there are none.
fn source<S: Source<In = (), Out = FramesOut>>(path: &str) -> u64 {
    let mut source: S = serde_json::from_value(serde_json::json!({ "path": path })).unwrap();
    let run = RunCx::default();
    let cx = Cx::new(&run, "frames");
    source.open(&cx, (), Position { next: 0 }).unwrap();
    let mut total = 0;
    loop {
        let mut slots = Slots::new(16, 0);
        if source.pull(&cx, &mut slots).unwrap() == Pull::End {
            return total;
        }
        for arrival in slots.take() {
            let Arrival::Frames { mut data, .. } = arrival else { continue };
            let Some(Value::Array(image)) = data.take("image") else { continue };
            total += sum(image.as_slice().unwrap());
        }
    }
}

fn plain(path: &PathBuf, offsets: &[u64]) -> u64 {
    let file = File::open(path).unwrap();
    let mut buffer = vec![0u16; SIDE * SIDE];
    let mut total = 0;
    for offset in offsets {
        file.read_exact_at(bytemuck::cast_slice_mut(&mut buffer), *offset).unwrap();
        total += sum(&buffer);
    }
    total
}

#[divan::bench]
fn tiff_source(bencher: Bencher) {
    let path = files().1.to_str().unwrap();
    bencher.counter(BytesCount::new(BYTES * FRAMES)).bench(|| source::<TiffSequence>(path));
}

#[divan::bench]
fn tiff_plain_reads(bencher: Bencher) {
    let path = &files().1;
    let tiff = Tiff::scan(File::open(path).unwrap(), "bench").unwrap();
    let offsets: Vec<u64> = tiff.pages().iter().map(|p| p.runs.as_ref().unwrap()[0].offset).collect();
    bencher.counter(BytesCount::new(BYTES * FRAMES)).bench(|| plain(path, &offsets));
}

#[divan::bench]
fn npy_source(bencher: Bencher) {
    let path = files().2.to_str().unwrap();
    bencher.counter(BytesCount::new(BYTES * FRAMES)).bench(|| source::<NpyStack>(path));
}

#[divan::bench]
fn npy_plain_reads(bencher: Bencher) {
    let path = &files().2;
    let begin = header(isard_h5::Dtype::U16, &[FRAMES as u64, SIDE as u64, SIDE as u64]).len() as u64;
    let offsets: Vec<u64> = (0..FRAMES as u64).map(|i| begin + i * BYTES as u64).collect();
    bencher.counter(BytesCount::new(BYTES * FRAMES)).bench(|| plain(path, &offsets));
}
