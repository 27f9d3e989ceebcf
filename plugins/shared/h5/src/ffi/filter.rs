//! The filters of isard, known to the library.

use std::cell::RefCell;
use std::ffi::{CStr, c_uint, c_void};
use std::panic::catch_unwind;
use std::ptr;
use std::sync::Once;

use hdf5::sync::sync;
use hdf5_sys::h5::{H5allocate_memory, H5free_memory};
use hdf5_sys::h5z::{H5Z_FLAG_REVERSE, H5Z_class2_t, H5Z_func_t, H5Zregister};
use isard_codec::bitshuffle::{self, Codec};
use isard_codec::{Fault, Filter, number, undo};

/// No chunk is larger than this: the library counts their bytes in 32 bits.
const MOST: usize = 1 << 32;

thread_local! {
    /// Why the last filter failed; the library itself only says that it did.
    static WHY: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What the last filter of this thread said, once.
pub(super) fn why() -> Option<String> {
    WHY.with_borrow_mut(Option::take)
}

/// Makes the filters known; after the first time this does nothing.
pub(super) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let each: [(i32, &CStr, H5Z_func_t); 4] = [
            (
                number::BITSHUFFLE,
                c"bitshuffle; see https://github.com/kiyo-masui/bitshuffle",
                Some(run::<{ number::BITSHUFFLE }>),
            ),
            (number::LZ4, c"lz4; see https://github.com/HDFGroup/hdf5_plugins", Some(run::<{ number::LZ4 }>)),
            (
                number::ZSTD,
                c"zstd; see https://github.com/aparamon/HDF5Plugin-Zstandard",
                Some(run::<{ number::ZSTD }>),
            ),
            (number::BLOSC, c"blosc", Some(run::<{ number::BLOSC }>)),
        ];
        for (id, name, filter) in each {
            let class = H5Z_class2_t {
                version: 1,
                id,
                encoder_present: u32::from(id == number::BITSHUFFLE),
                decoder_present: 1,
                name: name.as_ptr(),
                can_apply: None,
                set_local: None,
                filter,
            };
            // SAFETY: the library copies the class; its name and function live as long as the program. A refusal
            // leaves the filter unknown, and opening a dataset that needs it says so.
            sync(|| unsafe { H5Zregister((&raw const class).cast()) });
        }
    });
}

/// Runs one filter on the buffer that the library hands over and puts another in its place.
unsafe extern "C" fn run<const NUMBER: i32>(
    flags: c_uint,
    count: usize,
    values: *const c_uint,
    bytes: usize,
    size: *mut usize,
    buffer: *mut *mut c_void,
) -> usize {
    // SAFETY: the library promises `count` values and `bytes` readable bytes; both outlive the call.
    let (values, src) = unsafe {
        let values = if count == 0 { &[] } else { std::slice::from_raw_parts(values, count) };
        let src = if bytes == 0 { &[] } else { std::slice::from_raw_parts((*buffer).cast::<u8>(), bytes) };
        (values, src)
    };
    let filter = Filter { number: NUMBER, values: values.into() };
    let work = || if flags & H5Z_FLAG_REVERSE != 0 { undo(&filter, src, MOST) } else { redo(&filter, src) };
    let out = match catch_unwind(work) {
        Ok(Ok(out)) => out,
        Ok(Err(fault)) => {
            WHY.set(Some(fault.to_string()));
            return 0;
        }
        Err(_) => {
            WHY.set(Some("the filter panicked, this is a bug in isard".into()));
            return 0;
        }
    };
    // SAFETY: the old buffer is the library's own and is given back to it; the new one has the length that is written
    // to it and reported.
    unsafe {
        let new = H5allocate_memory(out.len().max(1), 0);
        if new.is_null() {
            return 0;
        }
        ptr::copy_nonoverlapping(out.as_ptr(), new.cast(), out.len());
        H5free_memory(*buffer);
        *buffer = new;
        *size = out.len();
    }
    out.len()
}

/// Encodes a chunk on its way through the library, as a partial one goes.
fn redo(filter: &Filter, src: &[u8]) -> Result<Vec<u8>, Fault> {
    let value = |i: usize| filter.values.get(i).copied().unwrap_or(0);
    let codec = match value(4) {
        0 => Codec::None,
        2 => Codec::Lz4,
        _ => Codec::Zstd(value(5) as i32),
    };
    let mut out = Vec::new();
    bitshuffle::encode(src, codec, value(2).max(1) as usize, &mut bitshuffle::Scratch::default(), &mut out)?;
    Ok(out)
}
