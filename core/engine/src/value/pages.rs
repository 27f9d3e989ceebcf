//! Large pages for large memory.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which asks for large pages behind what is large.
///
/// Frames, matrices and bit volumes are read all over: with pages of 2 MiB in place of 4 KiB the first touch takes half
/// the time, and addresses are found in one step more often. A program asks for it in a line:
///
/// ```
/// # use isard_core::value::LargePages;
/// #[global_allocator]
/// static ALLOCATOR: LargePages = LargePages;
/// ```
///
/// On systems other than Linux, and where they are switched off (`/sys/kernel/mm/transparent_hugepage/enabled` says
/// `never`), pages stay as they are.
pub struct LargePages;

/// A large page.
const PAGE: usize = 2 << 20;
/// Smaller blocks hold too few whole pages to be worth a call.
const LEAST: usize = 2 * PAGE;

/// Asks for large pages behind the part of a block that holds whole ones.
fn ask(block: *mut u8, bytes: usize) {
    if block.is_null() || bytes < LEAST {
        return;
    }
    let begin = block.addr().next_multiple_of(PAGE);
    let end = (block.addr() + bytes) / PAGE * PAGE;
    #[cfg(target_os = "linux")]
    if begin < end {
        let first = block.wrapping_add(begin - block.addr());
        // SAFETY: the range lies within a block that was just allocated, and the advice changes no byte of it. Where it
        // cannot be followed, nothing changes, so what the call returns does not matter.
        unsafe { libc::madvise(first.cast(), end - begin, libc::MADV_HUGEPAGE) };
    }
}

// SAFETY: all blocks come from the system's allocator, unchanged, and go back to it.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the promises of `alloc`, which are those of the system's allocator.
        let block = unsafe { System.alloc(layout) };
        ask(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() < LEAST || layout.align() <= 2 * size_of::<usize>() {
            // What is large comes from the system as zeros that nobody has touched yet.
            // SAFETY: as for `alloc`.
            let block = unsafe { System.alloc_zeroed(layout) };
            ask(block, layout.size());
            return block;
        }
        // At such an alignment the system's allocator writes the zeros itself, before anybody could ask.
        // SAFETY: as for `alloc`.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: the block is that long.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as for `alloc`.
        let block = unsafe { System.realloc(block, layout, bytes) };
        ask(block, bytes);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the allocator does for a layout: allocates, grows by half, gives back.
    fn used(layout: Layout, zeros: bool) {
        // SAFETY: the block is used within its layout and given back once, with the size that it has then.
        unsafe {
            let block = if zeros { LargePages.alloc_zeroed(layout) } else { LargePages.alloc(layout) };
            assert_eq!(block.addr() % layout.align(), 0);
            let bytes = std::slice::from_raw_parts_mut(block, layout.size());
            if zeros {
                assert!(bytes.iter().all(|b| *b == 0));
            }
            bytes.iter_mut().step_by(4096).enumerate().for_each(|(k, b)| *b = k as u8);
            let longer = layout.size() + layout.size() / 2;
            let block = LargePages.realloc(block, layout, longer);
            let bytes = std::slice::from_raw_parts(block, layout.size());
            assert!(bytes.iter().step_by(4096).enumerate().all(|(k, b)| *b == k as u8));
            LargePages.dealloc(block, Layout::from_size_align(longer, layout.align()).unwrap());
        }
    }

    #[test]
    fn blocks_of_any_size_and_alignment_are_whole() {
        for bytes in [1, 4096, PAGE, LEAST - 1, LEAST, LEAST + 1, 8 << 20, (40 << 20) + 777] {
            for align in [1, 8, 16, 64, 4096, PAGE] {
                let layout = Layout::from_size_align(bytes, align).unwrap();
                used(layout, false);
                used(layout, true);
            }
        }
    }

    /// Bytes in large pages behind this process's memory from one address to another, as the system counts them.
    #[cfg(target_os = "linux")]
    fn in_large_pages(from: usize, to: usize) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut inside, mut sum) = (false, 0);
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let ends = range.and_then(|(a, b)| {
                Some((usize::from_str_radix(a, 16).ok()?, usize::from_str_radix(b, 16).ok()?))
            });
            if let Some((a, b)) = ends {
                inside = a < to && b > from;
            }
            if let (true, Some(rest)) = (inside, line.strip_prefix("AnonHugePages:")) {
                sum += rest.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10;
            }
        }
        sum
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn large_memory_lies_in_large_pages() {
        let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        if !enabled.is_ok_and(|how| how.contains("[madvise]") || how.contains("[always]")) {
            eprintln!("large_memory_lies_in_large_pages: skipped, the system has none to give");
            return;
        }
        let layout = Layout::from_size_align(64 << 20, 64).unwrap();
        // SAFETY: the block is written within its layout and given back once.
        let large = unsafe {
            let block = LargePages.alloc_zeroed(layout);
            let large = in_large_pages(block.addr(), block.addr() + layout.size());
            LargePages.dealloc(block, layout);
            large
        };
        // The system may have run out of whole pages, but not of every one.
        assert!(large >= PAGE, "{large} of {} bytes", layout.size());
    }
}
