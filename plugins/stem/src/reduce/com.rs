//! Centre of mass and differential phase contrast.

use isard_core::prelude::*;
use isard_core::schemars;

use crate::reduce::correct::{Correction, Fixed};
use crate::reduce::detect::{load_scan, save_scan};
use crate::reduce::engine::Engine;
use crate::reduce::field::{Field, orientation};
use crate::reduce::frames::{Once, Size, above};
use crate::reduce::maps::{Values, each_plane, nothing};
use crate::simd::{Level, moments};
use crate::source::scan_of;

/// Centre of mass of frames, and what differential phase contrast makes of it.
///
/// For each frame the centre of mass, of all pixels or of those of a disk or ring; then the shift from `centre`, turned into
/// the scan's frame (y flipped, y and x swapped, turned clockwise by `rotation`, in this order), less a regression over the
/// scan, and from that field magnitude, divergence, curl and phase. Divergence is negative at atoms, and the charge density
/// is proportional to the negative divergence. A frame without counts gets the centre, so its shift is 0; it is 1 in
/// `empty`. Points without a frame are NaN in `raw` and `field`, and count as 0 in what is derived.
///
/// `guess_rotation` and `guess_flip` are the orientation of the smallest curl; `guess = true` uses them.
///
/// Sums of 8 and 16-bit frames are exact, others are in double precision. Takes all frames and gives one set of maps.
/// About 1 microsecond for a frame of 128 x 128.
///
/// Source: I. Lazic et al., Ultramicroscopy 160 (2016) 265.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Com {
    /// The place of no shift, `[y, x]`; else the middle of the detector.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    centre: Option<[f64; 2]>,
    /// Only pixels at most this far from the centre.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    radius: Option<f64>,
    /// Only pixels farther than this from the centre.
    #[serde(default)]
    #[schemars(extend("x-unit" = "pixel"))]
    inner: Option<f64>,
    /// Turns shifts clockwise on screen into the scan's frame.
    #[serde(default)]
    #[schemars(extend("x-unit" = "degree"))]
    rotation: f64,
    /// Flips the y component of shifts before they are turned.
    #[serde(default)]
    flip: bool,
    /// Swaps the components of shifts before they are turned.
    #[serde(default)]
    transpose: bool,
    /// Uses the guessed orientation in place of `rotation`, `flip` and `transpose`.
    #[serde(default)]
    guess: bool,
    /// What is subtracted from the field.
    #[serde(default)]
    regression: Regression,
    /// The step of the scan along y and x, for divergence, curl and phase.
    #[serde(default = "ones")]
    step: [f64; 2],
    /// What the phase takes the field to be beyond the scan.
    #[serde(default)]
    border: Border,
    /// Lines and points of the scan; else those of `axes`.
    #[serde(default)]
    scan: Option<[usize; 2]>,
    #[serde(skip)]
    #[schemars(skip)]
    ready: Once<([usize; 2], Dtype, Fixed), Option<Engine>>,
    #[serde(skip)]
    #[schemars(skip)]
    known: std::sync::OnceLock<[usize; 2]>,
}

fn ones() -> [f64; 2] {
    [1.0; 2]
}

/// What is subtracted from the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Regression {
    /// Nothing.
    #[default]
    None,
    /// Its mean.
    Mean,
    /// The plane of least squares.
    Plane,
}

/// What the phase takes the field to be beyond the scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Border {
    /// The same again.
    #[default]
    Periodic,
    /// Its mirror image.
    Mirror,
}

/// Frames and what corrects them.
#[derive(Ports)]
pub struct ComIn {
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
    /// A descan to be subtracted: constant, slopes along y and x; columns y and x.
    #[port(fixed, dtype = "number")]
    descan: Option<Array>,
}

/// Maps over the scan; `c` is y, x.
#[derive(Ports)]
pub struct ComOut {
    /// The sum of each frame.
    #[port(dtype = "f64", axes = "y x")]
    sum: Array,
    /// The centre of mass in pixels of the detector.
    #[port(dtype = "f64", axes = "y x c", unit = "pixel")]
    raw: Array,
    /// The shift in the scan's frame, less the regression.
    #[port(dtype = "f64", axes = "y x c", unit = "pixel")]
    field: Array,
    /// The length of the field.
    #[port(dtype = "f64", axes = "y x", unit = "pixel")]
    magnitude: Array,
    /// The divergence of the field.
    #[port(dtype = "f64", axes = "y x")]
    divergence: Array,
    /// The curl of the field.
    #[port(dtype = "f64", axes = "y x")]
    curl: Array,
    /// The integral of the field, without its mean.
    #[port(dtype = "f64", axes = "y x")]
    phase: Array,
    /// What was subtracted: constant, slopes along y and x; columns y and x.
    #[port(dtype = "f64", axes = "term c")]
    coefficients: Array,
    /// The orientation that was used, for vectors (y, x).
    #[port(dtype = "f64", axes = "c c2")]
    matrix: Array,
    /// The rotation under which the curl is smallest.
    #[port(unit = "degree")]
    guess_rotation: f64,
    /// Whether that is after a flip of y: 1, else 0.
    guess_flip: i64,
    /// Where a frame came: 1, else 0.
    #[port(dtype = "u8", axes = "y x")]
    valid: Array,
    /// Where a frame came without counts: 1, else 0.
    #[port(dtype = "u8", axes = "y x")]
    empty: Array,
}

/// What a block of frames has come to.
#[derive(Debug, Default)]
pub struct ComPart {
    values: Values,
    scan: Option<[usize; 2]>,
    centre: [f64; 2],
    descan: Option<[f64; 6]>,
}

impl Stage for Com {
    type In = ComIn;
    type Out = ComOut;

    fn example() -> Example {
        let frames: Vec<u16> = (0..6 * 20).map(|i| (i * 7 % 23) as u16).collect();
        Example::new("rotation = 30.0\nflip = true\nregression = \"mean\"\nscan = [2, 3]")
            .frames("image", Array::of(&[6, 4, 5], &frames).expect("six frames of 20 pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        if self.scan.is_some_and(|s| s.contains(&0)) {
            faults.add("scan", "has no points, wanted at least 1 x 1");
        }
        if self.radius.is_some_and(|r| !above(r, self.inner.unwrap_or(0.0))) {
            faults.add("radius", "is no larger than `inner`, so no pixel is left");
        }
        if self.step.iter().any(|s| !above(*s, 0.0)) {
            faults.add("step", format!("is {:?}, wanted two lengths above 0", self.step));
        }
        if self.guess && (self.rotation != 0.0 || self.flip || self.transpose) {
            faults.add_with_help("guess", "stands beside an orientation", "give one of them");
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let Some([y, x]) = self.scan else { return Ok(Shapes::default()) };
        let mut shapes = Shapes::default();
        for name in ["sum", "magnitude", "divergence", "curl", "phase"] {
            shapes = shapes.with(name, Shape::array(Dtype::F64, &[y, x]));
        }
        for name in ["raw", "field"] {
            shapes = shapes.with(name, Shape::array(Dtype::F64, &[y, x, 2]));
        }
        Ok(shapes)
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("image").dims.map_or(0, |d| d.iter().product::<usize>());
        let seconds_per_record = pixels as f64 * 6e-11;
        Cost { memory: 24 * input.records().unwrap_or(0), seconds_per_record, ..Cost::default() }
    }
}

impl Com {
    /// Masks of the three sums, where the plain sums over whole frames will not do.
    fn engine(&self, size: Size, dtype: Dtype, fixed: &Fixed) -> Result<Option<Engine>> {
        let correction = Correction::new(size, fixed)?;
        let whole = self.radius.is_none() && self.inner.is_none();
        if whole && correction.is_empty() && matches!(dtype, Dtype::U8 | Dtype::U16) {
            return Ok(None);
        }
        let [cy, cx] = self.centre.unwrap_or(size.centre());
        let open = |i: usize| {
            let (dy, dx) = ((i / size.columns) as f64 - cy, (i % size.columns) as f64 - cx);
            let square = dy * dy + dx * dx;
            self.radius.is_none_or(|r| square <= r * r) && self.inner.is_none_or(|r| square > r * r)
        };
        let weights: [&dyn Fn(usize) -> f64; 3] =
            [&|_| 1.0, &|i| (i / size.columns) as f64, &|i| (i % size.columns) as f64];
        let masks = weights.map(|weight| {
            let mut mask: Vec<f64> =
                (0..size.pixels()).map(|i| if open(i) { weight(i) } else { 0.0 }).collect();
            let less = correction.fold(&mut mask);
            (mask, less)
        });
        Ok(Some(Engine::new(size, dtype, masks.into(), true)))
    }

    fn maps(&self, part: &ComPart) -> Result<ComOut> {
        let scan = part.scan.ok_or_else(nothing)?;
        let (planes, valid) = part.values.planes(scan)?;
        let [sum, ys, xs] = each_plane(&planes)?[..] else {
            return Err(Error::internal("not three numbers a frame"));
        };
        let came: Vec<bool> = valid.iter().map(|v| *v == 1).collect();
        let from = |plane: &[f64], centre: f64| -> Vec<f64> {
            plane.iter().zip(&came).map(|(p, came)| if *came { p - centre } else { 0.0 }).collect()
        };
        let shift = Field { scan, y: from(ys, part.centre[0]), x: from(xs, part.centre[1]) };
        let (guess_rotation, guess_flip) = shift.guess();
        let matrix = match self.guess {
            true => orientation(guess_rotation, guess_flip, false),
            false => orientation(self.rotation, self.flip, self.transpose),
        };
        let mut field = shift.turned(matrix);
        let mut coefficients = [[0.0; 2]; 3];
        if let Some(d) = part.descan {
            coefficients = [[d[0], d[1]], [d[2], d[3]], [d[4], d[5]]];
            field.subtract(&coefficients);
        }
        let more = match self.regression {
            Regression::None => [[0.0; 2]; 3],
            Regression::Mean => [field.mean(&came), [0.0; 2], [0.0; 2]],
            Regression::Plane => field.plane(&came),
        };
        field.subtract(&more);
        coefficients.iter_mut().flatten().zip(more.iter().flatten()).for_each(|(c, m)| *c += m);
        for (i, _) in came.iter().enumerate().filter(|(_, came)| !**came) {
            (field.y[i], field.x[i]) = (0.0, 0.0);
        }
        let phase = match self.border {
            Border::Periodic => field.integral(self.step),
            Border::Mirror => cropped(&field.mirrored().integral(self.step), scan),
        };
        let map = |values: &[f64]| Array::of(&scan, values);
        let pairs = |y: &[f64], x: &[f64]| {
            let all: Vec<f64> = y
                .iter()
                .zip(x)
                .zip(&came)
                .flat_map(|((y, x), came)| if *came { [*y, *x] } else { [f64::NAN; 2] })
                .collect();
            Array::of(&[scan[0], scan[1], 2], &all)
        };
        let magnitude: Vec<f64> = field.y.iter().zip(&field.x).map(|(y, x)| y.hypot(*x)).collect();
        let empty: Vec<u8> = sum.iter().map(|s| u8::from(*s == 0.0)).collect();
        Ok(ComOut {
            sum: map(sum)?,
            raw: pairs(ys, xs)?,
            field: pairs(&field.y, &field.x)?,
            magnitude: map(&magnitude)?,
            divergence: map(&field.divergence(self.step))?,
            curl: map(&field.curl(self.step))?,
            phase: map(&phase)?,
            coefficients: Array::of(&[3, 2], coefficients.as_flattened())?,
            matrix: Array::of(&[2, 2], matrix.as_flattened())?,
            guess_rotation,
            guess_flip: i64::from(guess_flip),
            valid: Array::of(&scan, &valid)?,
            empty: Array::of(&scan, &empty)?,
        })
    }
}

/// The upper left quarter, without its mean.
fn cropped(all: &[f64], [rows, columns]: [usize; 2]) -> Vec<f64> {
    let quarter: Vec<f64> =
        all.chunks_exact(2 * columns).take(rows).flat_map(|r| &r[..columns]).copied().collect();
    let mean = quarter.iter().sum::<f64>() / quarter.len() as f64;
    quarter.iter().map(|q| q - mean).collect()
}

impl Reduce for Com {
    type Part = ComPart;

    fn part(&self, _: &Cx) -> Result<ComPart> {
        Ok(ComPart::default())
    }

    fn add(&self, cx: &Cx, part: &mut ComPart, span: &Span, input: ComIn) -> Result<()> {
        let size = Size::of(&input.image)?;
        let dtype = input.image.dtype();
        let fixed = Fixed { dark: input.dark, gain: input.gain, dead: input.dead };
        let key = ([size.rows, size.columns], dtype, fixed.clone());
        let engine = self.ready.get(key, || self.engine(size, dtype, &fixed))?;
        let centre = self.centre.unwrap_or(size.centre());
        if part.scan.is_none() {
            let scan = match self.known.get() {
                Some(scan) => *scan,
                None => {
                    let scan = scan_of(self.scan, input.axes.as_ref())?;
                    *self.known.get_or_init(|| scan)
                }
            };
            (part.scan, part.centre) = (Some(scan), centre);
            part.descan = input.descan.as_ref().map(descan).transpose()?;
        }
        let sums: Vec<f64> = match &*engine {
            Some(engine) => engine.run(cx, &input.image, size)?,
            None => plain(&input.image, size)?,
        };
        let mut values = Vec::with_capacity(sums.len());
        for sums in sums.chunks_exact(3) {
            let [sum, y, x] = [sums[0], sums[1], sums[2]];
            // A frame without counts has no centre of mass; NaN would spread over the whole phase.
            match sum != 0.0 && sum.is_finite() {
                true => values.extend([sum, y / sum, x / sum]),
                false => values.extend([0.0, centre[0], centre[1]]),
            }
        }
        part.values.push(span.start, 3, &values)
    }

    fn merge(&self, _: &Cx, part: &mut ComPart, later: ComPart) -> Result<()> {
        if part.scan.is_none() {
            (part.scan, part.centre, part.descan) = (later.scan, later.centre, later.descan);
        }
        part.values.merge(later.values)
    }

    fn peek(&self, _: &Cx, part: &ComPart) -> Result<Option<ComOut>> {
        if part.values.is_empty() { Ok(None) } else { self.maps(part).map(Some) }
    }

    fn finish(&self, _: &Cx, part: ComPart) -> Result<ComOut> {
        self.maps(&part)
    }

    fn save(&self, part: &ComPart) -> Result<Dict> {
        let state = save_scan(part.values.save(), part.scan).with("centre", Array::from_slice(&part.centre));
        Ok(match &part.descan {
            Some(descan) => state.with("descan", Array::from_slice(descan)),
            None => state,
        })
    }

    fn load(&self, _: &Cx, state: Dict) -> Result<ComPart> {
        let centre = match state.need("centre")? {
            Value::Array(a) if a.len() == 2 => [a.as_slice::<f64>()?[0], a.as_slice::<f64>()?[1]],
            other => return Err(Error::data(format!("kept `centre` is {}", other.describe()))),
        };
        let descan = match state.get("descan") {
            Some(Value::Array(a)) => Some(self::descan(a)?),
            _ => None,
        };
        Ok(ComPart { values: Values::load(&state)?, scan: load_scan(&state)?, centre, descan })
    }
}
declare!(Reduce, "stem.com", Kind::Reducer, Com);

fn descan(array: &Array) -> Result<[f64; 6]> {
    let values = array.to_f64()?;
    values.try_into().map_err(|_| {
        let text = format!("`descan` has shape {:?}, wanted [3, 2]", array.shape());
        Error::data(text).help("`coefficients` of a reference scan are such")
    })
}

/// Exact sums over whole frames of small integers.
fn plain(image: &Array, size: Size) -> Result<Vec<f64>> {
    let level = Level::best();
    let each = |sums: [u64; 3]| sums.map(|s| s as f64);
    Ok(match image.dtype() {
        Dtype::U8 => image
            .as_slice::<u8>()?
            .chunks_exact(size.pixels())
            .flat_map(|f| each(moments(level, f, size.columns)))
            .collect(),
        _ => image
            .as_slice::<u16>()?
            .chunks_exact(size.pixels())
            .flat_map(|f| each(moments(level, f, size.columns)))
            .collect(),
    })
}
