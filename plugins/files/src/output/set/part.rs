//! One part of a set, built in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use isard_core::prelude::*;
use isard_h5::{Compression, Image, Slot, Spec};

use crate::convert::{h5, lengths};
use crate::output::set::Packing;
use crate::output::set::item::{Data, Item, Leaf};
use crate::output::set::master::Plot;
use crate::output::set::state::State;
use crate::verdict;

/// A part being built.
pub(crate) struct Building {
    image: Image,
    /// One for each column; none for text.
    slots: Vec<Option<Slot>>,
    /// Texts of text columns, written at the end.
    texts: Vec<Vec<Arc<str>>>,
    /// Elements of each class.
    counts: Vec<u64>,
    /// Bytes of the records so far, before compression.
    pub bytes: u64,
    /// Records of this part that hold a damaged frame.
    corrupt: Vec<u64>,
}

impl Building {
    /// An empty part with the columns of a set; it may lie in the memory of the one before.
    pub fn new(
        spare: Vec<u8>,
        packing: Packing,
        units: &BTreeMap<String, String>,
        plot: Plot,
        state: &State,
    ) -> Result<Building> {
        let mut image = Image::within(spare, 16 << 20).map_err(h5)?;
        image.nexus("/entry", "NXentry").map_err(h5)?;
        match plot.find(state)? {
            Some((name, axes)) => {
                image.nexus_data("/entry/data", name, &axes).map_err(h5)?;
                image.nexus_default("/entry/data").map_err(h5)?;
            }
            None => image.nexus("/entry/data", "NXcollection").map_err(h5)?,
        }
        let mut slots = vec![];
        for leaf in &state.leaves {
            slots.push(match dtype(leaf)? {
                Some(dtype) => {
                    let compression = match packing {
                        Packing::None => Compression::None,
                        Packing::Deflate => Compression::Deflate(4),
                        Packing::Lzf => Compression::Lzf,
                        Packing::Bitshuffle => Compression::Bitshuffle,
                    };
                    let spec =
                        Spec::new(isard_h5::Dtype::from(dtype), &lengths(&leaf.dims)).compress(compression);
                    let path = format!("/entry/{}", leaf.path);
                    let slot = image.dataset(&path, &spec).map_err(h5)?;
                    if let Some(unit) = unit(leaf, units) {
                        image.attribute(&path, "units", unit).map_err(h5)?;
                    }
                    Some(slot)
                }
                None => None,
            });
        }
        let texts = vec![vec![]; state.texts.len()];
        Ok(Building { image, slots, texts, counts: vec![0; state.classes()], bytes: 0, corrupt: vec![] })
    }

    /// Adds the columns of records; `bytes` is what the part holds with them.
    pub fn add(&mut self, cx: &Cx, state: &State, items: &[Item], bytes: u64) -> Result<()> {
        let totals = state.totals();
        let before: Vec<u64> = totals.iter().zip(&self.counts).map(|(t, c)| t + c).collect();
        let mut text = 0;
        let mut counts = vec![0; self.counts.len()];
        for (item, slot) in items.iter().zip(&self.slots) {
            let n = item.data.count();
            counts[item.leaf.class] = n;
            match (&item.data, slot) {
                (Data::Numbers(array), Some(slot)) => append(&mut self.image, cx, *slot, array.bytes(), n)?,
                (Data::Places { local, class }, Some(slot)) => {
                    let places: Vec<u8> =
                        local.iter().flat_map(|p| (p + before[*class]).to_ne_bytes()).collect();
                    self.image.append(*slot, &places, n).map_err(h5)?;
                }
                (Data::Texts(texts), _) => {
                    self.texts[text].extend(texts.iter().cloned());
                    text += 1;
                }
                (_, None) => return Err(Error::internal(format!("no place for `{}`", item.leaf.name))),
            }
        }
        self.counts.iter_mut().zip(counts).for_each(|(all, n)| *all += n);
        self.bytes = bytes;
        Ok(())
    }

    /// How many records it holds.
    pub fn records(&self) -> u64 {
        self.counts[0]
    }

    /// Marks the newest record as a damaged frame.
    pub fn mark(&mut self) {
        self.corrupt.extend(self.counts[0].checked_sub(1));
    }

    /// The bytes of the part and its counts; its texts and marks go on to the set.
    pub fn finish(mut self, state: &mut State) -> Result<(Vec<u8>, Vec<u64>)> {
        let columns = state.leaves.iter().filter(|l| l.dtype.is_none());
        for (leaf, texts) in columns.zip(&self.texts) {
            write_texts(&mut self.image, &format!("/entry/{}", leaf.path), texts)?;
        }
        verdict::write(&mut self.image, self.counts[0], &self.corrupt)?;
        let bytes = self.image.into_bytes().map_err(h5)?;
        let before = state.totals()[0];
        state.corrupt.extend(self.corrupt.iter().map(|record| before + record));
        for (all, new) in state.texts.iter_mut().zip(self.texts) {
            all.extend(new);
        }
        Ok((bytes, self.counts))
    }
}

/// Adds records, with chunks packed by the threads of the run.
fn append(image: &mut Image, cx: &Cx, slot: Slot, bytes: &[u8], n: u64) -> Result<()> {
    let stopped = Mutex::new(None);
    let added = image.append_on(slot, bytes, n, &|n, work| {
        cx.par(n, |i| work(i).map_err(h5)).map_err(|error| {
            let told = isard_h5::Error::stopped(error.to_string());
            *stopped.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            told
        })
    });
    let stopped = stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
    added.map_err(|error| stopped.unwrap_or_else(|| h5(error)))
}

/// The dtype of a column; none for text.
pub(crate) fn dtype(leaf: &Leaf) -> Result<Option<Dtype>> {
    let named = |name: &String| Dtype::named(name).ok_or_else(|| Error::data(format!("no dtype `{name}`")));
    leaf.dtype.as_ref().map(named).transpose()
}

/// The unit of a column, as the recipe gives it.
pub(crate) fn unit<'a>(leaf: &Leaf, units: &'a BTreeMap<String, String>) -> Option<&'a str> {
    // The unit of a ragged column is that of its values, not of the places in them.
    let whole = !leaf.path.ends_with("/offset") && !leaf.path.ends_with("/count");
    units.get(&leaf.name).filter(|_| whole).map(String::as_str)
}

/// Writes a column of texts.
pub(crate) fn write_texts(image: &mut Image, path: &str, texts: &[Arc<str>]) -> Result<()> {
    if texts.is_empty() {
        return Ok(());
    }
    if let Some((above, _)) = path.rsplit_once('/') {
        image.group(above).map_err(h5)?;
    }
    let texts: Vec<&str> = texts.iter().map(|t| &**t).collect();
    image.texts(path, &texts).map_err(h5)
}
