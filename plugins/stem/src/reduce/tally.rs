//! Events in place of frames: virtual detectors and centre of mass at a cost that goes by the events.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::reduce::detect::{load_scan, save_scan};
use crate::reduce::detectors::{self, Detectors};
use crate::reduce::frames::{Once, Size};
use crate::reduce::maps::{Values, each_plane, nothing};
use crate::reduce::pile::Pile;
use crate::source::scan_of;

/// Numbers of a frame before those of its detectors: sum, and the centre of mass along y and x.
const FIXED: usize = 3;

/// Virtual detectors, centre of mass and picture of events in place of frames.
///
/// Each row of `events` is a pixel that counted, with its value: electrons of `stem.count`, or frames that
/// `live.tpx3` leaves sparse. Detectors are those of `stem.detect`; an event counts where its place, rounded, lies. The centre
/// of mass takes places as they are; a frame without events has that of the detector. Points without a frame are NaN and 0
/// in `valid`.
///
/// Takes all frames and gives one set of maps. Some nanoseconds an event, whatever the size of the detector.
///
/// Source: `V[f, m] = sum_e value[e] W[m, place[e]]` over the events of a frame.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// The detectors by name.
    #[serde(default)]
    detectors: Detectors,
    /// Rows and columns of the detector.
    shape: [usize; 2],
    /// The centre of disks and rings, `[y, x]`; else the middle of the detector.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    centre: Option<[f64; 2]>,
    /// Lines and points of the scan; else those of `axes`.
    #[serde(default)]
    scan: Option<[usize; 2]>,
    #[serde(skip)]
    #[schemars(skip)]
    ready: Once<(), Ready>,
}

/// Masks pixel by pixel, all of a pixel together, and how many of them are a detector's.
struct Ready {
    weights: Vec<f64>,
    masks: usize,
    planes: Vec<usize>,
}

/// Events of frames.
#[derive(Ports)]
pub struct TallyIn {
    /// One row for each event, or for each pixel that counted.
    #[port(columns = "row: f64 pixel, column: f64 pixel, value: f64")]
    events: Table,
    /// How many rows each frame has.
    #[port(dtype = "u32", axes = "")]
    count: Array,
    /// What the source says of the axes; `scan` is taken from it.
    #[port(fixed)]
    axes: Option<Dict>,
}

/// A picture, and maps over the scan; `c` is y, x.
#[derive(Ports)]
pub struct TallyOut {
    /// The sum of all frames.
    #[port(dtype = "f64", axes = "y x")]
    image: Array,
    /// The sum of each frame.
    #[port(dtype = "f64", axes = "y x")]
    sum: Array,
    /// The centre of mass in pixels of the detector.
    #[port(dtype = "f64", axes = "y x c", unit = "pixel")]
    raw: Array,
    /// Where a frame came: 1, else 0.
    #[port(dtype = "u8", axes = "y x")]
    valid: Array,
    /// A map for each detector, under its name.
    #[port(open)]
    maps: Dict,
}

/// What a block of frames has come to.
#[derive(Debug, Default)]
pub struct TallyPart {
    values: Values,
    pile: Pile,
    scan: Option<[usize; 2]>,
}

impl Stage for Tally {
    type In = TallyIn;
    type Out = TallyOut;

    fn example() -> Example {
        let events = Table::new(4)
            .with("row", &[0.0, 2.0, 2.0, 3.25])
            .and_then(|t| t.with("column", &[1.0, 2.0, 4.0, 0.0]))
            .and_then(|t| t.with("value", &[1.0, 2.0, 1.0, 5.0]))
            .and_then(|t| t.with_records(&[0, 1, 1, 5]))
            .expect("four rows");
        Example::new("shape = [4, 5]\nscan = [2, 3]\ndetectors = { bright = { disk = 1.2 } }")
            .frames("count", Array::from_slice(&[1u32, 2, 0, 0, 0, 1]))
            .frames("events", events)
    }

    fn check(&self, faults: &mut Faults) {
        if self.shape.contains(&0) || self.shape.iter().any(|n| *n > 1 << 14) {
            faults.add("shape", format!("is {:?}, wanted 1 to {} pixels each way", self.shape, 1 << 14));
        }
        detectors::check(&self.detectors, &["image", "sum", "raw", "valid"], faults);
        if self.scan.is_some_and(|s| s.contains(&0)) {
            faults.add("scan", "has no points, wanted at least 1 x 1");
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let shapes = Shapes::default().with("image", Shape::array(Dtype::F64, &self.shape));
        let Some([y, x]) = self.scan else { return Ok(shapes) };
        let shapes = shapes
            .with("sum", Shape::array(Dtype::F64, &[y, x]))
            .with("raw", Shape::array(Dtype::F64, &[y, x, 2]))
            .with("valid", Shape::array(Dtype::U8, &[y, x]));
        Ok(detectors::shapes(&self.detectors, shapes, [y, x]))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let masks = detectors::known(&self.detectors);
        let pixels = self.shape.iter().product::<usize>();
        let maps = 8 * (FIXED + masks) as u64 * input.records().unwrap_or(0);
        Cost { memory: maps + (8 * pixels * (masks + 2)) as u64, seconds_per_record: 5e-7, ..Cost::default() }
    }
}

impl Tally {
    fn size(&self) -> Size {
        Size { n: 1, rows: self.shape[0], columns: self.shape[1] }
    }

    fn weights(&self, cx: &Cx) -> Result<Ready> {
        let size = self.size();
        let centre = self.centre.unwrap_or(size.centre());
        let (masks, planes) = detectors::masks(&self.detectors, cx, size, centre)?;
        let weights = (0..size.pixels()).flat_map(|i| masks.iter().map(move |mask| mask[i])).collect();
        Ok(Ready { weights, masks: masks.len(), planes })
    }

    fn maps(&self, cx: &Cx, part: &TallyPart) -> Result<TallyOut> {
        let scan = part.scan.ok_or_else(nothing)?;
        let ready = self.ready.get((), || self.weights(cx))?;
        let (planes, valid) = part.values.planes(scan)?;
        let [_, ys, xs, ..] = &each_plane(&planes)?[..] else {
            return Err(Error::internal("not three numbers a frame"));
        };
        let raw: Vec<f64> = ys.iter().zip(*xs).flat_map(|(y, x)| [*y, *x]).collect();
        Ok(TallyOut {
            image: Array::of(&self.shape, &part.pile.dense(self.size().pixels()))?,
            sum: planes.record(0)?,
            raw: Array::of(&[scan[0], scan[1], 2], &raw)?,
            valid: Array::of(&scan, &valid)?,
            maps: detectors::maps(&self.detectors, &ready.planes, &planes, FIXED, scan)?,
        })
    }
}

impl Reduce for Tally {
    type Part = TallyPart;

    fn part(&self, _: &Cx) -> Result<TallyPart> {
        Ok(TallyPart::default())
    }

    fn add(&self, cx: &Cx, part: &mut TallyPart, span: &Span, input: TallyIn) -> Result<()> {
        let ready = self.ready.get((), || self.weights(cx))?;
        if part.scan.is_none() {
            part.scan = Some(scan_of(self.scan, input.axes.as_ref())?);
        }
        let [rows, columns] = self.shape;
        let events = &input.events;
        let ys = events.numbers::<f64>("row")?;
        let xs = events.numbers::<f64>("column")?;
        let all = events.numbers::<f64>("value")?;
        let records = events.records();
        let centre = self.size().centre();
        let (width, frames) = (FIXED + ready.masks, input.count.shape()[0]);
        let mut values = vec![0.0; frames * width];
        let mut at = 0;
        for (number, values) in (span.start..).zip(values.chunks_exact_mut(width)) {
            let (fixed, masks) = values.split_at_mut(FIXED);
            while at < records.len() && records[at] == number {
                let (y, x, value) = (ys[at], xs[at], all[at]);
                let (row, column) = (y.round(), x.round());
                if !(row >= 0.0 && row < rows as f64 && column >= 0.0 && column < columns as f64) {
                    return Err(Error::data(format!(
                        "frame {number} has an event at row {y}, column {x}, wanted one on {rows} x {columns} pixels"
                    ))
                    .help("look at `shape`"));
                }
                let pixel = row as usize * columns + column as usize;
                fixed.iter_mut().zip([value, value * y, value * x]).for_each(|(f, v)| *f += v);
                let weights = &ready.weights[pixel * ready.masks..][..ready.masks];
                masks.iter_mut().zip(weights).for_each(|(m, w)| *m += value * w);
                part.pile.put(pixel, value);
                at += 1;
            }
            // A frame without counts has no centre of mass.
            match fixed[0] != 0.0 {
                true => (fixed[1], fixed[2]) = (fixed[1] / fixed[0], fixed[2] / fixed[0]),
                false => (fixed[1], fixed[2]) = (centre[0], centre[1]),
            }
        }
        part.pile.settle(self.size().pixels());
        part.values.push(span.start, width, &values)
    }

    fn merge(&self, _: &Cx, part: &mut TallyPart, later: TallyPart) -> Result<()> {
        part.scan = part.scan.or(later.scan);
        part.pile.merge(later.pile, self.size().pixels());
        part.values.merge(later.values)
    }

    fn peek(&self, cx: &Cx, part: &TallyPart) -> Result<Option<TallyOut>> {
        if part.values.is_empty() { Ok(None) } else { self.maps(cx, part).map(Some) }
    }

    fn finish(&self, cx: &Cx, part: TallyPart) -> Result<TallyOut> {
        self.maps(cx, &part)
    }

    fn save(&self, part: &TallyPart) -> Result<Dict> {
        Ok(part.pile.save(save_scan(part.values.save(), part.scan)))
    }

    fn load(&self, _: &Cx, state: Dict) -> Result<TallyPart> {
        let pile = Pile::load(&state)?;
        Ok(TallyPart { values: Values::load(&state)?, pile, scan: load_scan(&state)? })
    }
}
declare!(Reduce, "stem.tally", Kind::Reducer, Tally);
