//! The calibration as a machine of small steps.

use std::fmt;

use isard_geometry::Pose;

use super::centre::find_centre;
use super::clean::Image;
use super::coarse::attract;
use super::estimate::{Estimate, Setup};
use super::joint::Seen;
use super::matching::{find_distances, score, tolerance};
use super::param::Param;
use super::radial::find_rings;
use super::ridge::{Ridge, ridges};
use super::sector::{Position, Rings};
use super::solve::{Solved, improve};
use crate::accumulate::Accumulator;

/// Most turns of the refinement; it needs four to eight.
const TURNS: usize = 30;
/// Pixels, widths and sectors are settled when a turn moves by less than this many standard deviations,
const NEAR: f64 = 0.3;
/// or after this many turns.
const PATIENCE: usize = 8;
/// It is over when a turn moves the geometry by less than this many standard deviations.
const STILL: f64 = 2e-3;
/// After the last turn, this much is still an answer: it says how far it moved.
const RESTLESS: f64 = 0.1;
/// Whole rings farther off their lines than this many pixels, root mean square, are other lines.
const OFF: f64 = 0.3;
/// Least score of a match of ring radii to lines.
const SCORE: f64 = 0.28;
/// A match with this score makes other candidates needless.
const SURE: f64 = 0.8;

/// Why a calibration found no geometry.
#[derive(Debug, Clone, PartialEq)]
pub enum CalibrationError {
    /// The image and the setup differ in size: rows and columns found, and wanted.
    Shape([usize; 2], [usize; 2]),
    /// There are no ridges, or they have no common centre.
    NoCentre,
    /// This many rings were found, and the best match with the calibrant has this score.
    NoMatch(usize, f64),
    /// This many ring positions could be measured, which do not determine a geometry.
    TooFew(usize),
    /// Whole rings lie off their lines by this many pixels, root mean square.
    Disagree(f64),
    /// After the last turn the geometry still moved by this many standard deviations.
    Restless(f64),
}

impl fmt::Display for CalibrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape([r, c], [n, m]) => write!(f, "frames are {r} x {c}, the detector is {n} x {m}"),
            Self::NoCentre => {
                write!(f, "no rings with a common centre found; add frames or mask what is no ring")
            }
            Self::NoMatch(n, score) => write!(
                f,
                "{n} rings found, which match the calibrant by {score:.2}, wanted {SCORE} or more; check calibrant, energy and pixel size"
            ),
            Self::TooFew(n) => write!(f, "{n} ring positions found, wanted at least 12; add frames"),
            Self::Disagree(off) => {
                write!(
                    f,
                    "rings lie {off:.2} pixels off the calibrant's lines; check calibrant, energy and pixel size"
                )
            }
            Self::Restless(moved) => {
                write!(
                    f,
                    "the geometry still moves by {moved:.2e} sigma after {TURNS} turns; mask what is no ring"
                )
            }
        }
    }
}

impl std::error::Error for CalibrationError {}

/// What a step leaves.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// More steps are needed.
    More,
    /// The geometry is found.
    Done(Box<Estimate>),
}

#[derive(Debug, Clone)]
enum Phase {
    Ridges,
    Centre(Vec<Ridge>),
    Distance(Vec<Ridge>, [f64; 2]),
    // Candidates yet to be tried, the last first, and the best so far with its score.
    Attract { ridges: Vec<Ridge>, untried: Vec<Param>, best: Option<(Param, f64)> },
    Fit { param: Param, rings: Rings, turn: usize, settled: bool },
    Over(Result<Box<Estimate>, CalibrationError>),
}

/// A calibration under way over a fixed sum of frames.
///
/// The result does not depend on when the steps are taken.
/// A start from an earlier estimate saves the search; it ends within a small part of a standard deviation of the same geometry,
/// and a start without one depends on the frames alone.
#[derive(Debug, Clone)]
pub struct Calibration {
    setup: Setup,
    image: Image,
    frames: u64,
    phase: Phase,
    // Where the search goes if an earlier estimate leads nowhere.
    searched: bool,
}

impl Calibration {
    /// Begin with the frames summed so far, and where there is one with an earlier estimate.
    pub fn new(
        setup: &Setup,
        acc: &Accumulator,
        previous: Option<&Estimate>,
    ) -> Result<Self, CalibrationError> {
        if acc.shape() != setup.grid.shape {
            return Err(CalibrationError::Shape(acc.shape(), setup.grid.shape));
        }
        let phase = match previous {
            None => Phase::Ridges,
            Some(before) => {
                let param = Param::from_pose(&before.pose);
                Phase::Fit { param, rings: visible(setup, &param), turn: 0, settled: false }
            }
        };
        let image = Image::new(acc);
        let searched = previous.is_none();
        Ok(Self { setup: setup.clone(), image, frames: acc.frames(), phase, searched })
    }

    /// Calibrate at one go.
    pub fn refine(
        setup: &Setup,
        acc: &Accumulator,
        previous: Option<&Estimate>,
    ) -> Result<Estimate, CalibrationError> {
        let mut calibration = Self::new(setup, acc, previous)?;
        loop {
            if let Step::Done(estimate) = calibration.step()? {
                return Ok(*estimate);
            }
        }
    }

    /// Do one step; each is a single pass over the image or less.
    ///
    /// After the end it returns the same answer again.
    pub fn step(&mut self) -> Result<Step, CalibrationError> {
        // Whatever happens to the step, the machine is left in a phase it may be asked from again.
        let phase = std::mem::replace(&mut self.phase, Phase::Ridges);
        self.phase = match self.advance(phase) {
            Ok(phase) => phase,
            Err(_) if !self.searched => {
                self.searched = true;
                Phase::Ridges
            }
            Err(error) => Phase::Over(Err(error)),
        };
        match &self.phase {
            Phase::Over(Ok(estimate)) => Ok(Step::Done(estimate.clone())),
            Phase::Over(Err(error)) => Err(error.clone()),
            _ => Ok(Step::More),
        }
    }

    /// Where the rings are under a geometry that was found, for a fit together with others.
    pub fn observe(&self, found: &Estimate) -> Vec<Seen> {
        let param = Param::from_pose(&found.pose);
        let mut rings = visible(&self.setup, &param);
        // The second measurement knows the widths of the rings.
        rings.measure(&self.image, &self.setup.grid, &param, self.setup.polarisation);
        let positions = rings.measure(&self.image, &self.setup.grid, &param, self.setup.polarisation);
        let Some(solved) = improve(&positions, &param) else { return vec![] };
        let frame = param.frame();
        let seen = positions.iter().zip(&solved.used).filter(|(_, used)| **used).map(|(p, _)| {
            let angle = self.setup.angles[p.line];
            Seen {
                at: p.at,
                beyond: angle + p.shift * p.per_pixel - frame.tth(p.at).0,
                angle,
                per_pixel: p.per_pixel,
                variance: p.variance + solved.systematic * solved.systematic,
            }
        });
        seen.collect()
    }

    fn advance(&self, phase: Phase) -> Result<Phase, CalibrationError> {
        let grid = &self.setup.grid;
        let pixel = grid.pixel[0].min(grid.pixel[1]);
        Ok(match phase {
            Phase::Ridges => Phase::Centre(ridges(&self.image)),
            Phase::Centre(ridges) => {
                let centre = find_centre(&ridges, grid.shape).ok_or(CalibrationError::NoCentre)?;
                Phase::Distance(ridges, centre)
            }
            Phase::Distance(ridges, centre) => {
                let at = grid.at(centre[0], centre[1]);
                // Radii about a centre do not depend on the distance when nothing is tilted.
                let rings = find_rings(&self.image, grid, &Pose::straight(1.0, at[0], at[1]));
                let found = find_distances(&rings, &self.setup.angles, pixel, self.setup.distance);
                if found.is_empty() {
                    return Err(CalibrationError::NoMatch(rings.peaks.len(), 0.0));
                }
                let straight = |dist| Param::from_pose(&Pose::straight(dist, at[0], at[1]));
                let untried = found.iter().rev().map(|f| straight(f.dist)).collect();
                Phase::Attract { ridges, untried, best: None }
            }
            // A tilt blurs the first profile, so each candidate is judged again by the profile with its own tilt.
            Phase::Attract { ridges, mut untried, best } => {
                // With a tilt of its own a candidate must do better than the first search's.
                let rough = |radius| 0.5 * tolerance(radius, 2.0 * pixel);
                let sure = best.is_some_and(|b| b.1 > SURE);
                let Some(next) = untried.pop().filter(|_| !sure) else {
                    return match best {
                        Some((param, score)) if score >= SCORE => Ok(self.fit_from(param)),
                        Some((param, score)) => {
                            Err(CalibrationError::NoMatch(self.explained(&param, rough).0, score))
                        }
                        None => Err(CalibrationError::NoMatch(0, 0.0)),
                    };
                };
                let (param, _) = attract(&ridges, grid, &self.setup.angles, next);
                let (_, found) = self.explained(&param, rough);
                let best = if best.is_none_or(|b| found > b.1) { Some((param, found)) } else { best };
                Phase::Attract { ridges, untried, best }
            }
            Phase::Fit { param, mut rings, turn, settled } => {
                let positions = if settled {
                    rings.measure_again(&param)
                } else {
                    rings.measure(&self.image, grid, &param, self.setup.polarisation)
                };
                let solved = improve(&positions, &param).ok_or(CalibrationError::TooFew(positions.len()))?;
                let last = turn + 1 == TURNS;
                if settled && (solved.moved < STILL || last && solved.moved < RESTLESS) {
                    // It may have come to rest on the wrong rings, above all from an earlier estimate.
                    let (seen, score) = self.explained(&solved.param, |_| pixel);
                    if score < SCORE {
                        return Err(CalibrationError::NoMatch(seen, score));
                    }
                    let used: Vec<Position> =
                        positions.iter().zip(&solved.used).filter(|p| *p.1).map(|p| *p.0).collect();
                    let off = off_lines(&used);
                    if off > OFF {
                        return Err(CalibrationError::Disagree(off));
                    }
                    let lines = used.iter().map(|p| p.line).collect();
                    Phase::Over(Ok(Box::new(self.report(&solved, &rings, lines, score))))
                } else if last {
                    return Err(CalibrationError::Restless(solved.moved));
                } else {
                    // A ring's width is known after its first turn, and its window fits it in the one after.
                    let settled = settled || (turn >= 2 && solved.moved < NEAR) || turn >= PATIENCE;
                    Phase::Fit { param: solved.param, rings, turn: turn + 1, settled }
                }
            }
            over @ Phase::Over(_) => over,
        })
    }

    fn fit_from(&self, param: Param) -> Phase {
        Phase::Fit { param, rings: visible(&self.setup, &param), turn: 0, settled: false }
    }

    // How many rings are seen under a geometry, and how well it explains them.
    fn explained(&self, param: &Param, tolerance: impl Fn(f64) -> f64) -> (usize, f64) {
        let pose = param.pose();
        let rings = find_rings(&self.image, &self.setup.grid, &pose);
        (rings.peaks.len(), score(&rings, &self.setup.angles, pose.dist, tolerance))
    }

    fn report(&self, solved: &Solved, rings: &Rings, mut lines: Vec<usize>, score: f64) -> Estimate {
        let grid = &self.setup.grid;
        let param = solved.param;
        let to_poni = param.to_poni();
        let covariance = to_poni * solved.covariance * to_poni.transpose();
        let correlation = |k: usize| covariance[(0, k)] / (covariance[(0, 0)] * covariance[(k, k)]).sqrt();
        let positions = lines.len();
        lines.dedup();
        let mut widths: Vec<f64> = lines.iter().filter_map(|&k| rings.widths[k]).collect();
        widths.sort_by(f64::total_cmp);
        Estimate {
            pose: param.pose(),
            covariance: std::array::from_fn(|i| std::array::from_fn(|j| covariance[(i, j)])),
            centre: grid.index([param.0[1], param.0[2]]),
            centre_sigma: [1, 2].map(|k| solved.covariance[(k, k)].sqrt() / grid.pixel[k - 1]),
            correlation: [correlation(3), correlation(4)],
            rings: lines.len(),
            positions,
            rejected: solved.used.len() - positions,
            rms: solved.rms,
            chi2_dof: solved.chi2_dof,
            systematic: solved.systematic,
            width: widths.get(widths.len() / 2).copied().unwrap_or(f64::NAN),
            score,
            moved: solved.moved,
            frames: self.frames,
        }
    }
}

// How far whole rings lie off their lines: modules that stand uneven move parts of rings in and out, a wrong
// calibrant or distance moves rings as a whole.
fn off_lines(positions: &[Position]) -> f64 {
    let rings: Vec<f64> = positions
        .chunk_by(|p, q| p.line == q.line)
        .map(|ring| {
            let weight: f64 = ring.iter().map(|p| 1.0 / p.variance).sum();
            let mean = ring.iter().map(|p| p.shift / p.variance).sum::<f64>() / weight;
            // Three standard deviations are nobody's fault.
            (mean * mean - 9.0 / weight).max(0.0)
        })
        .collect();
    (rings.iter().sum::<f64>() / rings.len() as f64).sqrt()
}

// Lines that fall onto the detector in this geometry, with a margin of a twentieth.
fn visible(setup: &Setup, param: &Param) -> Rings {
    let grid = &setup.grid;
    let [rows, cols] = grid.shape.map(|n| n as f64);
    let pose = param.pose();
    let corners = [[0.0, 0.0], [0.0, cols], [rows, 0.0], [rows, cols]].map(|[r, c]| {
        let d = grid.at(r, c);
        pose.lab(d[0], d[1]).tth()
    });
    let widest = 1.05 * corners.into_iter().fold(0.0, f64::max);
    Rings::new(setup.angles.iter().copied().take_while(|a| *a < widest).collect())
}
