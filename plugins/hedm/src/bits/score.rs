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
        let mut spots = std::mem::take(&mut self.spots);
        projector.predictor.spots_into(orientation, &mut spots);
        let mut sum = Score::default();
        for spot in &spots {
            if !projector.footprint(spot, voxel, &mut self.footprint) || !self.footprint.inside {
                continue;
            }
            let one = overlap(projector, volume, &self.footprint);
            told(spot.reflection, one);
            sum.lit += one.lit;
            sum.total += one.total;
            sum.known += one.known;
        }
        self.spots = spots;
        sum
    }
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
