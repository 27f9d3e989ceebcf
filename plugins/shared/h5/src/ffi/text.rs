//! Strings in datasets and attributes, of fixed and variable length.

use std::ffi::{CStr, CString, c_char, c_void};

use hdf5::sync::sync;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5t::{
    H5T_C_S1, H5T_VARIABLE, H5T_cset_t, H5T_str_t, H5Tcopy, H5Tget_size, H5Tget_strpad, H5Tis_variable_str,
    H5Treclaim, H5Tset_cset, H5Tset_size, H5Tset_strpad,
};

use super::{Id, c, check, count, handle};
use crate::{Error, Kind, Result};

/// More text than this in one piece is taken for damage.
const MOST: usize = 256 << 20;

/// A UTF-8 string type; `None` means variable length.
pub(super) fn text_type(size: Option<usize>) -> Result<Id> {
    // SAFETY: the global is set, since the library is initialised first.
    let id = handle("making a text type", || unsafe { H5Tcopy(*H5T_C_S1) })?;
    // SAFETY: a string type made above.
    check("making a text type", || unsafe {
        let sized = H5Tset_size(id.0, size.unwrap_or(H5T_VARIABLE));
        let worst = sized.min(H5Tset_cset(id.0, H5T_cset_t::H5T_CSET_UTF8));
        if size.is_some() { worst.min(H5Tset_strpad(id.0, H5T_str_t::H5T_STR_NULLPAD)) } else { worst }
    })?;
    Ok(id)
}

/// Lays strings out for a write as variable strings: pointers, and their owners.
pub(super) fn pointers(texts: &[&str]) -> Result<(Vec<CString>, Vec<*const c_char>)> {
    let owned = texts.iter().map(|text| c(text)).collect::<Result<Vec<_>>>()?;
    let pointers = owned.iter().map(|text| text.as_ptr()).collect();
    Ok((owned, pointers))
}

/// Reads `n` strings of the type `memory` through `read`.
pub(super) fn texts(
    memory: &Id,
    space: &Id,
    n: usize,
    read: impl FnOnce(i64, *mut c_void) -> i32,
) -> Result<Vec<String>> {
    // SAFETY: `memory` is a string type.
    let variable = count("reading text", || unsafe { H5Tis_variable_str(memory.0) })? > 0;
    // SAFETY: as above.
    let size = sync(|| unsafe { H5Tget_size(memory.0) });
    if n.checked_mul(size).is_none_or(|bytes| bytes > MOST) {
        return Err(Error::new(Kind::Range, format!("{n} strings are more than 256 MiB")));
    }
    if !variable {
        let mut bytes = vec![0_u8; n * size];
        check("reading text", || read(memory.0, bytes.as_mut_ptr().cast()))?;
        // SAFETY: as above.
        let pad = sync(|| unsafe { H5Tget_strpad(memory.0) });
        return Ok(bytes.chunks_exact(size.max(1)).map(|one| trimmed(one, pad)).collect());
    }
    let mut found: Vec<*mut c_char> = vec![std::ptr::null_mut(); n];
    check("reading text", || read(memory.0, found.as_mut_ptr().cast()))?;
    let text = |p: &*mut c_char| {
        if p.is_null() {
            return String::new();
        }
        // SAFETY: the library filled the pointers with zero-terminated strings.
        unsafe { CStr::from_ptr(*p) }.to_string_lossy().into_owned()
    };
    let texts = found.iter().map(text).collect();
    // SAFETY: the pointers came from a read of this type and are used no more.
    check("freeing text", || unsafe {
        H5Treclaim(memory.0, space.0, H5P_DEFAULT, found.as_mut_ptr().cast())
    })?;
    Ok(texts)
}

fn trimmed(bytes: &[u8], pad: H5T_str_t) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    if pad == H5T_str_t::H5T_STR_SPACEPAD { text.trim_end_matches(' ').into() } else { text.into_owned() }
}
