//! Maps with holes, filled along rings, and read where pixels are.

use isard_core::error::Result;

use crate::camera::{Camera, TURN};
use crate::split::Shares;
use crate::unit::Unit;

/// Where each pixel stands on a map, in cells from the middle of the first.
pub(crate) struct Cake {
    at: Vec<[f32; 2]>,
    radial: usize,
    azimuthal: usize,
    /// The last azimuth is a neighbour of the first.
    closed: bool,
}

impl Cake {
    /// Looks the pixels of a camera up on a map.
    pub(crate) fn new(camera: &Camera, unit: &Unit, shares: &Shares) -> Result<Cake> {
        let chi = shares.azimuthal.unwrap_or(shares.radial);
        let pairs = camera.centres(unit)?.into_iter().zip(camera.azimuths());
        let at = pairs.map(|(r, a)| [shares.radial.place(r) as f32 - 0.5, chi.place(a) as f32 - 0.5]);
        Ok(Cake {
            at: at.collect(),
            radial: shares.radial.n,
            azimuthal: chi.n,
            closed: chi.width * (chi.n as f64 + 1.0) > TURN,
        })
    }

    /// Fills the cells of a map that are not valid: along the ring from its valid neighbours, each by its nearness, and
    /// where a ring has none along the radius. False if no cell is valid.
    pub(crate) fn fill(&self, map: &mut [f32], valid: &[bool]) -> bool {
        let mut rings = vec![false; self.radial];
        for (ring, some) in rings.iter_mut().enumerate() {
            *some = self.fill_ring(map, valid, ring);
        }
        let known: Vec<usize> = (0..self.radial).filter(|r| rings[*r]).collect();
        if known.is_empty() {
            return false;
        }
        for ring in (0..self.radial).filter(|r| !rings[*r]) {
            let next = known.partition_point(|k| *k < ring);
            // Before the first and behind the last known ring both are the same one.
            let (low, high) = (known[next.saturating_sub(1)], known[next.min(known.len() - 1)]);
            let part = if high > low { (ring - low) as f32 / (high - low) as f32 } else { 0.0 };
            for row in map.chunks_exact_mut(self.radial) {
                row[ring] = row[low] + part * (row[high] - row[low]);
            }
        }
        true
    }

    /// Fills a ring; false if none of it is valid.
    fn fill_ring(&self, map: &mut [f32], valid: &[bool], ring: usize) -> bool {
        let n = self.azimuthal;
        let known: Vec<usize> = (0..n).filter(|k| valid[k * self.radial + ring]).collect();
        let (Some(first), Some(last)) = (known.first().copied(), known.last().copied()) else { return false };
        for k in (0..n).filter(|k| !valid[k * self.radial + ring]) {
            let next = known.partition_point(|v| *v < k);
            let before = if next > 0 { Some((known[next - 1], k - known[next - 1])) } else { None };
            let after = known.get(next).map(|v| (*v, v - k));
            let around = (before.or_else(|| self.closed.then(|| (last, k + n - last))))
                .zip(after.or_else(|| self.closed.then(|| (first, first + n - k))));
            let value = |cell: usize| map[cell * self.radial + ring];
            map[k * self.radial + ring] = match (around, before, after) {
                (Some(((a, left), (b, right))), ..) => {
                    let part = left as f32 / (left + right) as f32;
                    value(a) + part * (value(b) - value(a))
                }
                (None, Some((a, _)), _) | (None, _, Some((a, _))) => value(a),
                (None, None, None) => continue,
            };
        }
        true
    }

    /// The value of a filled map at a pixel, a straight line between the middles of cells along both axes.
    pub(crate) fn value(&self, map: &[f32], pixel: usize) -> f32 {
        let [x, y] = self.at[pixel];
        let (x0, x1, part) = between(x, self.radial, false);
        let (y0, y1, up) = between(y, self.azimuthal, self.closed);
        let at = |row: usize, column: usize| map[row * self.radial + column];
        let low = at(y0, x0) + part * (at(y0, x1) - at(y0, x0));
        let high = at(y1, x0) + part * (at(y1, x1) - at(y1, x0));
        low + up * (high - low)
    }
}

/// The cells on either side of a place, and how far it is to the second.
fn between(place: f32, n: usize, closed: bool) -> (usize, usize, f32) {
    if closed {
        let place = place.rem_euclid(n as f32);
        let cell = (place as usize).min(n - 1);
        return (cell, (cell + 1) % n, place - cell as f32);
    }
    // A place without a number, of a logarithm at the beam, reads the first cell.
    let place = if place.is_nan() { 0.0 } else { place.clamp(0.0, (n - 1) as f32) };
    let cell = (place as usize).min(n.saturating_sub(2));
    (cell, (cell + 1).min(n - 1), place - cell as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cake(closed: bool, at: &[[f32; 2]]) -> Cake {
        Cake { at: at.to_vec(), radial: 3, azimuthal: 4, closed }
    }

    // By hand: one ring 0, 6, ?, ? closes over its end with 4 and 2; without a turn it keeps the last value.
    #[test]
    fn holes_are_filled_along_their_ring() {
        let valid: Vec<bool> = (0..12).map(|k| k % 3 == 0 && k < 6).collect();
        let mut map = [0.0, 9.0, 9.0, 6.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0];
        assert!(cake(true, &[]).fill(&mut map, &valid));
        let column = |map: &[f32], x: usize| (0..4).map(|y| map[y * 3 + x]).collect::<Vec<_>>();
        assert_eq!(column(&map, 0), [0.0, 6.0, 4.0, 2.0]);
        // Rings behind the last known one are like it.
        assert_eq!((column(&map, 1), column(&map, 2)), (column(&map, 0), column(&map, 0)));
        assert!(cake(false, &[]).fill(&mut map, &valid));
        assert_eq!(column(&map, 0), [0.0, 6.0, 6.0, 6.0]);
        assert!(!cake(true, &[]).fill(&mut map, &[false; 12]));
    }

    #[test]
    fn pixels_read_between_the_middles_of_cells() {
        let map: Vec<f32> = (0..12).map(|k| (k / 3 * 10 + k % 3) as f32).collect();
        let closed = cake(true, &[[0.5, 1.5], [-3.0, 3.5], [9.0, -0.5], [f32::NAN, 0.0]]);
        let found: Vec<f32> = (0..4).map(|p| closed.value(&map, p)).collect();
        // Between rows 1 and 2 and columns 0 and 1; between the last row and the first; as far out; at no radius.
        assert_eq!(found, [15.5, 15.0, 17.0, 0.0]);
        assert_eq!(cake(false, &[[1.0, 9.0]]).value(&map, 0), 31.0);
    }
}
