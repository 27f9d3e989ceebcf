//! Virtual detectors by name: what is checked of all of them, their masks, and their maps.

use std::collections::BTreeMap;

use isard_core::prelude::*;

use crate::reduce::frames::Size;
use crate::reduce::shape::Detector;

/// Detectors by name.
pub(crate) type Detectors = BTreeMap<String, Detector>;

/// Adds the faults of detectors; none may be called like one of these outputs.
pub(crate) fn check(detectors: &Detectors, outputs: &[&str], faults: &mut Faults) {
    for (name, detector) in detectors {
        if outputs.contains(&name.as_str()) {
            faults.add("detectors", format!("`{name}` is the name of an output, choose another"));
        }
        detector.check(name, faults);
    }
}

/// The masks of all detectors, and how many each of them is.
pub(crate) fn masks(
    detectors: &Detectors,
    cx: &Cx,
    size: Size,
    centre: [f64; 2],
) -> Result<(Vec<Vec<f64>>, Vec<usize>)> {
    let (mut masks, mut counts) = (vec![], vec![]);
    for (name, detector) in detectors {
        let own = detector.masks(cx, size, centre).map_err(|e| e.at(format!("detector `{name}`")))?;
        counts.push(own.len());
        masks.extend(own);
    }
    Ok((masks, counts))
}

/// How many masks detectors are, as far as that is known: a file counts as one.
pub(crate) fn known(detectors: &Detectors) -> usize {
    detectors.values().map(|d| d.planes().unwrap_or(1)).sum()
}

/// Adds the shapes of the maps of detectors, but for those whose masks a file says.
pub(crate) fn shapes(detectors: &Detectors, shapes: Shapes, [y, x]: [usize; 2]) -> Shapes {
    detectors.iter().fold(shapes, |shapes, (name, detector)| match detector.planes() {
        Some(n) => shapes.with(name, Shape::array(Dtype::F64, &dims(detector, n, [y, x]))),
        None => shapes,
    })
}

/// The maps of detectors under their names; `planes` are those of their masks from `first` on.
pub(crate) fn maps(
    detectors: &Detectors,
    counts: &[usize],
    planes: &Array,
    mut first: usize,
    scan: [usize; 2],
) -> Result<Dict> {
    let mut maps = Dict::new();
    for ((name, detector), n) in detectors.iter().zip(counts) {
        let own = planes.records(first..first + n)?.reshape(&dims(detector, *n, scan))?;
        maps.set(name.clone(), own);
        first += n;
    }
    Ok(maps)
}

/// The shape of the map of a detector of `n` masks.
fn dims(detector: &Detector, n: usize, [y, x]: [usize; 2]) -> Vec<usize> {
    if detector.stacked(n) { vec![n, y, x] } else { vec![y, x] }
}
