//! What the benches of this crate share.
#![allow(dead_code, reason = "each bench uses a part")]

use isard_ptycho::geometry::{Centre, Geometry, Propagation};
use isard_ptycho::model::{Frame, Model};
use isard_ptycho::num::{Complex, cis, narrow};
use isard_ptycho::propagate::Propagator;

/// Seconds of processor time of this process.
pub fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|f| f.parse().unwrap_or(0.0))
        .collect();
    // User and system time, in the hundredths of a second that Linux counts in.
    if fields.len() > 13 { (fields[11] + fields[12]) / 100.0 } else { 0.0 }
}

/// Frames of `n` by `n` pixels on a square grid, lit by a disc.
pub fn model(n: usize, count: usize) -> Model<f32> {
    let geometry = Geometry {
        energy: 6.2,
        distance: 7.0,
        psize: 172e-6,
        n,
        propagation: Propagation::Farfield,
        centre: [Centre::Fftshift; 2],
        pixel: None,
    };
    let propagator = Propagator::<f32>::new(&geometry);
    let side = (count as f64).sqrt() as usize;
    let middle = n as f64 / 2.0;
    let probe: Vec<Complex<f64>> = (0..n * n)
        .map(|k| {
            let r = ((k / n) as f64 - middle).hypot((k % n) as f64 - middle);
            if r < 0.22 * n as f64 { cis(r * r / n as f64) * 30.0 } else { Complex::default() }
        })
        .collect();
    let frames = (0..count)
        .map(|k| {
            let at = [(k / side) as f64 * n as f64 * 0.1, (k % side) as f64 * n as f64 * 0.1];
            let count = |i: usize| {
                let (y, x) = ((i / n) as f64 - middle, (i % n) as f64 - middle);
                (1e4 / (1.0 + y * y + x * x + ((i * 31 + k * 7) % 13) as f64)).round()
            };
            Frame::new(&propagator, k as u64, at, count, |_| true).0
        })
        .collect();
    let probe = propagator.plain(&probe).into_iter().map(narrow).collect();
    let mut model = Model::new(propagator, vec![probe], 1, Complex::new(1.0, 0.0));
    model.add(frames).expect("positions are finite");
    model
}
