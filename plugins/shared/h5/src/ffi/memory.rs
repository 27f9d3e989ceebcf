//! The memory of files that are made in memory.
//!
//! It is taken from Rust's allocator, so that a finished file becomes a vector without a copy.

use std::alloc::{Layout, alloc, dealloc, realloc};
use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use hdf5_sys::h5fd::{H5FD_file_image_callbacks_t, H5FD_file_image_op_t};
use hdf5_sys::h5p::H5Pset_file_image_callbacks;

use super::{Id, check};
use crate::Result;

/// The blocks that files lie in.
#[derive(Default)]
struct Blocks {
    /// Bytes of each, by address.
    sizes: HashMap<usize, usize>,
    /// The one that is not to be freed when its file is closed.
    keep: Option<usize>,
    /// A kept one whose file is closed.
    kept: Option<Vec<u8>>,
}

static BLOCKS: LazyLock<Mutex<Blocks>> = LazyLock::new(Mutex::default);

fn blocks() -> MutexGuard<'static, Blocks> {
    BLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn layout(size: usize) -> Option<Layout> {
    Layout::array::<u8>(size).ok().filter(|layout| layout.size() > 0)
}

/// Makes files that are created with this access list lie in memory that can be kept.
pub(super) fn own(list: &Id) -> Result<()> {
    let mut calls = H5FD_file_image_callbacks_t {
        image_malloc: Some(make),
        image_memcpy: Some(fill),
        image_realloc: Some(resize),
        image_free: Some(release),
        ..Default::default()
    };
    // SAFETY: a list of the caller; the library copies the struct, and its functions live for ever.
    check("making a file in memory", || unsafe { H5Pset_file_image_callbacks(list.0, &raw mut calls) })
}

/// The block at this address is kept when its file is closed.
pub(super) fn keep(first: *mut u8) {
    let mut blocks = blocks();
    (blocks.keep, blocks.kept) = (Some(first.addr()), None);
}

/// The block that was kept, once its file is closed.
pub(super) fn kept() -> Option<Vec<u8>> {
    let mut blocks = blocks();
    blocks.keep = None;
    blocks.kept.take()
}

extern "C" fn make(size: usize, _: H5FD_file_image_op_t, _: *mut c_void) -> *mut c_void {
    let Some(layout) = layout(size) else { return ptr::null_mut() };
    // SAFETY: the layout has a size above zero.
    let made = unsafe { alloc(layout) };
    if !made.is_null() {
        blocks().sizes.insert(made.addr(), size);
    }
    made.cast()
}

extern "C" fn fill(
    to: *mut c_void,
    from: *const c_void,
    size: usize,
    _: H5FD_file_image_op_t,
    _: *mut c_void,
) -> *mut c_void {
    // SAFETY: the library hands over two blocks of at least this size that do not overlap.
    unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), size) };
    to
}

extern "C" fn resize(
    old: *mut c_void,
    size: usize,
    op: H5FD_file_image_op_t,
    data: *mut c_void,
) -> *mut c_void {
    if old.is_null() {
        return make(size, op, data);
    }
    let mut blocks = blocks();
    let before = blocks.sizes.get(&old.addr()).copied();
    let (Some(before), Some(_)) = (before.and_then(layout), layout(size)) else { return ptr::null_mut() };
    // SAFETY: the block was made here with the layout `before`, and the new size is above zero and no overflow.
    let moved = unsafe { realloc(old.cast(), before, size) };
    if !moved.is_null() {
        blocks.sizes.remove(&old.addr());
        blocks.sizes.insert(moved.addr(), size);
        if blocks.keep == Some(old.addr()) {
            blocks.keep = Some(moved.addr());
        }
    }
    moved.cast()
}

extern "C" fn release(old: *mut c_void, _: H5FD_file_image_op_t, _: *mut c_void) -> i32 {
    let mut blocks = blocks();
    let Some(size) = blocks.sizes.remove(&old.addr()) else { return -1 };
    if blocks.keep == Some(old.addr()) {
        blocks.keep = None;
        // SAFETY: the block was made here with the layout of so many bytes, all of which the library has filled, and
        // nobody else holds it.
        blocks.kept = Some(unsafe { Vec::from_raw_parts(old.cast(), size, size) });
    } else if let Some(layout) = layout(size) {
        // SAFETY: the block was made here with this layout and is released once.
        unsafe { dealloc(old.cast(), layout) };
    }
    0
}
