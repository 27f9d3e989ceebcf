//! Lit pixels of all frames as a state that is kept.

use isard_core::prelude::*;

use crate::bits::Volume;

/// The known frames of a volume with their lit pixels.
pub(super) fn keep(volume: &Volume) -> Dict {
    let (mut frames, mut ends, mut pixels) = (vec![], vec![], vec![]);
    for l in 0..volume.distances() {
        for f in (0..volume.frames()).filter(|f| volume.known(l, *f)) {
            frames.push((l * volume.frames() + f) as u64);
            pixels.extend(volume.pixels(l, f).into_iter().flatten());
            ends.push(pixels.len() as u64);
        }
    }
    Dict::new()
        .with("frames", Array::from_slice(&frames))
        .with("ends", Array::from_slice(&ends))
        .with("pixels", Array::from_slice(&pixels))
}

/// Tells of the frames that were kept: number and lit pixels.
pub(super) fn restore(state: &Dict, mut told: impl FnMut(u64, &[[u32; 2]]) -> Result<()>) -> Result<()> {
    let (frames, ends, pixels) = (array(state, "frames")?, array(state, "ends")?, array(state, "pixels")?);
    let (ends, pixels) = (ends.as_slice::<u64>()?, pixels.as_slice::<u32>()?);
    let mut from = 0;
    for (number, end) in frames.as_slice::<u64>()?.iter().zip(ends) {
        let flat = pixels.get(from..*end as usize);
        let flat = flat.ok_or_else(|| Error::data("kept frames have fewer pixels than they say"))?;
        let pairs: Vec<[u32; 2]> = flat.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
        told(*number, &pairs)?;
        from = *end as usize;
    }
    Ok(())
}

/// A kept array.
pub(super) fn array(state: &Dict, key: &str) -> Result<Array> {
    match state.need(key)? {
        Value::Array(a) => Ok(a.clone()),
        other => Err(Error::data(format!("kept `{key}` is {}, wanted an array", other.describe()))),
    }
}

/// A kept table.
pub(super) fn table(state: &Dict, key: &str) -> Result<Table> {
    match state.need(key)? {
        Value::Table(t) => Ok(t.clone()),
        other => Err(Error::data(format!("kept `{key}` is {}, wanted a table", other.describe()))),
    }
}

/// The lit pixels of some frames, frame by frame.
pub(super) fn frames(
    span: &Span,
    spots: &Table,
    mut told: impl FnMut(u64, &[[u32; 2]]) -> Result<()>,
) -> Result<()> {
    let (y, z) = (spots.numbers::<u32>("y")?, spots.numbers::<u32>("z")?);
    let records = spots.records();
    for number in span.range() {
        let rows = records.partition_point(|r| *r < number)..records.partition_point(|r| *r <= number);
        let pixels: Vec<[u32; 2]> = rows.map(|k| [y[k], z[k]]).collect();
        told(number, &pixels).map_err(|e| e.at(format!("frame {number}")))?;
    }
    Ok(())
}
