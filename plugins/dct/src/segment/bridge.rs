//! Narrow strips of invalid pixels that connect their two sides.

use super::plane::Area;

/// An invalid pixel and the valid ones on either side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Strut {
    row: u32,
    column: u32,
    /// The places left and right in the frame,
    across: Option<[u32; 2]>,
    /// and above and below.
    down: Option<[u32; 2]>,
}

/// The invalid pixels that connect, row by row.
///
/// A four-sensor camera has a cross of dead pixels between its sensors, which would cut spots in two. Such a pixel takes
/// part in no sum; it connects what lies on either side as far as both sides reach the threshold.
#[derive(Clone, Debug, Default)]
pub struct Bridges {
    struts: Vec<Strut>,
    columns: usize,
}

impl Bridges {
    /// The bridges over strips of at most so many pixels of a detector; `bad` says which are invalid.
    pub fn of(detector: [usize; 2], bad: &[bool], most: usize) -> Bridges {
        let [rows, columns] = detector;
        let is_bad = |row: i64, column: i64| {
            let inside = (0..rows as i64).contains(&row) && (0..columns as i64).contains(&column);
            inside.then(|| bad[row as usize * columns + column as usize])
        };
        // The first valid pixel in a direction, and how far it is.
        let side = |row: usize, column: usize, step: [i64; 2]| -> Option<(i64, u32)> {
            for far in 1..=most as i64 {
                let (y, x) = (row as i64 + far * step[0], column as i64 + far * step[1]);
                if !is_bad(y, x)? {
                    return Some((far, (y * columns as i64 + x) as u32));
                }
            }
            None
        };
        let both = |row, column, step: [i64; 2]| {
            let (a, b) = (side(row, column, step.map(|s| -s))?, side(row, column, step)?);
            (a.0 + b.0 <= most as i64 + 1).then_some([a.1, b.1])
        };
        let places = (0..rows * columns).filter(|at| bad[*at]).map(|at| (at / columns, at % columns));
        let struts = places.filter_map(|(row, column)| {
            let (across, down) = (both(row, column, [0, 1]), both(row, column, [1, 0]));
            let strut = Strut { row: row as u32, column: column as u32, across, down };
            (across.is_some() || down.is_some()).then_some(strut)
        });
        Bridges { struts: struts.collect(), columns }
    }

    /// The bridges of a frame that reach the floor, in order: row, column and how high both sides reach.
    pub(crate) fn lit(
        &self,
        pixel: impl Fn(usize) -> f32,
        floor: f32,
        exclude: Option<&Area>,
    ) -> Vec<(u32, u32, f32)> {
        let columns = self.columns.max(1);
        let out = |row: usize, column: usize| exclude.is_some_and(|e| e.has(row, column));
        let value = |at: usize| if out(at / columns, at % columns) { 0.0 } else { pixel(at) };
        // Of numbers the lower one, and nothing where one is none.
        let low = |sides: Option<[u32; 2]>| {
            let [a, b] = sides?.map(|at| value(at as usize));
            (a.is_finite() && b.is_finite()).then(|| a.min(b))
        };
        let lit = |s: &Strut| {
            let high = low(s.across).into_iter().chain(low(s.down)).reduce(f32::max)?;
            (high >= floor && !out(s.row as usize, s.column as usize)).then_some((s.row, s.column, high))
        };
        self.struts.iter().filter_map(lit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{Blob, Connectivity, Overlap, Plane, Rules, Segmenter};
    use isard_core::prelude::*;

    /// Six frames of a spot over a dead column, with a save and a load on the way.
    fn spots(most: usize, overlap: Overlap) -> Vec<Blob> {
        let rules = Rules {
            threshold: 50.0,
            tolerance: 0.3,
            low: None,
            high: None,
            limit: [4, 5, 5],
            connectivity: Connectivity::Faces,
            overlap,
            least: 1,
            wrap: false,
            bridge: false,
            delay: None,
            dense: None,
        };
        let detector = [7, 9];
        let bad: Vec<bool> = (0..63).map(|at| at % 9 == 4).collect();
        let bridges = Bridges::of(detector, &bad, most);
        let mut segmenter = Segmenter::new(rules.clone(), detector, None);
        let mut blobs = vec![];
        for z in 0..6i32 {
            let value = |at: i32| {
                let far = (z - 2) * (z - 2) + (at / 9 - 3) * (at / 9 - 3) + (at % 9 - 3) * (at % 9 - 3);
                if at % 9 == 4 { 0.0 } else { 400.0 * (-0.25 * far as f32).exp() }
            };
            let image = Array::of(&[7, 9], &(0..63).map(value).collect::<Vec<f32>>()).unwrap();
            let plane = Plane::of_bridged(z as u64, &image, rules.floor(), None, Some(&bridges)).unwrap();
            blobs.extend(segmenter.push(plane.with_pixels(image)).unwrap());
            let state = segmenter.save().unwrap();
            segmenter = Segmenter::new(rules.clone(), detector, None);
            segmenter.load(&state).unwrap();
        }
        blobs.extend(segmenter.finish(6).unwrap());
        blobs.sort_by_key(|b| b.origin[2]);
        blobs
    }

    #[test]
    fn a_spot_over_a_dead_column_is_one_spot() {
        for overlap in [Overlap::Keep, Overlap::Suppress, Overlap::Exclusive] {
            let [left, right] = &spots(0, overlap)[..] else { panic!("a dead column cuts the spot") };
            let [whole] = &spots(1, overlap)[..] else { panic!("the two sides are connected") };
            // The right side is weaker, so it reaches further down with a threshold of its own.
            assert!(left.voxels < whole.voxels && right.threshold < whole.threshold);
            assert_eq!((whole.seed.max, whole.seed.column, whole.threshold), (400.0, 3, left.threshold));
            // The dead column is no part of it: no voxel there, and the sum is that of both sides.
            let [_, rows, columns] = whole.size;
            assert_eq!((whole.origin[2], columns), (1, 5));
            let dead = (4 - whole.origin[2]) as usize;
            let on = |k: &usize| k % columns == dead && whole.mask[*k] != 0;
            assert_eq!((0..whole.size[0] * rows * columns).filter(on).count(), 0);
            assert_eq!(whole.seed.voxels, left.seed.voxels + right.seed.voxels);
            let reached = |b: &Blob| {
                let own = b.data.iter().zip(&b.mask).filter(|(v, m)| **m != 0 && **v >= whole.threshold);
                own.map(|(v, _)| f64::from(*v)).sum::<f64>()
            };
            assert_eq!(whole.integral, reached(left) + reached(right));
        }
    }

    #[test]
    fn strips_up_to_the_width_connect_their_sides() {
        // A column of two invalid pixels across, a hole at the edge, a single one.
        let rows = ["..##.", "..##.", "#.##.", "..##.", ".#..."];
        let bad: Vec<bool> = rows.iter().flat_map(|r| r.bytes().map(|b| b == b'#')).collect();
        let places = |most| -> Vec<(u32, u32)> {
            Bridges::of([5, 5], &bad, most).struts.iter().map(|s| (s.row, s.column)).collect()
        };
        assert_eq!(places(0), []);
        // One wide: the pixel at the left edge has rows above and below, the one at the bottom columns beside it.
        assert_eq!(places(1), [(2, 0), (4, 1)]);
        assert_eq!(places(2).len(), 2 + 8);
        let image: Vec<f32> = (0..25).map(|k| if bad[k] { 0.0 } else { k as f32 }).collect();
        let lit = Bridges::of([5, 5], &bad, 2).lit(|at| image[at], 10.0, None);
        // Row 2 goes from 11 to 14, row 3 from 16 to 19; (2, 0) is between 5 and 15, (4, 1) between 20 and 22.
        assert_eq!(lit, [(2, 2, 11.0), (2, 3, 11.0), (3, 2, 16.0), (3, 3, 16.0), (4, 1, 20.0)]);
        let exclude = Area { rows: [0, 3], columns: [0, 5] };
        assert_eq!(Bridges::of([5, 5], &bad, 2).lit(|at| image[at], 10.0, Some(&exclude)).len(), 3);
    }
}
