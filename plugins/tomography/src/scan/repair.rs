//! What is done to sinograms before they are reconstructed.

use isard_core::prelude::*;
use isard_core::schemars;
use nalgebra::{Matrix3, Vector3};

use super::sinogram::{Sinogram, State};

/// What becomes of points that were not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// They are an error at the end of the scan.
    Error,
    /// They are marked and count for nothing.
    #[default]
    Mark,
    /// They are made up from their neighbours, and marked.
    Inpaint,
}

/// What is done to sinograms before they are reconstructed.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Repair {
    /// Outermost rays on each side whose mean is taken off each projection, bin by bin: air and capillary.
    pub air: usize,
    /// Whether every whole projection is brought to the mean total intensity.
    pub equalise: bool,
    /// What becomes of points that were not measured.
    pub missing: Missing,
    /// How far off a point may be that helps to make up another, in steps.
    #[schemars(range(min = 1))]
    pub reach: usize,
    /// Where the axis of rotation is, as a translation; else in the middle of the translation.
    pub centre: Option<f64>,
    /// Looks for the axis of rotation.
    pub find_centre: bool,
}

impl Default for Repair {
    fn default() -> Self {
        Repair { air: 0, equalise: false, missing: Missing::Mark, reach: 4, centre: None, find_centre: false }
    }
}

impl Repair {
    /// What is wrong with it.
    pub fn faults(&self, faults: &mut Faults) {
        if self.reach == 0 {
            faults.add("repair", "`reach` is 0, wanted at least 1");
        }
        if self.centre.is_some_and(|c| !c.is_finite()) {
            faults.add("repair", "`centre` is no number, wanted a translation");
        }
        if self.centre.is_some() && self.find_centre {
            faults.add("repair", "has both `centre` and `find_centre`, wanted one of them");
        }
    }

    /// Repairs sinograms; `last` says that all patterns are in.
    pub fn apply(&self, sinogram: &mut Sinogram, last: bool) -> Result<()> {
        let missing = sinogram.count(State::Missing);
        if last && missing > 0 && self.missing == Missing::Error {
            let first = sinogram.state.iter().position(|s| *s == State::Missing).unwrap_or_default();
            let (n, at) = (sinogram.state.len(), sinogram.describe(first));
            return Err(Error::data(format!("{missing} of {n} points were not measured, the first at {at}"))
                .help("set `repair.missing` to \"mark\" or \"inpaint\", or take them again"));
        }
        if self.air > 0 {
            take_air(sinogram, self.air)?;
        }
        if self.missing == Missing::Inpaint {
            inpaint(sinogram, self.reach);
        }
        if self.equalise {
            equalise(sinogram);
        }
        if let Some(centre) = self.centre {
            let (low, high) = (sinogram.x[0], sinogram.x[sinogram.x.len() - 1]);
            if !(low..=high).contains(&centre) {
                return Err(Error::data(format!(
                    "`repair.centre` is {centre}, wanted a translation from {low} to {high}"
                )));
            }
            sinogram.centre = centre;
        } else if self.find_centre {
            match find_centre(sinogram) {
                Some(centre) => sinogram.centre = centre,
                // A scan that is as good as whole must say where its axis is; one that was stopped cannot.
                None if last && 10 * sinogram.count(State::Missing) < sinogram.state.len() => {
                    if sinogram.omega.len() >= 3 {
                        let text = "the axis of rotation is not found: there are no three whole projections";
                        return Err(
                            Error::data(text).help("set `repair.centre`, or `repair.missing = \"inpaint\"`")
                        );
                    }
                    sinogram.lost_centre = true;
                }
                None => sinogram.lost_centre = true,
            }
        }
        Ok(())
    }
}

/// Takes the mean of the outermost rays off each projection.
fn take_air(sinogram: &mut Sinogram, air: usize) -> Result<()> {
    let (n, bins) = (sinogram.x.len(), sinogram.bins);
    if 2 * air >= n {
        return Err(Error::data(format!(
            "`repair.air` is {air} on each side of {n} rays, wanted less than half"
        ))
        .help("air is where the beam misses the sample"));
    }
    for (line, states) in sinogram.data.chunks_exact_mut(n * bins).zip(sinogram.state.chunks_exact(n)) {
        let outer: Vec<usize> =
            (0..air).chain(n - air..n).filter(|x| states[*x] == State::Measured).collect();
        if outer.is_empty() {
            continue;
        }
        for b in 0..bins {
            let mean = outer.iter().map(|x| f64::from(line[x * bins + b])).sum::<f64>() / outer.len() as f64;
            for x in (0..n).filter(|x| states[*x] != State::Missing) {
                line[x * bins + b] -= mean as f32;
            }
        }
    }
    Ok(())
}

/// Makes missing points up: the mean of the nearest measured ones of the row and the column, by inverse distance.
fn inpaint(sinogram: &mut Sinogram, reach: usize) {
    let (angles, n, bins) = (sinogram.omega.len(), sinogram.x.len(), sinogram.bins);
    let mut turn: Vec<usize> = (0..angles).collect();
    turn.sort_by(|a, b| sinogram.omega[*a].total_cmp(&sinogram.omega[*b]));
    let mut rank = vec![0; angles];
    turn.iter().enumerate().for_each(|(r, a)| rank[*a] = r);
    let mut made = vec![];
    for point in (0..sinogram.state.len()).filter(|p| sinogram.state[*p] == State::Missing) {
        let (z, a, x) = (point / (angles * n), point / n % angles, point % n);
        let measured = |a: usize, x: usize| {
            let at = (z * angles + a) * n + x;
            (sinogram.state[at] == State::Measured).then_some(at)
        };
        let mut near: Vec<(usize, f64)> = vec![];
        let r = rank[a];
        let ways: [&dyn Fn(usize) -> Option<usize>; 4] = [
            &|d| x.checked_sub(d).and_then(|x| measured(a, x)),
            &|d| (x + d < n).then(|| measured(a, x + d)).flatten(),
            &|d| r.checked_sub(d).and_then(|r| measured(turn[r], x)),
            &|d| (r + d < angles).then(|| measured(turn[r + d], x)).flatten(),
        ];
        for way in ways {
            if let Some((d, at)) = (1..=reach).find_map(|d| way(d).map(|at| (d, at))) {
                near.push((at, 1.0 / d as f64));
            }
        }
        if !near.is_empty() {
            made.push((point, near));
        }
    }
    for (point, near) in made {
        let all: f64 = near.iter().map(|(_, w)| w).sum();
        for b in 0..bins {
            let sum: f64 = near.iter().map(|(at, w)| w * f64::from(sinogram.data[at * bins + b])).sum();
            sinogram.data[point * bins + b] = (sum / all) as f32;
        }
        sinogram.state[point] = State::Inpainted;
    }
}

/// Brings whole projections of each slice to their mean total.
fn equalise(sinogram: &mut Sinogram) {
    let (n, points) = (sinogram.x.len(), sinogram.points());
    let totals = sinogram.totals();
    let each = points * sinogram.bins;
    for (z, slice) in sinogram.data.chunks_exact_mut(each).enumerate() {
        let lines: Vec<Option<f64>> = (0..sinogram.omega.len())
            .map(|a| {
                let at = z * points + a * n;
                let whole = sinogram.state[at..at + n].iter().all(|s| *s != State::Missing);
                whole.then(|| totals[at..at + n].iter().sum())
            })
            .collect();
        let whole = lines.iter().flatten().filter(|t| **t > 0.0);
        let (sum, count) = whole.fold((0.0, 0.0), |(s, c), t| (s + t, c + 1.0));
        for (line, total) in slice.chunks_exact_mut(n * sinogram.bins).zip(&lines) {
            if let Some(total) = total.filter(|t| *t > 0.0) {
                let by = (sum / count / total) as f32;
                line.iter_mut().for_each(|v| *v *= by);
            }
        }
    }
}

/// The axis of rotation from the totals of whole projections, as a translation.
///
/// Where projections half a turn apart are there, one is the mirror image of the other: the best mirror is searched in
/// tenths of a step, and then between them. Otherwise the centre of mass of a projection follows a sine around the axis
/// (Helgason and Ludwig's first moment), which needs no opposite projections.
fn find_centre(sinogram: &Sinogram) -> Option<f64> {
    let (n, angles) = (sinogram.x.len(), sinogram.omega.len());
    let totals = sinogram.totals();
    let mut lines: Vec<Option<Vec<f64>>> = vec![Some(vec![0.0; n]); angles];
    for z in 0..sinogram.z.len() {
        for (a, line) in lines.iter_mut().enumerate() {
            let at = (z * angles + a) * n;
            let whole = sinogram.state[at..at + n].iter().all(|s| *s != State::Missing);
            match line {
                Some(sum) if whole => {
                    sum.iter_mut().zip(&totals[at..at + n]).for_each(|(s, t)| *s += t);
                }
                _ => *line = None,
            }
        }
    }
    let mut sorted = sinogram.omega.clone();
    sorted.sort_by(f64::total_cmp);
    let least = sorted.windows(2).map(|w| w[1] - w[0]).fold(360.0, f64::min);
    let whole: Vec<(f64, &Vec<f64>)> =
        sinogram.omega.iter().zip(&lines).filter_map(|(a, l)| l.as_ref().map(|l| (*a, l))).collect();
    let mut pairs = vec![];
    for (k, (a, one)) in whole.iter().enumerate() {
        for (b, other) in &whole[k + 1..] {
            if ((b - a).rem_euclid(360.0) - 180.0).abs() < 0.25 * least {
                pairs.push((*one, *other));
            }
        }
    }
    let ray = if pairs.is_empty() { by_mass(&whole)? } else { by_mirror(&pairs, n) };
    Some(sinogram.x[0] + ray * sinogram.step())
}

fn by_mirror(pairs: &[(&Vec<f64>, &Vec<f64>)], n: usize) -> f64 {
    let misfit = |centre: f64| {
        let (mut sum, mut count) = (0.0, 0.0);
        for (one, other) in pairs {
            for (x, value) in one.iter().enumerate() {
                let mirrored = 2.0 * centre - x as f64;
                let first = mirrored.floor();
                if first < 0.0 || first as usize + 1 >= n {
                    continue;
                }
                let (k, f) = (first as usize, mirrored - first);
                sum += (value - other[k] * (1.0 - f) - other[k + 1] * f).powi(2);
                count += 1.0;
            }
        }
        if count > 0.0 { sum / count } else { f64::INFINITY }
    };
    let tenths: Vec<f64> = (10 * n / 4..=10 * (3 * n / 4)).map(|k| k as f64 / 10.0).collect();
    let misfits: Vec<f64> = tenths.iter().map(|c| misfit(*c)).collect();
    let best = (0..tenths.len()).min_by(|a, b| misfits[*a].total_cmp(&misfits[*b])).unwrap_or_default();
    if best == 0 || best + 1 >= tenths.len() {
        return tenths.get(best).copied().unwrap_or(0.5 * (n as f64 - 1.0));
    }
    // The valley between tenths: linear interpolation smooths whole and half steps unlike others, so look half a step around.
    let (mut a, mut b) = (best.saturating_sub(5), (best + 5).min(tenths.len() - 1));
    (a, b) = (a.min(best - 1), b.max(best + 1));
    let (l, m, r) = (misfits[a], misfits[best], misfits[b]);
    let (dl, dr) = (tenths[best] - tenths[a], tenths[b] - tenths[best]);
    let slope = ((r - m) / dr - (m - l) / dl) / (dl + dr);
    let lean = (m - l) / dl + slope * dl;
    if slope > 0.0 { tenths[best] - (lean / (2.0 * slope)).clamp(-0.1, 0.1) } else { tenths[best] }
}

fn by_mass(whole: &[(f64, &Vec<f64>)]) -> Option<f64> {
    if whole.len() < 3 {
        return None;
    }
    let (mut normal, mut right) = (Matrix3::zeros(), Vector3::zeros());
    for (angle, line) in whole {
        let floor = line.iter().copied().fold(f64::INFINITY, f64::min);
        let (mut mass, mut moment) = (0.0, 0.0);
        for (x, value) in line.iter().enumerate() {
            mass += value - floor;
            moment += (value - floor) * x as f64;
        }
        if mass <= 0.0 {
            continue;
        }
        let (s, c) = angle.to_radians().sin_cos();
        let row = Vector3::new(1.0, c, s);
        normal += row * row.transpose();
        right += row * (moment / mass);
    }
    normal.cholesky().map(|n| n.solve(&right)[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disc off the axis; the axis is at translation 0.35 of steps 0.5.
    fn disc(omega: Vec<f64>) -> Sinogram {
        let x: Vec<f64> = (0..41).map(|k| -10.0 + 0.5 * f64::from(k)).collect();
        let mut data = vec![];
        for a in &omega {
            let (s, c) = a.to_radians().sin_cos();
            let middle = 0.35 + 3.0 * c - 2.0 * s;
            for x in &x {
                let chord = 2.0 * (9.0 - (x - middle).powi(2)).max(0.0).sqrt();
                data.extend([chord as f32 + 0.5, 2.0 * chord as f32 + 0.25]);
            }
        }
        let state = vec![State::Measured; omega.len() * 41];
        Sinogram {
            z: vec![0.0],
            omega,
            x,
            bins: 2,
            data,
            state,
            centre: 0.0,
            lost_centre: false,
            repeated: 0,
        }
    }

    #[test]
    fn the_axis_is_found_with_and_without_opposite_projections() {
        let half: Vec<f64> = (0..36).map(|k| 5.0 * f64::from(k)).collect();
        let full: Vec<f64> = (0..72).map(|k| 5.0 * f64::from(k)).collect();
        for omega in [half, full] {
            let mut sinogram = disc(omega);
            let repair = Repair { find_centre: true, ..Repair::default() };
            repair.apply(&mut sinogram, true).unwrap();
            assert!((sinogram.centre - 0.35).abs() < 0.025, "{}", sinogram.centre);
        }
    }

    #[test]
    fn air_is_taken_off_and_projections_become_equal() {
        let mut sinogram = disc((0..12).map(|k| 15.0 * f64::from(k)).collect());
        sinogram.data[3 * 82..4 * 82].iter_mut().for_each(|v| *v *= 1.3);
        Repair { air: 2, equalise: true, ..Repair::default() }.apply(&mut sinogram, true).unwrap();
        let totals = sinogram.totals();
        let lines: Vec<f64> = totals.chunks(41).map(|l| l.iter().sum()).collect();
        assert!(lines.iter().all(|t| (t / lines[0] - 1.0).abs() < 1e-5), "{lines:?}");
        assert!(totals[0].abs() < 1e-6);
        let error = Repair { air: 21, ..Repair::default() }.apply(&mut sinogram, true).unwrap_err();
        assert!(error.message().contains("on each side of 41 rays"), "{error}");
    }

    #[test]
    fn missing_points_are_made_up_only_where_asked_and_marked() {
        let whole = disc((0..36).map(|k| 5.0 * f64::from(k)).collect());
        let mut holes = whole.clone();
        for point in [100, 500, 501, 502, 900] {
            holes.state[point] = State::Missing;
            holes.data[2 * point..2 * point + 2].fill(0.0);
        }
        let mut marked = holes.clone();
        Repair::default().apply(&mut marked, true).unwrap();
        assert_eq!((marked.count(State::Missing), marked.data[200]), (5, 0.0));
        let mut made = holes.clone();
        Repair { missing: Missing::Inpaint, ..Repair::default() }.apply(&mut made, true).unwrap();
        assert_eq!((made.count(State::Missing), made.count(State::Inpainted)), (0, 5));
        let top = whole.data.iter().copied().fold(0f32, f32::max);
        for (a, b) in made.data.iter().zip(&whole.data) {
            assert!((a - b).abs() < 0.1 * top, "{a} {b}");
        }
        let error =
            Repair { missing: Missing::Error, ..Repair::default() }.apply(&mut holes, true).unwrap_err();
        assert_eq!(error.message(), "5 of 1476 points were not measured, the first at z 0, omega 10, x -1");
        Repair { missing: Missing::Error, ..Repair::default() }.apply(&mut holes, false).unwrap();
    }
}
