//! The expected counts of a powder ring image.

use std::ops::Range;

use isard_geometry::{Grid, Pose, polarisation, solid_angle};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One powder ring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ring {
    /// Lattice spacing in metres.
    pub d: f64,
    /// Expected counts per pixel and frame on the ring's crest, before the corrections.
    pub crest: f64,
}

/// A smooth background: a constant and a forward halo, in counts per pixel and frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Background {
    /// The constant part.
    pub flat: f64,
    /// Height of the halo in the direct beam.
    pub halo: f64,
    /// Angle in radians over which the halo falls by e.
    pub decay: f64,
}

/// What a simulated detector sees of a powder.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The pixels.
    pub grid: Grid,
    /// Where the detector stands.
    pub pose: Pose,
    /// Wavelength in metres.
    pub wavelength: f64,
    /// The rings, in any order.
    pub rings: Vec<Ring>,
    /// Standard deviation of the rings' Gaussian profile in two-theta, in radians.
    pub width: f64,
    /// What lies below the rings.
    pub background: Background,
    /// Degree of horizontal polarisation of the beam, -1 to 1.
    pub polarisation: f64,
    /// Points per pixel edge over which the expectation is averaged, at least 1.
    pub oversample: usize,
}

impl Model {
    /// Expected counts per frame of the pixels of some rows, in order.
    ///
    /// # Panics
    /// When `out` does not hold these rows exactly.
    pub fn expect_rows(&self, rows: Range<usize>, out: &mut [f32]) {
        let cols = self.grid.shape[1];
        assert_eq!(out.len(), rows.len() * cols, "the slice holds the rows asked for");
        let mut rings: Vec<(f64, f64)> = self
            .rings
            .iter()
            .filter(|r| r.d > 0.5 * self.wavelength)
            .map(|r| (2.0 * (self.wavelength / (2.0 * r.d)).asin(), r.crest))
            .collect();
        rings.sort_by(|p, q| p.0.total_cmp(&q.0));
        let rotation = self.pose.rotation();
        let n = self.oversample.max(1);
        // Even points, drawn apart until their variance is that of the pixel's area: what a ring's curvature asks for.
        let spread = if n > 1 { (1.0 - 1.0 / (n * n) as f64).sqrt().recip() } else { 1.0 };
        for (row, line) in rows.zip(out.chunks_exact_mut(cols)) {
            for (col, out) in line.iter_mut().enumerate() {
                let mut total = 0.0;
                for k in 0..n * n {
                    let step = |k: usize| 0.5 + spread * ((k as f64 + 0.5) / n as f64 - 0.5);
                    let d = self.grid.at(row as f64 + step(k / n), col as f64 + step(k % n));
                    total += self.expect_at(&rotation, &rings, d);
                }
                *out = (total / (n * n) as f64) as f32;
            }
        }
    }

    /// Expected counts per frame of all pixels.
    pub fn expect(&self) -> Vec<f32> {
        let [rows, cols] = self.grid.shape;
        let mut out = vec![0.0; rows * cols];
        self.expect_rows(0..rows, &mut out);
        out
    }

    fn expect_at(&self, rotation: &[[f64; 3]; 3], rings: &[(f64, f64)], d: [f64; 2]) -> f64 {
        let lab = self.pose.lab_with(rotation, d[0], d[1]);
        let (tth, chi) = (lab.tth(), lab.chi());
        let mut value = self.background.flat + self.background.halo * (-tth / self.background.decay).exp();
        // Beyond 8 standard deviations a ring adds less than 2e-14 of its crest.
        let reach = 8.0 * self.width;
        let first = rings.partition_point(|r| r.0 < tth - reach);
        for (at, crest) in rings[first..].iter().take_while(|r| r.0 <= tth + reach) {
            let u = (tth - at) / self.width;
            value += crest * (-0.5 * u * u).exp();
        }
        value * polarisation(tth, chi, self.polarisation, 0.0) * solid_angle(&self.pose, d)
    }
}

/// Pixels that never count: this share of all, chosen by the seed, as sorted flat indices.
pub fn dead_pixels(shape: [usize; 2], share: f64, seed: u64) -> Vec<usize> {
    let n = shape[0] * shape[1];
    let wanted = ((share * n as f64).round() as usize).min(n);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Frames use their number as stream, so the last stream is free.
    rng.set_stream(u64::MAX);
    // A sparse Fisher-Yates shuffle: exactly `wanted` distinct pixels, no loop to bound.
    let mut moved = std::collections::BTreeMap::new();
    let mut dead: Vec<usize> = (0..wanted)
        .map(|i| {
            let j = i + (rng.next_u64() % (n - i) as u64) as usize;
            let at_i = *moved.get(&i).unwrap_or(&i);
            let at_j = moved.insert(j, at_i).unwrap_or(j);
            if i == j { at_i } else { at_j }
        })
        .collect();
    dead.sort_unstable();
    dead
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model {
            grid: Grid::new([40, 60], [1e-4, 1e-4]),
            pose: Pose::straight(0.1, 20.5e-4, 0.5e-4),
            wavelength: 1e-10,
            rings: vec![Ring { d: 1e-10 / (2.0 * (0.5 * (0.003f64 / 0.1).atan()).sin()), crest: 7.0 }],
            width: 1e-3,
            background: Background { flat: 0.5, halo: 2.0, decay: 0.02 },
            polarisation: 1.0,
            oversample: 1,
        }
    }

    // By hand: the ring's crest lies 3 mm, 30 pixels, from the centre (20, 0) of the direct beam.
    // There 2theta = atan(0.03), cos = 1 / sqrt(1.0009); polarised along x, P = cos^2 at azimuth 0; solid angle cos^3.
    #[test]
    fn the_crest_stands_where_bragg_puts_it() {
        let image = model().expect();
        let tth = 0.03f64.atan();
        let expected = (7.0 + 0.5 + 2.0 * (-tth / 0.02).exp()) * tth.cos().powi(5);
        let got = f64::from(image[20 * 60 + 30]);
        assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
        assert!(image[20 * 60 + 30] > image[20 * 60 + 29] && image[20 * 60 + 30] > image[20 * 60 + 31]);
    }

    // By hand: the mean of f over a square of edge 1 is f + f'' / 24 in each direction, so of a quadratic it is exact.
    #[test]
    fn pixels_average_over_their_area() {
        let mut broad = model();
        (broad.rings[0].crest, broad.oversample, broad.polarisation) = (0.0, 2, 0.0);
        broad.background = Background { flat: 1.0, halo: 0.0, decay: 1.0 };
        broad.pose.dist = 1e-3;
        let at = |oversample: usize| {
            let mut one = broad.clone();
            one.oversample = oversample;
            f64::from(one.expect()[20 * 60])
        };
        // Corrections alone bend the image; sixteen points an edge leave the fourth order, far below the second.
        let (point, two, many) = (at(1), at(2), at(16));
        assert!((two - many).abs() < 0.02 * (two - point).abs(), "{point} {two} {many}");
    }

    #[test]
    fn rows_may_be_handed_out() {
        let (whole, mut part) = (model().expect(), vec![0.0; 5 * 60]);
        model().expect_rows(7..12, &mut part);
        assert_eq!(part, whole[7 * 60..12 * 60]);
    }

    #[test]
    fn dead_pixels_are_distinct_and_follow_the_seed() {
        let dead = dead_pixels([100, 50], 0.01, 3);
        assert_eq!(dead.len(), 50);
        assert!(dead.windows(2).all(|w| w[0] < w[1]) && dead[49] < 5000);
        assert_eq!(dead, dead_pixels([100, 50], 0.01, 3));
        assert_ne!(dead, dead_pixels([100, 50], 0.01, 4));
        assert_eq!(dead_pixels([3, 3], 1.0, 1), (0..9).collect::<Vec<_>>());
    }
}
