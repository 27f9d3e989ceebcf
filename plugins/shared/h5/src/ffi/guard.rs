//! A look at global heaps before the library walks them.
//!
//! Strings of any length, references and the sources of virtual datasets stand in global heaps. libhdf5 2.2 walks an
//! object of one that takes no room for ever (`H5HG__cache_heap_deserialize`), so a damaged byte would hang the process.
//! Heaps are read by the library's own driver like everything else: here that driver gets a read function which looks at
//! what it brought, and refuses such a heap.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};

use hdf5::sync::sync;
use hdf5_sys::h5f::H5F_ACC_RDONLY;
use hdf5_sys::h5fd::{H5FDclose, H5FDopen, H5FDregister};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::{H5Pset_driver, H5Pset_fapl_sec2};

use super::{Id, check};
use crate::{Error, Kind, Result};

/// What a heap begins with.
const MAGIC: &[u8; 4] = b"GCOL";
/// Bytes of the head of a heap, and of that of an object; lengths of 4 bytes are padded to the same.
const HEAD: usize = 16;

/// Whether a walk through the objects of a heap would come to one that takes no room.
///
/// What begins like no heap, or ends before its objects do, is the library's to judge.
pub(super) fn stuck(heap: &[u8]) -> bool {
    if !heap.starts_with(MAGIC) {
        return false;
    }
    let mut rest = heap.get(HEAD..).unwrap_or_default();
    while let (Some(index), Some(size)) = (rest.first_chunk::<2>(), rest.get(8..16)) {
        let size = u64::from_le_bytes(size.try_into().unwrap_or_default());
        let need = match u16::from_le_bytes(*index) {
            0 => size,
            // As the library counts: with an alignment that wraps around.
            _ => (size.wrapping_add(7) & !7).wrapping_add(HEAD as u64),
        };
        if need == 0 {
            return true;
        }
        let Some(next) = usize::try_from(need).ok().and_then(|need| rest.get(need..)) else { return false };
        rest = next;
    }
    false
}

/// Whether bytes of a whole file hold a heap that the library would walk for ever.
pub(super) fn holds_stuck(file: &[u8]) -> bool {
    let begins = |(at, _): &(usize, &u8)| file[*at..].starts_with(MAGIC);
    let mut heaps = file.iter().enumerate().filter(|(_, byte)| **byte == MAGIC[0]).filter(begins);
    heaps.any(|(at, _)| stuck(&file[at..]))
}

/// What is said of a heap that is refused.
pub(super) fn refusal() -> Error {
    Error::new(Kind::Library, "a heap of strings is damaged: it holds an object without a length")
}

type Read = unsafe extern "C" fn(*mut c_void, c_int, hid_t, u64, usize, *mut c_void) -> c_int;

/// The class of a file driver (`H5FD_class_t`, version 1): what is not used here by number only.
#[repr(C)]
#[derive(Clone, Copy)]
struct Class {
    version: c_uint,
    value: c_int,
    name: *const c_char,
    /// From the largest address to the file's handle.
    before: [usize; 24],
    read: Option<Read>,
    /// From the write function to `ctl`.
    after: [usize; 11],
    free_list: [c_int; 7],
}

/// The public head of an open file of a driver (`H5FD_t`).
#[repr(C)]
struct Driven {
    driver: hid_t,
    class: *const Class,
}

/// The class version whose layout stands above.
const VERSION: c_uint = 1;
/// A number for the driver, out of those that are free for anybody.
const NUMBER: c_int = 300;

/// The library's read function.
static READ: OnceLock<Read> = OnceLock::new();

/// The beginning of a heap that is longer than the first read of it: the file, the end of the read, the bytes.
static BEGUN: Mutex<Option<(usize, u64, Vec<u8>)>> = Mutex::new(None);

unsafe extern "C" fn read(
    file: *mut c_void,
    kind: c_int,
    list: hid_t,
    address: u64,
    size: usize,
    to: *mut c_void,
) -> c_int {
    let Some(own) = READ.get() else { return -1 };
    // SAFETY: the library's own function, with what the library passes for it.
    let status = unsafe { own(file, kind, list, address, size, to) };
    if status < 0 || size == 0 || to.is_null() {
        return status;
    }
    // SAFETY: a read that succeeded filled `size` bytes.
    let bytes = unsafe { std::slice::from_raw_parts(to.cast::<u8>(), size) };
    if judge(file as usize, address, bytes) { -1 } else { status }
}

/// Whether what was read shows a heap that must be refused.
fn judge(file: usize, address: u64, bytes: &[u8]) -> bool {
    let mut begun = BEGUN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = begun.take_if(|(of, end, _)| *of == file && *end == address);
    if let Some((_, _, mut heap)) = before {
        heap.extend_from_slice(bytes);
        return stuck(&heap);
    }
    if !bytes.starts_with(MAGIC) {
        return false;
    }
    let whole = bytes.get(8..16).and_then(|size| size.try_into().ok()).map_or(0, u64::from_le_bytes);
    if whole > bytes.len() as u64 {
        *begun = Some((file, address.saturating_add(bytes.len() as u64), bytes.to_vec()));
    }
    stuck(bytes)
}

/// Makes a list for opening files use the driver that looks at heaps.
pub(super) fn guard(list: &Id) -> Result<()> {
    static DRIVER: OnceLock<hid_t> = OnceLock::new();
    // SAFETY: a list that was made for opening files.
    check("choosing a driver", || unsafe { H5Pset_fapl_sec2(list.0) })?;
    let driver = sync(|| *DRIVER.get_or_init(|| register(list)));
    if driver < 0 {
        return Err(Error::new(
            Kind::Library,
            "the library has another sort of file driver than is known here",
        ));
    }
    // SAFETY: a registered driver that takes no settings.
    check("choosing a driver", || unsafe { H5Pset_driver(list.0, driver, std::ptr::null()) })
}

/// Registers a copy of the library's driver with another read function; negative if it cannot be.
fn register(list: &Id) -> hid_t {
    // SAFETY: the driver of the list opens a file that is always there; its class is a constant of the library, whose
    // version is looked at before the fields behind it. The copy and its name live as long as the process.
    unsafe {
        let open = H5FDopen(c"/dev/null".as_ptr(), H5F_ACC_RDONLY, list.0, u64::MAX);
        if open.is_null() {
            return -1;
        }
        let class = (*open.cast::<Driven>()).class;
        let known = (*class).version == VERSION;
        let own = if known { Some(*class) } else { None };
        H5FDclose(open);
        match own {
            Some(Class { read: Some(original), .. }) if READ.set(original).is_ok() => {
                let class =
                    own.map(|own| Class { value: NUMBER, name: c"isard".as_ptr(), read: Some(read), ..own });
                let class = Box::leak(Box::new(class));
                class.as_ref().map_or(-1, |class| H5FDregister((&raw const *class).cast()))
            }
            _ => -1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A heap of 64 bytes by the format's specification (III.E): an object of 5 bytes, then free space.
    fn heap(index: u16, size: u64, free: u64) -> Vec<u8> {
        let mut heap = b"GCOL\x01\0\0\0".to_vec();
        heap.extend(64_u64.to_le_bytes());
        heap.extend(index.to_le_bytes());
        heap.extend([1, 0, 0, 0, 0, 0]);
        heap.extend(size.to_le_bytes());
        heap.extend(b"hello\0\0\0");
        heap.extend([0; 8]);
        heap.extend(free.to_le_bytes());
        heap.resize(64, 0);
        heap
    }

    #[test]
    fn an_object_that_takes_no_room_is_found() {
        assert!(!stuck(&heap(1, 5, 24)));
        assert!(stuck(&heap(1, 5, 0)), "free space of nothing");
        assert!(stuck(&heap(0, 0, 24)), "an object that is free space of nothing");
        assert!(stuck(&heap(1, u64::MAX - 15, 24)), "a length that wraps around");
        assert!(!stuck(&heap(1, u64::MAX / 2, 24)) && !stuck(b"GCOL") && !stuck(b""));
        let file = [vec![7; 100], heap(1, 5, 24), b"GGCO".to_vec(), heap(1, 5, 0)].concat();
        assert!(holds_stuck(&file) && !holds_stuck(&file[..170]));
    }

    #[test]
    fn a_long_heap_is_judged_when_its_rest_is_read() {
        let mut long = heap(1, 5, 0);
        assert!(judge(1, 0, &long));
        long[8..16].copy_from_slice(&64_u64.to_le_bytes());
        // The free space of nothing stands in the second read.
        assert!(!judge(1, 1000, &long[..40]));
        assert!(!judge(2, 1040, &long[40..]), "another file");
        assert!(judge(1, 1040, &long[40..]));
        assert!(!judge(1, 1040, &long[40..]), "it is not remembered");
    }
}
