//! Damaged HDF5 files through the sources: errors or gaps, no panic, no hang, bounded memory.
//!
//! The only test of its binary, since memory is counted for the whole process. Counted is what Rust allocates; what
//! libhdf5 takes by itself is not.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/frames.rs"]
mod frames;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use frames::{all, dataset};
use isard_h5::{Compression, Dtype as H5, Image, Spec};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static ROUND: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; the counts are only numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ROUNDS: usize = 2000;

/// A file of 12 frames in each sort of chunk.
fn whole() -> Vec<u8> {
    let mut image = Image::sized(1 << 16).unwrap();
    for (name, compression, chunk) in [
        ("b", Compression::Bitshuffle, 1),
        ("d", Compression::Deflate(1), 5),
        ("l", Compression::Lzf, 2),
        ("n", Compression::None, 1),
    ] {
        let spec = Spec::new(H5::U16, &[20, 30]).chunk(chunk).compress(compression).fletcher32(false);
        let slot = image.dataset(name, &spec).unwrap();
        let pixels: Vec<u8> =
            (0..12 * 600_u32).flat_map(|i| ((i * i / 900 % 41) as u16).to_ne_bytes()).collect();
        image.append(slot, &pixels, 12).unwrap();
    }
    image.into_bytes().unwrap()
}

#[test]
fn damaged_files_are_told_and_take_no_memory() {
    let seed = std::env::var("ISARD_SEED").ok().and_then(|s| s.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64
    });
    println!("ISARD_SEED={seed}");
    std::thread::spawn(move || {
        let mut last = usize::MAX;
        loop {
            std::thread::sleep(Duration::from_secs(60));
            let round = ROUND.load(Ordering::Relaxed);
            if round == last {
                eprintln!("ISARD_SEED={seed}: round {round} hangs");
                std::process::exit(1);
            }
            last = round;
        }
    });
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize
    };
    let whole = whole();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.h5");
    let (mut wrong, mut right, mut most) = (0, 0, 0);
    for round in 0..ROUNDS {
        ROUND.store(round, Ordering::Relaxed);
        let mut bytes = whole.clone();
        for _ in 0..1 + random() % 6 {
            let at = random() % bytes.len();
            bytes[at] = random() as u8;
        }
        if random() % 5 == 0 {
            bytes.truncate(random() % bytes.len());
        }
        std::fs::write(&path, &bytes).unwrap();
        let name = ["b", "d", "l", "n"][round % 4];
        let before = HELD.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        match all("hdf5.dataset", &dataset(&path, &format!("/{name}"), ""), 5) {
            Ok(_) => right += 1,
            Err(_) => wrong += 1,
        }
        let taken = MOST.load(Ordering::Relaxed) - before;
        most = most.max(taken);
        let allowed = (64 << 20) + 4 * bytes.len();
        assert!(taken <= allowed, "ISARD_SEED={seed}: round {round} took {taken} bytes of {allowed}");
    }
    println!("{wrong} errors, {right} read, at most {most} bytes");
    assert!(wrong > ROUNDS / 10 && right > 0, "ISARD_SEED={seed}: {wrong} errors, {right} read");
}
