//! The common centre of the rings, from the lines across their ridges.

use super::ridge::Ridge;

/// Cells per longest edge of the image in the grid of votes.
const CELLS: f64 = 128.0;
/// Ridge points that vote; more do not move the peak.
const VOTERS: usize = 6000;

/// The point most lines across ridges pass by, then where the rings are sharpest, in pixels.
///
/// The centre may lie up to one image beside the image.
pub fn find_centre(ridges: &[Ridge], shape: [usize; 2]) -> Option<[f64; 2]> {
    if ridges.len() < 50 {
        return None;
    }
    let some: Vec<Ridge> = ridges.iter().step_by(ridges.len().div_ceil(VOTERS)).copied().collect();
    Some(sharpen(&some, meet(ridges, vote(&some, shape), shape)))
}

fn vote(ridges: &[Ridge], shape: [usize; 2]) -> [f64; 2] {
    let [rows, cols] = shape.map(|n| n as f64);
    let cell = (rows.max(cols) / CELLS).max(2.0);
    let [n1, n2] = [rows, cols].map(|n| (3.0 * n / cell).ceil() as usize + 1);
    let mut votes = vec![0.0f32; n1 * n2];
    for ridge in ridges {
        let start = [(ridge.at[0] + rows) / cell, (ridge.at[1] + cols) / cell];
        for sense in [1.0, -1.0] {
            for step in 1.. {
                let s = sense * f64::from(step);
                let (r, c) = (start[0] + s * ridge.across[0], start[1] + s * ridge.across[1]);
                if r < 0.0 || c < 0.0 || r >= n1 as f64 || c >= n2 as f64 {
                    break;
                }
                votes[r as usize * n2 + c as usize] += 1.0;
            }
        }
    }
    let mut best = (f32::MIN, [0.0; 2]);
    for r in 1..n1 - 1 {
        for c in 1..n2 - 1 {
            let near = |dr: usize, dc: usize| votes[(r + dr - 1) * n2 + c + dc - 1];
            let sum: f32 = (0..9).map(|k| near(k / 3, k % 3)).sum();
            if sum > best.0 {
                best = (sum, [(r as f64 + 0.5) * cell - rows, (c as f64 + 0.5) * cell - cols]);
            }
        }
    }
    best.1
}

// Least squares of the distances to all lines, with weights that forget lines that pass far away.
fn meet(ridges: &[Ridge], mut centre: [f64; 2], shape: [usize; 2]) -> [f64; 2] {
    let mut scale = 3.0 * (shape[0].max(shape[1]) as f64 / CELLS).max(2.0);
    for _ in 0..12 {
        let (mut a, mut b) = ([0.0; 3], [0.0; 2]);
        for ridge in ridges {
            // Along the ridge, which is perpendicular to the line.
            let n = [-ridge.across[1], ridge.across[0]];
            let want = n[0] * ridge.at[0] + n[1] * ridge.at[1];
            let miss = want - n[0] * centre[0] - n[1] * centre[1];
            let w = (1.0 + (miss / scale).powi(2)).powi(-2);
            a[0] += w * n[0] * n[0];
            a[1] += w * n[0] * n[1];
            a[2] += w * n[1] * n[1];
            b[0] += w * n[0] * want;
            b[1] += w * n[1] * want;
        }
        let det = a[0] * a[2] - a[1] * a[1];
        if det <= 1e-9 * a[0] * a[2] {
            break;
        }
        centre = [(a[2] * b[0] - a[1] * b[1]) / det, (a[0] * b[1] - a[1] * b[0]) / det];
        scale = (0.75 * scale).max(2.0);
    }
    centre
}

// Rings are sharpest about their true centre: a pattern search with steps from 8 pixels to a quarter.
fn sharpen(ridges: &[Ridge], mut centre: [f64; 2]) -> [f64; 2] {
    let mut step = 8.0f64;
    while step >= 0.25 {
        let bin = (0.5 * step).max(1.0);
        let mut best = sharpness(ridges, centre, bin);
        for _ in 0..20 {
            let mut moved = None;
            for k in [0, 1, 2, 3, 5, 6, 7, 8] {
                let at = [
                    centre[0] + step * (f64::from(k / 3) - 1.0),
                    centre[1] + step * (f64::from(k % 3) - 1.0),
                ];
                let value = sharpness(ridges, at, bin);
                if value > best {
                    (best, moved) = (value, Some(at));
                }
            }
            match moved {
                Some(at) => centre = at,
                None => break,
            }
        }
        step *= 0.5;
    }
    centre
}

fn sharpness(ridges: &[Ridge], centre: [f64; 2], bin: f64) -> f64 {
    let mut profile: Vec<f64> = Vec::with_capacity(2048);
    for ridge in ridges {
        let r = (ridge.at[0] - centre[0]).hypot(ridge.at[1] - centre[1]) / bin;
        let (k, share) = (r as usize, r.fract());
        if k + 2 > profile.len() {
            profile.resize(k + 2, 0.0);
        }
        profile[k] += ridge.height * (1.0 - share);
        profile[k + 1] += ridge.height * share;
    }
    // Per circumference, or moving away from all rings, which merges them into few bins, would win.
    profile.iter().enumerate().map(|(k, p)| p * p / (k as f64 + 1.0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arcs(centre: [f64; 2], radii: &[f64], from: f64, to: f64) -> Vec<Ridge> {
        let mut out = Vec::new();
        for r in radii {
            for k in 0..200 {
                let (s, c) = (from + (to - from) * f64::from(k) / 200.0).sin_cos();
                out.push(Ridge { at: [centre[0] + r * s, centre[1] + r * c], across: [s, c], height: 1.0 });
            }
        }
        out
    }

    #[test]
    fn whole_rings_and_distant_arcs_give_their_centre() {
        let cases = [([250.0, 260.5], 0.0, std::f64::consts::TAU, 0.2), ([-120.0, 300.0], 0.9, 2.2, 1.0)];
        for (centre, from, to, by) in cases {
            let got = find_centre(&arcs(centre, &[150.0, 210.0, 320.0], from, to), [512, 512]).unwrap();
            let miss = (got[0] - centre[0]).hypot(got[1] - centre[1]);
            assert!(miss < by, "{got:?} is not {centre:?}");
        }
        assert_eq!(find_centre(&[], [512, 512]), None);
    }
}
