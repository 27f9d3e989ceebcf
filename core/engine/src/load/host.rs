//! What the host answers when a loaded stage asks.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::load::abi::{self, Status, Text};
use crate::load::adopt;
use crate::load::collect::answer;
use crate::load::lend;
use crate::stage::{Cx, Output};
use crate::value::Value;

/// The functions of a call, over its `Cx`: valid while that is.
pub(crate) fn lend_host(cx: &Cx) -> abi::Host {
    abi::Host {
        size: size_of::<abi::Host>() as u64,
        this: std::ptr::from_ref(cx).cast(),
        stage: Text::of(cx.stage()),
        seed: cx.run().seed,
        cancelled,
        par,
        read,
        give_up,
        buffer,
    }
}

/// # Safety
/// `host` must be what `lend_host` gave, during the call it was lent for.
unsafe fn cx<'a>(host: *const abi::Host) -> &'a Cx<'a> {
    // SAFETY: as the caller promises.
    unsafe { &*(*host).this.cast::<Cx<'a>>() }
}

unsafe extern "C" fn cancelled(host: *const abi::Host) -> i32 {
    // SAFETY: as the interface demands. This may be another thread: only the flag of the run is read.
    i32::from(unsafe { cx(host) }.run().cancel.load(Ordering::Relaxed))
}

/// A context of the other side, handed to several threads.
struct Shared(*const c_void);

// SAFETY: the interface demands that `work` may be called with its context from several threads at once.
unsafe impl Sync for Shared {}

unsafe extern "C" fn par(
    host: *const abi::Host,
    n: u64,
    work: unsafe extern "C" fn(*const c_void, u64) -> Status,
    context: *const c_void,
) -> Status {
    let context = Shared(context);
    let run = || {
        let context = &context;
        // SAFETY: as the interface demands.
        unsafe { cx(host) }.par(n as usize, |i| {
            // SAFETY: the other side lends function and context until `par` returns.
            match unsafe { work(context.0, i as u64) } {
                abi::OK => Ok(()),
                _ => Err(Error::plugin("parallel work of a plugin stopped")),
            }
        })
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => abi::OK,
        _ => abi::ERROR,
    }
}

unsafe extern "C" fn read(host: *const abi::Host, path: Text, out: *const abi::Out) -> Status {
    // SAFETY: as the interface demands: `out` is the caller's receiver.
    answer(unsafe { &*out }, |put| {
        // SAFETY: as the interface demands.
        let (cx, path) = unsafe { (cx(host), adopt::text(path)?) };
        put.value("value", &cx.read(path)?)?;
        Ok(abi::OK)
    })
}

unsafe extern "C" fn give_up(host: *const abi::Host, frame: u64, reason: u32, why: Text) {
    let work = || -> Result<()> {
        // SAFETY: as the interface demands: the thread of the call.
        let (cx, why) = unsafe { (cx(host), adopt::text(why)?) };
        if let Some(reason) = adopt::reason(reason)? {
            cx.give_up(frame, reason, why);
        }
        Ok(())
    };
    if !matches!(catch_unwind(AssertUnwindSafe(work)), Ok(Ok(()))) {
        tracing::error!(frame, "A plugin gave a frame up in a way that could not be understood.");
    }
}

unsafe extern "C" fn buffer(
    host: *const abi::Host,
    dtype: u32,
    ndim: u32,
    shape: *const u64,
    array: *mut abi::Array,
) -> Status {
    let work = || -> Result<abi::Array> {
        // SAFETY: as the interface demands.
        let (cx, shape) = unsafe { (cx(host), adopt::shape(shape, ndim)?) };
        let mut array = cx.array(adopt::dtype(dtype)?, shape)?;
        // Frozen here and written there: nobody reads it before the other side lends it.
        let data = array.bytes_mut().as_mut_ptr();
        Ok(abi::Array { data: data.cast_const().cast(), ..lend::give(array.freeze()) })
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(lent)) => {
            // SAFETY: the other side gives room for one array.
            unsafe { array.write(lent) };
            abi::OK
        }
        _ => abi::ERROR,
    }
}

static OUTPUT_KEEPER: abi::Keeper = abi::Keeper { retain: retain_output, release: release_output };

/// The functions of an output: valid while it is.
pub(crate) fn lend_output(output: &Arc<dyn Output>) -> abi::Output {
    abi::Output {
        size: size_of::<abi::Output>() as u64,
        this: std::ptr::from_ref(output).cast(),
        keeper: &OUTPUT_KEEPER,
        seal,
        replace,
        record,
    }
}

/// # Safety
/// `this` must be what `lend_output` or `retain_output` gave, and alive.
unsafe fn output<'a>(this: *const c_void) -> &'a Arc<dyn Output> {
    // SAFETY: as the caller promises.
    unsafe { &*this.cast::<Arc<dyn Output>>() }
}

unsafe extern "C" fn retain_output(this: *const c_void) -> *const c_void {
    // SAFETY: as the interface demands.
    Box::into_raw(Box::new(unsafe { output(this) }.clone())).cast_const().cast()
}

unsafe extern "C" fn release_output(this: *const c_void) {
    // SAFETY: the handle came from `retain_output` and is released once.
    drop(unsafe { Box::from_raw(this.cast::<Arc<dyn Output>>().cast_mut()) });
}

/// # Safety
/// As the interface demands of `seal` and `replace`.
unsafe fn put_file(
    this: *const c_void,
    path: Text,
    bytes: *const c_void,
    len: u64,
    out: *const abi::Out,
    write: impl FnOnce(&dyn Output, &str, &[u8]) -> Result<()>,
) -> Status {
    // SAFETY: as the interface demands: `out` is the caller's receiver.
    answer(unsafe { &*out }, |_| {
        // SAFETY: as the interface demands.
        let (output, path) = unsafe { (output(this), adopt::text(path)?) };
        // SAFETY: as the interface demands: `len` bytes are lent.
        let bytes = unsafe { adopt::slice(bytes.cast::<u8>(), len, "the content of a file") }?;
        write(&**output, path, bytes)?;
        Ok(abi::OK)
    })
}

unsafe extern "C" fn seal(
    this: *const c_void,
    path: Text,
    bytes: *const c_void,
    len: u64,
    out: *const abi::Out,
) -> Status {
    // SAFETY: as the interface demands.
    unsafe { put_file(this, path, bytes, len, out, |output, path, bytes| output.seal(path, bytes)) }
}

unsafe extern "C" fn replace(
    this: *const c_void,
    path: Text,
    bytes: *const c_void,
    len: u64,
    out: *const abi::Out,
) -> Status {
    // SAFETY: as the interface demands.
    unsafe { put_file(this, path, bytes, len, out, |output, path, bytes| output.replace(path, bytes)) }
}

unsafe extern "C" fn record(this: *const c_void, out: *const abi::Out) -> Status {
    // SAFETY: as the interface demands: `out` is the caller's receiver.
    answer(unsafe { &*out }, |put| {
        // SAFETY: as the interface demands.
        put.value("record", &Value::from(unsafe { output(this) }.record()))?;
        Ok(abi::OK)
    })
}
