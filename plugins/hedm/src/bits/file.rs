//! `SpotsInfo.bin`: one bit for each distance, frame and pixel.

use std::io::{Read, Write};

use isard_core::error::{Error, Result};

use crate::bits::Volume;

/// How many bits a frame has, and how long a file of so many frames is in bytes.
fn lengths(size: [usize; 2], frames: usize) -> (u64, u64) {
    let bits = (size[0] * size[1]) as u64;
    (bits, (bits * frames as u64).div_ceil(32) * 4)
}

/// Writes frames as bits, Z fastest, the lowest bit of a byte first.
pub struct BitWriter<W: Write> {
    out: W,
    size: [usize; 2],
    /// Bits of the last byte that are not written yet, and how many of them count.
    rest: (u8, u64),
    written: u64,
    frames: usize,
}

impl<W: Write> BitWriter<W> {
    /// A writer of frames of a size; frames come distance by distance.
    pub fn new(out: W, size: [usize; 2]) -> BitWriter<W> {
        BitWriter { out, size, rest: (0, 0), written: 0, frames: 0 }
    }

    /// Writes the next frame from its lit pixels (Y, Z).
    pub fn frame(&mut self, pixels: &[[u32; 2]]) -> std::io::Result<()> {
        let (bits, _) = lengths(self.size, 1);
        let (first, used) = self.rest;
        let mut bytes = vec![0u8; (used + bits).div_ceil(8) as usize];
        bytes[0] |= first;
        for [y, z] in pixels {
            let k = used + u64::from(*y) * self.size[1] as u64 + u64::from(*z);
            bytes[(k / 8) as usize] |= 1 << (k % 8);
        }
        let whole = ((used + bits) / 8) as usize;
        self.out.write_all(&bytes[..whole])?;
        self.written += whole as u64;
        self.rest = (bytes.get(whole).copied().unwrap_or(0), (used + bits) % 8);
        self.frames += 1;
        Ok(())
    }

    /// Writes a whole volume; frames that are not known are dark.
    pub fn volume(mut self, volume: &Volume) -> std::io::Result<W> {
        for l in 0..volume.distances() {
            for f in 0..volume.frames() {
                self.frame(&volume.pixels(l, f))?;
            }
        }
        self.finish()
    }

    /// Fills the last word and gives the output back.
    pub fn finish(mut self) -> std::io::Result<W> {
        if self.rest.1 > 0 {
            self.out.write_all(&[self.rest.0])?;
            self.written += 1;
        }
        let (_, wanted) = lengths(self.size, self.frames);
        self.out.write_all(&vec![0u8; (wanted - self.written) as usize])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads `SpotsInfo.bin`.
pub struct BitReader;

impl BitReader {
    /// The volume in a file of `length` bytes; the length must be that of the scan.
    pub fn volume(
        mut input: impl Read,
        length: u64,
        distances: usize,
        frames: usize,
        size: [usize; 2],
    ) -> Result<Volume> {
        let (bits, whole) = lengths(size, distances * frames);
        // The existing program leaves out the bits of the last word where they do not fill it.
        let short = bits * (distances * frames) as u64 / 32 * 4;
        if length != whole && length != short {
            let [ny, nz] = size;
            return Err(Error::data(format!(
                "found {length} bytes, wanted {whole} for {distances} distances of {frames} frames of {ny} x {nz} pixels"
            ))
            .help("check the number of distances, frames and pixels"));
        }
        let mut volume = Volume::new(distances, frames, size);
        let mut buffer = vec![];
        let (mut rest, mut used, mut left) = (0u8, 0u64, length);
        for k in 0..distances * frames {
            let needed = ((used + bits).div_ceil(8) - u64::from(used > 0)).min(left);
            buffer.clear();
            if used > 0 {
                buffer.push(rest);
            }
            let start = buffer.len();
            buffer.resize(start + needed as usize, 0);
            input.read_exact(&mut buffer[start..]).map_err(|e| {
                Error::new(isard_core::Blame::Io, format!("reading frame {k} of the bits: {e}"))
            })?;
            left -= needed;
            let mut pixels = vec![];
            for (at, byte) in buffer.iter().enumerate().filter(|(_, b)| **b != 0) {
                for bit in (0..8).filter(|b| byte >> b & 1 != 0) {
                    let n = (at * 8 + bit) as u64;
                    if n >= used && n < used + bits {
                        let n = n - used;
                        pixels.push([(n / size[1] as u64) as u32, (n % size[1] as u64) as u32]);
                    }
                }
            }
            volume.fill(k / frames, k % frames, &pixels)?;
            rest = buffer.last().copied().unwrap_or(0);
            used = (used + bits) % 8;
        }
        Ok(volume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_do_not_fill_bytes_come_back() {
        let size = [5, 7];
        let mut volume = Volume::new(2, 3, size);
        for k in 0..6u32 {
            volume.fill(k as usize / 3, k as usize % 3, &[[k % 5, k], [4, 6], [0, 0]]).unwrap();
        }
        let bytes = BitWriter::new(vec![], size).volume(&volume).unwrap();
        // 210 bits are 7 words; bit 34 is the last pixel of the first frame, bit 35 the first of the second.
        assert_eq!(bytes.len(), 28);
        assert_eq!(bytes[4] & 0b1100, 0b1100);
        for cut in [28, 24] {
            let back = BitReader::volume(&bytes[..cut], cut as u64, 2, 3, size).unwrap();
            for k in 0..if cut == 28 { 6 } else { 5 } {
                assert_eq!(back.pixels(k / 3, k % 3), volume.pixels(k / 3, k % 3), "{cut} {k}");
            }
        }
        let error = BitReader::volume(&bytes[..20], 20, 2, 3, size).unwrap_err();
        assert!(error.message().contains("found 20 bytes, wanted 28"), "{error}");
    }
}
