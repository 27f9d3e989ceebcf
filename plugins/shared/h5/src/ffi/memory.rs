//! The memory of files that are made in memory.
//!
//! It is taken from Rust's allocator, so that a finished file becomes a vector without a copy.

use std::alloc::{Layout, alloc, realloc};
use std::collections::HashMap;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use hdf5_sys::h5fd::{H5FD_file_image_callbacks_t, H5FD_file_image_op_t};
use hdf5_sys::h5p::H5Pset_file_image_callbacks;

use super::{Id, check};
use crate::Result;

/// What a file lies in.
#[derive(Clone, Copy)]
struct Block {
    /// Bytes that the library has asked for.
    size: usize,
    /// Bytes that there are.
    room: usize,
}

/// The blocks that files lie in.
#[derive(Default)]
struct Blocks {
    /// By address.
    used: HashMap<usize, Block>,
    /// Memory of earlier files that new ones may lie in; gone with the last file.
    spare: Vec<Vec<u8>>,
    /// The one that is not to be freed when its file is closed.
    keep: Option<usize>,
    /// A kept one whose file is closed.
    kept: Option<Vec<u8>>,
}

static BLOCKS: LazyLock<Mutex<Blocks>> = LazyLock::new(Mutex::default);

fn blocks() -> MutexGuard<'static, Blocks> {
    BLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives memory in which the next files may lie; what it holds is lost.
pub(super) fn lend(spare: Vec<u8>) {
    if spare.capacity() > 0 {
        blocks().spare.push(spare);
    }
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
    let mut blocks = blocks();
    let found = blocks.spare.iter().position(|spare| spare.capacity() >= size);
    let (made, room) = match found {
        Some(k) => {
            let mut spare = ManuallyDrop::new(blocks.spare.swap_remove(k));
            (spare.as_mut_ptr(), spare.capacity())
        }
        // SAFETY: the layout has a size above zero.
        None => (unsafe { alloc(layout) }, size),
    };
    if !made.is_null() {
        blocks.used.insert(made.addr(), Block { size, room });
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
    let Some(block) = blocks.used.get_mut(&old.addr()) else { return ptr::null_mut() };
    if (1..=block.room).contains(&size) {
        block.size = size;
        return old;
    }
    // A file that has grown grows on: half as much again, so that it is moved seldom.
    let room = size.max(block.room + block.room / 2);
    let (Some(before), Some(after)) = (layout(block.room), layout(room)) else { return ptr::null_mut() };
    // SAFETY: the block has the layout `before`, and the new size is above zero and no overflow.
    let moved = unsafe { realloc(old.cast(), before, after.size()) };
    if !moved.is_null() {
        blocks.used.remove(&old.addr());
        blocks.used.insert(moved.addr(), Block { size, room });
        if blocks.keep == Some(old.addr()) {
            blocks.keep = Some(moved.addr());
        }
    }
    moved.cast()
}

extern "C" fn release(old: *mut c_void, _: H5FD_file_image_op_t, _: *mut c_void) -> i32 {
    let mut blocks = blocks();
    let Some(Block { size, room }) = blocks.used.remove(&old.addr()) else { return -1 };
    // SAFETY: the block was made by Rust's allocator with a layout of `room` bytes, the library has filled the first
    // `size` of them, and nobody else holds it.
    let bytes = unsafe { Vec::from_raw_parts(old.cast::<u8>(), size, room) };
    if blocks.keep == Some(old.addr()) {
        (blocks.keep, blocks.kept) = (None, Some(bytes));
    }
    if blocks.used.is_empty() {
        blocks.spare.clear();
    }
    0
}
