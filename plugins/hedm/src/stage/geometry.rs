//! `hedm.geometry`: where the detector stands.

use std::fmt::Write;

use isard_core::prelude::*;
use isard_orientation::{Quat, Symmetry};

use super::experiment::{Experiment, example};
use super::fit::example_frames;
use super::kept;
use super::table::{orientations, quaternions, voxels_of, voxels_table};
use crate::bits::Volume;
use crate::fit::{Found, LayerFit, Limits, Match, neighbours};
use crate::geometry::{Point, Refined, Refinement, Tolerance, refine};
use crate::model::{Detector, Grid, Layout, Projector, Voxel};

/// Refines where the detector stands, so that grains are explained best.
///
/// The voxels are fitted from the seeds under the geometry that the experiment gives; of those that explain most, spread
/// over the grains, `points` are taken (or `rows`, voxels with orientations that are known). One minus their mean
/// confidence, first as it is with lit pixels spread over their neighbours, is made small over tilts, first distance, differences of distances and beam positions, all within boxes
/// around the start: simplex and random searches in turn, `rounds` times, while the orientations follow. One grain
/// cannot fix the geometry, and a confidence near 1 is a plateau: take several grains and look at `neighbours` and
/// `strangers`, the share of neighbouring and of random pairs of voxels within a degree of each other. What was found is
/// the answer; it is not meant as the start of another refinement.
///
/// Takes all frames and works when they are in. Some 5 ms an evaluation with a hundred points; memory as `hedm.fit`.
///
/// Source: the calibration of the MIDAS near-field programs, with geometry and orientations refined together.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// How far a voxel may be from its seed.
    #[serde(default = "two")]
    #[schemars(range(min = 0.01, max = 10), extend("x-unit" = "degree"))]
    orientation: f64,
    /// How far tilts may be from where they start.
    #[serde(default = "degree")]
    #[schemars(range(min = 0, max = 20), extend("x-unit" = "degree"))]
    tilt: f64,
    /// How far the first distance may be from where it starts.
    #[serde(default = "hundred")]
    #[schemars(range(min = 0), extend("x-unit" = "um"))]
    distance: f64,
    /// How far the differences of neighbouring distances may be from where they start.
    #[serde(default = "ten")]
    #[schemars(range(min = 0), extend("x-unit" = "um"))]
    difference: f64,
    /// How far beam positions may be from where they start, in Y and in Z.
    #[serde(default = "pixels")]
    #[schemars(extend("x-unit" = "pixel"))]
    beam: [f64; 2],
    /// Voxels that are taken.
    #[serde(default = "points")]
    #[schemars(range(min = 1, max = 200))]
    points: usize,
    /// Voxels that are taken instead.
    ///
    /// Each is x, y, edge, 1 for up or -1 for down, and Bunge's angles in radians.
    #[serde(default)]
    rows: Vec<[f64; 7]>,
    /// Seeds of a lower confidence at a voxel are not refined.
    #[serde(default = "accept")]
    #[schemars(range(min = 0, max = 1))]
    accept: f64,
    /// Rounds of searches.
    #[serde(default = "rounds")]
    #[schemars(range(min = 1, max = 100))]
    rounds: usize,
    /// Evaluations of each search at most.
    #[serde(default = "evaluations")]
    #[schemars(range(min = 10))]
    evaluations: usize,
    /// The population of random searches for each parameter; 0 leaves them out.
    #[serde(default = "fifty")]
    population: usize,
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
fn degree() -> f64 {
    1.0
}
fn hundred() -> f64 {
    100.0
}
fn ten() -> f64 {
    10.0
}
fn pixels() -> [f64; 2] {
    [2.0; 2]
}
fn points() -> usize {
    100
}
fn accept() -> f64 {
    0.04
}
fn rounds() -> usize {
    3
}
fn evaluations() -> usize {
    1000
}
fn fifty() -> usize {
    50
}

/// What has come, and what was found.
struct Work {
    projector: Projector,
    symmetry: Symmetry,
    volume: Volume,
    voxels: Vec<Voxel>,
    seeds: Vec<Quat>,
    complete: bool,
    answer: Option<Answer>,
}

/// What was found.
struct Answer {
    refined: Refined,
    grains: usize,
    neighbours: f64,
    strangers: f64,
}

/// The input of [`Geometry`].
#[derive(Ports)]
pub struct GeometryIn {
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
}

/// The output of [`Geometry`].
#[derive(Ports)]
pub struct GeometryOut {
    /// Where the detector stands, one row for each distance.
    #[port(
        columns = "distance: f64 um, beam_y: f64 pixel, beam_z: f64 pixel, tilt_x: f64 degree, tilt_y: f64 degree, tilt_z: f64 degree"
    )]
    geometry: Table,
    /// How far each may be off until spots shift by half a pixel.
    ///
    /// The shift is the root mean square, all other parameters and the orientations following. Distances after the first are differences from the one before.
    #[port(
        columns = "distance: f64 um, beam_y: f64 pixel, beam_z: f64 pixel, tilt_x: f64 degree, tilt_y: f64 degree, tilt_z: f64 degree"
    )]
    doubt: Table,
    /// The same as lines of a MIDAS parameter file.
    lines: String,
    /// The mean confidence of the points.
    confidence: f64,
    /// The same under the geometry that was given.
    before: f64,
    /// How many points were taken.
    points: i64,
    /// How many grains they lie in.
    grains: i64,
    /// The share of neighbouring voxels that are within a degree of each other.
    neighbours: f64,
    /// The same of random pairs: much lower if the orientations mean something.
    strangers: f64,
}

impl Stage for Geometry {
    type In = GeometryIn;
    type Out = GeometryOut;

    fn example() -> Example {
        let truth = Quat::from_euler([0.3, 0.7, 1.1]);
        let voxels = Grid { radius: 20.0, size: 20.0, edge: 10.0, layout: Layout::Tiling }.voxels();
        let (counts, spots) = example_frames(&voxels, &truth);
        let [a, b, c] = truth.euler();
        let set = format!(
            "rounds = 1\nevaluations = 20\npopulation = 0\npoints = 4\nrows = [[0.0, 11.547, 10.0, 1.0, {a}, {b}, {c}]]\n"
        );
        Example::new(example(&set))
            .frames("lit", counts)
            .frames("spots", spots)
            .fixed("voxels", voxels_table(&voxels).expect("columns of equal length"))
            .fixed("seeds", quaternions(&[truth]).expect("four numbers"))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        self.experiment.check_reach(faults);
        let boxes = [("tilt", self.tilt), ("distance", self.distance), ("difference", self.difference)];
        let beam = self.beam.map(|b| ("beam", b));
        for (name, value) in boxes.into_iter().chain(beam) {
            if !(value.is_finite() && value >= 0.0) {
                faults.add(name, format!("found {value}, wanted 0 or more"));
            }
        }
        if !(1..=200).contains(&self.points) || self.rows.len() > 200 {
            let n = self.points.max(self.rows.len());
            faults.add("points", format!("found {n}, wanted 1 to 200"));
        }
        if let Some(row) = self.rows.iter().find(|r| r[2] <= 0.0 || r.iter().any(|x| !x.is_finite())) {
            let text =
                format!("found {row:?}, wanted x, y, an edge of more than 0, 1 or -1, and three angles");
            faults.add("rows", text);
        }
        if !(self.orientation > 0.0 && self.orientation <= 10.0) {
            faults.add(
                "orientation",
                format!("found {}, wanted more than 0 and at most 10 degrees", self.orientation),
            );
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        let frames = (self.experiment.distances.len() * self.experiment.frames) as u64;
        let pixels = self.experiment.size.iter().product::<usize>() as u64;
        let parameters = 3.0 + 3.0 * self.experiment.distances.len() as f64;
        let evaluations = 3.0 * self.evaluations as f64 + 1.2 * self.population as f64 * (parameters + 2.0);
        let seconds = self.rounds as f64 * evaluations * 5e-5 * self.points as f64;
        let memory = frames * (pixels / 2048 + 4096);
        Cost { memory, seconds_per_record: 1e-4, seconds, ..Cost::default() }
    }
}

impl Fit for Geometry {
    fn absorb(&mut self, _: &Cx, span: &Span, input: GeometryIn) -> Result<()> {
        if self.work.is_none() {
            let seeds = input.seeds.as_ref().map(orientations).transpose()?.unwrap_or_default();
            self.work = Some(self.begin(voxels_of(&input.voxels)?, seeds)?);
        }
        let work = self.work.as_mut().ok_or_else(|| Error::internal("no volume after it was begun"))?;
        let experiment = &self.experiment;
        kept::frames(span, &input.spots, |number, pixels| {
            let (l, f) = experiment.place(number)?;
            work.volume.fill(l, f, pixels)
        })
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // Frames that did not come stay unknown.
        Ok(())
    }

    fn complete(&mut self, _: &Cx) -> Result<()> {
        if let Some(work) = &mut self.work {
            work.complete = true;
        }
        Ok(())
    }

    fn refine(&mut self, cx: &Cx, _: &Slice) -> Result<Fitness> {
        let with = Refinement {
            tolerance: Tolerance {
                tilt: self.tilt,
                distance: self.distance,
                difference: self.difference,
                beam: self.beam,
            },
            rounds: self.rounds,
            evaluations: self.evaluations,
            population: self.population,
        };
        let limits = Limits { tolerance: self.orientation, accept: self.accept, ..Limits::default() };
        let (rows, most) = (&self.rows, self.points);
        let Some(work) = &mut self.work else { return Ok(Fitness { cost: 1.0, more: false }) };
        if work.complete && work.answer.is_none() {
            let answer = work.answer(cx, &with, limits, rows, most)?;
            tracing::info!(
                stage = cx.stage(),
                before = answer.refined.confidence[0],
                confidence = answer.refined.confidence[1],
                "Geometry refined."
            );
            work.answer = Some(answer);
        }
        let cost = work.answer.as_ref().map_or(1.0, |a| 1.0 - a.refined.confidence[1]);
        Ok(Fitness { cost, more: false })
    }

    fn snapshot(&self, _: &Cx) -> Result<Option<GeometryOut>> {
        let Some(answer) = self.work.as_ref().and_then(|w| w.answer.as_ref()) else { return Ok(None) };
        let Refined { projector, points, confidence, .. } = &answer.refined;
        let detector = &projector.detector;
        let (count, doubt) = (detector.distances(), &answer.refined.doubt);
        let column = |of: &dyn Fn(usize) -> f64| (0..count).map(of).collect::<Vec<f64>>();
        let doubt = Table::new(count)
            .with("distance", &doubt[3..3 + count])?
            .with("beam_y", &doubt[3 + count..3 + 2 * count])?
            .with("beam_z", &doubt[3 + 2 * count..])?
            .with("tilt_x", &column(&|_| doubt[0]))?
            .with("tilt_y", &column(&|_| doubt[1]))?
            .with("tilt_z", &column(&|_| doubt[2]))?;
        Ok(Some(GeometryOut {
            geometry: Experiment::geometry(detector)?,
            doubt,
            lines: lines(detector),
            confidence: confidence[1],
            before: confidence[0],
            points: points.len() as i64,
            grains: answer.grains as i64,
            neighbours: answer.neighbours,
            strangers: answer.strangers,
        }))
    }

    fn save(&self) -> Result<Dict> {
        let Some(work) = &self.work else { return Ok(Dict::new()) };
        Ok(kept::keep(&work.volume)
            .with("voxels", voxels_table(&work.voxels)?)
            .with("seeds", quaternions(&work.seeds)?))
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.work = None;
        if state.is_empty() {
            return Ok(());
        }
        let voxels = voxels_of(&kept::table(&state, "voxels")?)?;
        let mut work = self.begin(voxels, orientations(&kept::array(&state, "seeds")?)?)?;
        let experiment = &self.experiment;
        kept::restore(&state, |number, pixels| {
            let (l, f) = experiment.place(number)?;
            work.volume.fill(l, f, pixels)
        })?;
        self.work = Some(work);
        Ok(())
    }
}
declare!(Fit, "hedm.geometry", Kind::Fitter, Geometry);

/// The lines of a parameter file.
fn lines(detector: &Detector) -> String {
    let mut out = String::new();
    for (lsd, [y, z]) in detector.lsd.iter().zip(&detector.centre) {
        writeln!(out, "Lsd {lsd:.6}\nBC {y:.6} {z:.6}").expect("text grows");
    }
    for (name, tilt) in ["tx", "ty", "tz"].iter().zip(detector.tilt) {
        writeln!(out, "{name} {tilt:.6}").expect("text grows");
    }
    out
}

impl Geometry {
    fn begin(&self, voxels: Vec<Voxel>, seeds: Vec<Quat>) -> Result<Work> {
        if seeds.is_empty() && self.rows.is_empty() {
            return Err(Error::recipe("found neither seeds nor `rows`, wanted orientations to begin with")
                .help("wire the input `seeds`, or give `rows`"));
        }
        let projector = self.experiment.projector()?;
        let (_, _, symmetry) = self.experiment.crystal()?;
        let (distances, frames) = (self.experiment.distances.len(), self.experiment.frames);
        let volume = Volume::new(distances, frames, self.experiment.size);
        Ok(Work { projector, symmetry, volume, voxels, seeds, complete: false, answer: None })
    }
}

impl Work {
    /// Takes points, refines the geometry, and looks at the field of orientations under it.
    fn answer(
        &self,
        cx: &Cx,
        with: &Refinement,
        limits: Limits,
        rows: &[[f64; 7]],
        most: usize,
    ) -> Result<Answer> {
        let par = |n: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)| {
            cx.check()?;
            cx.par(n, work)
        };
        let points: Vec<Point> = match rows.is_empty() {
            true => {
                let fit = LayerFit::new(&self.projector, &self.volume, &self.symmetry, limits);
                self.take(&fit.fit(&self.voxels, &self.seeds, &par)?, most)
            }
            false => rows.iter().map(point).collect(),
        };
        if points.is_empty() {
            return Err(Error::data("no voxel has an orientation under the geometry that was given")
                .help("check the experiment, lower `accept`, or give `rows`"));
        }
        let mut rng = cx.rng(0);
        let mut random = || rand::Rng::next_u64(&mut rng) as f64 / u64::MAX as f64;
        let refined = refine(&self.projector, &self.volume, &points, with, &par, &mut random)?;
        let mut kinds: Vec<Quat> = vec![];
        for p in &refined.points {
            if !kinds.iter().any(|q| self.alike(q, &p.orientation)) {
                kinds.push(p.orientation);
            }
        }
        let seeds = if self.seeds.is_empty() { &kinds } else { &self.seeds };
        let fit = LayerFit::new(&refined.projector, &self.volume, &self.symmetry, limits);
        let [neighbours, strangers] = self.field(&fit.fit(&self.voxels, seeds, &par)?);
        Ok(Answer { refined, grains: kinds.len(), neighbours, strangers })
    }

    fn alike(&self, a: &Quat, b: &Quat) -> bool {
        self.symmetry.misorientation(a, b) < 1f64.to_radians()
    }

    /// Points spread over the grains of a map, from the better half of each.
    fn take(&self, found: &[Found], most: usize) -> Vec<Point> {
        let mut order: Vec<(usize, &Match)> =
            found.iter().enumerate().filter_map(|(v, f)| f.best().map(|m| (v, m))).collect();
        order.sort_by(|a, b| b.1.score.confidence().total_cmp(&a.1.score.confidence()));
        let mut grains: Vec<Vec<(usize, &Match)>> = vec![];
        for (v, m) in order {
            match grains.iter_mut().find(|g| self.alike(&g[0].1.orientation, &m.orientation)) {
                Some(grain) if m.score.confidence() >= 0.5 * grain[0].1.score.confidence() => {
                    grain.push((v, m))
                }
                Some(_) => (),
                None => grains.push(vec![(v, m)]),
            }
        }
        // Grains of a voxel or two are chance where others are large.
        let large = grains.iter().map(Vec::len).max().unwrap_or(0);
        grains.retain(|g| 8 * g.len() >= large);
        let each = most.div_ceil(grains.len().max(1));
        let mut points = vec![];
        for grain in &grains {
            let step = (grain.len() as f64 / each as f64).max(1.0);
            let places = (0..).map(|k| (f64::from(k) * step) as usize).take_while(|k| *k < grain.len());
            points.extend(
                places.map(|k| Point { voxel: self.voxels[grain[k].0], orientation: grain[k].1.orientation }),
            );
        }
        points.truncate(most);
        points
    }

    /// The share of neighbours and of random pairs whose orientations are alike.
    fn field(&self, found: &[Found]) -> [f64; 2] {
        let q: Vec<Option<Quat>> = found.iter().map(|f| f.best().map(|m| m.orientation)).collect();
        let share = |pairs: &mut dyn Iterator<Item = (usize, usize)>| {
            let (mut alike, mut all) = (0.0, 0.0f64);
            for (a, b) in pairs {
                if let (Some(a), Some(b)) = (&q[a], &q[b]) {
                    all += 1.0;
                    alike += f64::from(u8::from(self.alike(a, b)));
                }
            }
            alike / all.max(1.0)
        };
        let near = neighbours(&self.voxels, 1.1);
        let mut pairs = near.iter().enumerate().flat_map(|(a, n)| n.iter().map(move |b| (a, *b as usize)));
        let n = self.voxels.len();
        // Pairs half the list apart, and a third: far from each other for any order of voxels.
        let mut others = (0..n).flat_map(|a| [(a, (a + n / 2) % n), (a, (a + n / 3 + 1) % n)]);
        [share(&mut pairs), share(&mut others)]
    }
}

fn point(row: &[f64; 7]) -> Point {
    let [x, y, edge, sign, a, b, c] = *row;
    Point { voxel: Voxel { x, y, edge, up: sign >= 0.0 }, orientation: Quat::from_euler([a, b, c]) }
}
