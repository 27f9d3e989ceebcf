//! How many frame-iterations each engine does in a second of processor time, beside the bound of its transforms.
//!
//! `cargo bench -p isard-ptycho`. The bound is two transforms of a frame (four for maximum likelihood), timed in the same run.
//! The bound is noisy beside other work: compare ratios of one run.

mod support;

use isard_ptycho::engine::{Engine, Method, Settings};
use isard_ptycho::fft::Fft2;
use isard_ptycho::num::{Complex, alone};
use support::{cpu, model};

/// Transforms of a frame in a second of processor time.
fn transforms(n: usize) -> f64 {
    let fft = Fft2::<f32>::new(n);
    let mut space = fft.space();
    let mut waves: Vec<Vec<Complex<f32>>> =
        (0..16).map(|k| (0..n * n).map(|i| Complex::new((i % 17 + k) as f32, 0.5)).collect()).collect();
    let (begun, mut count) = (cpu(), 0);
    while cpu() - begun < 0.5 {
        for wave in &mut waves {
            fft.forward(wave, &mut space);
            fft.backward(wave, &mut space);
            // Values stay finite without a scale for so short a time only.
            wave.iter_mut().for_each(|z| *z = Complex::new(1.0, 0.0));
            count += 2;
        }
    }
    f64::from(count) / (cpu() - begun)
}

fn main() {
    let only: Option<String> = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    for (n, count) in [(128, 100), (256, 400)] {
        let bound = transforms(n) / 2.0;
        println!("{n} x {n}, {count} frames: {bound:.0} pairs of transforms a second");
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
            let bound = if name == Method::ML { bound / 2.0 } else { bound };
            let what = batch.map_or(String::new(), |b| format!(" in batches of {b}"));
            println!(
                "  {name:?}{what}: {rate:.0} frame-iterations a second, {:.2} of the bound, {:.2} iterations",
                rate / bound,
                rate / count as f64
            );
        }
    }
}
