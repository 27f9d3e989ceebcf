//! The master of a set: parts shown as one.

use std::collections::BTreeMap;

use isard_core::prelude::*;
use isard_core::span::Ranges;
use isard_h5::{Dtype as H5, Image, Spec, Stacked};

use crate::convert::{h5, lengths};
use crate::output::name;
use crate::output::set::item::Leaf;
use crate::output::set::part::{dtype, unit, write_texts};
use crate::output::set::state::State;
use crate::verdict;

/// What a master says beside its data.
pub(crate) struct About<'a> {
    pub path: &'a str,
    pub title: Option<&'a str>,
    pub plot: Plot<'a>,
    pub units: &'a BTreeMap<String, String>,
    /// The run's record as JSON.
    pub record: String,
    /// At the end: the frames behind the output.
    pub covers: Option<&'a Ranges>,
}

/// The bytes of a master over parts.
pub(crate) fn master(about: &About, state: &State) -> Result<Vec<u8>> {
    let mut image = Image::new().map_err(h5)?;
    image.nexus("/entry", "NXentry").map_err(h5)?;
    super::common(&mut image, about, state)?;
    match about.plot.find(state)? {
        Some((name, axes)) => {
            image.nexus_data("/entry/data", name, &axes).map_err(h5)?;
            image.nexus_default("/entry/data").map_err(h5)?;
        }
        None => {
            image.nexus("/entry/data", "NXcollection").map_err(h5)?;
            image.nexus_default("/entry").map_err(h5)?;
        }
    }
    let file = |part: usize| format!("{}.parts/{part:06}.h5", name::last(name::stem(about.path)));
    let mut texts = state.texts.iter();
    for leaf in &state.leaves {
        let path = format!("/entry/{}", leaf.path);
        let Some(dtype) = dtype(leaf)? else {
            write_texts(&mut image, &path, texts.next().map_or(&[], Vec::as_slice))?;
            continue;
        };
        let parts: Vec<Stacked> = state
            .parts
            .iter()
            .enumerate()
            .map(|(i, counts)| Stacked { file: file(i), dataset: path.clone(), records: counts[leaf.class] })
            .collect();
        let (dtype, dims) = (isard_h5::Dtype::from(dtype), lengths(&leaf.dims));
        if let Some((above, _)) = path.rsplit_once('/') {
            image.group(above).map_err(h5)?;
        }
        if parts.iter().any(|p| p.records > 0) {
            image.stack(&path, dtype, &dims, &parts).map_err(h5)?;
        } else {
            image.dataset(&path, &Spec::new(dtype, &dims)).map_err(h5)?;
        }
        if let Some(unit) = unit(leaf, about.units) {
            image.attribute(&path, "units", unit).map_err(h5)?;
        }
    }
    verdict::write(&mut image, state.totals()[0], &state.corrupt)?;
    if state.leaves.iter().any(|l| l.path.starts_with("tables/")) {
        image.nexus("/entry/tables", "NXcollection").map_err(h5)?;
    }
    if !state.parts.is_empty() {
        image.nexus("/entry/parts", "NXcollection").map_err(h5)?;
    }
    for part in 0..state.parts.len() {
        image.link(&format!("/entry/parts/{part:06}"), &file(part), "/entry").map_err(h5)?;
    }
    image.into_bytes().map_err(h5)
}

/// What viewers plot first, as far as the recipe says.
#[derive(Clone, Copy)]
pub(crate) struct Plot<'a> {
    /// The name of the array.
    pub signal: Option<&'a str>,
    /// The name of the numbers, one for each record, that it is plotted against.
    pub axis: Option<&'a str>,
}

impl Plot<'_> {
    /// The name of what is plotted, and of each of its axes; pixels have none of their own.
    pub fn find<'s>(&'s self, state: &'s State) -> Result<Option<(&'s str, Vec<&'s str>)>> {
        // Before the first record nothing can be plotted yet.
        if state.leaves.is_empty() {
            return Ok(None);
        }
        let records = state.axis.as_ref().map_or("frame", Key::as_str);
        let leaves = || state.leaves.iter().filter(|l| l.class == 0 && l.dtype.is_some());
        let axis = self.axis.unwrap_or(records);
        let numbers = |l: &&Leaf| l.dims.is_empty();
        if axis != records && !leaves().filter(numbers).any(|l| l.name == axis) {
            return Err(absent("axis", axis, leaves().filter(numbers).map(|l| l.name.as_str())));
        }
        let plots = || leaves().filter(|l| l.name != axis && l.name != records);
        let found = match self.signal {
            Some(wanted) => Some(
                plots()
                    .find(|l| l.name == wanted)
                    .ok_or_else(|| absent("signal", wanted, plots().map(|l| l.name.as_str())))?,
            ),
            None => {
                let rank = |n: usize| plots().find(|l| l.dims.len() >= n);
                rank(2).or_else(|| rank(1)).or_else(|| rank(0))
            }
        };
        Ok(found.map(|leaf| {
            let mut axes = vec![axis];
            axes.resize(leaf.dims.len() + 1, ".");
            (leaf.name.as_str(), axes)
        }))
    }
}

/// The error for a parameter that names nothing that is written.
pub(crate) fn absent<'a>(parameter: &str, wanted: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    Error::recipe(format!("`{parameter}` is `{wanted}`, which is not written"))
        .help(format!("wanted one of {}", names.join(", ")))
}

/// Writes the ranges of frames that did not come.
pub(crate) fn missing(image: &mut Image, state: &State) -> Result<()> {
    if state.missing.is_empty() {
        return Ok(());
    }
    image.nexus("/entry/missing", "NXcollection").map_err(h5)?;
    let n = state.missing.len() as u64;
    let first: Vec<u8> = state.missing.iter().flat_map(|m| m.first.to_ne_bytes()).collect();
    let count: Vec<u8> = state.missing.iter().flat_map(|m| m.count.to_ne_bytes()).collect();
    for (name, bytes) in [("first", first), ("count", count)] {
        let slot = image.dataset(&format!("/entry/missing/{name}"), &Spec::new(H5::U64, &[])).map_err(h5)?;
        image.append(slot, &bytes, n).map_err(h5)?;
    }
    let reasons: Vec<_> = state.missing.iter().map(|m| m.reason.clone()).collect();
    let whys: Vec<_> = state.missing.iter().map(|m| m.why.clone()).collect();
    write_texts(image, "/entry/missing/reason", &reasons)?;
    write_texts(image, "/entry/missing/why", &whys)
}
