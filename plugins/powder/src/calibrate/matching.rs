//! The distance that explains ring radii by a calibrant's scattering angles.

use super::radial::Rings;

/// Lines of the calibrant that a strong ring may be; the first visible ring is always among them.
const LINES: usize = 30;
/// Strongest rings that are tried as anchors.
const ANCHORS: usize = 8;

/// Distances worth a closer look.
const CANDIDATES: usize = 6;

/// A distance and how well it explains the rings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// Distance from the sample along the beam, in metres.
    pub dist: f64,
    /// 1 if every ring is a line and every line a ring, 0 if none is.
    pub score: f64,
}

/// Try every strong ring as every line and return the distances that explain most, the best first.
///
/// A line that should be seen and is not counts against a distance as a ring without a line does, which settles
/// the scale of patterns that contain their own subset (lamellar and primitive lattices).
pub fn find_distances(rings: &Rings, angles: &[f64], pixel: f64, hint: Option<[f64; 2]>) -> Vec<Match> {
    let mut by_strength: Vec<_> = rings.peaks.iter().collect();
    by_strength.sort_by(|p, q| q.strength.total_cmp(&p.strength));
    let mut all: Vec<Match> = Vec::new();
    for ring in by_strength.iter().take(ANCHORS) {
        for angle in angles.iter().take(LINES).filter(|a| **a < 1.5) {
            let mut dist = ring.radius / angle.tan();
            if hint.is_some_and(|[low, high]| dist < low || dist > high) {
                continue;
            }
            for wide in [1.0, 0.5, 0.5] {
                dist = polish(rings, angles, pixel, dist, wide);
            }
            all.push(Match { dist, score: score(rings, angles, dist, |r| tolerance(r, pixel)) });
        }
    }
    all.sort_by(|p, q| q.score.total_cmp(&p.score));
    let mut best: Vec<Match> = Vec::new();
    for found in all {
        if best.len() < CANDIDATES && best.iter().all(|b| (b.dist / found.dist - 1.0).abs() > 0.02) {
            best.push(found);
        }
    }
    best
}

/// How far a ring may be from its line while neither centre nor tilt are known.
pub fn tolerance(radius: f64, pixel: f64) -> f64 {
    2.0 * pixel + 0.004 * radius
}

fn nearest(angles: &[f64], radius: f64, dist: f64) -> f64 {
    let angle = (radius / dist).atan();
    let k = angles.partition_point(|a| *a < angle);
    let around = angles[k.saturating_sub(1)..(k + 1).min(angles.len())].iter();
    let radii = around.filter(|a| **a < 1.5).map(|a| dist * a.tan());
    radii.min_by(|p, q| (p - radius).abs().total_cmp(&(q - radius).abs())).unwrap_or(f64::INFINITY)
}

fn polish(rings: &Rings, angles: &[f64], pixel: f64, dist: f64, wide: f64) -> f64 {
    let (mut top, mut bottom) = (0.0, 0.0);
    for ring in &rings.peaks {
        let line = nearest(angles, ring.radius, dist);
        if (line - ring.radius).abs() < wide * tolerance(ring.radius, pixel) {
            let tan = line / dist;
            top += ring.radius * tan;
            bottom += tan * tan;
        }
    }
    if bottom > 0.0 { top / bottom } else { dist }
}

/// How well a distance explains the rings, 0 to 1.
pub fn score(rings: &Rings, angles: &[f64], dist: f64, tolerance: impl Fn(f64) -> f64) -> f64 {
    let weight = |strength: f64| (1.0 + strength / 6.0).ln();
    let (mut matched, mut total) = (0.0, 0.0);
    for ring in &rings.peaks {
        let miss = (nearest(angles, ring.radius, dist) - ring.radius) / tolerance(ring.radius);
        matched += weight(ring.strength) * (-2.0 * miss * miss).exp();
        total += weight(ring.strength);
    }
    let mean = total / rings.peaks.len() as f64;
    let visible = |a: &&f64| **a < 1.5 && (rings.range[0]..rings.range[1]).contains(&(dist * a.tan()));
    let predicted = angles.iter().filter(visible).count() as f64;
    if total > 0.0 { 2.0 * matched / (total + predicted * mean) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use isard_geometry::Calibrant;

    use super::super::radial::Peak;
    use super::*;

    // Radii by hand: distance times the tangent of Bragg's two-theta, moved by up to a pixel, two false and one missing.
    #[test]
    fn distances_of_several_calibrants_are_recovered() {
        for (name, wavelength, dist) in
            [("CeO2", 0.2e-10, 0.74), ("LaB6", 0.4e-10, 0.3), ("AgBh", 1.0e-10, 2.0), ("Si", 0.7e-10, 0.12)]
        {
            let angles = Calibrant::named(name).unwrap().angles(wavelength, 1.2);
            let pixel = 172e-6;
            let range = [30.0 * pixel, 900.0 * pixel];
            let mut peaks: Vec<Peak> = angles
                .iter()
                .map(|a| dist * a.tan())
                .filter(|r| (range[0]..range[1]).contains(r))
                .enumerate()
                .map(|(k, r)| Peak {
                    radius: r + pixel * ((k as f64) * 2.4).sin(),
                    strength: 40.0 / (1.0 + k as f64),
                })
                .collect();
            peaks.remove(2);
            peaks.push(Peak { radius: 77.0 * pixel, strength: 15.0 });
            peaks.push(Peak { radius: 500.5 * pixel, strength: 9.0 });
            let got = find_distances(&Rings { peaks, range }, &angles, pixel, None)[0];
            assert!((got.dist / dist - 1.0).abs() < 3e-3, "{name}: {got:?}");
        }
    }
}
