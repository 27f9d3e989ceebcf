//! Lit pixels of all frames, kept only where there are any.

use isard_core::error::{Error, Result};

/// Pixels along Z in one word, and rows along Y in one tile.
const WIDE: usize = 64;
const TALL: usize = 8;

/// The tiles of 64 neighbouring places: which of them are there, and where the first of them is kept.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    there: u64,
    first: u32,
}

/// One cache line: 8 rows of 64 pixels.
pub type Line = [u64; TALL];

/// The lit pixels of every frame of every distance; frames may be filled in any order.
///
/// A frame is cut into tiles of 8 x 64 pixels, of which only those with a lit pixel are kept; an index of one bit a
/// tile finds them. So a volume of 1.5 GB as plain bits takes 6 MB when a pixel in a hundred thousand is lit, and a
/// look-up costs one or two cache lines.
#[derive(Clone, Debug)]
pub struct Volume {
    size: [usize; 2],
    distances: usize,
    frames: usize,
    columns: usize,
    stride: usize,
    index: Vec<Entry>,
    tiles: Vec<Line>,
    known: Vec<bool>,
    lit: u64,
}

impl Volume {
    /// A volume of which no frame is known yet; `size` is pixels along Y and Z.
    pub fn new(distances: usize, frames: usize, size: [usize; 2]) -> Volume {
        let columns = size[1].div_ceil(WIDE);
        let stride = (columns * size[0].div_ceil(TALL)).div_ceil(64);
        Volume {
            size,
            distances,
            frames,
            columns,
            stride,
            index: vec![Entry::default(); stride * distances * frames],
            tiles: vec![],
            known: vec![false; distances * frames],
            lit: 0,
        }
    }

    /// Pixels along Y and Z.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// How many distances there are.
    pub fn distances(&self) -> usize {
        self.distances
    }

    /// How many frames a distance has.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// How many bits are set.
    pub fn lit(&self) -> u64 {
        self.lit
    }

    /// The lit share of the known frames of a distance.
    pub fn share(&self, distance: usize) -> f64 {
        let slabs = distance * self.frames..(distance + 1) * self.frames;
        let known = self.known[slabs.clone()].iter().filter(|k| **k).count();
        let entries = &self.index[slabs.start * self.stride..slabs.end * self.stride];
        let of = |e: &Entry| {
            let first = e.first as usize;
            let tiles = &self.tiles[first..first + e.there.count_ones() as usize];
            tiles.iter().flatten().map(|w| u64::from(w.count_ones())).sum::<u64>()
        };
        let lit: u64 = entries.iter().filter(|e| e.there != 0).map(of).sum();
        lit as f64 / (known * self.size[0] * self.size[1]).max(1) as f64
    }

    /// Bytes it keeps.
    pub fn bytes(&self) -> usize {
        self.index.len() * size_of::<Entry>() + self.tiles.len() * size_of::<Line>() + self.known.len()
    }

    /// Whether a frame is known.
    pub fn known(&self, distance: usize, frame: usize) -> bool {
        self.known[distance * self.frames + frame]
    }

    /// How many frames are known.
    pub fn count_known(&self) -> usize {
        self.known.iter().filter(|k| **k).count()
    }

    /// Fills a frame that was not known with its lit pixels (Y, Z), in any order; repeats count once.
    pub fn fill(&mut self, distance: usize, frame: usize, pixels: &[[u32; 2]]) -> Result<()> {
        if distance >= self.distances || frame >= self.frames {
            let (d, n) = (self.distances, self.frames);
            return Err(Error::data(format!(
                "frame {frame} of distance {distance}: the scan has {d} distances of {n} frames"
            )));
        }
        if self.known(distance, frame) {
            return Err(Error::internal(format!("frame {frame} of distance {distance} was filled twice")));
        }
        let [ny, nz] = self.size;
        if let Some([y, z]) = pixels.iter().find(|p| p[0] as usize >= ny || p[1] as usize >= nz) {
            return Err(Error::data(format!(
                "lit pixel ({y}, {z}) of frame {frame}, wanted less than ({ny}, {nz})"
            )));
        }
        let place = |p: &[u32; 2]| (p[0] as usize / TALL) * self.columns + p[1] as usize / WIDE;
        let mut keyed: Vec<(u32, u16)> = pixels
            .iter()
            .map(|p| (place(p) as u32, ((p[0] as usize % TALL) * WIDE + p[1] as usize % WIDE) as u16))
            .collect();
        keyed.sort_unstable();
        let entries = &mut self.index[(distance * self.frames + frame) * self.stride..][..self.stride];
        let mut last = u32::MAX;
        for (tile, bit) in keyed {
            if tile != last {
                let entry = &mut entries[tile as usize / 64];
                if entry.there == 0 {
                    entry.first = u32::try_from(self.tiles.len()).map_err(|_| {
                        Error::new(isard_core::Blame::Resources, "too many lit pixels: more than 2^32 tiles")
                    })?;
                }
                entry.there |= 1 << (tile % 64);
                self.tiles.push([0; TALL]);
                last = tile;
            }
            let line = self.tiles.last_mut().expect("a tile was pushed for this pixel");
            let (row, mask) = (usize::from(bit) / WIDE, 1u64 << (usize::from(bit) % WIDE));
            self.lit += u64::from(line[row] & mask == 0);
            line[row] |= mask;
        }
        self.known[distance * self.frames + frame] = true;
        Ok(())
    }

    /// The same frames with every pixel lit that lies within so many of a lit one, in a square.
    pub fn spread(&self, reach: u32) -> Result<Volume> {
        let mut out = Volume::new(self.distances, self.frames, self.size);
        let [ny, nz] = self.size.map(|n| n as u32);
        for (l, f) in (0..self.distances).flat_map(|l| (0..self.frames).map(move |f| (l, f))) {
            if !self.known(l, f) {
                continue;
            }
            let mut pixels = vec![];
            for [y, z] in self.pixels(l, f) {
                for y in y.saturating_sub(reach)..(y + reach + 1).min(ny) {
                    pixels.extend((z.saturating_sub(reach)..(z + reach + 1).min(nz)).map(|z| [y, z]));
                }
            }
            pixels.sort_unstable();
            pixels.dedup();
            out.fill(l, f, &pixels)?;
        }
        Ok(out)
    }

    /// The 64 pixels of a row of a frame from `column * 64` on.
    #[inline(always)]
    fn word(&self, slab: usize, y: usize, column: usize) -> u64 {
        let tile = (y / TALL) * self.columns + column;
        let entry = &self.index[slab * self.stride + tile / 64];
        let bit = 1u64 << (tile % 64);
        if entry.there & bit == 0 {
            return 0;
        }
        let at = entry.first as usize + (entry.there & (bit - 1)).count_ones() as usize;
        self.tiles[at][y % TALL]
    }

    /// Places of the index from one frame to the next, and tiles in a row of tiles.
    pub(crate) fn strides(&self) -> [usize; 2] {
        [self.stride, self.columns]
    }

    /// Which of sixteen tiles of a distance hold a lit pixel, one bit each; slots count from its first frame.
    #[inline(always)]
    pub(crate) fn tiles_lit(&self, distance: usize, slots: &[i32; 16], tiles: &[i32; 16]) -> u32 {
        let index = &self.index[distance * self.frames * self.stride..];
        let mut out = 0;
        for i in 0..16 {
            out |= ((index[slots[i] as usize].there >> tiles[i] & 1) as u32) << i;
        }
        out
    }

    /// Whether a pixel is lit; it must lie on the detector.
    #[inline(always)]
    pub fn is_lit(&self, distance: usize, frame: usize, y: usize, z: usize) -> bool {
        let tile = (y / TALL) * self.columns + z / WIDE;
        let entry = &self.index[(distance * self.frames + frame) * self.stride + tile / 64];
        let bit = 1u64 << (tile % 64);
        // Where a tile is not there another is read and counts for nothing: a branch here is a guess that is often wrong.
        let there = entry.there >> (tile % 64) & 1;
        let at = (entry.first as usize + (entry.there & (bit - 1)).count_ones() as usize) * there as usize;
        self.tiles.get(at).map_or(0, |line| line[y % TALL] >> (z % WIDE) & there) != 0
    }

    /// The pixels `z .. z + 64` of a row, the first in the lowest bit; dark beyond the detector.
    #[inline(always)]
    pub fn row(&self, distance: usize, frame: usize, y: usize, z: usize) -> u64 {
        let slab = distance * self.frames + frame;
        let (column, shift) = (z / WIDE, z % WIDE);
        let low = self.word(slab, y, column) >> shift;
        if shift == 0 || column + 1 >= self.columns {
            return low;
        }
        low | self.word(slab, y, column + 1) << (WIDE - shift)
    }

    /// The lit pixels (Y, Z) of a frame, by rising Y and then Z.
    pub fn pixels(&self, distance: usize, frame: usize) -> Vec<[u32; 2]> {
        let slab = distance * self.frames + frame;
        let entries = &self.index[slab * self.stride..][..self.stride];
        let (mut out, mut found) = (vec![], vec![]);
        let mut tiles = entries.iter().enumerate().flat_map(|(k, entry)| {
            let mut rest = entry.there;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest.wrapping_sub(1);
                (bit < 64).then_some(k * 64 + bit)
            })
        });
        let mut next = tiles.next();
        while let Some(first) = next {
            // All tiles of the same rows, then those rows one by one.
            let tall = first / self.columns;
            found.clear();
            while let Some(tile) = next.filter(|t| t / self.columns == tall) {
                found.push(tile % self.columns);
                next = tiles.next();
            }
            for y in tall * TALL..self.size[0].min(tall * TALL + TALL) {
                for column in &found {
                    let mut word = self.word(slab, y, *column);
                    while word != 0 {
                        out.push([y as u32, (column * WIDE) as u32 + word.trailing_zeros()]);
                        word &= word - 1;
                    }
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_agrees_with_plain_bits() {
        let (size, mut state) = ([37, 150], 9u64);
        let mut random = |n: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % n
        };
        let mut volume = Volume::new(2, 3, size);
        let mut plain = vec![false; 2 * 3 * 37 * 150];
        // Any order of frames; one stays unknown.
        for (l, f) in [(1, 2), (0, 0), (1, 0), (0, 2), (0, 1)] {
            let pixels: Vec<[u32; 2]> = (0..200).map(|_| [random(37) as u32, random(150) as u32]).collect();
            for [y, z] in &pixels {
                plain[((l * 3 + f) * 37 + *y as usize) * 150 + *z as usize] = true;
            }
            volume.fill(l, f, &pixels).unwrap();
        }
        assert_eq!(volume.lit(), plain.iter().filter(|b| **b).count() as u64);
        assert!(!volume.known(1, 1) && volume.count_known() == 5);
        let of = |l: usize| plain[l * 3 * 37 * 150..][..3 * 37 * 150].iter().filter(|b| **b).count() as f64;
        assert_eq!([volume.share(0), volume.share(1)], [of(0) / (3.0 * 5550.0), of(1) / (2.0 * 5550.0)]);
        for l in 0..2 {
            for f in 0..3 {
                let frame = &plain[(l * 3 + f) * 37 * 150..][..37 * 150];
                let listed: Vec<usize> =
                    volume.pixels(l, f).iter().map(|p| p[0] as usize * 150 + p[1] as usize).collect();
                assert!(listed.iter().copied().eq((0..37 * 150).filter(|k| frame[*k])));
                for k in 0..37 * 150 {
                    let (y, z) = (k / 150, k % 150);
                    assert_eq!(volume.is_lit(l, f, y, z), frame[k]);
                    let wanted = (0..64.min(150 - z)).filter(|b| frame[k + b]).fold(0u64, |w, b| w | 1 << b);
                    assert_eq!(volume.row(l, f, y, z), wanted);
                }
            }
        }
        assert!(volume.fill(0, 0, &[]).is_err() && volume.fill(2, 0, &[]).is_err());
        assert!(volume.fill(1, 1, &[[37, 0]]).unwrap_err().message().contains("(37, 0)"));
    }
}
