//! Channels side by side: blocks of rays or pixels with the channels innermost.

use std::ops::{Deref, DerefMut, Range};

use bytemuck::{Pod, Zeroable};

/// As much as a cache holds in one piece.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers that begin where a line of the cache does, so that no load of a whole vector touches two.
#[derive(Clone, Debug)]
pub struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// So many zeros.
    pub fn zeros(len: usize) -> Aligned {
        Aligned { lines: bytemuck::allocation::zeroed_vec(len.div_ceil(16)), len }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// Values of many channels at many places: in groups of `width` channels, innermost.
///
/// The place of ray `x` of projection `a` is `a * stride + PAD + x`; rays on both sides are always 0.
#[derive(Clone, Debug)]
pub struct Bank {
    /// Channels of a group: 8 or 32; those beyond the last channel are 0.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Places.
    pub places: usize,
    /// The values: group, place, channel.
    pub data: Aligned,
}

/// Empty rays on each side of a projection.
pub const PAD: usize = 2;

impl Bank {
    /// An empty bank for so many channels at so many places.
    pub fn new(channels: usize, places: usize) -> Bank {
        let width = if channels <= 8 { 8 } else { 32 };
        let groups = channels.div_ceil(width);
        Bank { width, channels, places, data: Aligned::zeros(groups * places * width) }
    }

    /// A bank of projections with their empty rays.
    ///
    /// `rows` has for each projection and ray all channels, as a sinogram [omega x channel] has.
    pub fn rays(rows: &[f32], angles: usize, n: usize, channels: usize) -> Bank {
        let stride = n + 2 * PAD;
        let mut bank = Bank::new(channels, angles * stride);
        let (width, places) = (bank.width, bank.places);
        for (k, row) in rows.chunks_exact(channels).enumerate() {
            let place = (k / n) * stride + PAD + k % n;
            for (g, part) in row.chunks(width).enumerate() {
                let at = (g * places + place) * width;
                bank.data[at..at + part.len()].copy_from_slice(part);
            }
        }
        bank
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.channels.div_ceil(self.width)
    }

    /// The values of one group.
    pub fn group(&self, g: usize) -> &[f32] {
        let each = self.places * self.width;
        &self.data[g * each..(g + 1) * each]
    }

    /// The values of some groups.
    pub fn groups_of(&self, groups: Range<usize>) -> &[f32] {
        let each = self.places * self.width;
        &self.data[groups.start * each..groups.end * each]
    }

    /// The values of some groups, to be changed.
    pub fn groups_mut(&mut self, groups: Range<usize>) -> &mut [f32] {
        let each = self.places * self.width;
        &mut self.data[groups.start * each..groups.end * each]
    }

    /// One channel at all places.
    pub fn channel(&self, c: usize) -> impl Iterator<Item = f32> + '_ {
        let (g, l) = (c / self.width, c % self.width);
        self.group(g).iter().skip(l).step_by(self.width).copied()
    }

    /// A slice of so many rows and columns whose pixels are the means over `fine` by `fine` of this one's.
    pub fn means(&self, size: usize, fine: usize) -> Bank {
        let mut coarse = Bank::new(self.channels, size * size);
        let (width, part) = (self.width, 1.0 / (fine * fine) as f32);
        for g in 0..self.groups() {
            let from = self.group(g);
            for (k, to) in coarse.groups_mut(g..g + 1).chunks_exact_mut(width).enumerate() {
                let (row, column) = (k / size * fine, k % size * fine);
                for (v, u) in (0..fine).flat_map(|v| (0..fine).map(move |u| (v, u))) {
                    let at = ((row + v) * size * fine + column + u) * width;
                    to.iter_mut().zip(&from[at..at + width]).for_each(|(to, from)| *to += from * part);
                }
            }
        }
        coarse
    }

    /// Writes all channels one after the other, each with its places: [channel place].
    pub fn planes(&self, out: &mut [f32]) {
        let block = 64.min(self.places.max(1));
        for (g, planes) in out.chunks_mut(self.width * self.places).enumerate() {
            let lanes = planes.len() / self.places.max(1);
            // In blocks of places, so that what is read once stays near until all its channels are written.
            for (b, part) in self.group(g).chunks(block * self.width).enumerate() {
                for l in 0..lanes {
                    let from = part.iter().skip(l).step_by(self.width);
                    let to = &mut planes[l * self.places + b * block..];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_by_hand() {
        // 4 by 4 pixels, each as much as its number: the means of the quarters are 2.5, 4.5, 10.5 and 12.5.
        let mut bank = Bank::new(10, 16);
        for k in 0..16 {
            bank.data[k * 32..k * 32 + 10].fill(k as f32);
        }
        let means = bank.means(2, 2);
        assert_eq!(means.channel(9).collect::<Vec<_>>(), [2.5, 4.5, 10.5, 12.5]);
        assert_eq!(bank.means(4, 1).channel(0).collect::<Vec<_>>(), bank.channel(0).collect::<Vec<_>>());
    }

    #[test]
    fn what_goes_in_comes_out() {
        for channels in [1, 8, 9, 40] {
            let rows: Vec<f32> = (0..3 * 5 * channels).map(|k| k as f32 + 1.0).collect();
            let bank = Bank::rays(&rows, 3, 5, channels);
            let mut planes = vec![0.0; channels * bank.places];
            bank.planes(&mut planes);
            for c in 0..channels {
                assert_eq!(bank.channel(c).collect::<Vec<_>>(), planes[c * 27..(c + 1) * 27]);
                for (a, line) in planes[c * 27..(c + 1) * 27].chunks_exact(9).enumerate() {
                    let wanted: Vec<f32> = (0..5).map(|x| rows[(a * 5 + x) * channels + c]).collect();
                    assert_eq!(line[2..7], wanted);
                    assert!([0, 1, 7, 8].iter().all(|k| line[*k] == 0.0));
                }
            }
        }
    }
}
