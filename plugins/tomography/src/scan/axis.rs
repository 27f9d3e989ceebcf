//! The axes of a scan, and which frame was taken where.

use isard_core::prelude::*;
use isard_core::schemars;

/// Even positions of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// The first position.
    pub start: f64,
    /// From one position to the next.
    pub step: f64,
    /// How many positions there are.
    #[schemars(range(min = 1))]
    pub n: usize,
}

/// The axis that moves from one frame to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fast {
    /// The translation.
    #[default]
    X,
    /// The rotation.
    Omega,
}

/// The axes of a scan.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scan {
    /// Positions of the translation across the beam; else those of the input, or those that occur.
    pub x: Option<Steps>,
    /// Angles of the rotation in degrees; else those of the input, or those that occur.
    pub omega: Option<Steps>,
    /// Heights; else those of the input, or those that occur.
    pub z: Option<Steps>,
    /// The axis that moves from frame to frame, where frames do not say where they were taken.
    pub fast: Fast,
    /// Every other line runs back, where frames do not say where they were taken.
    pub zigzag: bool,
    /// How far a frame may be from a position, as a part of the step.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub tolerance: f64,
}

impl Default for Scan {
    fn default() -> Self {
        Scan { x: None, omega: None, z: None, fast: Fast::X, zigzag: false, tolerance: 0.25 }
    }
}

impl Scan {
    /// What is wrong with it.
    pub fn faults(&self, faults: &mut Faults) {
        for (name, steps) in [("x", self.x), ("omega", self.omega), ("z", self.z)] {
            let Some(s) = steps else { continue };
            let even = s.start.is_finite() && s.step.is_finite() && (s.step != 0.0 || s.n == 1);
            if s.n == 0 || !even {
                let found = format!("`{name}` has {} steps of {} from {}", s.n, s.step, s.start);
                faults.add("scan", format!("{found}, wanted one or more steps that are not 0"));
            }
        }
        if !(0.0..=0.5).contains(&self.tolerance) {
            faults.add("scan", format!("`tolerance` is {}, wanted 0 to 0.5 of a step", self.tolerance));
        }
    }
}

/// The positions of an axis, in the order of the scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The axis' name, for errors.
    pub name: &'static str,
    /// The positions.
    pub at: Vec<f64>,
    /// The same in rising order, each with its number.
    sorted: Vec<(f64, usize)>,
    /// How far a frame may be from a position.
    tolerance: f64,
}

impl Axis {
    /// An axis with these positions; a frame may be off by a part of the smallest step.
    pub fn new(name: &'static str, at: Vec<f64>, tolerance: f64) -> Result<Axis> {
        if at.is_empty() {
            return Err(Error::data(format!("axis `{name}` has no position, wanted at least one")));
        }
        if let Some(k) = at.iter().position(|x| !x.is_finite()) {
            return Err(Error::data(format!("axis `{name}`: position {k} is {}, wanted a number", at[k])));
        }
        let mut sorted: Vec<(f64, usize)> = at.iter().copied().zip(0..).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let steps = sorted.windows(2).map(|w| w[1].0 - w[0].0);
        let least = steps.fold(f64::INFINITY, f64::min);
        if least <= 0.0 {
            let twice = sorted.windows(2).find(|w| w[0].0 >= w[1].0).map_or(0.0, |w| w[0].0);
            return Err(Error::data(format!("axis `{name}` has the position {twice} twice")));
        }
        let scale = at.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let tolerance = if least.is_finite() { tolerance * least } else { f64::INFINITY }.max(1e-9 * scale);
        Ok(Axis { name, at, sorted, tolerance })
    }

    /// An axis of even steps.
    pub fn even(name: &'static str, steps: Steps, tolerance: f64) -> Result<Axis> {
        let at = (0..steps.n).map(|k| steps.start + steps.step * k as f64).collect();
        Axis::new(name, at, tolerance)
    }

    /// The positions that occur among values; such as differ by less than a hundred-thousandth of the range are one.
    pub fn occurring(name: &'static str, values: impl Iterator<Item = f64>, tolerance: f64) -> Result<Axis> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let range = values.last().copied().unwrap_or(0.0) - values.first().copied().unwrap_or(0.0);
        values.dedup_by(|b, a| *b - *a <= 1e-5 * range);
        Axis::new(name, values, tolerance)
    }

    /// How many positions there are.
    pub fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether there is no position; there always is one.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// The number of the position nearest to a value; an error when it is too far.
    pub fn place(&self, value: f64) -> Result<usize> {
        let after = self.sorted.partition_point(|(x, _)| *x < value);
        let near = [after.checked_sub(1), Some(after)];
        let near = near.into_iter().flatten().filter_map(|k| self.sorted.get(k));
        let off = |(x, _): &&(f64, usize)| (x - value).abs();
        let best = near.min_by(|a, b| off(a).total_cmp(&off(b)));
        match best.filter(|b| off(b) <= self.tolerance) {
            Some((_, number)) => Ok(*number),
            None => {
                let (low, high) = (self.sorted[0].0, self.sorted[self.sorted.len() - 1].0);
                let (name, n) = (self.name, self.len());
                let far = self.tolerance;
                let range = format!("wanted one of {n} positions from {low} to {high} within {far:.3e}");
                Err(Error::data(format!("its `{name}` is {value}, {range}"))
                    .help(format!("check `scan.{name}`, the input `{name}_axis`, or raise `scan.tolerance`")))
            }
        }
    }

    /// The positions with even steps: the first and the step. An error when they are not even.
    ///
    /// A single position, as after the first frame of a scan, has a step of 1.
    pub fn grid(&self) -> Result<(f64, f64)> {
        let n = self.len();
        if n < 2 {
            return Ok((self.at[0], 1.0));
        }
        let step = (self.at[n - 1] - self.at[0]) / (n as f64 - 1.0);
        for (k, x) in self.at.iter().enumerate() {
            let even = self.at[0] + step * k as f64;
            if (x - even).abs() > 0.02 * step.abs() {
                let name = self.name;
                let text = format!("axis `{name}` is not even: position {k} is {x}, wanted {even}");
                return Err(Error::data(text).help("the translation must have equal steps"));
            }
        }
        Ok((self.at[0], step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_found_and_strays_refused() {
        let steps = Steps { start: 10.0, step: -0.5, n: 21 };
        let axis = Axis::even("x", steps, 0.25).unwrap();
        assert_eq!(axis.place(10.1).unwrap(), 0);
        assert_eq!(axis.place(0.0).unwrap(), 20);
        assert_eq!(axis.place(9.0).unwrap(), 2);
        let error = axis.place(10.2).unwrap_err();
        assert_eq!(
            error.message(),
            "its `x` is 10.2, wanted one of 21 positions from 0 to 10 within 1.250e-1"
        );
        assert!(axis.place(f64::NAN).is_err());
        let (start, step) = axis.grid().unwrap();
        assert_eq!((start, step), (10.0, -0.5));
    }

    #[test]
    fn axes_come_from_what_occurs_and_must_be_even_for_the_translation() {
        let seen = [3.0, 1.0, 2.0, 1.000_001, 3.0].into_iter();
        let axis = Axis::occurring("x", seen, 0.25).unwrap();
        assert_eq!(axis.at, [1.0, 2.0, 3.0]);
        let uneven = Axis::new("x", vec![0.0, 1.0, 2.2], 0.25).unwrap();
        assert!(uneven.grid().unwrap_err().message().contains("position 1 is 1, wanted 1.1"));
        let twice = Axis::new("omega", vec![0.0, 1.0, 0.0], 0.25).unwrap_err();
        assert_eq!(twice.message(), "axis `omega` has the position 0 twice");
    }
}
