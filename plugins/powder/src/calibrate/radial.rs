//! The radial profile under a geometry and the ring radii in it.

use isard_geometry::{Grid, Pose};

use super::clean::Image;

/// A ring seen in the profile.
#[derive(Debug, Clone, Copy)]
pub struct Peak {
    /// Radius in metres.
    pub radius: f64,
    /// Height over the background in standard deviations of the profile.
    pub strength: f64,
}

/// What the profile shows.
#[derive(Debug, Clone)]
pub struct Rings {
    /// Rings by rising radius.
    pub peaks: Vec<Peak>,
    /// Smallest and largest radius at which the profile is known, in metres.
    pub range: [f64; 2],
}

/// Most bins of the profile.
const FARTHEST: f64 = 20_000.0;
/// Bins on each side among which a peak must be the highest.
const APART: usize = 3;
/// Bins on each side from which the background is taken.
const AROUND: usize = 25;
/// Least height of a peak in standard deviations of its bin.
const SIGMAS: f64 = 6.0;

/// Find ring radii under a geometry; a radius is that on a detector perpendicular to the beam.
///
/// Bins are one pixel wide.
pub fn find_rings(image: &Image, grid: &Grid, pose: &Pose) -> Rings {
    let size = grid.pixel[0].min(grid.pixel[1]);
    let profile = profile(image, grid, pose, size);
    let known: Vec<usize> = (0..profile.len()).filter(|&k| profile[k].is_some()).collect();
    let (Some(&first), Some(&last)) = (known.first(), known.last()) else {
        return Rings { peaks: Vec::new(), range: [0.0; 2] };
    };
    let range = [first as f64 * size, (last + 1) as f64 * size];
    let mut peaks = Vec::new();
    for &k in &known {
        let (value, error) = profile[k].expect("known bins have a value");
        let near = |reach: usize| (k.saturating_sub(reach)..=k + reach).filter_map(|j| *profile.get(j)?);
        if near(APART).any(|(v, _)| v > value) {
            continue;
        }
        let mut around: Vec<f64> = near(AROUND).map(|p| p.0).collect();
        around.sort_by(f64::total_cmp);
        let ground = around[around.len() / 3];
        // The background's own slope and texture must not pass for rings.
        let dip = |side: &[usize]| {
            side.iter().filter_map(|&j| Some((*profile.get(j)?)?.0)).fold(f64::MAX, f64::min)
        };
        let left: Vec<usize> = (k.saturating_sub(8)..k).collect();
        let right: Vec<usize> = (k + 1..=k + 8).collect();
        let stands = value - dip(&left).max(dip(&right));
        let height = (value - ground).min(stands);
        if height < SIGMAS * error || height < 0.01 * ground {
            continue;
        }
        let half: f64 = ground + 0.3 * (value - ground);
        let (mut sum, mut moment) = (0.0, 0.0);
        for j in k.saturating_sub(APART)..=k + APART {
            if let Some(Some((v, _))) = profile.get(j) {
                let w = (v - half).max(0.0);
                sum += w;
                moment += w * (j as f64 + 0.5);
            }
        }
        peaks.push(Peak { radius: moment / sum * size, strength: height / error });
    }
    Rings { peaks, range }
}

// Mean and standard error of the square root of counts per bin, clipped three times at four standard deviations.
fn profile(image: &Image, grid: &Grid, pose: &Pose, size: f64) -> Vec<Option<(f64, f64)>> {
    let cols = image.shape[1];
    let rotation = pose.rotation();
    let scale = pose.dist / size;
    let mut bins = 1;
    let mut points: Vec<(u32, f32)> = Vec::with_capacity(image.mean.len());
    for row in 0..image.shape[0] {
        for col in 0..cols {
            let i = row * cols + col;
            if image.weight[i] <= 0.0 {
                continue;
            }
            let d = grid.centre(row, col);
            let lab = pose.lab_with(&rotation, d[0], d[1]);
            let k = scale * (lab.x * lab.x + lab.y * lab.y).sqrt() / lab.z;
            // Backwards and nearly sideways there is no plane to draw rings on.
            if lab.z > 0.0 && k < FARTHEST {
                let value = (image.mean[i] * image.weight[i] + 0.375).max(0.0).sqrt();
                bins = bins.max(k as usize + 1);
                points.push((k as u32, value as f32));
            }
        }
    }
    let mut limits = vec![(f64::MIN, f64::MAX); bins];
    let mut out = vec![None; bins];
    for _ in 0..3 {
        let mut sums = vec![[0.0f64; 3]; bins];
        for &(k, value) in &points {
            let (low, high) = limits[k as usize];
            let value = f64::from(value);
            if value >= low && value <= high {
                let s = &mut sums[k as usize];
                s[0] += 1.0;
                s[1] += value;
                s[2] += value * value;
            }
        }
        for (k, [n, sum, square]) in sums.into_iter().enumerate() {
            // A bin with few pixels is a corner's or the beam's own.
            if n < 20.0 {
                out[k] = None;
                continue;
            }
            let mean = sum / n;
            let sd = (square / n - mean * mean).max(0.25 / n).sqrt();
            limits[k] = (mean - 4.0 * sd, mean + 4.0 * sd);
            out[k] = Some((mean, sd / n.sqrt()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accumulate::Accumulator;

    // Radii by construction: Gaussian rings at 60, 97.5 and 120 pixels over a slope, with hot pixels.
    #[test]
    fn radii_of_drawn_rings_are_found_and_no_others() {
        let grid = Grid::new([300, 280], [1e-4, 1e-4]);
        let centre = [150.2, 138.7];
        let mut frame = vec![0u32; 300 * 280];
        for (i, v) in frame.iter_mut().enumerate() {
            let r = ((i / 280) as f64 + 0.5 - centre[0]).hypot((i % 280) as f64 + 0.5 - centre[1]);
            let ring = |at: f64, high: f64| high * (-0.5 * ((r - at) / 1.4).powi(2)).exp();
            let noise = (i * 7919 % 31) as f64 - 15.0;
            *v = (400.0 - r + ring(60.0, 500.0) + ring(97.5, 120.0) + ring(120.0, 300.0) + noise) as u32;
            if i % 4999 == 0 {
                *v = 1_000_000;
            }
        }
        let mut acc = Accumulator::new([300, 280]);
        acc.add(&frame, None);
        let pose = Pose::straight(0.3, centre[0] * 1e-4, centre[1] * 1e-4);
        let rings = find_rings(&Image::new(&acc), &grid, &pose);
        let radii: Vec<f64> = rings.peaks.iter().map(|p| p.radius * 1e4).collect();
        assert_eq!(radii.len(), 3, "{radii:?}");
        for (got, expected) in radii.iter().zip([60.0, 97.5, 120.0]) {
            assert!((got - expected).abs() < 0.3, "{radii:?}");
        }
    }
}
