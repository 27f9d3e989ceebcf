//! The shared memory of this process: which descriptor and offset stand behind an address.
//!
//! An array is handed to another process by asking here whether its bytes lie in shared memory; who made the array,
//! the engine or a loaded library with a pool of its own, makes no difference.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Memory that other processes can map.
pub(crate) struct Known {
    /// Its number in this process; never used again.
    pub id: u64,
    /// Where it is mapped here.
    pub base: usize,
    /// How many bytes.
    pub len: usize,
    /// What another process maps.
    pub fd: OwnedFd,
}

/// Called with the address and length of new memory and its descriptor, or without one when it goes.
type Announce = dyn Fn(usize, usize, Option<&OwnedFd>) + Send + Sync;

/// Who else must know.
static ANNOUNCE: OnceLock<Box<Announce>> = OnceLock::new();

/// Tells somebody of all shared memory from here on; the first who asks is told.
pub(crate) fn announce(tell: impl Fn(usize, usize, Option<&OwnedFd>) + Send + Sync + 'static) {
    ANNOUNCE.get_or_init(|| Box::new(tell));
}

/// Whether somebody is told of shared memory.
pub(crate) fn is_announced() -> bool {
    ANNOUNCE.get().is_some()
}

/// All of it, by address.
static ALL: RwLock<Vec<Arc<Known>>> = RwLock::new(vec![]);
static NEXT: AtomicU64 = AtomicU64::new(1);
static FORGOTTEN: AtomicU64 = AtomicU64::new(0);

/// Makes memory known that is mapped at `base`.
pub(crate) fn publish(base: usize, len: usize, fd: OwnedFd) -> Arc<Known> {
    let known = Arc::new(Known { id: NEXT.fetch_add(1, Ordering::Relaxed), base, len, fd });
    if let Some(tell) = ANNOUNCE.get() {
        tell(base, len, Some(&known.fd));
    }
    let mut all = ALL.write().unwrap_or_else(PoisonError::into_inner);
    let at = all.partition_point(|k| k.base < base);
    all.insert(at, known.clone());
    known
}

/// Forgets memory that is about to be unmapped.
pub(crate) fn forget_at(base: usize) {
    if let Some(tell) = ANNOUNCE.get() {
        tell(base, 0, None);
    }
    ALL.write().unwrap_or_else(PoisonError::into_inner).retain(|k| k.base != base);
    FORGOTTEN.fetch_add(1, Ordering::Release);
}

/// The memory that holds these bytes, and where they begin in it.
pub(crate) fn find(bytes: &[u8]) -> Option<(Arc<Known>, usize)> {
    let start = bytes.as_ptr() as usize;
    let all = ALL.read().unwrap_or_else(PoisonError::into_inner);
    let at = all.partition_point(|k| k.base <= start).checked_sub(1)?;
    let known = &all[at];
    let offset = start - known.base;
    (offset + bytes.len() <= known.len).then(|| (known.clone(), offset))
}

/// How often memory was forgotten so far.
pub(crate) fn forgotten() -> u64 {
    FORGOTTEN.load(Ordering::Acquire)
}

/// Whether memory of this number is still there.
pub(crate) fn is_known(id: u64) -> bool {
    ALL.read().unwrap_or_else(PoisonError::into_inner).iter().any(|k| k.id == id)
}
