//! `dct.overview`: all spots in one picture, and how many there are along the scan.

use isard_core::prelude::*;

use super::spots::{Row, table};
use crate::segment::{Blob, Connectivity, Overlap, Plane, Rules, Segmenter};

/// Sums spots over the scan and counts them along it.
///
/// `sum` is the detector with the values of all spots summed over the frames, `count` the number of spots by the frame
/// of their maximum, `bins` of them over the scan.
///
/// Gives one record, revised while spots come. Some 1 ns a voxel; keeps a few pictures of doubles: `binning` makes them
/// smaller.
///
/// Source: sums and counts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overview {
    /// Rows and columns of the detector.
    #[schemars(extend("x-unit" = "pixel"))]
    shape: [usize; 2],
    /// Frames of the scan.
    #[schemars(range(min = 1), extend("x-unit" = "frame"))]
    frames: u64,
    /// Parts of the scan that spots are counted in.
    #[serde(default = "bins")]
    #[schemars(range(min = 1))]
    bins: usize,
    /// Rows, and columns, of the detector that make one of `sum`.
    #[serde(default = "one")]
    #[schemars(range(min = 1), extend("x-unit" = "pixel"))]
    binning: usize,
}

fn one() -> usize {
    1
}

fn bins() -> usize {
    360
}

/// The input of [`Overview`].
#[derive(Ports)]
pub struct OverviewIn {
    /// Spots of `dct.segment`.
    #[port(columns = "peak_frame: i64, row: i64, rows: i64, column: i64, columns: i64, frames: i64")]
    spots: Table,
}

/// The output of [`Overview`].
#[derive(Ports)]
pub struct OverviewOut {
    /// The values of all spots, summed over the frames.
    #[port(dtype = "f64", axes = "y x")]
    sum: Array,
    /// Spots by the frame of their maximum.
    #[port(dtype = "u64", axes = "bin")]
    count: Array,
    /// The number of spots.
    #[port(dtype = "u64", axes = "")]
    spots: Array,
}

/// What some spots come to.
pub struct Part {
    sum: Vec<f64>,
    count: Vec<u64>,
}

impl Stage for Overview {
    type In = OverviewIn;
    type Out = OverviewOut;

    fn example() -> Example {
        let spots = spots().and_then(|blobs| table(&blobs));
        Example::new("shape = [12, 14]\nframes = 20\nbins = 4")
            .frames("spots", spots.expect("four spots make a table"))
    }

    fn check(&self, faults: &mut Faults) {
        if self.bins == 0 {
            faults.add("bins", "found 0, wanted 1 or more");
        }
        if self.binning == 0 {
            faults.add("binning", "found 0, wanted 1 or more");
        }
        if self.frames == 0 {
            faults.add("frames", "found 0, wanted 1 or more");
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default()
            .with("sum", Shape::array(Dtype::F64, &self.binned()))
            .with("count", Shape::array(Dtype::U64, &[self.bins]))
            .with("spots", Shape::array(Dtype::U64, &[])))
    }

    fn cost(&self, _: &Shapes) -> Cost {
        // A sum for each level of the tree that merges the parts, and those under way.
        let [rows, columns] = self.binned().map(|n| n as u64);
        Cost { memory: 8 * 8 * rows * columns, ..Cost::default() }
    }
}

impl Reduce for Overview {
    type Part = Part;

    fn part(&self, _: &Cx) -> Result<Part> {
        Ok(Part { sum: vec![], count: vec![0; self.bins] })
    }

    fn add(&self, _: &Cx, part: &mut Part, _: &Span, input: OverviewIn) -> Result<()> {
        let [height, width] = self.shape;
        for spot in Row::all(&input.spots) {
            let frame = spot.whole("peak_frame")? as u64;
            let bin = (u128::from(frame) * self.bins as u128 / u128::from(self.frames)) as usize;
            let [frames, rows, columns] = spot.size()?;
            let (row, column) = (spot.whole("row")? as usize, spot.whole("column")? as usize);
            if bin >= self.bins || row + rows > height || column + columns > width {
                let text = format!(
                    "found a spot at frame {frame}, rows {row} to {}, columns {column} to {}, wanted {} frames of {height} x {width}",
                    row + rows - 1,
                    column + columns - 1,
                    self.frames
                );
                return Err(Error::recipe(text).help("give `shape` and `frames` of the scan"));
            }
            part.count[bin] += 1;
            let [_, wide] = self.binned();
            part.sum.resize(self.binned().iter().product(), 0.0);
            let (data, mask) = (spot.voxels::<f32>("data")?, spot.voxels::<u8>("mask")?);
            for k in (0..frames * rows * columns).filter(|k| mask[*k] != 0) {
                let (y, x) = (row + k / columns % rows, column + k % columns);
                part.sum[y / self.binning * wide + x / self.binning] += f64::from(data[k]);
            }
        }
        Ok(())
    }

    fn merge(&self, _: &Cx, part: &mut Part, later: Part) -> Result<()> {
        part.count.iter_mut().zip(&later.count).for_each(|(a, b)| *a += b);
        match part.sum.is_empty() {
            true => part.sum = later.sum,
            false => part.sum.iter_mut().zip(&later.sum).for_each(|(a, b)| *a += b),
        }
        Ok(())
    }

    fn peek(&self, cx: &Cx, part: &Part) -> Result<Option<OverviewOut>> {
        self.out(cx, part).map(Some)
    }

    fn finish(&self, cx: &Cx, part: Part) -> Result<OverviewOut> {
        self.out(cx, &part)
    }

    fn save(&self, part: &Part) -> Result<Dict> {
        Ok(Dict::new()
            .with("sum", Array::from_slice(&part.sum))
            .with("count", Array::from_slice(&part.count)))
    }

    fn load(&self, _: &Cx, state: Dict) -> Result<Part> {
        match (state.need("sum")?, state.need("count")?) {
            (Value::Array(sum), Value::Array(count)) => {
                Ok(Part { sum: sum.as_slice()?.to_vec(), count: count.as_slice()?.to_vec() })
            }
            _ => Err(Error::internal("an overview was saved as other values")),
        }
    }
}
declare!(Reduce, "dct.overview", Kind::Reducer, Overview);

impl Overview {
    /// Rows and columns of the sum; those at the end may stand for fewer.
    fn binned(&self) -> [usize; 2] {
        self.shape.map(|n| n.div_ceil(self.binning.max(1)))
    }

    fn out(&self, cx: &Cx, part: &Part) -> Result<OverviewOut> {
        let mut sum = cx.array(Dtype::F64, &self.binned())?;
        match part.sum.is_empty() {
            true => sum.as_slice_mut::<f64>()?.fill(0.0),
            false => sum.as_slice_mut::<f64>()?.copy_from_slice(&part.sum),
        }
        Ok(OverviewOut {
            sum: sum.freeze(),
            count: Array::from_slice(&part.count),
            spots: Array::of(&[], &[part.count.iter().sum::<u64>()])?,
        })
    }
}

/// Four spots on a small detector, for examples.
pub(super) fn spots() -> Result<Vec<Blob>> {
    let rules = Rules {
        threshold: 10.0,
        tolerance: 0.2,
        low: None,
        high: None,
        limit: [4, 5, 5],
        connectivity: Connectivity::Corners,
        overlap: Overlap::Suppress,
        least: 1,
        wrap: false,
        bridge: false,
        delay: None,
        dense: None,
    };
    let places = [(2, 3, 3, 60.0), (6, 8, 10, 400.0), (11, 4, 8, 90.0), (16, 7, 4, 250.0f32)];
    let mut segmenter = Segmenter::new(rules, [12, 14], None);
    let mut blobs = vec![];
    for z in 0..20i32 {
        let value = |y: i32, x: i32| -> f32 {
            let far = |a: i32, b: i32| ((a - b) * (a - b)) as f32;
            let spot = |(k, row, column, peak): (i32, i32, i32, f32)| {
                peak * (-0.4 * (far(z, k) + far(y, row) + far(x, column))).exp()
            };
            places.into_iter().map(spot).sum()
        };
        let pixels: Vec<f32> = (0..12 * 14).map(|p| value(p / 14, p % 14)).collect();
        let image = Array::of(&[12, 14], &pixels)?;
        let plane = Plane::of_image(z as u64, &image, segmenter.rules.floor(), None)?.with_pixels(image);
        blobs.extend(segmenter.push(plane)?);
    }
    blobs.extend(segmenter.finish(20)?);
    Ok(blobs)
}
