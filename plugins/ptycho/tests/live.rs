//! A reconstruction that saw its frames come ends as one that had them all, whatever the pace and the order.
//!
//! The clock is made of work: an iteration lasts as long as its frames times a fixed cost, so that every run takes the
//! same steps on any machine. `ISARD_SLOW=full` runs all paces in both orders for all engines.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;

use common::scan::{Scan, mean, offline, one, quality, round64, session};
use isard_core::Value;
use isard_core::run::Outcome;
use isard_ptycho::engine::{Method, Settings};
use isard_ptycho::num::alone;
use isard_ptycho::session::Ageing;

/// What an iteration costs for each frame: half of the speed on one core, in seconds.
const COST: f64 = 2e-4;
/// Iterations of each engine.
const NUMITER: u64 = 40;

/// An engine as it is compared: SDR with its defaults is chaotic, and ends nowhere.
fn engine(name: Method) -> Vec<Settings> {
    let mut engines = one(name, NUMITER);
    if name == Method::SDR {
        (engines[0].sigma, engines[0].tau) = (Some(0.5), Some(0.5));
    }
    engines
}

/// Frames a second, whether they come shuffled, and after how many newer ones they are stale by half, if they are.
type Pace = (f64, bool, Option<f64>);

/// Frames at a pace: the RMS, and the seconds of that clock from the last frame to the end.
fn live(scan: &Scan, name: Method, (rate, shuffled, stale): Pace, seed: u64) -> (f64, f64) {
    let mut s = session(scan, engine(name), seed);
    s.task.ageing = stale.map(Ageing);
    let count = scan.frames.len();
    // 27 and 64 have no common divisor: an order that jumps about.
    let order: Vec<usize> = (0..count).map(|k| if shuffled { (k * 27) % count } else { k }).collect();
    let due = |k: usize| (k + 1) as f64 / rate;
    let (mut clock, mut next) = (0.0, 0);
    while next < count {
        while next < count && due(next) <= clock {
            s.take(scan.frames[order[next]].clone());
            next += 1;
        }
        if next < count && !s.more() {
            clock = due(next);
        } else if next < count {
            clock += COST * s.frames() as f64;
            s.step(&alone).unwrap();
        }
    }
    s.all_in();
    let last = due(count - 1);
    while s.more() {
        clock += COST * count as f64;
        s.step(&alone).unwrap();
    }
    (quality(scan, &s).rms, clock.max(last) - last)
}

fn check(name: Method) {
    let Some(scan) = round64(&format!("live {name:?}")) else { return };
    let full = std::env::var("ISARD_SLOW").is_ok_and(|v| v == "full");
    // The order of frames alone moves ePIE and SDR by a tenth: means are compared.
    let drawn = matches!(name, Method::EPIE | Method::SDR);
    let seeds: Vec<u64> = (1..=if drawn && full {
        6
    } else if drawn {
        3
    } else {
        1
    })
        .collect();
    let all: Vec<f64> = seeds.iter().map(|s| offline(&scan, engine(name), *s).0.rms).collect();
    let (wanted, lasts) = (mean(&all), NUMITER as f64 * COST * 64.0);
    eprintln!("{name:?} offline: RMS {wanted:.4}, {lasts:.2} s of the clock");
    let paces: &[Pace] = match full {
        true => &[
            (5.0, false, None),
            (5.0, true, None),
            (50.0, false, None),
            (50.0, true, None),
            (500.0, false, None),
            (500.0, true, None),
            (5.0, false, Some(128.0)),
            (50.0, false, Some(16.0)),
            (50.0, true, Some(128.0)),
            (500.0, true, Some(32.0)),
        ],
        // A slow scan leaves time for thousands of iterations: one kind of engine shows it.
        false if drawn => &[(50.0, false, None), (500.0, true, None), (50.0, false, Some(128.0))],
        false => &[
            (5.0, true, None),
            (50.0, false, None),
            (500.0, true, None),
            (50.0, false, Some(128.0)),
            (50.0, true, Some(16.0)),
        ],
    };
    for pace in paces {
        let (rate, shuffled, stale) = pace;
        let runs: Vec<(f64, f64)> = seeds.iter().map(|s| live(&scan, name, *pace, *s)).collect();
        let rms = mean(&runs.iter().map(|r| r.0).collect::<Vec<f64>>());
        let after = runs.iter().map(|r| r.1).fold(0.0, f64::max);
        let stale = stale.map_or(String::new(), |h| format!(", stale by half after {h}"));
        let order = if *shuffled { "shuffled" } else { "in order" };
        let order = format!("{order}{stale}");
        eprintln!("{name:?} at {rate} Hz {order}: RMS {rms:.4}, ends {after:.2} s after the last frame");
        assert!(rms <= 1.05 * wanted, "{name:?} at {rate} Hz {order}: {rms}, {wanted} offline: {runs:?}");
        assert!(after <= lasts + COST * 64.0, "{name:?} at {rate} Hz {order}: {after} s, {lasts} s offline");
    }
}

macro_rules! engines {
    ($($test:ident: $name:ident;)*) => { $(
        #[test]
        fn $test() {
            check(Method::$name);
        }
    )* };
}

engines! {
    difference_map_ends_as_offline: DM;
    raar_ends_as_offline: RAAR;
    epie_ends_as_offline: EPIE;
    sdr_ends_as_offline: SDR;
    ml_ends_as_offline: ML;
}

/// A whole run on the clock of the wall: seconds behind the last frame, and the RMS.
fn ran(rate: f64, first: &str, stale: &str, out: &Path) -> (f64, f64) {
    let text = format!(
        r#"
        isard = "0.1"
        name = "live"
        [run]
        seed = 3
        threads = 2
        [stage.frames]
        use = "ptycho.simulate"
        set = {{ num_frames = 60, shape = 64, density = 0.09, photons = 1e7, psize = 344e-6, rate = {rate:.1}, illumination = {{ size = 1.8e-6, parallel = 4e-4 }} }}
        [stage.fit]
        use = "ptycho.reconstruct"
        from = "frames"
        in = {{ energy = "frames.head.energy", distance = "frames.head.distance", psize = "frames.head.psize" }}
        set = {{ engines = [{{ {first} }}, {{ name = "ML", numiter = 60 }}], illumination = {{ size = 1.8e-6 }}{stale} }}
        [stage.metrics]
        use = "ptycho.metrics"
        from = "fit"
        in = {{ truth = "frames.head.object", truth_center = "frames.head.object_center", lit = "frames.head.lit" }}
        [out]
        rms = "metrics.rms"
    "#
    );
    let report = common::run::ran(&text, out);
    assert_eq!(report.outcome, Outcome::Done, "{:?}", report.outcome.message());
    let rms = match report.results.get("rms") {
        Some(Value::Array(a)) => *a.as_slice::<f64>().unwrap().last().unwrap(),
        other => other.and_then(Value::number).unwrap(),
    };
    let last = if rate > 0.0 { 59.0 / rate } else { 0.0 };
    ((report.seconds - last).max(0.0), rms)
}

#[test]
fn a_run_on_the_clock_of_the_wall_ends_as_one_over_a_closed_scan() {
    let folder = tempfile::tempdir().unwrap();
    // With its default bound DM stops where it happens to be: that of counting lets it go on to the end.
    let projected = "name = \"DM\", numiter = 60, fourier_power_bound = \"auto-poisson\"";
    for engine in [projected, "name = \"EPIE\", numiter = 40"] {
        let (lasts, offline) = ran(0.0, engine, "", &folder.path().join("offline"));
        for (rate, stale) in [(50.0, ""), (500.0, ""), (50.0, ", stale_half_life = 40.0")] {
            let (after, rms) = ran(rate, engine, stale, &folder.path().join("live"));
            eprintln!(
                "{engine} at {rate} Hz{stale}: RMS {rms:.4} {after:.2} s after the last frame; offline {offline:.4} in {lasts:.2} s"
            );
            assert!(rms <= 1.05 * offline, "{engine} at {rate} Hz{stale}: {rms}, {offline} offline");
        }
    }
}
