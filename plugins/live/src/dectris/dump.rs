//! Recorded streams: each part is its length (eight bytes, least significant first) and its bytes.

use isard_core::value::Array;
use serde_json::Value as Json;

use super::v1::kind;
use crate::net::zmtp::Part;

/// The messages of a recorded stream, with the parts of stream v1 together again.
pub fn messages(bytes: &[u8]) -> Result<Vec<Vec<Part>>, String> {
    let mut all: Vec<Vec<Part>> = vec![];
    let (mut at, mut nth) = (0, 0);
    while at < bytes.len() {
        let head = bytes.get(at..at + 8).and_then(|b| b.first_chunk::<8>());
        let len = head.map(|b| u64::from_le_bytes(*b)).and_then(|n| usize::try_from(n).ok());
        let part = len.and_then(|len| bytes.get(at + 8..(at + 8).checked_add(len)?));
        let Some(part) = part else {
            return Err(format!("is cut short in part {nth}, byte {at} of {}", bytes.len()));
        };
        at += 8 + part.len();
        nth += 1;
        // The blob of an image may look like anything; it is the part behind the first two.
        let blob = all.last().is_some_and(|m| m.len() == 2 && begins(m[0].bytes()) == Some(Begin::Image));
        let opens = !blob && (part.first() != Some(&b'{') || begins(part).is_some());
        let part = if part.len() <= 1024 {
            Part::Small(part.to_vec())
        } else {
            Part::Large(Array::from_slice(part))
        };
        match all.last_mut() {
            Some(message) if !opens || continues(message, &part) => message.push(part),
            _ => all.push(vec![part]),
        }
    }
    Ok(all)
}

/// The parts of messages as a recorded stream.
pub fn write_dump<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = vec![];
    for part in parts {
        out.extend((part.len() as u64).to_le_bytes());
        out.extend_from_slice(part);
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    Header,
    Image,
    End,
}

/// Which message of stream v1 begins with a part.
fn begins(part: &[u8]) -> Option<Begin> {
    if part.len() > 1024 || part.first() != Some(&b'{') {
        return None;
    }
    let json: Json = serde_json::from_slice(part).ok()?;
    Some(match kind(&json) {
        "dheader" => Begin::Header,
        "dimage" => Begin::Image,
        "dseries_end" => Begin::End,
        _ => return None,
    })
}

/// Whether a part that is no JSON belongs to a message: a table behind its description.
fn continues(message: &[Part], part: &Part) -> bool {
    let v1 = begins(message[0].bytes()).is_some_and(|b| b != Begin::End);
    v1 && begins(part.bytes()).is_none()
}
