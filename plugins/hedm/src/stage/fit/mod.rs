//! `hedm.fit`: the orientation of every voxel.

mod work;

use isard_core::prelude::*;
use isard_orientation::Quat;

use super::experiment::{Experiment, example, small};
use super::kept;
use super::table::{fitted_table, orientations, quaternions, voxels_of, voxels_table};
use crate::bits::Painter;
use crate::fit::{Found, Limits, SearchLimits};
use crate::model::{Grid, Layout, Voxel};
use work::{End, Work};

/// Fits the orientation of every voxel of a layer to the lit pixels of its frames.
///
/// For each voxel every seed is scored by the share of its predicted pixels that are lit at all distances; seeds of
/// `accept` or more are refined within `tolerance`, by a lattice of small turns and steps that halve, and neighbours
/// propose their orientations; with `borders` the grain that leaves more traces has a voxel. With `search` voxels that
/// stay below `search_below` are searched without seeds: pairs of lit pixels give trial orientations, and what is found
/// for one voxel seeds the others.
/// Frames that have not come are unknown, not dark: a pixel counts as lit if it is at every distance whose frame is
/// known. While frames arrive the map is fitted again whenever a share of `renew` more has come, but only voxels
/// with a spot in one of the new frames; the last answer depends on the data alone. With `geometry` the detector stands
/// where that table says, as `hedm.geometry` gives it.
///
/// Takes all frames; a snapshot of the map now and then. About 0.5 ms a voxel and seed; memory is 64 bytes for each
/// 8 x 64 pixels with a lit one.
///
/// Source: R. M. Suter et al., Review of Scientific Instruments 77 (2006) 123905; the MIDAS near-field programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FitLayer {
    /// How far a voxel may be from its seed.
    #[serde(default = "two")]
    #[schemars(range(min = 0.01, max = 10), extend("x-unit" = "degree"))]
    tolerance: f64,
    /// Seeds of a lower confidence at a voxel are not refined.
    #[serde(default = "accept")]
    #[schemars(range(min = 0, max = 1))]
    accept: f64,
    /// Whether seeds that are no better than chance are left out, too.
    ///
    /// Chance is the share of pixels that are lit at all distances and 3.5 standard deviations of as many pixels as an
    /// orientation has spots; it counts where frames are noisy.
    #[serde(default)]
    above_chance: bool,
    /// Whether neighbours propose their orientations.
    #[serde(default = "yes")]
    neighbours: bool,
    /// Whether a voxel at a border goes to the grain that leaves more traces there.
    ///
    /// How much a grain leaves is measured at the voxels beside that it has. Filters of frames take the ends off thin spots, and the lit share alone then favours the grain with the thicker
    /// ones. A pixel is a whole trace if it is lit and half of one if a pixel beside it is, at each distance for itself;
    /// the other grain must be a hundredth ahead. `confidence` stays the lit share and may be below that of the
    /// runner-up. It helps thin spots after a median of neighbours, and harms where bits are few. Without `neighbours` it
    /// does nothing.
    #[serde(default)]
    borders: bool,
    /// Whether voxels that seeds do not explain are searched without seeds.
    #[serde(default)]
    search: bool,
    /// Voxels of a lower confidence are searched.
    #[serde(default = "half")]
    #[schemars(range(min = 0, max = 1))]
    search_below: f64,
    /// Orientations that are kept for each voxel, for `matches`.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    solutions: usize,
    /// Orientations nearer than this to a better one are not kept.
    #[serde(default = "degree")]
    #[schemars(range(min = 0, max = 180), extend("x-unit" = "degree"))]
    apart: f64,
    /// While frames arrive the map is fitted again after this share of all frames.
    #[serde(default = "renew")]
    #[schemars(range(min = 0.01, max = 1))]
    renew: f64,
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
    #[serde(skip)]
    #[schemars(skip)]
    work: Option<Work>,
}

fn two() -> f64 {
    2.0
}
fn accept() -> f64 {
    0.04
}
fn half() -> f64 {
    0.5
}
fn yes() -> bool {
    true
}
fn renew() -> f64 {
    0.1
}

fn one() -> usize {
    1
}
fn degree() -> f64 {
    1.0
}

/// The input of [`FitLayer`].
#[derive(Ports)]
pub struct FitIn {
    /// The lit pixels of frames, Y and Z counted against columns and rows.
    #[port(columns = "y: u32 pixel, z: u32 pixel")]
    spots: Table,
    /// How many pixels are lit.
    #[port(dtype = "u32", axes = "")]
    lit: Array,
    /// The voxels: centroid, edge, and whether the apex points to +y.
    #[port(fixed, columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8")]
    voxels: Table,
    /// Orientations to begin with, as quaternions w x y z.
    #[port(fixed, dtype = "f64", axes = "seed component")]
    seeds: Option<Array>,
    /// Where the detector stands, in place of what the experiment says.
    ///
    /// One row for each distance.
    #[port(
        fixed,
        columns = "distance: f64 um, beam_y: f64 pixel, beam_z: f64 pixel, tilt_x: f64 degree, tilt_y: f64 degree, tilt_z: f64 degree"
    )]
    geometry: Option<Table>,
}

/// The output of [`FitLayer`].
#[derive(Ports)]
pub struct FitOut {
    /// The voxels with what was found for them.
    ///
    /// Bunge's angles, the lit share, the seed, how many were refined, on how many distances it rests, the runner-up.
    #[port(
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32, distances: f32, runner_up: f32, runner_up_angle: f32 degree"
    )]
    voxels: Table,
    /// For each voxel the lit share of each ring; no number where a ring has no spot.
    #[port(dtype = "f32", axes = "voxel ring")]
    completeness: Array,
    /// The numbers of those rings.
    #[port(dtype = "u32", axes = "ring")]
    rings: Array,
    /// For each voxel its best orientations.
    ///
    /// Bunge's angles and the confidence; zeros where there are fewer.
    #[port(dtype = "f64", axes = "voxel solution value")]
    matches: Array,
    /// The confidence as a picture, y upwards; no number where there is no voxel.
    #[port(dtype = "f32", axes = "y x")]
    picture: Array,
    /// The mean confidence of voxels with an orientation.
    confidence: f64,
    /// How many voxels have an orientation.
    solved: i64,
    /// The confidence that half of all voxels do not reach.
    ///
    /// It is the chance level where most voxels lie outside of the sample.
    median_confidence: f64,
    /// How many frames the map rests on.
    #[port(unit = "frame")]
    frames: i64,
}

impl Stage for FitLayer {
    type In = FitIn;
    type Out = FitOut;

    fn example() -> Example {
        let truth = Quat::from_euler([0.3, 0.7, 1.1]);
        let voxels = Grid { radius: 20.0, size: 20.0, edge: 10.0, layout: Layout::Tiling }.voxels();
        let (counts, spots) = example_frames(&voxels, &truth);
        let near = Quat::from_rotation_vector([0.005, -0.004, 0.003]).times(&truth);
        let voxels = voxels_table(&voxels).expect("columns of equal length");
        let example = Example::new(example("renew = 0.3\n"))
            .frames("lit", counts)
            .frames("spots", spots)
            .fixed("voxels", voxels)
            .fixed("seeds", quaternions(&[near]).expect("four numbers"));
        ["confidence", "solved", "median_confidence"]
            .into_iter()
            .fold(example, |e, port| e.tolerance(port, 0.0))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        self.experiment.check_reach(faults);
        let shares = [("accept", self.accept), ("search_below", self.search_below)];
        for (name, value) in shares.into_iter().filter(|(_, v)| !(0.0..=1.0).contains(v)) {
            faults.add(name, format!("found {value}, wanted a share from 0 to 1"));
        }
        if !(self.tolerance > 0.0 && self.tolerance <= 10.0) {
            faults.add(
                "tolerance",
                format!("found {}, wanted more than 0 and at most 10 degrees", self.tolerance),
            );
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let frames = (self.experiment.distances.len() * self.experiment.frames) as u64;
        let pixels = self.experiment.size.iter().product::<usize>() as u64;
        let rows = |port: &str| input.get(port).dims.and_then(|d| d.first().copied());
        let reflections = self.experiment.projector().map_or(0, |p| p.predictor.reflections().len());
        // A pair of a voxel and a seed with 258 reflections took 0.25 ms, a voxel without a seed some 20 of them.
        let seeds = rows("seeds").unwrap_or(0) + if self.search { 20 } else { 0 };
        let pairs = rows("voxels").unwrap_or(0) as f64 * seeds.max(1) as f64;
        let seconds = pairs * 2.5e-4 * reflections as f64 / 258.0;
        let memory = frames * (pixels / 2048 + 4096);
        Cost { memory, seconds_per_record: 1e-4, seconds, ..Cost::default() }
    }
}

impl Fit for FitLayer {
    fn absorb(&mut self, _: &Cx, span: &Span, input: FitIn) -> Result<()> {
        if self.work.is_none() {
            self.work = Some(self.begin(&input.voxels, input.seeds.as_ref(), input.geometry.as_ref())?);
        }
        let work = self.work.as_mut().ok_or_else(|| Error::internal("no volume after it was begun"))?;
        let experiment = &self.experiment;
        kept::frames(span, &input.spots, |number, pixels| {
            let (l, f) = experiment.place(number)?;
            work.fill(l, f, pixels)
        })
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // Frames that did not come stay unknown.
        Ok(())
    }

    fn complete(&mut self, _: &Cx) -> Result<()> {
        let Some(work) = &mut self.work else { return Ok(()) };
        work.end = End::Complete;
        Ok(())
    }

    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness> {
        let limits = self.limits();
        let search =
            self.search.then_some(SearchLimits { below: self.search_below, ..SearchLimits::default() });
        let renew = self.renew;
        let Some(work) = &mut self.work else { return Ok(Fitness { cost: 1.0, more: false }) };
        match work.end {
            End::Found => (),
            End::Complete => {
                let begun = std::time::Instant::now();
                if work.last(cx, limits, search, || slice.over())? {
                    return Ok(Fitness { cost: work.cost(), more: true });
                }
                work.end = End::Found;
                tracing::info!(
                    stage = cx.stage(),
                    seconds = begun.elapsed().as_secs_f64(),
                    voxels = work.voxels.len(),
                    frames = work.volume.count_known(),
                    refits = work.refits,
                    "Last map fitted."
                );
            }
            End::Open => {
                if !work.busy() && !work.begin(renew) {
                    return Ok(Fitness { cost: work.cost(), more: false });
                }
                while work.busy() {
                    cx.check()?;
                    work.step(cx, limits, search)?;
                    if slice.over() {
                        break;
                    }
                }
                return Ok(Fitness { cost: work.cost(), more: work.busy() });
            }
        }
        Ok(Fitness { cost: work.cost(), more: false })
    }

    fn snapshot(&self, _: &Cx) -> Result<Option<FitOut>> {
        let Some(work) = self.work.as_ref().filter(|w| w.begun_at > 0 || w.end == End::Found) else {
            return Ok(None);
        };
        let fitted = work.fitted();
        let solved: Vec<f64> = fitted.iter().map(|v| v.confidence).filter(|c| *c > 0.0).collect();
        let mut all: Vec<f64> = fitted.iter().map(|v| v.confidence).collect();
        all.sort_by(f64::total_cmp);
        let column =
            |of: &dyn Fn(&Found) -> f64| work.found.iter().map(|f| of(f) as f32).collect::<Vec<f32>>();
        let second = |f: &Found| f.matches.get(1).map_or(0.0, |m| m.score.confidence());
        let angle = |f: &Found| match &f.matches[..] {
            [a, b, ..] => work.symmetry.misorientation(&a.orientation, &b.orientation).to_degrees(),
            _ => f64::NAN,
        };
        let voxels = fitted_table(&fitted)?
            .with("distances", &column(&|f| f.best().map_or(0.0, |m| m.score.distances())))?
            .with("runner_up", &column(&second))?
            .with("runner_up_angle", &column(&angle))?;
        let (count, wide) = (work.voxels.len(), work.rings.len());
        Ok(Some(FitOut {
            voxels,
            completeness: Array::of(&[count, wide], &work.shares)?,
            rings: Array::from_slice(&work.rings),
            matches: Array::of(&[count, self.solutions, 4], &work.matches(self.solutions))?,
            picture: work.picture()?,
            confidence: if solved.is_empty() {
                0.0
            } else {
                solved.iter().sum::<f64>() / solved.len() as f64
            },
            solved: solved.len() as i64,
            median_confidence: all.get(all.len() / 2).copied().unwrap_or(0.0),
            frames: work.volume.count_known() as i64,
        }))
    }

    fn save(&self) -> Result<Dict> {
        let Some(work) = &self.work else { return Ok(Dict::new()) };
        // What was found so far is not kept: the last answer comes from the data alone.
        Ok(kept::keep(&work.volume)
            .with("geometry", Experiment::geometry(&work.projector.detector)?)
            .with("voxels", voxels_table(&work.voxels)?)
            .with("seeds", quaternions(&work.seeds)?))
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.work = None;
        if state.is_empty() {
            return Ok(());
        }
        let (voxels, seeds) = (kept::table(&state, "voxels")?, kept::array(&state, "seeds")?);
        let mut work = self.begin(&voxels, Some(&seeds), Some(&kept::table(&state, "geometry")?))?;
        let experiment = &self.experiment;
        kept::restore(&state, |number, pixels| {
            let (l, f) = experiment.place(number)?;
            work.fill(l, f, pixels)
        })?;
        self.work = Some(work);
        Ok(())
    }
}
declare!(Fit, "hedm.fit", Kind::Fitter, FitLayer);

/// The frames of voxels of one orientation in the small experiment: how many pixels are lit, and which.
pub(super) fn example_frames(voxels: &[Voxel], truth: &Quat) -> (Array, Table) {
    let projector = small().projector().expect("the example is a good experiment");
    let mut painter = Painter::new(&projector);
    voxels.iter().for_each(|v| painter.add(&projector, v, truth));
    let (mut y, mut z, mut records, mut counts) = (vec![], vec![], vec![], vec![]);
    for number in 0..180usize {
        let pixels = painter.pixels(number / 90, number % 90);
        counts.push(pixels.len() as u32);
        for [a, b] in pixels {
            y.push(*a);
            z.push(*b);
            records.push(number as u64);
        }
    }
    let spots = Table::new(y.len()).with("y", &y).and_then(|t| t.with("z", &z));
    let spots = spots.and_then(|t| t.with_records(&records)).expect("columns of equal length");
    (Array::from_slice(&counts), spots)
}

impl FitLayer {
    fn limits(&self) -> Limits {
        Limits {
            tolerance: self.tolerance,
            accept: self.accept,
            solutions: self.solutions,
            apart: self.apart,
            neighbours: self.neighbours,
            borders: self.borders,
            above_chance: self.above_chance,
        }
    }

    /// A map of voxels without frames.
    fn begin(&self, voxels: &Table, seeds: Option<&Array>, geometry: Option<&Table>) -> Result<Work> {
        let experiment = match geometry {
            Some(table) => self.experiment.moved(table)?,
            None => self.experiment.clone(),
        };
        let wired = seeds.is_some();
        let seeds = seeds.map(orientations).transpose()?.unwrap_or_default();
        if seeds.is_empty() && !self.search {
            let error = match wired {
                true => Error::recipe("no seed is given: the input `seeds` is empty, and `search` is off")
                    .help("see what its list holds, or set `search = true`"),
                false => Error::recipe("no seed is given, and `search` is off")
                    .help("wire the input `seeds`, or set `search = true`"),
            };
            return Err(error);
        }
        for [from, to, seen] in experiment.beyond() {
            tracing::warn!(
                "The window of omega from {from} to {to} reaches beyond the scan: {seen} degrees of it were recorded, spots in the rest do not count."
            );
        }
        let (_, _, symmetry) = experiment.crystal()?;
        let projector = experiment.projector()?;
        let reflections = projector.predictor.reflections();
        let two_theta = reflections.iter().map(|r| 2.0 * r.theta.to_degrees()).fold(0.0, f64::max);
        tracing::info!(reflections = reflections.len(), two_theta, "Reflections and the angle they go to.");
        Ok(Work::new(projector, symmetry, voxels_of(voxels)?, seeds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn a_search_comes_back_between_its_rounds() {
        // A search of minutes in one call was taken for a stage that hangs.
        let truth = Quat::from_euler([0.3, 0.7, 1.1]);
        let voxels = Grid { radius: 40.0, size: 20.0, edge: 10.0, layout: Layout::Tiling }.voxels();
        let (lit, spots) = example_frames(&voxels, &truth);
        let mut fit: FitLayer = toml::from_str(&example("search = true\n")).unwrap();
        let run = RunCx::default();
        let cx = Cx::new(&run, "fit");
        let voxels = voxels_table(&voxels).unwrap();
        let input = FitIn { spots, lit, voxels, seeds: None, geometry: None };
        fit.absorb(&cx, &Span::frames(0, 180), input).unwrap();
        fit.complete(&cx).unwrap();
        let mut calls = 1;
        while fit.refine(&cx, &Slice::one_step()).unwrap().more {
            calls += 1;
        }
        assert!(calls > 1, "{calls}");
        let out = fit.snapshot(&cx).unwrap().unwrap();
        assert!(out.solved == 54 && out.confidence > 0.9, "{} of {}", out.solved, out.confidence);
    }
}
