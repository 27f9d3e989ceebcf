//! What stages know of an experiment from their parameters or their input.

use isard_core::prelude::*;

use crate::geometry::{Centre, Geometry, Propagation};

/// An experiment as parameters and inputs give it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// keV.
    pub energy: Option<f64>,
    /// m.
    pub distance: Option<f64>,
    /// m.
    pub psize: Option<f64>,
    /// Row and column.
    pub center: Option<[f64; 2]>,
}

impl Given {
    /// What is given here, or else there.
    pub fn or(self, other: Given) -> Given {
        Given {
            energy: self.energy.or(other.energy),
            distance: self.distance.or(other.distance),
            psize: self.psize.or(other.psize),
            center: self.center.or(other.center),
        }
    }

    /// The geometry of frames of `n` by `n` pixels.
    pub fn geometry(self, n: usize, propagation: Propagation) -> Result<Geometry> {
        let need = |what: &str, value: Option<f64>| {
            value.ok_or_else(|| {
                Error::recipe(format!("the {what} is not given"))
                    .help(format!("set `{what}`, or wire the input `{what}`"))
            })
        };
        let geometry = Geometry {
            energy: need("energy", self.energy)?,
            distance: need("distance", self.distance)?,
            psize: need("psize", self.psize)?,
            n,
            propagation,
            centre: self.center.map_or([Centre::Fftshift; 2], |c| c.map(Centre::At)),
        };
        geometry.check()?;
        Ok(geometry)
    }
}

/// The two numbers of a small array.
pub fn pair(array: &Option<Array>) -> Result<Option<[f64; 2]>> {
    let Some(array) = array else { return Ok(None) };
    match array.to_f64()?.as_slice() {
        [a, b] => Ok(Some([*a, *b])),
        other => Err(Error::data(format!("found {} numbers, wanted two", other.len()))),
    }
}

/// Adds a fault for each number that must be more than 0.
pub fn positive(numbers: &[(&str, Option<f64>)], faults: &mut Faults) {
    for (name, value) in numbers {
        if let Some(value) = value.filter(|v| !(v.is_finite() && *v > 0.0)) {
            faults.add(name, format!("found {value}, wanted more than 0"));
        }
    }
}
