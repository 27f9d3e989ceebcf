//! Lit pixels of one frame as files of the older MIDAS programs.

use isard_core::error::{Error, Result};

/// What stands above each block: 1 as four and three times two bytes, the size of its name, how many bytes it has with its
/// name, two more ones, and the name.
const HEAD: usize = 4 + 4 * 2 + 4 + 2 * 2 + 1;
/// Numbers of blobs are stored ten times as large in sixteen bits: beyond this they begin again.
const MOST: u32 = 6553;

/// A lit pixel of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LegacyPixel {
    /// The pixel (Y, Z).
    pub at: [u16; 2],
    /// Counts above the background.
    pub counts: f32,
    /// The number of its blob, ten times as large.
    pub blob: u16,
}

impl LegacyPixel {
    /// A pixel of a blob, counted from 0.
    pub fn new(at: [u16; 2], counts: f32, blob: u32) -> LegacyPixel {
        LegacyPixel { at, counts, blob: ((blob % MOST + 1) * 10) as u16 }
    }
}

/// The bytes of a frame's file.
pub fn write_legacy(pixels: &[LegacyPixel]) -> Vec<u8> {
    let mut out = 1f32.to_le_bytes().to_vec();
    let head = |out: &mut Vec<u8>, bytes: usize| {
        out.extend(1u32.to_le_bytes());
        (0..4).for_each(|_| out.extend(1u16.to_le_bytes()));
        out.extend((bytes as u32 + 1).to_le_bytes());
        (0..2).for_each(|_| out.extend(1u16.to_le_bytes()));
        out.push(b'x');
    };
    // The head of the whole file says how long the first block is.
    head(&mut out, 2 * pixels.len());
    (0..5).for_each(|_| out.extend(1u32.to_le_bytes()));
    let blocks: [Vec<u8>; 4] = [
        pixels.iter().flat_map(|p| p.at[0].to_le_bytes()).collect(),
        pixels.iter().flat_map(|p| p.at[1].to_le_bytes()).collect(),
        pixels.iter().flat_map(|p| p.counts.to_le_bytes()).collect(),
        pixels.iter().flat_map(|p| p.blob.to_le_bytes()).collect(),
    ];
    for block in blocks {
        head(&mut out, block.len());
        out.extend(block);
    }
    out
}

/// The pixels of a frame's file.
pub fn read_legacy(bytes: &[u8]) -> Result<Vec<LegacyPixel>> {
    let mut rest = bytes.get(4 + HEAD + 5 * 4..).ok_or_else(|| short(bytes.len()))?;
    let mut blocks: [&[u8]; 4] = [&[]; 4];
    for block in &mut blocks {
        let head = rest.get(..HEAD).ok_or_else(|| short(bytes.len()))?;
        let size = u32::from_le_bytes([head[12], head[13], head[14], head[15]]) as usize;
        let size = size.checked_sub(1).ok_or_else(|| short(bytes.len()))?;
        *block = rest.get(HEAD..HEAD + size).ok_or_else(|| short(bytes.len()))?;
        rest = &rest[HEAD + size..];
    }
    let count = blocks[0].len() / 2;
    if blocks.map(<[u8]>::len) != [2 * count, 2 * count, 4 * count, 2 * count] || !rest.is_empty() {
        return Err(Error::data(format!(
            "found blocks of {:?} bytes and {} behind them, wanted Y, Z, counts and blobs of as many pixels",
            blocks.map(<[u8]>::len),
            rest.len()
        )));
    }
    let two = |block: &[u8], k: usize| u16::from_le_bytes([block[2 * k], block[2 * k + 1]]);
    let four = |block: &[u8], k: usize| f32::from_le_bytes(std::array::from_fn(|i| block[4 * k + i]));
    let one = |k: usize| LegacyPixel {
        at: [two(blocks[0], k), two(blocks[1], k)],
        counts: four(blocks[2], k),
        blob: two(blocks[3], k),
    };
    Ok((0..count).map(one).collect())
}

fn short(found: usize) -> Error {
    Error::data(format!("found {found} bytes, wanted four blocks with their heads"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_and_damage_is_told() {
        let pixels = [LegacyPixel::new([425, 324], 149.0, 0), LegacyPixel::new([424, 324], 7.5, MOST)];
        // Blobs beyond the last number begin again, and none is 0, which says unlit.
        assert_eq!(pixels.map(|p| p.blob), [10, 10]);
        let bytes = write_legacy(&pixels);
        assert_eq!(read_legacy(&bytes).unwrap(), pixels);
        assert_eq!(read_legacy(&write_legacy(&[])).unwrap(), []);
        for cut in [0, 3, 60, bytes.len() - 1] {
            assert!(read_legacy(&bytes[..cut]).is_err(), "{cut}");
        }
        let mut more = bytes.clone();
        more.push(0);
        assert!(read_legacy(&more).unwrap_err().message().contains("1 behind them"));
    }
}
