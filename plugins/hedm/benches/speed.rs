//! How fast are the fit and the reduction of the gold example, on one core and on two?
//!
//!     cargo bench -p isard-hedm --bench speed -- [fit] [noise] [pairs] [reduce] [cores] [search]
//!
//! Rows in CPU seconds but for `cores` and `search`, which want two free cores. The existing C program: 46.5 CPU seconds for the
//! fit, 34 to 37 us a screened pair, 18 Mpixel/s for the reduction.

#![allow(clippy::unwrap_used, reason = "a bench has no caller to tell")]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/gold.rs"]
mod gold;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use common::{projector, reference, text};
use gold::{cpu, cubic, painted, quality, truth};
use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{Arrival, Built, RunCx};
use isard_core::value::LargePages;
use isard_files as _;
use isard_hedm::bits::Volume;
use isard_hedm::files::{Fitted, read_grid, read_seeds};
use isard_hedm::fit::{LayerFit, Limits, SearchLimits};
use isard_hedm::model::{Projector, Rules, Voxel};
use isard_hedm::reduce::{Cleaner, Settings, Worker, median_of_frames};
use isard_orientation::{Quat, Symmetry, covering};
use rayon::prelude::*;

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

/// CPU seconds of the existing program.
const BEFORE: f64 = 46.5;
const SIDE: usize = 2048;
/// Frames of the reduction; the background is the median of the first so many.
const FRAMES: usize = 90;
const BACKGROUND: usize = 60;
/// Frames of a distance, over which the background counts.
const SCAN: usize = 1440;

type Work<'a> = &'a (dyn Fn(usize) -> Result<()> + Sync);

struct Gold {
    projector: Projector,
    symmetry: Symmetry,
    truth: Vec<Fitted>,
    voxels: Vec<Voxel>,
    seeds: Vec<Quat>,
    volume: Volume,
}

impl Gold {
    fn read(folder: &Path) -> Gold {
        let (projector, truth) = (projector(folder, Rules::Right), truth(folder));
        let volume = painted(&projector, &truth);
        let voxels = read_grid(&text(folder, "grid.txt")).unwrap();
        let seeds = read_seeds(&text(folder, "seedOrientations.txt")).unwrap();
        Gold { projector, symmetry: cubic(), truth, voxels, seeds, volume }
    }

    fn layer<'a>(&'a self, volume: &'a Volume) -> LayerFit<'a> {
        LayerFit::new(&self.projector, volume, &self.symmetry, Limits::default())
    }

    /// The fit on this thread: its CPU seconds, and how good it is.
    fn fit(&self, what: &str, volume: &Volume, wanted: f64) {
        let before = cpu();
        let found = self.layer(volume).fit(&self.voxels, &self.seeds, &alone).unwrap();
        let took = cpu() - before;
        let q = quality(&self.truth, &self.voxels, &found);
        println!(
            "{what:6} {took:6.2} CPU s, {:5.1} times fewer than {BEFORE} (wanted {wanted}); {q:.4?}",
            BEFORE / took
        );
    }
}

/// On the thread that asks.
fn alone(n: usize, work: Work) -> Result<()> {
    (0..n).try_for_each(work)
}

/// The volume with so large a share of all bits lit at random.
fn noisy(volume: &Volume, share: f64) -> Volume {
    let [ny, nz] = volume.size();
    let mut out = Volume::new(volume.distances(), volume.frames(), volume.size());
    let count = (share * (ny * nz) as f64) as usize;
    let mut state = 1u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 33) as usize % n) as u32
    };
    for (l, f) in (0..volume.distances()).flat_map(|l| (0..volume.frames()).map(move |f| (l, f))) {
        let mut pixels = volume.pixels(l, f);
        pixels.extend((0..count).map(|_| [random(ny), random(nz)]));
        out.fill(l, f, &pixels).unwrap();
    }
    out
}

/// Frames with a background, noise and some spots, as TIFF in a folder.
fn frames(folder: &Path) {
    let mut state = 9u64;
    for k in 0..FRAMES {
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut image: Vec<u16> = (0..SIDE * SIDE)
            .map(|_| {
                let bits = random();
                90 + (bits & 15) as u16 + (bits >> 8 & 7) as u16
            })
            .collect();
        for _ in 0..30 {
            let at = (random() as usize % (SIDE - 20)) * SIDE + random() as usize % (SIDE - 20);
            (0..144).for_each(|p| image[at + p / 12 * SIDE + p % 12] += 200);
        }
        let file = std::fs::File::create(folder.join(format!("f_{k:04}.tif"))).unwrap();
        let mut out = tiff::encoder::TiffEncoder::new(std::io::BufWriter::new(file)).unwrap();
        out.write_image::<tiff::encoder::colortype::Gray16>(SIDE as u32, SIDE as u32, &image).unwrap();
    }
}

/// Reads frames and reduces them on this thread; CPU seconds of the background and of the frames, and what is lit.
fn reduce(folder: &Path, limit: usize) -> (f64, f64, usize) {
    let set = format!("path = \"{}/f_####.tif\"", folder.display());
    let registry = Registry::built_in().unwrap();
    let build = &registry.find("tiff.sequence").unwrap().build;
    let open = || {
        let Built::Source(mut source) = build(toml::from_str(&set).unwrap()).unwrap() else {
            panic!("no source")
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let run = RunCx { threads: Some(Arc::new(pool)), ..RunCx::default() };
        (source.open(&Cx::new(&run, "frames"), Dict::new(), Position { next: 0 }).unwrap(), source, run)
    };
    let each = |to: usize, told: &mut dyn FnMut(&Array)| {
        let (_, mut source, run) = open();
        let (cx, mut done) = (Cx::new(&run, "frames"), 0);
        while done < to {
            let mut slots = Slots::new(8, 0);
            if source.pull(&cx, &mut slots).unwrap() == Pull::End {
                return;
            }
            for arrival in slots.take() {
                let Arrival::Frames { data, .. } = arrival else { panic!("a frame was lost") };
                let Some(Value::Array(images)) = data.get("image") else { panic!("no image") };
                for k in 0..images.shape()[0] {
                    told(&images.record(k).unwrap());
                    done += 1;
                }
            }
        }
    };
    let begun = cpu();
    let mut kept = vec![];
    each(BACKGROUND, &mut |image| kept.push(image.clone()));
    let slices: Vec<&[u16]> = kept.iter().map(|a| a.as_slice::<u16>().unwrap()).collect();
    let mut median = vec![0; SIDE * SIDE];
    median_of_frames(&slices, &mut median);
    let background = cpu() - begun;
    let settings = Settings { blanket: 25, radius: 1, edges: vec![], min_pixels: 1, matched: None };
    let (cleaner, mut worker) = (Cleaner::new(settings, &median, SIDE), Worker::default());
    let (begun, mut lit) = (cpu(), 0);
    each(limit, &mut |image| lit += cleaner.lit(image.as_slice::<u16>().unwrap(), &mut worker).len());
    (background, cpu() - begun, lit)
}

fn wall(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

/// One fit on two threads beside two fits on one thread each, at the same time.
fn cores(gold: &Gold) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let both = |n: usize, work: Work| pool.install(|| (0..n).into_par_iter().try_for_each(work));
    let layer = gold.layer(&gold.volume);
    let mut best = [f64::INFINITY; 2];
    for _ in 0..3 {
        let apart = wall(|| {
            std::thread::scope(|scope| {
                (0..2).for_each(|_| {
                    scope.spawn(|| layer.fit(&gold.voxels, &gold.seeds, &alone).unwrap());
                })
            })
        });
        let together = wall(|| {
            layer.fit(&gold.voxels, &gold.seeds, &both).unwrap();
        });
        best = [best[0].min(apart), best[1].min(together)];
    }
    let [apart, together] = best;
    println!(
        "cores  two fits of one core each {apart:.2} s, one of two cores {together:.2} s: ratio {:.2} (wanted 0.9)",
        0.5 * apart / together
    );
}

/// The whole layer without a seed, on two threads.
fn search(gold: &Gold) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let both = |n: usize, work: Work| pool.install(|| (0..n).into_par_iter().try_for_each(work));
    let (before, begun) = (cpu(), Instant::now());
    let found = gold.layer(&gold.volume).search(&gold.voxels, &[], &SearchLimits::default(), &both).unwrap();
    let (took, wall) = (cpu() - before, begun.elapsed().as_secs_f64());
    let q = quality(&gold.truth, &gold.voxels, &found);
    println!("search {wall:.0} s on two threads (wanted 600), {took:.0} CPU s, no seed; {q:.4?}");
}

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |what: &str| asked.is_empty() || asked.iter().any(|a| a == what);
    if wanted("reduce") {
        let folder = tempfile::tempdir().unwrap();
        frames(folder.path());
        // Once to have the files in memory.
        reduce(folder.path(), FRAMES);
        let (background, took, lit) = reduce(folder.path(), FRAMES);
        let pixels = (SIDE * SIDE) as f64 / 1e6;
        let each = took / FRAMES as f64;
        let rate = pixels / (each + background / SCAN as f64);
        println!(
            "reduce {rate:6.0} Mpixel/s of CPU time (wanted 150): {:.2} ms a frame, {background:.2} s for the background of {SCAN}; {lit} lit",
            1e3 * each
        );
    }
    let Some(file) = reference("speed", "Au_txt.mic") else { return };
    let gold = Gold::read(file.parent().unwrap());
    if wanted("fit") {
        gold.fit("fit", &gold.volume, 15.0);
    }
    if wanted("noise") {
        gold.fit("noise", &noisy(&gold.volume, 1e-3), 8.0);
    }
    if wanted("pairs") {
        let seeds = covering(&gold.symmetry, 6f64.to_radians());
        let seeds = &seeds[..seeds.len().min(1500)];
        let voxels: Vec<Voxel> = gold.voxels.iter().copied().step_by(4).collect();
        let before = cpu();
        let lists = gold.layer(&gold.volume).screen(&voxels, seeds, &alone).unwrap();
        let each = 1e6 * (cpu() - before) / (seeds.len() * voxels.len()) as f64;
        let kept = lists.iter().map(Vec::len).sum::<usize>();
        println!(
            "pairs  {each:.2} us a screened pair (wanted 2), {} seeds at {} voxels, {kept} kept",
            seeds.len(),
            voxels.len()
        );
    }
    if wanted("cores") {
        cores(&gold);
    }
    if wanted("search") {
        search(&gold);
    }
    std::io::stdout().flush().unwrap();
}
