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

    /// What is given here, and what prepared frames say of themselves: one axis and one pixel for all of them.
    ///
    /// Inputs that say otherwise are refused, since the axis and the pixels of raw frames are easily taken for them.
    pub fn with_frames(mut self, axis: &Option<Array>, pixel: &Option<Array>) -> Result<Given> {
        if let Some(found) = same(axis, 2, "optical axis")? {
            let found = [found[0], found[1]];
            if let Some(center) = self.center.filter(|c| (0..2).any(|k| (c[k] - found[k]).abs() > 1e-6)) {
                return Err(Error::data(format!(
                    "the input `center` is {center:?}, but frames were prepared with their axis on {found:?}"
                ))
                .help("leave `center` out: prepared frames bring theirs as `axis`"));
            }
            self.center = Some(found);
        }
        if let Some(found) = same(pixel, 1, "pixel size")? {
            let found = found[0];
            if let Some(psize) = self.psize.filter(|p| (p / found - 1.0).abs() > 1e-6) {
                return Err(Error::data(format!(
                    "the input `psize` is {psize} m, but the pixels of prepared frames are {found} m"
                ))
                .help("leave `psize` out: prepared frames bring theirs as `pixel`"));
            }
            self.psize = Some(found);
        }
        Ok(self)
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
            pixel: None,
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

/// What all frames of a chunk say alike, in so many numbers.
fn same(each: &Option<Array>, length: usize, what: &str) -> Result<Option<Vec<f64>>> {
    let Some(each) = each else { return Ok(None) };
    let all = each.to_f64()?;
    let Some(first) = all.get(..length) else { return Ok(None) };
    match all.chunks(length).find(|one| *one != first) {
        Some(other) => Err(Error::data(format!("frames differ in their {what}: {first:?} and {other:?}"))
            .help("reconstruct and save scans of one geometry each")),
        None => Ok(Some(first.to_vec())),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prepared_frames_bring_their_axis_and_pixel_and_bear_no_other() {
        let axis = Some(Array::of(&[2, 2], &[8.0, 7.5, 8.0, 7.5]).unwrap());
        let pixel = Some(Array::from_slice(&[344e-6, 344e-6]));
        let given = Given::default().with_frames(&axis, &pixel).unwrap();
        assert_eq!((given.center, given.psize), (Some([8.0, 7.5]), Some(344e-6)));
        let said =
            |given: Given, axis: &Option<Array>| given.with_frames(axis, &pixel).unwrap_err().to_string();
        // The pixel of raw frames, wired past a binning of two.
        let raw = said(Given { psize: Some(172e-6), ..Given::default() }, &axis);
        assert!(raw.contains("0.000172 m") && raw.contains("0.000344 m"), "{raw}");
        let off = said(Given { center: Some([16.0, 16.0]), ..Given::default() }, &axis);
        assert!(off.contains("[16.0, 16.0]") && off.contains("[8.0, 7.5]"), "{off}");
        let mixed = Some(Array::of(&[2, 2], &[8.0, 7.5, 8.0, 8.0]).unwrap());
        let mixed = said(Given::default(), &mixed);
        assert!(mixed.contains("differ in their optical axis"), "{mixed}");
    }
}
