//! The mean image with lone pixels taken out.

use crate::accumulate::Accumulator;

/// A pixel is lone when it exceeds its second brightest neighbour by this factor, or falls below by it.
const FACTOR: f64 = 3.0;
/// And by this many standard deviations, so that noise at low counts is left alone.
const SIGMAS: f64 = 6.0;

/// The mean frame, ready for a search.
#[derive(Debug, Clone)]
pub struct Image {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Mean counts per frame; meaningless where `weight` is 0.
    pub mean: Vec<f64>,
    /// Frames that count at each pixel over the variance of one count, 0 for an invalid pixel.
    ///
    /// The variance of `mean` is then about `mean / weight`.
    pub weight: Vec<f64>,
}

impl Image {
    /// The mean of all frames, without hot and cold pixels.
    ///
    /// A ring is at least two pixels wide or long, so a pixel that differs from all its neighbours but one is a fault.
    pub fn new(acc: &Accumulator) -> Self {
        let [rows, cols] = acc.shape();
        let n = rows * cols;
        let (mut mean, mut weight) = (vec![0.0; n], vec![0.0; n]);
        for i in 0..n {
            let count = f64::from(acc.count(i));
            if count > 0.0 {
                mean[i] = acc.sum(i) / count;
                // With a given variance, as many counts as would give the same relative noise.
                weight[i] = match acc.variance(i) {
                    Some(v) if v > 0.0 && acc.sum(i) > 0.0 => acc.sum(i) / v * count,
                    _ => count,
                };
            }
        }
        let lone: Vec<usize> =
            (0..n).filter(|&i| weight[i] > 0.0 && is_lone(&mean, &weight, [rows, cols], i)).collect();
        lone.into_iter().for_each(|i| weight[i] = 0.0);
        Self { shape: [rows, cols], mean, weight }
    }
}

fn is_lone(mean: &[f64], weight: &[f64], [rows, cols]: [usize; 2], i: usize) -> bool {
    let (row, col) = (i / cols, i % cols);
    // Two neighbours of about its brightness clear a pixel; nearly all leave here.
    let like = |j: usize| weight[j] > 0.0 && FACTOR * mean[j] >= mean[i] && mean[j] <= FACTOR * mean[i];
    if col > 0 && col + 1 < cols && like(i - 1) && like(i + 1) {
        return false;
    }
    let (mut high, mut low) = ([f64::MIN; 2], [f64::MAX; 2]);
    let mut seen = 0;
    for r in row.saturating_sub(1)..(row + 2).min(rows) {
        for c in col.saturating_sub(1)..(col + 2).min(cols) {
            let j = r * cols + c;
            if j == i || weight[j] == 0.0 {
                continue;
            }
            seen += 1;
            let v = mean[j];
            if v > high[0] {
                high = [v, high[0]];
            } else if v > high[1] {
                high[1] = v;
            }
            if v < low[0] {
                low = [v, low[0]];
            } else if v < low[1] {
                low[1] = v;
            }
        }
    }
    if seen < 3 {
        return false;
    }
    let noise = |v: f64| SIGMAS * (v.max(1.0 / weight[i]) / weight[i]).sqrt();
    let v = mean[i];
    v > FACTOR * high[1] + noise(high[1]) || FACTOR * v + noise(low[1]) < low[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_and_cold_pixels_go_and_a_ring_stays() {
        let mut frame = vec![400u32; 15 * 15];
        for row in 0..15 {
            frame[row * 15 + 7] = 20_000;
            frame[row * 15 + 8] = 9_000;
        }
        frame[3 * 15 + 3] = 3_000_000;
        frame[10 * 15 + 11] = 0;
        frame[12 * 15 + 7] = 300;
        let mut acc = Accumulator::new([15, 15]);
        acc.add(&frame, None);
        let image = Image::new(&acc);
        let gone: Vec<_> = (0..225).filter(|&i| image.weight[i] == 0.0).map(|i| [i / 15, i % 15]).collect();
        assert_eq!(gone, [[3, 3], [10, 11]]);
    }
}
