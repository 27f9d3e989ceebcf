//! Streams kept on disk: what a later pass reads, played again item by item.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::run::edge::Item;
use crate::span::{Chunk, Gap, Ranges, Reason, Span};
use crate::value::{Array, Dict, Key, Value, decode, encode};

/// The bytes of a chunk.
pub fn encode_chunk(chunk: &Chunk) -> Vec<u8> {
    let mut out = vec![];
    encode(&Value::Dict(chunk_dict(chunk)), &mut out);
    out
}

/// The chunk of its bytes.
pub fn decode_chunk(bytes: &[u8]) -> Result<Chunk> {
    match decode(bytes)? {
        Value::Dict(dict) => chunk_of(&dict),
        other => Err(Error::data(format!("a kept chunk is {}", other.describe()))),
    }
}

/// A chunk as a dictionary, for checkpoints.
pub fn chunk_dict(chunk: &Chunk) -> Dict {
    let covers = chunk.covers.as_ref().map_or(Value::None, |c| Array::from_slice(&c.bounds()).into());
    Dict::new()
        .with("axis", chunk.span.axis.as_str())
        .with("start", chunk.span.start as i64)
        .with("len", chunk.span.len as i64)
        .with("last", chunk.last)
        .with("covers", covers)
        .with("data", chunk.data.clone())
}

/// The chunk of a dictionary.
pub fn chunk_of(dict: &Dict) -> Result<Chunk> {
    let whole = |key: &str| match dict.need(key)? {
        Value::Int(n) => Ok(*n as u64),
        other => Err(Error::data(format!("`{key}` of a kept chunk is {}", other.describe()))),
    };
    let axis = Key::from(dict.need("axis")?.text().unwrap_or("frame").to_owned());
    let covers = match dict.need("covers")? {
        Value::Array(bounds) => Some(Arc::new(Ranges::from_bounds(bounds.as_slice()?))),
        _ => None,
    };
    let Value::Dict(data) = dict.need("data")? else { return Err(Error::data("a kept chunk holds no data")) };
    let last = *dict.need("last")? == Value::Bool(true);
    Ok(Chunk {
        span: Span { axis, start: whole("start")?, len: whole("len")? },
        data: data.clone(),
        covers,
        last,
    })
}

/// An item of a kept stream as a dictionary; marks are not kept.
pub fn item_dict(item: &Item) -> Option<Dict> {
    match item {
        Item::Chunk(chunk) => Some(chunk_dict(chunk)),
        Item::Gap(gap) => Some(
            Dict::new()
                .with("gap", gap.reason.word())
                .with("start", gap.span.start as i64)
                .with("len", gap.span.len as i64)
                .with("why", &*gap.why),
        ),
        _ => None,
    }
}

/// The item of a dictionary.
pub fn item_of(dict: &Dict) -> Result<Item> {
    let Some(word) = dict.get("gap").and_then(Value::text) else { return chunk_of(dict).map(Item::Chunk) };
    let reasons = [Reason::Missing, Reason::Corrupt, Reason::Skipped, Reason::Dropped];
    let reason = reasons.into_iter().find(|r| r.word() == word);
    let reason = reason.ok_or_else(|| Error::data(format!("no kind of gap `{word}`")))?;
    let whole = |key: &str| dict.need(key).map(|v| v.number().unwrap_or(0.0) as u64);
    let why = dict.need("why")?.text().unwrap_or_default().into();
    Ok(Item::Gap(Gap { span: Span::frames(whole("start")?, whole("len")?), reason, why }))
}
