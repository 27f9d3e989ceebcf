//! What do two cores of one reconstruction bring, beside two independent ones on one core each of the same work?
//!
//! `cargo bench -p isard-ptycho --bench cores`. 100 frames of 128 x 128; wall time, the best of some rounds that take
//! turns. Two cores must be free: beside other work both sides lose, and the ratio says little.

mod support;

use std::time::Instant;

use isard_core::value::LargePages;
use isard_ptycho::engine::{Engine, Method, Settings};
use isard_ptycho::model::Model;
use isard_ptycho::num::{Par, Piece, alone};
use rayon::prelude::*;
use support::model;

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

const FRAMES: usize = 100;
const ROUNDS: usize = 5;
/// Iterations on two cores; each of two runs on one core does half of them.
const ITERATIONS: usize = 16;

struct Work {
    model: Model<f32>,
    engine: Engine<f32>,
}

impl Work {
    fn new(name: Method, batch: Option<usize>) -> Work {
        let mut settings = Settings::new(name, 1000);
        settings.batch = batch;
        let mut model = model(128, FRAMES);
        let mut engine = Engine::new(&settings, 128, 1e-8, 1);
        engine.added(&mut model, &[true; FRAMES]).expect("frames lie in the object");
        let mut work = Work { model, engine };
        // The first iterations are longer: the probe still changes much.
        work.iterate(&alone, 6);
        work
    }

    fn iterate(&mut self, par: Par, count: usize) {
        for _ in 0..count {
            self.engine.iterate(&mut self.model, par, false).expect("nothing stops it");
        }
    }
}

fn wall(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

fn main() {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads start");
    let par = |n: usize, piece: Piece| threads.install(|| (0..n).into_par_iter().try_for_each(piece));
    for (name, batch) in
        [(Method::DM, None), (Method::RAAR, None), (Method::ML, None), (Method::EPIE, Some(16))]
    {
        let mut halves = [Work::new(name, batch), Work::new(name, batch)];
        let mut whole = Work::new(name, batch);
        let mut best = [f64::INFINITY; 2];
        for _ in 0..ROUNDS {
            let apart = wall(|| {
                std::thread::scope(|scope| {
                    for half in &mut halves {
                        scope.spawn(|| half.iterate(&alone, ITERATIONS / 2));
                    }
                });
            });
            let together = wall(|| whole.iterate(&par, ITERATIONS));
            best = [best[0].min(apart), best[1].min(together)];
        }
        let rate = |seconds: f64| (FRAMES * ITERATIONS) as f64 / seconds;
        let what = batch.map_or(String::new(), |b| format!(" in batches of {b}"));
        println!(
            "{name:?}{what}: two runs of one core {:.0} frame-iterations a second, one of two {:.0}, ratio {:.2}",
            rate(best[0]),
            rate(best[1]),
            best[0] / best[1]
        );
    }
}
