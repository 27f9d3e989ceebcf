//! The eight orientations of an image.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::crop::{Images, Recast};
use crate::frames::{Size, complex, cost, known};

/// Turns or mirrors every image into one of its eight orientations.
///
/// 0 to 3 turn anticlockwise by that many quarter turns, as seen with row 0 at the top; 4 to 7 first swap left and
/// right and then turn by 0 to 3 quarter turns. From an image of R rows and C columns, the pixel at row r and column c
/// of the result is: 0 `[r, c]`, 1 `[c, C-1-r]`, 2 `[R-1-r, C-1-c]`, 3 `[R-1-c, r]`, 4 `[r, C-1-c]`,
/// 5 `[c, r]` (transposed), 6 `[R-1-r, c]` (upside down), 7 `[R-1-c, C-1-r]`.
///
/// Changes neither order nor count of frames, nor dtype; odd orientations swap rows and columns. One copy.
///
/// Source: the same as `numpy.rot90(image, k)` for 0 to 3 and `numpy.rot90(numpy.fliplr(image), k - 4)` for 4 to 7.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Orient {
    /// The orientation, 0 (as it is) to 7.
    #[schemars(range(min = 0, max = 7))]
    orientation: u8,
}

/// How rows and columns of the result walk through the memory of an image.
struct Walk {
    start: isize,
    row: isize,
    column: isize,
}

impl Walk {
    fn new(orientation: u8, rows: usize, columns: usize) -> Walk {
        let (r, c) = (rows as isize, columns as isize);
        let last = r * c - 1;
        let (start, row, column) = match orientation {
            0 => (0, c, 1),
            1 => (c - 1, -1, c),
            2 => (last, -c, -1),
            3 => ((r - 1) * c, 1, -c),
            4 => (c - 1, c, -1),
            5 => (0, 1, c),
            6 => ((r - 1) * c, -c, 1),
            _ => (last, -1, -c),
        };
        Walk { start, row, column }
    }

    fn run<T: Copy>(&self, from: &[T], to: &mut [T], columns: usize) {
        if columns == 0 || to.is_empty() {
            return;
        }
        if self.column.abs() == 1 {
            for (row, to) in to.chunks_exact_mut(columns).enumerate() {
                let first = (self.start + row as isize * self.row) as usize;
                if self.column == 1 {
                    to.copy_from_slice(&from[first..first + columns]);
                } else {
                    let part = &from[first + 1 - columns..=first];
                    to.iter_mut().zip(part.iter().rev()).for_each(|(o, x)| *o = *x);
                }
            }
            return;
        }
        // A turned image reads down columns: square tiles keep the lines it reads in the cache until they are used up.
        const TILE: usize = 32;
        let rows = to.len() / columns;
        for top in (0..rows).step_by(TILE) {
            for left in (0..columns).step_by(TILE) {
                let right = (left + TILE).min(columns);
                for row in top..(top + TILE).min(rows) {
                    let mut at = self.start + row as isize * self.row + left as isize * self.column;
                    for o in &mut to[row * columns + left..row * columns + right] {
                        *o = from[at as usize];
                        at += self.column;
                    }
                }
            }
        }
    }
}

impl Orient {
    fn size(&self, rows: usize, columns: usize) -> [usize; 2] {
        if self.orientation % 2 == 1 { [columns, rows] } else { [rows, columns] }
    }
}

impl Stage for Orient {
    type In = Images;
    type Out = Recast;

    fn example() -> Example {
        Example::new("orientation = 1").frames(
            "image",
            Array::of(&[2, 2, 3], &[1u8, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]).expect("12 pixels"),
        )
    }

    fn check(&self, faults: &mut Faults) {
        if self.orientation > 7 {
            faults.add("orientation", format!("found {}, wanted 0 to 7", self.orientation));
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let dims = known(input)?.map(|(rows, columns)| self.size(rows, columns).to_vec());
        Ok(Shapes::default().with("image", Shape { dtype: input.get("image").dtype, dims }))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 0.8, 0)
    }
}

impl Map for Orient {
    fn apply(&self, cx: &Cx, _: &Span, input: Images) -> Result<Recast> {
        let size = Size::of(&input.image)?;
        if self.orientation == 0 {
            return Ok(Recast { image: input.image });
        }
        let [rows, columns] = self.size(size.rows, size.columns);
        let mut image = cx.array(input.image.dtype(), &[size.n, rows, columns])?;
        let walk = Walk::new(self.orientation, size.rows, size.columns);
        dispatch!(input.image.dtype(), T => {
            let (from, to) = (input.image.as_slice::<T>()?, image.as_slice_mut::<T>()?);
            let pixels = size.pixels().max(1);
            for (from, to) in from.chunks_exact(pixels).zip(to.chunks_exact_mut(pixels)) {
                walk.run(from, to, columns);
            }
        }, complex => return complex());
        Ok(Recast { image: image.freeze() })
    }
}
declare!(Map, "image.orient", Kind::Reducer, Orient);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{apply, array, numbers, tool};

    #[test]
    fn the_eight_orientations_are_those_of_numpy() {
        // numpy.rot90 and numpy.fliplr of [[1, 2, 3], [4, 5, 6]], numpy 2.
        let wanted = [
            [1, 2, 3, 4, 5, 6],
            [3, 6, 2, 5, 1, 4],
            [6, 5, 4, 3, 2, 1],
            [4, 1, 5, 2, 6, 3],
            [3, 2, 1, 6, 5, 4],
            [1, 4, 2, 5, 3, 6],
            [4, 5, 6, 1, 2, 3],
            [6, 3, 5, 2, 4, 1],
        ];
        for (k, wanted) in wanted.iter().enumerate() {
            let input = Dict::new().with("image", array(&[1, 2, 3], &[1i16, 2, 3, 4, 5, 6]));
            let out = apply(&tool::<Orient>(&format!("orientation = {k}")).unwrap(), input).unwrap();
            assert_eq!(numbers::<i16>(&out, "image"), wanted, "orientation {k}");
            let Some(Value::Array(image)) = out.get("image") else { panic!("an image") };
            assert_eq!(image.shape(), if k % 2 == 1 { [1, 3, 2] } else { [1, 2, 3] });
        }
    }

    #[test]
    fn large_images_follow_the_stated_formula() {
        let (rows, columns) = (67, 45);
        let pixels: Vec<u32> = (0..rows * columns).collect();
        let input = Dict::new().with("image", array(&[1, rows as usize, columns as usize], &pixels));
        for k in 0..8 {
            let out = apply(&tool::<Orient>(&format!("orientation = {k}")).unwrap(), input.clone()).unwrap();
            let wide = if k % 2 == 1 { rows } else { columns };
            for (at, found) in (0u32..).zip(numbers::<u32>(&out, "image")) {
                let (r, c) = (at / wide, at % wide);
                let (row, column) = match k {
                    0 => (r, c),
                    1 => (c, columns - 1 - r),
                    2 => (rows - 1 - r, columns - 1 - c),
                    3 => (rows - 1 - c, r),
                    4 => (r, columns - 1 - c),
                    5 => (c, r),
                    6 => (rows - 1 - r, c),
                    _ => (rows - 1 - c, columns - 1 - r),
                };
                assert_eq!(found, row * columns + column, "orientation {k} at {r}, {c}");
            }
        }
    }
}
