//! Triangles of voxels as runs of pixels along Z.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Rules, raster};

/// Pixels of one row: offset along Y, first offset along Z, and how many, at most 64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    pub y: i16,
    pub z: i16,
    pub len: u16,
}

/// Shapes of triangles that were met before, by their corners.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    known: HashMap<[i16; 4], Arc<[Run]>>,
}

impl Shapes {
    /// The runs of a triangle, relative to its first corner, and that corner in whole pixels.
    pub fn of(&mut self, corners: [[f64; 2]; 3], rules: Rules) -> (Arc<[Run]>, [i32; 2]) {
        let c = corners.map(|c| c.map(|x| x.round() as i32));
        let key =
            [c[1][0] - c[0][0], c[1][1] - c[0][1], c[2][0] - c[0][0], c[2][1] - c[0][1]].map(|x| x as i16);
        let runs = self.known.entry(key).or_insert_with(|| {
            let [a, b, d, e] = key.map(f64::from);
            let mut pixels = vec![];
            raster([[0.0, 0.0], [a, b], [d, e]], rules, &mut pixels);
            runs(pixels).into()
        });
        (runs.clone(), c[0])
    }
}

/// Pixels as runs along Z.
fn runs(mut pixels: Vec<[i32; 2]>) -> Vec<Run> {
    pixels.sort_unstable();
    let mut out: Vec<Run> = vec![];
    for [y, z] in pixels {
        match out.last_mut() {
            Some(run)
                if i32::from(run.y) == y && i32::from(run.z) + i32::from(run.len) == z && run.len < 64 =>
            {
                run.len += 1;
            }
            _ => out.push(Run { y: y as i16, z: z as i16, len: 1 }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_the_pixels_of_the_triangle() {
        let mut shapes = Shapes::default();
        let corners = [[3.2, 90.1], [-2.4, 7.7], [12.0, -3.0]];
        let mut wanted = vec![];
        raster(corners, Rules::Right, &mut wanted);
        let (runs, first) = shapes.of(corners, Rules::Right);
        let mut found: Vec<[i32; 2]> = runs
            .iter()
            .flat_map(|r| {
                (0..i32::from(r.len)).map(|k| [first[0] + i32::from(r.y), first[1] + i32::from(r.z) + k])
            })
            .collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
        assert!(runs.iter().all(|r| r.len <= 64) && runs.len() < wanted.len() / 4);
    }
}
