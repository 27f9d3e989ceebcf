//! Each pixel replaced by the median of its neighbourhood.

use std::ops::Range;

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::frames::{Size, complex, cost, kept, known, mask_bytes};
use crate::pixel::Pixel;
use crate::simd::{Level, Middle, Rows, Scratch, any_missing, median_row};

/// The largest rectangle, along either axis.
const MOST: usize = 31;

/// Replaces each pixel by the median of the rectangle around it.
///
/// At the edges of the image its outermost pixels are repeated. A pixel that is marked in `mask` or is NaN does not
/// count in the rectangles of others, and becomes 0; of an even number of pixels that are left the mean of the middle
/// two is taken, in integers rounded to the nearest, halves up.
///
/// Changes neither order nor count of frames, nor dtype. Three by three takes about 0.25 ns a pixel of 16 bits with
/// 512-bit vectors, and 1 ns one of 32 bits; larger rectangles take time with the square of their pixels, and so do
/// pixels beside marked ones.
///
/// Source: sorting networks of minima and maxima, as in A. W. Paeth, Graphics Gems (1990) 171.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Median {
    /// Rows of the rectangle, an odd number; 1 is off.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 31), extend("x-unit" = "pixel"))]
    median_filter_y: usize,
    /// Columns of the rectangle, an odd number; 1 is off.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 31), extend("x-unit" = "pixel"))]
    median_filter_x: usize,
}

fn three() -> usize {
    3
}

/// The input of [`Median`].
#[derive(Ports)]
pub struct MedianIn {
    /// Images.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// Pixels that are left out and become 0: 0 is good.
    #[port(dtype = "number", fixed, axes = "y x")]
    mask: Option<Array>,
}

/// The output of [`Median`].
#[derive(Ports)]
pub struct MedianOut {
    /// Filtered images.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
}

impl Stage for Median {
    type In = MedianIn;
    type Out = MedianOut;

    fn example() -> Example {
        Example::new("").frames(
            "image",
            Array::of(&[2, 3, 3], &[1u16, 2, 3, 4, 900, 6, 7, 8, 9, 5, 5, 5, 5, 0, 7, 7, 7, 7])
                .expect("18 pixels"),
        )
    }

    fn check(&self, faults: &mut Faults) {
        let sizes = [("median_filter_y", self.median_filter_y), ("median_filter_x", self.median_filter_x)];
        for (name, size) in sizes {
            if size % 2 == 0 || size > MOST {
                faults.add_with_help(
                    name,
                    format!("found {size}, wanted an odd number from 1 to {MOST}"),
                    "only an odd number of pixels has a middle",
                );
            }
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        if let (Some((rows, columns)), Some(found)) = (known(input)?, input.get("mask").dims)
            && found != [rows, columns]
        {
            let text = format!("`mask` has shape {found:?}, the frames have [{rows}, {columns}]");
            return Err(Error::recipe(text).help("crop, bin or turn both the same way"));
        }
        Ok(kept(input))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = (self.median_filter_y * self.median_filter_x) as f64;
        cost(input, if pixels <= 9.0 { 0.5 } else { 0.02 * pixels * pixels }, 0)
    }
}

impl Map for Median {
    fn apply(&self, cx: &Cx, _: &Span, input: MedianIn) -> Result<MedianOut> {
        let size = Size::of(&input.image)?;
        let mask = input.mask.as_ref().map(|m| size.same("mask", m).and_then(|()| mask_bytes(m)));
        let mask = mask.transpose()?;
        let mut image = cx.array(input.image.dtype(), input.image.shape())?;
        dispatch!(input.image.dtype(), T => {
            let from = input.image.as_slice::<T>()?.chunks_exact(size.pixels().max(1));
            let to = image.as_slice_mut::<T>()?.chunks_exact_mut(size.pixels().max(1));
            let mut work = Filter::<T>::new(self, size);
            for (from, to) in from.zip(to) {
                cx.check()?;
                work.fast(from, mask.as_deref(), to);
                work.mend(from, mask.as_deref(), to);
            }
        }, complex => return complex());
        Ok(MedianOut { image: image.freeze() })
    }
}
declare!(Map, "image.median", Kind::Reducer, Median);

/// A pixel that is sorted as a whole number.
trait Keyed: Pixel + Middle {
    /// A whole number of the same order.
    type Key: Ord + Copy;
    fn key(self) -> Self::Key;
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Keyed for $t {
            type Key = $t;
            fn key(self) -> $t {
                self
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i8, i16, i32, i64);

macro_rules! floats {
    ($($t:ty, $key:ty, $sign:expr;)*) => {$(
        impl Keyed for $t {
            type Key = $key;
            // The bits of negative floats fall where the floats rise.
            fn key(self) -> $key {
                let bits = self.to_bits() as $key;
                bits ^ ((bits >> $sign) & <$key>::MAX)
            }
        }
    )*};
}
floats! { f32, i32, 31; f64, i64, 63; }

struct Filter<'a, T: Keyed> {
    median: &'a Median,
    size: Size,
    level: Level,
    scratch: Scratch<T>,
    /// The rows of the frame that have a marked pixel.
    marked: Vec<usize>,
}

impl<'a, T: Keyed> Filter<'a, T> {
    fn new(median: &'a Median, size: Size) -> Self {
        Filter { median, size, level: Level::best(), scratch: Scratch::default(), marked: vec![] }
    }

    /// Filters as if every pixel were good; notes the rows where one is not.
    fn fast(&mut self, from: &[T], mask: Option<&[u8]>, to: &mut [T]) {
        self.marked.clear();
        let (rows, columns) = (self.size.rows, self.size.columns);
        let (height, width) = (self.median.median_filter_y, self.median.median_filter_x);
        if rows * columns == 0 {
            return;
        }
        let half = (height / 2) as i64;
        let row = |r: i64| &from[r.clamp(0, rows as i64 - 1) as usize * columns..][..columns];
        let mut start = 0;
        while start < rows {
            let y = start as i64;
            let end = match rows - start > 1 && [height, width] == [3, 3] {
                true => start + 2,
                false => start + 1,
            };
            let (first, second) = to[start * columns..end * columns].split_at_mut(columns);
            let near = Rows { four: [-1, 0, 1, 2].map(|k| row(y + k)), ahead: [row(y + 3), row(y + 4)] };
            if end - start == 2 && T::two(self.level, &near, [&mut *first, &mut *second]) {
                self.look(start..end, from, mask);
                start = end;
                continue;
            }
            self.look(start..start + 1, from, mask);
            match height * width {
                1 => first.copy_from_slice(row(y)),
                _ => {
                    let near: Vec<&[T]> = (y - half..=y + half).map(row).collect();
                    median_row(self.level, &near, width, first, &mut self.scratch);
                }
            }
            start += 1;
        }
    }

    /// Notes which of some rows have a marked pixel.
    ///
    /// They are looked at while they are in the cache: most rows have no marked pixel, and whole rows are quick.
    fn look(&mut self, rows: Range<usize>, from: &[T], mask: Option<&[u8]>) {
        for y in rows {
            let line = y * self.size.columns..(y + 1) * self.size.columns;
            if any_missing(self.level, &from[line.clone()])
                || mask.is_some_and(|m| m[line].iter().any(|m| *m != 0))
            {
                self.marked.push(y);
            }
        }
    }

    /// Filters once more what has a marked pixel near.
    fn mend(&self, from: &[T], mask: Option<&[u8]>, to: &mut [T]) {
        let (rows, columns) = (self.size.rows, self.size.columns);
        let [up, left] = [self.median.median_filter_y / 2, self.median.median_filter_x / 2];
        let bad = |at: usize| from[at].missing() || mask.is_some_and(|m| m[at] != 0);
        let mut values = vec![];
        for &y in &self.marked {
            for x in (0..columns).filter(|x| bad(y * columns + x)) {
                for row in y.saturating_sub(up)..(y + up + 1).min(rows) {
                    for column in x.saturating_sub(left)..(x + left + 1).min(columns) {
                        let at = row * columns + column;
                        to[at] = match bad(at) {
                            true => T::exact(0.0).unwrap_or(T::MARK),
                            false => self.careful([row, column], &bad, from, &mut values),
                        };
                    }
                }
            }
        }
    }

    fn careful(
        &self,
        [y, x]: [usize; 2],
        bad: &impl Fn(usize) -> bool,
        from: &[T],
        values: &mut Vec<T>,
    ) -> T {
        let (rows, columns) = (self.size.rows as i64, self.size.columns as i64);
        let [up, left] = [self.median.median_filter_y, self.median.median_filter_x].map(|n| n as i64 / 2);
        values.clear();
        for row in y as i64 - up..=y as i64 + up {
            for column in x as i64 - left..=x as i64 + left {
                let at = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1);
                if !bad(at as usize) {
                    values.push(from[at as usize]);
                }
            }
        }
        values.sort_unstable_by_key(|v| v.key());
        let n = values.len();
        let (low, high) = (values[(n - 1) / 2], values[n / 2]);
        if low == high { low } else { T::mean(&[low, high]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{Dice, apply, array, numbers, tool};

    #[test]
    fn a_hand_made_image_and_its_edges() {
        // Rows of 1 2 3 / 4 900 6 / 7 8 9; the corner sees 1 1 2 1 1 2 4 4 900: sorted 1 1 1 1 2 2 4 4 900.
        let image = array(&[1, 3, 3], &[1u16, 2, 3, 4, 900, 6, 7, 8, 9]);
        let out = apply(&tool::<Median>("").unwrap(), Dict::new().with("image", image.clone())).unwrap();
        assert_eq!(numbers::<u16>(&out, "image"), [2, 3, 3, 4, 6, 6, 7, 8, 9]);
        // The centre marked: the corner sees 1 1 2 1 1 2 4 4, its middle two are 1 and 2: 1.5 goes up.
        let mask = array(&[3, 3], &[0u8, 0, 0, 0, 1, 0, 0, 0, 0]);
        let input = Dict::new().with("image", image).with("mask", mask);
        let out = numbers::<u16>(&apply(&tool::<Median>("").unwrap(), input).unwrap(), "image");
        assert_eq!((out[0], out[4]), (2, 0));
    }

    #[test]
    fn an_even_size_is_refused() {
        let found = tool::<Median>("median_filter_x = 4").unwrap();
        assert!(found.check()[0].message.starts_with("found 4, wanted an odd number"));
    }

    #[test]
    fn every_size_and_dtype_gives_the_middle_of_what_is_good() {
        let mut dice = Dice(4);
        for case in 0..60 {
            let (rows, columns) = (1 + dice.below(9) as usize, 1 + dice.below(70) as usize);
            let (height, width) = (1 + 2 * dice.below(4) as usize, 1 + 2 * dice.below(3) as usize);
            let pixels: Vec<f32> = (0..rows * columns)
                .map(|_| if dice.below(30) == 0 { f32::NAN } else { dice.below(50) as f32 - 25.0 })
                .collect();
            let mask: Vec<u8> = (0..rows * columns).map(|_| u8::from(dice.below(20) == 0)).collect();
            let set = format!("median_filter_y = {height}\nmedian_filter_x = {width}");
            let input =
                |image: Array| Dict::new().with("image", image).with("mask", array(&[rows, columns], &mask));
            let shape = [1, rows, columns];
            let filter = tool::<Median>(&set).unwrap();
            let found = apply(&filter, input(array(&shape, &pixels))).unwrap();
            let found = numbers::<f32>(&found, "image");
            let double: Vec<f64> = pixels.iter().map(|v| f64::from(*v)).collect();
            let twice = numbers::<f64>(&apply(&filter, input(array(&shape, &double))).unwrap(), "image");
            let bad = |y: usize, x: usize| pixels[y * columns + x].is_nan() || mask[y * columns + x] != 0;
            for y in 0..rows {
                for x in 0..columns {
                    let mut near = vec![];
                    for dy in 0..height {
                        for dx in 0..width {
                            let row = (y + dy).saturating_sub(height / 2).min(rows - 1);
                            let column = (x + dx).saturating_sub(width / 2).min(columns - 1);
                            if !bad(row, column) {
                                near.push(pixels[row * columns + column]);
                            }
                        }
                    }
                    near.sort_by(f32::total_cmp);
                    let n = near.len();
                    let wanted = match bad(y, x) {
                        true => 0.0,
                        false => (near[(n - 1) / 2] + near[n / 2]) / 2.0,
                    };
                    let at = y * columns + x;
                    assert_eq!((found[at], twice[at]), (wanted, f64::from(wanted)), "case {case}: {y}, {x}");
                }
            }
        }
    }
}
