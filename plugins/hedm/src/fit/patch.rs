//! Which voxels lie close to each other.

use std::collections::{BTreeMap, HashMap};

use crate::model::Voxel;

/// Voxels in squares of an edge, the one nearest to the middle of each first.
pub(super) fn patches(voxels: &[Voxel], edge: f64) -> Vec<Vec<u32>> {
    let square = |v: &Voxel| ((v.y / edge).floor() as i64, (v.x / edge).floor() as i64);
    let mut bins: BTreeMap<(i64, i64), Vec<u32>> = BTreeMap::new();
    for (k, v) in voxels.iter().enumerate() {
        bins.entry(square(v)).or_default().push(k as u32);
    }
    for patch in bins.values_mut() {
        let mean = |of: fn(&Voxel) -> f64| {
            patch.iter().map(|k| of(&voxels[*k as usize])).sum::<f64>() / patch.len() as f64
        };
        let (x, y) = (mean(|v| v.x), mean(|v| v.y));
        let away = |k: &u32| (voxels[*k as usize].x - x).hypot(voxels[*k as usize].y - y);
        let lead = (0..patch.len()).min_by(|a, b| away(&patch[*a]).total_cmp(&away(&patch[*b])));
        patch.swap(0, lead.unwrap_or(0));
    }
    bins.into_values().collect()
}

/// The distance of voxels that lie next to each other; none where there are fewer than two.
pub(crate) fn pitch(voxels: &[Voxel]) -> Option<f64> {
    let nearest = |a: &Voxel, skip: usize| {
        let others = voxels.iter().enumerate().filter(|(k, _)| *k != skip);
        others.map(|(_, b)| (a.x - b.x).hypot(a.y - b.y)).fold(f64::INFINITY, f64::min)
    };
    // From some voxels: all of them would take the square of their number.
    let step = voxels.len().div_ceil(16).max(1);
    let pitch =
        voxels.iter().enumerate().step_by(step).map(|(k, v)| nearest(v, k)).fold(f64::INFINITY, f64::min);
    (pitch.is_finite() && pitch > 0.0).then_some(pitch)
}

/// The neighbours of each voxel: those within so many pitches.
pub(crate) fn neighbours(voxels: &[Voxel], pitches: f64) -> Vec<Vec<u32>> {
    let Some(pitch) = pitch(voxels) else { return vec![vec![]; voxels.len()] };
    let reach = pitches * pitch;
    let bin = |v: &Voxel| ((v.x / reach).floor() as i64, (v.y / reach).floor() as i64);
    let mut bins: HashMap<(i64, i64), Vec<u32>> = HashMap::new();
    for (k, v) in voxels.iter().enumerate() {
        bins.entry(bin(v)).or_default().push(k as u32);
    }
    let around = |v: &Voxel, own: usize| {
        let (bx, by) = bin(v);
        let mut out: Vec<u32> = vec![];
        for (dx, dy) in (0..9).map(|k| (k % 3 - 1, k / 3 - 1)) {
            let some = bins.get(&(bx + dx, by + dy)).map_or(&[][..], Vec::as_slice);
            out.extend(some.iter().filter(|k| {
                let other = &voxels[**k as usize];
                **k as usize != own && (v.x - other.x).hypot(v.y - other.y) <= reach
            }));
        }
        out.sort_unstable();
        out
    };
    voxels.iter().enumerate().map(|(k, v)| around(v, k)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Grid, Layout};

    #[test]
    fn patches_hold_every_voxel_once_and_what_is_near() {
        let voxels = Grid { radius: 30.0, size: 4.0, edge: 2.0, layout: Layout::Tiling }.voxels();
        let patches = patches(&voxels, 9.0);
        let mut all: Vec<u32> = patches.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..voxels.len() as u32));
        let away = |a: u32, b: u32| {
            let [a, b] = [a, b].map(|k| voxels[k as usize]);
            (a.x - b.x).hypot(a.y - b.y)
        };
        // The one that leads is near the middle: no other is further than the corner from there.
        assert!(patches.iter().all(|p| p.iter().all(|k| away(p[0], *k) < 9.0)));
    }
}
