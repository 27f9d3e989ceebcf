//! How many CBF frames of two megapixels a core reads, integrates by outlines and writes to a NeXus set in a second.
//!
//! `cargo bench -p isard-azimuthal --bench chain [FRAMES]`: files in the page cache, 1000 bins, Poisson errors, through the
//! engine as a recipe would; with the digests of the files checked and not, on one thread and on two. CPU time of the
//! whole process, and beside it the clock's; then one run on two cores beside two at once on one core each, by the clock.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

use std::path::Path;
use std::time::Instant;

use isard_azimuthal as _;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out};
use isard_core::value::LargePages;
use isard_core::{plan, recipe};
use isard_files::cbf::file;
use isard_h5::Dtype;

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

const SHAPE: [usize; 2] = [1679, 1475];

const PONI: &str = "poni_version: 2.1\nDetector: Pilatus2M\nDetector_config: {\"orientation\": 3}\nDistance: 0.2\n\
    Poni1: 0.144\nPoni2: 0.127\nRot1: 0.01\nRot2: -0.02\nRot3: 0\nWavelength: 1e-10\n";

/// Seconds that all threads of this process have been on a processor.
fn clock() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let numbers: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |k: usize| numbers.get(k).and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// A frame as a powder shows it: a smooth background with noise, gaps and a few strong spots.
fn frame(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let pixels: Vec<u8> = (0..SHAPE[0] * SHAPE[1])
        .flat_map(|i| {
            let gap = (i / SHAPE[1]) % 212 >= 195;
            let value = if gap { -1 } else { 20 + (random() % 9) as i32 };
            let spot = if !gap && random() % 5000 == 0 { random() as i32 * 10 } else { 0 };
            (value + spot).to_ne_bytes()
        })
        .collect();
    file(Dtype::I32, SHAPE, &pixels, "bench", &[]).unwrap()
}

/// Runs the chain over the files that a pattern fits, into a folder; CPU time and the clock's, in seconds.
fn once(folder: &Path, pattern: &str, out: &str, md5: bool, threads: usize) -> [f64; 2] {
    let text = format!(
        "isard = \"0.1\"\nname = \"chain\"\n[run]\nthreads = {threads}\n\
         [stage.frames]\nuse = \"cbf.sequence\"\nset = {{ path = \"{0}/{pattern}\", md5 = {md5} }}\n\
         [stage.curves]\nuse = \"azimuthal.integrate1d\"\nfrom = \"frames\"\n\
         set = {{ geometry = \"{0}/a.poni\", bins = 1000, splitting = \"full\", errors = \"poisson\", polarisation = 0.95 }}\n\
         [stage.set]\nuse = \"azimuthal.write\"\nfrom = \"curves\"\n\
         in = {{ intensity = \"curves.intensity\", sigma = \"curves.sigma\", radial = \"curves.radial\" }}\n\
         set = {{ path = \"curves.nxs\" }}\n",
        folder.display()
    );
    let recipe = recipe::parse(&text, Path::new("bench.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let plan =
        plan::make(&recipe, &Registry::built_in().unwrap()).unwrap_or_else(|faults| panic!("{faults}"));
    let out = Out::Folder { path: folder.join(out), overwrite: true };
    let (cpu, begun) = (clock(), Instant::now());
    let report = run::run(&plan.0, Options::new(out)).unwrap();
    let times = [clock() - cpu, begun.elapsed().as_secs_f64()];
    let taken: usize = report.stages.iter().filter(|s| s.name == "curves").count();
    assert_eq!(taken, 1);
    times
}

fn run(folder: &Path, md5: bool, threads: usize, frames: usize) {
    let ([cpu, wall], n) = (once(folder, "*.cbf", "run", md5, threads), frames as f64);
    println!(
        "md5 {md5:5}, {threads} threads: {:.2} ms of CPU a frame, {:.0} frames/s a core; {:.0} frames/s by the clock",
        1e3 * cpu / n,
        n / cpu,
        n / wall
    );
}

fn main() {
    let frames = std::env::args().skip(1).find_map(|a| a.parse().ok()).unwrap_or(400);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.poni"), PONI).unwrap();
    let kinds: Vec<Vec<u8>> = (1..9).map(frame).collect();
    for k in 0..frames {
        std::fs::write(
            folder.path().join(format!("{}_{k:06}.cbf", ["even", "odd"][k % 2])),
            &kinds[k % kinds.len()],
        )
        .unwrap();
    }
    println!("{frames} frames of {} kB", kinds[0].len() / 1000);
    for md5 in [false, true] {
        for threads in [1, 2] {
            run(folder.path(), md5, threads, frames);
        }
    }
    let mut best = [f64::INFINITY; 2];
    for _ in 0..3 {
        // Two programs with half of the work each.
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for half in ["even", "odd"] {
                let folder = folder.path();
                scope.spawn(move || once(folder, &format!("{half}_*.cbf"), half, false, 1));
            }
        });
        best[0] = begun.elapsed().as_secs_f64().min(best[0]);
        best[1] = once(folder.path(), "*.cbf", "run", false, 2)[1].min(best[1]);
    }
    let rates = best.map(|seconds| frames as f64 / seconds);
    println!(
        "two runs on one core each {:.0} frames/s, one on two cores {:.0}: {:.2} of it",
        rates[0],
        rates[1],
        rates[1] / rates[0]
    );
}
