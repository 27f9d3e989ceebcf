//! `dct.segment`: spots in a stream of frames.

use std::path::Path;
use std::sync::Arc;

use isard_core::prelude::*;

use super::boxes::Box;
use super::frames::{bad, pixels, same, same_shape, size};
use super::full;
use super::spots::table;
use super::threshold::{Threshold, sigma};
use crate::segment::{Area, Blob, Bridges, Connectivity, Overlap, Plane, Rules, Segmenter, Spill};

mod known;

/// What a missing frame does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Break {
    /// It parts what it cuts.
    #[default]
    Split,
    /// It is passed over: the frames beside it are neighbours.
    Bridge,
}

/// Finds spots by a double threshold in frames, rows and columns.
///
/// Connected voxels above `threshold` make a region. Its spot is what is connected to its maximum and reaches
/// `tolerance` times that maximum, within `bb_max` voxels of it: bright spots do not swell into their halo, and weak
/// ones are not lost. Where spots meet, `overlap` says who takes what, the brightest first, and of equals the first in
/// frames, rows and columns. A jump of `omega` by more than one and a half steps parts what it cuts (but for the seam of
/// a ring), whatever `gap`
/// says. Voxels are compared as 32-bit floats; NaN belongs to nothing. A threshold in `sigma` is that of the first frame
/// that comes, its median absolute deviation times 1.4826; the log states what it comes to.
///
/// Gives spots as records of their own, each once it is decided: usually `bb_max` frames after its maximum, with
/// `wrap` those near the ends of the scan at its end; the answer is that of the whole scan at once, unless `max_delay`
/// is given. It keeps the frames within `bb_max` of the newest, and of older ones what spots need that may still grow,
/// with `wrap` the first `bb_max` frames too; differences of 16 bits at a byte a pixel. A spot that is whole keeps its own
/// voxels while it waits; with `exclusive`, where others may take some of them, its box in its frames. Nearly empty detectors come quicker as a table of lit pixels at `pixels`. About 0.5 ns a pixel, and some 50 ns
/// a voxel above the floor `tolerance` times `threshold`: keep that above three standard deviations of the background.
///
/// Spots are found here, not put together by grain: that is left to what comes behind.
///
/// Source: double threshold of the DCT pipeline, P. Reischig et al., J. Appl. Cryst. 46 (2013) 297; union-find over runs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Seeds are voxels above this: a number, or a text such as `6 sigma`.
    #[schemars(extend("x-unit" = "count"))]
    threshold: Threshold,
    /// A spot is what reaches this share of its maximum.
    #[serde(default = "tolerance")]
    #[schemars(range(min = 0, max = 1))]
    tolerance: f64,
    /// The threshold of a spot is never lower than this.
    ///
    /// A number, or a text such as `3 sigma`.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    t_low: Option<Threshold>,
    /// The threshold of a spot is never higher than this, unless `t_low` is.
    #[serde(default)]
    #[schemars(extend("x-unit" = "count"))]
    t_high: Option<f64>,
    /// The largest spot expected: frames, rows, columns.
    #[serde(default = "bb_max")]
    #[schemars(extend("x-unit" = "pixel"))]
    bb_max: [usize; 3],
    /// Neighbours of a voxel: 6 share a face, 18 an edge too, 26 a corner too.
    #[serde(default = "corners")]
    #[schemars(extend("enum" = [6, 18, 26]))]
    connectivity: u8,
    /// Whether the last frame is followed by the first: a full turn.
    #[serde(default)]
    wrap: bool,
    /// What happens where spots meet.
    #[serde(default)]
    overlap: Overlap,
    /// What a missing frame does.
    #[serde(default)]
    gap: Break,
    /// Regions of fewer voxels above the threshold are dropped.
    #[serde(default = "one")]
    #[schemars(range(min = 1), extend("x-unit" = "pixel"))]
    min_seed_voxels: u64,
    /// Smaller spots are left out: frames, rows, columns.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    min_blob_size: [usize; 3],
    /// Larger spots are left out: frames, rows, columns.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    max_blob_size: Option<[usize; 3]>,
    /// Whether spots larger than `bb_max`, which may be cut, are left out.
    #[serde(default)]
    drop_oversize: bool,
    /// Whether spots at the edge of the detector or an end of the scan are left out.
    #[serde(default)]
    drop_edge: bool,
    /// The direct beam: pixels in it count as 0.
    #[serde(default)]
    exclude_box: Option<Box>,
    /// Strips of invalid pixels up to this width connect their two sides; 0 is off.
    ///
    /// For the cross between the sensors of a camera, which cuts spots in two. It wants the invalid pixels at `mask`.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    bridge_mask: usize,
    /// A spot is decided so many frames after its maximum at the latest.
    ///
    /// It is then marked as provisional: for feedback while a scan runs. Without it every spot waits for all that could change it.
    #[serde(default)]
    #[schemars(extend("x-unit" = "frame"))]
    max_delay: Option<usize>,
    /// Frames that are kept in memory with all their pixels at most.
    ///
    /// Spots that need more read them back from `dense_folder`, or without one have `Data` like `DataMasked`.
    #[serde(default)]
    #[schemars(extend("x-unit" = "frame"))]
    dense_frames_max: Option<usize>,
    /// A folder on a quick disk for frames that are more than `dense_frames_max`.
    ///
    /// They stand there in a file without a name, which goes with the run, however it ends.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    dense_folder: Option<String>,
    /// Rows and columns of the detector, for frames that come as lit pixels.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    shape: Option<[usize; 2]>,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

fn tolerance() -> f64 {
    0.2
}
fn bb_max() -> [usize; 3] {
    [20, 150, 150]
}
fn corners() -> u8 {
    26
}
fn one() -> u64 {
    1
}

#[derive(Default)]
struct State {
    segmenter: Option<Segmenter>,
    /// A state that waits for the first frame, which tells the size of the detector.
    saved: Option<Dict>,
    /// The numbers heard of go up to here.
    end: u64,
    /// The standard deviation of the first frame, where a threshold is relative to it.
    sigma: Option<f64>,
    /// Whether the floor was held against the noise of a frame.
    looked: bool,
    /// What connects over invalid pixels, once they are known.
    bridges: Option<Arc<Bridges>>,
    /// How many frames the window of the background covers, where known.
    covered: Option<u32>,
    /// Spots that are longer than half of that, and the longest of them.
    long: [u64; 2],
}

/// The input of [`Segment`].
#[derive(Ports)]
pub struct SegmentIn {
    /// Frames less their background.
    #[port(dtype = "number", axes = "y x")]
    image: Option<Array>,
    /// Lit pixels of the frames, all others being 0, in place of `image`.
    #[port(columns = "row: u32, column: u32, value: f32")]
    pixels: Option<Table>,
    /// The angle of each frame.
    #[port(dtype = "number", axes = "", unit = "degree")]
    omega: Option<Array>,
    /// Saturated pixels, which are counted in each spot.
    ///
    /// As `dct.background` and `dct.offset` give them.
    #[port(columns = "row: u32, from: u32, to: u32")]
    full: Option<Table>,
    /// How many frames the window of the background covers.
    ///
    /// `dct.background` gives it. Spots longer than half of it are flagged and stated.
    #[port(dtype = "u32", axes = "", unit = "frame")]
    covered: Option<Array>,
    /// Invalid pixels, for `bridge_mask`: 0 is good.
    #[port(dtype = "number", fixed, axes = "y x")]
    mask: Option<Array>,
}

/// The output of [`Segment`].
#[derive(Ports)]
pub struct SegmentOut {
    /// Spots, each with its box, sums, centroid in the box, and voxels.
    ///
    /// `flags` is a sum of 1 (at an edge), 2 (larger than `bb_max`), 4 (over the seam), 8 (no values outside the mask), 16
    /// (provisional) and 32 (too long for the background); `saturated_voxels` is -1 without `full`.
    #[port(
        columns = "first_frame: i64, last_frame: i64, frames: i64, row: i64, rows: i64, column: i64, columns: i64, voxels: i64, area: i64, peak_frame: i64, peak_row: i64, peak_column: i64, saturated_voxels: i64, flags: i64, integral: f64 count, centroid_frame: f64, centroid_row: f64, centroid_column: f64, omega: f64 degree, peak: f64 count, threshold: f64 count"
    )]
    spots: Table,
}

impl Stage for Segment {
    type In = SegmentIn;
    type Out = SegmentOut;

    fn example() -> Example {
        // Two spots that touch, one of them over the seam of the ring, and a pixel that is always lit.
        let pixel = |k: i32, y: i32, x: i32| {
            let spot = |z: i32, row: i32, column: i32, peak: f32| {
                let turn = (k - z).rem_euclid(16).min((z - k).rem_euclid(16));
                let far = turn * turn + (y - row) * (y - row) + (x - column) * (x - column);
                peak * (-0.35 * far as f32).exp()
            };
            let hot = if (y, x) == (0, 9) { 30.0 } else { 0.0 };
            spot(0, 3, 3, 200.0) + spot(7, 4, 6, 900.0) + spot(9, 6, 7, 80.0) + hot
        };
        let all = (0..16).flat_map(|k| (0..8).flat_map(move |y| (0..10).map(move |x| (k, y, x))));
        let pixels: Vec<f32> = all.map(|(k, y, x)| pixel(k, y, x)).collect();
        let image = Array::of(&[16, 8, 10], &pixels).expect("16 frames of 8 x 10");
        Example::new("threshold = 20\nbb_max = [3, 4, 4]\nwrap = true").frames("image", image)
    }

    fn check(&self, faults: &mut Faults) {
        self.threshold.check("threshold", faults);
        if let Some(low) = &self.t_low {
            low.check("t_low", faults);
        }
        if !(0.0..=1.0).contains(&self.tolerance) {
            faults.add("tolerance", format!("found {}, wanted 0 to 1", self.tolerance));
        }
        if Connectivity::of(self.connectivity).is_none() {
            faults.add("connectivity", format!("found {}, wanted 6, 18 or 26", self.connectivity));
        }
        if let (Some(Threshold::Counts(low)), Some(high)) = (&self.t_low, self.t_high)
            && *low > high
        {
            faults.add_with_help(
                "t_low",
                format!("found {low} above `t_high` = {high}"),
                "`t_high` is the larger of the two",
            );
        }
        if let Some(largest) = self.max_blob_size
            && (0..3).any(|k| largest[k] < self.min_blob_size[k])
        {
            let least = self.min_blob_size;
            faults.add("max_blob_size", format!("found {largest:?} below `min_blob_size` = {least:?}"));
        }
        if let Some(exclude) = self.exclude_box {
            exclude.check("exclude_box", faults);
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        same_shape("mask", input)?;
        if self.bridge_mask > 0 && input.has("image") && !input.has("mask") {
            let error = Error::recipe("`bridge_mask` has no `mask` that says which pixels are invalid");
            return Err(error.help("wire `mask` to the image of invalid pixels, or leave out `bridge_mask`"));
        }
        if let Some(&[rows, columns]) = input.get("image").dims.as_deref()
            && let Some(exclude) = self.exclude_box
        {
            exclude.within("exclude_box", rows, columns)?;
        }
        Ok(Shapes::default())
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let (pixels, size) = (pixels(input), input.get("image").dtype.map_or(4, Dtype::size) as u64);
        let frames = self.bb_max[0] * if self.wrap { 2 } else { 1 } + 2;
        let frames = frames.min(self.dense_frames_max.unwrap_or(frames)) as u64;
        // Differences of 16 bits are kept as bytes; they alone have a dtype that is not known before the run.
        let size = if input.get("image").dtype.is_none_or(|d| d == Dtype::I16) { 1 } else { size };
        Cost { memory: frames * pixels * size, seconds_per_record: 0.5e-9 * pixels as f64, ..Cost::default() }
    }
}

impl Fold for Segment {
    fn lag(&self) -> Lag {
        Lag::Merged { axis: "spot" }
    }

    fn push(&mut self, cx: &Cx, span: &Span, input: SegmentIn, emit: &mut Emit<SegmentOut>) -> Result<()> {
        let detector = match (&input.image, &input.pixels, self.shape) {
            (Some(image), None, _) => {
                let [_, rows, columns] = size(image)?;
                [rows, columns]
            }
            (None, Some(_), Some(shape)) => shape,
            (None, Some(_), None) => {
                let error = Error::recipe("lit pixels do not tell the size of the detector");
                return Err(error.help("give `shape = [rows, columns]`"));
            }
            (Some(_), Some(_), _) => {
                return Err(Error::recipe("found both `image` and `pixels`, wanted one of them"));
            }
            (None, None, _) => {
                let error = Error::recipe("found neither `image` nor `pixels`");
                return Err(error.help("wire `image` to frames less their background"));
            }
        };
        let end = self.state.end;
        self.weigh(&input)?;
        self.look(&input)?;
        self.know(&input, detector)?;
        let bridges = self.state.bridges.clone();
        let segmenter = self.begin(detector)?;
        segmenter.missing_until(end);
        let floor = segmenter.rules.floor();
        let exclude = segmenter.exclude;
        let omega = input.omega.as_ref().map(Array::to_f64).transpose()?;
        let mut blobs = vec![];
        for k in 0..span.len as usize {
            cx.check()?;
            let number = span.start + k as u64;
            let mut plane = match (&input.image, &input.pixels) {
                (Some(image), _) => {
                    let frame = image.record(k)?;
                    let (exclude, bridges) = (exclude.as_ref(), bridges.as_deref());
                    let plane = Plane::of_bridged(number, &frame, floor, exclude, bridges)?;
                    plane.with_bytes(frame, exclude, cx.pool())?
                }
                (_, Some(pixels)) => {
                    let lit = lit(&pixels.between(number, number + 1)?, exclude.as_ref())?;
                    Plane::of_pixels(number, detector, lit, floor)?
                }
                _ => return Err(Error::internal("a frame of nothing")),
            };
            if let Some(omega) = &omega {
                plane = plane.with_omega(omega[k]);
            }
            if let Some(table) = &input.full {
                plane = plane.with_full(full::of_frame(table, number)?);
            }
            blobs.extend(segmenter.push(plane)?);
        }
        self.state.end = end.max(span.end());
        self.emit(blobs, emit)
    }

    fn gap(&mut self, _: &Cx, gap: &Gap, _: &mut Emit<SegmentOut>) -> Result<()> {
        self.state.end = self.state.end.max(gap.span.end());
        Ok(())
    }

    fn finish(&mut self, _: &Cx, emit: &mut Emit<SegmentOut>) -> Result<()> {
        let Some(mut segmenter) = self.state.segmenter.take() else { return Ok(()) };
        let lasting = segmenter.lasting();
        if lasting > 0 {
            let frames = 4 * self.bb_max[0];
            tracing::warn!(
                regions = lasting,
                frames,
                "Pixels are lit for longer than four spots: mask hot pixels."
            );
        }
        let blobs = segmenter.finish(self.state.end)?;
        let counts = segmenter.counts();
        tracing::info!(
            regions = counts.regions,
            small = counts.small,
            suppressed = counts.suppressed,
            below = counts.below,
            "The scan is segmented."
        );
        self.emit(blobs, emit)?;
        let [spots, longest] = self.state.long;
        if let Some(covered) = self.state.covered.filter(|_| spots > 0) {
            tracing::warn!(
                spots,
                longest,
                covered,
                "Spots last for more than half the window, and the background took a part of them: make `window` or `stride` larger."
            );
        }
        Ok(())
    }

    fn save(&self) -> Result<Dict> {
        let state = Dict::new().with("end", self.state.end as i64);
        let mut state = state.with("long", Array::from_slice(&self.state.long));
        if let Some(covered) = self.state.covered {
            state.set("covered", i64::from(covered));
        }
        if let Some(sigma) = self.state.sigma {
            state.set("sigma", sigma);
        }
        Ok(match &self.state.segmenter {
            None => state,
            Some(segmenter) => {
                let detector = segmenter.detector.map(|n| n as u64);
                state.with("detector", Array::from_slice(&detector)).with("segmenter", segmenter.save()?)
            }
        })
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.state = State::default();
        self.state.end = state.need("end")?.number().unwrap_or(0.0) as u64;
        self.state.sigma = state.get("sigma").and_then(Value::number);
        self.state.covered = state.get("covered").and_then(Value::number).map(|n| n as u32);
        if let Value::Array(long) = state.need("long")?
            && let [spots, longest] = *long.as_slice::<u64>()?
        {
            self.state.long = [spots, longest];
        }
        if let (Some(Value::Array(detector)), Some(Value::Dict(saved))) =
            (state.get("detector"), state.get("segmenter"))
            && let [rows, columns] = detector.as_slice::<u64>()?
        {
            self.state.saved = Some(saved.clone());
            self.begin([*rows as usize, *columns as usize])?;
        }
        Ok(())
    }
}
declare!(Fold, "dct.segment", Kind::Reducer, Segment);

impl Segment {
    fn begin(&mut self, detector: [usize; 2]) -> Result<&mut Segmenter> {
        if self.state.segmenter.is_none() {
            let [rows, columns] = detector;
            self.exclude_box.map_or(Ok(()), |b| b.within("exclude_box", rows, columns))?;
            let exclude = self.exclude_box.map(Box::area);
            let folder = self.dense_folder.as_ref().filter(|_| self.dense_frames_max.is_some());
            let spill = folder.map(|folder| Spill::new(Path::new(folder))).transpose()?;
            let mut segmenter = Segmenter::new(self.rules()?, detector, exclude).with_spill(spill);
            if let Some(saved) = self.state.saved.take() {
                segmenter.load(&saved)?;
            }
            self.state.segmenter = Some(segmenter);
        }
        let segmenter = self.state.segmenter.as_mut().expect("made above");
        match segmenter.detector == detector {
            true => Ok(segmenter),
            false => {
                let wanted = segmenter.detector;
                Err(Error::data(format!("found frames of {detector:?} pixels, wanted {wanted:?} as before")))
            }
        }
    }
}

/// The lit pixels of a frame; those excluded count as 0.
fn lit(table: &Table, exclude: Option<&Area>) -> Result<Vec<(u32, u32, f32)>> {
    let (rows, columns) = (table.numbers::<u32>("row")?, table.numbers::<u32>("column")?);
    let values = table.numbers::<f32>("value")?;
    let all = rows.iter().zip(columns).zip(values).map(|((row, column), value)| (*row, *column, *value));
    Ok(all.filter(|(r, c, _)| !exclude.is_some_and(|e| e.has(*r as usize, *c as usize))).collect())
}
