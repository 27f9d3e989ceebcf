//! Own scans with light of several energies, pixels coarser than the speckles, and a probe that changes from frame to
//! frame: the truth is found again, and not without being told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::scan::{Scan, offline, session};
use isard_ptycho::camera::{Coherence, Dispersion};
use isard_ptycho::engine::{Method, Settings};
use isard_ptycho::geometry::{Centre, Geometry, Propagation};
use isard_ptycho::illumination::Illumination;
use isard_ptycho::metrics::Quality;
use isard_ptycho::model::Frame;
use isard_ptycho::num::{Complex, alone};
use isard_ptycho::propagate::Propagator;
use isard_ptycho::scan::pattern::round;
use isard_ptycho::session::{Ageing, Session};
use isard_ptycho::simulate::{Truth, count};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// How the light of each frame differs from that of the first: out of its place in the window, -1 to 1, and its number.
type Change = fn(f64, f64, usize) -> Complex<f64>;

fn geometry(n: usize) -> Geometry {
    Geometry {
        energy: 6.2,
        distance: 7.0,
        psize: 344e-6 * 64.0 / n as f64,
        n,
        propagation: Propagation::Farfield,
        centre: [Centre::Fftshift; 2],
        pixel: None,
    }
}

/// A scan in rings, `step` object pixels apart, on frames of `n` by `n` pixels.
fn scan(n: usize, step: f64, coherence: &Coherence, resample: usize, change: Option<Change>) -> Scan {
    taken(geometry(n), step, coherence, resample, change)
}

fn taken(
    geometry: Geometry,
    step: f64,
    coherence: &Coherence,
    resample: usize,
    change: Option<Change>,
) -> Scan {
    let n = geometry.n;
    let d = geometry.resolution();
    let places: Vec<[f64; 2]> =
        round(step * d, 3).into_iter().map(|p| p.map(|x| (x / d).round() * d)).collect();
    let start = Illumination { size: Some(28.8 * d), ..Illumination::default() };
    let light = Illumination { photons: Some(1e7), parallel: 4e-4, ..start.clone() };
    let mut truth = Truth::seen(geometry.clone(), &light, &places, 11, coherence, resample);
    let window = n * resample;
    truth.changes = change.map(|change| {
        let at = |k: usize| k as f64 * 2.0 / window as f64 - 1.0;
        let frame =
            |j: usize| (0..window * window).map(|k| change(at(k / window), at(k % window), j)).collect();
        (0..places.len()).map(frame).collect()
    });
    let propagator = Propagator::<f32>::new(&geometry);
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let frames = (0..places.len())
        .map(|k| {
            let counts: Vec<f64> = truth.expected(k).into_iter().map(|x| count(x, &mut rng)).collect();
            Frame::new(&propagator, k as u64, places[k].map(|x| x / d), |i| counts[i], |_| true).0
        })
        .collect();
    let (corners, probe, truth) = (truth.corners, truth.probe, truth.object);
    Scan { geometry, frames, corners, probe, truth, start, light: (coherence.clone(), resample) }
}

fn three() -> Coherence {
    let (energies, spectrum) = (vec![0.94, 1.0, 1.06], vec![1.0, 2.0, 1.0]);
    Coherence { energies, spectrum, ..Coherence::default() }
}

/// Runs engines and says their figures.
fn ran(what: &str, scan: &Scan, engines: Vec<Settings>) -> (Quality, Session) {
    let (q, s) = offline(scan, engines, 1);
    eprintln!(
        "{what}: RMS {:.4}, FRC above half-bit to {:.2}, error in counts {:.2}",
        q.rms,
        q.resolution,
        counts(&s)
    );
    (q, s)
}

fn found(what: &str, scan: &Scan, engines: Vec<Settings>, most: f64) -> (Quality, Session) {
    let (q, s) = ran(what, scan, engines);
    assert!(q.resolution >= 0.6, "{what}: FRC falls below half-bit at {}", q.resolution);
    assert!(q.rms <= most, "{what}: {}", q.rms);
    (q, s)
}

fn engines() -> [(&'static str, Vec<Settings>); 6] {
    let batch = Settings { batch: Some(8), ..Settings::new(Method::EPIE, 80) };
    // With its defaults SDR is chaotic.
    let sdr = Settings { sigma: Some(0.5), tau: Some(0.5), ..Settings::new(Method::SDR, 80) };
    [
        ("DM, ML", vec![Settings::new(Method::DM, 60), Settings::new(Method::ML, 40)]),
        ("RAAR", vec![Settings::new(Method::RAAR, 80)]),
        ("EPIE", vec![Settings::new(Method::EPIE, 80)]),
        ("EPIE in batches", vec![batch]),
        ("SDR", vec![sdr]),
        ("EPIE, ML", vec![Settings::new(Method::EPIE, 30), Settings::new(Method::ML, 50)]),
    ]
}

fn counts(s: &Session) -> f64 {
    s.records.last().map_or(f64::NAN, |r| r.errors[1])
}

/// Who is not told what light it is does not explain the counts.
fn not_told(what: &str, scan: Scan) {
    let epie = vec![Settings::new(Method::EPIE, 60)];
    let (told, with) = ran(what, &scan, epie.clone());
    let light = (Coherence::default(), 1);
    let (not, without) = ran(&format!("{what}, not told"), &Scan { light, ..scan }, epie);
    assert!(counts(&with) < 0.2 * counts(&without), "{} {}", counts(&with), counts(&without));
    assert!(told.rms < not.rms, "{} {}", told.rms, not.rms);
}

#[test]
fn several_energies_are_told_apart_by_every_engine() {
    let scan = scan(64, 5.0, &three(), 1, None);
    for (name, engines) in engines() {
        found(&format!("three energies, {name}"), &scan, engines, 0.2);
    }
    // One energy does not explain such frames.
    not_told("three energies", scan);
}

#[test]
fn energies_may_have_probes_and_objects_of_their_own() {
    for (what, probe, object) in [("probes", true, false), ("objects", false, true), ("both", true, true)] {
        let of = |own| if own { Dispersion::Irregular } else { Dispersion::Achromatic };
        let light = Coherence {
            energies: vec![0.9, 1.0],
            spectrum: vec![1.0, 2.0],
            probe_dispersion: of(probe),
            object_dispersion: of(object),
        };
        let scan = scan(64, 5.0, &light, 1, None);
        let [(_, engines), ..] = engines();
        let (_, s) = ran(&format!("{what} of their own"), &scan, engines);
        let objects = if object { 2 } else { 1 };
        assert_eq!((s.model.probe.modes.len(), s.model.object.modes.len()), (2, objects));
        assert!(counts(&s) < 4.0, "{what}: {}", counts(&s));
    }
}

#[test]
fn pixels_coarser_than_the_speckles_are_no_hindrance_to_any_engine() {
    let scan = scan(32, 5.0, &Coherence::default(), 2, None);
    for (name, engines) in engines() {
        let (_, s) = found(&format!("pixels of two by two, {name}"), &scan, engines, 0.2);
        assert_eq!(s.model.n(), 64);
    }
    not_told("pixels of two by two", scan);
}

#[test]
fn a_probe_that_drifts_is_followed_while_the_scan_runs() {
    // Its curvature grows from frame to frame.
    let change: Change = |y, x, frame| Complex::from_polar(1.0, 0.2 * frame as f64 * (y * y + x * x));
    let scan = scan(64, 5.0, &Coherence::default(), 1, Some(change));
    // How far the last ten frames are from what the reconstruction says of them when the last has come.
    let latest = |ageing: Option<Ageing>| {
        let mut s = session(&scan, vec![Settings::new(Method::EPIE, 20)], 1);
        s.task.ageing = ageing;
        for frame in &scan.frames {
            s.take(frame.clone());
            (0..4).for_each(|_| s.step(&alone).unwrap());
        }
        s.model.frames.drain(..scan.frames.len() - 10);
        s.model.r_factor()
    };
    let (stale, not) = (latest(Some(Ageing(8.0))), latest(None));
    eprintln!("a drifting probe: R-factor of the latest frames {stale:.3}, {not:.3} if none gets stale");
    assert!(stale < 0.8 * not, "{stale} {not}");
}

#[test]
fn pixels_of_the_object_may_be_asked_for() {
    let natural = geometry(64);
    // Transforms of 76 and of 56 pixels: 64 / 0.85 and 64 / 1.15 to an even difference.
    for (factor, size) in [(0.85, 76), (1.15, 56)] {
        let pixel = Some(factor * natural.resolution());
        let scan = taken(Geometry { pixel, ..natural.clone() }, 5.0, &Coherence::default(), 1, None);
        let [dm, _, epie, ..] = engines();
        for (name, engines) in [dm, epie] {
            let what = format!("pixels {factor} times as wide, {name}");
            let (_, s) = found(&what, &scan, engines, 0.2);
            assert_eq!(s.geometry.resolution(), factor * natural.resolution());
            // What no wave reaches does not count.
            let good = size.min(64) * size.min(64);
            assert!(s.model.frames.iter().all(|f| f.good == good), "{what}: {}", s.model.frames[0].good);
        }
    }
}

#[test]
fn a_probe_that_changes_is_followed() {
    // Its curvature goes to and fro: two dimensions, which no change of the object stands for.
    let change: Change = |y, x, frame| Complex::new(1.0, 2.0 * (y * y + x * x) * (0.7 * frame as f64).sin());
    let scan = scan(64, 5.0, &Coherence::default(), 1, Some(change));
    // One probe for all first: where the object is not known yet, probes of frames explain anything.
    let then = |name, numiter, subspace_dim| {
        let mut second = Settings { subspace_dim, ..Settings::new(name, numiter) };
        if name == Method::SDR {
            // With its defaults it is chaotic.
            (second.sigma, second.tau) = (Some(0.5), Some(0.5));
        }
        vec![Settings::new(Method::EPIE, 40), second]
    };
    let (_, one) = ran("a changing probe taken for one", &scan, then(Method::ML, 80, None));
    let engines =
        [(Method::DM, 40), (Method::RAAR, 40), (Method::ML, 80), (Method::EPIE, 80), (Method::SDR, 80)];
    for (name, numiter) in engines {
        let what = format!("a changing probe, two dimensions, {name:?}");
        let (_, s) = found(&what, &scan, then(name, numiter, Some(2)), 0.08);
        assert_eq!((s.model.lights(), s.model.probe.modes.len()), (1, scan.frames.len()));
        assert!(counts(&s) < 0.5 * counts(&one), "{} {}", counts(&s), counts(&one));
    }
}
