//! Many orientations at one voxel: what does not depend on the voxel is kept with the orientation.

use crate::bits::Score;
use crate::fit::base::{Base, stand};
use crate::fit::view::{Field, corners_inside, lit_at_all};
use crate::model::Voxel;
use crate::simd::{BLOCK, FAR, Pinned, Placed, Stand, counting, pin};

/// An orientation as voxels of one pixel see it.
pub(crate) struct Screen {
    blocks: Vec<Pinned>,
    stand: Stand,
}

impl Screen {
    /// An orientation in a field of which every frame is known.
    pub fn new(field: &Field, base: &Base) -> Screen {
        let stand = stand(field.projector, field.volume.strides());
        let detector = &field.projector.detector;
        let (lsd, far) = (detector.lsd[0], f64::from(FAR));
        let mut blocks = vec![Pinned::NONE; base.sites.len().div_ceil(BLOCK)];
        for (k, site) in base.sites.iter().enumerate() {
            let (block, i) = (&mut blocks[k / BLOCK], k % BLOCK);
            block.frame[i] = site.frame[0].floor() as i32;
            let centre = [site.centre[0][0], site.centre[1][0]];
            // A point moves its spot in proportion to its place.
            let along = [site.shift(1.0, 0.0, lsd), site.shift(0.0, 1.0, lsd)];
            for d in 0..2 {
                block.centre[d][i] = centre[d] as f32;
                (0..2).for_each(|k| block.along[k][d][i] = along[k][d] as f32);
            }
            for l in 0..stand.count {
                let at = detector.at_distance(centre, l);
                (0..2).for_each(|d| block.base[l][d][i] = at[d].floor().clamp(-far, far) as i32);
            }
        }
        Screen { blocks, stand }
    }

    /// How much is lit at a voxel of one pixel; none as soon as it cannot reach `above`.
    pub fn score(&self, field: &Field, base: &Base, voxel: &Voxel, above: f64) -> Option<Score> {
        counting(
            #[inline(always)]
            || self.score_here(field, base, voxel, above as f32),
        )
    }

    #[inline(always)]
    fn score_here(&self, field: &Field, base: &Base, voxel: &Voxel, above: f32) -> Option<Score> {
        let (volume, count) = (field.volume, self.stand.count);
        let reach = (0.58 * voxel.edge / field.projector.detector.pixel + 1.0) as f32;
        let spot = [voxel.x as f32, voxel.y as f32];
        let (mut sum, mut seen) = (Score::default(), 0);
        let mut at = Placed::NONE;
        for (b, block) in self.blocks.iter().enumerate() {
            let mut edge = pin(block, &self.stand, spot, reach, &mut at);
            let mut on = (0..BLOCK).fold(0u32, |mask, i| mask | (at.on[i] as u32) << i);
            edge &= on;
            while edge != 0 {
                let i = edge.trailing_zeros() as usize;
                edge &= edge - 1;
                // A spot of which a corner lies off the detector does not count.
                if !corners_inside(field.projector, &base.sites[b * BLOCK + i], &voxel.corners()) {
                    on &= !(1 << i);
                }
            }
            sum.total += on.count_ones();
            sum.lit += lit_at_all(volume, &at, count, on).count_ones();
            seen += BLOCK;
            // All spots to come may be lit.
            let rest = base.sites.len().saturating_sub(seen) as f32;
            if (sum.lit as f32 + rest) < above * (sum.total as f32 + rest) {
                return None;
            }
        }
        sum.known = sum.total * count as u32;
        (sum.total > 0).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::{Painter, Scorer};
    use crate::model::{Grid, Layout, Projector};
    use isard_orientation::Quat;

    #[test]
    fn a_screened_score_is_the_exact_one() {
        let plain = crate::stage::small();
        // Far from the axis of a tilted detector a fifth of the spots fall on another pixel where rays are exact.
        let tilted =
            crate::stage::Experiment { tilt: [1.5, -2.0, 1.0], exact_rays: true, ..crate::stage::small() };
        for (experiment, grid) in [(plain, [60.0, 12.0]), (tilted, [300.0, 60.0])] {
            let projector = experiment.projector().unwrap();
            let [radius, size] = grid;
            agrees(&projector, &Grid { radius, size, edge: 8.0, layout: Layout::Tiling }.voxels());
        }
    }

    fn agrees(projector: &Projector, voxels: &[Voxel]) {
        let truth = Quat::from_euler([0.3, 0.7, 1.1]);
        let mut painter = Painter::new(projector);
        voxels.iter().step_by(2).for_each(|v| painter.add(projector, v, &truth));
        let volume = painter.volume().unwrap();
        let field = Field::new(projector, &volume);
        let (mut scorer, mut apart, mut lit) = (Scorer::default(), 0, 0);
        for turn in [0.0, 0.004, 0.02] {
            let q = Quat::from_rotation_vector([turn, -turn, 0.5 * turn]).times(&truth);
            let base = Base::new(projector, q);
            let screen = Screen::new(&field, &base);
            for v in voxels {
                let exact = scorer.score(projector, &volume, v, &q.matrix());
                let found = screen.score(&field, &base, v, 0.0).unwrap();
                // The shift of a corner's mean is rounded in single precision here.
                assert!(found.total.abs_diff(exact.total) <= 1 && found.lit.abs_diff(exact.lit) <= 1);
                apart += u32::from(found != exact);
                lit += exact.lit;
                assert!(screen.score(&field, &base, v, exact.confidence() + 0.1).is_none());
            }
        }
        assert!(
            lit > 1000 && apart <= 3 * voxels.len() as u32 / 50,
            "{apart} of {} differ",
            3 * voxels.len()
        );
    }
}
