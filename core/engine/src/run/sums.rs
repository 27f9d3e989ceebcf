//! Checksums of frames on their way from a source to a recorder.
//!
//! A source sums every frame as it gives it away, and a recorder sums it again before it takes it: what changes in
//! memory in between is found before it is on disk. From there on journal, file and manifest have sums of their own.

use crate::error::{Blame, Error, Result};
use crate::span::Span;
use crate::value::{Array, Dict, Key, Value};

/// The key under which the sums of another key travel; no stage can be called so.
pub fn sum_key(key: &Key) -> Key {
    Key::from(format!("sum of {key}"))
}

/// Adds the sums of some keys.
pub fn add(keys: &[Key], data: &mut Dict) {
    for key in keys {
        if let Some(Value::Array(array)) = data.get(key.as_str()) {
            let sums = Array::from_slice(&sums(array));
            data.set(sum_key(key), sums);
        }
    }
}

/// Compares what came with the sums that came with it.
pub fn check<'a>(keys: impl Iterator<Item = &'a Key>, span: &Span, data: &Dict) -> Result<()> {
    for key in keys {
        let (Some(Value::Array(array)), Some(Value::Array(told))) =
            (data.get(key.as_str()), data.get(sum_key(key).as_str()))
        else {
            continue;
        };
        let told = told.as_slice::<u32>()?;
        if let Some(at) = sums(array).iter().zip(told).position(|(found, told)| found != told) {
            let text = format!("`{key}` of frame {} is not what its source gave", span.start + at as u64);
            return Err(Error::new(Blame::Resources, text)
                .help("memory was changed on the way: test it, and take out loaded plugins one by one"));
        }
    }
    Ok(())
}

/// The checksum of each record.
fn sums(array: &Array) -> Vec<u32> {
    let records = array.shape().first().copied().unwrap_or(0);
    match array.bytes().len().checked_div(records) {
        Some(step) if step > 0 => array.bytes().chunks_exact(step).map(crc32fast::hash).collect(),
        _ => vec![crc32fast::hash(&[]); records],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Chunk;

    #[test]
    fn a_frame_that_changed_on_the_way_is_named() {
        let keys = [Key::from("cam.image"), Key::from("cam.time")];
        let frames: Vec<u16> = (0..40).collect();
        let mut data = Dict::new()
            .with("cam.image", Array::of(&[4, 2, 5], &frames).unwrap())
            .with("cam.time", Array::from_slice(&[0.0, 0.5, 1.0, 1.5]));
        add(&keys, &mut data);
        let chunk = Chunk::new(Span::frames(8, 4), data);
        check(keys.iter(), &chunk.span, &chunk.data).unwrap();
        // Sums are cut with their frames.
        let part = chunk.cut(9, 11).unwrap();
        check(keys.iter(), &part.span, &part.data).unwrap();
        let mut changed = frames.clone();
        changed[23] ^= 1;
        let mut data = chunk.data.clone();
        data.set("cam.image", Array::of(&[4, 2, 5], &changed).unwrap());
        let error = check(keys.iter(), &chunk.span, &data).unwrap_err();
        assert!(error.message().contains("`cam.image` of frame 10 is not"), "{error}");
        // The sum of the CRC-32 of nothing and of "123456789" as its definition gives it.
        assert_eq!(sums(&Array::of(&[1, 9], b"123456789").unwrap()), [0xcbf4_3926]);
    }
}
