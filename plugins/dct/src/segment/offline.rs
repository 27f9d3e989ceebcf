//! The rules once more, slow and plain, over a whole volume: what the stream must come to.

use super::rules::{Connectivity, Overlap, Rules};

/// A whole scan in memory; frames that are missing hold nothing but minus infinity.
pub(crate) struct Volume {
    pub(crate) shape: [usize; 3],
    pub(crate) values: Vec<f32>,
}

/// A blob as far as two implementations must agree on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plain {
    pub(crate) max: f32,
    pub(crate) seed: [usize; 3],
    pub(crate) seed_voxels: u64,
    pub(crate) threshold: f32,
    /// The first frame may be negative when the blob wraps.
    pub(crate) origin: [i64; 3],
    pub(crate) size: [usize; 3],
    pub(crate) mask: Vec<u8>,
    pub(crate) data: Vec<f32>,
    pub(crate) edge: bool,
    pub(crate) oversize: bool,
}

impl Volume {
    fn at(&self, [z, y, x]: [usize; 3]) -> f32 {
        self.values[(z * self.shape[1] + y) * self.shape[2] + x]
    }
}

fn touching(c: Connectivity) -> Vec<[i64; 3]> {
    let most = match c {
        Connectivity::Faces => 1,
        Connectivity::Edges => 2,
        Connectivity::Corners => 3,
    };
    let steps = (0..27).map(|k| [k / 9 - 1, k / 3 % 3 - 1, k % 3 - 1i64]);
    steps.filter(|s| (1..=most).contains(&s.iter().map(|d| d.abs()).sum::<i64>())).collect()
}

/// The voxels of a box connected to a start; `inside` says which belong.
fn flood(
    shape: [usize; 3],
    start: [usize; 3],
    c: Connectivity,
    ring: bool,
    inside: impl Fn([usize; 3]) -> bool,
) -> Vec<[usize; 3]> {
    let mut seen = vec![false; shape.iter().product()];
    let index = |v: [usize; 3]| (v[0] * shape[1] + v[1]) * shape[2] + v[2];
    let (mut found, mut next) = (vec![], vec![start]);
    seen[index(start)] = true;
    while let Some(v) = next.pop() {
        found.push(v);
        for step in touching(c) {
            let mut to = [0; 3];
            let mut in_box = true;
            for k in 0..3 {
                let mut n = v[k] as i64 + step[k];
                if k == 0 && ring {
                    n = n.rem_euclid(shape[0] as i64);
                }
                in_box &= n >= 0 && n < shape[k] as i64;
                to[k] = n.max(0) as usize;
            }
            if in_box && !seen[index(to)] && inside(to) {
                seen[index(to)] = true;
                next.push(to);
            }
        }
    }
    found.sort_unstable();
    found
}

/// The blobs of a volume, best first.
pub(crate) fn segment(volume: &Volume, rules: &Rules) -> Vec<Plain> {
    let [nz, ny, nx] = volume.shape;
    let all = || (0..nz * ny * nx).map(|k| [k / (ny * nx), k / nx % ny, k % nx]);
    let mut seen = vec![false; nz * ny * nx];
    let index = |v: [usize; 3]| (v[0] * ny + v[1]) * nx + v[2];
    let mut seeds = vec![];
    for v in all() {
        if volume.at(v) > rules.seed() && !seen[index(v)] {
            let ring = rules.wrap && nz > 1;
            let region = flood(volume.shape, v, rules.connectivity, ring, |v| volume.at(v) > rules.seed());
            region.iter().for_each(|v| seen[index(*v)] = true);
            let mut best = region[0];
            for v in &region {
                if volume.at(*v) > volume.at(best) {
                    best = *v;
                }
            }
            if region.len() as u64 >= rules.least {
                seeds.push((volume.at(best), best, region.len() as u64));
            }
        }
    }
    seeds.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut owned = vec![false; nz * ny * nx];
    let mut blobs = vec![];
    for (max, seed, seed_voxels) in seeds {
        if rules.overlap != Overlap::Keep && owned[index(seed)] {
            continue;
        }
        let threshold = rules.local(f64::from(max));
        let bz = if rules.wrap { rules.limit[0].min((nz - 1) / 2) } else { rules.limit[0] } as i64;
        let [z, y, x] = seed.map(|n| n as i64);
        let frames: Vec<i64> =
            (z - bz..=z + bz).filter(|k| rules.wrap || (0..nz as i64).contains(k)).collect();
        let rows = [(y - rules.limit[1] as i64).max(0), (y + rules.limit[1] as i64 + 1).min(ny as i64)];
        let columns = [(x - rules.limit[2] as i64).max(0), (x + rules.limit[2] as i64 + 1).min(nx as i64)];
        let shape = [frames.len(), (rows[1] - rows[0]) as usize, (columns[1] - columns[0]) as usize];
        let place = |v: [usize; 3]| {
            let k = frames[v[0]].rem_euclid(nz as i64) as usize;
            [k, v[1] + rows[0] as usize, v[2] + columns[0] as usize]
        };
        let belongs = |v: [usize; 3]| {
            let v = place(v);
            volume.at(v) >= threshold && !(rules.overlap == Overlap::Exclusive && owned[index(v)])
        };
        let start = [(z - frames[0]) as usize, (y - rows[0]) as usize, (x - columns[0]) as usize];
        if !belongs(start) {
            continue;
        }
        let found = flood(shape, start, rules.connectivity, false, belongs);
        let low = [0, 1, 2].map(|k| found.iter().map(|v| v[k]).min().unwrap());
        let high = [0, 1, 2].map(|k| found.iter().map(|v| v[k]).max().unwrap());
        let size = [0, 1, 2].map(|k| high[k] - low[k] + 1);
        let mut mask = vec![0u8; size.iter().product()];
        for v in &found {
            mask[((v[0] - low[0]) * size[1] + v[1] - low[1]) * size[2] + v[2] - low[2]] = 1;
            owned[index(place(*v))] = true;
        }
        let boxed = (0..mask.len()).map(|k| {
            let [z, y, x] = [k / (size[1] * size[2]), k / size[2] % size[1], k % size[2]];
            volume.at(place([z + low[0], y + low[1], x + low[2]]))
        });
        let origin = [frames[0] + low[0] as i64, rows[0] + low[1] as i64, columns[0] + low[2] as i64];
        let end = [0, 1, 2].map(|k| origin[k] + size[k] as i64);
        blobs.push(Plain {
            max,
            seed,
            seed_voxels,
            threshold,
            origin,
            size,
            mask,
            data: boxed.collect(),
            edge: origin[1] == 0
                || origin[2] == 0
                || end[1] == ny as i64
                || end[2] == nx as i64
                || (!rules.wrap && (origin[0] == 0 || end[0] == nz as i64)),
            oversize: (0..3).any(|k| size[k] > rules.limit[k]),
        });
    }
    blobs
}
