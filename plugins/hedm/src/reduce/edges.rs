//! The Laplacian of a Gaussian: blobs end where its response changes its sign.

use std::f64::consts::PI;

/// The scale of the whole-number kernel.
const SCALE: f64 = 79720.0;

/// A Laplacian of a Gaussian of one width.
#[derive(Clone, Debug)]
pub struct Edges {
    radius: usize,
    kernel: Vec<i64>,
}

impl Edges {
    /// The filter of a Gaussian of width `sigma` in a square of `2 radius + 1` pixels.
    pub fn new(sigma: f64, radius: usize) -> Edges {
        let side = 2 * radius + 1;
        let square = sigma * sigma;
        let kernel = (0..side * side).map(|k| {
            let [y, x] = [k / side, k % side].map(|v| v as f64 - radius as f64);
            let r = (x * x + y * y) / (2.0 * square);
            (SCALE * (-1.0 / (PI * square * square)) * (1.0 - r) * (-r).exp()).trunc() as i64
        });
        Edges { radius, kernel: kernel.collect() }
    }

    /// Marks the pixels that lie inside of a blob or on its edge.
    ///
    /// `lit` are the pixels of the image that are not zero. Only these and their neighbours have a response that
    /// matters, so each adds its kernel to a sparse response.
    pub(crate) fn mark(
        &self,
        lit: &[(u32, u32, u16)],
        image: &[u16],
        columns: usize,
        response: &mut Vec<i64>,
        inside: &mut [bool],
    ) {
        let (rows, radius, side) = (image.len() / columns, self.radius, 2 * self.radius + 1);
        response.resize(image.len(), 0);
        // The filter has no response within its radius of the border.
        let bounds = |at: u32, n: usize| {
            let at = at as usize;
            at.saturating_sub(radius).max(radius)..(at + radius + 1).min(n.saturating_sub(radius))
        };
        for (row, column, value) in lit {
            for r in bounds(*row, rows) {
                let down = (*row as usize + radius) - r;
                for c in bounds(*column, columns) {
                    let across = (*column as usize + radius) - c;
                    response[r * columns + c] += self.kernel[down * side + across] * i64::from(*value);
                }
            }
        }
        for ((row, column, _), mark) in lit.iter().zip(inside.iter_mut()) {
            let (r, c) = (*row as usize, *column as usize);
            let own = response[r * columns + c].signum();
            *mark |= own < 0 || {
                let near = (r.saturating_sub(1)..rows.min(r + 2))
                    .flat_map(|r| (c.saturating_sub(1)..columns.min(c + 2)).map(move |c| r * columns + c));
                near.into_iter().any(|at| response[at].signum() != own)
            };
        }
        for (row, column, _) in lit {
            for r in bounds(*row, rows) {
                let c = bounds(*column, columns);
                if c.start < c.end {
                    response[r * columns + c.start..r * columns + c.end].fill(0);
                }
            }
        }
    }
}
