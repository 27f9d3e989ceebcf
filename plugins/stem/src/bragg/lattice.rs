//! A lattice through the disks of each frame.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::reduce::above;

/// Fits a lattice to the disks of each frame.
///
/// Each disk gets the indices `(h, k)` of the nearest point of the lattice `q = q0 + h g1 + k g2`, starting from `g1`, `g2` and
/// `origin`; then all three vectors are fitted, weighted by the disks' intensities, and indexed anew. Disks farther than
/// `reach` from their point are left out. A frame with fewer than three disks that do not lie on a line is NaN and 0 in
/// `valid`.
///
/// Changes neither order nor count of frames. Some microseconds a frame.
///
/// Source: weighted least squares, as in B. H. Savitzky et al., Microsc. Microanal. 27 (2021) 712.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lattice {
    /// The first vector to begin with, `[y, x]`.
    #[schemars(extend("x-unit" = "pixel"))]
    g1: [f64; 2],
    /// The second vector to begin with, `[y, x]`.
    #[schemars(extend("x-unit" = "pixel"))]
    g2: [f64; 2],
    /// The origin to begin with, `[y, x]`; else the disk nearest to the mean of all.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    origin: Option<[f64; 2]>,
    /// How far a disk may be from its point, in parts of the shorter vector.
    #[serde(default = "quarter")]
    #[schemars(range(min = 0.0, max = 0.5))]
    reach: f64,
    /// How often disks are indexed and fitted.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 100))]
    rounds: usize,
}

fn quarter() -> f64 {
    0.25
}

fn three() -> usize {
    3
}

/// Disks.
#[derive(Ports)]
pub struct LatticeIn {
    /// The disks of each frame.
    #[port(columns = "row: f64 pixel, column: f64 pixel, intensity: f64")]
    peaks: Table,
    /// How many disks each frame has; tells the frames apart that have none.
    #[port(dtype = "u32", axes = "")]
    count: Array,
}

/// Lattices; `c` is y, x.
#[derive(Ports)]
pub struct LatticeOut {
    /// The first vector.
    #[port(dtype = "f64", axes = "c", unit = "pixel")]
    g1: Array,
    /// The second vector.
    #[port(dtype = "f64", axes = "c", unit = "pixel")]
    g2: Array,
    /// The origin.
    #[port(dtype = "f64", axes = "c", unit = "pixel")]
    origin: Array,
    /// The weighted mean distance of disks from their points, as a root of squares.
    #[port(dtype = "f64", axes = "", unit = "pixel")]
    error: Array,
    /// How many disks were used.
    #[port(dtype = "u32", axes = "")]
    used: Array,
    /// Whether there is a lattice: 1, else 0.
    #[port(dtype = "u8", axes = "")]
    valid: Array,
}

impl Stage for Lattice {
    type In = LatticeIn;
    type Out = LatticeOut;

    fn example() -> Example {
        let (mut rows, mut columns, mut records) = (vec![], vec![], vec![]);
        for frame in 0..3u64 {
            for (h, k) in [(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)] {
                let (h, k) = (f64::from(h), f64::from(k));
                rows.push(20.0 + 1.5 * h + (9.0 + 0.1 * frame as f64) * k);
                columns.push(21.0 + 10.0 * h - k);
                records.push(frame);
            }
        }
        let table = Table::new(15).with("row", &rows).and_then(|t| t.with("column", &columns));
        let table =
            table.and_then(|t| t.with("intensity", &[1.0; 15])).and_then(|t| t.with_records(&records));
        Example::new("g1 = [1.5, 10.0]\ng2 = [9.0, -1.0]")
            .frames("peaks", table.expect("fifteen rows"))
            .frames("count", Array::from_slice(&[5u32; 3]))
    }

    fn check(&self, faults: &mut Faults) {
        let area = self.g1[0] * self.g2[1] - self.g1[1] * self.g2[0];
        if !above(area.abs(), 1e-6) {
            faults.add("g2", format!("{:?} is parallel to `g1`, {:?}", self.g2, self.g1));
        }
        if !(self.reach > 0.0 && self.reach <= 0.5) {
            faults.add("reach", format!("is {}, wanted above 0 and at most 0.5", self.reach));
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let mut shapes = Shapes::default().with("error", Shape::array(Dtype::F64, &[]));
        for name in ["g1", "g2", "origin"] {
            shapes = shapes.with(name, Shape::array(Dtype::F64, &[2]));
        }
        Ok(shapes.with("used", Shape::array(Dtype::U32, &[])).with("valid", Shape::array(Dtype::U8, &[])))
    }
}

/// A disk: y, x, weight.
type Spot = [f64; 3];

/// A fitted lattice.
struct Fitted {
    origin: [f64; 2],
    g: [[f64; 2]; 2],
    error: f64,
    used: usize,
}

impl Lattice {
    fn fit(&self, spots: &[Spot]) -> Option<Fitted> {
        let weight: f64 = spots.iter().map(|s| s[2]).sum();
        if spots.len() < 3 || !above(weight, 0.0) {
            return None;
        }
        let mean = [0, 1].map(|c| spots.iter().map(|s| s[c] * s[2]).sum::<f64>() / weight);
        let far = |s: &&Spot| (s[0] - mean[0]).hypot(s[1] - mean[1]);
        let nearest = spots.iter().min_by(|a, b| far(a).total_cmp(&far(b)))?;
        let mut origin = self.origin.unwrap_or([nearest[0], nearest[1]]);
        let mut g = [self.g1, self.g2];
        let mut last = None;
        for _ in 0..self.rounds {
            let indexed = self.index(spots, origin, g)?;
            let fitted = solve(&indexed)?;
            (origin, g) = (fitted.origin, fitted.g);
            last = Some(fitted);
        }
        last
    }

    /// Disks with the indices of their points.
    fn index(&self, spots: &[Spot], q0: [f64; 2], g: [[f64; 2]; 2]) -> Option<Vec<(Spot, [f64; 2])>> {
        let det = g[0][0] * g[1][1] - g[0][1] * g[1][0];
        let reach = self.reach * g[0][0].hypot(g[0][1]).min(g[1][0].hypot(g[1][1]));
        if !above(det.abs(), 1e-9) {
            return None;
        }
        let mut found = vec![];
        for spot in spots.iter().filter(|s| s[2] > 0.0) {
            let (y, x) = (spot[0] - q0[0], spot[1] - q0[1]);
            let h = ((y * g[1][1] - x * g[1][0]) / det).round();
            let k = ((x * g[0][0] - y * g[0][1]) / det).round();
            let off = (y - h * g[0][0] - k * g[1][0]).hypot(x - h * g[0][1] - k * g[1][1]);
            if off <= reach {
                found.push((*spot, [h, k]));
            }
        }
        Some(found)
    }
}

/// Weighted least squares of origin and both vectors.
fn solve(spots: &[(Spot, [f64; 2])]) -> Option<Fitted> {
    // Normal equations of (1, h, k) for y and x; entries are small whole numbers times weights.
    let mut a = [[0.0f64; 5]; 3];
    for (spot, [h, k]) in spots {
        let row = [1.0, *h, *k];
        for i in 0..3 {
            for j in 0..3 {
                a[i][j] += spot[2] * row[i] * row[j];
            }
            a[i][3] += spot[2] * row[i] * spot[0];
            a[i][4] += spot[2] * row[i] * spot[1];
        }
    }
    let scale = a[0][0].max(f64::MIN_POSITIVE);
    for i in 0..3 {
        let pivot = (i..3).max_by(|p, q| a[*p][i].abs().total_cmp(&a[*q][i].abs()))?;
        a.swap(i, pivot);
        // Points on a line tell one vector only.
        if a[i][i].abs() < 1e-9 * scale {
            return None;
        }
        for j in 0..3 {
            if j != i {
                let f = a[j][i] / a[i][i];
                let own = a[i];
                a[j].iter_mut().zip(own).for_each(|(x, o)| *x -= f * o);
            }
        }
    }
    let value = |i: usize| [a[i][3] / a[i][i], a[i][4] / a[i][i]];
    let (origin, g) = (value(0), [value(1), value(2)]);
    let (mut square, mut weight) = (0.0, 0.0);
    for (spot, [h, k]) in spots {
        let y = spot[0] - origin[0] - h * g[0][0] - k * g[1][0];
        let x = spot[1] - origin[1] - h * g[0][1] - k * g[1][1];
        square += spot[2] * (y * y + x * x);
        weight += spot[2];
    }
    Some(Fitted { origin, g, error: (square / weight).sqrt(), used: spots.len() })
}

impl Map for Lattice {
    fn apply(&self, cx: &Cx, span: &Span, input: LatticeIn) -> Result<LatticeOut> {
        let n = span.len as usize;
        let column = |name: &str| input.peaks.numbers::<f64>(name);
        let (rows, columns, weights) = (column("row")?, column("column")?, column("intensity")?);
        let records = input.peaks.records();
        let mut spots = vec![vec![]; n];
        for (i, record) in records.iter().enumerate() {
            if let Some(own) = record.checked_sub(span.start).and_then(|at| spots.get_mut(at as usize)) {
                own.push([rows[i], columns[i], weights[i]]);
            }
        }
        let mut vectors = [vec![], vec![], vec![]];
        let (mut error, mut used, mut valid) = (vec![], vec![], vec![]);
        for spots in &spots {
            cx.check()?;
            let fitted = self.fit(spots);
            valid.push(u8::from(fitted.is_some()));
            let nan = [f64::NAN; 2];
            let fitted = fitted.unwrap_or(Fitted { origin: nan, g: [nan; 2], error: f64::NAN, used: 0 });
            vectors.iter_mut().zip([fitted.g[0], fitted.g[1], fitted.origin]).for_each(|(v, g)| v.extend(g));
            error.push(fitted.error);
            used.push(fitted.used as u32);
        }
        let [g1, g2, origin] = vectors;
        let pairs = |v: &[f64]| Array::of(&[n, 2], v);
        Ok(LatticeOut {
            g1: pairs(&g1)?,
            g2: pairs(&g2)?,
            origin: pairs(&origin)?,
            error: Array::from_slice(&error),
            used: Array::from_slice(&used),
            valid: Array::from_slice(&valid),
        })
    }
}
declare!(Map, "stem.lattice", Kind::Reducer, Lattice);
