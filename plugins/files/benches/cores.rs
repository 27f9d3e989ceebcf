//! What do two cores of one run bring, beside two independent runs on one core each of the same work?
//!
//! Bitshuffle-LZ4 frames of 2048 x 2048 uint16, written and read; wall time, the best of some rounds that take turns.
//! Two cores must be free: beside other work both sides lose, and the ratio says little.

#![allow(clippy::unwrap_used, reason = "a bench has no caller to tell")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{Arrival, Built, RunCx};
use isard_h5::{Compression, Dtype as H5, Image, Spec};
use rayon::prelude::*;
// Linked so that its stages are declared.
use isard_files as _;

const SIDE: usize = 2048;
const FRAMES: usize = 32;
const ROUNDS: usize = 7;

/// Counts of a sparse background, about 4 to 1.
fn frame(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut pixel = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let count = (state >> 60) as u16;
        if count < 12 { 0 } else { count }
    };
    (0..SIDE * SIDE).flat_map(|_| pixel().to_ne_bytes()).collect()
}

/// Runs a piece of work for each number below one.
type Each<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) -> isard_h5::Result<()> + Sync)) -> isard_h5::Result<()>;

fn write(path: &Path, frames: &[u8], n: usize, each: Each) {
    let mut image = Image::sized(64 << 20).unwrap();
    let spec = Spec::new(H5::U16, &[SIDE as u64, SIDE as u64]).chunk(1).compress(Compression::Bitshuffle);
    let slot = image.dataset("/data", &spec.fletcher32(false)).unwrap();
    for batch in frames[..n * SIDE * SIDE * 2].chunks(16 * SIDE * SIDE * 2) {
        image.append_on(slot, batch, (batch.len() / (SIDE * SIDE * 2)) as u64, each).unwrap();
    }
    std::fs::write(path, image.into_bytes().unwrap()).unwrap();
}

fn read(path: &Path, threads: usize) {
    let set = format!("path = \"{}::/data\"", path.display());
    let registry = Registry::built_in().unwrap();
    let build = &registry.find("hdf5.dataset").unwrap().build;
    let Built::Source(mut source) = build(toml::from_str(&set).unwrap()).unwrap() else {
        panic!("no source")
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let run = RunCx { threads: Some(Arc::new(pool)), ..RunCx::default() };
    let cx = Cx::new(&run, "frames");
    source.open(&cx, Dict::new(), Position { next: 0 }).unwrap();
    let mut total = 0;
    loop {
        let mut slots = Slots::new(8, 0);
        if source.pull(&cx, &mut slots).unwrap() == Pull::End {
            std::hint::black_box(total);
            return;
        }
        for arrival in slots.take() {
            let Arrival::Frames { data, .. } = arrival else { panic!("a frame was lost") };
            let Some(Value::Array(image)) = data.get("image") else { panic!("no image") };
            total += u64::from(image.as_slice::<u16>().unwrap()[7]);
        }
    }
}

/// On the thread that asks.
fn alone(n: usize, work: &(dyn Fn(usize) -> isard_h5::Result<()> + Sync)) -> isard_h5::Result<()> {
    (0..n).try_for_each(work)
}

fn wall(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

/// Twice the same work at once, each on a thread of its own.
fn twice(work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        let work = &work;
        (0..2).for_each(|i| drop(scope.spawn(move || work(i))));
    });
}

fn main() {
    let shm = Path::new("/dev/shm");
    let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    let frames: Vec<u8> = (0..FRAMES as u64).into_par_iter().flat_map_iter(|seed| frame(seed + 1)).collect();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let both: Each = &|n, work| pool.install(|| (0..n).into_par_iter().try_for_each(work));
    let halves = [path("0.h5"), path("1.h5")];
    let mut best = [f64::INFINITY; 4];
    for _ in 0..ROUNDS {
        let times = [
            wall(|| twice(|i| write(&halves[i], &frames[i * frames.len() / 2..], FRAMES / 2, &alone))),
            wall(|| write(&path("all.h5"), &frames, FRAMES, both)),
            wall(|| twice(|i| read(&halves[i], 1))),
            wall(|| read(&path("all.h5"), 2)),
        ];
        best.iter_mut().zip(times).for_each(|(best, time)| *best = best.min(time));
    }
    let one = wall(|| write(&path("0.h5"), &frames, FRAMES / 2, &alone));
    println!("one core writes {:.0} MB/s", (frames.len() / 2) as f64 / 1e6 / one);
    let rate = |seconds: f64| frames.len() as f64 / 1e6 / seconds;
    for (what, apart, together) in [("write", best[0], best[1]), ("read", best[2], best[3])] {
        println!(
            "{what:6} two runs of one core {:6.0} MB/s, one run of two cores {:6.0} MB/s, ratio {:.2}",
            rate(apart),
            rate(together),
            apart / together
        );
    }
}
