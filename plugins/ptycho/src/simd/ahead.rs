//! Memory is asked for before it is read.

/// Bytes of a line of the cache.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Asks for values that are read soon: they come while other work is done.
#[inline(always)]
pub fn ahead<X>(values: &[X]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let from = values.as_ptr().cast::<i8>();
        for at in (0..size_of_val(values)).step_by(LINE) {
            // SAFETY: the address lies within the slice, and asking for memory neither reads nor changes a value; all
            // processors of this kind have the instruction.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(from.add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}
