//! How long one frame takes to integrate, and the set-up before the first, on one core; beside the speed of memory.
//!
//! `cargo bench -p isard-azimuthal --bench frames [MEGAPIXELS...]`, 1000 bins, frames of i32 in memory as in the figures
//! for pyFAI 2026.9 that its description quotes. CPU time, the best of several rounds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use isard_azimuthal::{
    Binning, Camera, Corrections, ErrorModel, Frame, Images, Integrator, Robust, Settings, Splitting, Unit,
};
use isard_core::value::Dtype;
use isard_geometry::Poni;

const DETECTORS: [(&str, &str, f64); 3] =
    [("2M", "Pilatus2M", 172e-6), ("4M", "Eiger4M", 75e-6), ("16M", "Eiger16M", 75e-6)];

fn poni(detector: &str, pixel: f64, shape: [usize; 2]) -> String {
    let [d1, d2] = shape.map(|n| n as f64 * pixel * 0.5);
    format!(
        "poni_version: 2.1\nDetector: {detector}\nDetector_config: {{\"orientation\": 3}}\nDistance: 0.2\nPoni1: {d1}\n\
         Poni2: {d2}\nRot1: 0.01\nRot2: -0.02\nRot3: 0\nWavelength: 1e-10\n"
    )
}

/// The best mean over ten calls: the clock of CPU time is a coarse one.
fn best(rounds: usize, mut work: impl FnMut()) -> Duration {
    let ten = |_| {
        let start = cpu();
        (0..10).for_each(|_| work());
        (cpu() - start) / 10
    };
    (0..rounds).map(ten).min().unwrap_or_default()
}

/// CPU time of this process.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse().ok());
    nanoseconds.map_or_else(|| Instant::now().elapsed(), Duration::from_nanos)
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    for (name, detector, pixel) in DETECTORS {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        let shape = isard_geometry::known_detector(detector).expect("a detector of the table").shape;
        let poni = Poni::parse(&poni(detector, pixel, shape)).expect("a whole geometry");
        let camera = Camera::new(&poni, None).expect("a known detector");
        let mask = Integrator::own_mask(&camera);
        let mut seed = 1u64;
        let pixels: Vec<i32> = mask
            .iter()
            .map(|m| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                if *m != 0 { -1 } else { (seed >> 58) as i32 }
            })
            .collect();
        let frames: Vec<Vec<i32>> = (0..4).map(|_| pixels.clone()).collect();
        let copy = best(3, || {
            let sum: i64 = black_box(&frames[0]).iter().map(|v| i64::from(*v)).sum();
            black_box(sum);
        });
        println!("{name}: {} pixels, read once {:.2} ms", pixels.len(), copy.as_secs_f64() * 1e3);
        for (model, errors) in [("no errors", ErrorModel::None), ("Poisson", ErrorModel::Poisson)] {
            for splitting in [Splitting::No, Splitting::Bbox, Splitting::Full] {
                let settings = Settings {
                    binning: Binning {
                        unit: Unit::named("q_nm^-1").expect("a unit of the table"),
                        radial: 1000,
                        azimuthal: None,
                        splitting,
                        radial_range: None,
                        azimuth_range: None,
                        masked_limits: false,
                    },
                    corrections: Corrections { polarisation: Some([0.95, 0.0]), ..Corrections::default() },
                    dummy: None,
                    model: errors,
                    empty: 0.0,
                    robust: Robust::No,
                };
                let images = Images { mask: &mask, dark: None, flat: None };
                let start = cpu();
                let made = Integrator::new(&camera, &settings, &images, Dtype::I32).expect("a whole set-up");
                let setup = cpu() - start;
                let mut k = 0;
                let one = best(4, || {
                    black_box(made.run(black_box(&frames[k % 4]), None, 1.0));
                    k += 1;
                });
                let frames: Vec<Frame<i32>> =
                    (0..8).map(|k| Frame { pixels: &frames[k % 4], variance: None }).collect();
                let eight = best(2, || {
                    black_box(made.run_all(black_box(&frames), &[1.0; 8]));
                });
                println!(
                    "  {splitting:?}, {model}: {:.2} ms a frame, {:.2} in eights, set-up {:.0} ms, {:.2} entries a pixel, {} MB",
                    one.as_secs_f64() * 1e3,
                    eight.as_secs_f64() * 1e3 / 8.0,
                    setup.as_secs_f64() * 1e3,
                    made.shares.matrix.len() as f64 / pixels.len() as f64,
                    made.bytes() >> 20
                );
            }
        }
    }
}
