//! Virtual detectors: shapes on the detector, and the weights they stand for.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::reduce::frames::{Size, at_least};

/// A virtual detector: exactly one of its shapes.
///
/// Positions are `[y, x]` in pixels, whose centres are whole numbers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detector {
    /// Pixels at most this far from the centre.
    #[serde(default)]
    pub disk: Option<f64>,
    /// Pixels farther than the first from the centre and at most as far as the second.
    #[serde(default)]
    pub ring: Option<[f64; 2]>,
    /// Pixels around a radius with soft edges: radius and width.
    ///
    /// The weight is `width / 2 + 1 / 2 - |distance - radius|`, at least 0 and at most 1, so neighbouring rings add up to 1.
    #[serde(default)]
    pub soft_ring: Option<[f64; 2]>,
    /// The pixel nearest to this place.
    #[serde(default)]
    pub point: Option<[f64; 2]>,
    /// The first row and column, and the last, both included.
    #[serde(default)]
    pub rectangle: Option<[f64; 4]>,
    /// Pixels within a polygon.
    #[serde(default)]
    pub polygon: Option<Vec<[f64; 2]>>,
    /// Every pixel.
    #[serde(default)]
    pub all: bool,
    /// An array of weights [y x], or of several masks [m y x].
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    pub file: Option<String>,
    /// Cuts disks and rings into so many equal sectors, from the first angle on.
    #[serde(default)]
    pub sectors: Option<usize>,
    /// Where the first sector begins; 0 points along x, 90 down along y.
    #[serde(default)]
    #[schemars(extend("x-unit" = "degree"))]
    pub angle: f64,
    /// Its own centre; else that of the stage.
    #[serde(default)]
    pub centre: Option<[f64; 2]>,
}

impl Detector {
    /// Adds the faults of a detector.
    pub(crate) fn check(&self, name: &str, faults: &mut Faults) {
        let place = format!("detectors.{name}");
        let shapes = [
            self.disk.is_some(),
            self.ring.is_some(),
            self.soft_ring.is_some(),
            self.point.is_some(),
            self.rectangle.is_some(),
            self.polygon.is_some(),
            self.all,
            self.file.is_some(),
        ];
        let n = shapes.iter().filter(|s| **s).count();
        if n != 1 {
            faults.add_with_help(
                &place,
                format!("has {n} shapes, wanted one"),
                "such as `{ disk = 10 }` or `{ ring = [10, 20] }`",
            );
        }
        if let Some([inner, outer]) = self.ring
            && !(inner >= 0.0 && outer > inner)
        {
            faults.add(&place, format!("the ring goes from {inner} to {outer}, wanted a larger one"));
        }
        if let Some(radius) = self.disk.filter(|r| !at_least(*r, 0.0)) {
            faults.add(&place, format!("the radius of the disk is {radius}, wanted 0 or more"));
        }
        if self.sectors == Some(0) {
            faults.add(&place, "is cut into 0 sectors, wanted at least 1");
        }
        if self.sectors.is_some() && self.disk.is_none() && self.ring.is_none() && self.soft_ring.is_none() {
            faults.add(&place, "has sectors, which only disks and rings have");
        }
        if self.polygon.as_ref().is_some_and(|p| p.len() < 3) {
            faults.add(&place, "the polygon has fewer than three corners");
        }
    }

    /// How many masks it is, unless a file says.
    pub(crate) fn planes(&self) -> Option<usize> {
        if self.file.is_some() { None } else { Some(self.sectors.unwrap_or(1)) }
    }

    /// Whether its maps have an axis of masks.
    pub(crate) fn stacked(&self, masks: usize) -> bool {
        self.sectors.is_some() || (self.file.is_some() && masks != 1)
    }

    /// The weights of its masks, one or several.
    pub(crate) fn masks(&self, cx: &Cx, size: Size, centre: [f64; 2]) -> Result<Vec<Vec<f64>>> {
        if let Some(path) = &self.file {
            return from_file(cx, path, size);
        }
        let [cy, cx] = self.centre.unwrap_or(centre);
        let mut masks = vec![vec![0.0; size.pixels()]; self.sectors.unwrap_or(1)];
        let places = (0..size.rows).flat_map(|y| (0..size.columns).map(move |x| (y as f64, x as f64)));
        for (i, (y, x)) in places.enumerate() {
            let weight = self.weight(y, x, y - cy, x - cx);
            if weight == 0.0 {
                continue;
            }
            let sector = match self.sectors {
                Some(n) if n > 1 => {
                    let turn = ((y - cy).atan2(x - cx).to_degrees() - self.angle).rem_euclid(360.0);
                    ((turn / 360.0 * n as f64) as usize).min(n - 1)
                }
                _ => 0,
            };
            masks[sector][i] = weight;
        }
        Ok(masks)
    }

    fn weight(&self, y: f64, x: f64, dy: f64, dx: f64) -> f64 {
        let square = dy * dy + dx * dx;
        let inside = |yes: bool| f64::from(u8::from(yes));
        if let Some(radius) = self.disk {
            return inside(square <= radius * radius);
        }
        if let Some([inner, outer]) = self.ring {
            // The outer disk and not the inner one.
            return inside(square <= outer * outer && square > inner * inner);
        }
        if let Some([radius, width]) = self.soft_ring {
            let distance = square.sqrt();
            // Within the innermost half pixel there is no other ring that could share the centre.
            let whole = radius - width / 2.0 < 0.5 && distance < radius;
            let soft = (width / 2.0 + 0.5 - (distance - radius).abs()).clamp(0.0, 1.0);
            return if whole { 1.0 } else { soft };
        }
        if let Some([py, px]) = self.point {
            return inside(y == py.round() && x == px.round());
        }
        if let Some([top, left, bottom, right]) = self.rectangle {
            return inside(y >= top && y <= bottom && x >= left && x <= right);
        }
        if let Some(corners) = &self.polygon {
            return inside(within(corners, y, x));
        }
        inside(self.all)
    }
}

/// Whether a place is within a polygon, by counting the edges to its right.
fn within(corners: &[[f64; 2]], y: f64, x: f64) -> bool {
    let next = corners.iter().cycle().skip(1);
    let crossed = corners
        .iter()
        .zip(next)
        .filter(|([ay, ax], [by, bx])| (*ay > y) != (*by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax);
    crossed.count() % 2 == 1
}

fn from_file(cx: &Cx, path: &str, size: Size) -> Result<Vec<Vec<f64>>> {
    let array = cx.read_array(path)?;
    let shape = array.shape();
    let fits = shape.ends_with(&[size.rows, size.columns]) && (2..=3).contains(&shape.len());
    if !fits {
        let (rows, columns) = (size.rows, size.columns);
        return Err(Error::data(format!(
            "{path}: has shape {shape:?}, wanted masks [m, {rows}, {columns}] or one [{rows}, {columns}]"
        )));
    }
    Ok(array.to_f64()?.chunks_exact(size.pixels()).map(<[f64]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { n: 1, rows: 5, columns: 5 };

    fn sum(detector: &Detector) -> Vec<f64> {
        let run = isard_core::stage::RunCx::default();
        let masks = detector.masks(&Cx::new(&run, "t"), SIZE, SIZE.centre()).unwrap();
        masks.iter().map(|m| m.iter().sum()).collect()
    }

    #[test]
    fn shapes_by_hand() {
        // Around pixel (2, 2): 1 pixel at 0, 4 at 1, 4 at sqrt 2, 4 at 2.
        assert_eq!(sum(&Detector { disk: Some(1.0), ..Detector::default() }), [5.0]);
        assert_eq!(sum(&Detector { ring: Some([1.0, 2.0]), ..Detector::default() }), [8.0]);
        assert_eq!(sum(&Detector { ring: Some([0.0, 1.0]), ..Detector::default() }), [4.0]);
        assert_eq!(sum(&Detector { point: Some([1.2, 4.0]), ..Detector::default() }), [1.0]);
        assert_eq!(sum(&Detector { rectangle: Some([0.0, 1.0, 1.0, 3.0]), ..Detector::default() }), [6.0]);
        let corners = Some(vec![[0.5, 0.5], [0.5, 3.5], [3.5, 3.5], [3.5, 0.5]]);
        assert_eq!(sum(&Detector { polygon: corners, ..Detector::default() }), [9.0]);
        // Sectors from -45 degrees on: right, down, left, up, of which one has the centre.
        let four = Detector { ring: Some([0.5, 1.0]), sectors: Some(4), angle: -45.0, ..Detector::default() };
        assert_eq!(sum(&four), [1.0; 4]);
    }

    #[test]
    fn soft_rings_add_up_to_one() {
        let run = isard_core::stage::RunCx::default();
        let mut all = vec![0.0; 25];
        for radius in [0.5, 1.5, 2.5, 3.5] {
            let ring = Detector { soft_ring: Some([radius, 1.0]), ..Detector::default() };
            let mask = ring.masks(&Cx::new(&run, "t"), SIZE, SIZE.centre()).unwrap();
            all.iter_mut().zip(&mask[0]).for_each(|(a, m)| *a += m);
        }
        assert!(all.iter().all(|a| (a - 1.0).abs() < 1e-12), "{all:?}");
    }
}
