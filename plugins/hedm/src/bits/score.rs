//! How much of a voxel's prediction is lit: the exact value.

use isard_orientation::Matrix;

use crate::bits::Volume;
use crate::model::{Footprint, Projector, Rules, Spot, Voxel};

/// How much of a prediction is lit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Pixels that are lit at every distance whose frame is known.
    pub lit: u32,
    /// Pixels that count.
    pub total: u32,
    /// The sum over pixels of the number of distances that were known.
    pub known: u32,
}

impl Score {
    /// The lit share, from 0 to 1; 0 where nothing counts.
    pub fn confidence(&self) -> f64 {
        if self.total == 0 { 0.0 } else { f64::from(self.lit) / f64::from(self.total) }
    }

    fn add(&mut self, other: Score) {
        self.lit += other.lit;
        self.total += other.total;
        self.known += other.known;
    }

    /// On how many distances it rests, on average.
    pub fn distances(&self) -> f64 {
        if self.total == 0 { 0.0 } else { f64::from(self.known) / f64::from(self.total) }
    }
}

/// Scores orientations of voxels against a volume, spot by spot.
#[derive(Clone, Debug, Default)]
pub struct Scorer {
    spots: Vec<Spot>,
    footprint: Footprint,
}

impl Scorer {
    /// The score of an orientation at a voxel.
    pub fn score(
        &mut self,
        projector: &Projector,
        volume: &Volume,
        voxel: &Voxel,
        orientation: &Matrix,
    ) -> Score {
        self.each(projector, volume, voxel, orientation, |_, _| ())
    }

    /// As [`Scorer::score`]; `told` hears the score of each spot with its reflection.
    pub fn each(
        &mut self,
        projector: &Projector,
        volume: &Volume,
        voxel: &Voxel,
        orientation: &Matrix,
        mut told: impl FnMut(usize, Score),
    ) -> Score {
        let mut sum = Score::default();
        self.counted(projector, voxel, orientation, |reflection, footprint| {
            let one = overlap(projector, volume, footprint);
            told(reflection, one);
            sum.add(one);
        });
        sum
    }

    /// The score of an orientation at a voxel, and how much of it there are traces of.
    ///
    /// At each distance for itself a pixel counts as one if it is lit, and as a half if one beside it is; the mean of all.
    pub fn traces(
        &mut self,
        projector: &Projector,
        volume: &Volume,
        voxel: &Voxel,
        orientation: &Matrix,
    ) -> (Score, f64) {
        let (mut sum, mut traces, mut count) = (Score::default(), 0.0, 0u32);
        self.counted(projector, voxel, orientation, |_, footprint| {
            sum.add(overlap(projector, volume, footprint));
            for l in (0..footprint.bases.len()).filter(|l| volume.known(*l, footprint.frame)) {
                let [by, bz] = footprint.bases[l];
                for [y, z] in footprint.offsets.iter().map(|o| [by + o[0], bz + o[1]]) {
                    if projector.detector.holds(y, z) {
                        count += 1;
                        traces += trace(volume, l, footprint.frame, y as usize, z as usize);
                    }
                }
            }
        });
        (sum, traces / f64::from(count.max(1)))
    }

    /// Tells of the spots of an orientation that count at a voxel: the reflection and the pixels.
    fn counted(
        &mut self,
        projector: &Projector,
        voxel: &Voxel,
        orientation: &Matrix,
        mut told: impl FnMut(usize, &Footprint),
    ) {
        projector.predictor.spots_into(orientation, &mut self.spots);
        for spot in &self.spots {
            if projector.footprint(spot, voxel, &mut self.footprint) && self.footprint.inside {
                told(spot.reflection, &self.footprint);
            }
        }
    }
}

/// One where a pixel is lit, a half where one beside it is.
fn trace(volume: &Volume, l: usize, frame: usize, y: usize, z: usize) -> f64 {
    if volume.is_lit(l, frame, y, z) {
        return 1.0;
    }
    let (from, wide) = if z == 0 { (0, 0b11) } else { (z - 1, 0b111) };
    let last = (y + 1).min(volume.size()[0] - 1);
    let beside = (y.saturating_sub(1)..=last).any(|y| volume.row(l, frame, y, from) & wide != 0);
    if beside { 0.5 } else { 0.0 }
}

/// The score of one spot.
fn overlap(projector: &Projector, volume: &Volume, footprint: &Footprint) -> Score {
    let known = |l: usize| volume.known(l, footprint.frame);
    let knows = (0..footprint.bases.len()).filter(|l| known(*l)).count() as u32;
    let mut score = Score::default();
    // A spot whose frame is known nowhere says nothing.
    if knows == 0 {
        return score;
    }
    for [dy, dz] in &footprint.offsets {
        let at = |l: usize| [footprint.bases[l][0] + dy, footprint.bases[l][1] + dz];
        let on = (0..footprint.bases.len()).all(|l| projector.detector.holds(at(l)[0], at(l)[1]));
        if !on {
            match projector.rules {
                Rules::Right => continue,
                // The existing program stops with the spot at the first pixel off the detector.
                Rules::Midas => break,
            }
        }
        let lit = (0..footprint.bases.len()).all(|l| {
            let [y, z] = at(l);
            !known(l) || volume.is_lit(l, footprint.frame, y as usize, z as usize)
        });
        score.lit += u32::from(lit);
        score.total += 1;
        score.known += knows;
    }
    score
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::Painter;
    use crate::model::{Grid, Layout};
    use isard_orientation::Quat;

    #[test]
    fn traces_are_half_of_what_is_lit_and_of_what_is_beside() {
        // Of one distance the traces are the mean of the score and of that in a volume with its lit pixels spread.
        let experiment = crate::stage::Experiment {
            distances: vec![3000.0],
            beam: vec![[64.0, 6.0]],
            ..crate::stage::small()
        };
        let projector = experiment.projector().unwrap();
        let voxels = Grid { radius: 40.0, size: 10.0, edge: 10.0, layout: Layout::Tiling }.voxels();
        let truth = Quat::from_euler([0.3, 0.7, 1.1]);
        let mut painter = Painter::new(&projector);
        voxels.iter().step_by(3).for_each(|v| painter.add(&projector, v, &truth));
        let volume = painter.volume().unwrap();
        let spread = volume.spread(1).unwrap();
        let (mut scorer, mut more) = (Scorer::default(), 0.0);
        for turn in [0.0, 0.003, 0.01] {
            let matrix = Quat::from_rotation_vector([turn, -turn, turn]).times(&truth).matrix();
            for v in &voxels {
                let (score, traces) = scorer.traces(&projector, &volume, v, &matrix);
                assert_eq!(score, scorer.score(&projector, &volume, v, &matrix));
                let wide = scorer.score(&projector, &spread, v, &matrix).confidence();
                assert!((traces - 0.5 * (score.confidence() + wide)).abs() < 1e-12);
                more += wide - score.confidence();
            }
        }
        assert!(more > 1.0, "{more}");
    }
}
