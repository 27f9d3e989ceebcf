//! The hexagonal grid of triangular voxels, and its masks.

use crate::model::Voxel;

/// Where the triangles of a row lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Triangles cover every point once.
    #[default]
    Tiling,
    /// As the MIDAS suite lays them: up and down are exchanged in the upper half.
    Midas,
}

/// A hexagonal grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// The radius of the circle inside the hexagon, micrometres.
    pub radius: f64,
    /// The edge of a lattice triangle, micrometres.
    pub size: f64,
    /// The edge of the triangle that is probed, micrometres.
    pub edge: f64,
    /// Where the triangles lie.
    pub layout: Layout,
}

/// Which voxels of a grid are kept.
#[derive(Clone, Debug)]
pub enum Mask {
    /// Those with x and y inside, bounds included: x from and to, y from and to.
    Rectangle([f64; 4]),
    /// Those whose pixel of a square picture is not zero.
    Picture {
        /// The pixels, row by row, the top row first.
        pixels: Vec<u8>,
        /// Pixels along an edge.
        side: usize,
        /// The edge of a pixel in micrometres.
        pixel: f64,
    },
}

impl Mask {
    /// Whether a voxel is kept.
    pub fn keeps(&self, voxel: &Voxel) -> bool {
        match self {
            Mask::Rectangle([x0, x1, y0, y1]) => {
                (*x0..=*x1).contains(&voxel.x) && (*y0..=*y1).contains(&voxel.y)
            }
            Mask::Picture { pixels, side, pixel } => {
                let half = *side as f64 / 2.0;
                let [column, up] = [voxel.x, voxel.y].map(|v| (v / pixel + half).floor());
                let row = *side as f64 - 1.0 - up;
                let inside = |v: f64| v >= 0.0 && v < *side as f64;
                inside(column) && inside(row) && pixels[row as usize * side + column as usize] != 0
            }
        }
    }
}

impl Grid {
    /// How many rows of triangles lie on either side of the middle.
    pub fn rows(&self) -> usize {
        ((2.0 * self.radius / 3f64.sqrt()) / self.size).ceil() as usize
    }

    /// The voxels, by rows of rising y.
    pub fn voxels(&self) -> Vec<Voxel> {
        let n = self.rows() as i64;
        let height = 0.5 * 3f64.sqrt() * self.size;
        let half = 0.5 * self.size;
        let reach = n as f64 * self.size;
        let mut out = Vec::with_capacity(6 * (n * n) as usize);
        let mut put = |x: f64, y: f64, up: bool| out.push(Voxel { x, y, edge: self.edge, up });
        for i in (-n..=n).filter(|i| *i != 0) {
            let (row, side) = (i.unsigned_abs() as f64, i.signum() as f64);
            let count = 2 * (2 * n - i.abs()) + 1;
            for j in 0..count {
                let along = -reach + row * half + j as f64 * half;
                match self.layout {
                    Layout::Midas => {
                        let start = if i < 0 { half } else { 0.0 };
                        // Rows below begin with a big entry, rows above with a small one.
                        let big = (j % 2 == 0) == (i < 0);
                        let drop = if big { 2.0 * height / 3.0 } else { height / 3.0 };
                        put(along + start, i as f64 * height - side * drop, !big);
                    }
                    Layout::Tiling => {
                        // A row spans from its line towards the middle; its outer triangles stand on the long side.
                        let outer = j % 2 == 0;
                        let drop = if outer { 2.0 * height / 3.0 } else { height / 3.0 };
                        put(along, i as f64 * height - side * drop, outer == (i > 0));
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

    fn covers(voxel: &Voxel, p: [f64; 2]) -> bool {
        let c = voxel.corners();
        let side = |a: [f64; 2], b: [f64; 2]| (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]);
        let signs = [side(c[0], c[1]), side(c[1], c[2]), side(c[2], c[0])];
        signs.iter().all(|s| *s > 0.0) || signs.iter().all(|s| *s < 0.0)
    }

    #[test]
    fn tiling_covers_every_point_once() {
        let grid = Grid { radius: 30.0, size: 5.0, edge: 5.0, layout: Layout::Tiling };
        let voxels = grid.voxels();
        assert_eq!(voxels.len(), 6 * grid.rows().pow(2));
        let (mut sum, mut low) = ([0.0; 2], [0.0f64; 2]);
        for v in &voxels {
            sum = [sum[0] + v.x, sum[1] + v.y];
            low = [low[0].min(v.x), low[1].min(v.y)];
        }
        assert!(sum[0].abs() < 1e-6 && sum[1].abs() < 1e-6, "the grid is not centred: {sum:?}");
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1u64 << 24) as f64 * 58.0 - 29.0
        };
        for _ in 0..2000 {
            let p = [random(), random()];
            let count = voxels.iter().filter(|v| covers(v, p)).count();
            assert!(p[0].hypot(p[1]) > 29.0 || count == 1, "{p:?} is covered {count} times");
        }
    }

    #[test]
    fn masks_keep_what_is_inside() {
        let at = |x, y| Voxel { x, y, edge: 1.0, up: true };
        let rectangle = Mask::Rectangle([-1.0, 2.0, 0.0, 1.0]);
        assert!(
            rectangle.keeps(&at(2.0, 0.0))
                && !rectangle.keeps(&at(2.1, 0.0))
                && !rectangle.keeps(&at(0.0, -0.1))
        );
        // A picture of 2 x 2 pixels of 10 micrometres, lit at the upper left: x < 0, y > 0.
        let picture = Mask::Picture { pixels: vec![1, 0, 0, 0], side: 2, pixel: 10.0 };
        assert!(
            picture.keeps(&at(-5.0, 5.0)) && !picture.keeps(&at(5.0, 5.0)) && !picture.keeps(&at(-5.0, -0.1))
        );
        assert!(!picture.keeps(&at(-10.1, 5.0)) && !picture.keeps(&at(-5.0, 10.1)));
    }
}
