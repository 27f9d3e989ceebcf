//! How long one frame takes to integrate, and the set-up before the first, on one core; beside the speed of memory.
//!
//! `cargo bench -p isard-azimuthal --bench frames [MEGAPIXELS...]`, 1000 bins, frames of i32 in memory as in the figures
//! for pyFAI 2026.9 that its description quotes. CPU time, the best of several rounds, for set-ups the better of two.
//! Where the Python of `ISARD_PYTHON` has pyFAI, its CPU time on one core for the same is measured in the same run.
//!
//! What bounds it: reading a frame once is what memory allows; without splitting a frame takes some times that, for each
//! pixel is gathered from a tile in the cache, eight to an instruction that loads them one by one; with splitting there are
//! the products of two to three entries a pixel beside it. Both are printed: times reading, and entries in a nanosecond.

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use isard_azimuthal::{
    Binning, Camera, Corrections, ErrorModel, Frame, Images, Integrator, Robust, Settings, Splitting, Unit,
};
use isard_core::value::{Dtype, LargePages};
use isard_geometry::Poni;

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

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

/// CPU time of this thread.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse().ok());
    nanoseconds.map_or_else(|| Instant::now().elapsed(), Duration::from_nanos)
}

/// What pyFAI does, on one core: milliseconds of CPU a frame and for the set-up, without errors and with Poisson's.
const SCRIPT: &str = r#"
import sys, time, numpy, logging
logging.disable(logging.WARNING)
import pyFAI
ai = pyFAI.load(sys.argv[1])
mask = ai.detector.mask
image = numpy.random.default_rng(1).integers(0, 64, ai.detector.shape).astype(numpy.int32)
if mask is not None:
    image[mask != 0] = -1
for errors in (None, "poisson"):
    for split in ("no", "bbox", "full"):
        def once():
            begun = time.process_time()
            ai.integrate1d(image, 1000, unit="q_nm^-1", method=(split, "csr", "cython"), polarization_factor=0.95,
                           error_model=errors)
            return time.process_time() - begun
        def first():
            ai.reset()
            return once()
        begun, each = min(first(), first()), min(once() for _ in range(6))
        print(1e3 * each, 1e3 * (begun - each))
"#;

/// Frame and set-up of pyFAI in milliseconds, for each error model and splitting in turn.
fn beside(poni: &str) -> Vec<[f64; 2]> {
    let path = std::env::temp_dir().join(format!("isard-frames-{}.poni", std::process::id()));
    std::fs::write(&path, poni).expect("a temporary folder");
    let python = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let path = path.display().to_string();
    let done = Command::new(python).args(["-c", SCRIPT, &path]).env("OMP_NUM_THREADS", "1").output();
    // A file of a few hundred bytes in the temporary folder.
    let _ = std::fs::remove_file(&path);
    let text = done.map(|d| String::from_utf8_lossy(&d.stdout).into_owned()).unwrap_or_default();
    let pair = |line: &str| {
        let mut numbers = line.split(' ').filter_map(|n| n.parse().ok());
        Some([numbers.next()?, numbers.next()?])
    };
    text.lines().filter_map(pair).collect()
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    for (name, detector, pixel) in DETECTORS {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        let shape = isard_geometry::known_detector(detector).expect("a detector of the table").shape;
        let text = poni(detector, pixel, shape);
        let poni = Poni::parse(&text).expect("a whole geometry");
        let mut theirs = beside(&text).into_iter();
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
        // Often enough for a clock that counts in ticks of the system.
        let copy = best(3, || {
            for frame in frames.iter().cycle().take(100) {
                let sum: i64 = black_box(frame).iter().map(|v| i64::from(*v)).sum();
                black_box(sum);
            }
        }) / 100;
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
                        histogram: false,
                    },
                    corrections: Corrections { polarisation: Some([0.95, 0.0]), ..Corrections::default() },
                    dummy: None,
                    model: errors,
                    empty: 0.0,
                    robust: Robust::No,
                    unweighted: false,
                    dark_variance: false,
                    own_dummy: true,
                };
                let images = Images { mask: &mask, dark: None, flat: None };
                let set_up = || {
                    let start = cpu();
                    let made =
                        Integrator::new(&camera, &settings, &images, Dtype::I32).expect("a whole set-up");
                    (made, cpu() - start)
                };
                // The better of two, here as there.
                let ((made, setup), (own, second)) = (set_up(), set_up());
                let setup = setup.min(second);
                let mut k = 0;
                let one = best(4, || {
                    black_box(made.run(black_box(&frames[k % 4]), None, 1.0));
                    k += 1;
                });
                let frames: Vec<Frame<i32>> =
                    (0..8).map(|k| Frame { pixels: &frames[k % 4], variance: None, factor: 1.0 }).collect();
                let eight = best(2, || {
                    black_box(made.run_all(black_box(&frames)));
                });
                // Two threads with one matrix, and two with a matrix each as two programs would have, by the clock.
                let pair = |a: &Integrator, b: &Integrator| {
                    let start = Instant::now();
                    std::thread::scope(|scope| {
                        for of in [a, b] {
                            let frames = &frames;
                            scope.spawn(move || {
                                (0..5).for_each(|_| drop(black_box(of.run_all(black_box(frames)))));
                            });
                        }
                    });
                    start.elapsed()
                };
                let rounds: Vec<[Duration; 2]> =
                    (0..5).map(|_| [pair(&made, &own), pair(&made, &made)]).collect();
                let least =
                    |k: usize| rounds.iter().map(|r| r[k].as_secs_f64()).fold(f64::INFINITY, f64::min);
                let both = least(0) / least(1);
                let [one, eight, setup] = [one, eight / 8, setup].map(|t| t.as_secs_f64() * 1e3);
                let (read, entries) = (copy.as_secs_f64() * 1e3, made.shares.matrix.len() as f64 * 1e-6);
                println!(
                    "  {splitting:?}, {model}: {one:.2} ms a frame, {eight:.2} in eights (two cores: {both:.2} of two programs), set-up {setup:.0} ms, {:.2} entries a pixel, {} MB",
                    made.shares.matrix.len() as f64 / pixels.len() as f64,
                    made.bytes() >> 20
                );
                println!(
                    "    {:.1} times reading it alone, {:.1} in eights; {:.2} entries in a nanosecond",
                    one / read,
                    eight / read,
                    entries / eight
                );
                if let Some([frame, first]) = theirs.next() {
                    println!(
                        "    pyFAI {frame:.1} ms a frame, set-up {first:.0} ms: {:.1} and {:.1} times as long, set-up {:.1}",
                        frame / one,
                        frame / eight,
                        first / setup
                    );
                }
            }
        }
    }
}
