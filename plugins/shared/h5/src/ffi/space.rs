//! Dataspaces: extents and blocks.

use std::ptr;

use hdf5_sys::h5s::{
    H5S_UNLIMITED, H5S_class_t, H5S_sel_type, H5S_seloper_t, H5Screate, H5Screate_simple,
    H5Sget_select_bounds, H5Sget_select_npoints, H5Sget_select_type, H5Sget_simple_extent_dims,
    H5Sget_simple_extent_ndims, H5Sget_simple_extent_type, H5Sselect_hyperslab,
};

use super::{Id, check, count, handle};
use crate::{Error, Kind, Result};

pub(super) fn scalar() -> Result<Id> {
    // SAFETY: no pointers are passed.
    handle("making a scalar space", || unsafe { H5Screate(H5S_class_t::H5S_SCALAR) })
}

/// An extent, with a leading axis that may grow if wanted.
pub(super) fn simple(dims: &[u64], grows: bool) -> Result<Id> {
    let rank = i32::try_from(dims.len()).unwrap_or(i32::MAX);
    let mut most = dims.to_vec();
    if let (true, Some(first)) = (grows, most.first_mut()) {
        *first = H5S_UNLIMITED;
    }
    // SAFETY: both slices have `rank` numbers.
    handle("making a space", || unsafe { H5Screate_simple(rank, dims.as_ptr(), most.as_ptr()) })
}

/// Lengths of the axes; none of a scalar, `None` of an empty space.
pub(super) fn dims(space: &Id) -> Result<Option<Vec<u64>>> {
    // SAFETY: `space` is a dataspace.
    if hdf5::sync::sync(|| unsafe { H5Sget_simple_extent_type(space.0) }) == H5S_class_t::H5S_NULL {
        return Ok(None);
    }
    // SAFETY: as above.
    let rank = count("reading a shape", || unsafe { H5Sget_simple_extent_ndims(space.0) })?;
    let mut dims = vec![0_u64; rank.unsigned_abs() as usize];
    // SAFETY: the slice has as many numbers as the space has axes.
    count("reading a shape", || unsafe {
        H5Sget_simple_extent_dims(space.0, dims.as_mut_ptr(), ptr::null_mut())
    })?;
    Ok(Some(dims))
}

pub(super) fn select(space: &Id, start: &[u64], size: &[u64]) -> Result<()> {
    if dims(space)?.is_none_or(|d| d.len() != start.len() || d.len() != size.len()) {
        return Err(Error::new(Kind::Range, "a block has another rank than its dataset"));
    }
    if start.is_empty() {
        return Ok(());
    }
    // SAFETY: the slices have as many numbers as the space has axes.
    check("selecting a block", || unsafe {
        let set = H5S_seloper_t::H5S_SELECT_SET;
        H5Sselect_hyperslab(space.0, set, start.as_ptr(), ptr::null(), size.as_ptr(), ptr::null())
    })
}

/// Number of selected elements.
pub(super) fn points(space: &Id) -> Result<u64> {
    // SAFETY: `space` is a dataspace.
    Ok(count("reading a selection", || unsafe { H5Sget_select_npoints(space.0) })?.unsigned_abs())
}

/// One past the last selected index of each axis; none if all are selected.
pub(super) fn reach(space: &Id) -> Result<Option<Vec<u64>>> {
    // SAFETY: `space` is a dataspace.
    if hdf5::sync::sync(|| unsafe { H5Sget_select_type(space.0) }) == H5S_sel_type::H5S_SEL_ALL {
        return Ok(None);
    }
    let rank = dims(space)?.map_or(0, |d| d.len());
    let (mut start, mut end) = (vec![0_u64; rank], vec![0_u64; rank]);
    // SAFETY: the slices have as many numbers as the space has axes.
    check("reading a selection", || unsafe {
        H5Sget_select_bounds(space.0, start.as_mut_ptr(), end.as_mut_ptr())
    })?;
    Ok(Some(end.into_iter().map(|n| n.saturating_add(1)).collect()))
}
