//! `scan.prepare`: diffraction images out of raw frames.

use isard_core::prelude::*;
use isard_core::schemars;

use super::experiment::positive;
use crate::geometry::Centre;
use crate::scan::prepare::{Count, Grid, Orientation, Preparation, RebinMode, Resolved, mass_centre};

/// Cuts, turns and bins raw frames into square diffraction images.
///
/// In this order: frames are cropped or padded around the optical axis, turned into one of the eight orientations, and
/// binned. The axis comes from `center`, or, where that is `auto`, from the centre of mass of the first `center_frames`
/// frames. Afterwards it lies at `shape / 2` in both directions, a pixel before that along each mirrored one of even
/// length, divided by `rebin`; pixels are `rebin` times as large. Both go with the frames (`axis`, and `pixel` where
/// `psize` is known) to `ptyd.write` and `ptycho.reconstruct`. Bins are means, as other programs have them, or sums,
/// which stay counts. A bin is good where all its pixels are; padded pixels are bad.
///
/// Keeps order and count but for frames from `num_frames` on, which are skipped. With `auto` it holds the first
/// `center_frames` back, and never lets fewer than `min_frames` go before the end. Some 2 ns a pixel.
///
/// Source: the preparation of PtyPy's PtyScan (Enders and Thibault, Proc. R. Soc. A 472, 2016, 20160640).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prepare {
    /// Rows and columns that are cut; none for the largest square.
    #[schemars(range(min = 1), extend("x-unit" = "pixel"))]
    shape: Option<usize>,
    /// The optical axis in raw frames.
    ///
    /// Either `[row, column]`, or `fftshift`, `geometric` or `auto`.
    center: Axis,
    /// Frames that `auto` finds the axis from.
    #[schemars(range(min = 1), extend("x-unit" = "frame"))]
    center_frames: usize,
    /// One of the eight orientations.
    ///
    /// It is a sum: 4 transposes, then 2 mirrors rows, then 1 mirrors columns.
    #[schemars(range(min = 0, max = 7))]
    orientation: u8,
    /// Pixels of a bin along each axis.
    #[schemars(range(min = 1, max = 32))]
    rebin: usize,
    /// Whether bins are means or sums.
    rebin_mode: RebinMode,
    /// The edge of a raw pixel, unless the input gives it.
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    psize: Option<f64>,
    /// Whether `mask` marks good pixels, as in other programs: 0 is bad then.
    mask_good: bool,
    /// Frames of this number and above are left out.
    #[schemars(range(min = 1), extend("x-unit" = "frame"))]
    num_frames: Option<u64>,
    /// Frames that are let go together at least, but for the last ones.
    #[schemars(range(min = 1), extend("x-unit" = "frame", "x-level" = "expert"))]
    min_frames: usize,
    #[serde(skip)]
    #[schemars(skip)]
    known: Option<Resolved>,
    #[serde(skip)]
    #[schemars(skip)]
    held: Vec<Held>,
}

/// Frames that wait for the optical axis.
struct Held {
    span: Span,
    image: Array,
    mask: Option<Array>,
    weight: Option<Array>,
    psize: Option<f64>,
}

/// The optical axis in raw frames.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Axis {
    /// On this row and column.
    At([f64; 2]),
    /// Where a rule puts it.
    Named(Rule),
}

/// A rule for the optical axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// On the pixel behind the middle.
    Fftshift,
    /// In the middle.
    Geometric,
    /// In the centre of mass.
    Auto,
}

impl Default for Prepare {
    fn default() -> Self {
        Prepare {
            shape: None,
            center: Axis::Named(Rule::Fftshift),
            center_frames: 16,
            orientation: 0,
            rebin: 1,
            rebin_mode: RebinMode::Mean,
            psize: None,
            mask_good: false,
            num_frames: None,
            min_frames: 1,
            known: None,
            held: vec![],
        }
    }
}

/// The input of [`Prepare`].
#[derive(Ports)]
pub struct PrepareIn {
    /// Raw frames.
    #[port(dtype = "number", axes = "y x", unit = "count")]
    image: Array,
    /// Bad pixels: 0 is good, anything else bad, unless `mask_good` turns it round.
    #[port(fixed, dtype = "number", axes = "y x")]
    mask: Option<Array>,
    /// Weights of the pixels of each frame: more than 0 is good.
    #[port(dtype = "number", axes = "y x")]
    weight: Option<Array>,
    /// The edge of a raw pixel, unless a parameter gives it.
    #[port(unit = "m")]
    psize: Option<f64>,
}

/// The output of [`Prepare`].
#[derive(Ports)]
pub struct PrepareOut {
    /// Diffraction images; in double precision if padded or binned.
    #[port(dtype = "number", axes = "y x", unit = "count")]
    image: Array,
    /// Bad pixels: 0 is good, 1 bad.
    #[port(dtype = "u8", axes = "y x")]
    mask: Array,
    /// The optical axis in these images, row and column.
    #[port(dtype = "f64", axes = "axis", unit = "pixel")]
    axis: Array,
    /// The edge of their pixels, if that of raw ones is known.
    #[port(dtype = "f64", axes = "", unit = "m")]
    pixel: Option<Array>,
}

impl Stage for Prepare {
    type In = PrepareIn;
    type Out = PrepareOut;

    fn example() -> Example {
        let image: Vec<i32> = (0..6 * 80).map(|k| k * 17 % 23).collect();
        Example::new("shape = 6\ncenter = \"auto\"\ncenter_frames = 2\norientation = 5\nrebin = 2")
            .frames("image", Array::of(&[6, 10, 8], &image).expect("six frames"))
    }

    fn check(&self, faults: &mut Faults) {
        positive(&[("psize", self.psize)], faults);
        if self.orientation > 7 {
            faults.add("orientation", format!("found {}, wanted 0 to 7", self.orientation));
        }
        if !(1..=32).contains(&self.rebin) {
            faults.add("rebin", format!("found {}, wanted 1 to 32", self.rebin));
        } else if self.shape.is_some_and(|s| !s.is_multiple_of(self.rebin)) {
            let (r, s) = (self.rebin, self.shape.unwrap_or(0));
            faults.add_with_help(
                "rebin",
                format!("{s} pixels do not make bins of {r}"),
                "choose another `shape`",
            );
        }
        let counts = [
            ("center_frames", self.center_frames as u64),
            ("min_frames", self.min_frames as u64),
            ("num_frames", self.num_frames.unwrap_or(1)),
        ];
        for (name, _) in counts.iter().filter(|(_, count)| *count == 0) {
            faults.add(name, "found 0, wanted 1 or more");
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bytes = input.bytes() as u64;
        Cost {
            memory: self.center_frames.max(self.min_frames) as u64 * bytes,
            seconds_per_record: 2e-9 * bytes as f64,
            ..Cost::default()
        }
    }
}

impl Fold for Prepare {
    fn lag(&self) -> Lag {
        // Of the frames that are let go together the first has waited for all others.
        Lag::Kept { lag: self.least(false).saturating_sub(1) }
    }

    fn push(&mut self, cx: &Cx, span: &Span, input: PrepareIn, emit: &mut Emit<PrepareOut>) -> Result<()> {
        let (mut span, mut input) = (span.clone(), input);
        if let Some(end) = self.num_frames.filter(|end| *end < span.end()) {
            let first = end.max(span.start);
            let why = format!("only frames below {end} are prepared").into();
            let left = Span::frames(first, span.end() - first);
            emit.give_up(Gap { span: left, reason: Reason::Skipped, why });
            let kept = (first - span.start) as usize;
            if kept == 0 {
                return Ok(());
            }
            span = Span::frames(span.start, kept as u64);
            input.image = input.image.records(0..kept)?;
            input.weight = input.weight.map(|w| w.records(0..kept)).transpose()?;
        }
        let weight = input.weight.map(|w| w.detach()).transpose()?;
        let psize = self.psize.or(input.psize);
        self.held.push(Held { span, image: input.image.detach()?, mask: input.mask, weight, psize });
        let count: u64 = self.held.iter().map(|h| h.span.len).sum();
        if count >= self.least(self.known.is_some()) {
            self.let_go(cx, emit)?;
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap, _: &mut Emit<PrepareOut>) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, cx: &Cx, emit: &mut Emit<PrepareOut>) -> Result<()> {
        self.let_go(cx, emit)
    }

    fn save(&self) -> Result<Dict> {
        let held: Vec<Value> = self
            .held
            .iter()
            .map(|held| {
                let mut one =
                    Dict::new().with("start", held.span.start as i64).with("image", held.image.clone());
                for (key, array) in [("mask", &held.mask), ("weight", &held.weight)] {
                    if let Some(array) = array {
                        one.set(key, array.clone());
                    }
                }
                if let Some(psize) = held.psize {
                    one.set("psize", psize);
                }
                Value::from(one)
            })
            .collect();
        let state = Dict::new().with("held", held);
        Ok(match &self.known {
            Some(k) => {
                let raw = [k.raw[0] as f64, k.raw[1] as f64, k.raw_centre[0], k.raw_centre[1]];
                state.with("known", Array::from_slice(&raw))
            }
            None => state,
        })
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.held = vec![];
        let Value::List(held) = state.need("held")? else {
            return Err(Error::data("kept frames are no list"));
        };
        for one in held.iter() {
            let Value::Dict(one) = one else { return Err(Error::data("a kept frame is no dict")) };
            let Value::Array(image) = one.need("image")? else {
                return Err(Error::data("a kept frame has no image"));
            };
            let array = |key: &str| match one.get(key) {
                Some(Value::Array(array)) => array.detach().map(Some),
                _ => Ok(None),
            };
            let start = one.need("start")?.number().unwrap_or(0.0) as u64;
            let span = Span::frames(start, image.shape()[0] as u64);
            let (mask, weight) = (array("mask")?, array("weight")?);
            let psize = one.get("psize").and_then(Value::number);
            self.held.push(Held { span, image: image.detach()?, mask, weight, psize });
        }
        self.known = match state.get("known") {
            Some(Value::Array(a)) => {
                let v = a.as_slice::<f64>()?;
                let prep = self.preparation();
                Some(prep.resolve_at([v[0] as usize, v[1] as usize], [v[2], v[3]])?)
            }
            _ => None,
        };
        Ok(())
    }
}
declare!(Fold, "scan.prepare", Kind::Reducer, Prepare);

impl Prepare {
    /// Frames that must be there before any is let go; `settled` where the axis is known.
    fn least(&self, settled: bool) -> u64 {
        let auto = self.center == Axis::Named(Rule::Auto) && !settled;
        self.min_frames.max(if auto { self.center_frames } else { 1 }) as u64
    }

    fn preparation(&self) -> Preparation {
        let centre = match self.center {
            Axis::At(c) => Some(c.map(Centre::At)),
            Axis::Named(Rule::Fftshift) => Some([Centre::Fftshift; 2]),
            Axis::Named(Rule::Geometric) => Some([Centre::Geometric; 2]),
            Axis::Named(Rule::Auto) => None,
        };
        Preparation {
            shape: self.shape.map(|s| [s, s]),
            centre,
            auto_centre: None,
            force_auto: false,
            orientation: Orientation::numbered(self.orientation),
            rebin: self.rebin,
            mode: self.rebin_mode,
            psize: [1.0; 2],
        }
    }

    fn let_go(&mut self, cx: &Cx, emit: &mut Emit<PrepareOut>) -> Result<()> {
        let prep = self.preparation();
        if self.known.is_none() {
            let Some(first) = self.held.first() else { return Ok(()) };
            let &[_, rows, columns] = first.image.shape() else {
                let found = first.image.shape();
                return Err(Error::data(format!("found images of shape {found:?}, wanted frames [n y x]")));
            };
            let bad = first.mask.as_ref().map(Array::to_f64).transpose()?;
            let automatic = || {
                let mut sum = [0.0; 2];
                let mut count = 0.0;
                let frames = self.held.iter().flat_map(|h| (0..h.image.shape()[0]).map(move |k| (h, k)));
                for (held, k) in frames.take(self.center_frames) {
                    let grid = Grid { shape: [rows, columns], data: held.image.record(k)?.to_f64()? };
                    let weight = held.weight.as_ref().map(|w| w.record(k)?.to_f64()).transpose()?;
                    let good = |i: usize| {
                        bad.as_ref().is_none_or(|b| (b[i] == 0.0) != self.mask_good)
                            && weight.as_ref().is_none_or(|w| w.get(i).is_some_and(|w| *w > 0.0))
                    };
                    if let Some(c) = mass_centre(&grid, good) {
                        sum = [sum[0] + c[0], sum[1] + c[1]];
                        count += 1.0;
                    }
                }
                if count == 0.0 {
                    return Err(Error::data("the first frames hold no counts to find the axis from")
                        .help("set `center`, or raise `center_frames`"));
                }
                Ok(sum.map(|s| s / count))
            };
            self.known = Some(prep.resolve([rows, columns], automatic)?);
        }
        let known = self.known.clone().ok_or_else(|| Error::internal("no geometry after it was settled"))?;
        for held in std::mem::take(&mut self.held) {
            if held.image.shape()[1..] != known.raw {
                let (found, wanted, span) = (&held.image.shape()[1..], known.raw, &held.span);
                return Err(Error::data(format!(
                    "{span}: raw frames of {found:?} pixels, wanted {wanted:?} as before"
                )));
            }
            let out = prepared(cx, &prep, &known, &held, self.mask_good)?;
            emit.put(held.span, out);
        }
        Ok(())
    }
}

fn prepared(
    cx: &Cx,
    prep: &Preparation,
    known: &Resolved,
    held: &Held,
    mask_good: bool,
) -> Result<PrepareOut> {
    let image = &held.image;
    let (count, [h, w], raw) = (image.shape()[0], known.shape, known.raw);
    let out = isard_core::dispatch!(image.dtype(), T => frames::<T>(prep, known, image)?,
        complex => return Err(Error::data("raw frames are complex, wanted counts")));
    let bad = held.mask.as_ref().map(Array::to_f64).transpose()?;
    let pixels = raw[0] * raw[1];
    if bad.as_ref().is_some_and(|b| b.len() != pixels) {
        return Err(Error::data(format!("the mask has not the shape {raw:?} of the frames")));
    }
    let each = held.weight.as_ref().map(Array::to_f64).transpose()?;
    if each.as_ref().is_some_and(|e| e.len() != count * pixels) {
        let span = &held.span;
        return Err(Error::data(format!("{span}: weights have not the shape {raw:?} of the frames")));
    }
    // Without weights of its own every frame has the same mask.
    let one = |k: usize| -> Vec<u8> {
        let good = |i: usize| {
            bad.as_ref().is_none_or(|b| (b[i] == 0.0) != mask_good)
                && each.as_ref().is_none_or(|e| e[k * pixels + i] > 0.0)
        };
        let weights = (0..pixels).map(|i| f64::from(u8::from(good(i)))).collect();
        let weights = prep.weights(&Grid { shape: raw, data: weights }, known);
        weights.data.iter().map(|w| u8::from(*w <= 0.0)).collect()
    };
    let mut mask = cx.array(Dtype::U8, &[count, h, w])?;
    let same = if each.is_none() { Some(one(0)) } else { None };
    for (k, out) in mask.as_slice_mut::<u8>()?.chunks_exact_mut(h * w).enumerate() {
        match &same {
            Some(same) => out.copy_from_slice(same),
            None => out.copy_from_slice(&one(k)),
        }
    }
    let axis = Array::of(&[count, 2], &known.centre.repeat(count))?;
    let pixel = held.psize.map(|p| Array::from_slice(&vec![p * prep.rebin.max(1) as f64; count]));
    Ok(PrepareOut { image: out, mask: mask.freeze(), axis, pixel })
}

fn frames<T: Count + Element>(prep: &Preparation, known: &Resolved, image: &Array) -> Result<Array> {
    let [h, w] = known.shape;
    let shape = [image.shape()[0], h, w];
    let raw = known.raw[0] * known.raw[1];
    let grids = image.as_slice::<T>()?.chunks_exact(raw);
    let placed = grids.map(|g| prep.place(&Grid { shape: known.raw, data: g.to_vec() }, known));
    if prep.keeps_type(known) {
        Array::of(&shape, &placed.flat_map(|g| g.data).collect::<Vec<T>>())
    } else {
        Array::of(&shape, &placed.flat_map(|g| prep.bin(&g).data).collect::<Vec<f64>>())
    }
}
