//! How many frame-iterations each engine does in a second of processor time, beside the bound of its transforms.
//!
//! `cargo bench -p isard-ptycho --bench engines [-- ENGINE]`. The bound is a pair of transforms of a frame (two pairs for
//! maximum likelihood) as rustfft does rows, with one transposition by tiles and a scale, timed in the same run; beside it
//! stand this crate's own transforms. The last figure is how many times the iterations of PtyPy 0.9.0 that is, which does
//! those named here on a core of a server of 2023; it was timed once, on such a machine, not in this run.
//! Other work on the machine slows all of them: compare ratios of one run.

mod support;

use isard_core::value::LargePages;
use isard_fourier::{FftDirection, Planned};
use isard_ptycho::engine::{Engine, Method, Settings};
use isard_ptycho::fft::Fft2;
use isard_ptycho::num::{Complex, alone};
use support::{cpu, model};

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

/// Iterations in a second of processor time of PtyPy 0.9.0: 100 frames of 128 x 128, and 400 of 256 x 256.
const OTHERS: [(Method, [f64; 2]); 3] =
    [(Method::DM, [14.4, 0.75]), (Method::EPIE, [11.0, 0.65]), (Method::ML, [5.0, 0.31])];

/// Pairs in a second of what `pair` does to each of some frames.
fn pairs(n: usize, mut pair: impl FnMut(&mut [Complex<f32>])) -> f64 {
    let mut waves: Vec<Vec<Complex<f32>>> =
        (0..16).map(|k| (0..n * n).map(|i| Complex::new((i % 17 + k) as f32, 0.5)).collect()).collect();
    let (begun, mut count) = (cpu(), 0);
    while cpu() - begun < 0.7 {
        for wave in &mut waves {
            pair(wave);
            count += 1;
        }
    }
    f64::from(count) / (cpu() - begun)
}

/// Pairs of transforms as rustfft brings them, with one transposition each.
fn bound(n: usize) -> f64 {
    let plans = [FftDirection::Forward, FftDirection::Inverse].map(|d| f32::plan(n, d));
    let mut turned = vec![Complex::default(); n * n];
    let room = plans.iter().map(|p| p.get_inplace_scratch_len().max(p.get_outofplace_scratch_len())).max();
    let mut scratch = vec![Complex::default(); room.unwrap_or(0)];
    let scale = 1.0 / n as f32;
    const TILE: usize = 16;
    pairs(n, |wave| {
        for plan in &plans {
            plan.process_with_scratch(wave, &mut scratch);
            for i in (0..n).step_by(TILE) {
                for j in (0..n).step_by(TILE) {
                    for i in i..i + TILE {
                        for j in j..j + TILE {
                            turned[j * n + i] = wave[i * n + j];
                        }
                    }
                }
            }
            plan.process_outofplace_with_scratch(&mut turned, wave, &mut scratch);
            wave.iter_mut().for_each(|z| *z *= scale);
        }
    })
}

/// Pairs of this crate's transforms.
fn own(n: usize) -> f64 {
    let fft = Fft2::<f32>::new(n);
    let mut space = fft.space();
    pairs(n, |wave| {
        fft.forward(wave, &mut space);
        fft.backward(wave, &mut space);
        // Values stay finite without a scale for so short a time only.
        wave.iter_mut().for_each(|z| *z = Complex::new(1.0, 0.0));
    })
}

fn main() {
    let only: Option<String> = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    for (size, (n, count)) in [(128, 100), (256, 400)].into_iter().enumerate() {
        let mut most = bound(n);
        println!("{n} x {n}, {count} frames: {most:.0} pairs of transforms a second, own ones {:.0}", own(n));
        for (name, batch) in
            [(Method::DM, None), (Method::EPIE, None), (Method::EPIE, Some(16)), (Method::ML, None)]
        {
            if only.as_ref().is_some_and(|o| *o != format!("{name:?}")) {
                continue;
            }
            let mut settings = Settings::new(name, 100);
            settings.batch = batch;
            let mut model = model(n, count);
            let mut engine = Engine::new(&settings, n, 1e-8, 1);
            engine.added(&mut model, &vec![true; count]).expect("frames lie in the object");
            // The first iterations are longer: the probe still changes much.
            (0..6).for_each(|_| {
                engine.iterate(&mut model, &alone, false).expect("nothing stops it");
            });
            let (begun, mut done) = (cpu(), 0);
            while cpu() - begun < 2.0 {
                engine.iterate(&mut model, &alone, false).expect("nothing stops it");
                done += count;
            }
            let rate = done as f64 / (cpu() - begun);
            // The machine may have slowed down or sped up meanwhile.
            let before = std::mem::replace(&mut most, bound(n));
            let mean = (before + most) / if name == Method::ML { 4.0 } else { 2.0 };
            let what = batch.map_or(String::new(), |b| format!(" in batches of {b}"));
            let other = OTHERS.iter().find(|(other, _)| *other == name).map_or(f64::NAN, |(_, o)| o[size]);
            let iterations = rate / count as f64;
            println!(
                "  {name:?}{what}: {rate:.0} frame-iterations a second, {:.2} of the bound, {iterations:.2} iterations, \
                 {:.1} times {other}",
                rate / mean,
                iterations / other
            );
        }
    }
}
