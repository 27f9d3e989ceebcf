//! Virtual detectors: sums of frames under masks, as maps over the scan.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::reduce::correct::{Correction, Fixed};
use crate::reduce::detectors::{self, Detectors};
use crate::reduce::engine::Engine;
use crate::reduce::frames::{Once, Size};
use crate::reduce::maps::{Values, nothing};
use crate::source::scan_of;

/// Virtual detectors: the sum of each frame under masks, as maps over the scan.
///
/// Each of `detectors` gives an output of its name: a map [y x], or [m y x] where it is several masks (sectors, a file of
/// masks). All are taken in one pass over the frames. Points without a frame are NaN and 0 in `valid`.
///
/// A correction costs nothing for each frame, since it is folded into the masks: with dark, gain and dead pixels a sum is
/// that of `(image - dark) * gain`, where a dead pixel is the mean of its good neighbours of eight. A dead pixel with no
/// good neighbour is an error.
///
/// Sums of integers under masks of ones and zeros are exact up to 2^53. Others are multiplied in single precision for
/// pixels of 8 and 16 bits and f32, in parts whose errors do not add up (relative error below 1e-6 of the sum of
/// magnitudes), and in double precision for all other pixels or with `precise`. Over bytes weights are whole numbers where
/// the processor has such products, of two digits of eight bits, and of three for frames in which two would lose more than
/// the error above: exact for weights of few digits, else with that error.
///
/// The input `centre` moves disks and rings while frames come: wired to a source of settings it is latched, and `run.json`
/// says which frame was the first of each centre. Frames that came before keep the sums they have.
///
/// Takes all frames and gives one set of maps. About 1 microsecond for a frame of 128 x 128 and one mask of bits.
///
/// Source: frames times masks, `V[f, m] = sum_p I[f, p] W[m, p]`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detect {
    /// The detectors by name.
    detectors: Detectors,
    /// The centre of disks and rings, `[y, x]`; else the middle of the detector.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    centre: Option<[f64; 2]>,
    /// Multiplies everything in double precision.
    #[serde(default)]
    precise: bool,
    /// Lines and points of the scan; else those of `axes`.
    #[serde(default)]
    scan: Option<[usize; 2]>,
    #[serde(skip)]
    #[schemars(skip)]
    ready: Once<([usize; 2], Dtype, Fixed, [f64; 2]), Ready>,
    #[serde(skip)]
    #[schemars(skip)]
    known: std::sync::OnceLock<[usize; 2]>,
}

/// Masks as they are multiplied, and which of them are a detector's.
struct Ready {
    engine: Engine,
    planes: Vec<usize>,
}

/// Frames and what corrects them.
#[derive(Ports)]
pub struct DetectIn {
    /// Diffraction patterns.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// What the source says of the axes; `scan` is taken from it.
    #[port(fixed)]
    axes: Option<Dict>,
    /// What each pixel shows without a beam.
    #[port(fixed, dtype = "number", axes = "y x")]
    dark: Option<Array>,
    /// What each pixel is multiplied by.
    #[port(fixed, dtype = "number", axes = "y x")]
    gain: Option<Array>,
    /// Dead pixels: 0 is good, anything else dead.
    #[port(fixed, dtype = "number", axes = "y x")]
    dead: Option<Array>,
    /// The centre `[y, x]` of disks and rings; it may change while frames come.
    ///
    /// It stands in place of the parameter.
    #[port(fixed, dtype = "number", axes = "component")]
    centre: Option<Array>,
}

/// Maps over the scan.
#[derive(Ports)]
pub struct DetectOut {
    /// Where a frame came: 1, else 0.
    #[port(dtype = "u8", axes = "y x")]
    valid: Array,
    /// A map for each detector, under its name.
    #[port(open)]
    maps: Dict,
}

/// What a block of frames has come to.
#[derive(Debug, Default)]
pub struct DetectPart {
    values: Values,
    scan: Option<[usize; 2]>,
    /// How many masks each detector is.
    planes: Vec<usize>,
}

impl Stage for Detect {
    type In = DetectIn;
    type Out = DetectOut;

    fn example() -> Example {
        let frames: Vec<u16> = (0..6 * 20).map(|i| (i * 7 % 23) as u16).collect();
        Example::new(
            "detectors = { bright = { disk = 1.2 }, dark = { ring = [1.2, 2.5], sectors = 4 }, soft = { soft_ring = [1.5, 1.0] } }\nscan = [2, 3]",
        )
        .frames("image", Array::of(&[6, 4, 5], &frames).expect("six frames of 20 pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        if self.detectors.is_empty() {
            faults.add_with_help("detectors", "is empty", "such as `{ bright = { disk = 10 } }`");
        }
        detectors::check(&self.detectors, &["valid"], faults);
        if self.scan.is_some_and(|s| s.contains(&0)) {
            faults.add("scan", "has no points, wanted at least 1 x 1");
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let Some(scan) = self.scan else { return Ok(Shapes::default()) };
        let shapes = Shapes::default().with("valid", Shape::array(Dtype::U8, &scan));
        Ok(detectors::shapes(&self.detectors, shapes, scan))
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("image").dims.map_or(0, |d| d.iter().product::<usize>());
        let masks = detectors::known(&self.detectors);
        Cost {
            memory: (masks * pixels * 4 + masks * 8 * input.records().unwrap_or(0) as usize) as u64,
            seconds_per_record: pixels as f64 * masks as f64 * 3e-11,
            ..Cost::default()
        }
    }
}

impl Detect {
    /// Where disks and rings are for these frames.
    fn centre(&self, size: Size, wired: Option<&Array>) -> Result<[f64; 2]> {
        let Some(wired) = wired else { return Ok(self.centre.unwrap_or(size.centre())) };
        match wired.to_f64()?[..] {
            [y, x] if y.is_finite() && x.is_finite() => Ok([y, x]),
            _ => Err(Error::data(format!("`centre` is {:?}, wanted two numbers [y, x]", wired.to_f64()?))),
        }
    }

    fn ready(
        &self,
        cx: &Cx,
        size: Size,
        dtype: Dtype,
        fixed: Fixed,
        centre: [f64; 2],
    ) -> Result<std::sync::Arc<Ready>> {
        let key = ([size.rows, size.columns], dtype, fixed.clone(), centre);
        self.ready.get(key, || {
            let correction = Correction::new(size, &fixed)?;
            let (masks, planes) = detectors::masks(&self.detectors, cx, size, centre)?;
            let folded = masks.into_iter().map(|mut mask| {
                let less = correction.fold(&mut mask);
                (mask, less)
            });
            let masks = folded.collect();
            Ok(Ready { engine: Engine::new(size, dtype, masks, self.precise), planes })
        })
    }

    fn maps(&self, part: &DetectPart) -> Result<DetectOut> {
        let scan = part.scan.ok_or_else(nothing)?;
        let (planes, valid) = part.values.planes(scan)?;
        let maps = detectors::maps(&self.detectors, &part.planes, &planes, 0, scan)?;
        Ok(DetectOut { valid: Array::of(&scan, &valid)?, maps })
    }
}

impl Reduce for Detect {
    type Part = DetectPart;

    fn part(&self, _: &Cx) -> Result<DetectPart> {
        Ok(DetectPart::default())
    }

    fn add(&self, cx: &Cx, part: &mut DetectPart, span: &Span, input: DetectIn) -> Result<()> {
        let size = Size::of(&input.image)?;
        let fixed = Fixed { dark: input.dark, gain: input.gain, dead: input.dead };
        let centre = self.centre(size, input.centre.as_ref())?;
        let ready = self.ready(cx, size, input.image.dtype(), fixed, centre)?;
        if part.scan.is_none() {
            let scan = match self.known.get() {
                Some(scan) => *scan,
                None => *self.known.get_or_init({
                    let scan = scan_of(self.scan, input.axes.as_ref())?;
                    move || scan
                }),
            };
            part.scan = Some(scan);
            part.planes.clone_from(&ready.planes);
        }
        let values = ready.engine.run(cx, &input.image, size)?;
        part.values.push(span.start, ready.engine.masks(), &values)
    }

    fn merge(&self, _: &Cx, part: &mut DetectPart, later: DetectPart) -> Result<()> {
        if part.scan.is_none() {
            (part.scan, part.planes) = (later.scan, later.planes);
        }
        part.values.merge(later.values)
    }

    fn peek(&self, _: &Cx, part: &DetectPart) -> Result<Option<DetectOut>> {
        if part.values.is_empty() { Ok(None) } else { self.maps(part).map(Some) }
    }

    fn finish(&self, _: &Cx, part: DetectPart) -> Result<DetectOut> {
        self.maps(&part)
    }

    fn save(&self, part: &DetectPart) -> Result<Dict> {
        let planes: Vec<u64> = part.planes.iter().map(|n| *n as u64).collect();
        Ok(save_scan(part.values.save(), part.scan).with("planes", Array::from_slice(&planes)))
    }

    fn load(&self, _: &Cx, state: Dict) -> Result<DetectPart> {
        let planes = match state.need("planes")? {
            Value::Array(a) => a.as_slice::<u64>()?.iter().map(|n| *n as usize).collect(),
            other => return Err(Error::data(format!("kept `planes` is {}", other.describe()))),
        };
        Ok(DetectPart { values: Values::load(&state)?, scan: load_scan(&state)?, planes })
    }
}
declare!(Reduce, "stem.detect", Kind::Reducer, Detect);

/// Keeps the size of a scan.
pub(crate) fn save_scan(state: Dict, scan: Option<[usize; 2]>) -> Dict {
    match scan {
        Some([rows, columns]) => state.with("scan", Array::from_slice(&[rows as u64, columns as u64])),
        None => state,
    }
}

/// The size of a scan that was kept.
pub(crate) fn load_scan(state: &Dict) -> Result<Option<[usize; 2]>> {
    match state.get("scan") {
        None => Ok(None),
        Some(Value::Array(a)) if a.len() == 2 => {
            let n = a.as_slice::<u64>()?;
            Ok(Some([n[0] as usize, n[1] as usize]))
        }
        Some(other) => Err(Error::data(format!("kept `scan` is {}", other.describe()))),
    }
}
