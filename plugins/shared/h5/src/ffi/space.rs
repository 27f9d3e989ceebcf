//! Dataspaces: extents and blocks.

use std::ptr;

use hdf5_sys::h5s::{
    H5S_UNLIMITED, H5S_class_t, H5S_sel_type, H5S_seloper_t, H5Screate, H5Screate_simple,
    H5Sget_regular_hyperslab, H5Sget_select_bounds, H5Sget_select_npoints, H5Sget_select_type,
    H5Sget_simple_extent_dims, H5Sget_simple_extent_ndims, H5Sget_simple_extent_type,
    H5Sis_regular_hyperslab, H5Sselect_hyperslab,
};

use super::{Id, check, count, handle};
use crate::{Error, Kind, Result};

/// Equal blocks at equal distances, axis by axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slab {
    pub start: Vec<u64>,
    pub stride: Vec<u64>,
    /// Blocks along each axis; [`UNLIMITED`] where they go on for ever.
    pub count: Vec<u64>,
    pub block: Vec<u64>,
}

impl Slab {
    /// Whether it goes on for as long as the dataset grows.
    pub(crate) fn endless(&self) -> bool {
        self.count.contains(&UNLIMITED) || self.block.contains(&UNLIMITED)
    }

    /// Start and length along an axis, if the blocks there touch each other.
    pub(crate) fn run(&self, axis: usize) -> Option<(u64, u64)> {
        let (count, block) = (self.count[axis], self.block[axis]);
        let touch = count == 1 || self.stride[axis] == block;
        let endless = count == UNLIMITED || block == UNLIMITED;
        let n = if endless { Some(UNLIMITED) } else { count.checked_mul(block) };
        n.filter(|_| touch).map(|n| (self.start[axis], n))
    }
}

/// As many as there will be.
pub(crate) const UNLIMITED: u64 = H5S_UNLIMITED;

/// A selection as a slab, if it is a regular one.
pub(super) fn slab(space: &Id) -> Result<Option<Slab>> {
    // SAFETY: `space` is a dataspace.
    let kind = hdf5::sync::sync(|| unsafe { H5Sget_select_type(space.0) });
    if kind != H5S_sel_type::H5S_SEL_HYPERSLABS {
        return Ok(None);
    }
    // SAFETY: as above.
    if count("reading a selection", || unsafe { H5Sis_regular_hyperslab(space.0) })? == 0 {
        return Ok(None);
    }
    let rank = dims(space)?.map_or(0, |d| d.len());
    let some = || vec![0_u64; rank];
    let mut slab = Slab { start: some(), stride: some(), count: some(), block: some() };
    // SAFETY: each slice has as many numbers as the space has axes.
    count("reading a selection", || unsafe {
        let (start, stride) = (slab.start.as_mut_ptr(), slab.stride.as_mut_ptr());
        H5Sget_regular_hyperslab(space.0, start, stride, slab.count.as_mut_ptr(), slab.block.as_mut_ptr())
    })?;
    Ok(Some(slab))
}

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

/// Number of selected elements; [`UNLIMITED`] of a selection without end.
pub(super) fn points(space: &Id) -> Result<u64> {
    if slab(space)?.is_some_and(|slab| slab.endless()) {
        return Ok(UNLIMITED);
    }
    // SAFETY: `space` is a dataspace.
    Ok(count("reading a selection", || unsafe { H5Sget_select_npoints(space.0) })?.unsigned_abs())
}

/// One past the last selected index of each axis; none if all are selected.
pub(super) fn reach(space: &Id) -> Result<Option<Vec<u64>>> {
    // SAFETY: `space` is a dataspace.
    if hdf5::sync::sync(|| unsafe { H5Sget_select_type(space.0) }) == H5S_sel_type::H5S_SEL_ALL {
        return Ok(None);
    }
    if let Some(slab) = slab(space)?
        && slab.endless()
    {
        // What has no end asks only for its beginning.
        return Ok(Some(slab.start));
    }
    let rank = dims(space)?.map_or(0, |d| d.len());
    let (mut start, mut end) = (vec![0_u64; rank], vec![0_u64; rank]);
    // SAFETY: the slices have as many numbers as the space has axes.
    check("reading a selection", || unsafe {
        H5Sget_select_bounds(space.0, start.as_mut_ptr(), end.as_mut_ptr())
    })?;
    Ok(Some(end.into_iter().map(|n| n.saturating_add(1)).collect()))
}
