//! Own scans with noise, drifting positions, two probe modes and a near detector: the truth is found again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::scan::{Scan, offline};
use isard_ptycho::camera::Coherence;
use isard_ptycho::engine::{Bound, Method, Refinement, Rule, Settings};
use isard_ptycho::geometry::{Centre, Geometry, Propagation};
use isard_ptycho::illumination::Illumination;
use isard_ptycho::metrics::Quality;
use isard_ptycho::model::{Frame, Model};
use isard_ptycho::num::Complex;
use isard_ptycho::propagate::Propagator;
use isard_ptycho::scan::pattern::round;
use isard_ptycho::session::{Session, Task};
use isard_ptycho::simulate::{Truth, count};
use isard_ptycho::start::Start;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const N: usize = 64;

fn far() -> Geometry {
    Geometry {
        energy: 6.2,
        distance: 7.0,
        psize: 344e-6,
        n: N,
        propagation: Propagation::Farfield,
        centre: [Centre::Fftshift; 2],
        pixel: None,
    }
}

/// A scan in rings, `step` object pixels apart; the last frame is taken `drift` pixels from where it is said to be.
fn scan(geometry: Geometry, light: Illumination, start: Illumination, step: f64, drift: f64) -> Scan {
    let d = geometry.resolution();
    let told: Vec<[f64; 2]> =
        round(step * d, 4).into_iter().map(|p| p.map(|x| (x / d).round() * d)).collect();
    let taken: Vec<[f64; 2]> = told
        .iter()
        .enumerate()
        .map(|(k, p)| {
            let off = drift * d * k as f64 / told.len() as f64;
            [p[0] + off, p[1] - 0.5 * off]
        })
        .collect();
    let truth = Truth::new(geometry.clone(), &light, &taken, 11);
    let propagator = Propagator::<f32>::new(&geometry);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let frames = (0..told.len())
        .map(|k| {
            let counts: Vec<f64> = truth.expected(k).into_iter().map(|x| count(x, &mut rng)).collect();
            Frame::new(&propagator, k as u64, told[k].map(|x| x / d), |i| counts[i], |_| true).0
        })
        .collect();
    let (corners, probe, truth) = (truth.corners, truth.probe, truth.object);
    Scan { geometry, frames, corners, probe, truth, start, light: (Coherence::default(), 1) }
}

fn disc(part: f64) -> Illumination {
    Illumination { size: Some(part * N as f64 * far().resolution()), ..Illumination::default() }
}

/// The light of far-field scans: a lens's disc somewhat out of focus.
fn curved(photons: f64) -> Illumination {
    Illumination { photons: Some(photons), parallel: 4e-4, ..disc(0.45) }
}

/// Judges a reconstruction, and says its figures for who asks.
fn judge(what: &str, scan: &Scan, engines: Vec<Settings>, most: f64) -> (Quality, Session) {
    let (q, s) = offline(scan, engines, 1);
    let rings = &q.correlation;
    eprintln!(
        "{what}: RMS {:.4} (at most {most}), FRC above half-bit to {:.2}, {} rings",
        q.rms,
        q.resolution,
        rings.len()
    );
    assert!(q.resolution >= 0.6, "{what}: FRC falls below half-bit at {}", q.resolution);
    assert!(q.rms <= most, "{what}: {}", q.rms);
    (q, s)
}

fn then_ml(name: Method, first: u64, second: u64) -> Vec<Settings> {
    vec![Settings::new(name, first), Settings::new(Method::ML, second)]
}

#[test]
fn the_truth_is_found_under_noise() {
    // 1e6 photons over 4096 pixels: most have fewer than ten.
    let dim = scan(far(), curved(1e6), disc(0.45), 6.0, 0.0);
    judge("1e6 photons", &dim, then_ml(Method::DM, 60, 40), 0.06);
    // The default bound grows with the light until all frames are left alone: that of counting does not.
    let bright = scan(far(), curved(1e8), disc(0.45), 6.0, 0.0);
    let mut engines = then_ml(Method::DM, 100, 60);
    engines[0].fourier_power_bound = Some(Bound::Named(Rule::AutoPoisson));
    judge("1e8 photons", &bright, engines, 0.09);
}

#[test]
fn drifting_positions_are_found() {
    let scan = scan(far(), curved(1e7), disc(0.45), 6.0, 5.0);
    let refined = |mut engines: Vec<Settings>| {
        engines[0].position_refinement = Some(Refinement { start: Some(10), ..Refinement::default() });
        engines
    };
    let (plain, _) = offline(&scan, then_ml(Method::DM, 90, 40), 1);
    let (q, s) = judge("drift of 5 pixels", &scan, refined(then_ml(Method::DM, 90, 40)), 0.1);
    eprintln!("without refinement {:.4}", plain.rms);
    assert!(q.rms < 0.7 * plain.rms, "{} refined, {} not", q.rms, plain.rms);
    let moved: Vec<f64> =
        s.model.frames.iter().map(|f| (f.at[0] - f.measured[0]).hypot(f.at[1] - f.measured[1])).collect();
    // Bounded from where they were measured: twice three pixels along each axis.
    assert!(moved.iter().all(|m| *m <= 6.0 * 2f64.sqrt() + 1e-9), "{moved:?}");
}

#[test]
fn two_modes_of_the_probe_are_found() {
    let light = Illumination { modes: 2, power: 0.3, noise: 1.0, ..curved(1e7) };
    let start = Illumination { modes: 2, power: 0.2, ..disc(0.45) };
    let scan = scan(far(), light, start, 6.0, 0.0);
    let (_, two) = judge("two modes", &scan, then_ml(Method::DM, 100, 60), 0.08);
    // One mode does not explain such frames.
    let alone = Scan { start: disc(0.45), ..scan };
    let (q, one) = offline(&alone, then_ml(Method::DM, 100, 60), 1);
    let last = |s: &Session| s.records.last().map_or(0.0, |r| r.errors[1]);
    eprintln!(
        "with one mode: RMS {:.4}; error in counts {:.2}, {:.2} with two",
        q.rms,
        last(&one),
        last(&two)
    );
    assert!(last(&one) > 1.5 * last(&two), "{} {}", last(&one), last(&two));
}

#[test]
fn a_near_detector_sees_as_well() {
    let geometry = Geometry { psize: 1e-7, distance: 3e-3, propagation: Propagation::Nearfield, ..far() };
    let size = |part: f64| Some(part * N as f64 * geometry.resolution());
    let light =
        Illumination { photons: Some(1e7), size: size(0.5), parallel: 5e-4, ..Illumination::default() };
    let start = Illumination { size: size(0.5), ..Illumination::default() };
    let scan = scan(geometry, light, start, 5.0, 0.0);
    judge("near field", &scan, then_ml(Method::DM, 100, 60), 0.06);
}

#[test]
fn positions_that_could_not_move_are_refused() {
    // A pixel of the object is 63.6 nm.
    let how = Refinement { amplitude: Some(5e-8), ..Refinement::default() };
    let mut engines = then_ml(Method::DM, 9, 4);
    engines[0].position_refinement = Some(how);
    let task = Task {
        engines,
        illumination: Illumination::default(),
        coherence: Default::default(),
        resample: 1,
        object_modes: 1,
        fill: Complex::new(1.0, 0.0),
        start: Start::Flat,
        min_frames: 1,
        ageing: None,
        photons_every: 10,
        seed: 1,
    };
    let said = Session::new(task, far()).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(said.contains("less than a pixel"), "{said}");
}

#[test]
fn frames_four_times_as_bright_as_the_model_have_an_r_factor_of_a_half() {
    // |√I - √(4 I)| / √(4 I) is a half in each pixel, whatever the pixels are.
    let geometry = far();
    let d = geometry.resolution();
    let places: Vec<[f64; 2]> =
        round(6.0 * d, 2).into_iter().map(|p| p.map(|x| (x / d).round() * d)).collect();
    let truth = Truth::new(geometry.clone(), &curved(1e6), &places, 11);
    let propagator = Propagator::<f64>::new(&geometry);
    let frame = |k: usize| {
        let expected = truth.expected(k);
        let at = places[k].map(|x| x / d);
        Frame::new(&propagator, k as u64, at, |i| 4.0 * expected[i], |i| i % 7 != 0).0
    };
    let frames = (0..places.len()).map(frame).collect();
    let probe = propagator.plain(&truth.probe[0]);
    let mut model = Model::new(propagator, vec![probe], 1, Complex::new(1.0, 0.0));
    model.add(frames).unwrap();
    let (corner, shape) = (model.corner(0), [model.object.rows, model.object.columns]);
    let low = [truth.corners[0][0] - corner.y, truth.corners[0][1] - corner.x];
    model.object.modes[0] = truth.object.cut(low, shape).data;
    assert!((model.r_factor() - 0.5).abs() < 1e-9, "{}", model.r_factor());
}
