//! Fewer, larger pixels.

use std::ops::Add;

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::crop::Images;
use crate::frames::{Size, complex, cost, known};
use crate::pixel::Pixel;

/// What a large pixel is made of its small ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Method {
    /// Their sum.
    #[default]
    Sum,
    /// Their mean.
    Mean,
}

/// What becomes of rows and columns that do not fill a large pixel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Edge {
    /// They are an error.
    #[default]
    Error,
    /// The last ones are left out.
    Drop,
}

/// Joins blocks of pixels into one: their sum or their mean.
///
/// Sums of 8 and 16-bit integers are 32-bit, of 32 and 64-bit integers 64-bit, signed or unsigned like the image; sums
/// of floats keep their dtype. Means are f32 of 8 and 16-bit integers and of f32, and f64 of all others. A sum that
/// does not fit its dtype is an error. A NaN makes its whole block NaN, while the marked pixels of an integer image are
/// summed like others: bin such images before they are masked, or as floats.
///
/// Changes neither order nor count of frames; images get smaller. One addition a pixel.
///
/// Source: addition.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bin {
    /// Rows of a block.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 4096), extend("x-unit" = "pixel"))]
    rows: usize,
    /// Columns of a block.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 4096), extend("x-unit" = "pixel"))]
    columns: usize,
    /// What a block becomes.
    #[serde(default)]
    method: Method,
    /// What becomes of last rows and columns that do not fill a block.
    #[serde(default)]
    edge: Edge,
}

fn two() -> usize {
    2
}

/// The output of [`Bin`].
#[derive(Ports)]
pub struct BinOut {
    /// Binned images.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
}

impl Bin {
    /// The dtype of the result.
    fn dtype(&self, from: Dtype) -> Dtype {
        match (self.method, from) {
            (Method::Sum, Dtype::U8 | Dtype::U16) => Dtype::U32,
            (Method::Sum, Dtype::U32 | Dtype::U64) => Dtype::U64,
            (Method::Sum, Dtype::I8 | Dtype::I16) => Dtype::I32,
            (Method::Sum, Dtype::I32 | Dtype::I64) => Dtype::I64,
            (_, Dtype::F32) => Dtype::F32,
            (Method::Mean, Dtype::U8 | Dtype::U16 | Dtype::I8 | Dtype::I16) => Dtype::F32,
            _ => Dtype::F64,
        }
    }

    /// Rows and columns of the result.
    fn size(&self, rows: usize, columns: usize) -> Result<(usize, usize)> {
        let (left, right) = (rows % self.rows.max(1), columns % self.columns.max(1));
        if self.edge == Edge::Error && (left, right) != (0, 0) {
            return Err(Error::recipe(format!(
                "{rows} x {columns} pixels are not filled by blocks of {} x {}: {left} rows and {right} columns are left over",
                self.rows, self.columns
            ))
            .help("crop first, or set `edge = \"drop\"` to leave the last ones out"));
        }
        Ok((rows / self.rows.max(1), columns / self.columns.max(1)))
    }
}

impl Stage for Bin {
    type In = Images;
    type Out = BinOut;

    fn example() -> Example {
        let pixels: Vec<u16> = (0..20).collect();
        Example::new("rows = 2\ncolumns = 2\nedge = \"drop\"")
            .frames("image", Array::of(&[2, 2, 5], &pixels).expect("20 pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        for (name, value) in [("rows", self.rows), ("columns", self.columns)] {
            if value == 0 || value > 4096 {
                faults.add(name, format!("found blocks of {value}, wanted 1 to 4096"));
            }
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let dtype = input.get("image").dtype.map(|d| self.dtype(d));
        let dims = known(input)?.map(|(rows, columns)| self.size(rows, columns)).transpose()?;
        Ok(Shapes::default().with("image", Shape { dtype, dims: dims.map(|(r, c)| vec![r, c]) }))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 1.0, 0)
    }
}

impl Map for Bin {
    fn apply(&self, cx: &Cx, span: &Span, input: Images) -> Result<BinOut> {
        let size = Size::of(&input.image)?;
        let (rows, columns) = self.size(size.rows, size.columns)?;
        let from = input.image.dtype();
        let to = self.dtype(from);
        let mut image = cx.array(to, &[size.n, rows, columns])?;
        let blocks = Blocks { size, rows, columns, high: self.rows, wide: self.columns };
        let share = 1.0 / (self.rows * self.columns) as f64;
        let wide = from.size() == 8;
        let overflow = dispatch!(from, T => {
            let from = input.image.as_slice::<T>()?;
            let real = |x: T| x.float();
            // 2^24 pixels at most to a block, so 64 bits hold any sum of values of up to 32 bits.
            match (self.method, to) {
                (Method::Mean, Dtype::F32) => blocks.run(from, image.as_slice_mut()?, real, |s| Some((s * share) as f32)),
                (Method::Mean, _) => blocks.run(from, image.as_slice_mut()?, real, |s| Some(s * share)),
                (_, Dtype::F32) => blocks.run(from, image.as_slice_mut()?, real, |s| Some(s as f32)),
                (_, Dtype::F64) => blocks.run(from, image.as_slice_mut()?, real, Some),
                (_, Dtype::U32) => blocks.run(from, image.as_slice_mut()?, T::int, |s| u32::try_from(s).ok()),
                (_, Dtype::I32) => blocks.run(from, image.as_slice_mut()?, T::int, |s| i32::try_from(s).ok()),
                (_, Dtype::U64) if wide => blocks.run(from, image.as_slice_mut()?, T::wide, |s| u64::try_from(s).ok()),
                (_, Dtype::U64) => blocks.run(from, image.as_slice_mut()?, T::int, |s| u64::try_from(s).ok()),
                _ if wide => blocks.run(from, image.as_slice_mut()?, T::wide, |s| i64::try_from(s).ok()),
                _ => blocks.run(from, image.as_slice_mut()?, T::int, Some),
            }
        }, complex => return complex());
        if let Some(frame) = overflow {
            return Err(Error::data(format!(
                "the sum of a block of frame {} does not fit in {to}",
                span.start + frame as u64
            ))
            .help("use smaller blocks or `method = \"mean\"`"));
        }
        Ok(BinOut { image: image.freeze() })
    }
}
declare!(Map, "image.bin", Kind::Reducer, Bin);

struct Blocks {
    size: Size,
    rows: usize,
    columns: usize,
    high: usize,
    wide: usize,
}

impl Blocks {
    /// Fills the result; a frame where a sum did not fit is returned.
    fn run<T: Pixel, S: Copy + Default + Add<Output = S>, O: Element>(
        &self,
        from: &[T],
        to: &mut [O],
        value: impl Fn(T) -> S,
        end: impl Fn(S) -> Option<O>,
    ) -> Option<usize> {
        if to.is_empty() {
            return None;
        }
        // Rows first: whole rows are added in long loops, and only their sum is cut into blocks.
        let mut sums = vec![S::default(); self.columns * self.wide];
        for (at, to) in to.chunks_exact_mut(self.columns).enumerate() {
            let (frame, top) = (at / self.rows, at % self.rows * self.high);
            sums.fill(S::default());
            for row in top..top + self.high {
                let first = frame * self.size.pixels() + row * self.size.columns;
                let row = &from[first..first + sums.len()];
                sums.iter_mut().zip(row).for_each(|(s, x)| *s = *s + value(*x));
            }
            let mut over = false;
            for (block, out) in sums.chunks_exact(self.wide).zip(to) {
                match end(block.iter().fold(S::default(), |a, b| a + *b)) {
                    Some(x) => *out = x,
                    None => over = true,
                }
            }
            if over {
                return Some(frame);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{apply, array, numbers, tool};

    fn frames<T: Element>(pixels: &[T]) -> Dict {
        Dict::new().with("image", array(&[1, 2, pixels.len() / 2], pixels))
    }

    #[test]
    fn sums_widen_and_means_are_real() {
        // By hand.
        let input = frames(&[65535u16, 65535, 1, 2, 65535, 65535, 3, 5]);
        let out = apply(&tool::<Bin>("").unwrap(), input.clone()).unwrap();
        assert_eq!(numbers::<u32>(&out, "image"), [262_140, 11]);
        let out = apply(&tool::<Bin>("method = \"mean\"").unwrap(), input).unwrap();
        assert_eq!(numbers::<f32>(&out, "image"), [65535.0, 2.75]);
        let out = apply(&tool::<Bin>("").unwrap(), frames(&[i32::MIN; 4])).unwrap();
        assert_eq!(numbers::<i64>(&out, "image"), [4 * i64::from(i32::MIN)]);
        let out = apply(
            &tool::<Bin>("rows = 1\ncolumns = 3").unwrap(),
            frames(&[0.5f64, 1.0, f64::NAN, 1.0, 2.0, 4.0]),
        )
        .unwrap();
        let sums = numbers::<f64>(&out, "image");
        assert!(sums[0].is_nan() && sums[1] == 7.0);
    }

    #[test]
    fn rows_left_over_are_an_error_unless_dropped() {
        let pixels: Vec<u8> = (0..10).collect();
        let error = apply(&tool::<Bin>("").unwrap(), frames(&pixels)).unwrap_err();
        assert!(error.message().ends_with("0 rows and 1 columns are left over"), "{error}");
        let out = apply(&tool::<Bin>("edge = \"drop\"").unwrap(), frames(&pixels)).unwrap();
        assert_eq!(numbers::<u32>(&out, "image"), [1 + 5 + 6, 2 + 3 + 7 + 8]);
    }

    #[test]
    fn a_sum_beyond_64_bits_is_an_error() {
        for input in [frames(&[u64::MAX, 1, 0, 0]), frames(&[i64::MIN, -1, 0, 0])] {
            let error = apply(&tool::<Bin>("").unwrap(), input).unwrap_err();
            assert!(error.message().starts_with("the sum of a block of frame 0 does not fit in"), "{error}");
        }
        // Signed sums may go out of range on the way when they come back.
        let out = apply(&tool::<Bin>("").unwrap(), frames(&[i64::MAX, 1, -1, 0])).unwrap();
        assert_eq!(numbers::<i64>(&out, "image"), [i64::MAX]);
    }
}
