//! Splitting by outlines: each pixel is a quadrilateral of radius and azimuth.

use std::f64::consts::PI;

use crate::axis::Axis;
use crate::camera::TURN;
use crate::matrix::Matrix;
use crate::split::Pixels;
use crate::split::strip::{Edge, Near, Strip};

/// A corner: radius, then azimuth.
type Point = [f64; 2];

impl Pixels<'_> {
    /// The corners of a pixel, those astride the cut brought to one side.
    ///
    /// The reference has corners that it brings beyond the cut at the end of a map, also of one that goes on there
    /// (`map`): so far that they are cut to it.
    #[inline(always)]
    fn outline(&self, row: usize, column: usize, map: bool) -> [Point; 4] {
        let corners = self.places.corners.as_ref().expect("outlines are made with corners");
        let mut points =
            corners.around(row, column).map(|at| [f64::from(corners.radial[at]), f64::from(corners.chi[at])]);
        // The half belongs to the first product alone: that is how the reference tells pixels astride the cut.
        let [a, b, c, d] = points;
        let area = 0.5 * (c[0] - a[0]) * (d[1] - b[1]) - (c[1] - a[1]) * (d[0] - b[0]);
        if (if self.mirrored { -area } else { area }) > 0.0 {
            self.recentre(&mut points, map);
        }
        points
    }

    #[cold]
    fn recentre(&self, points: &mut [Point; 4], map: bool) {
        let (below, top) = if self.cut_at_zero { (PI, TURN) } else { (0.0, PI) };
        let moved = points.map(|p| p[1] < below);
        points.iter_mut().zip(moved).filter(|(_, moved)| *moved).for_each(|(p, _)| p[1] += TURN);
        if points.iter().map(|p| p[1]).sum::<f64>() / 4.0 > top {
            points.iter_mut().for_each(|p| p[1] -= TURN);
        } else if map {
            points.iter_mut().zip(moved).filter(|(_, moved)| *moved).for_each(|(p, _)| p[1] += TURN);
        }
    }
}

/// Curves: the share of a bin is the area of the outline within it.
pub(super) fn lines(pixels: &Pixels, radial: &Axis) -> Matrix {
    let mut matrix = Matrix::new(radial.n, pixels.mask.len());
    let corners = pixels.places.corners.as_ref().expect("outlines are made with corners");
    let (mut areas, mut strip) = (vec![], Strip::new(pixels, radial));
    let top = radial.n as f64;
    for (row, masks) in pixels.mask.chunks_exact(pixels.columns).enumerate() {
        strip.fill(corners, row);
        for (column, mask) in masks.iter().enumerate() {
            if *mask == 0 {
                let Near { low, high, areas: near, twist } = strip.near(column);
                let bins = (high as usize).wrapping_sub(low as usize);
                let usual = twist <= 0.0 && low >= 0.0 && high < top && bins <= 2;
                match bins {
                    _ if !usual || pixels.sector.is_some() => {
                        line(pixels, radial, row, column, &mut areas, &mut matrix);
                    }
                    0 => matrix.put(low as usize, 1.0),
                    bins => put(&mut matrix, &near[..=bins], low as usize),
                }
            }
            matrix.close();
        }
    }
    matrix
}

/// Any outline at all.
#[inline(never)]
fn line(
    pixels: &Pixels,
    radial: &Axis,
    row: usize,
    column: usize,
    areas: &mut Vec<f64>,
    matrix: &mut Matrix,
) {
    let mut points = pixels.outline(row, column, false);
    if let Some([low, high]) = pixels.sector
        && (points.iter().all(|p| p[1] < low) || points.iter().all(|p| p[1] > high))
    {
        return;
    }
    points.iter_mut().for_each(|p| p[0] = radial.place(p[0]));
    let (low, high) = bounds(&points, 0);
    // An outline without a finite place (a logarithm at the beam) is in no bin.
    if high >= 0.0 && low < radial.n as f64 {
        let (first, last) = (low.max(0.0) as usize, (high as usize).min(radial.n - 1));
        if first == last {
            matrix.put(first, 1.0);
        } else {
            shares(&points, first, last, areas);
            put(matrix, areas, first);
        }
    }
}

/// Adds areas as shares of their sum.
#[inline(always)]
fn put(matrix: &mut Matrix, areas: &[f64], first: usize) {
    let sum: f64 = areas.iter().sum();
    if sum == 0.0 {
        // An outline without an area, as at a corner that is the beam: its first bin has it.
        return matrix.put(first, 1.0);
    }
    let part = 1.0 / sum;
    for (k, area) in areas.iter().enumerate() {
        if *area != 0.0 {
            matrix.put(first + k, area * part);
        }
    }
}

#[inline(always)]
fn bounds(points: &[Point], axis: usize) -> (f64, f64) {
    let low = points.iter().fold(f64::INFINITY, |l, p| l.min(p[axis]));
    (low, points.iter().fold(f64::NEG_INFINITY, |h, p| h.max(p[axis])))
}

/// The area of an outline within each bin from `first` to `last`, as the reference reckons it.
#[inline(always)]
fn shares(points: &[Point; 4], first: usize, last: usize, areas: &mut Vec<f64>) {
    let edges = [0, 1, 2, 3].map(|k| Edge::new(points[k], points[(k + 1) & 3]));
    let within = |bin: usize| edges.iter().fold(0.0, |area, edge| edge.onto(area, bin as f64));
    areas.clear();
    areas.extend((first..=last).map(within));
}

/// Maps: the share of a cell is the area of the outline within it, as the reference reckons it.
pub(super) fn cells(pixels: &Pixels, radial: &Axis, chi: &Axis) -> Matrix {
    let mut matrix = Matrix::new(radial.n * chi.n, pixels.mask.len());
    let mut found = Cells::default();
    for (row, masks) in pixels.mask.chunks_exact(pixels.columns).enumerate() {
        for (column, mask) in masks.iter().enumerate() {
            if *mask == 0 {
                let points = pixels.outline(row, column, true);
                found.put(&mut matrix, points, radial, chi);
            }
            matrix.close();
        }
    }
    matrix
}

/// The cells around one outline.
#[derive(Default)]
struct Cells {
    /// Areas, columns of cells first; in single precision, as the reference has them.
    areas: Vec<f32>,
    /// Cells in a column.
    high: usize,
}

impl Cells {
    fn put(&mut self, matrix: &mut Matrix, points: [Point; 4], radial: &Axis, chi: &Axis) {
        let (low, high) = bounds(&points, 0);
        let (from, to) = bounds(&points, 1);
        let outside = high < radial.lower || low > radial.end || to < chi.lower || from >= chi.upper();
        if outside || !(low.is_finite() && high.is_finite()) {
            return;
        }
        let points = points.map(|p| {
            let x = radial.place(p[0].clamp(radial.lower, radial.end));
            let y = chi.place(p[1].clamp(chi.lower, chi.end));
            [x.clamp(0.0, radial.n as f64), y.clamp(0.0, chi.n as f64)]
        });
        let span = |axis: usize, n: usize| {
            let (low, high) = bounds(&points, axis);
            ((low as usize).min(n - 1), (high as usize).min(n - 1))
        };
        let ((x0, x1), (y0, y1)) = (span(0, radial.n), span(1, chi.n));
        if x0 == x1 && y0 == y1 {
            return matrix.put(y0 * radial.n + x0, 1.0);
        }
        self.high = y1 - y0 + 1;
        self.areas.clear();
        self.areas.resize((x1 - x0 + 1) * self.high, 0.0);
        for k in 0..4 {
            let shift = |p: Point| [p[0] - x0 as f64, p[1] - y0 as f64];
            self.edge(shift(points[k]), shift(points[(k + 1) & 3]));
        }
        let sum: f64 = self.areas.iter().map(|area| f64::from(*area)).sum();
        if sum == 0.0 {
            return matrix.put(y0 * radial.n + x0, 1.0);
        }
        let part = 1.0 / sum;
        for (k, area) in self.areas.iter().enumerate().filter(|(_, area)| **area != 0.0) {
            let (x, y) = (x0 + k / self.high, y0 + k % self.high);
            matrix.put(y * radial.n + x, f64::from(*area) * part);
        }
    }

    /// Adds the area under an edge, column by column.
    ///
    /// Within a column the area fills the cells from below, each to its brim before the next. That is exact where the edge
    /// stays within one row of cells; where it crosses into the next it is what the reference does, and off by the
    /// triangle that is cut.
    fn edge(&mut self, from: Point, to: Point) {
        let [x0, y0] = from;
        let [x1, y1] = to;
        if x0 == x1 {
            return;
        }
        let slope = f64::from(((y1 - y0) / (x1 - x0)) as f32);
        let height = f64::from((y1 - slope * x1) as f32);
        let (mut at, right, sign) = if x0 < x1 { (x0, x1, 1.0) } else { (x1, x0, -1.0) };
        let mut column = at as usize;
        while at < right {
            let next = right.min((column + 1) as f64);
            let area = ((next - at) * (0.5 * slope * (at + next) + height)) as f32;
            let (mut width, mut rest) = ((next - at) as f32, area.abs());
            // An outline that ends on the last edge of the axis has a column of no width behind it.
            let Some(cells) = self.areas.get_mut(column * self.high..(column + 1) * self.high) else {
                return;
            };
            for cell in cells {
                let over = rest < width;
                width = width.min(rest);
                *cell += sign * width.copysign(area);
                rest -= width;
                if over || rest <= 0.0 {
                    break;
                }
            }
            at = next;
            column += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand: the square (0.5, 0) to (1.5, 1), turned by 45 degrees about its centre (1, 0.5): half on either side.
    // The same outline cut by hand: (8.00792, 2.29487) sticks out by a triangle of 2.77e-4 of the area.
    #[test]
    fn cells_by_hand() {
        let points = [
            [8.00791822, 2.2948712],
            [7.59313365, 2.11156535],
            [7.31667421, 2.390913],
            [7.73786764, 2.5705283],
        ];
        let axis = |n: usize| Axis { lower: 0.0, width: 1.0, n, end: n as f64 };
        let mut matrix = Matrix::new(400, 1);
        Cells::default().put(&mut matrix, points, &axis(40), &axis(10));
        matrix.close();
        let (bins, shares) = matrix.of(0);
        assert_eq!(bins, [87, 88]);
        assert!((shares[1] - 2.769e-4).abs() < 2e-7, "{shares:?}");
        let square = [[0.5, 0.5], [1.5, 0.5], [1.5, 1.5], [0.5, 1.5]];
        let mut matrix = Matrix::new(400, 1);
        Cells::default().put(&mut matrix, square, &axis(40), &axis(10));
        matrix.close();
        let (bins, shares) = matrix.of(0);
        assert_eq!((bins, shares), (&[0, 40, 1, 41][..], &[0.25; 4][..]));
    }

    #[test]
    fn areas_by_hand() {
        let (h, mut areas) = (0.5f64.sqrt(), vec![]);
        let diamond = [[1.0 - h, 0.5], [1.0, 0.5 + h], [1.0 + h, 0.5], [1.0, 0.5 - h]];
        shares(&diamond, 0, 1, &mut areas);
        assert!((areas[0] - 0.5).abs() < 1e-7 && (areas[1] - 0.5).abs() < 1e-7, "{areas:?}");
        // A triangle with its tip cut off at 1: 3/4 of its area lies beyond the middle of its height.
        let triangle = [[0.0, 0.0], [2.0, 1.0], [2.0, -1.0], [0.0, 0.0]];
        shares(&triangle, 0, 1, &mut areas);
        assert!((areas[0] / (areas[0] + areas[1]) - 0.25).abs() < 1e-7, "{areas:?}");
    }
}
