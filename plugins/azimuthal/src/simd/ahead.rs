//! Memory that is asked for before it is needed.

/// Bytes that come from memory together.
const LINE: usize = 64;

/// Pixels of the next tile, which are brought near while those of this one are summed.
///
/// Runs read a tile along arcs, in more streams than processors foresee; read in its order it comes at the speed of memory.
pub(super) struct Ahead {
    at: *const u8,
    left: usize,
}

impl Ahead {
    pub(super) fn new<T>(pixels: &[T]) -> Ahead {
        Ahead { at: pixels.as_ptr().cast(), left: size_of_val(pixels) }
    }

    /// Asks for so many bytes more, and at least for one line.
    #[inline(always)]
    pub(super) fn step(&mut self, bytes: usize) {
        let bytes = (bytes + LINE).min(self.left);
        for at in (0..bytes).step_by(LINE) {
            fetch(self.at.wrapping_add(at));
        }
        let whole = bytes.next_multiple_of(LINE).min(self.left);
        self.at = self.at.wrapping_add(whole);
        self.left -= whole;
    }
}

#[inline(always)]
fn fetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: asking for memory reads nothing, and does no harm whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_end_with_the_pixels() {
        let pixels = [0u16; 1000];
        let mut ahead = Ahead::new(&pixels);
        let mut lefts = vec![];
        for bytes in [0, 64, 100, 5000, 64] {
            ahead.step(bytes);
            lefts.push(ahead.left);
        }
        assert_eq!(lefts, [1936, 1808, 1616, 0, 0]);
        assert_eq!(ahead.at, pixels.as_ptr_range().end.cast());
    }
}
