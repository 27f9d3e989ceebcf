//! How fast are raw and compressed TIFF pages written and read?

use std::time::Instant;

use isard_files::format::Result;
use isard_files::tiff::{Tiff, Writer};
use isard_h5::Dtype;

fn main() -> Result<()> {
    let side = 2048_usize;
    let pages = 24;
    let frame: Vec<u8> = (0..side * side).flat_map(|i| (i as u16 % 1021).to_ne_bytes()).collect();
    let total = (frame.len() * pages) as f64 / 1e6;
    for deflate in [false, true] {
        let began = Instant::now();
        let mut writer = Writer::new(Dtype::U16, [side, side], false)?;
        if deflate {
            writer = writer.deflate();
        }
        for _ in 0..pages {
            writer.page(&frame)?;
        }
        let bytes = writer.into_bytes()?;
        let wrote = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let tiff = Tiff::parse(&bytes, "bench")?;
        let scanned = began.elapsed().as_secs_f64();
        let mut out = vec![0; frame.len()];
        tiff.read(&bytes, 0, &mut out)?;
        let began = Instant::now();
        for page in 0..pages {
            tiff.read(&bytes, page, &mut out)?;
        }
        let read = began.elapsed().as_secs_f64();
        let began = Instant::now();
        for page in 0..pages {
            let from = if deflate { frame.as_slice() } else { &bytes[page * frame.len()..][..frame.len()] };
            out.copy_from_slice(std::hint::black_box(from));
        }
        let copied = began.elapsed().as_secs_f64();
        println!(
            "{}: write {:.0} MB/s, read {:.0} MB/s (a copy {:.0} MB/s), scan {:.0} us",
            if deflate { "deflate" } else { "raw" },
            total / wrote,
            total / read,
            total / copied,
            scanned * 1e6
        );
    }
    Ok(())
}
