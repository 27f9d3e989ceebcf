//! Damaged chunks give errors: no panic, no hang, no memory beyond what was asked for.
//!
//! The only test of its binary, since memory is counted for the whole process.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use isard_codec::{Filter, Pipeline, Scratch, undo};

/// Counts what is held, and the most that was.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

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

const ROUNDS: usize = 6000;
const BYTES: usize = 1004 * 8;

#[test]
fn damaged_chunks_are_errors_and_take_no_memory() {
    let seed = std::env::var("ISARD_SEED").ok().and_then(|s| s.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64
    });
    println!("ISARD_SEED={seed}");
    let mut state = seed | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize
    };
    let chunks: Vec<_> = include_str!("data/chunks.txt").lines().map(parse).collect();
    let (mut right, mut wrong) = (0, 0);
    MOST.store(0, Ordering::Relaxed);
    let before = HELD.load(Ordering::Relaxed);
    for round in 0..ROUNDS {
        let (size, n, filters, packed) = &chunks[round % chunks.len()];
        let mut bytes = packed.clone();
        for _ in 0..1 + random() % 4 {
            let at = random() % bytes.len();
            // Headers decide most: every second change goes there.
            let at = if random() % 2 == 0 { at % 24 } else { at };
            bytes[at] = match random() % 4 {
                0 => 0,
                1 => 255,
                2 => bytes[at] ^ 1 << (random() % 8),
                _ => random() as u8,
            };
        }
        if random() % 4 == 0 {
            bytes.truncate(random() % (bytes.len() + 1));
        }
        let pipeline = Pipeline::new(filters, n * size, *size).unwrap();
        let mut out = vec![0; n * size];
        match pipeline.decode(0, &bytes, &mut Scratch::default(), &mut out) {
            Ok(()) => right += 1,
            Err(_) => wrong += 1,
        }
        if let [filter] = &filters[..] {
            let _ = undo(filter, &bytes, 1 << 16).map(|out| assert!(out.len() <= 1 << 16));
        }
    }
    let taken = MOST.load(Ordering::Relaxed) - before;
    // The output, two buffers between filters, two of a block, the states of the codecs.
    assert!(taken < 32 * BYTES + (1 << 20), "seed {seed}: {taken} bytes were held at once");
    assert!(wrong > ROUNDS / 4 && right > 0, "seed {seed}: {wrong} errors, {right} without");
}

fn parse(line: &str) -> (usize, usize, Vec<Filter>, Vec<u8>) {
    let words: Vec<&str> = line.split(' ').collect();
    let filter = |text: &str| {
        let (number, values) = text.split_once(':').unwrap();
        let values = values.split(',').filter(|v| !v.is_empty()).map(|v| v.parse().unwrap()).collect();
        Filter { number: number.parse().unwrap(), values }
    };
    let size = words[1][words[1].len() - 1..].parse().unwrap();
    let hex = words[5];
    let packed =
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
    (size, words[2].parse().unwrap(), words[4].split(';').map(filter).collect(), packed)
}
