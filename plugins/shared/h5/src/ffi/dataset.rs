//! Datasets: making, reading, writing, where the bytes lie.

use std::ffi::c_void;

use hdf5::sync::sync;
use hdf5_sys::h5::HADDR_UNDEF;
use hdf5_sys::h5d::{
    H5D_fill_time_t, H5D_layout_t, H5Dcreate2, H5Dget_chunk_info_by_coord, H5Dget_create_plist,
    H5Dget_offset, H5Dget_space, H5Dget_storage_size, H5Dget_type, H5Dread, H5Dset_extent, H5Dwrite,
    H5Dwrite_chunk,
};
use hdf5_sys::h5p::{
    H5P_CLS_DATASET_CREATE, H5P_DEFAULT, H5Pcreate, H5Pget_chunk, H5Pget_external_count, H5Pget_filter2,
    H5Pget_layout, H5Pget_nfilters, H5Pget_virtual_count, H5Pget_virtual_dsetname, H5Pget_virtual_filename,
    H5Pget_virtual_srcspace, H5Pget_virtual_vspace, H5Pset_chunk, H5Pset_deflate, H5Pset_fill_time,
    H5Pset_filter, H5Pset_fletcher32, H5Pset_shuffle, H5Pset_virtual,
};
use hdf5_sys::h5s::H5S_ALL;
use hdf5_sys::h5z::{H5Z_FLAG_OPTIONAL, H5Zfilter_avail};

use super::{Id, c, check, count, file, handle, space, text, text_of, types};
use crate::{Compression, Dtype, Error, Kind, Result, Spec, Storage};

/// Number of the LZF filter.
const LZF: i32 = 32000;

/// What the header of a dataset says.
#[derive(Debug)]
pub(crate) struct Parts {
    pub shape: Option<Vec<u64>>,
    pub stored: types::Stored,
    pub storage: Storage,
    pub chunk: Option<Vec<u64>>,
    /// Number, name and presence of each filter.
    pub filters: Vec<(i32, String, bool)>,
    /// Whether raw data lie in other, plain files.
    pub external: bool,
}

/// One mapping of a virtual dataset.
pub(crate) struct Source {
    pub file: String,
    pub dataset: String,
    /// One past the last index used of each axis; none if all are used.
    pub reach: Option<Vec<u64>>,
    /// The number of elements used.
    pub points: u64,
}

/// Where a chunk lies.
pub(crate) struct Chunk {
    pub offset: u64,
    pub bytes: u64,
}

/// Makes a chunked dataset that may grow, or a scalar.
pub(crate) fn create_dataset(file: &Id, path: &str, spec: &Spec, chunk: Option<u64>) -> Result<Id> {
    let kind = if spec.boolean { types::boolean_type()? } else { types::memory_type(spec.dtype)? };
    let Some(chunk) = chunk else {
        return create(file, path, &kind, &space::scalar()?, None);
    };
    // SAFETY: the class is a global of the initialised library.
    let list = handle("making a list", || unsafe { H5Pcreate(*H5P_CLS_DATASET_CREATE) })?;
    let with = |chunk| [&[chunk], spec.record.as_slice()].concat();
    let dims = with(chunk);
    // SAFETY: a list made above, and as many numbers as axes.
    check("setting chunks", || unsafe { H5Pset_chunk(list.0, dims.len() as i32, dims.as_ptr()) })?;
    // SAFETY: a list made above.
    check("setting filters", || unsafe {
        // Every record is written: no need to fill first.
        let mut worst = H5Pset_fill_time(list.0, H5D_fill_time_t::H5D_FILL_TIME_NEVER);
        if spec.shuffle {
            worst = worst.min(H5Pset_shuffle(list.0));
        }
        worst = worst.min(match spec.compression {
            Compression::None => 0,
            Compression::Deflate(level) => H5Pset_deflate(list.0, u32::from(level)),
            Compression::Lzf => {
                // Optional: what LZF cannot shrink is stored as it is.
                H5Pset_filter(list.0, LZF, H5Z_FLAG_OPTIONAL, 0, std::ptr::null())
            }
        });
        if spec.fletcher32 { worst.min(H5Pset_fletcher32(list.0)) } else { worst }
    })?;
    create(file, path, &kind, &space::simple(&with(0), true)?, Some(&list))
}

fn create(file: &Id, path: &str, kind: &Id, space: &Id, list: Option<&Id>) -> Result<Id> {
    let (name, links) = (c(path)?, file::link_list()?);
    let list = list.map_or(H5P_DEFAULT, |list| list.0);
    // SAFETY: open handles and a zero-terminated name.
    handle("making a dataset", || unsafe {
        H5Dcreate2(file.0, name.as_ptr(), kind.0, space.0, links.0, list, H5P_DEFAULT)
    })
}

/// Makes a virtual dataset out of whole sources, one after the other.
pub(crate) fn create_virtual(
    file: &Id,
    path: &str,
    dtype: Dtype,
    record: &[u64],
    sources: &[(&str, &str, u64)],
) -> Result<Id> {
    // SAFETY: the class is a global of the initialised library.
    let list = handle("making a list", || unsafe { H5Pcreate(*H5P_CLS_DATASET_CREATE) })?;
    let with = |records| [&[records], record].concat();
    let whole = space::simple(&with(sources.iter().map(|s| s.2).sum()), false)?;
    let mut start = vec![0; record.len() + 1];
    for (name, dataset, records) in sources {
        space::select(&whole, &start, &with(*records))?;
        let (name, dataset) = (c(name)?, c(dataset)?);
        let part = space::simple(&with(*records), false)?;
        // SAFETY: open handles and zero-terminated names; the library copies.
        check("mapping a part", || unsafe {
            H5Pset_virtual(list.0, whole.0, name.as_ptr(), dataset.as_ptr(), part.0)
        })?;
        start[0] += records;
    }
    let extent = space::simple(&with(start[0]), false)?;
    create(file, path, &types::memory_type(dtype)?, &extent, Some(&list))
}

/// Writes strings as one dataset; `None` means variable length.
pub(crate) fn write_texts(
    file: &Id,
    path: &str,
    texts: &[&str],
    scalar: bool,
    fixed: Option<usize>,
) -> Result<Id> {
    let kind = text::text_type(fixed)?;
    let extent = if scalar { space::scalar()? } else { space::simple(&[texts.len() as u64], false)? };
    let dataset = create(file, path, &kind, &extent, None)?;
    let (owned, pointers) = text::pointers(texts)?;
    let mut padded = Vec::new();
    let bytes: *const c_void = match fixed {
        None => pointers.as_ptr().cast(),
        Some(size) => {
            for text in texts {
                padded.extend_from_slice(text.as_bytes());
                padded.resize(padded.len() + size.saturating_sub(text.len()), 0);
            }
            padded.as_ptr().cast()
        }
    };
    if fixed.is_some_and(|size| padded.len() != size * texts.len()) {
        return Err(Error::new(Kind::Range, "a text is longer than its column"));
    }
    // SAFETY: as many strings of this type as the space has points, alive
    // in `owned` or `padded`.
    check("writing text", || unsafe { H5Dwrite(dataset.0, kind.0, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) })?;
    drop(owned);
    Ok(dataset)
}

/// Reads the header of a dataset.
pub(crate) fn open_parts(dataset: &Id) -> Result<Parts> {
    // SAFETY: an open dataset, here and below.
    let extent = handle("reading a shape", || unsafe { H5Dget_space(dataset.0) })?;
    // SAFETY: as above.
    let kind = handle("reading a type", || unsafe { H5Dget_type(dataset.0) })?;
    // SAFETY: as above.
    let list = handle("reading a layout", || unsafe { H5Dget_create_plist(dataset.0) })?;
    let shape = space::dims(&extent)?;
    let rank = shape.as_ref().map_or(0, Vec::len);
    // SAFETY: `list` describes a dataset.
    let storage = match sync(|| unsafe { H5Pget_layout(list.0) }) {
        H5D_layout_t::H5D_COMPACT => Storage::Compact,
        H5D_layout_t::H5D_CONTIGUOUS => Storage::Contiguous,
        H5D_layout_t::H5D_CHUNKED => Storage::Chunked,
        H5D_layout_t::H5D_VIRTUAL => Storage::Virtual,
        other => return Err(Error::new(Kind::Unsupported, format!("storage layout {other:?}"))),
    };
    let chunk = if storage == Storage::Chunked {
        let mut chunk = vec![0_u64; rank];
        // SAFETY: the slice has `rank` numbers.
        count("reading chunks", || unsafe { H5Pget_chunk(list.0, rank as i32, chunk.as_mut_ptr()) })?;
        Some(chunk)
    } else {
        None
    };
    // SAFETY: as above.
    let n = count("reading filters", || unsafe { H5Pget_nfilters(list.0) })?;
    let filters = (0..n.unsigned_abs()).map(|index| filter(&list, index)).collect::<Result<_>>()?;
    // SAFETY: as above.
    let external = storage == Storage::Contiguous
        && count("reading a layout", || unsafe { H5Pget_external_count(list.0) })? > 0;
    Ok(Parts { shape, stored: types::stored(kind)?, storage, chunk, filters, external })
}

fn filter(list: &Id, index: u32) -> Result<(i32, String, bool)> {
    let (mut name, mut values, mut flags) = ([0_u8; 64], 0_usize, 0);
    // SAFETY: the name has 64 bytes and no values are asked for.
    let id = count("reading filters", || unsafe {
        let (flags, none) = (&raw mut flags, std::ptr::null_mut());
        let name = name.as_mut_ptr().cast();
        H5Pget_filter2(list.0, index, flags, &raw mut values, none, 64, name, std::ptr::null_mut())
    })?;
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    // SAFETY: no pointers are passed.
    let there = count("looking for a filter", || unsafe { H5Zfilter_avail(id) })? > 0;
    Ok((id, String::from_utf8_lossy(&name[..end]).into_owned(), there))
}

/// The mappings of a virtual dataset.
pub(crate) fn virtual_sources(dataset: &Id) -> Result<Vec<Source>> {
    // SAFETY: an open dataset, and below a list that describes it.
    let list = handle("reading a layout", || unsafe { H5Dget_create_plist(dataset.0) })?;
    let mut n = 0;
    // SAFETY: as above.
    check("reading mappings", || unsafe { H5Pget_virtual_count(list.0, &raw mut n) })?;
    let source = |index| {
        // SAFETY: the buffer has the length that is passed with it.
        let file = text_of("reading mappings", |out, len| unsafe {
            H5Pget_virtual_filename(list.0, index, out.cast(), len)
        })?;
        // SAFETY: as above.
        let dataset = text_of("reading mappings", |out, len| unsafe {
            H5Pget_virtual_dsetname(list.0, index, out.cast(), len)
        })?;
        // SAFETY: the index is below the count.
        let part = handle("reading mappings", || unsafe { H5Pget_virtual_srcspace(list.0, index) })?;
        // SAFETY: as above.
        let shown = handle("reading mappings", || unsafe { H5Pget_virtual_vspace(list.0, index) })?;
        let points = space::points(&shown)?;
        Ok(Source { file, dataset, reach: space::reach(&part)?, points })
    };
    (0..n).map(source).collect()
}

pub(crate) fn set_extent(dataset: &Id, dims: &[u64]) -> Result<()> {
    // SAFETY: callers pass as many numbers as the dataset has axes.
    check("growing", || unsafe { H5Dset_extent(dataset.0, dims.as_ptr()) })
}

/// Spaces of a block, in the file and in memory, checked against the buffer.
fn block(dataset: &Id, start: &[u64], size: &[u64], element: usize, bytes: usize) -> Result<(Id, Id)> {
    let points = size.iter().try_fold(element as u64, |n, d| n.checked_mul(*d));
    if points != Some(bytes as u64) {
        let text = format!("a block of {size:?} elements of {element} bytes does not fill {bytes} bytes");
        return Err(Error::new(Kind::Range, text));
    }
    // SAFETY: an open dataset.
    let in_file = handle("reading a shape", || unsafe { H5Dget_space(dataset.0) })?;
    space::select(&in_file, start, size)?;
    let in_memory = if size.is_empty() { space::scalar()? } else { space::simple(size, false)? };
    Ok((in_file, in_memory))
}

/// Reads one block into `out`, which it must fill exactly.
pub(crate) fn read_block(
    dataset: &Id,
    memory: &Id,
    element: usize,
    start: &[u64],
    size: &[u64],
    out: &mut [u8],
) -> Result<()> {
    let (in_file, in_memory) = block(dataset, start, size, element, out.len())?;
    // SAFETY: `block` checked that the selection has the size of `out`, and
    // `memory` is the numeric type of `element` bytes.
    check("reading", || unsafe {
        H5Dread(dataset.0, memory.0, in_memory.0, in_file.0, H5P_DEFAULT, out.as_mut_ptr().cast())
    })
}

/// Writes one block from `bytes`, which must fill it exactly.
pub(crate) fn write_block(
    dataset: &Id,
    dtype: Dtype,
    start: &[u64],
    size: &[u64],
    bytes: &[u8],
) -> Result<()> {
    // Datasets are made with the types of memory, so their own is the one to write from.
    // SAFETY: an open dataset.
    let memory = handle("reading a type", || unsafe { H5Dget_type(dataset.0) })?;
    let (in_file, in_memory) = block(dataset, start, size, dtype.size(), bytes.len())?;
    // SAFETY: `block` checked that the selection has the size of `bytes`.
    check("writing", || unsafe {
        H5Dwrite(dataset.0, memory.0, in_memory.0, in_file.0, H5P_DEFAULT, bytes.as_ptr().cast())
    })
}

/// Writes a chunk that has gone through the filters already.
pub(crate) fn write_chunk(dataset: &Id, start: &[u64], bytes: &[u8]) -> Result<()> {
    // SAFETY: callers pass as many numbers as axes; the bytes have a length.
    check("writing a chunk", || unsafe {
        H5Dwrite_chunk(dataset.0, H5P_DEFAULT, 0, start.as_ptr(), bytes.len(), bytes.as_ptr().cast())
    })
}

/// Reads all strings of a dataset.
pub(crate) fn read_text(dataset: &Id, memory: &Id, n: usize) -> Result<Vec<String>> {
    // SAFETY: an open dataset.
    let extent = handle("reading a shape", || unsafe { H5Dget_space(dataset.0) })?;
    // SAFETY: the buffer holds `n` strings of the type that is passed.
    let read = |kind, out| unsafe { H5Dread(dataset.0, kind, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) };
    text::texts(memory, &extent, n, read)
}

/// File offset of a contiguous dataset, if it has been allocated.
pub(crate) fn contiguous_offset(dataset: &Id) -> Option<u64> {
    // SAFETY: an open dataset.
    let offset = sync(|| unsafe { H5Dget_offset(dataset.0) });
    (offset != HADDR_UNDEF).then_some(offset)
}

/// Bytes that a dataset takes in the file.
pub(crate) fn stored_bytes(dataset: &Id) -> u64 {
    // SAFETY: an open dataset.
    sync(|| unsafe { H5Dget_storage_size(dataset.0) })
}

/// Where the chunk that begins at `start` lies, if it has been written.
pub(crate) fn chunk_extent(dataset: &Id, start: &[u64]) -> Result<Option<Chunk>> {
    let (mut mask, mut offset, mut bytes) = (0, HADDR_UNDEF, 0);
    // SAFETY: callers pass as many numbers as axes; the rest are outputs.
    check("looking for a chunk", || unsafe {
        let (mask, offset) = (&raw mut mask, &raw mut offset);
        H5Dget_chunk_info_by_coord(dataset.0, start.as_ptr(), mask, offset, &raw mut bytes)
    })?;
    Ok((offset != HADDR_UNDEF).then_some(Chunk { offset, bytes }))
}
