//! Sinograms: the patterns of a scan, put where they belong.

use isard_core::prelude::*;

use super::axis::{Axis, Scan, Steps};
use super::rows::Rows;

/// What is known of a point of a sinogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Nothing: its values are 0 and count for nothing.
    Missing = 0,
    /// It was measured.
    Measured = 1,
    /// It was made up from its neighbours.
    Inpainted = 2,
}

/// Sinograms of all bins and slices.
#[derive(Clone, Debug)]
pub struct Sinogram {
    /// Heights of the slices.
    pub z: Vec<f64>,
    /// Angles of the projections, in degrees.
    pub omega: Vec<f64>,
    /// Positions of the rays, rising.
    pub x: Vec<f64>,
    /// Bins of each pattern.
    pub bins: usize,
    /// The patterns: [z omega x q].
    pub data: Vec<f32>,
    /// What each point is: [z omega x].
    pub state: Vec<State>,
    /// Where the axis of rotation is, as a translation.
    pub centre: f64,
    /// Whether the axis was looked for and not found; it is then in the middle of the translation.
    pub lost_centre: bool,
    /// Points that were measured more than once; their patterns are averaged.
    pub repeated: usize,
}

impl Sinogram {
    /// Puts patterns where they belong; `given` are axes that came with the data.
    ///
    /// Neither the order of arrival nor how patterns were grouped changes anything.
    pub fn new(scan: &Scan, given: &[Option<Vec<f64>>; 3], rows: &Rows) -> Result<Sinogram> {
        if rows.is_empty() {
            return Err(Error::data("there is no pattern, wanted at least one"));
        }
        let axes = axes(scan, given)?;
        let axis = |k: usize| match &axes[k] {
            Some(axis) => Ok(axis.clone()),
            None => {
                let name = NAMES[k];
                Axis::occurring(name, rows.points().map(|p| p.at[k]), scan.tolerance)
            }
        };
        let [z, omega, x] = [axis(0)?, axis(1)?, axis(2)?];
        let (_, step) = x.grid()?;
        let mut slots: Vec<(usize, u64, f64, &[f32])> = Vec::with_capacity(rows.len());
        for (point, row) in rows.iter() {
            let place = |axis: &Axis, k: usize| {
                axis.place(point.at[k]).map_err(|e| e.at(format!("frame {}", point.frame)))
            };
            let (a, b, c) = (place(&z, 0)?, place(&omega, 1)?, place(&x, 2)?);
            let c = if step < 0.0 { x.len() - 1 - c } else { c };
            slots.push(((a * omega.len() + b) * x.len() + c, point.frame, point.monitor, row));
        }
        slots.sort_by_key(|s| (s.0, s.1));
        let (points, bins) = (z.len() * omega.len() * x.len(), rows.bins());
        let (mut data, mut state) = (vec![0f32; points * bins], vec![State::Missing; points]);
        let mut repeated = 0;
        for same in slots.chunk_by(|a, b| a.0 == b.0) {
            let slot = same[0].0;
            let to = &mut data[slot * bins..(slot + 1) * bins];
            state[slot] = State::Measured;
            if let [(_, _, monitor, row)] = same {
                let by = 1.0 / monitor;
                to.iter_mut().zip(*row).for_each(|(to, v)| *to = (f64::from(*v) * by) as f32);
                continue;
            }
            repeated += 1;
            // More beam counts more: the sum over the sum of what it is divided by.
            let by = 1.0 / same.iter().map(|s| s.2).sum::<f64>();
            for (b, to) in to.iter_mut().enumerate() {
                *to = (same.iter().map(|s| f64::from(s.3[b])).sum::<f64>() * by) as f32;
            }
        }
        let mut at = x.at;
        if step < 0.0 {
            at.reverse();
        }
        let centre = 0.5 * (at[0] + at[at.len() - 1]);
        Ok(Sinogram {
            z: z.at,
            omega: omega.at,
            x: at,
            bins,
            data,
            state,
            centre,
            lost_centre: false,
            repeated,
        })
    }

    /// From one ray to the next.
    pub fn step(&self) -> f64 {
        if self.x.len() < 2 {
            return 1.0;
        }
        (self.x[self.x.len() - 1] - self.x[0]) / (self.x.len() as f64 - 1.0)
    }

    /// The axis of rotation as a place on a projection.
    pub fn centre_ray(&self) -> f64 {
        (self.centre - self.x[0]) / self.step()
    }

    /// Points of a slice.
    pub fn points(&self) -> usize {
        self.omega.len() * self.x.len()
    }

    /// The patterns of one slice.
    pub fn slice(&self, z: usize) -> &[f32] {
        let each = self.points() * self.bins;
        &self.data[z * each..(z + 1) * each]
    }

    /// The states of one slice.
    pub fn states(&self, z: usize) -> &[State] {
        &self.state[z * self.points()..(z + 1) * self.points()]
    }

    /// How many points are in a state.
    pub fn count(&self, state: State) -> usize {
        self.state.iter().filter(|s| **s == state).count()
    }

    /// The sum over the bins of each point.
    pub fn totals(&self) -> Vec<f64> {
        self.data.chunks_exact(self.bins.max(1)).map(|p| p.iter().map(|v| f64::from(*v)).sum()).collect()
    }

    /// Where a point is, in words.
    pub fn describe(&self, point: usize) -> String {
        let (a, b, c) =
            (point / self.points(), point / self.x.len() % self.omega.len(), point % self.x.len());
        format!("z {}, omega {}, x {}", self.z[a], self.omega[b], self.x[c])
    }
}

/// Names of the axes, slowest first.
pub(crate) const NAMES: [&str; 3] = ["z", "omega", "x"];

/// The axes that are known before any pattern: those that came with the data, or those of the recipe.
pub fn axes(scan: &Scan, given: &[Option<Vec<f64>>; 3]) -> Result<[Option<Axis>; 3]> {
    let steps: [Option<Steps>; 3] = [scan.z, scan.omega, scan.x];
    let one = |k: usize| match (steps[k], &given[k]) {
        (Some(steps), _) => Axis::even(NAMES[k], steps, scan.tolerance).map(Some),
        (None, Some(at)) => Axis::new(NAMES[k], at.clone(), scan.tolerance).map(Some),
        (None, None) => Ok(None),
    };
    Ok([one(0)?, one(1)?, one(2)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Point;

    fn rows(order: &[usize]) -> Rows {
        let mut rows = Rows::default();
        for k in order {
            let (omega, x) = (k / 3, k % 3);
            let at = [0.0, omega as f64 * 30.0, 5.0 - x as f64];
            let point = Point { frame: *k as u64, at, monitor: 2.0 };
            rows.add(2, vec![point], vec![*k as f32, 100.0]).unwrap();
        }
        rows
    }

    #[test]
    fn patterns_land_where_they_belong_in_any_order() {
        let scan = Scan { x: Some(Steps { start: 5.0, step: -1.0, n: 3 }), ..Scan::default() };
        let one = Sinogram::new(&scan, &[None, None, None], &rows(&[0, 1, 2, 3, 5])).unwrap();
        assert_eq!(
            (one.x.as_slice(), one.omega.as_slice(), one.centre),
            (&[3.0, 4.0, 5.0][..], &[0.0, 30.0][..], 4.0)
        );
        // The translation of the recipe falls; a sinogram's rises.
        let first: Vec<f32> = one.data.chunks(2).map(|p| p[0]).collect();
        assert_eq!(first, [1.0, 0.5, 0.0, 2.5, 0.0, 1.5]);
        assert_eq!(one.state[4], State::Missing);
        assert_eq!(one.describe(4), "z 0, omega 30, x 4");
        let other = Sinogram::new(&scan, &[None, None, None], &rows(&[5, 1, 3, 0, 2])).unwrap();
        assert_eq!((one.data, one.state), (other.data, other.state));
    }

    #[test]
    fn a_point_that_was_measured_twice_is_averaged() {
        let mut all = rows(&[0, 1, 2]);
        let point = Point { frame: 9, at: [0.0, 0.0, 4.0], monitor: 6.0 };
        all.add(2, vec![point], vec![15.0, 4.0]).unwrap();
        let found = Sinogram::new(&Scan::default(), &[None, None, None], &all).unwrap();
        // (1 + 15) / (2 + 6) and (100 + 4) / 8.
        assert_eq!((&found.data[2..4], found.repeated), (&[2.0, 13.0][..], 1));
    }

    #[test]
    fn a_stray_is_named() {
        let scan = Scan { omega: Some(Steps { start: 0.0, step: 10.0, n: 3 }), ..Scan::default() };
        let error = Sinogram::new(&scan, &[None, None, None], &rows(&[0, 1, 2, 3])).unwrap_err();
        assert_eq!(
            error.message(),
            "its `omega` is 30, wanted one of 3 positions from 0 to 20 within 2.500e0"
        );
        assert_eq!(error.places(), ["frame 3"]);
    }
}
