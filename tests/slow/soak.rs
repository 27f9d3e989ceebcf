//! A run at a fixed rate for a long time: its memory stays as it is, and no frame is lost.
//!
//! `ISARD_SOAK=3600 cargo test -p isard --test slow soak -- --nocapture` is the hour that is asked for; without it twenty
//! seconds show a leak of tens of kilobytes a second.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Frames a second.
const RATE: f64 = 100.0;

fn recipe(seconds: f64) -> String {
    let frames = (RATE * seconds) as u64;
    let lifetime = 2.0 * seconds + 60.0;
    format!(
        "isard = \"0.1\"\nname = \"soak\"\n[run]\ncheckpoint_s = 5.0\n\
         [stage.simulator]\nuse = \"live.merlin_simulate\"\n\
         set = {{ frames = {frames}, rate = {RATE:?}, shape = [64, 64], bits = 8, lifetime = {lifetime:?} }}\n\
         [stage.frames]\nuse = \"live.merlin\"\nin = {{ address = \"simulator.address\" }}\n\
         [stage.raw]\nuse = \"hdf5.write\"\nfrom = \"frames\"\nset = {{ path = \"raw.nxs\" }}\nrun = {{ lane = \"record\" }}\n\
         [stage.sum]\nuse = \"image.sum\"\nfrom = \"frames\"\n\
         [stage.save]\nuse = \"npy.write\"\nfrom = \"sum\"\nin = {{ image = \"sum.image\" }}\nset = {{ path = \"sum.npy\" }}\n"
    )
}

/// Bytes of a process that are in memory.
fn resident(child: &Child) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = text.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kb| kb * 1024.0)
}

/// The slope of a line through points, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
    let over = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>();
    over / points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
}

#[test]
fn memory_stays_as_it_is_and_no_frame_is_lost() {
    let _turn = crate::beside_others();
    let seconds = std::env::var("ISARD_SOAK").ok().and_then(|s| s.parse().ok()).unwrap_or(20.0);
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("r.toml"), recipe(seconds)).expect("a recipe");
    let mut child = Command::new(env!("CARGO_BIN_EXE_isard"))
        .args(["run", "r.toml", "--out", "out", "-q"])
        .current_dir(folder.path())
        .spawn()
        .expect("the program");
    let (begun, mut points) = (Instant::now(), vec![]);
    let code = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status.code();
        }
        assert!(begun.elapsed().as_secs_f64() < 2.0 * seconds + 60.0, "the run does not end");
        // Buffers and the first part of the recording are filled by then.
        if begun.elapsed().as_secs_f64() > seconds / 3.0
            && let Some(bytes) = resident(&child)
        {
            points.push((begun.elapsed().as_secs_f64(), bytes));
        }
        std::thread::sleep(Duration::from_millis(250));
    };
    assert_eq!(code, Some(0), "a frame was lost, or the run failed");
    // What the end of a run takes is not what it gathers.
    points.retain(|(at, _)| *at < seconds - 1.0);
    assert!(points.len() > 20, "{} samples", points.len());
    let hourly = slope(&points) * 3600.0 / 1e6;
    let (first, last) = (points[0].1 / 1e6, points[points.len() - 1].1 / 1e6);
    println!("{seconds} s at {RATE} frames/s: {first:.2} MB, then {last:.2} MB; slope {hourly:.2} MB/h");
    match seconds >= 600.0 {
        true => assert!(hourly < 1.0, "{hourly:.2} MB/h"),
        false => assert!(last - first < 2.0, "{first:.2} MB became {last:.2} MB"),
    }
}
