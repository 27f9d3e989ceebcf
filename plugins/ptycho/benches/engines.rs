//! How many frame-iterations each engine does in a second of processor time, beside the bound of its transforms.
//!
//! `cargo bench -p isard-ptycho`. The bound is two transforms of a frame (four for maximum likelihood), timed in the same run.
//! Two CPUs of an AMD EPYC (Zen 4): see the table that it prints.

use std::time::Instant;

use isard_ptycho::engine::{Engine, Method, Settings};
use isard_ptycho::fft::Fft2;
use isard_ptycho::geometry::{Centre, Geometry, Propagation};
use isard_ptycho::model::{Frame, Model};
use isard_ptycho::num::{Complex, Piece, alone, cis, narrow};
use isard_ptycho::propagate::Propagator;
use rayon::prelude::*;

/// Seconds of processor time of this process.
fn cpu() -> f64 {
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

fn model(n: usize, count: usize) -> Model<f32> {
    let geometry = Geometry {
        energy: 6.2,
        distance: 7.0,
        psize: 172e-6,
        n,
        propagation: Propagation::Farfield,
        centre: [Centre::Fftshift; 2],
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
            let (begun, wall, mut done) = (cpu(), Instant::now(), 0);
            while cpu() - begun < 2.0 {
                engine.iterate(&mut model, &alone, false).expect("nothing stops it");
                done += count;
            }
            let (rate, _) = (done as f64 / (cpu() - begun), wall);
            let bound = if name == Method::ML { bound / 2.0 } else { bound };
            let what = batch.map_or(String::new(), |b| format!(" in batches of {b}"));
            println!(
                "  {name:?}{what}: {rate:.0} frame-iterations a second, {:.2} of the bound",
                rate / bound
            );
            let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads start");
            let par = |n: usize, piece: Piece| threads.install(|| (0..n).into_par_iter().try_for_each(piece));
            let (begun, wall, mut done) = (cpu(), Instant::now(), 0);
            while wall.elapsed().as_secs_f64() < 2.0 {
                engine.iterate(&mut model, &par, false).expect("nothing stops it");
                done += count;
            }
            let seconds = wall.elapsed().as_secs_f64();
            println!(
                "    on two threads {:.0} a second, {:.0} a second of processor time",
                done as f64 / seconds,
                done as f64 / (cpu() - begun)
            );
        }
    }
}
