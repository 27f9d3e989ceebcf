//! What a source fills.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::port::Ports;
use crate::span::Reason;
use crate::value::{Dict, Value};

/// Something a source said about frames.
#[derive(Debug)]
pub enum Arrival {
    /// Good frames, consecutive; every value leads with them.
    Frames {
        /// The number of the first.
        first: u64,
        /// How many.
        count: u64,
        /// The values.
        data: Dict,
    },
    /// Frames that the source itself reports as lost or damaged.
    Lost {
        /// The number of the frame.
        number: u64,
        /// Missing, corrupt or skipped.
        reason: Reason,
        /// What happened.
        why: Arc<str>,
        /// The damaged bytes, for a recorder.
        data: Option<Dict>,
    },
}

/// The slots of one pull: how many frames are wanted, and what was put.
pub struct Slots<O> {
    room: u64,
    next: u64,
    arrivals: Vec<Arrival>,
    kind: PhantomData<O>,
}

impl<O: Ports> Slots<O> {
    /// Slots for so many frames, for whoever drives a source.
    pub(crate) fn new(room: u64, next: u64) -> Self {
        Slots { room, next, arrivals: vec![], kind: PhantomData }
    }

    /// How many frames are wanted now; more than that is taken too, but costs memory.
    pub fn room(&self) -> u64 {
        self.room
    }

    /// The frame that the engine waits for; a source that can choose gives this one first.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Puts consecutive frames, `first` and on; every output leads with the frame axis.
    pub fn put(&mut self, first: u64, frames: O) -> Result<()> {
        let data = frames.into_dict();
        let mut count = None;
        for (key, value) in data.iter() {
            // Tables have any number of rows per frame and so cannot say how many frames there are.
            if let Value::Table(_) = value {
                continue;
            }
            let found = value.records().ok_or_else(|| {
                Error::plugin(format!("port `{key}`: found {}, wanted an array of frames", value.describe()))
            })?;
            if *count.get_or_insert(found) != found {
                let wanted = count.unwrap_or_default();
                return Err(Error::plugin(format!(
                    "port `{key}`: found {found} frames, wanted {wanted} as in another"
                )));
            }
        }
        let count = count.ok_or_else(|| {
            let ports: Vec<String> = O::ports().iter().map(|p| format!("port `{}`", p.name)).collect();
            Error::plugin(format!("found no array of frames, wanted {}", ports.join(", ")))
        })? as u64;
        if count > 0 {
            self.arrivals.push(Arrival::Frames { first, count, data });
        }
        Ok(())
    }

    /// Reports a frame that arrived damaged; its bytes go to a recorder only.
    pub fn corrupt(&mut self, number: u64, why: impl Into<Arc<str>>, frame: Option<O>) {
        let data = frame.map(O::into_dict);
        self.arrivals.push(Arrival::Lost { number, reason: Reason::Corrupt, why: why.into(), data });
    }

    /// Reports a frame that will never come.
    pub fn missing(&mut self, number: u64, why: impl Into<Arc<str>>) {
        self.arrivals.push(Arrival::Lost { number, reason: Reason::Missing, why: why.into(), data: None });
    }

    /// Reports a frame that is not meant to be used.
    pub fn skipped(&mut self, number: u64, why: impl Into<Arc<str>>) {
        self.arrivals.push(Arrival::Lost { number, reason: Reason::Skipped, why: why.into(), data: None });
    }

    /// Slots for another output type, over the same arrivals.
    pub(crate) fn recast<P: Ports>(
        &mut self,
        work: impl FnOnce(&mut Slots<P>) -> Result<super::Pull>,
    ) -> Result<super::Pull> {
        let mut other = Slots::<P>::new(self.room, self.next);
        let result = work(&mut other);
        self.arrivals.append(&mut other.arrivals);
        result
    }

    /// What was put, for whoever drives a source.
    pub(crate) fn take(&mut self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals)
    }
}
