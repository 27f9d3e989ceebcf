//! One orientation seen from one voxel: how much is lit for small turns about it.

use std::sync::Arc;

use crate::bits::{Score, Volume};
use crate::fit::base::{Base, Site, stand};
use crate::fit::shape::{Run, Shapes};
use crate::model::{Projector, Voxel};
use crate::simd::{BLOCK, Block, Placed, STEEPEST, Stand, counting, place};

/// What every look at a volume needs.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub projector: &'a Projector,
    pub volume: &'a Volume,
    /// Whether every frame is known.
    pub whole: bool,
}

impl<'a> Field<'a> {
    pub fn new(projector: &'a Projector, volume: &'a Volume) -> Field<'a> {
        let whole = volume.count_known() == volume.distances() * volume.frames();
        Field { projector, volume, whole }
    }
}

/// How little may be lit before a look is given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    /// The confidence that must be reached.
    pub above: f32,
    /// Whether to stop after 32 spots of which fewer than this many are lit.
    pub gate: u32,
}

impl Bar {
    pub const NONE: Bar = Bar { above: 0.0, gate: 0 };

    pub fn above(confidence: f64) -> Bar {
        Bar { above: confidence as f32, gate: 0 }
    }
}

/// One orientation seen from one voxel, to first order in a turn of the crystal.
#[derive(Clone, Debug)]
pub struct View {
    blocks: Vec<Block>,
    spots: usize,
    stand: Stand,
    /// For each spot the runs of the voxel's triangle and its first corner; none for voxels of one pixel.
    shapes: Vec<(Arc<[Run]>, [i32; 2])>,
    /// Where the last block fell.
    at: Placed,
}

impl View {
    /// The view of a voxel; `shapes` keeps the triangles that were met.
    pub(crate) fn new(field: &Field, base: &Base, voxel: &Voxel, shapes: &mut Shapes) -> View {
        let stand = stand(field.projector, field.volume.strides());
        let mut view = View { blocks: vec![], spots: 0, stand, shapes: vec![], at: Placed::NONE };
        view.aim(field.projector, base, voxel, shapes, true);
        view
    }

    /// Looks at another voxel or orientation; without slopes only the orientation itself can be scored.
    pub(crate) fn aim(
        &mut self,
        projector: &Projector,
        base: &Base,
        voxel: &Voxel,
        shapes: &mut Shapes,
        slopes: bool,
    ) {
        let (detector, rules) = (&projector.detector, projector.rules);
        let lsd = detector.lsd[0];
        let corners = voxel.corners();
        let many = voxel.edge > detector.pixel;
        self.spots = base.sites.len();
        self.shapes.clear();
        self.blocks.resize(self.spots.div_ceil(BLOCK), Block::NONE);
        if let Some(last) = self.blocks.last_mut() {
            last.frame = Block::NONE.frame;
        }
        let reach = 0.58 * voxel.edge / detector.pixel + 1.0;
        for (k, site) in base.sites.iter().enumerate() {
            let (block, i) = (&mut self.blocks[k / BLOCK], k % BLOCK);
            let n = if slopes { 4 } else { 1 };
            let shifts = if slopes {
                site.shifts(voxel.x, voxel.y, lsd)
            } else {
                [site.shift(voxel.x, voxel.y, lsd); 4]
            };
            let shift = shifts[0];
            // A spot of which a corner lies off the detector does not count.
            let edge = (0..2).any(|a| {
                let at = site.centre[a][0] + shift[a];
                at < reach || at > detector.size[a] as f64 - reach
            });
            let off = edge && !corners_inside(projector, site, &corners);
            for a in 0..n {
                block.frame[a][i] = site.frame[a] as f32;
                block.centre[0][a][i] = site.centre[0][a] as f32;
                block.centre[1][a][i] = site.centre[1][a] as f32;
            }
            // Where the rotation is nearly along the beam a spot flies by and no slope holds.
            if off || slopes && site.frame[1..].iter().any(|s| s.abs() > 0.1 * f64::from(STEEPEST)) {
                for a in 0..4 {
                    block.frame[a][i] = if a == 0 { -STEEPEST } else { 0.0 };
                    (0..2).for_each(|d| (block.centre[d][a][i], block.shift[d][a][i]) = (0.0, 0.0));
                }
                if many {
                    self.shapes.push(shapes.of([[0.0; 2]; 3], rules));
                }
                continue;
            }
            for (a, shift) in shifts.iter().take(n).enumerate() {
                block.shift[0][a][i] = shift[0] as f32;
                block.shift[1][a][i] = shift[1] as f32;
            }
            if many {
                self.shapes.push(shapes.of(corners.map(|[x, y]| site.shift(x, y, lsd)), rules));
            }
        }
    }

    /// Whether the voxel covers more than one pixel.
    pub fn is_wide(&self) -> bool {
        !self.shapes.is_empty()
    }

    /// How much is lit for a turn in radians, all pixels of the voxel; less than the bar may be given up early.
    pub(crate) fn score(&mut self, field: &Field, turn: [f64; 3], bar: Bar) -> Option<Score> {
        if self.is_wide() { self.all(field, turn, bar) } else { self.middle(field, turn, bar) }
    }

    /// As [`View::score`], but of the pixel at the voxel's centre alone.
    pub(crate) fn middle(&mut self, field: &Field, turn: [f64; 3], bar: Bar) -> Option<Score> {
        counting(
            #[inline(always)]
            || self.middle_here(field, turn, bar),
        )
    }

    #[inline(always)]
    fn middle_here(&mut self, field: &Field, turn: [f64; 3], bar: Bar) -> Option<Score> {
        let (volume, count) = (field.volume, self.stand.count);
        if !field.whole {
            return self.walk(
                field,
                turn,
                bar,
                #[inline(always)]
                |_, _, at, i, known, sum| {
                    if at.on[i] == 0 {
                        return;
                    }
                    let lit = (0..count).rev().all(|l| known & (1 << l) == 0 || is_lit(volume, at, l, i));
                    sum.total += 1;
                    sum.known += known.count_ones();
                    sum.lit += u32::from(lit);
                },
            );
        }
        self.blocks(
            turn,
            bar,
            #[inline(always)]
            |_, _, spots, at, sum| {
                let on = (0..spots).fold(0u32, |mask, i| mask | (at.on[i] as u32) << i);
                sum.total += on.count_ones();
                sum.known += on.count_ones() * count as u32;
                sum.lit += lit_at_all(volume, at, count, on).count_ones();
            },
        )
    }

    /// How much is lit of all pixels of the voxel's triangle.
    fn all(&mut self, field: &Field, turn: [f64; 3], bar: Bar) -> Option<Score> {
        counting(
            #[inline(always)]
            || self.all_here(field, turn, bar),
        )
    }

    #[inline(always)]
    fn all_here(&mut self, field: &Field, turn: [f64; 3], bar: Bar) -> Option<Score> {
        let size = field.volume.size().map(|n| n as i32);
        self.walk(
            field,
            turn,
            bar,
            #[inline(always)]
            |view, k, at, i, known, sum| {
                let (runs, first) = &view.shapes[k];
                let frame = at.frame[i] as usize;
                for run in runs.iter() {
                    let mut mask = if run.len == 64 { !0u64 } else { (1 << run.len) - 1 };
                    let mut lit = !0u64;
                    for l in (0..view.stand.count).rev() {
                        let y = at.base[l][0][i] + first[0] + i32::from(run.y);
                        let z = at.base[l][1][i] + first[1] + i32::from(run.z);
                        if y < 0 || y >= size[0] || z >= size[1] || z + i32::from(run.len) <= 0 {
                            mask = 0;
                            break;
                        }
                        // Pixels beyond an end of the row count at no distance.
                        if z < 0 {
                            mask &= !0 << -z;
                        }
                        if z + 64 > size[1] {
                            mask &= (1 << (size[1] - z)) - 1;
                        }
                        if known & (1 << l) == 0 || lit & mask == 0 {
                            continue;
                        }
                        let row = field.volume.row(l, frame, y as usize, z.max(0) as usize);
                        lit &= if z < 0 { row << -z } else { row };
                    }
                    sum.total += mask.count_ones();
                    sum.known += mask.count_ones() * known.count_ones();
                    sum.lit += (lit & mask).count_ones();
                }
            },
        )
    }

    /// Goes through the spots whose frame is known.
    #[inline(always)]
    fn walk(
        &mut self,
        field: &Field,
        turn: [f64; 3],
        bar: Bar,
        mut one: impl FnMut(&View, usize, &Placed, usize, u32, &mut Score),
    ) -> Option<Score> {
        let all = (1u32 << self.stand.count) - 1;
        self.blocks(
            turn,
            bar,
            #[inline(always)]
            |view, first, count, at, sum| {
                for i in (0..count).filter(|i| at.inside[*i] != 0) {
                    let known = if field.whole { all } else { view.known(field, at.frame[i] as usize) };
                    if known != 0 {
                        one(view, first + i, at, i, known, sum);
                    }
                }
            },
        )
    }

    /// Goes through the spots in blocks and gives up where the bar is out of reach.
    #[inline(always)]
    fn blocks(
        &mut self,
        turn: [f64; 3],
        bar: Bar,
        mut some: impl FnMut(&View, usize, usize, &Placed, &mut Score),
    ) -> Option<Score> {
        let turn = turn.map(|x| x as f32);
        let (mut sum, mut seen) = (Score::default(), 0);
        for b in 0..self.blocks.len() {
            place(&self.blocks[b], &self.stand, turn, &mut self.at);
            some(self, b * BLOCK, BLOCK.min(self.spots - b * BLOCK), &self.at, &mut sum);
            seen += BLOCK;
            if bar.above > 0.0 && seen < self.spots {
                // The spots to come weigh as much as those seen, and all may be lit.
                let rest = sum.total as f32 * (self.spots - seen) as f32 / seen as f32;
                let wanted = if seen <= 2 * BLOCK { bar.gate * seen as u32 / (2 * BLOCK as u32) } else { 0 };
                let gated = sum.lit * (seen as u32) < wanted * sum.total;
                // Where a gate stands the rest is not expected to be much better than what was seen.
                let dim = bar.gate > 0 && sum.lit as f32 + 1.0 < 0.9 * bar.above * sum.total as f32;
                if gated || dim || sum.lit as f32 + rest < bar.above * (sum.total as f32 + rest) {
                    return None;
                }
            }
        }
        (sum.total > 0).then_some(sum)
    }

    fn known(&self, field: &Field, frame: usize) -> u32 {
        (0..self.stand.count).filter(|l| field.volume.known(*l, frame)).fold(0, |mask, l| mask | 1 << l)
    }
}

/// Whether a spot of a block is lit at a distance.
#[inline(always)]
fn is_lit(volume: &Volume, at: &Placed, l: usize, i: usize) -> bool {
    let (y, z) = (at.base[l][0][i] + at.shift[0][i], at.base[l][1][i] + at.shift[1][i]);
    volume.is_lit(l, at.frame[i] as usize, y as usize, z as usize)
}

/// Which of some spots of a block, all on the detector, are lit at every distance.
///
/// Whether a spot is lit is known when its cache line has come, so no branch waits for a single one.
#[inline(always)]
pub(super) fn lit_at_all(volume: &Volume, at: &Placed, count: usize, spots: u32) -> u32 {
    let mut lit = volume.tiles_lit(count - 1, &at.slot, &at.tile) & spots;
    for l in (0..count).rev() {
        let mut rest = std::mem::take(&mut lit);
        while rest != 0 {
            let i = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            lit |= u32::from(is_lit(volume, at, l, i)) << i;
        }
    }
    lit
}

pub(super) fn corners_inside(projector: &Projector, site: &Site, corners: &[[f64; 2]; 3]) -> bool {
    let detector = &projector.detector;
    corners.iter().all(|[x, y]| {
        let shift = site.shift(*x, *y, detector.lsd[0]);
        (0..2).all(|k| (0.0..=detector.size[k] as f64).contains(&(site.centre[k][0] + shift[k])))
    })
}
