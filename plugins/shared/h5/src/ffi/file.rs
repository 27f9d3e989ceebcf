//! Files, groups and links.

use std::ffi::{CStr, CString, c_uint};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use hdf5::sync::sync;
use hdf5_sys::h5::{H5_index_t, H5_iter_order_t};
use hdf5_sys::h5f::{
    H5F_ACC_RDONLY, H5F_ACC_SWMR_READ, H5F_ACC_TRUNC, H5F_libver_t, H5F_scope_t, H5Fcreate, H5Fflush,
    H5Fget_name, H5Fget_vfd_handle, H5Fopen,
};
use hdf5_sys::h5g::{H5G_info_t, H5Gcreate2, H5Gget_info};
use hdf5_sys::h5i::{H5I_type_t, H5Iget_type};
use hdf5_sys::h5l::{
    H5L_info2_t, H5Lcreate_external, H5Lcreate_soft, H5Lget_info2, H5Lget_name_by_idx, H5Lget_val,
    H5Lunpack_elink_val,
};
use hdf5_sys::h5o::{H5Ocopy, H5Oopen};
use hdf5_sys::h5p::{
    H5P_CLS_FILE_ACCESS, H5P_CLS_FILE_CREATE, H5P_CLS_GROUP_CREATE, H5P_CLS_LINK_CREATE, H5P_DEFAULT,
    H5Pcreate, H5Pset_char_encoding, H5Pset_fapl_core, H5Pset_file_image, H5Pset_file_locking,
    H5Pset_libver_bounds, H5Pset_obj_track_times,
};
use hdf5_sys::h5t::H5T_cset_t;

use super::{Id, c, check, handle, memory, text_of};
use crate::{Error, Kind, Result};

/// What a link is.
pub(crate) enum Link {
    Hard,
    Soft,
    External { file: String, path: String },
    Unknown,
}

/// What an opened object is.
#[derive(PartialEq, Eq)]
pub(crate) enum Object {
    Group,
    Dataset,
    Other,
}

fn access() -> Result<Id> {
    super::filter::register();
    // SAFETY: the class is a global of the initialised library.
    handle("making an access list", || unsafe { H5Pcreate(*H5P_CLS_FILE_ACCESS) })
}

/// A name for a file in memory: the library takes equal names for one file.
fn unique() -> Result<CString> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    c(&format!("isard-image-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Opens a file for reading, without locks.
pub(crate) fn open_file(path: &Path) -> Result<Id> {
    open(path, H5F_ACC_RDONLY)
}

/// Opens a file that a writer has open in the mode made for that (SWMR).
pub(crate) fn open_growing(path: &Path) -> Result<Id> {
    open(path, H5F_ACC_RDONLY | H5F_ACC_SWMR_READ)
}

fn open(path: &Path, flags: c_uint) -> Result<Id> {
    use std::os::unix::ffi::OsStrExt;
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(Kind::Mismatch, "the file name holds a zero byte"))?;
    let list = access()?;
    super::guard::guard(&list)?;
    // SAFETY: a list made above and a zero-terminated name.
    check("turning locks off", || unsafe { H5Pset_file_locking(list.0, 0, 1) })?;
    // SAFETY: as above.
    handle("opening", || unsafe { H5Fopen(name.as_ptr(), flags, list.0) })
}

/// Opens bytes as a file for reading.
pub(crate) fn open_image(bytes: &[u8]) -> Result<Id> {
    if super::guard::holds_stuck(bytes) {
        return Err(super::guard::refusal());
    }
    let list = access()?;
    // SAFETY: the library copies the bytes; it does not write to them.
    check("taking bytes as a file", || unsafe {
        let image = bytes.as_ptr().cast_mut().cast();
        H5Pset_fapl_core(list.0, 1 << 16, 0).min(H5Pset_file_image(list.0, image, bytes.len()))
    })?;
    let name = unique()?;
    // SAFETY: a zero-terminated name, which the core driver does not open.
    handle("opening", || unsafe { H5Fopen(name.as_ptr(), H5F_ACC_RDONLY, list.0) })
}

/// A new file in memory that grows by `step` bytes; it may lie in `spare`.
pub(crate) fn create_image(step: usize, spare: Vec<u8>) -> Result<Id> {
    let list = access()?;
    // SAFETY: a list made above; no pointers kept.
    check("making a file in memory", || unsafe {
        // 1.10 has virtual datasets and quick chunk indices; h5py reads it.
        let version = H5F_libver_t::H5F_LIBVER_V110;
        H5Pset_fapl_core(list.0, step, 0).min(H5Pset_libver_bounds(list.0, version, version))
    })?;
    memory::own(&list)?;
    memory::lend(spare);
    let name = unique()?;
    // SAFETY: the class is a global of the initialised library.
    let made = handle("making a list", || unsafe { H5Pcreate(*H5P_CLS_FILE_CREATE) })?;
    // The root group keeps no times either.
    // SAFETY: a list made above.
    check("making a list", || unsafe { H5Pset_obj_track_times(made.0, 0) })?;
    // SAFETY: a zero-terminated name, which the core driver does not open.
    handle("making a file in memory", || unsafe { H5Fcreate(name.as_ptr(), H5F_ACC_TRUNC, made.0, list.0) })
}

/// Brings everything written so far into the file.
pub(crate) fn flush(file: &Id) -> Result<()> {
    // SAFETY: `file` is an open file.
    check("flushing", || unsafe { H5Fflush(file.0, H5F_scope_t::H5F_SCOPE_GLOBAL) })
}

/// Closes a file in memory and gives its bytes, which are not copied.
pub(crate) fn close_image(file: Id) -> Result<Vec<u8>> {
    flush(&file)?;
    // Nobody else may close a file between the asking and the closing.
    sync(|| {
        let mut place = ptr::null_mut();
        // SAFETY: `file` is an open file and `place` is filled.
        check("finding the bytes", || unsafe { H5Fget_vfd_handle(file.0, H5P_DEFAULT, &raw mut place) })?;
        // SAFETY: for a file in memory, the place is that of the pointer to its first byte.
        let first = unsafe { place.cast::<*mut u8>().read() };
        memory::keep(first);
        file.close("closing a file in memory")?;
        let bytes = memory::kept().ok_or_else(|| {
            Error::new(Kind::Library, "closing a file in memory: something in it is still open")
        })?;
        whole(bytes)
    })
}

/// Cuts off what the driver holds beyond the end that the file itself states.
fn whole(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    // Superblocks of versions 2 and 3 state the end of the file in eight bytes from 28 on.
    let stated = bytes.get(8).filter(|version| matches!(version, 2 | 3)).and_then(|_| bytes.get(28..36));
    let end = stated.and_then(|end| usize::try_from(u64::from_le_bytes(end.try_into().ok()?)).ok());
    match end.filter(|end| *end <= bytes.len()) {
        Some(end) => {
            bytes.truncate(end);
            Ok(bytes)
        }
        None => Err(Error::new(Kind::Library, "closing a file in memory: it does not state its end")),
    }
}

/// The file that holds an object, as it was opened.
pub(crate) fn file_name(object: &Id) -> Result<String> {
    // SAFETY: the buffer has the length that is passed with it.
    text_of("asking for the file", |out, len| unsafe { H5Fget_name(object.0, out.cast(), len) })
}

/// A list for links of any name, once the groups above `path` are made.
///
/// The library would make them too, but with the time of their making in them.
pub(super) fn link_list(file: &Id, path: &str) -> Result<Id> {
    let mut above = String::new();
    let mut parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts.pop();
    for part in parts {
        above = format!("{above}/{part}");
        if link(file, &above).is_err() {
            create_group(file, &above)?;
        }
    }
    // SAFETY: the class is a global of the initialised library.
    let list = handle("making a link list", || unsafe { H5Pcreate(*H5P_CLS_LINK_CREATE) })?;
    // SAFETY: a list made above.
    check("making a link list", || unsafe { H5Pset_char_encoding(list.0, H5T_cset_t::H5T_CSET_UTF8) })?;
    Ok(list)
}

/// Copies an object of one file, with everything below it, to a new place in another; `.` is the whole file.
pub(crate) fn copy(from: &Id, object: &str, to: &Id, path: &str) -> Result<()> {
    let (object, name, links) = (c(object)?, c(path)?, link_list(to, path)?);
    // SAFETY: open handles and zero-terminated names.
    check("copying a file", || unsafe {
        H5Ocopy(from.0, object.as_ptr(), to.0, name.as_ptr(), H5P_DEFAULT, links.0)
    })?;
    Ok(())
}

pub(crate) fn create_group(file: &Id, path: &str) -> Result<Id> {
    let (list, name) = (link_list(file, path)?, c(path)?);
    // SAFETY: the class is a global of the initialised library.
    let made = handle("making a list", || unsafe { H5Pcreate(*H5P_CLS_GROUP_CREATE) })?;
    // SAFETY: a list made above.
    check("making a list", || unsafe { H5Pset_obj_track_times(made.0, 0) })?;
    // SAFETY: open file, lists and zero-terminated name.
    handle("making a group", || unsafe { H5Gcreate2(file.0, name.as_ptr(), list.0, made.0, H5P_DEFAULT) })
}

pub(crate) fn external_link(file: &Id, path: &str, target: &str, inside: &str) -> Result<()> {
    let (list, path, target, inside) = (link_list(file, path)?, c(path)?, c(target)?, c(inside)?);
    // SAFETY: open file, list and zero-terminated names.
    check("making an external link", || unsafe {
        let (target, inside) = (target.as_ptr(), inside.as_ptr());
        H5Lcreate_external(target, inside, file.0, path.as_ptr(), list.0, H5P_DEFAULT)
    })
}

pub(crate) fn soft_link(file: &Id, path: &str, target: &str) -> Result<()> {
    let (list, path, target) = (link_list(file, path)?, c(path)?, c(target)?);
    // SAFETY: open file, list and zero-terminated names.
    check("making a soft link", || unsafe {
        H5Lcreate_soft(target.as_ptr(), file.0, path.as_ptr(), list.0, H5P_DEFAULT)
    })
}

pub(crate) fn open_object(file: &Id, path: &str) -> Result<Id> {
    let name = c(path)?;
    // SAFETY: open file and zero-terminated name.
    handle("opening", || unsafe { H5Oopen(file.0, name.as_ptr(), H5P_DEFAULT) })
}

pub(crate) fn object_kind(object: &Id) -> Object {
    // SAFETY: `object` is an open handle.
    match sync(|| unsafe { H5Iget_type(object.0) }) {
        H5I_type_t::H5I_GROUP | H5I_type_t::H5I_FILE => Object::Group,
        H5I_type_t::H5I_DATASET => Object::Dataset,
        _ => Object::Other,
    }
}

/// Names of the links of a group, in order of name.
pub(crate) fn link_names(group: &Id) -> Result<Vec<String>> {
    let mut info = H5G_info_t::default();
    // SAFETY: `group` is a group and `info` is filled.
    check("reading a group", || unsafe { H5Gget_info(group.0, &raw mut info) })?;
    let (by, order) = (H5_index_t::H5_INDEX_NAME, H5_iter_order_t::H5_ITER_INC);
    let name = |index| {
        // SAFETY: the buffer has the length that is passed with it.
        text_of("reading a link name", |out, len| unsafe {
            H5Lget_name_by_idx(group.0, c".".as_ptr(), by, order, index, out.cast(), len, H5P_DEFAULT)
        })
    };
    (0..info.nlinks).map(name).collect()
}

/// What the link at `path` is; fails when there is none.
pub(crate) fn link(group: &Id, path: &str) -> Result<Link> {
    let name = c(path)?;
    let mut info = std::mem::MaybeUninit::<H5L_info2_t>::zeroed();
    // SAFETY: `info` is filled by the call.
    check("reading a link", || unsafe {
        H5Lget_info2(group.0, name.as_ptr(), info.as_mut_ptr(), H5P_DEFAULT)
    })?;
    // SAFETY: the struct begins with the link's kind, a C enum. It is read as
    // a number because files may hold kinds that the Rust enum does not know.
    let kind = unsafe { info.as_ptr().cast::<i32>().read() };
    match kind {
        0 => return Ok(Link::Hard),
        1 => return Ok(Link::Soft),
        64 => {}
        _ => return Ok(Link::Unknown),
    }
    // 64 KiB is the library's own bound on the value of a link.
    let mut value = vec![0_u8; 1 << 16];
    let (mut file, mut path) = (ptr::null(), ptr::null());
    // SAFETY: the buffer has the length that is passed; the two pointers that
    // come back lie in it and are zero-terminated, or the call fails.
    unsafe {
        check("reading a link", || {
            let bytes = value.as_mut_ptr().cast();
            if H5Lget_val(group.0, name.as_ptr(), bytes, value.len(), H5P_DEFAULT) < 0 {
                return -1;
            }
            H5Lunpack_elink_val(bytes, value.len(), ptr::null_mut(), &raw mut file, &raw mut path)
        })?;
        let text = |p| CStr::from_ptr(p).to_string_lossy().into_owned();
        Ok(Link::External { file: text(file), path: text(path) })
    }
}
