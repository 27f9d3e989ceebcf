//! How long does a CBF frame of 2 million pixels take to decode on one core, beside fabio where it is there?

#![allow(clippy::unwrap_used, reason = "a bench has no caller to tell")]

use std::process::Command;
use std::time::Instant;

use isard_files::cbf::{Cbf, file};
use isard_h5::Dtype;

/// A Pilatus 2M.
const SHAPE: [usize; 2] = [1679, 1475];

fn main() {
    // Counts of a smooth background with noise, gaps of -1 and a few strong spots, as a powder frame has.
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let pixels: Vec<u8> = (0..SHAPE[0] * SHAPE[1])
        .flat_map(|i| {
            let gap = (i / SHAPE[1]) % 212 >= 195;
            let value = if gap { -1 } else { 20 + (random() % 9) as i32 };
            let spot = if random() % 5000 == 0 { random() as i32 * 10 } else { 0 };
            (value + spot).to_ne_bytes()
        })
        .collect();
    let bytes = file(Dtype::I32, SHAPE, &pixels, "bench", &[]).unwrap();
    let mut out = vec![0; pixels.len()];
    let mut best = |check: bool| {
        let once = || {
            let began = Instant::now();
            let cbf = Cbf::parse(&bytes, bytes.len() as u64, "bench").unwrap();
            cbf.read(&bytes, check, &mut out).unwrap();
            began.elapsed().as_secs_f64()
        };
        let mut once = once;
        (0..40).map(|_| once()).fold(f64::INFINITY, f64::min) * 1e3
    };
    let (plain, checked) = (best(false), best(true));
    assert_eq!(out, pixels);
    let copy = (0..40)
        .map(|_| {
            let began = Instant::now();
            out.copy_from_slice(std::hint::black_box(&pixels));
            began.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!(
        "{} x {} i32 of {} bytes: {plain:.2} ms, with MD5 {checked:.2} ms",
        SHAPE[0],
        SHAPE[1],
        bytes.len()
    );
    println!("copy of the pixels: {:.2} ms", copy * 1e3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.cbf");
    std::fs::write(&path, &bytes).unwrap();
    let script = "import fabio,sys,time\nfrom fabio.cbfimage import CbfImage\nbest=9\nfor i in range(20):\n  t=time.perf_counter()\n  \
                  d=CbfImage().read(sys.argv[1],check_MD5=False).data\n  best=min(best,time.perf_counter()-t)\nprint('fabio: %.2f ms' % (best*1e3))";
    let python = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    match Command::new(python).args(["-c", script, path.to_str().unwrap()]).output() {
        Ok(done) if done.status.success() => print!("{}", String::from_utf8_lossy(&done.stdout)),
        _ => println!("fabio is not there"),
    }
}
