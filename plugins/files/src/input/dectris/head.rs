//! What a master file says about its series.

use std::path::Path;

use isard_core::prelude::*;
use isard_h5::{Attr, Element, File};

use crate::convert::h5;
use crate::input::dectris::layout::channel_names;
use crate::input::hdf5::constant;

/// Where numbers and texts of the series stand.
const PLACES: [&str; 2] = ["/entry/instrument/", "/entry/sample/"];
/// Larger arrays than this are no metadata, but for those that have a name here.
const SMALL: u64 = 4096;

/// Arrays by the last part of their path, and what they are called.
const ARRAYS: [(&str, &str); 5] = [
    ("pixel_mask", "mask"),
    ("flatfield", "flat"),
    ("countrate_correction_table", "countrate_table"),
    ("countrate_correction_lookup_table", "countrate_table"),
    ("trimbit", "trimbit"),
];

/// The head of a series; of what is said of single channels only the one that is read counts, the first one by default.
pub(crate) fn head(cx: &Cx, path: &Path, growing: bool, channel: Option<u64>) -> Result<Dict> {
    let file = if growing { File::open_growing(path) } else { File::open(path) }.map_err(h5)?;
    let mut head = Dict::new();
    let listing = file.list().map_err(h5)?;
    let own = channel.unwrap_or(1) as usize - 1;
    let channels = channel_names(&file).into_iter().enumerate();
    let others: Vec<String> =
        channels.filter(|(i, _)| *i != own).map(|(_, name)| format!("/{name}/")).collect();
    for info in &listing.datasets {
        cx.check()?;
        let elsewhere = !PLACES.iter().any(|place| info.path.starts_with(place));
        if elsewhere || others.iter().any(|other| info.path.contains(other.as_str())) {
            continue;
        }
        let last = info.path.rsplit('/').next().unwrap_or(&info.path);
        let named = ARRAYS.iter().find(|(name, _)| *name == last).map(|(_, name)| *name);
        let size = info.shape.iter().try_fold(1_u64, |n, d| n.checked_mul(*d));
        if named.is_none() && size.is_none_or(|n| n > SMALL) || matches!(info.element, Element::Other(_)) {
            continue;
        }
        let key = named.unwrap_or(last);
        // What is said twice of a series is said of the whole first.
        if head.get(key).is_some() {
            continue;
        }
        head.set(key.to_owned(), constant(&file, &info.path).map_err(|e| e.at(format!("head `{key}`")))?);
        if let Some((_, Attr::Text(unit))) = info.attributes.iter().find(|(name, _)| name == "units") {
            head.set(format!("{key}_units"), unit.as_str());
        }
    }
    Ok(head)
}
