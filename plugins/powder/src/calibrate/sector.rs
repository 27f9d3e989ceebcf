//! Ring positions in azimuthal sectors: the pixels of each ring and the fits of its profile to them.

use isard_geometry::{Grid, polarisation, solid_angle};

use super::clean::Image;
use super::param::Param;
use super::peak::{Peak, Sample, Shape, fit};

/// Sectors of a ring have about this many pixels along it, so that what varies along a ring is constant in one.
const ALONG: f64 = 24.0;
/// Fewest and most sectors of a whole turn.
const SECTORS: [f64; 2] = [12.0, 72.0];
/// Half of a ring's window in standard deviations of its profile.
const WINDOW: f64 = 4.5;
/// Half of a ring's window in pixels while its profile is not known.
const FIRST_WINDOW: f64 = 8.0;
/// A neighbour nearer than this many standard deviations spoils a ring.
const APART: f64 = 7.0;
/// Least height of a ring in a sector, in its standard deviations.
const SIGMAS: f64 = 5.0;

/// A ring's measured place in one sector.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    /// Number of the ring's line.
    pub line: usize,
    /// Where on the detector, in metres.
    pub at: [f64; 2],
    /// How far outside its two-theta the ring is, in pixels.
    pub shift: f64,
    /// Variance of the shift.
    pub variance: f64,
    /// Radians of two-theta per pixel.
    pub per_pixel: f64,
}

/// Rings under observation, with what is known of their profiles.
#[derive(Debug, Clone)]
pub struct Rings {
    /// Scattering angles in radians, rising.
    pub angles: Vec<f64>,
    /// Standard deviation of each ring's profile in pixels, where known.
    pub widths: Vec<Option<f64>>,
    typical: Option<f64>,
    kept: Vec<Kept>,
}

// A sector whose pixels are settled.
#[derive(Debug, Clone)]
struct Kept {
    window: Window,
    sigma: f64,
    samples: Vec<Sample>,
}

// One ring's window in two-theta.
#[derive(Debug, Clone, Copy)]
struct Window {
    line: usize,
    angle: f64,
    half: f64,
    per_pixel: f64,
    sectors: usize,
    first: usize,
}

impl Rings {
    /// Rings of these angles, of unknown profile.
    pub fn new(angles: Vec<f64>) -> Self {
        let widths = vec![None; angles.len()];
        Self { angles, widths, typical: None, kept: Vec::new() }
    }

    /// Measure all rings under a geometry: their profile's width first, then their place in every sector.
    pub fn measure(
        &mut self,
        image: &Image,
        grid: &Grid,
        param: &Param,
        polar: Option<f64>,
    ) -> Vec<Position> {
        let windows = self.windows(grid, param);
        let samples = collect(image, grid, param, polar, &windows);
        let mut widths = vec![None; self.angles.len()];
        let mut out = Vec::new();
        self.kept.clear();
        for window in &windows {
            let sectors = &samples[window.first..window.first + window.sectors];
            let start = self.widths[window.line].unwrap_or(1.5);
            let Some(whole) = profile(sectors, start) else { continue };
            let sigma = whole.sigma.clamp(0.4, 0.5 * FIRST_WINDOW);
            widths[window.line] = Some(sigma);
            // The window was made for another width; it is made again from this one at the next turn.
            for sector in sectors {
                let samples: Vec<Sample> =
                    sector.iter().filter(|s| s.u.abs() < WINDOW * sigma).copied().collect();
                if !both_flanks(&samples, sigma) {
                    continue;
                }
                if let Some(found) = position(&samples, sigma, window) {
                    out.push(found);
                    self.kept.push(Kept { window: *window, sigma, samples });
                }
            }
        }
        self.widths = widths;
        let mut known: Vec<f64> = self.widths.iter().flatten().copied().collect();
        known.sort_by(f64::total_cmp);
        // A ring left out for its neighbour has no width of its own and must stay out by the others'.
        // Blends are broad, so the sharper rings tell.
        self.typical = known.get(known.len() / 4).copied().or(self.typical);
        out
    }

    /// Measure again under a slightly different geometry, with the pixels, widths and sectors of the last measurement.
    ///
    /// With settled pixels a position is a smooth function of the geometry, so that the refinement comes to rest.
    pub fn measure_again(&mut self, param: &Param) -> Vec<Position> {
        let pose = param.pose();
        let rotation = pose.rotation();
        let mut out = Vec::new();
        self.kept.retain_mut(|kept| {
            for s in &mut kept.samples {
                let tth = pose.lab_with(&rotation, s.at[0], s.at[1]).tth();
                s.u = (tth - kept.window.angle) / kept.window.per_pixel;
            }
            let found = position(&kept.samples, kept.sigma, &kept.window);
            out.extend(found);
            found.is_some()
        });
        out
    }

    fn windows(&self, grid: &Grid, param: &Param) -> Vec<Window> {
        let pixel = grid.pixel[0].min(grid.pixel[1]);
        let mut first = 0;
        let mut out = Vec::new();
        for (line, &angle) in self.angles.iter().enumerate().filter(|a| *a.1 < 1.5) {
            let per_pixel = pixel * angle.cos().powi(2) / param.0[0];
            let below = line.checked_sub(1).map_or(angle, |k| angle - self.angles[k]);
            let above = self.angles.get(line + 1).map_or(f64::INFINITY, |a| a - angle);
            let gap = below.min(above) / per_pixel;
            let half = match self.widths[line].or(self.typical) {
                Some(sigma) if gap < APART * sigma => continue,
                // Room for a sharper look at a ring whose width is still falling, none for a neighbour's flank.
                Some(sigma) => (WINDOW * sigma + 0.5).min(gap - 3.5 * sigma),
                None => FIRST_WINDOW.min(0.45 * gap),
            };
            if half < 2.0 {
                continue;
            }
            let around = std::f64::consts::TAU * param.0[0] * angle.tan() / pixel;
            let sectors = (around / ALONG).clamp(SECTORS[0], SECTORS[1]).round() as usize;
            out.push(Window { line, angle, half: half * per_pixel, per_pixel, sectors, first });
            first += sectors;
        }
        out
    }
}

// All valid pixels within the windows, by sector.
fn collect(
    image: &Image,
    grid: &Grid,
    param: &Param,
    polar: Option<f64>,
    windows: &[Window],
) -> Vec<Vec<Sample>> {
    let pose = param.pose();
    let rotation = pose.rotation();
    let cols = image.shape[1];
    let square = |angle: f64| angle.clamp(0.0, 1.57).tan().powi(2);
    let limits: Vec<[f64; 2]> =
        windows.iter().map(|w| [square(w.angle - w.half), square(w.angle + w.half)]).collect();
    let mut out = vec![Vec::new(); windows.last().map_or(0, |w| w.first + w.sectors)];
    for row in 0..image.shape[0] {
        for col in 0..cols {
            let i = row * cols + col;
            if image.weight[i] <= 0.0 {
                continue;
            }
            let d = grid.centre(row, col);
            let lab = pose.lab_with(&rotation, d[0], d[1]);
            // Most pixels are in no window; the square of the tangent tells without a transcendental function.
            // Windows do not overlap, so the first that ends beyond the pixel is the only one that may hold it.
            let tan2 = (lab.x * lab.x + lab.y * lab.y) / (lab.z * lab.z);
            let k = limits.partition_point(|l| l[1] < tan2);
            if lab.z <= 0.0 || limits.get(k).is_none_or(|l| tan2 < l[0]) {
                continue;
            }
            let window = &windows[k];
            let tth = lab.tth();
            let chi = lab.chi();
            let turn = (chi + std::f64::consts::PI) / std::f64::consts::TAU;
            let sector = ((turn * window.sectors as f64) as usize).min(window.sectors - 1);
            let polar = polar.map_or(1.0, |f| polarisation(tth, chi, f, 0.0));
            out[window.first + sector].push(Sample {
                u: (tth - window.angle) / window.per_pixel,
                y: image.mean[i],
                weight: image.weight[i],
                gain: solid_angle(&pose, d) * polar,
                at: d,
            });
        }
    }
    out
}

// The ring's profile over all its sectors, in bins of a quarter of a pixel.
fn profile(sectors: &[Vec<Sample>], sigma: f64) -> Option<Peak> {
    const BINS: f64 = 4.0;
    let far = sectors.iter().flatten().fold(0.0f64, |m, s| m.max(s.u.abs()));
    let n = (2.0 * far * BINS) as usize + 1;
    let mut sums = vec![[0.0; 4]; n];
    for s in sectors.iter().flatten() {
        let bin = &mut sums[(((s.u + far) * BINS) as usize).min(n - 1)];
        // Summed by weight, so that a bin's noise is that of its counts.
        bin[0] += s.weight;
        bin[1] += s.weight * s.y;
        bin[2] += s.weight * s.gain;
        bin[3] += s.weight * s.u;
    }
    let bins: Vec<Sample> = sums
        .iter()
        .filter(|s| s[0] > 0.0)
        .map(|s| Sample { u: s[3] / s[0], y: s[1] / s[0], weight: s[0], gain: s[2] / s[0], at: [0.0; 2] })
        .collect();
    let first = fit(&bins, sigma, Shape::Free)?;
    (first.height > SIGMAS * first.height_variance.sqrt() && first.shift.abs() < far).then_some(first)
}

// A ring cut by a gap has no place.
fn both_flanks(samples: &[Sample], sigma: f64) -> bool {
    let flank =
        |low: f64, high: f64| samples.iter().filter(|s| s.u > low * sigma && s.u <= high * sigma).count();
    samples.len() >= 20 && flank(-2.0, 0.0) >= 4 && flank(0.0, 2.0) >= 4
}

fn position(samples: &[Sample], sigma: f64, window: &Window) -> Option<Position> {
    let peak = fit(samples, sigma, Shape::Fixed)?;
    if peak.height < SIGMAS * peak.height_variance.sqrt() || peak.shift.abs() > 2.0 * sigma {
        return None;
    }
    let (mut sum, mut at) = (0.0, [0.0; 2]);
    for s in samples {
        let w = (-0.5 * ((s.u - peak.shift) / sigma).powi(2)).exp();
        sum += w;
        at[0] += w * s.at[0];
        at[1] += w * s.at[1];
    }
    Some(Position {
        line: window.line,
        at: at.map(|x| x / sum),
        shift: peak.shift + window.curvature(),
        variance: peak.shift_variance,
        per_pixel: window.per_pixel,
    })
}

impl Window {
    /// How far in pixels a ring seems too far in because pixels have an area.
    ///
    /// The mean of a function of two-theta over a square pixel of edge p adds p^2 / 24 of its Laplacian. Beside a
    /// broadening this shifts the ring by p^2 / 24 of the Laplacian of two-theta, which at radius r on a detector at
    /// distance d is (1 / r) cos(2 two-theta) d / (d^2 + r^2). A tilt changes it little.
    fn curvature(&self) -> f64 {
        self.per_pixel / (12.0 * (2.0 * self.angle).tan())
    }
}

#[cfg(test)]
mod tests {
    use isard_geometry::Pose;

    use super::*;
    use crate::accumulate::Accumulator;

    // Rings drawn at known angles, measured under a geometry whose centre is 0.4 columns off: on the right of the
    // centre rings seem 0.4 pixels farther in, on the left farther out, above and below where they should be.
    #[test]
    fn a_shifted_centre_shows_as_shifts_of_the_sectors() {
        let grid = Grid::new([256, 256], [1e-4, 1e-4]);
        let truth = Pose::straight(0.3, 128e-4, 128e-4);
        let angles = vec![0.02f64, 0.034];
        let mut frame = vec![0u32; 256 * 256];
        for (i, v) in frame.iter_mut().enumerate() {
            let d = grid.centre(i / 256, i % 256);
            let tth = truth.lab(d[0], d[1]).tth();
            let ring = |a: f64| (-0.5 * ((tth - a) / 5e-4).powi(2)).exp();
            *v = (100.0 + 5000.0 * (ring(angles[0]) + ring(angles[1]))) as u32;
        }
        let mut acc = Accumulator::new([256, 256]);
        acc.add(&frame, None);
        let image = Image::new(&acc);
        let seen = Param::from_pose(&Pose::straight(0.3, 128e-4, 128.4e-4));
        let mut rings = Rings::new(angles);
        rings.measure(&image, &grid, &seen, None);
        let positions = rings.measure(&image, &grid, &seen, None);
        assert!(positions.len() > 30, "{}", positions.len());
        for p in &positions {
            let b = p.at[1] - 128e-4;
            let expected = -0.4 * b / (p.at[0] - 128e-4).hypot(b);
            assert!((p.shift - expected).abs() < 0.02, "{} is not {expected}", p.shift);
        }
        // The profile is 5e-4 rad wide, 1.5 pixels; seen from a wrong centre it is a little wider.
        assert!(rings.widths.iter().all(|w| (1.45..1.65).contains(&w.unwrap())), "{:?}", rings.widths);
        let again = rings.measure_again(&Param::from_pose(&truth));
        assert!(again.len() == positions.len() && again.iter().all(|p| p.shift.abs() < 0.02));
    }

    // The image is a sum over 12 x 12 points of each pixel; rings of 15 and 34 pixels radius would seem
    // 1 / (24 * 15) and 1 / (24 * 34) pixels too far in.
    #[test]
    fn pixels_with_an_area_shift_no_ring() {
        let grid = Grid::new([128, 128], [1e-4, 1e-4]);
        let truth = Pose::straight(0.3, 64.2e-4, 63.7e-4);
        let angles = vec![(15e-4f64 / 0.3).atan(), (34e-4f64 / 0.3).atan()];
        let mut frame = vec![0u32; 128 * 128];
        for (i, v) in frame.iter_mut().enumerate() {
            let mut sum = 0.0;
            for k in 0..144 {
                let step = |k: usize| (k as f64 + 0.5) / 12.0;
                let d = grid.at((i / 128) as f64 + step(k / 12), (i % 128) as f64 + step(k % 12));
                let tth = truth.lab(d[0], d[1]).tth();
                let ring = |a: f64| (-0.5 * ((tth - a) / 4e-4).powi(2)).exp();
                sum += 1e4 + 1e6 * (ring(angles[0]) + ring(angles[1]));
            }
            *v = (sum / 144.0) as u32;
        }
        let mut acc = Accumulator::new([128, 128]);
        acc.add(&frame, None);
        let (image, seen) = (Image::new(&acc), Param::from_pose(&truth));
        let mut rings = Rings::new(angles);
        rings.measure(&image, &grid, &seen, None);
        let positions = rings.measure(&image, &grid, &seen, None);
        for (line, radius) in [(0, 15.0), (1, 34.0)] {
            let shifts: Vec<f64> = positions.iter().filter(|p| p.line == line).map(|p| p.shift).collect();
            let mean = shifts.iter().sum::<f64>() / shifts.len() as f64;
            // What is left is of higher order in width over radius.
            assert!(shifts.len() >= 8 && mean.abs() < 0.2 / (24.0 * radius), "{radius}: {mean}");
        }
    }
}
