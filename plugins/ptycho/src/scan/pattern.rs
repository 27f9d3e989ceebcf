//! Scan patterns, in metres, row and column.

use isard_core::{Error, Result};

/// The kinds of pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// Rings with five points more on each.
    Round,
    /// Points of equal density along a spiral.
    Spiral,
    /// A rectangular grid; the column is the fast axis.
    Raster,
}

/// A scan pattern by its parameters; one of extent, spacing and steps may be left out.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// The kind of pattern.
    pub model: Model,
    /// Points further than half of this from the middle are left out.
    pub extent: Option<[f64; 2]>,
    /// Between points.
    pub spacing: Option<[f64; 2]>,
    /// Points along each axis; twice the number of rings.
    pub steps: Option<[usize; 2]>,
    /// Added to all positions.
    pub offset: f64,
    /// No more points than this.
    pub count: Option<usize>,
}

/// Points along the innermost ring.
const FIRST_RING: usize = 5;

/// Points on rings: `rings` and one more around the middle.
pub fn round(spacing: f64, rings: usize) -> Vec<[f64; 2]> {
    let mut all = vec![[0.0, 0.0]];
    for ring in 1..=rings + 1 {
        let (n, radius) = (FIRST_RING * ring, ring as f64 * spacing);
        for j in 0..n {
            let angle = std::f64::consts::TAU * j as f64 / n as f64;
            all.push([radius * angle.sin(), radius * angle.cos()]);
        }
    }
    all
}

/// Points along a spiral, out to a radius.
pub fn spiral(spacing: f64, radius: f64) -> Vec<[f64; 2]> {
    let turn = |k: usize| (4.0 * std::f64::consts::PI).sqrt() * (k as f64).sqrt();
    let point = |k: usize| (spacing / std::f64::consts::TAU * turn(k), turn(k));
    let points = (0..).map(point).take_while(|(r, _)| *r <= radius);
    points.map(|(r, angle)| [r * angle.sin(), r * angle.cos()]).collect()
}

/// Points on a grid from (0, 0): `steps[1]` slow ones along the rows, `steps[0]` fast ones along the columns.
///
/// The first spacing belongs to the columns and the second to the rows, as other programs have it.
pub fn raster(spacing: [f64; 2], steps: [usize; 2]) -> Vec<[f64; 2]> {
    let slow = |i: usize| (0..steps[0]).map(move |j| [spacing[1] * i as f64, spacing[0] * j as f64]);
    (0..steps[1]).flat_map(slow).collect()
}

impl Pattern {
    /// The positions.
    pub fn positions(&self) -> Result<Vec<[f64; 2]>> {
        let over = |a: [f64; 2], b: [f64; 2]| [a[0] / b[0], a[1] / b[1]];
        let whole = |a: [f64; 2]| a.map(|x| x as usize);
        let real = |a: [usize; 2]| a.map(|x| x as f64);
        let (extent, spacing, steps) = match (self.extent, self.spacing, self.steps) {
            (Some(e), Some(d), None) => (Some(e), d, whole(over(e, d))),
            (Some(e), None, Some(n)) => (Some(e), over(e, real(n)), n),
            (None, Some(d), Some(n)) => (None, d, n),
            (Some(e), Some(d), Some(n)) => (Some(e), d, n),
            _ => {
                let help = "set two of `extent`, `spacing` and `steps`";
                return Err(Error::recipe("two of extent, spacing and steps are missing").help(help));
            }
        };
        if spacing.iter().any(|d| !(d.is_finite() && *d > 0.0)) {
            return Err(Error::recipe(format!("found a spacing of {spacing:?} m, wanted more than 0")));
        }
        let reach = extent.map_or(spacing[0] * steps[0] as f64, |e| e[0]);
        let all = match self.model {
            Model::Round => round(spacing[0], steps[0] / 2),
            Model::Spiral => spiral(spacing[0], reach / 2.0),
            Model::Raster => raster(spacing, steps),
        };
        let shifted = all.into_iter().map(|[y, x]| [y + self.offset, x + self.offset]);
        let inside = |p: &[f64; 2]| extent.is_none_or(|e| (0..2).all(|k| p[k].abs() <= e[k] / 2.0));
        Ok(shifted.filter(inside).take(self.count.unwrap_or(usize::MAX)).collect())
    }
}
