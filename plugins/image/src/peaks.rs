//! Connected peaks of each image, as a table.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::accumulate::FramesIn;
use crate::frames::{Size, complex, cost, mask_bytes};
use crate::label::{Component, Labels};
use crate::pixel::{Band, Pixel};

/// Finds connected peaks in every image and gives them as a table.
///
/// A peak is a connected set of pixels above `above`; equal is not above, and masked pixels and NaN are not either. Its
/// position is the mean of its pixels' positions weighted by their values, in pixels from the centre of pixel (0, 0).
/// Peaks of fewer than `min_pixels` or more than `max_pixels` are left out of the table and counted in `outside`.
/// Rows are sorted by frame, then by label; labels count from 1 in the order in which the first pixels of the kept
/// peaks stand in the image, row by row.
///
/// Changes neither order nor count of frames: each gives its rows of the table. One comparison a pixel, and some ten
/// operations for every pixel above the threshold.
///
/// Source: run-based union-find, L. He, Y. Chao, K. Suzuki, IEEE Trans. Image Process. 17 (2008) 749.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peaks {
    /// Pixels above this belong to peaks.
    ///
    /// It must not be negative, because positions are weighted by the values.
    #[schemars(range(min = 0), extend("x-unit" = "count"))]
    above: f64,
    /// Whether pixels that share only a corner are connected (8) or not (4).
    #[serde(default = "eight")]
    #[schemars(extend("enum" = [4, 8]))]
    connectivity: u8,
    /// Peaks of fewer pixels are left out.
    #[serde(default = "one")]
    #[schemars(range(min = 1), extend("x-unit" = "pixel"))]
    min_pixels: u32,
    /// Peaks of more pixels are left out; without it none is too large.
    #[serde(default)]
    #[schemars(range(min = 1), extend("x-unit" = "pixel"))]
    max_pixels: Option<u32>,
}

fn eight() -> u8 {
    8
}

fn one() -> u32 {
    1
}

/// The output of [`Peaks`].
#[derive(Ports)]
pub struct PeaksOut {
    /// One row for each peak.
    #[port(
        columns = "label: u32, row: f64 pixel, column: f64 pixel, pixels: u32 pixel, sum: f64 count, max: f64 count, row_min: u32 pixel, row_max: u32 pixel, column_min: u32 pixel, column_max: u32 pixel"
    )]
    peaks: Table,
    /// How many peaks the table has.
    #[port(dtype = "u32", axes = "")]
    count: Array,
    /// How many peaks were left out for their size.
    #[port(dtype = "u32", axes = "")]
    outside: Array,
}

impl Stage for Peaks {
    type In = FramesIn;
    type Out = PeaksOut;

    fn example() -> Example {
        #[rustfmt::skip]
        let pixels = [
            9u16, 0, 0, 0,
            0, 6, 0, 2,
            0, 0, 0, 8,

            0, 0, 0, 0,
            7, 7, 7, 0,
            0, 0, 0, 0,
        ];
        Example::new("above = 5").frames("image", Array::of(&[2, 3, 4], &pixels).expect("24 pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        if !(self.above.is_finite() && self.above >= 0.0) {
            faults.add_with_help(
                "above",
                format!("found {}, wanted 0 or more", self.above),
                "positions are weighted by the values, which must not be negative",
            );
        }
        if ![4, 8].contains(&self.connectivity) {
            faults.add("connectivity", format!("found {}, wanted 4 or 8", self.connectivity));
        }
        if self.max_pixels.is_some_and(|most| most < self.min_pixels) {
            faults.add(
                "max_pixels",
                format!("no peak has at least {} pixels and at most fewer", self.min_pixels),
            );
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let number = Shape::array(Dtype::U32, &[]);
        Ok(Shapes::default().with("count", number.clone()).with("outside", number))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        cost(input, 0.5, 0)
    }
}

impl Map for Peaks {
    fn apply(&self, cx: &Cx, span: &Span, input: FramesIn) -> Result<PeaksOut> {
        let size = Size::of(&input.image)?;
        if size.rows.max(size.columns) >= u32::MAX as usize || size.pixels() >= u32::MAX as usize {
            return Err(Error::data(format!(
                "images of {} x {} pixels are too large",
                size.rows, size.columns
            )));
        }
        let mask =
            input.mask.as_ref().map(|m| size.same("mask", m).and_then(|()| mask_bytes(m))).transpose()?;
        let mut rows = Rows::default();
        let (mut kept, mut outside) = (vec![], vec![]);
        let sizes = self.min_pixels..=self.max_pixels.unwrap_or(u32::MAX);
        let reach = u32::from(self.connectivity == 8);
        dispatch!(input.image.dtype(), T => {
            let from = input.image.as_slice::<T>()?;
            let lit = lit::<T>(self.above);
            let mut labels = Labels::default();
            for frame in 0..size.n {
                cx.check()?;
                let pixels = &from[frame * size.pixels()..(frame + 1) * size.pixels()];
                labels.find(pixels, mask.as_deref(), size.columns, lit, reach);
                let fit = labels.components.iter().filter(|c| sizes.contains(&c.pixels));
                let n = fit.zip(1..).map(|(c, label)| rows.add(span.start + frame as u64, label, c)).count();
                kept.push(n as u32);
                outside.push((labels.components.len() - n) as u32);
            }
        }, complex => return complex());
        Ok(PeaksOut {
            peaks: rows.table()?,
            count: Array::from_slice(&kept),
            outside: Array::from_slice(&outside),
        })
    }
}
declare!(Map, "image.peaks", Kind::Reducer, Peaks);

/// Whether a value is above a threshold; a NaN is not.
fn lit<T: Pixel>(above: f64) -> impl Fn(T) -> bool + Copy {
    let dark = Band::<T>::new(None, Some(above));
    move |x| !dark.has(x) & !x.missing()
}

/// The columns of the table.
#[derive(Default)]
struct Rows {
    records: Vec<u64>,
    label: Vec<u32>,
    row: Vec<f64>,
    column: Vec<f64>,
    pixels: Vec<u32>,
    sum: Vec<f64>,
    max: Vec<f64>,
    box_: [Vec<u32>; 4],
}

impl Rows {
    fn add(&mut self, record: u64, label: u32, peak: &Component) {
        self.records.push(record);
        self.label.push(label);
        self.row.push(peak.moments.0 / peak.sum);
        self.column.push(peak.moments.1 / peak.sum);
        self.pixels.push(peak.pixels);
        self.sum.push(peak.sum);
        self.max.push(peak.max);
        let (rows, columns) = (peak.rows, peak.columns);
        for (side, value) in self.box_.iter_mut().zip([rows.0, rows.1, columns.0, columns.1]) {
            side.push(value);
        }
    }

    fn table(&self) -> Result<Table> {
        Table::new(self.records.len())
            .with("label", &self.label)?
            .with("row", &self.row)?
            .with("column", &self.column)?
            .with("pixels", &self.pixels)?
            .with("sum", &self.sum)?
            .with("max", &self.max)?
            .with("row_min", &self.box_[0])?
            .with("row_max", &self.box_[1])?
            .with("column_min", &self.box_[2])?
            .with("column_max", &self.box_[3])?
            .with_records(&self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tester::{Dice, apply, array, numbers, tool};

    fn table(out: &Dict) -> Table {
        match out.get("peaks") {
            Some(Value::Table(table)) => table.clone(),
            other => panic!("`peaks` is {other:?}"),
        }
    }

    #[test]
    fn the_example_by_hand() {
        let out = apply(&tool::<Peaks>("above = 5").unwrap(), Peaks::example().frames).unwrap();
        let peaks = table(&out);
        assert_eq!(peaks.records(), [0, 0, 1]);
        assert_eq!(peaks.numbers::<u32>("label").unwrap(), [1, 2, 1]);
        // 9 at (0, 0) and 6 at (1, 1): both centroids 6 / 15.
        assert_eq!(peaks.numbers::<f64>("row").unwrap(), [0.4, 2.0, 1.0]);
        assert_eq!(peaks.numbers::<f64>("column").unwrap(), [0.4, 3.0, 1.0]);
        assert_eq!(peaks.numbers::<f64>("sum").unwrap(), [15.0, 8.0, 21.0]);
        assert_eq!(peaks.numbers::<f64>("max").unwrap(), [9.0, 8.0, 7.0]);
        assert_eq!(peaks.numbers::<u32>("row_max").unwrap(), [1, 2, 1]);
        assert_eq!(peaks.numbers::<u32>("column_min").unwrap(), [0, 3, 0]);
        assert_eq!(numbers::<u32>(&out, "count"), [2, 1]);
        let out =
            apply(&tool::<Peaks>("above = 5\nconnectivity = 4").unwrap(), Peaks::example().frames).unwrap();
        assert_eq!(numbers::<u32>(&out, "count"), [3, 1]);
    }

    #[test]
    fn peaks_of_the_wrong_size_are_counted_and_labels_have_no_holes() {
        let set = "above = 5\nmin_pixels = 1\nmax_pixels = 1\nconnectivity = 8";
        let out = apply(&tool::<Peaks>(set).unwrap(), Peaks::example().frames).unwrap();
        assert_eq!(
            (numbers::<u32>(&out, "count"), numbers::<u32>(&out, "outside")),
            (vec![1, 0], vec![1, 1])
        );
        assert_eq!(table(&out).numbers::<u32>("label").unwrap(), [1]);
    }

    #[test]
    fn masked_pixels_and_nan_part_a_peak() {
        let row = [9.0f32, f32::NAN, 9.0, 9.0, f32::INFINITY, 0.0];
        let input = Dict::new()
            .with("image", array(&[1, 1, 6], &row))
            .with("mask", array(&[1, 6], &[0u16, 0, 0, 7, 0, 0]));
        let out = apply(&tool::<Peaks>("above = 0").unwrap(), input).unwrap();
        assert_eq!(numbers::<u32>(&out, "count"), [3]);
    }

    #[test]
    fn nothing_above_gives_an_empty_table_with_its_columns() {
        let input = Dict::new().with("image", array(&[2, 1, 2], &[5u8, 5, 0, 1]));
        let out = apply(&tool::<Peaks>("above = 5").unwrap(), input).unwrap();
        assert_eq!((table(&out).rows(), table(&out).names().count()), (0, 10));
        assert_eq!(numbers::<u32>(&out, "count"), [0, 0]);
    }

    /// Pixels, sum and first pixel of each component, by flood fill.
    fn flood(frame: &[u16], columns: usize, above: u16, eight: bool) -> Vec<(u32, f64, u32, u32)> {
        let rows = frame.len() / columns;
        let mut seen = vec![false; frame.len()];
        let mut found = vec![];
        for first in 0..frame.len() {
            let (mut stack, mut pixels, mut sum) = (vec![first], 0, 0.0);
            let (mut left, mut bottom) = (u32::MAX, 0);
            while let Some(at) = stack.pop() {
                if seen[at] || frame[at] <= above {
                    continue;
                }
                seen[at] = true;
                pixels += 1;
                sum += f64::from(frame[at]);
                let (r, c) = (at / columns, at % columns);
                (left, bottom) = (left.min(c as u32), bottom.max(r as u32));
                for near in 0..rows * columns {
                    let (dr, dc) = ((near / columns).abs_diff(r), (near % columns).abs_diff(c));
                    if dr + dc == 1 || (eight && dr == 1 && dc == 1) {
                        stack.push(near);
                    }
                }
            }
            if pixels > 0 {
                found.push((pixels, sum, left, bottom));
            }
        }
        found
    }

    #[test]
    fn components_agree_with_a_flood_fill_on_random_frames() {
        let mut dice = Dice(11);
        for round in 0..60 {
            let (rows, columns) = (1 + dice.below(12) as usize, 1 + dice.below(90) as usize);
            let density = 1 + dice.below(9);
            let frame: Vec<u16> = (0..rows * columns)
                .map(|_| if dice.below(10) < density { dice.below(500) as u16 } else { 0 })
                .collect();
            for eight in [false, true] {
                let set = format!("above = 20\nconnectivity = {}", if eight { 8 } else { 4 });
                let input = Dict::new().with("image", array(&[1, rows, columns], &frame));
                let peaks = table(&apply(&tool::<Peaks>(&set).unwrap(), input).unwrap());
                let (pixels, sum) =
                    (peaks.numbers::<u32>("pixels").unwrap(), peaks.numbers::<f64>("sum").unwrap());
                let (left, bottom) =
                    (peaks.numbers::<u32>("column_min").unwrap(), peaks.numbers::<u32>("row_max").unwrap());
                let found: Vec<_> =
                    (0..peaks.rows()).map(|i| (pixels[i], sum[i], left[i], bottom[i])).collect();
                assert_eq!(found, flood(&frame, columns, 20, eight), "round {round}");
            }
        }
    }
}
