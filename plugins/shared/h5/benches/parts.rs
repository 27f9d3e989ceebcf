//! How fast is a part of frames built in memory, and read again?

use std::time::Instant;

use isard_h5::{Compression, Dtype, File, Image, Result, Spec};

fn main() -> Result<()> {
    let side = 2048_u64;
    let frames = 24_u64;
    let frame: Vec<u8> = (0..side * side).flat_map(|i| (i as u16 % 1021).to_ne_bytes()).collect();
    let total = frame.len() as f64 * frames as f64 / 1e6;
    let plain = Spec::new(Dtype::U16, &[side, side]);
    for (name, spec) in [
        ("raw", plain.clone().fletcher32(false)),
        ("fletcher32", plain.clone()),
        ("lzf + shuffle + fletcher32", plain.clone().compress(Compression::Lzf)),
        ("deflate 1 + shuffle + fletcher32", plain.compress(Compression::Deflate(1))),
    ] {
        let began = Instant::now();
        let mut image = Image::sized(frame.len() * frames as usize)?;
        let slot = image.dataset("/entry/data", &spec)?;
        for _ in 0..frames {
            image.append(slot, &frame, 1)?;
        }
        let appended = began.elapsed().as_secs_f64();
        let bytes = image.into_bytes()?;
        let built = began.elapsed().as_secs_f64();
        let file = File::from_bytes(&bytes, "part")?;
        let dataset = file.dataset("/entry/data")?;
        let mut out = vec![0; frame.len()];
        let began = Instant::now();
        for i in 0..frames {
            dataset.read(2, i, 1, &mut out)?;
        }
        let read = began.elapsed().as_secs_f64();
        println!(
            "{name}: append {:.0} MB/s, append and bytes {:.0} MB/s, read {:.0} MB/s",
            total / appended,
            total / built,
            total / read
        );
    }
    Ok(())
}
