//! What most outlines of a row of pixels come to, in wide registers: they touch one, two or three bins.

use crate::axis::Axis;
use crate::camera::Corners;
use crate::simd::{Work, widest};
use crate::split::Pixels;

/// A row of pixels.
pub(super) struct Strip {
    axis: Axis,
    /// Turned around for detectors that are mirrored once.
    sign: f64,
    /// Places of the corners above and below, in bins.
    top: Vec<f64>,
    bottom: Vec<f64>,
    /// The row that `bottom` is the upper edge of.
    next: Option<usize>,
    found: [Vec<f64>; 6],
}

/// One pixel of it.
pub(super) struct Near {
    /// Its smallest and largest place, in bins.
    pub(super) low: f64,
    pub(super) high: f64,
    /// The areas within its first, its second and its third bin.
    pub(super) areas: [f64; 3],
    /// Above zero if it is astride the cut.
    pub(super) twist: f64,
}

impl Strip {
    pub(super) fn new(pixels: &Pixels, axis: &Axis) -> Strip {
        let n = pixels.columns;
        Strip {
            axis: *axis,
            sign: if pixels.mirrored { -1.0 } else { 1.0 },
            top: vec![0.0; n + 1],
            bottom: vec![0.0; n + 1],
            next: None,
            found: std::array::from_fn(|_| vec![0.0; n]),
        }
    }

    /// Looks at a row.
    pub(super) fn fill(&mut self, corners: &Corners, row: usize) {
        let at = |row: usize| row * corners.width..(row + 1) * corners.width;
        if self.next == Some(row) {
            std::mem::swap(&mut self.top, &mut self.bottom);
        } else {
            widest(Placed { axis: self.axis, from: &corners.radial[at(row)], to: &mut self.top });
        }
        widest(Placed { axis: self.axis, from: &corners.radial[at(row + 1)], to: &mut self.bottom });
        self.next = Some(row + 1);
        widest(Outlines {
            radial: [&corners.radial[at(row)], &corners.radial[at(row + 1)]],
            chi: [&corners.chi[at(row)], &corners.chi[at(row + 1)]],
            places: [&self.top, &self.bottom],
            sign: self.sign,
            found: &mut self.found,
        });
    }

    #[inline(always)]
    pub(super) fn near(&self, column: usize) -> Near {
        let [low, high, one, two, three, twist] = [0, 1, 2, 3, 4, 5].map(|k| self.found[k][column]);
        Near { low, high, areas: [one, two, three], twist }
    }
}

struct Placed<'a> {
    axis: Axis,
    from: &'a [f32],
    to: &'a mut [f64],
}

impl Work for Placed<'_> {
    #[inline(always)]
    fn run(self) {
        self.to.iter_mut().zip(self.from).for_each(|(to, from)| *to = self.axis.place(f64::from(*from)));
    }
}

struct Outlines<'a> {
    radial: [&'a [f32]; 2],
    chi: [&'a [f32]; 2],
    places: [&'a [f64]; 2],
    sign: f64,
    found: &'a mut [Vec<f64>; 6],
}

impl Work for Outlines<'_> {
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "one index for sixteen slices")]
    fn run(self) {
        let [lows, highs, ones, twos, threes, twists] = self.found;
        let n = lows.len();
        // Slices of one length, so that no access in the loop is checked.
        let (lows, highs) = (&mut lows[..n], &mut highs[..n]);
        let (ones, twos) = (&mut ones[..n], &mut twos[..n]);
        let (threes, twists) = (&mut threes[..n], &mut twists[..n]);
        let (radial, chi) = (around(self.radial, n), around(self.chi, n));
        let places = around(self.places, n);
        for k in 0..n {
            // Spelled out: what is called here is not sure to be inlined, and then the loop is none of wide registers.
            let (ra, rb, rc, rd) = (radial[0][k], radial[1][k], radial[2][k], radial[3][k]);
            let (ra, rb, rc, rd) = (f64::from(ra), f64::from(rb), f64::from(rc), f64::from(rd));
            let (ta, tb, tc, td) = (chi[0][k], chi[1][k], chi[2][k], chi[3][k]);
            let (ta, tb, tc, td) = (f64::from(ta), f64::from(tb), f64::from(tc), f64::from(td));
            let (a, b, c, d) = (places[0][k], places[1][k], places[2][k], places[3][k]);
            // The half belongs to the first product alone, as in `Pixels::outline`.
            twists[k] = self.sign * (0.5 * (rc - ra) * (td - tb) - (tc - ta) * (rd - rb));
            let low = least(least(a, b), least(c, d));
            lows[k] = low;
            highs[k] = most(most(a, b), most(c, d));
            let (ab, bc) = (Edge::new([a, ta], [b, tb]), Edge::new([b, tb], [c, tc]));
            let (cd, da) = (Edge::new([c, tc], [d, td]), Edge::new([d, td], [a, ta]));
            let first = low.floor();
            ones[k] = da.onto(cd.onto(bc.onto(ab.onto(0.0, first), first), first), first);
            let second = first + 1.0;
            twos[k] = da.onto(cd.onto(bc.onto(ab.onto(0.0, second), second), second), second);
            let third = first + 2.0;
            threes[k] = da.onto(cd.onto(bc.onto(ab.onto(0.0, third), third), third), third);
        }
    }
}

/// The corners of each pixel in turn, of the edges above and below a row.
#[inline(always)]
fn around<V>([top, bottom]: [&[V]; 2], n: usize) -> [&[V]; 4] {
    [&top[..n], &bottom[..n], &bottom[1..=n], &top[1..=n]]
}

/// An edge of an outline.
pub(super) struct Edge {
    from: f64,
    to: f64,
    slope: f64,
    /// The height at place 0.
    height: f64,
}

impl Edge {
    #[inline(always)]
    pub(super) fn new(from: [f64; 2], to: [f64; 2]) -> Edge {
        let width = to[0] - from[0];
        let slope = (to[1] - from[1]) / width;
        let slope = if width == 0.0 { 0.0 } else { slope };
        Edge { from: from[0], to: to[0], slope, height: from[1] - slope * from[0] }
    }

    /// Adds the area under the part of it that is within a bin to an area.
    ///
    /// In single precision, edge after edge, as the reference does: heights are azimuths, so the areas of edges are some
    /// hundred times that of the outline, and what is lost is seen where a pixel outshines its ring.
    #[inline(always)]
    pub(super) fn onto(&self, area: f64, bin: f64) -> f64 {
        let end = bin + 1.0;
        let (from, to) = (most(least(self.from, end), bin), most(least(self.to, end), bin));
        f64::from((area + (to - from) * (0.5 * self.slope * (to + from) + self.height)) as f32)
    }
}

/// The larger of two numbers, the second if one is none.
#[inline(always)]
fn most(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// The smaller of two numbers, the second if one is none.
#[inline(always)]
fn least(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Known;

    // By hand: bins of width 1; the square (0.5, 0) to (1.5, -1) is half in bin 0 and half in bin 1, and the next one to the
    // right, up to 3.5, has halves in bins 1 and 3 and 1 in bin 2.
    #[test]
    fn areas_by_hand() {
        let corners = Corners {
            radial: vec![0.5, 1.5, 3.5, 0.5, 1.5, 3.5],
            chi: vec![0.0, 0.0, 0.0, -1.0, -1.0, -1.0],
            width: 3,
        };
        let none = Vec::new;
        let places =
            Known { centres: none(), azimuths: none(), extents: none(), spreads: none(), corners: None };
        let pixels = Pixels {
            places: &places,
            mask: &[0, 0],
            columns: 2,
            sector: None,
            cut_at_zero: false,
            mirrored: false,
            strict: false,
        };
        let axis = Axis { lower: 0.0, width: 1.0, n: 5, end: 5.0 };
        let mut strip = Strip::new(&pixels, &axis);
        strip.fill(&corners, 0);
        let found = |k: usize| {
            let Near { low, high, areas: [one, two, three], .. } = strip.near(k);
            [low, high, one.abs(), two.abs(), three.abs()]
        };
        assert_eq!(found(0), [0.5, 1.5, 0.5, 0.5, 0.0]);
        assert_eq!(found(1), [1.5, 3.5, 0.5, 1.0, 0.5]);
    }
}
