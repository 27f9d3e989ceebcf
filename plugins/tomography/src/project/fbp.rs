//! Filtered back-projection.

use std::f64::consts::PI;
use std::sync::Mutex;

use isard_core::prelude::*;
use isard_core::schemars;

use super::bank::{Aligned, Bank, PAD};
use super::beam::{Geometry, Lens, Weights, backproject};
use crate::simd::{self, Plan};

/// What the ramp of the filter is multiplied with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Nothing: the sharpest image, and the noisiest.
    #[default]
    Ramp,
    /// A sinc: a little smoother.
    SheppLogan,
    /// A raised cosine: much smoother.
    Hann,
}

impl Window {
    /// The filter in real space for projections of `n` rays: its value for each distance from 0 to `n - 1`.
    ///
    /// The bare ramp is built from its samples, 1/4 at 0, nothing at even and -1/(pi d)^2 at odd distances, which keeps the
    /// mean of an image right where a ramp of frequencies would not (Kak and Slaney, 1988, equation 61). The others are
    /// its windowed transform of at least twice the length.
    pub fn taps(self, n: usize) -> Vec<f64> {
        let ramp = |d: usize| match d {
            0 => 0.25,
            d if d % 2 == 1 => -1.0 / (PI * d as f64).powi(2),
            _ => 0.0,
        };
        if self == Window::Ramp {
            return (0..n).map(ramp).collect();
        }
        let length = (2 * n).next_power_of_two().max(64);
        let cosine: Vec<f64> = (0..length).map(|k| (2.0 * PI * k as f64 / length as f64).cos()).collect();
        // Everything is even, so a transform is a sum of cosines.
        let spectrum: Vec<f64> = (0..length)
            .map(|k| {
                let response: f64 =
                    (0..length).map(|d| ramp(d.min(length - d)) * cosine[k * d % length]).sum();
                let f = k.min(length - k) as f64 / length as f64;
                response
                    * match self {
                        Window::Ramp => 1.0,
                        Window::SheppLogan if f == 0.0 => 1.0,
                        Window::SheppLogan => (PI * f).sin() / (PI * f),
                        Window::Hann => 0.5 * (1.0 + (2.0 * PI * f).cos()),
                    }
            })
            .collect();
        let back =
            |d: usize| (0..length).map(|k| spectrum[k] * cosine[k * d % length]).sum::<f64>() / length as f64;
        (0..n).map(back).collect()
    }
}

/// The part of half a turn that each angle stands for, in radians.
///
/// Each reaches half-way to its neighbours, where angles half a turn apart are the same; so angles need not be even, and
/// half a turn and a whole one are alike. An angle that is not there leaves its part to its neighbours.
pub fn angular_weights(angles: &[f64]) -> Vec<f64> {
    if angles.len() < 2 {
        return vec![PI; angles.len()];
    }
    let mut order: Vec<(f64, usize)> =
        angles.iter().enumerate().map(|(k, a)| (a.rem_euclid(PI), k)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    // A multiple of half a turn may fall on either end by rounding: both are one place.
    for entry in &mut order {
        if PI - entry.0 < 1e-9 {
            entry.0 = 0.0;
        }
    }
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    // Angles of one place share what it stands for.
    let mut places: Vec<(f64, Vec<usize>)> = vec![];
    for (angle, k) in order {
        match places.last_mut() {
            Some((last, same)) if angle - *last < 1e-9 => same.push(k),
            _ => places.push((angle, vec![k])),
        }
    }
    let n = places.len();
    let mut weights = vec![PI; angles.len()];
    for (p, (angle, same)) in places.iter().enumerate() {
        let before = if p == 0 { places[n - 1].0 - PI } else { places[p - 1].0 };
        let after = if p + 1 == n { places[0].0 + PI } else { places[p + 1].0 };
        same.iter().for_each(|k| weights[*k] = 0.5 * (after - before) / same.len() as f64);
        debug_assert!(before <= *angle && *angle <= after);
    }
    weights
}

/// Reconstructs a slice from projections, which are filtered in place.
///
/// `whole` says which projections count; the others leave their angle to their neighbours.
pub fn fbp(
    cx: &Cx,
    geometry: &Geometry,
    window: Window,
    whole: &[bool],
    projections: &mut Bank,
    slice: &mut Bank,
) -> Result<()> {
    let kept: Vec<usize> = (0..whole.len()).filter(|a| whole[*a]).collect();
    let part = angular_weights(&kept.iter().map(|a| geometry.angles[*a]).collect::<Vec<_>>());
    let mut weights = vec![0.0; whole.len()];
    kept.iter().zip(part).for_each(|(a, w)| weights[*a] = w);
    let plan = Plan::new(&window.taps(geometry.rays));
    let width = projections.width;
    match width {
        8 => filter::<8, 4>(cx, geometry, &plan, &mut projections.data)?,
        _ => filter::<32, 16>(cx, geometry, &plan, &mut projections.data)?,
    }
    let weights = Weights::Angles(&weights);
    backproject(cx, geometry, Lens::Linear, &weights, width, &projections.data, &mut slice.data)
}

/// Filters all projections of groups of `L` channels, `H` pairs of them at once.
fn filter<const L: usize, const H: usize>(
    cx: &Cx,
    geometry: &Geometry,
    plan: &Plan,
    data: &mut [f32],
) -> Result<()> {
    let (stride, n) = (geometry.stride(), geometry.rays);
    let lines: Vec<Mutex<&mut [[f32; L]]>> =
        data.as_chunks_mut::<L>().0.chunks_mut(stride * 16).map(Mutex::new).collect();
    cx.par(lines.len(), |k| {
        let mut lines = lines[k].lock().map_err(|_| Error::internal("projections have two owners"))?;
        let (mut re, mut im) = (Aligned::zeros(plan.len() * H), Aligned::zeros(plan.len() * H));
        let (re, im) = (re.as_chunks_mut::<H>().0, im.as_chunks_mut::<H>().0);
        for line in lines.chunks_exact_mut(stride) {
            let line = &mut line[PAD..PAD + n];
            // One half of the channels is the real part, the other the imaginary one.
            for ((re, im), v) in re.iter_mut().zip(im.iter_mut()).zip(line.iter()) {
                re.copy_from_slice(&v[..H]);
                im.copy_from_slice(&v[H..]);
            }
            re[n..].fill([0.0; H]);
            im[n..].fill([0.0; H]);
            simd::convolve(simd::level(), plan, re, im);
            for ((re, im), v) in re.iter().zip(im.iter()).zip(line.iter_mut()) {
                v[..H].copy_from_slice(re);
                v[H..].copy_from_slice(im);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn the_samples_of_the_ramp_are_those_of_the_book() {
        // Kak and Slaney, equation 61, for a step of 1: 1/4, -1/pi^2, 0, -1/(9 pi^2).
        let taps = Window::Ramp.taps(4);
        let wanted = [0.25, -0.101_321_18, 0.0, -0.011_257_91];
        assert!(taps.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-8), "{taps:?}");
        // scikit-image 0.26, radon_transform._get_fourier_filter(64, "shepp-logan") / 2, transformed back by numpy.
        let found = Window::SheppLogan.taps(4);
        let wanted = [0.202_616_599, -0.067_521_674, -0.013_535_310, -0.005_763_900];
        assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn angles_share_half_a_turn() {
        let degrees = |list: &[f64]| {
            let angles: Vec<f64> = list.iter().map(|a| a.to_radians()).collect();
            angular_weights(&angles).iter().map(|w| w.to_degrees().round()).collect::<Vec<f64>>()
        };
        assert_eq!(degrees(&[0.0, 45.0, 90.0, 135.0]), [45.0; 4]);
        assert_eq!(degrees(&[0.0, 90.0, 180.0, 270.0]), [45.0; 4]);
        // Both ends of half a turn are one place.
        assert_eq!(degrees(&[0.0, 60.0, 120.0, 180.0]), [30.0, 60.0, 60.0, 30.0]);
        // 90 is not there: 45 and 135 reach further.
        assert_eq!(degrees(&[0.0, 45.0, 135.0]), [45.0, 68.0, 68.0]);
        assert_eq!(degrees(&[-45.0, 0.0, 45.0, 90.0]), [45.0; 4]);
        assert_eq!(degrees(&[30.0]), [180.0]);
    }

    #[test]
    fn pixels_agree_with_another_program() {
        // scikit-image 0.26, transform.iradon(sinogram, 0 to 170 degrees, ramp, linear, circle), its rows turned around.
        let run = RunCx::default();
        let cx = Cx::new(&run, "tested");
        let rows: Vec<f32> = (0..18 * 25)
            .map(|k| (k / 25, k % 25))
            .map(|(a, x)| ((x * x * 7 + a * 5 + x * a) % 23) as f32)
            .collect();
        let angles = (0..18).map(|a| f64::from(a * 10).to_radians()).collect();
        let geometry = Geometry { angles, rays: 25, centre: 12.0, size: 25, fine: 1 };
        let mut slice = Bank::new(1, 625);
        let mut rays = Bank::rays(&rows, 18, 25, 1);
        fbp(&cx, &geometry, Window::Ramp, &[true; 18], &mut rays, &mut slice).unwrap();
        let image: Vec<f32> = slice.channel(0).collect();
        for (v, u, wanted) in [
            (12, 12, 0.344_571_196),
            (5, 9, 0.062_311_508),
            (18, 14, 1.251_505_451),
            (12, 3, -0.599_962_760),
            (7, 20, 0.726_585_897),
        ] {
            let found = f64::from(image[v * 25 + u]);
            assert!((found - wanted).abs() < 2e-5, "{found} is not {wanted}");
        }
    }

    #[test]
    fn a_disc_comes_back_with_its_height() {
        // The projection of a disc of radius r and height 1 is its chord, 2 sqrt(r^2 - t^2).
        let run = RunCx::default();
        let cx = Cx::new(&run, "tested");
        let n = 65;
        let angles: Vec<f64> = (0..102).map(|k| f64::from(k) * PI / 102.0).collect();
        let geometry = Geometry { angles, rays: n, centre: 32.0, size: n, fine: 1 };
        let line: Vec<f32> =
            (0..n).map(|x| 2.0 * (400.0 - (x as f32 - 32.0).powi(2)).max(0.0).sqrt()).collect();
        let mut projections = Bank::rays(&line.repeat(102), 102, n, 1);
        let mut slice = Bank::new(1, n * n);
        fbp(&cx, &geometry, Window::Ramp, &[true; 102], &mut projections, &mut slice).unwrap();
        let image: Vec<f32> = slice.channel(0).collect();
        let (mut inside, mut count) = (0.0, 0);
        for (k, value) in image.iter().enumerate() {
            let r = ((k / n) as f64 - 32.0).hypot((k % n) as f64 - 32.0);
            if r < 17.0 {
                inside += f64::from(*value);
                count += 1;
            } else if (24.0..31.0).contains(&r) {
                assert!(value.abs() < 0.03, "{value} at {r}");
            }
        }
        // Half a percent is what sampling the chord by whole steps leaves.
        assert!((inside / f64::from(count) - 1.0).abs() < 6e-3, "{inside} {count}");
    }
}
