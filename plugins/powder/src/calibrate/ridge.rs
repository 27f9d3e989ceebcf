//! Points of an image that lie on a bright ridge, with the direction across it.

use super::clean::Image;

/// A point on a ridge.
#[derive(Debug, Clone, Copy)]
pub struct Ridge {
    /// Row and column in pixels, whose integers are pixel edges.
    pub at: [f64; 2],
    /// Unit vector across the ridge.
    pub across: [f64; 2],
    /// Height of the ridge over its surroundings, in noise-equalised units.
    pub height: f64,
}

/// Images are binned until no edge is longer than this: the search needs no more.
const LONGEST: usize = 1024;
/// Most points returned.
const MOST: usize = 20_000;
/// A pixel counts where this share of its neighbourhood is valid: dead pixels may be there, module edges not.
const FILLED: f64 = 0.85;

/// The strongest ridge points of an image, in row order.
pub fn ridges(image: &Image) -> Vec<Ridge> {
    let [full_rows, full_cols] = image.shape;
    let bin = full_rows.max(full_cols).div_ceil(LONGEST);
    let (shape, value, valid) = equalise(image, bin);
    let [rows, cols] = shape;

    let filled = blur(&valid, shape, 1.5);
    let fine = ratio(&blur(&value, shape, 1.5), &filled);
    let wide = ratio(&blur(&value, shape, 5.0), &blur(&valid, shape, 5.0));

    // The structure tensor: products of the gradient, averaged over a neighbourhood.
    let mut tensor = [vec![0.0f32; rows * cols], vec![0.0; rows * cols], vec![0.0; rows * cols]];
    for row in 1..rows.saturating_sub(1) {
        for col in 1..cols.saturating_sub(1) {
            let i = row * cols + col;
            if [i, i - 1, i + 1, i - cols, i + cols].iter().any(|&j| f64::from(filled[j]) < FILLED) {
                continue;
            }
            let (g1, g2) = (fine[i + cols] - fine[i - cols], fine[i + 1] - fine[i - 1]);
            tensor[0][i] = g1 * g1;
            tensor[1][i] = g1 * g2;
            tensor[2][i] = g2 * g2;
        }
    }
    let [t11, t12, t22] = tensor.map(|t| blur(&t, shape, 2.0));

    let mut found: Vec<(f32, Ridge)> = Vec::new();
    for i in 0..rows * cols {
        let height = fine[i] - wide[i];
        if f64::from(filled[i]) < FILLED || height <= 0.0 {
            continue;
        }
        let (trace, split) = (t11[i] + t22[i], (t11[i] - t22[i]).hypot(2.0 * t12[i]));
        if trace <= 0.0 {
            continue;
        }
        // Lone spots have gradients in all directions: their coherence, and so their strength, is low.
        let strength = split * split / trace * height;
        let angle = 0.5 * (2.0 * t12[i]).atan2(t11[i] - t22[i]);
        let centre = |k: usize| (k as f64 + 0.5) * bin as f64;
        let ridge = Ridge {
            at: [centre(i / cols), centre(i % cols)],
            across: [f64::from(angle.cos()), f64::from(angle.sin())],
            height: f64::from(height),
        };
        found.push((strength, ridge));
    }
    if found.len() > MOST {
        found.select_nth_unstable_by(MOST, |p, q| q.0.total_cmp(&p.0));
        found.truncate(MOST);
        found.sort_by(|p, q| p.1.at[0].total_cmp(&q.1.at[0]).then(p.1.at[1].total_cmp(&q.1.at[1])));
    }
    found.into_iter().map(|f| f.1).collect()
}

// Bin, and take square roots, which give counts of any size the same noise; zero where nothing is valid.
fn equalise(image: &Image, bin: usize) -> ([usize; 2], Vec<f32>, Vec<f32>) {
    let shape = image.shape.map(|n| n / bin);
    let [rows, cols] = shape;
    let (mut value, mut valid) = (vec![0.0f32; rows * cols], vec![0.0f32; rows * cols]);
    for row in 0..rows {
        for col in 0..cols {
            let (mut sum, mut n) = (0.0, 0usize);
            for r in row * bin..(row + 1) * bin {
                for c in col * bin..(col + 1) * bin {
                    let i = r * image.shape[1] + c;
                    if image.weight[i] > 0.0 {
                        sum += (image.mean[i] * image.weight[i]).max(0.0);
                        n += 1;
                    }
                }
            }
            if 2 * n > bin * bin {
                value[row * cols + col] = (sum / n as f64 + 0.375).sqrt() as f32;
                valid[row * cols + col] = 1.0;
            }
        }
    }
    (shape, value, valid)
}

fn ratio(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| if *b > 1e-3 { a / b } else { 0.0 }).collect()
}

// Separable Gaussian; beyond the edges is nothing.
fn blur(image: &[f32], [rows, cols]: [usize; 2], sigma: f64) -> Vec<f32> {
    let reach = (2.5 * sigma).ceil() as usize;
    let mut kernel: Vec<f32> =
        (0..=2 * reach).map(|k| (-0.5 * ((k as f64 - reach as f64) / sigma).powi(2)).exp() as f32).collect();
    let total: f32 = kernel.iter().sum();
    kernel.iter_mut().for_each(|k| *k /= total);
    let mut down = vec![0.0f32; rows * cols];
    for row in 0..rows {
        let line = &mut down[row * cols..(row + 1) * cols];
        for (k, weight) in kernel.iter().enumerate() {
            let from = row + k;
            if from >= reach && from - reach < rows {
                let source = &image[(from - reach) * cols..(from - reach + 1) * cols];
                line.iter_mut().zip(source).for_each(|(o, s)| *o += weight * s);
            }
        }
    }
    let mut out = vec![0.0f32; rows * cols];
    let mut padded = vec![0.0f32; cols + 2 * reach];
    for (line, out) in down.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
        padded[reach..reach + cols].copy_from_slice(line);
        for (k, weight) in kernel.iter().enumerate() {
            out.iter_mut().zip(&padded[k..]).for_each(|(o, s)| *o += weight * s);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accumulate::Accumulator;

    #[test]
    fn a_circles_ridge_points_to_its_centre() {
        let centre = [40.3, 55.8];
        let mut frame = vec![0u32; 120 * 100];
        for (i, v) in frame.iter_mut().enumerate() {
            let at = [(i / 100) as f64 + 0.5, (i % 100) as f64 + 0.5];
            let r = (at[0] - centre[0]).hypot(at[1] - centre[1]);
            *v = 50 + (400.0 * (-0.5 * ((r - 30.0) / 1.2).powi(2)).exp()) as u32;
        }
        let mut acc = Accumulator::new([120, 100]);
        acc.add(&frame, None);
        let mut found = ridges(&Image::new(&acc));
        found.sort_by(|p, q| q.height.total_cmp(&p.height));
        for ridge in &found[..150] {
            let d = [ridge.at[0] - centre[0], ridge.at[1] - centre[1]];
            assert!((d[0].hypot(d[1]) - 30.0).abs() < 2.5);
            assert!((d[0] * ridge.across[1] - d[1] * ridge.across[0]).abs() < 1.0);
        }
    }
}
