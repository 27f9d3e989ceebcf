//! What a call puts, and how the other side puts it.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use crate::error::{Error, Result};
use crate::load::abi::{self, Status, Text};
use crate::load::adopt::{self, Adopt};
use crate::load::lend::Loan;
use crate::load::words;
use crate::span::{Gap, Span};
use crate::value::{ArrayMut, Dict, Key, Value};

/// Receives what the other side puts during one call.
pub(crate) struct Collect<'a> {
    adopt: Adopt<'a>,
    dict: Dict,
    /// Arrays that the other side is still writing, by the entries they will become.
    writing: Vec<(Key, ArrayMut)>,
    records: Vec<(Records, Dict)>,
    part: *mut c_void,
    /// The first thing that could not be taken in.
    fault: Option<Error>,
}

/// Good records, or a gap.
pub(crate) enum Records {
    Good(Span),
    Gap(Gap),
}

/// What a call came to.
pub(crate) struct Reply {
    /// How it ended: `OK`, `NONE` or `WAIT`.
    pub outcome: Result<Status>,
    /// What was put and belongs to no records.
    pub dict: Dict,
    /// What was put for records, in order.
    pub records: Vec<(Records, Dict)>,
    /// A new part of a reduction, or null.
    pub part: *mut c_void,
}

impl Reply {
    /// The dictionary of a call that must give one.
    pub fn dict(self) -> Result<Dict> {
        match self.outcome? {
            abi::OK => Ok(self.dict),
            status => Err(odd(status)),
        }
    }

    /// The dictionary of a call that may have nothing to show.
    pub fn maybe(self) -> Result<Option<Dict>> {
        match self.outcome? {
            abi::OK => Ok(Some(self.dict)),
            abi::NONE => Ok(None),
            status => Err(odd(status)),
        }
    }
}

fn odd(status: Status) -> Error {
    Error::plugin(format!("a call came back with the status {status}, which does not belong to it"))
}

impl<'a> Collect<'a> {
    /// A receiver.
    pub fn new(adopt: Adopt<'a>) -> Self {
        Collect { adopt, dict: Dict::new(), writing: vec![], records: vec![], part: null_mut(), fault: None }
    }

    /// Makes the call with a place to put its answer, and sorts the answer.
    pub fn call(mut self, call: impl FnOnce(&abi::Out) -> Status) -> Reply {
        let out = abi::Out {
            size: size_of::<abi::Out>() as u64,
            this: std::ptr::from_mut(&mut self).cast(),
            put,
            array,
            end,
            part,
        };
        let status = call(&out);
        self.settle();
        let outcome = match (status, self.fault.take()) {
            (abi::ERROR, _) => Err(words::error_of(std::mem::take(&mut self.dict))),
            (_, Some(fault)) => Err(fault),
            (abi::OK | abi::NONE | abi::WAIT, None) => Ok(status),
            (status, None) => Err(odd(status)),
        };
        Reply { outcome, dict: self.dict, records: self.records, part: self.part }
    }

    /// Freezes the arrays that were being written.
    fn settle(&mut self) {
        for (key, array) in self.writing.drain(..) {
            self.dict.set(key, array.freeze());
        }
    }

    unsafe fn put(&mut self, key: Text, value: *const abi::Value) -> Result<()> {
        // SAFETY: the other side lends the name.
        let key = unsafe { self.adopt.key(key) }?;
        // SAFETY: the other side lends the value, or gives null.
        let value = unsafe { value.as_ref() };
        let value = value.ok_or_else(|| Error::plugin(format!("no value was put under `{key}`")))?;
        // SAFETY: as above.
        let value = unsafe { self.adopt.value(value) }.map_err(|e| e.at(format!("`{key}`")))?;
        self.dict.set(key, value);
        Ok(())
    }

    unsafe fn array(&mut self, key: Text, dtype: u32, ndim: u32, shape: *const u64) -> Result<*mut c_void> {
        // SAFETY: the other side lends the name.
        let key = unsafe { self.adopt.key(key) }?;
        // SAFETY: the other side lends the extents.
        let shape = unsafe { adopt::shape(shape, ndim) }?;
        let mut array = self.adopt.pool.take(adopt::dtype(dtype)?, shape)?;
        let data = array.bytes_mut().as_mut_ptr();
        // Holds the place of the array, so that entries keep the order they were made in.
        self.dict.set(key.clone(), Value::None);
        self.writing.retain(|(other, _)| *other != key);
        self.writing.push((key, array));
        Ok(data.cast())
    }

    unsafe fn end(&mut self, records: *const abi::Records) -> Result<()> {
        // SAFETY: the other side lends the records, or gives null.
        let Some(raw) = (unsafe { records.as_ref() }) else {
            return Err(Error::plugin("no records were named"));
        };
        // SAFETY: as above.
        let span = unsafe { adopt::span(raw) }?;
        let records = match adopt::reason(raw.reason)? {
            None => Records::Good(span),
            // SAFETY: as above.
            Some(reason) => Records::Gap(Gap { span, reason, why: unsafe { adopt::text(raw.why) }?.into() }),
        };
        self.settle();
        self.records.push((records, std::mem::take(&mut self.dict)));
        Ok(())
    }
}

/// Runs one of the functions below; neither a panic nor a fault may cross.
unsafe fn receive<T>(out: *const abi::Out, failed: T, work: impl FnOnce(&mut Collect<'_>) -> Result<T>) -> T {
    // SAFETY: `out` is what `Collect::call` made, and the interface demands that it is used by the calling thread,
    // during the call.
    let collect = unsafe { &mut *(*out).this.cast::<Collect<'_>>() };
    let result = catch_unwind(AssertUnwindSafe(|| work(collect)))
        .unwrap_or_else(|_| Err(Error::internal("taking a value of a plugin panicked")));
    result.unwrap_or_else(|error| {
        collect.fault.get_or_insert(error);
        failed
    })
}

unsafe extern "C" fn put(out: *const abi::Out, key: Text, value: *const abi::Value) -> Status {
    // SAFETY: as the interface demands of the other side.
    unsafe { receive(out, abi::ERROR, |collect| collect.put(key, value).map(|()| abi::OK)) }
}

unsafe extern "C" fn array(
    out: *const abi::Out,
    key: Text,
    dtype: u32,
    ndim: u32,
    shape: *const u64,
) -> *mut c_void {
    // SAFETY: as the interface demands of the other side.
    unsafe { receive(out, null_mut(), |collect| collect.array(key, dtype, ndim, shape)) }
}

unsafe extern "C" fn end(out: *const abi::Out, records: *const abi::Records) -> Status {
    // SAFETY: as the interface demands of the other side.
    unsafe { receive(out, abi::ERROR, |collect| collect.end(records).map(|()| abi::OK)) }
}

unsafe extern "C" fn part(out: *const abi::Out, part: *mut c_void) -> Status {
    let take = |collect: &mut Collect<'_>| {
        collect.part = part;
        Ok(abi::OK)
    };
    // SAFETY: as the interface demands of the other side.
    unsafe { receive(out, abi::ERROR, take) }
}

/// Puts what this side has to say.
pub(crate) struct Put<'a>(pub &'a abi::Out);

impl Put<'_> {
    /// Puts one value.
    pub fn value(&self, key: &str, value: &Value) -> Result<()> {
        let mut loan = Loan::default();
        let lent = loan.value(value);
        // SAFETY: `Out` is alive for the call; name and value are lent until it returns.
        match unsafe { (self.0.put)(self.0, Text::of(key), &lent) } {
            abi::OK => Ok(()),
            _ => Err(Error::plugin(format!("the engine could not take `{key}`: {}", value.describe()))),
        }
    }

    /// Puts every value of a dictionary.
    pub fn dict(&self, dict: &Dict) -> Result<()> {
        dict.iter().try_for_each(|(key, value)| self.value(key.as_str(), value))
    }

    /// Says which records the values since the last time belong to.
    pub fn end(&self, records: &abi::Records) -> Result<()> {
        // SAFETY: `Out` is alive for the call; the records are lent until it returns.
        match unsafe { (self.0.end)(self.0, records) } {
            abi::OK => Ok(()),
            _ => Err(Error::plugin("the engine could not take records")),
        }
    }
}

/// Answers a call of the other side: errors and panics become what is put and a status.
pub(crate) fn answer(out: &abi::Out, work: impl FnOnce(&Put<'_>) -> Result<Status>) -> Status {
    let put = Put(out);
    let result = crate::stage::guard("the plugin interface", || work(&put));
    result.unwrap_or_else(|error| {
        // An error that cannot be told is still an error: the status says so.
        let _ = put.dict(&words::error_dict(&error));
        abi::ERROR
    })
}
