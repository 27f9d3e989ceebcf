//! `hedm.fit`: the orientation of every voxel.

use isard_core::prelude::*;
use isard_orientation::{Quat, Symmetry};

use super::experiment::{Experiment, example, small};
use super::table::{fitted_table, orientations, voxels_of};
use crate::bits::{Painter, Volume};
use crate::files::Fitted;
use crate::fit::{Found, LayerFit, Limits, SearchLimits};
use crate::model::{Grid, Layout, Projector, Voxel};

/// Voxels that are fitted in one step while frames arrive.
const STEP: usize = 256;

/// Fits the orientation of every voxel of a layer to the lit pixels of its frames.
///
/// For each voxel every seed is scored by the share of its predicted pixels that are lit at all distances; seeds of
/// `accept` or more are refined within `tolerance`, by a lattice of small turns and steps that halve, and neighbours
/// propose their orientations. With `search` voxels that stay below `search_below` are searched without seeds: pairs
/// of lit pixels give trial orientations, and what is found for one voxel seeds the others.
/// Frames that have not come are unknown, not dark: a pixel counts as lit if it is at every distance whose frame is
/// known. While frames arrive the map is fitted again whenever a share of `renew` more has come; the last answer
/// depends on the data alone.
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
    /// Whether neighbours propose their orientations.
    #[serde(default = "yes")]
    neighbours: bool,
    /// Whether voxels that seeds do not explain are searched without seeds.
    #[serde(default)]
    search: bool,
    /// Voxels of a lower confidence are searched.
    #[serde(default = "half")]
    #[schemars(range(min = 0, max = 1))]
    search_below: f64,
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

/// A map in the making.
struct Work {
    projector: Projector,
    symmetry: Symmetry,
    volume: Volume,
    voxels: Vec<Voxel>,
    seeds: Vec<Quat>,
    found: Vec<Found>,
    /// The next voxel of the pass that runs.
    next: usize,
    /// Frames that were known when the pass began.
    begun_at: usize,
    end: End,
}

/// How far the last answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// More frames may come.
    Open,
    /// All frames are in.
    Complete,
    /// The last answer is found.
    Found,
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
        let projector = small().projector().expect("the example is a good experiment");
        let voxels = Grid { radius: 20.0, size: 20.0, edge: 10.0, layout: Layout::Tiling }.voxels();
        let truth = Quat::from_euler([0.3, 0.7, 1.1]);
        let mut painter = Painter::new(&projector);
        voxels.iter().for_each(|v| painter.add(&projector, v, &truth));
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
        let spots = Table::new(y.len())
            .with("y", &y)
            .and_then(|t| t.with("z", &z))
            .and_then(|t| t.with_records(&records));
        let near = Quat::from_rotation_vector([0.005, -0.004, 0.003]).times(&truth);
        let voxels = super::table::voxels_table(&voxels).expect("columns of equal length");
        let example = Example::new(example("renew = 0.3\n"))
            .frames("lit", Array::from_slice(&counts))
            .frames("spots", spots.expect("columns of equal length"))
            .fixed("voxels", voxels)
            .fixed("seeds", super::table::quaternions(&[near]).expect("four numbers"));
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
            self.work = Some(self.begin(&input.voxels, input.seeds.as_ref())?);
        }
        let work = self.work.as_mut().ok_or_else(|| Error::internal("no volume after it was begun"))?;
        let (y, z) = (input.spots.numbers::<u32>("y")?, input.spots.numbers::<u32>("z")?);
        let records = input.spots.records();
        for number in span.range() {
            let (l, f) = self.experiment.place(number)?;
            let rows = records.partition_point(|r| *r < number)..records.partition_point(|r| *r <= number);
            let pixels: Vec<[u32; 2]> = rows.map(|k| [y[k], z[k]]).collect();
            work.volume.fill(l, f, &pixels).map_err(|e| e.at(format!("frame {number}")))?;
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // Frames that did not come stay unknown.
        Ok(())
    }

    fn complete(&mut self, _: &Cx) -> Result<()> {
        if let Some(work) = &mut self.work {
            work.end = End::Complete;
        }
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
                work.last(cx, limits, search)?;
                work.end = End::Found;
            }
            End::Open => {
                let total = (work.volume.distances() * work.volume.frames()) as f64;
                let known = work.volume.count_known();
                if work.next >= work.voxels.len() {
                    if ((known - work.begun_at) as f64) < renew * total {
                        return Ok(Fitness { cost: work.cost(), more: false });
                    }
                    (work.next, work.begun_at) = (0, known);
                }
                while work.next < work.voxels.len() {
                    cx.check()?;
                    work.step(cx, limits)?;
                    if slice.over() {
                        break;
                    }
                }
                return Ok(Fitness { cost: work.cost(), more: work.next < work.voxels.len() });
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
        Ok(Some(FitOut {
            voxels,
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
        let (mut frames, mut ends, mut pixels) = (vec![], vec![], vec![]);
        for l in 0..work.volume.distances() {
            for f in (0..work.volume.frames()).filter(|f| work.volume.known(l, *f)) {
                frames.push((l * work.volume.frames() + f) as u64);
                pixels.extend(work.volume.pixels(l, f).into_iter().flatten());
                ends.push(pixels.len() as u64);
            }
        }
        // What was found so far is not kept: the last answer comes from the data alone.
        Ok(Dict::new()
            .with("voxels", super::table::voxels_table(&work.voxels)?)
            .with("seeds", super::table::quaternions(&work.seeds)?)
            .with("frames", Array::from_slice(&frames))
            .with("ends", Array::from_slice(&ends))
            .with("pixels", Array::from_slice(&pixels)))
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.work = None;
        if state.is_empty() {
            return Ok(());
        }
        let (Value::Table(voxels), Value::Array(seeds)) = (state.need("voxels")?, state.need("seeds")?)
        else {
            return Err(Error::data("found no saved state of `hedm.fit`"));
        };
        let mut work = self.begin(voxels, Some(seeds))?;
        let array = |key: &str| match state.need(key)? {
            Value::Array(a) => Ok(a.clone()),
            other => Err(Error::data(format!("kept `{key}` is {}, wanted an array", other.describe()))),
        };
        let (frames, ends, pixels) = (array("frames")?, array("ends")?, array("pixels")?);
        let (ends, pixels) = (ends.as_slice::<u64>()?, pixels.as_slice::<u32>()?);
        let mut from = 0;
        for (number, end) in frames.as_slice::<u64>()?.iter().zip(ends) {
            let (l, f) = self.experiment.place(*number)?;
            let flat = &pixels[from..*end as usize];
            let pairs: Vec<[u32; 2]> = flat.chunks_exact(2).map(|p| [p[0], p[1]]).collect();
            work.volume.fill(l, f, &pairs)?;
            from = *end as usize;
        }
        self.work = Some(work);
        Ok(())
    }
}
declare!(Fit, "hedm.fit", Kind::Fitter, FitLayer);

impl FitLayer {
    fn limits(&self) -> Limits {
        Limits {
            tolerance: self.tolerance,
            accept: self.accept,
            neighbours: self.neighbours,
            ..Limits::default()
        }
    }

    /// A map of voxels without frames.
    fn begin(&self, voxels: &Table, seeds: Option<&Array>) -> Result<Work> {
        let projector = self.experiment.projector()?;
        let (_, _, symmetry) = self.experiment.crystal()?;
        let voxels = voxels_of(voxels)?;
        let seeds = seeds.map(orientations).transpose()?.unwrap_or_default();
        if seeds.is_empty() && !self.search {
            return Err(Error::recipe("no seed is given, and `search` is off")
                .help("wire the input `seeds`, or set `search = true`"));
        }
        let volume =
            Volume::new(self.experiment.distances.len(), self.experiment.frames, self.experiment.size);
        let found = vec![Found::default(); voxels.len()];
        let next = voxels.len();
        Ok(Work { projector, symmetry, volume, voxels, seeds, found, next, begun_at: 0, end: End::Open })
    }
}

impl Work {
    /// Fits the next voxels with the frames there are.
    fn step(&mut self, cx: &Cx, limits: Limits) -> Result<()> {
        let to = (self.next + STEP).min(self.voxels.len());
        let limits = Limits { neighbours: false, ..limits };
        let fit = LayerFit::new(&self.projector, &self.volume, &self.symmetry, limits);
        let found = fit.fit(&self.voxels[self.next..to], &self.seeds, &|n, work| cx.par(n, work))?;
        self.found[self.next..to].clone_from_slice(&found);
        self.next = to;
        Ok(())
    }

    /// Fits all voxels to all data.
    fn last(&mut self, cx: &Cx, limits: Limits, search: Option<SearchLimits>) -> Result<()> {
        let fit = LayerFit::new(&self.projector, &self.volume, &self.symmetry, limits);
        let par = |n: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)| {
            cx.check()?;
            cx.par(n, work)
        };
        self.found = match search {
            Some(search) => fit.search(&self.voxels, &self.seeds, &search, &par)?,
            None => fit.fit(&self.voxels, &self.seeds, &par)?,
        };
        Ok(())
    }

    /// One minus the mean confidence.
    fn cost(&self) -> f64 {
        1.0 - self.found.iter().map(Found::confidence).sum::<f64>() / self.found.len().max(1) as f64
    }

    fn fitted(&self) -> Vec<Fitted> {
        let one = |(voxel, found): (&Voxel, &Found)| match found.best() {
            Some(m) => Fitted {
                seed: f64::from(m.seed),
                candidates: f64::from(found.candidates),
                euler: m.orientation.euler(),
                confidence: m.score.confidence(),
                ..Fitted::unsolved(*voxel)
            },
            None => Fitted::unsolved(*voxel),
        };
        self.voxels.iter().zip(&self.found).map(one).collect()
    }
}
