//! What the messages say: an operation, what it came to, what a stage asks meanwhile.
//!
//! The operations are those of [`abi::op`], with the dictionaries that `include/isard.h` describes, and these few more.

use std::ffi::c_void;

use crate::error::{Error, Result};
use crate::load::abi::{self, Request, Status};
use crate::load::adopt;
use crate::load::collect::{Records, Reply};
use crate::load::isolate::channel::{Pack, Unpack};
use crate::load::words;
use crate::span::{FRAME, Gap, Reason, SNAPSHOT, Span};
use crate::value::{Dict, Key};

/// The version of what is said here; both sides must have the same.
pub const PROTOCOL: u32 = 1;

/// Operations on a host and not on one of its stages.
pub(super) mod op {
    /// Builds a stage; puts its number into the part of the reply.
    pub const BUILD: u32 = 101;
    /// Lets a stage go.
    pub const END: u32 = 102;
    /// Puts the example of a stage.
    pub const EXAMPLE: u32 = 103;
    /// Opens another connection, whose descriptor is beside the message.
    pub const LANE: u32 = 104;
}

/// What a stage asks of the engine.
pub(super) mod ask {
    /// The value that a path names, under `value`.
    pub const READ: u32 = 1;
    /// Writes a file that is never touched again: `path`, `content`.
    pub const SEAL: u32 = 2;
    /// Writes a file in place of an earlier one: `path`, `content`.
    pub const REPLACE: u32 = 3;
    /// What the run is, under `record`.
    pub const RECORD: u32 = 4;
}

/// An operation as it crosses.
#[derive(Default)]
pub(super) struct Call {
    pub op: u32,
    /// The number of the stage.
    pub stage: u64,
    /// The name of the stage in the recipe, or of its declaration.
    pub name: String,
    pub seed: u64,
    pub reason: u32,
    pub axis: String,
    pub start: u64,
    pub len: u64,
    pub why: String,
    pub next: u64,
    pub room: u64,
    pub nanoseconds: u64,
    pub part: u64,
    pub later: u64,
    pub input: Option<Dict>,
}

/// Puts an operation.
pub(super) fn put_request(
    pack: &mut Pack<'_>,
    stage: u64,
    name: &str,
    seed: u64,
    request: &Request,
    input: Option<&Dict>,
) -> Result<()> {
    let records = &request.records;
    // SAFETY: the texts belong to whoever makes the request, which is this side and waits for the answer.
    let (axis, why) = unsafe { (adopt::text(records.axis)?, adopt::text(records.why)?) };
    pack.code(request.op);
    pack.code(records.reason);
    let (part, later) = (request.part as u64, request.later as u64);
    let words = [
        stage,
        seed,
        records.start,
        records.len,
        request.next,
        request.room,
        request.nanoseconds,
        part,
        later,
    ];
    words.into_iter().for_each(|word| pack.word(word));
    [name, axis, why].into_iter().for_each(|text| pack.text(text));
    pack.code(u32::from(input.is_some()));
    if let Some(input) = input {
        pack.dict(input);
    }
    Ok(())
}

/// Takes an operation.
pub(super) fn request(content: &mut Unpack<'_>) -> Result<Call> {
    let mut call = Call { op: content.code()?, reason: content.code()?, ..Call::default() };
    for word in [
        &mut call.stage,
        &mut call.seed,
        &mut call.start,
        &mut call.len,
        &mut call.next,
        &mut call.room,
        &mut call.nanoseconds,
        &mut call.part,
        &mut call.later,
    ] {
        *word = content.word()?;
    }
    for text in [&mut call.name, &mut call.axis, &mut call.why] {
        *text = content.text()?.to_owned();
    }
    if content.code()? != 0 {
        call.input = Some(content.dict()?);
    }
    Ok(call)
}

impl Call {
    /// The request of a library: valid while this is.
    pub fn lend(&self) -> Request {
        let records = abi::Records {
            axis: abi::Text::of(&self.axis),
            start: self.start,
            len: self.len,
            reason: self.reason,
            reserved: 0,
            why: abi::Text::of(&self.why),
        };
        Request {
            records,
            next: self.next,
            room: self.room,
            nanoseconds: self.nanoseconds,
            part: self.part as *mut c_void,
            later: self.later as *mut c_void,
            ..Request::new(self.op)
        }
    }
}

fn put_span(pack: &mut Pack<'_>, reason: u32, span: &Span, why: &str) {
    pack.code(reason);
    pack.word(span.start);
    pack.word(span.len);
    pack.text(span.axis.as_str());
    pack.text(why);
}

fn put_gap(pack: &mut Pack<'_>, gap: &Gap) {
    put_span(pack, adopt::reason_code(gap.reason), &gap.span, &gap.why);
}

fn span(content: &mut Unpack<'_>) -> Result<(Option<Reason>, Span, String)> {
    let reason = adopt::reason(content.code()?)?;
    let (start, len) = (content.word()?, content.word()?);
    let axis = match content.text()? {
        "" | "frame" => FRAME,
        "snapshot" => SNAPSHOT,
        other => Key::from(other.to_owned()),
    };
    if start.checked_add(len).is_none() {
        return Err(Error::plugin(format!("records {start} and {len} more")));
    }
    Ok((reason, Span { axis, start, len }, content.text()?.to_owned()))
}

/// Puts what an operation came to, and the frames that were given up in it.
pub(super) fn put_reply(pack: &mut Pack<'_>, reply: &Reply, given_up: &[Gap]) {
    let (status, error) = match &reply.outcome {
        Ok(status) => (*status, None),
        Err(error) => (abi::ERROR, Some(words::error_dict(error))),
    };
    pack.code(status as u32);
    pack.word(reply.part as u64);
    pack.dict(error.as_ref().unwrap_or(&reply.dict));
    pack.code(reply.records.len() as u32);
    for (records, dict) in &reply.records {
        match records {
            Records::Good(span) => put_span(pack, abi::reason::GOOD, span, ""),
            Records::Gap(gap) => put_gap(pack, gap),
        }
        pack.dict(dict);
    }
    pack.code(given_up.len() as u32);
    given_up.iter().for_each(|gap| put_gap(pack, gap));
}

/// Takes what an operation came to, and the frames that were given up in it.
pub(super) fn reply(content: &mut Unpack<'_>) -> Result<(Reply, Vec<Gap>)> {
    let (status, part) = (content.code()? as Status, content.word()? as *mut c_void);
    let mut dict = content.dict()?;
    let mut records = vec![];
    for _ in 0..content.code()? {
        let (reason, span, why) = span(content)?;
        let which = match reason {
            None => Records::Good(span),
            Some(reason) => Records::Gap(Gap { span, reason, why: why.into() }),
        };
        records.push((which, content.dict()?));
    }
    let mut given_up = vec![];
    for _ in 0..content.code()? {
        let (reason, span, why) = span(content)?;
        let reason = reason.ok_or_else(|| Error::plugin("a frame was given up without a reason"))?;
        given_up.push(Gap { span, reason, why: why.into() });
    }
    let outcome = match status {
        abi::OK | abi::NONE | abi::WAIT => Ok(status),
        abi::ERROR => Err(words::error_of(std::mem::take(&mut dict))),
        other => Err(Error::plugin(format!("a call came back with the status {other}, known are 0 to 3"))),
    };
    Ok((Reply { outcome, dict, records, part }, given_up))
}
