//! An allocator that counts, and what a run kept at most.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the bytes that are allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Bytes by the power of two below their size, now and when there were most.
static SIZES: [AtomicUsize; 48] = [const { AtomicUsize::new(0) }; 48];
static MOST: [AtomicUsize; 48] = [const { AtomicUsize::new(0) }; 48];

fn class(bytes: usize) -> usize {
    (bytes.max(1).ilog2() as usize).min(47)
}

fn add(bytes: usize) {
    SIZES[class(bytes)].fetch_add(bytes, Ordering::Relaxed);
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if PEAK.fetch_max(now, Ordering::Relaxed) < now && bytes >= 1 << 20 {
        MOST.iter()
            .zip(&SIZES)
            .for_each(|(most, size)| most.store(size.load(Ordering::Relaxed), Ordering::Relaxed));
    }
}

fn take(bytes: usize) {
    SIZES[class(bytes)].fetch_sub(bytes, Ordering::Relaxed);
    NOW.fetch_sub(bytes, Ordering::Relaxed);
}

/// What there was when there was most: MB of blocks of 1 to 2 MB, 2 to 4, and so on, smaller ones together.
pub fn sizes() -> String {
    let mb = |from: usize, to: usize| {
        MOST[from..to].iter().map(|m| m.load(Ordering::Relaxed)).sum::<usize>() >> 20
    };
    let large: Vec<String> = (20..30).map(|k| format!("{}M: {}", 1 << (k - 20), mb(k, k + 1))).collect();
    format!("less: {}, {}, more: {}", mb(0, 20), large.join(", "), mb(30, 48))
}

// SAFETY: every call goes on to the system's allocator unchanged; only counters are touched beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the promises of `alloc`, which are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        take(layout.size());
        // SAFETY: the caller gives back what `alloc` gave, which came from the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Begins to count anew; gives what there is before.
pub fn begin() -> usize {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    before
}

/// The bytes that are allocated now.
pub fn now() -> usize {
    NOW.load(Ordering::Relaxed)
}

/// The most bytes since the beginning.
pub fn peak() -> usize {
    PEAK.load(Ordering::Relaxed)
}
