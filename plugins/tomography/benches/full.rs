//! How long 1000 bins of a scan of 400 translations and 600 rotations take: FBP as a whole, one iteration of SIRT a phase.
//!
//! `cargo bench -p isard-tomography`; times are those of one processor, so that other work on the machine counts little. As an
//! argument a number of bins; what is printed is for 1000.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

use isard_core::prelude::*;
use isard_core::stage::RunCx;
use isard_core::value::LargePages;
use isard_tomography::phantom::sample;
use isard_tomography::project::{Bank, Geometry, Window, fbp};
use isard_tomography::solve::{Method, Slice};

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

const RAYS: usize = 400;
const ANGLES: usize = 600;

/// Seconds that this thread has been on a processor.
fn clock() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) * 1e-9
}

fn rows(bins: usize) -> Vec<f32> {
    let grains = sample(3, 0, 180.0);
    let mut rows = Vec::with_capacity(RAYS * ANGLES * bins);
    for k in 0..RAYS * ANGLES {
        let omega = (k / RAYS) as f64 * std::f64::consts::PI / ANGLES as f64;
        let mut met = [0.0; 3];
        for grain in &grains {
            met[grain.phase] += grain.chord(omega, (k % RAYS) as f64 - 199.5);
        }
        rows.extend((0..bins).map(|b| met[b % 3] as f32 * (1.0 + b as f32 / bins as f32)));
    }
    rows
}

fn main() {
    let bins = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(256);
    let run = RunCx::default();
    let cx = Cx::new(&run, "bench");
    let angles = (0..ANGLES).map(|a| a as f64 * std::f64::consts::PI / ANGLES as f64).collect();
    let geometry = Geometry { angles, rays: RAYS, centre: 199.5, size: RAYS, fine: 1 };
    let data = rows(bins);
    let scale = 1000.0 / bins as f64;

    // A slice of few pixels costs the filter alone.
    let few = Geometry { size: 8, ..geometry.clone() };
    let mut bank = Bank::rays(&data, ANGLES, RAYS, bins);
    let begun = clock();
    fbp(&cx, &few, Window::Ramp, &[true; ANGLES], &mut bank, &mut Bank::new(bins, 64)).unwrap();
    println!("the filter alone: {:.2} s for 1000", (clock() - begun) * scale);

    let begun = clock();
    let mut bank = Bank::rays(&data, ANGLES, RAYS, bins);
    let gathered = clock();
    let mut slice = Bank::new(bins, geometry.pixels());
    fbp(&cx, &geometry, Window::Ramp, &[true; ANGLES], &mut bank, &mut slice).unwrap();
    let projected = clock();
    let mut volume = vec![0f32; bins * geometry.pixels()];
    slice.planes(&mut volume);
    let end = clock();
    println!(
        "fbp, {bins} bins: {:.2} s for 1000: sorted {:.2}, filtered and projected {:.2}, written {:.2}",
        (end - begun) * scale,
        (gathered - begun) * scale,
        (projected - gathered) * scale,
        (end - projected) * scale
    );
    let products = 2.0 * (bins * geometry.pixels() * ANGLES) as f64;
    println!(
        "{:.1} products in a nanosecond; each takes four bytes from the first cache, which gives 64 a cycle",
        { products / (projected - gathered) * 1e-9 }
    );
    println!("the middle is {:.4}", volume[200 * RAYS + 200]);

    let few = rows(3);
    let rays = Bank::rays(&few, ANGLES, RAYS, 3);
    let there = vec![true; RAYS * ANGLES];
    let mut slice = Slice::new(&cx, geometry.clone(), Method::Sirt, true, rays, there).unwrap();
    let begun = clock();
    slice.step(&cx, false).unwrap();
    println!("sirt, 3 phases: {:.2} s an iteration", clock() - begun);

    let rays = Bank::rays(&data, ANGLES, RAYS, bins);
    let there = vec![true; RAYS * ANGLES];
    let mut slice = Slice::new(&cx, geometry, Method::Sirt, true, rays, there).unwrap();
    slice.step(&cx, false).unwrap();
    let begun = clock();
    slice.step(&cx, false).unwrap();
    println!("sirt, {bins} bins: {:.2} s an iteration for 1000", (clock() - begun) * scale);
}
