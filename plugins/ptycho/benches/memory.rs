//! How much memory does a reconstruction of 400 frames of 256 x 256 pixels take at most?
//!
//! `cargo bench -p isard-ptycho --bench memory`. Each engine runs in a process of its own; the figure is the peak of
//! resident memory that Linux counts for it (`VmHWM`), beside half of what PtyPy 0.9.0 takes.

mod support;

use isard_core::value::LargePages;
use isard_ptycho::engine::{Engine, Method, Settings};
use isard_ptycho::num::alone;
use support::model;

/// Memory as the command has it.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

/// Megabytes that this process took at most.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().map_or(f64::NAN, |k| k * 1024.0 / 1e6)
}

fn main() {
    let all = [(Method::DM, 382.0), (Method::EPIE, 282.0), (Method::ML, 454.0)];
    let child = std::env::var("ISARD_ENGINE").ok();
    if let Some((name, wanted)) = all.iter().find(|(name, _)| child == Some(format!("{name:?}"))) {
        let mut model = model(256, 400);
        let mut engine = Engine::new(&Settings::new(*name, 10), 256, 1e-8, 1);
        engine.added(&mut model, &[true; 400]).expect("frames lie in the object");
        (0..4).for_each(|_| {
            engine.iterate(&mut model, &alone, false).expect("nothing stops it");
        });
        println!("{name:?}: {:.0} MB at most, wanted {wanted:.0}", peak());
        return;
    }
    for (name, _) in all {
        let own = std::env::current_exe().expect("a running program has a file");
        let status = std::process::Command::new(own).env("ISARD_ENGINE", format!("{name:?}")).status();
        assert!(status.is_ok_and(|s| s.success()), "{name:?} failed");
    }
}
