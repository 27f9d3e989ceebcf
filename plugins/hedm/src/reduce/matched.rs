//! Spots of the shape that the camera gives them: a matched filter.

/// Taps on either side.
const REACH: usize = 2;
/// What a single pixel may give at most, as a share of the threshold.
const ALONE: f32 = 0.95;

/// A Gaussian that finds spots in the frame above its background.
///
/// The filter leaves the noise of a pixel as it is, so the threshold is one of counts. No pixel counts for more than
/// what leaves it below the threshold when its neighbours are dark: zingers and hot pixels light nothing.
#[derive(Clone, Debug)]
pub(crate) struct Matched {
    taps: [f32; 2 * REACH + 1],
    background: Vec<u16>,
    threshold: f32,
    most: f32,
}

impl Matched {
    /// A filter of a Gaussian of width `sigma` in pixels.
    pub fn new(sigma: f64, threshold: u16, background: &[u16]) -> Matched {
        let gauss = |k: usize| (-0.5 * ((k as f64 - REACH as f64) / sigma).powi(2)).exp();
        let taps: [f64; 2 * REACH + 1] = std::array::from_fn(gauss);
        let norm = taps.iter().map(|t| t * t).sum::<f64>().sqrt();
        let taps = taps.map(|t| (t / norm) as f32);
        let threshold = f32::from(threshold);
        let most = ALONE * threshold / (taps[REACH] * taps[REACH]);
        Matched { taps, background: background.to_vec(), threshold, most }
    }

    /// Filters row by row and tells of each: counts above the background where a spot is, and nothing elsewhere.
    ///
    /// `clean` has room for a row, or for the whole picture, which it holds then.
    pub fn each_row(
        &self,
        frame: &[u16],
        columns: usize,
        clean: &mut [u16],
        mut told: impl FnMut(usize, &[u16]),
    ) {
        let (rows, depth) = (frame.len() / columns, 2 * REACH + 1);
        let whole = clean.len() == frame.len();
        // Rows that are filtered along themselves, with room for the taps at both ends.
        let mut along = vec![vec![0.0f32; columns]; depth];
        let mut above = vec![0.0f32; columns + 2 * REACH];
        let mut sum = vec![0.0f32; columns];
        let mut load = |row: usize, to: &mut [f32]| {
            let at = row * columns..(row + 1) * columns;
            let inner = &mut above[REACH..REACH + columns];
            for ((o, v), b) in inner.iter_mut().zip(&frame[at.clone()]).zip(&self.background[at]) {
                *o = (f32::from(*v) - f32::from(*b)).min(self.most);
            }
            to.fill(0.0);
            for (k, tap) in self.taps.iter().enumerate() {
                for (o, v) in to.iter_mut().zip(&above[k..k + columns]) {
                    *o += tap * v;
                }
            }
        };
        for row in 0..rows.min(REACH) {
            load(row, &mut along[row % depth]);
        }
        for row in 0..rows {
            if row + REACH < rows {
                load(row + REACH, &mut along[(row + REACH) % depth]);
            }
            sum.fill(0.0);
            for (k, tap) in self.taps.iter().enumerate() {
                // Beyond the edges of the picture nothing is lit.
                let Some(from) = (row + k).checked_sub(REACH).filter(|r| *r < rows) else { continue };
                for (o, v) in sum.iter_mut().zip(&along[from % depth]) {
                    *o += tap * v;
                }
            }
            let out = if whole { &mut clean[row * columns..(row + 1) * columns] } else { &mut *clean };
            let at = row * columns..(row + 1) * columns;
            for (((o, s), v), b) in out.iter_mut().zip(&sum).zip(&frame[at.clone()]).zip(&self.background[at])
            {
                // A dim pixel inside of a spot is lit, too.
                *o = if *s > self.threshold { v.saturating_sub(*b).max(1) } else { 0 };
            }
            told(row, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::reduce::{Cleaner, Settings, Worker};

    const SIDE: usize = 64;

    fn noise(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            let mut unit = || {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 40) as f64 / (1u64 << 24) as f64
            };
            (0..12).map(|_| unit()).sum::<f64>() - 6.0
        }
    }

    /// The lit pixels of a frame over a background of 100, and those of the frame mirrored at it.
    fn lit(frame: &[f64], settings: &Settings) -> [Vec<(u32, u32, u16)>; 2] {
        let cleaner = Cleaner::new(settings.clone(), &vec![100; SIDE * SIDE], SIDE);
        [1.0, -1.0].map(|sign| {
            let image: Vec<u16> = frame.iter().map(|v| (100.0 + sign * v).round().max(0.0) as u16).collect();
            cleaner.lit(&image, &mut Worker::default())
        })
    }

    #[test]
    fn weak_spots_are_found_at_as_few_false_pixels() {
        // Spots of 3 x 3 pixels of twice the noise; the negated frame says how many pixels are false.
        let (mut found, mut wrong) = ([0, 0], [0, 0]);
        let median = Settings { blanket: 20, radius: 1, min_pixels: 1, ..Settings::default() };
        let matched = Settings { blanket: 45, matched: Some(0.8), min_pixels: 1, ..Settings::default() };
        for seed in 0..20 {
            let mut normal = noise(seed + 3);
            let mut frame: Vec<f64> = (0..SIDE * SIDE).map(|_| 10.0 * normal()).collect();
            let middles: Vec<usize> = (1..6).flat_map(|r| (1..6).map(move |c| (r * SIDE + c) * 10)).collect();
            for at in &middles {
                (0..9).for_each(|k| frame[at + k / 3 * SIDE + k % 3 - SIDE - 1] += 20.0);
            }
            for (k, settings) in [&median, &matched].into_iter().enumerate() {
                let [spots, mirrored] = lit(&frame, settings);
                wrong[k] += mirrored.len();
                let near = |at: &&usize| spots.iter().any(|p| p.0 as usize * SIDE + p.1 as usize == **at);
                found[k] += middles.iter().filter(near).count();
            }
        }
        println!("of 500 spots {found:?} found, {wrong:?} false pixels, by median and matched filter");
        // 4.5 standard deviations leave 0.3 false pixels of 82,000; the spots stand 5.6 above the noise.
        assert!(wrong[1] <= wrong[0] + 4, "{wrong:?}");
        assert!(found[1] > found[0] + 75 && found[1] > 375, "{found:?}");
    }

    #[test]
    fn a_single_bright_pixel_lights_nothing_and_dim_ones_keep_their_counts() {
        let settings = Settings { blanket: 30, matched: Some(0.8), min_pixels: 1, ..Settings::default() };
        let mut frame = vec![0.0; SIDE * SIDE];
        frame[10 * SIDE + 10] = 5000.0;
        frame[0] = 5000.0;
        (0..9).for_each(|k| frame[(40 + k / 3) * SIDE + 40 + k % 3] = 25.0);
        let [spots, _] = lit(&frame, &settings);
        assert!(spots.iter().all(|p| (39..44).contains(&p.0) && (39..44).contains(&p.1)), "{spots:?}");
        assert!(spots.contains(&(41, 41, 25)), "{spots:?}");
    }
}
