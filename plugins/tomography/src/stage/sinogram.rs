//! `tomography.sinogram`: the patterns of a scan, put where they belong.

use isard_core::prelude::*;

use super::input::{Given, Invalid, ScanIn};
use crate::scan::{Repair, Rows, Scan, Sinogram as Made, State};

/// Puts the patterns of a scan into sinograms, one for each bin.
///
/// Frames come in any order and say where they were taken, or their numbers do: along the translation or the rotation, every
/// other line reversed with `zigzag`. Patterns are divided by the monitor; then air is taken off, missing points are
/// made up where that is asked for, projections are brought to one total, and the axis of rotation is found, as `repair`
/// says. A point that was measured twice is averaged. `points` says what each point is: 0 missing, 1 measured, 2 made up.
/// To correct for absorption let the monitor be the beam behind the sample.
///
/// Takes all frames and gives one set of sinograms, and what there is so far as snapshots. Keeps every pattern in single
/// precision; a copy of each for a snapshot.
///
/// Source: Bleuet et al., Nature Materials 7 (2008) 468; Vamvakeros et al., J. Appl. Cryst. 48 (2015) 1943.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sinogram {
    /// The axes of the scan.
    #[schemars(extend("x-shared" = "scan"))]
    scan: Scan,
    /// What is done to the sinograms.
    #[schemars(extend("x-shared" = "repair"))]
    repair: Repair,
    /// What becomes of patterns with values that are no numbers.
    #[schemars(extend("x-shared" = "invalid"))]
    invalid: Invalid,
}

/// What a block of frames has come to.
#[derive(Default)]
pub struct Part {
    rows: Rows,
    given: Given,
}

/// The output of [`Sinogram`].
#[derive(Ports)]
pub struct SinogramOut {
    /// The sinograms.
    #[port(dtype = "f32", axes = "z omega x q")]
    sinogram: Array,
    /// What each point is: 0 missing, 1 measured, 2 made up.
    #[port(dtype = "u8", axes = "z omega x")]
    points: Array,
    /// The sum over the bins of the first slice.
    #[port(dtype = "f32", axes = "y x")]
    image: Array,
    /// The heights.
    #[port(dtype = "f64", axes = "z")]
    z: Array,
    /// The angles.
    #[port(dtype = "f64", axes = "omega", unit = "degree")]
    omega: Array,
    /// The translations, rising.
    #[port(dtype = "f64", axes = "x")]
    x: Array,
    /// The bins; their numbers where nobody says more.
    #[port(dtype = "f64", axes = "q")]
    q: Array,
    /// Where the axis of rotation is, as a translation.
    centre: f64,
    /// Whether the axis was looked for and not found: it is then in the middle.
    lost_centre: bool,
    /// Points that were measured.
    measured: i64,
    /// Points that were not measured and not made up.
    missing: i64,
    /// Points that were made up from their neighbours.
    inpainted: i64,
    /// Points that were measured more than once.
    repeated: i64,
    /// Patterns that were left out for values that are no numbers.
    unusable: i64,
}

impl Stage for Sinogram {
    type In = ScanIn;
    type Out = SinogramOut;

    fn example() -> Example {
        example("repair = { missing = \"inpaint\", find_centre = true }")
    }

    fn check(&self, faults: &mut Faults) {
        self.scan.faults(faults);
        self.repair.faults(faults);
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bins = input.get("intensity").dims.map_or(1000, |d| d.iter().product::<usize>()) as u64;
        // Patterns, and sinograms made of them.
        Cost { memory: 12 * bins * input.records().unwrap_or(0), ..Cost::default() }
    }
}

impl Sinogram {
    fn made(&self, part: &Part, last: bool) -> Result<SinogramOut> {
        let mut made = Made::new(&self.scan, &part.given, &part.rows)?;
        self.repair.apply(&mut made, last)?;
        let [nz, na, nx] = [made.z.len(), made.omega.len(), made.x.len()];
        let states: Vec<u8> = made.state.iter().map(|s| *s as u8).collect();
        let image: Vec<f32> = made.totals()[..na * nx].iter().map(|t| *t as f32).collect();
        let count = |state| made.count(state) as i64;
        Ok(SinogramOut {
            sinogram: Array::of(&[nz, na, nx, made.bins], &made.data)?,
            points: Array::of(&[nz, na, nx], &states)?,
            image: Array::of(&[na, nx], &image)?,
            z: Array::from_slice(&made.z),
            omega: Array::from_slice(&made.omega),
            x: Array::from_slice(&made.x),
            q: Array::from_slice(&bins(&part.rows)),
            centre: made.centre,
            lost_centre: made.lost_centre,
            measured: count(State::Measured),
            missing: count(State::Missing),
            inpainted: count(State::Inpainted),
            repeated: made.repeated as i64,
            unusable: part.rows.unusable as i64,
        })
    }
}

/// The bins' positions, or their numbers.
pub(crate) fn bins(rows: &Rows) -> Vec<f64> {
    rows.q.clone().unwrap_or_else(|| (0..rows.bins()).map(|b| b as f64).collect())
}

impl Reduce for Sinogram {
    type Part = Part;

    fn part(&self, _: &Cx) -> Result<Part> {
        Ok(Part::default())
    }

    fn add(&self, _: &Cx, part: &mut Part, span: &Span, input: ScanIn) -> Result<()> {
        part.given = input.given()?;
        part.rows.merge(input.collect(&self.scan, self.invalid, span)?)
    }

    fn merge(&self, _: &Cx, part: &mut Part, later: Part) -> Result<()> {
        if part.given.iter().all(Option::is_none) {
            part.given = later.given;
        }
        part.rows.merge(later.rows)
    }

    fn peek(&self, _: &Cx, part: &Part) -> Result<Option<SinogramOut>> {
        if part.rows.is_empty() {
            return Ok(None);
        }
        self.made(part, false).map(Some)
    }

    fn finish(&self, _: &Cx, part: Part) -> Result<SinogramOut> {
        self.made(&part, true)
    }

    fn save(&self, part: &Part) -> Result<Dict> {
        save(&part.rows, &part.given)
    }

    fn load(&self, _: &Cx, state: Dict) -> Result<Part> {
        let (rows, given) = load(&state)?;
        Ok(Part { rows, given })
    }
}
declare!(Reduce, "tomography.sinogram", Kind::Reducer, Sinogram);

/// Patterns and axes as they are kept at a mark.
pub(crate) fn save(rows: &Rows, given: &Given) -> Result<Dict> {
    let mut state = rows.save()?;
    for (key, axis) in ["z_axis", "omega_axis", "x_axis"].into_iter().zip(given) {
        if let Some(axis) = axis {
            state.set(key, Array::from_slice(axis));
        }
    }
    Ok(state)
}

/// Patterns and axes that were kept.
pub(crate) fn load(state: &Dict) -> Result<(Rows, Given)> {
    let mut given = Given::default();
    for (key, axis) in ["z_axis", "omega_axis", "x_axis"].into_iter().zip(&mut given) {
        if let Some(Value::Array(a)) = state.get(key) {
            *axis = Some(a.to_f64()?);
        }
    }
    Ok((Rows::load(state)?, given))
}

/// Two discs, each with a pattern of its own: 12 angles of 9 rays, and one point not measured.
pub(crate) fn example(set: &str) -> Example {
    let (mut data, mut omega, mut x) = (vec![], vec![], vec![]);
    for k in 0..107u32 {
        let (angle, ray) = (f64::from(k / 9) * 15.0, f64::from(k % 9) - 4.0);
        let (s, c) = angle.to_radians().sin_cos();
        let chord = |u: f64, v: f64, r: f64| 2.0 * (r * r - (ray - u * c - v * s).powi(2)).max(0.0).sqrt();
        let (one, other) = (chord(1.5, 0.5, 1.6), chord(-1.0, -1.0, 1.2));
        data.extend([1.0 + 8.0 * one, 1.0 + 3.0 * other, 1.0 + 4.0 * one, 1.0 + 6.0 * other]);
        omega.push(angle);
        x.push(0.1 * ray);
    }
    Example::new(set)
        .frames("intensity", Array::of(&[107, 4], &data).expect("four bins a pattern"))
        .frames("omega", Array::from_slice(&omega))
        .frames("x", Array::from_slice(&x))
        .fixed("q", Array::from_slice(&[10.0, 12.0, 14.0, 16.0]))
}
