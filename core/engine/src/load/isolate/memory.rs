//! Arrays of the other process: mapped once, told when nobody reads them any more.

use std::collections::HashMap;
use std::ffi::c_void;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::load::abi;
use crate::value::{Array, Dims, Dtype, FarArray, Lender, map_shared};

/// What one connection has mapped, and what it must give back.
#[derive(Default)]
pub(super) struct Imports {
    maps: HashMap<u64, Arc<Mmap>>,
    /// Arrays of the other side that nobody here has any more.
    gone: Arc<Mutex<Vec<u64>>>,
}

/// Mappings that all connections with one process share, by the number of the segment.
#[derive(Default)]
pub(super) struct Shared(Mutex<HashMap<u64, Weak<Mmap>>>);

/// An array of the other side, kept by whoever has a handle of it.
struct Import {
    id: u64,
    data: *const u8,
    len: usize,
    gone: Arc<Mutex<Vec<u64>>>,
    _map: Arc<Mmap>,
}

// SAFETY: `data` points into the mapping, which is only read.
unsafe impl Send for Import {}
// SAFETY: as above.
unsafe impl Sync for Import {}

impl Drop for Import {
    fn drop(&mut self) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
    }
}

/// Keeps imports for a library: a handle is an `Arc<Import>`, so that an array that comes back is known again.
static KEEPER: abi::Keeper = abi::Keeper { retain, release };

unsafe extern "C" fn retain(owner: *const c_void) -> *const c_void {
    let import = owner.cast::<Import>();
    // SAFETY: `owner` is a handle that `array` or this function made and that was not released yet.
    unsafe { Arc::increment_strong_count(import) };
    owner
}

unsafe extern "C" fn release(handle: *const c_void) {
    // SAFETY: the handle came from `array` or `retain` and is released once.
    drop(unsafe { Arc::from_raw(handle.cast::<Import>()) });
}

/// As a lender lets go.
///
/// # Safety
/// `handle` must come from `array` below or from `retain`; it is not used again.
unsafe fn let_go(_: *const c_void, handle: *const c_void) {
    // SAFETY: as the caller promises.
    unsafe { release(handle) }
}

impl Imports {
    /// Maps a segment of the other side, unless another connection has.
    pub fn map(&mut self, shared: &Shared, id: u64, len: u64, fd: OwnedFd) -> Result<()> {
        let mut all = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let map = match all.get(&id).and_then(Weak::upgrade) {
            Some(map) => map,
            None => {
                let len =
                    usize::try_from(len).map_err(|_| Error::plugin(format!("a segment of {len} bytes")))?;
                let map = Arc::new(map_shared(&File::from(fd), len)?);
                all.retain(|_, map| map.strong_count() > 0);
                all.insert(id, Arc::downgrade(&map));
                map
            }
        };
        self.maps.insert(id, map);
        Ok(())
    }

    /// How many segments are mapped.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.maps.len()
    }

    /// Forgets a segment; arrays in it keep it mapped.
    pub fn forget(&mut self, id: u64) {
        self.maps.remove(&id);
    }

    /// An array of the other side.
    pub fn array(&self, place: FarArray, dtype: Dtype, shape: &[usize]) -> Result<Array> {
        let map = self.maps.get(&place.segment);
        let map = map.ok_or_else(|| Error::plugin(format!("no segment has the number {}", place.segment)))?;
        let len = Dims::new(shape)?.elements()?.checked_mul(dtype.size());
        let bytes = usize::try_from(place.offset)
            .ok()
            .and_then(|start| map.get(start..start.checked_add(len?)?))
            .ok_or_else(|| {
                Error::plugin(format!(
                    "an array of {dtype} {shape:?} at {} of a segment of {} bytes",
                    place.offset,
                    map.len()
                ))
            })?;
        let (data, len) = (bytes.as_ptr(), bytes.len());
        let import = Import { id: place.id, data, len, gone: self.gone.clone(), _map: map.clone() };
        let handle = Arc::into_raw(Arc::new(import)).cast::<c_void>();
        let lender = Lender { keeper: (&raw const KEEPER).cast(), handle, release: let_go };
        // SAFETY: the import keeps the mapping, and the other side leaves the bytes alone until it is told.
        unsafe { Array::over_foreign(data, len, dtype, shape, lender) }
    }

    /// What must be given back, since the last time.
    pub fn take_gone(&self) -> Vec<u64> {
        std::mem::take(&mut *self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The array of the other side that this one is or is a part of.
    pub fn returned(&self, array: &Array) -> Option<FarArray> {
        let lender = array.lender().filter(|l| std::ptr::eq(l.keeper, (&raw const KEEPER).cast()))?;
        // SAFETY: the keeper says who made the handle, and the array keeps it.
        let import = unsafe { &*lender.handle.cast::<Import>() };
        let bytes = array.bytes();
        let offset = (bytes.as_ptr() as usize).checked_sub(import.data as usize)?;
        let inside = offset + bytes.len() <= import.len && Arc::ptr_eq(&import.gone, &self.gone);
        inside.then_some(FarArray { back: true, id: import.id, segment: 0, offset: offset as u64 })
    }
}
