//! The state of a segmentation at a mark.

use std::collections::BTreeMap;

use isard_core::prelude::*;

use super::bytes::Bytes;
use super::label::Labels;
use super::plane::{BRIDGE, Full, OWNED, Pixels, Plane, Run};
use super::stream::{Counts, Segmenter};
use super::strips::Strips;
use super::wait::{load_waiting, save_waiting};

/// An array of a state.
pub(crate) fn array<'a>(state: &'a Dict, key: &str) -> Result<&'a Array> {
    match state.need(key)? {
        Value::Array(array) => Ok(array),
        other => Err(Error::internal(format!("`{key}` of a state is {}", other.describe()))),
    }
}

/// A whole number of a state.
pub(crate) fn whole(state: &Dict, key: &str) -> Result<i64> {
    match state.need(key)? {
        Value::Int(n) => Ok(*n),
        other => Err(Error::internal(format!("`{key}` of a state is {}", other.describe()))),
    }
}

impl Segmenter {
    /// The state at a mark.
    pub fn save(&self) -> Result<Dict> {
        let planes = self.planes.iter().map(|(k, p)| save_plane(*k, p).map(Value::Dict));
        let planes: Vec<Value> = planes.collect::<Result<_>>()?;
        let counts = [self.counts.regions, self.counts.small, self.counts.suppressed, self.counts.below];
        let ends: Vec<u64> = self.ends.into_iter().flatten().collect();
        Ok(Dict::new()
            .with("planes", planes)
            .with("labels", self.labels.save())
            .with("waiting", save_waiting(&self.waiting))
            .with("next", self.next)
            .with("ends", Array::from_slice(&ends))
            .with("extent", self.extent as i64)
            .with("angle", Array::from_slice(&self.angle))
            .with("counts", Array::from_slice(&counts)))
    }

    /// Takes a saved state back.
    pub fn load(&mut self, state: &Dict) -> Result<()> {
        self.planes = BTreeMap::new();
        if let Value::List(list) = state.need("planes")? {
            for value in list.iter() {
                if let Value::Dict(saved) = value {
                    let (place, plane) = load_plane(saved)?;
                    self.planes.insert(place, plane);
                }
            }
        }
        if let Value::Dict(labels) = state.need("labels")? {
            self.labels = Labels::load(labels)?;
        }
        self.waiting = load_waiting(state.need("waiting")?)?;
        self.next = whole(state, "next")?;
        self.ends = match array(state, "ends")?.as_slice::<u64>()? {
            [first, last] => Some([*first, *last]),
            _ => None,
        };
        self.extent = whole(state, "extent")? as u64;
        if let [omega, step] = array(state, "angle")?.as_slice::<f64>()? {
            self.angle = [*omega, *step];
        }
        if let [regions, small, suppressed, below] = *array(state, "counts")?.as_slice::<u64>()? {
            self.counts = Counts { regions, small, suppressed, below };
        }
        // Marks of growth are not kept, so the numbers may begin anew.
        self.serial = 0;
        Ok(())
    }
}

fn save_plane(place: i64, plane: &Plane) -> Result<Dict> {
    let runs: Vec<u32> = plane.runs.iter().flat_map(|r| [r.from, r.to, r.at]).collect();
    let flags = |m: &u32| u8::from(m & OWNED != 0) | u8::from(m & BRIDGE != 0) << 1;
    let owned: Vec<u8> = plane.marks.iter().map(flags).collect();
    let mut state = Dict::new()
        .with("place", place)
        .with("number", plane.number as i64)
        .with("omega", plane.omega)
        .with("linked", plane.linked)
        .with("rows", Array::from_slice(&plane.rows))
        .with("runs", Array::from_slice(&runs))
        .with("values", Array::from_slice(&plane.values))
        .with("owned", Array::from_slice(&owned));
    if let Some(full) = &plane.full {
        let full: Vec<u32> = full.iter().flat_map(|f| [f.row, f.from, f.to]).collect();
        state.set("full", Array::from_slice(&full));
    }
    match &plane.pixels {
        Pixels::Sparse => (),
        Pixels::Whole(image) => state.set("image", image.clone()),
        Pixels::Bytes(bytes) => {
            state.set("near", bytes.near.clone());
            state.set("places", Array::from_slice(&bytes.places));
            state.set("far", Array::from_slice(&bytes.far));
        }
        Pixels::Away(away) => match away.far() {
            None => state.set("image", away.whole()?),
            Some((places, far)) => {
                state.set("near", away.whole()?);
                state.set("places", Array::from_slice(places));
                state.set("far", Array::from_slice(far));
            }
        },
        Pixels::Strips(strips) => {
            state.set("spans", Array::from_slice(strips.spans.as_flattened()));
            state.set("strips", strips.values.clone());
            state.set("columns", strips.columns as i64);
            if let Some((places, far)) = &strips.far {
                state.set("places", Array::from_slice(places));
                state.set("far", Array::from_slice(far));
            }
        }
    }
    Ok(state)
}

fn load_plane(state: &Dict) -> Result<(i64, Plane)> {
    let runs = array(state, "runs")?.as_slice::<u32>()?.chunks_exact(3);
    let owned = array(state, "owned")?.as_slice::<u8>()?.iter();
    let mut pixels = Pixels::Sparse;
    if let Some(Value::Array(image)) = state.get("image") {
        pixels = Pixels::Whole(image.clone());
    }
    if let Some(Value::Array(near)) = state.get("near") {
        pixels = Pixels::Bytes(Bytes {
            near: near.clone(),
            places: array(state, "places")?.as_slice::<u32>()?.to_vec(),
            far: array(state, "far")?.as_slice::<i16>()?.to_vec(),
        });
    }
    if state.get("spans").is_some() {
        let far = state.get("places").is_some().then(|| -> Result<_> {
            let places = array(state, "places")?.as_slice::<u32>()?.to_vec();
            Ok((places, array(state, "far")?.as_slice::<i16>()?.to_vec()))
        });
        let spans = array(state, "spans")?.as_slice::<u32>()?.chunks_exact(4);
        pixels = Pixels::Strips(Strips {
            spans: spans.map(|s| [s[0], s[1], s[2], s[3]]).collect(),
            values: array(state, "strips")?.clone(),
            far: far.transpose()?,
            columns: whole(state, "columns")? as usize,
        });
    }
    let full = state.get("full").is_some().then(|| -> Result<Vec<Full>> {
        let each = array(state, "full")?.as_slice::<u32>()?.chunks_exact(3);
        Ok(each.map(|f| Full { row: f[0], from: f[1], to: f[2] }).collect())
    });
    let marks = |o: &u8| if o & 1 != 0 { OWNED } else { 0 } | if o & 2 != 0 { BRIDGE } else { 0 };
    let marks: Vec<u32> = owned.map(marks).collect();
    let plane = Plane {
        number: whole(state, "number")? as u64,
        omega: state.need("omega")?.number().unwrap_or(f64::NAN),
        linked: state.need("linked")? == &Value::Bool(true),
        rows: array(state, "rows")?.as_slice::<u32>()?.to_vec(),
        runs: runs.map(|r| Run { from: r[0], to: r[1], at: r[2] }).collect(),
        values: array(state, "values")?.as_slice::<f32>()?.to_vec(),
        bridged: marks.iter().any(|m| m & BRIDGE != 0),
        marks,
        pixels,
        full: full.transpose()?,
        wanted: usize::MAX,
    };
    Ok((whole(state, "place")?, plane))
}
