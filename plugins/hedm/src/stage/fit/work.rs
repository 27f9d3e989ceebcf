//! A map in the making: frames as they come, voxels as they are fitted.

use std::sync::Mutex;

use isard_core::prelude::*;
use isard_orientation::{Quat, Symmetry};

use crate::bits::{Score, Scorer, Volume};
use crate::files::Fitted;
use crate::fit::{Base, Found, LayerFit, Limits, Search, SearchLimits};
use crate::map::Raster;
use crate::model::{Projector, Voxel};

/// Voxels that are fitted in one step while frames arrive.
const STEP: usize = 256;
/// Seeds whose frames are looked at to see whether a voxel without an orientation must be tried again.
const LOOKED: usize = 256;

/// A map in the making.
pub(super) struct Work {
    pub projector: Projector,
    pub symmetry: Symmetry,
    pub volume: Volume,
    pub voxels: Vec<Voxel>,
    pub seeds: Vec<Quat>,
    pub found: Vec<Found>,
    /// The rings of the reflections, and for each voxel the lit share of each of them.
    pub rings: Vec<u32>,
    pub shares: Vec<f32>,
    /// Voxels that were fitted while frames arrived, each time counted.
    pub refits: u64,
    /// Orientations that were found without seeds while frames arrive.
    own: Vec<Quat>,
    /// Frames that came since the last pass began, and those that came in the one before.
    fresh: Vec<bool>,
    news: Vec<bool>,
    /// Whether some seed has a spot in a frame that came.
    stirred: bool,
    /// The next voxel of the pass that runs.
    next: usize,
    /// Frames that were known when the pass began.
    pub begun_at: usize,
    pub end: End,
    /// The search for the last answer, where it is not over.
    search: Option<Search>,
    /// The voxels on a lattice of points.
    raster: Raster,
}

/// How far the last answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// More frames may come.
    Open,
    /// All frames are in.
    Complete,
    /// The last answer is found.
    Found,
}

impl Work {
    /// A map of voxels without frames.
    pub fn new(projector: Projector, symmetry: Symmetry, voxels: Vec<Voxel>, seeds: Vec<Quat>) -> Work {
        let (detector, frames) = (&projector.detector, projector.predictor.scan().frames);
        let volume = Volume::new(detector.distances(), frames, detector.size);
        let mut rings: Vec<u32> = projector.predictor.reflections().iter().map(|r| r.ring).collect();
        rings.sort_unstable();
        rings.dedup();
        Work {
            volume,
            found: vec![Found::default(); voxels.len()],
            shares: vec![f32::NAN; voxels.len() * rings.len()],
            rings,
            refits: 0,
            own: vec![],
            fresh: vec![false; frames],
            news: vec![false; frames],
            stirred: false,
            next: voxels.len(),
            begun_at: 0,
            end: End::Open,
            search: None,
            raster: Raster::new(&voxels),
            projector,
            symmetry,
            voxels,
            seeds,
        }
    }

    /// Takes the lit pixels of a frame.
    pub fn fill(&mut self, l: usize, f: usize, pixels: &[[u32; 2]]) -> Result<()> {
        self.fresh[f] = true;
        self.volume.fill(l, f, pixels)
    }

    /// Whether a pass runs.
    pub fn busy(&self) -> bool {
        self.next < self.voxels.len()
    }

    /// Begins a pass if a share of all frames has come since the last one.
    pub fn begin(&mut self, share: f64) -> bool {
        let total = (self.volume.distances() * self.volume.frames()) as f64;
        let known = self.volume.count_known();
        if known == 0 || ((known - self.begun_at) as f64) < share * total {
            return false;
        }
        (self.next, self.begun_at) = (0, known);
        self.news = std::mem::replace(&mut self.fresh, vec![false; self.volume.frames()]);
        let seeds = self.seeds.iter().chain(&self.own);
        // Of a long list some seed has a spot in any frame.
        let many = self.seeds.len() + self.own.len() > LOOKED || self.seeds.is_empty();
        self.stirred = many || seeds.into_iter().any(|q| self.touched(q));
        true
    }

    /// Whether spots of an orientation lie in frames that came.
    fn touched(&self, orientation: &Quat) -> bool {
        Base::new(&self.projector, *orientation).frames().any(|f| self.news[f])
    }

    /// Fits the next voxels whose frames came.
    pub fn step(&mut self, cx: &Cx, limits: Limits, search: Option<SearchLimits>) -> Result<()> {
        let to = (self.next + STEP).min(self.voxels.len());
        let wanted = |v: &usize| match self.found[*v].best() {
            Some(m) => self.touched(&m.orientation),
            None => self.stirred,
        };
        let some: Vec<usize> = (self.next..to).filter(wanted).collect();
        self.next = to;
        self.refits += some.len() as u64;
        let voxels: Vec<Voxel> = some.iter().map(|v| self.voxels[*v]).collect();
        let limits = Limits { neighbours: false, ..limits };
        let seeds: Vec<Quat> = self.seeds.iter().chain(&self.own).copied().collect();
        let fit = LayerFit::new(&self.projector, &self.volume, &self.symmetry, limits);
        let par = |n: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)| cx.par(n, work);
        // Half of a distance says too little to tell true orientations from chance.
        let enough = 2 * self.begun_at >= self.volume.frames();
        let found = match search.filter(|_| enough) {
            Some(search) => fit.search(&voxels, &seeds, &search, &par)?,
            None => fit.fit(&voxels, &seeds, &par)?,
        };
        if let Some(search) = search {
            let near = 0.3f64.to_radians();
            for m in found.iter().filter_map(Found::best).filter(|m| m.score.confidence() >= search.below) {
                let known = |q: &Quat| self.symmetry.misorientation(q, &m.orientation) < near;
                if !self.seeds.iter().chain(&self.own).any(known) {
                    self.own.push(m.orientation);
                }
            }
        }
        for (v, found) in some.iter().zip(found) {
            self.found[*v] = found;
        }
        self.share_out(cx, &some)
    }

    /// Fits all voxels to all data, as far as a slice goes; false when the map is whole.
    ///
    /// A search takes minutes, and a call that long would be taken for one that hangs.
    pub fn last(
        &mut self,
        cx: &Cx,
        limits: Limits,
        search: Option<SearchLimits>,
        over: impl Fn() -> bool,
    ) -> Result<bool> {
        let fit = LayerFit::new(&self.projector, &self.volume, &self.symmetry, limits);
        let par = |n: usize, work: &(dyn Fn(usize) -> Result<()> + Sync)| {
            cx.check()?;
            cx.par(n, work)
        };
        self.found = match search {
            Some(search) => {
                let mut state = match self.search.take() {
                    Some(state) => state,
                    None => fit.search_begin(&self.voxels, &self.seeds, &par)?,
                };
                while fit.search_on(&self.voxels, &mut state, &search, &par)? {
                    if over() {
                        self.search = Some(state);
                        return Ok(true);
                    }
                }
                fit.search_end(&self.voxels, state, &par)?
            }
            None => fit.fit(&self.voxels, &self.seeds, &par)?,
        };
        self.share_out(cx, &(0..self.voxels.len()).collect::<Vec<_>>())?;
        Ok(false)
    }

    /// Finds the lit share of each ring for some voxels.
    fn share_out(&mut self, cx: &Cx, some: &[usize]) -> Result<()> {
        let wide = self.rings.len();
        let of: Vec<usize> =
            self.projector.predictor.reflections().iter().map(|r| self.ring(r.ring)).collect();
        let pieces: Vec<&[usize]> = some.chunks(64).collect();
        let out: Vec<Mutex<Vec<f32>>> = pieces.iter().map(|_| Mutex::default()).collect();
        cx.par(pieces.len(), |k| {
            let (mut scorer, mut all) = (Scorer::default(), vec![]);
            for v in pieces[k] {
                let mut sums = vec![Score::default(); wide];
                if let Some(m) = self.found[*v].best() {
                    let matrix = m.orientation.matrix();
                    scorer.each(
                        &self.projector,
                        &self.volume,
                        &self.voxels[*v],
                        &matrix,
                        |reflection, one| {
                            let sum = &mut sums[of[reflection]];
                            (sum.lit, sum.total) = (sum.lit + one.lit, sum.total + one.total);
                        },
                    );
                }
                let share = |s: &Score| if s.total > 0 { s.confidence() as f32 } else { f32::NAN };
                all.extend(sums.iter().map(share));
            }
            *out[k].lock().map_err(|_| Error::internal("rings were counted twice"))? = all;
            Ok(())
        })?;
        for (piece, all) in pieces.iter().zip(out) {
            let all = all.into_inner().map_err(|_| Error::internal("rings were not counted"))?;
            for (v, shares) in piece.iter().zip(all.chunks_exact(wide)) {
                self.shares[v * wide..(v + 1) * wide].copy_from_slice(shares);
            }
        }
        Ok(())
    }

    fn ring(&self, ring: u32) -> usize {
        self.rings.partition_point(|r| *r < ring)
    }

    /// One minus the mean confidence.
    pub fn cost(&self) -> f64 {
        1.0 - self.found.iter().map(Found::confidence).sum::<f64>() / self.found.len().max(1) as f64
    }

    /// The voxels with what was found for them.
    pub fn fitted(&self) -> Vec<Fitted> {
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

    /// The confidences as a picture, y upwards; no number where there is no voxel.
    pub fn picture(&self) -> Result<Array> {
        let [rows, columns] = self.raster.shape;
        let at = |v: &Option<u32>| v.map_or(f32::NAN, |v| self.found[v as usize].confidence() as f32);
        let lines = self.raster.nearest.chunks(columns.max(1)).rev();
        Array::of(&[rows, columns], &lines.flatten().map(at).collect::<Vec<f32>>())
    }

    /// For each voxel the angles and the confidence of its best orientations, zeros where there are fewer.
    pub fn matches(&self, solutions: usize) -> Vec<f64> {
        let one = |found: &Found, k: usize| match found.matches.get(k) {
            Some(m) => {
                let [a, b, c] = m.orientation.euler();
                [a, b, c, m.score.confidence()]
            }
            None => [0.0; 4],
        };
        self.found.iter().flat_map(|f| (0..solutions).flat_map(move |k| one(f, k))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::Painter;
    use crate::model::{Grid, Layout};
    use isard_core::stage::RunCx;

    #[test]
    fn voxels_are_fitted_again_only_when_frames_of_their_spots_came() {
        let experiment = super::super::super::experiment::small();
        let projector = experiment.projector().unwrap();
        let (_, _, symmetry) = experiment.crystal().unwrap();
        let voxels = Grid { radius: 20.0, size: 20.0, edge: 10.0, layout: Layout::Tiling }.voxels();
        let truth = Quat::from_euler([0.3, 0.7, 1.1]);
        let mut painter = Painter::new(&projector);
        voxels.iter().for_each(|v| painter.add(&projector, v, &truth));
        let mut spots: Vec<usize> = Base::new(&projector, truth).frames().collect();
        spots.sort_unstable();
        spots.dedup();
        let empty: Vec<usize> = (0..experiment.frames).filter(|f| !spots.contains(f)).collect();
        assert!(spots.len() > 10 && empty.len() > 5, "{} frames without spots", empty.len());
        let run = RunCx::default();
        let cx = Cx::new(&run, "fit");
        let count = voxels.len() as u64;
        let mut work = Work::new(projector, symmetry, voxels, vec![truth]);
        let mut take = |frames: &[usize], work: &mut Work| {
            for f in frames {
                work.fill(0, *f, painter.pixels(0, *f)).unwrap();
            }
            assert!(work.begin(0.0), "frames came");
            while work.busy() {
                work.step(&cx, Limits::default(), None).unwrap();
            }
            work.refits
        };
        let (later, first) = spots.split_at(2);
        assert_eq!(take(first, &mut work), count);
        assert!(work.found.iter().all(|f| f.confidence() > 0.9));
        // Frames in which no voxel has a spot change nothing.
        assert_eq!(take(&empty, &mut work), count);
        assert_eq!(take(&later[..1], &mut work), 2 * count);
        // On each ring what counts is lit.
        assert!(work.shares.iter().all(|s| s.is_nan() || *s > 0.8), "{:?}", work.shares);
        assert!(work.shares.iter().any(|s| !s.is_nan()));
    }
}
