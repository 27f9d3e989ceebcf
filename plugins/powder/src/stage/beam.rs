//! What both stages are told of the beam and the powder, in the units of recipes.

use isard_core::prelude::*;
use isard_geometry::{Calibrant, wavelength_of};

/// Metres in an angstrom.
pub(crate) const ANGSTROM: f64 = 1e-10;

/// The calibrant where none is named.
const CALIBRANT: &str = "CeO2";

/// The wavelength in metres of a photon energy in keV or a wavelength in angstrom, where one is given.
pub(crate) fn wavelength(energy: Option<f64>, wavelength: Option<f64>) -> Option<f64> {
    wavelength.map(|w| w * ANGSTROM).or(energy.map(wavelength_of))
}

/// Faults of an energy and a wavelength, of which at most one may be given.
pub(crate) fn check_beam(energy: Option<f64>, wavelength: Option<f64>, faults: &mut Faults) {
    for (name, given) in [("energy", energy), ("wavelength", wavelength)] {
        if given.is_some_and(|v| !(v.is_finite() && v > 0.0)) {
            faults.add(name, format!("found {}, wanted more than 0", given.unwrap_or_default()));
        }
    }
    if energy.is_some() && wavelength.is_some() {
        faults.add_with_help("wavelength", "is given beside `energy`, wanted one of them", "leave one out");
    }
}

/// Faults of what both stages take of pixels and rings: `positive` are numbers above 0 by name.
pub(crate) fn check_frames(
    positive: [(&str, Option<f64>); 2],
    skip_rings: &[usize],
    polarisation: Option<f64>,
    faults: &mut Faults,
) {
    for (name, given) in positive {
        if let Some(found) = given.filter(|v| !(v.is_finite() && *v > 0.0)) {
            faults.add(name, format!("found {found}, wanted more than 0"));
        }
    }
    if skip_rings.contains(&0) {
        faults.add("skip_rings", "has ring 0, wanted numbers from 1");
    }
    if let Some(p) = polarisation.filter(|p| !(-1.0..=1.0).contains(p)) {
        faults.add("polarisation", format!("found {p}, wanted -1 to 1"));
    }
}

/// Rows and columns of frames, which must be those of the frames before.
pub(crate) fn shape_of(span: &Span, image: &Array, before: Option<[usize; 2]>) -> Result<[usize; 2]> {
    let &[_, rows, columns] = image.shape() else {
        let (dtype, shape) = (image.dtype(), image.shape());
        return Err(Error::data(format!("found images of {dtype} {shape:?}, wanted frames [n y x]")));
    };
    match before {
        Some([r, c]) if [r, c] != [rows, columns] => Err(Error::data(format!(
            "{span}: found frames of {rows} x {columns}, wanted {r} x {c} as before"
        ))),
        _ => Ok([rows, columns]),
    }
}

/// The bad pixels of a mask; none without one.
pub(crate) fn bad_pixels(mask: Option<&Array>, shape: [usize; 2]) -> Result<Option<Vec<bool>>> {
    let Some(mask) = mask else { return Ok(None) };
    if mask.shape() != shape {
        let found = mask.shape();
        return Err(Error::data(format!("the mask has shape {found:?}, the frames {shape:?}")));
    }
    Ok(Some(mask.to_f64()?.into_iter().map(|m| m != 0.0).collect()))
}

/// The powder: a known name, or spacings in angstrom.
pub(crate) fn powder(name: Option<&str>, spacings: &[f64]) -> Result<Calibrant> {
    if spacings.is_empty() {
        return Calibrant::named(name.unwrap_or(CALIBRANT)).map_err(|e| Error::recipe(e.to_string()));
    }
    Ok(Calibrant::listed("spacings", &spacings.iter().map(|d| d * ANGSTROM).collect::<Vec<_>>()))
}

/// Faults of a powder's name and spacings, of which at most one may be given.
pub(crate) fn check_powder(name: Option<&str>, spacings: &[f64], faults: &mut Faults) {
    if let Some(d) = spacings.iter().find(|d| !(d.is_finite() && **d > 0.0)) {
        faults.add("spacings", format!("found {d}, wanted more than 0"));
    }
    match (name, spacings.is_empty()) {
        (Some(_), false) => faults.add_with_help(
            "spacings",
            "are given beside `calibrant`, wanted one of them",
            "leave one out",
        ),
        (name, true) => {
            if let Err(error) = powder(name, &[]) {
                faults.add("calibrant", error.message());
            }
        }
        (None, false) => (),
    }
}
