//! Digests of what a stream means, whatever its chunks.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::span::{Chunk, Gap, Reason};
use crate::store::hex;
use crate::value::{Array, Dict, Key, Value, encode};

/// The digest of a stream of records and gaps; how they are cut into chunks does not matter.
///
/// Each record is hashed by itself (axis, number, then for each key in sorted order its name and the record's value),
/// and `h = SHA-256(h, hash of the record)`. Neighbouring gaps of one reason count as one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContentDigest {
    hash: [u8; 32],
    records: u64,
    missed: u64,
    /// The gap that may still grow.
    open: Option<(Key, u64, u64, Reason)>,
}

impl ContentDigest {
    /// The digest of nothing.
    pub fn new() -> ContentDigest {
        ContentDigest::default()
    }

    /// Adds the records of a chunk.
    pub fn add(&mut self, chunk: &Chunk) -> Result<()> {
        self.hash(b'r', chunk)?;
        self.records += chunk.span.len;
        Ok(())
    }

    /// Adds a frame that came damaged and whose bytes are kept, marked: neither a record nor a gap.
    pub fn corrupt(&mut self, chunk: &Chunk) -> Result<()> {
        self.hash(b'c', chunk)?;
        self.missed += chunk.span.len;
        Ok(())
    }

    fn hash(&mut self, tag: u8, chunk: &Chunk) -> Result<()> {
        let mut entries: Vec<(&Key, &Value)> = chunk.data.iter().collect();
        entries.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        for (key, value) in &entries {
            let records = value.records().unwrap_or(chunk.span.len as usize);
            if records as u64 != chunk.span.len {
                let wanted = chunk.span.len;
                return Err(Error::internal(format!("`{key}` has {records} records, its chunk {wanted}")));
            }
        }
        if chunk.span.len > 0 {
            self.close();
        }
        let record = |n: u64| {
            let (mut record, mut scratch) = (Sha256::new(), vec![]);
            word(&mut record, tag, n);
            text(&mut record, chunk.span.axis.as_str());
            for (key, value) in &entries {
                text(&mut record, key.as_str());
                self::value(&mut record, value, (n - chunk.span.start) as usize, n, &mut scratch)
                    .map_err(|e| e.at(format!("digest of `{key}`")))?;
            }
            Ok(record.finalize())
        };
        // On a thread of the run its other threads may help; elsewhere there are none to ask.
        if chunk.span.len > 1 && rayon::current_thread_index().is_some() {
            let all: Vec<_> = chunk.span.range().into_par_iter().map(record).collect::<Result<_>>()?;
            all.iter().for_each(|hash| self.fold(hash));
        } else {
            for n in chunk.span.range() {
                self.fold(&record(n)?);
            }
        }
        Ok(())
    }

    /// Adds records that do not come.
    pub fn gap(&mut self, gap: &Gap) {
        if gap.span.len == 0 {
            return;
        }
        self.missed += gap.span.len;
        match &mut self.open {
            Some((axis, _, end, reason))
                if *axis == gap.span.axis && *end == gap.span.start && *reason == gap.reason =>
            {
                *end = gap.span.end();
            }
            _ => {
                self.close();
                self.open = Some((gap.span.axis.clone(), gap.span.start, gap.span.end(), gap.reason));
            }
        }
    }

    /// The digest of everything so far, in hexadecimal.
    pub fn finish(&self) -> String {
        let mut end = self.clone();
        end.close();
        let mut last = Sha256::new();
        word(&mut last, b'e', end.records);
        word(&mut last, b'm', end.missed);
        end.fold(&last.finalize());
        hex(&end.hash)
    }

    /// How many records were added.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The state at a mark.
    pub fn save(&self) -> Dict {
        let mut state = Dict::new()
            .with("hash", Array::from_slice(&self.hash))
            .with("records", self.records as i64)
            .with("missed", self.missed as i64);
        if let Some((axis, start, end, reason)) = &self.open {
            state.set("axis", axis.as_str());
            state.set("gap", Array::from_slice(&[*start, *end]));
            state.set("reason", reason.word());
        }
        state
    }

    /// The digest as it was at a mark.
    pub fn load(state: &Dict) -> Result<ContentDigest> {
        let wrong = |key: &str| Error::data(format!("the saved state of a digest has no usable `{key}`"));
        let whole = |key: &str| match state.need(key)? {
            Value::Int(n) => Ok(*n as u64),
            _ => Err(wrong(key)),
        };
        let Value::Array(hash) = state.need("hash")? else { return Err(wrong("hash")) };
        let hash = hash.bytes().try_into().map_err(|_| wrong("hash"))?;
        let open = match (state.get("axis"), state.get("gap"), state.get("reason")) {
            (Some(Value::Text(axis)), Some(Value::Array(gap)), Some(Value::Text(word))) => {
                let [start, end] = *gap.as_slice::<u64>()? else { return Err(wrong("gap")) };
                let all = [Reason::Missing, Reason::Corrupt, Reason::Skipped, Reason::Dropped];
                let reason = all.into_iter().find(|r| r.word() == &**word).ok_or_else(|| wrong("reason"))?;
                Some((Key::from(axis.clone()), start, end, reason))
            }
            (None, None, None) => None,
            _ => return Err(wrong("gap")),
        };
        Ok(ContentDigest { hash, records: whole("records")?, missed: whole("missed")?, open })
    }

    fn close(&mut self) {
        if let Some((axis, start, end, reason)) = self.open.take() {
            let mut gap = Sha256::new();
            word(&mut gap, b'g', start);
            word(&mut gap, b'-', end);
            text(&mut gap, axis.as_str());
            text(&mut gap, reason.word());
            self.fold(&gap.finalize());
        }
    }

    fn fold(&mut self, next: &[u8]) {
        self.hash = Sha256::new().chain_update(self.hash).chain_update(next).finalize().into();
    }
}

fn word(hash: &mut Sha256, tag: u8, n: u64) {
    hash.update([tag]);
    hash.update(n.to_le_bytes());
}

fn text(hash: &mut Sha256, text: &str) {
    word(hash, b't', text.len() as u64);
    hash.update(text);
}

/// Adds one record of a value; lengths come before bytes, so that no two values share their bytes.
fn value(hash: &mut Sha256, value: &Value, index: usize, record: u64, scratch: &mut Vec<u8>) -> Result<()> {
    scratch.clear();
    match value {
        Value::Array(array) => {
            let shape =
                array.shape().get(1..).ok_or_else(|| Error::internal("a number leads with no axis"))?;
            word(hash, b'a', array.dtype() as u64);
            word(hash, b's', shape.len() as u64);
            shape.iter().for_each(|n| word(hash, b'n', *n as u64));
            let step = array.bytes().len() / array.shape()[0];
            hash.update(&array.bytes()[index * step..(index + 1) * step]);
            return Ok(());
        }
        Value::List(list) => encode(&list[index], scratch),
        Value::Table(table) => encode(&Value::Table(table.between(record, record + 1)?), scratch),
        other => return Err(Error::internal(format!("no records in {}", other.describe()))),
    }
    word(hash, b'v', scratch.len() as u64);
    hash.update(&*scratch);
    Ok(())
}
