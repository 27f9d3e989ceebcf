//! The shares that pixels give to bins, as a sparse matrix in the order of the pixels.

/// A sparse matrix: which share of each pixel goes to which bin.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// Rows: bins.
    pub bins: usize,
    /// Where the entries of each pixel begin, and at the end where the last ones end.
    pub start: Vec<u32>,
    /// Bin of each entry.
    pub bin: Vec<u32>,
    /// Share of each entry, in single precision as the sums take it.
    pub share: Vec<f32>,
}

/// The same entries in the order of the bins, and within a bin of the pixels.
#[derive(Clone, Debug)]
pub struct ByBin {
    /// Where the entries of each bin begin, and at the end where the last ones end.
    pub start: Vec<u32>,
    /// Pixel of each entry.
    pub pixel: Vec<u32>,
    /// Share of each entry.
    pub share: Vec<f32>,
}

impl Matrix {
    /// A matrix without pixels yet.
    pub(crate) fn new(bins: usize, pixels: usize) -> Matrix {
        let mut start = Vec::with_capacity(pixels + 1);
        start.push(0);
        // Bins about as wide as pixels are touched by two or three pixels out of each; growing further costs a copy.
        let room = pixels * 5 / 2;
        Matrix { bins, start, bin: Vec::with_capacity(room), share: Vec::with_capacity(room) }
    }

    /// Adds an entry of the pixel that is open.
    #[inline(always)]
    pub(crate) fn put(&mut self, bin: usize, share: f64) {
        self.bin.push(bin as u32);
        self.share.push(share as f32);
    }

    /// Closes a pixel.
    #[inline(always)]
    pub(crate) fn close(&mut self) {
        self.start.push(self.bin.len() as u32);
    }

    /// Pixels.
    pub fn pixels(&self) -> usize {
        self.start.len() - 1
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.bin.len()
    }

    /// Whether no pixel gives anything to any bin.
    pub fn is_empty(&self) -> bool {
        self.bin.is_empty()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        4 * (self.start.len() + 2 * self.bin.len())
    }

    /// Bins and shares of a pixel.
    #[inline(always)]
    pub fn of(&self, pixel: usize) -> (&[u32], &[f32]) {
        let range = self.start[pixel] as usize..self.start[pixel + 1] as usize;
        (&self.bin[range.clone()], &self.share[range])
    }

    /// The entries sorted by bins.
    pub fn by_bin(&self) -> ByBin {
        let mut start = vec![0u32; self.bins + 1];
        self.bin.iter().for_each(|b| start[*b as usize + 1] += 1);
        for k in 0..self.bins {
            start[k + 1] += start[k];
        }
        let mut next = start.clone();
        let (mut pixel, mut share) = (vec![0u32; self.len()], vec![0f32; self.len()]);
        for p in 0..self.pixels() {
            let (bins, shares) = self.of(p);
            for (bin, s) in bins.iter().zip(shares) {
                let at = &mut next[*bin as usize];
                pixel[*at as usize] = p as u32;
                share[*at as usize] = *s;
                *at += 1;
            }
        }
        ByBin { start, pixel, share }
    }
}

impl ByBin {
    /// Pixels and shares of a bin.
    pub fn of(&self, bin: usize) -> (&[u32], &[f32]) {
        let range = self.start[bin] as usize..self.start[bin + 1] as usize;
        (&self.pixel[range.clone()], &self.share[range])
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        4 * (self.start.len() + 2 * self.pixel.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_by_bins_it_holds_the_same() {
        let mut matrix = Matrix::new(3, 4);
        for entries in [&[(0, 0.5), (1, 0.5)][..], &[], &[(1, 1.0)], &[(0, 0.25), (2, 0.75)]] {
            entries.iter().for_each(|(bin, share)| matrix.put(*bin, *share));
            matrix.close();
        }
        assert_eq!((matrix.pixels(), matrix.len()), (4, 5));
        let sorted = matrix.by_bin();
        assert_eq!(sorted.of(0), (&[0, 3][..], &[0.5, 0.25][..]));
        assert_eq!(sorted.of(1), (&[0, 2][..], &[0.5, 1.0][..]));
        assert_eq!(sorted.of(2), (&[3][..], &[0.75][..]));
    }
}
