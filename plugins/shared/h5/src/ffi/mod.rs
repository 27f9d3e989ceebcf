//! The calls into libhdf5, each behind a safe function.
//!
//! Every call holds the library's lock. Handles are counted by [`Id`].

mod attr;
mod chunk;
mod dataset;
mod file;
mod filter;
mod guard;
mod memory;
mod space;
mod text;
mod types;

use std::ffi::{CStr, CString, c_uint, c_void};

use hdf5::sync::sync;
use hdf5_sys::h5e::{H5E_DEFAULT, H5E_direction_t, H5E_error2_t, H5Eclear2, H5Ewalk2};
use hdf5_sys::h5i::{H5Idec_ref, hid_t};

use crate::{Error, Kind, Result};

pub(crate) use attr::{attribute_names, read_attribute, write_attribute};
pub(crate) use chunk::{Written, chunk_bytes, read_chunk, write_chunk, written_chunks};
pub(crate) use dataset::{
    Parts, Source, contiguous_offset, create_dataset, create_virtual, open_parts, read_block, read_text,
    set_extent, stored_bytes, virtual_sources, write_block, write_texts,
};
pub(crate) use file::{
    Link, Object, close_image, copy, create_group, create_image, external_link, file_name, flush, link,
    link_names, object_kind, open_file, open_growing, open_image, open_object, soft_link,
};

pub(crate) use space::{Slab, UNLIMITED};

/// A counted handle of the library.
#[derive(Debug)]
pub(crate) struct Id(hid_t);

impl Id {
    /// Gives the handle back and says whether that went well.
    fn close(self, what: &str) -> Result<()> {
        let handle = std::mem::ManuallyDrop::new(self).0;
        // SAFETY: the handle was given by the library and is not dropped again.
        check(what, || unsafe { H5Idec_ref(handle) })
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        // SAFETY: the handle was given by the library and is dropped once.
        sync(|| unsafe { H5Idec_ref(self.0) });
    }
}

/// Runs a call that gives a handle.
fn handle(what: &str, call: impl FnOnce() -> hid_t) -> Result<Id> {
    sync(|| {
        let id = call();
        if id < 0 { Err(fault(what)) } else { Ok(Id(id)) }
    })
}

/// Runs a call that gives a number, negative on failure.
fn count<T: PartialOrd + Default>(what: &str, call: impl FnOnce() -> T) -> Result<T> {
    sync(|| {
        let n = call();
        if n < T::default() { Err(fault(what)) } else { Ok(n) }
    })
}

/// Runs a call that only succeeds or fails.
fn check(what: &str, call: impl FnOnce() -> i32) -> Result<()> {
    count(what, call).map(|_| ())
}

fn c(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(Kind::Mismatch, format!("{text:?} holds a zero byte")))
}

/// Asks for the length of a string, then for the string.
fn text_of(what: &str, call: impl Fn(*mut i8, usize) -> isize) -> Result<String> {
    let len = count(what, || call(std::ptr::null_mut(), 0))?.unsigned_abs();
    let mut bytes = vec![0_u8; len + 1];
    count(what, || call(bytes.as_mut_ptr().cast(), len + 1))?;
    bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(len));
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The innermost message of the library's error stack.
fn fault(what: &str) -> Error {
    extern "C" fn first(n: c_uint, frame: *const H5E_error2_t, out: *mut c_void) -> i32 {
        if n == 0 && !frame.is_null() {
            // SAFETY: the library hands over a valid frame, and `out` is the
            // string that the walk below was given.
            let (frame, out) = unsafe { (&*frame, &mut *out.cast::<String>()) };
            if !frame.desc.is_null() {
                // SAFETY: descriptions are zero-terminated strings of the stack.
                *out = unsafe { CStr::from_ptr(frame.desc) }.to_string_lossy().into_owned();
            }
        }
        0
    }
    let mut text = String::new();
    // SAFETY: `first` is called within this call only, with the string alive.
    unsafe {
        let walk = H5E_direction_t::H5E_WALK_UPWARD;
        H5Ewalk2(H5E_DEFAULT, walk, Some(first), (&raw mut text).cast());
        H5Eclear2(H5E_DEFAULT);
    }
    match filter::why() {
        Some(why) => text = why,
        None if text.is_empty() => text.push_str("the library gave no reason"),
        None => {}
    }
    Error::new(Kind::Library, format!("{what}: {}", text.trim_end_matches('.')))
}
