//! `dct.normalize`: frames brought to the same intensity of the beam.

use isard_core::dispatch;
use isard_core::prelude::*;

use super::boxes::Box;
use super::frames::{floats, lost, pixels, same, same_shape, size};
use crate::pixel::Pixel;
use crate::simd::{Level, even, times};

/// What tells the intensity of the beam.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Method {
    /// Nothing: frames stay as they are.
    None,
    /// Parts of the direct beam that pass beside the sample.
    #[default]
    Margin,
    /// A number for each frame: the current of the machine, a diode.
    Monitor,
}

/// What the margin is brought to.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Target {
    /// This mean.
    Number(f64),
    /// The mean of a stack or of the first frame.
    Of(Which),
}

/// Whose mean it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Which {
    /// The first frame that arrives with beam.
    First,
    /// The flat-field stack at `reference`.
    Reference,
}

/// Brings every frame to the same intensity of the beam.
///
/// With `margin` the mean of a frame's valid pixels in all boxes tells the intensity, and the frame is multiplied by
/// target over mean. The target `first` is the mean of the first frame that arrives with beam. With `monitor` the
/// factor is `monitor_ref` over the frame's monitor. A frame whose mean is not above a twentieth of the target, or no
/// number, has no beam: it is given up as missing, with that reason.
///
/// Look at `margin_mean` first: if it repeats after half a turn, the sample moves through a box. Changes neither order
/// nor count but for frames without beam. About 0.5 ns a pixel.
///
/// Source: W. Ludwig et al., Rev. Sci. Instrum. 80 (2009) 033905.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// What tells the intensity of the beam.
    #[serde(default)]
    normalization: Method,
    /// Boxes beside the sample.
    ///
    /// Each is `{ x = [1308, 1322], y = [894, 1164] }`, the second number not in it, or two corners (x, y).
    #[serde(default)]
    margin_boxes: Vec<Box>,
    /// What the margin is brought to: a number, `first` or `reference`.
    #[serde(default = "first")]
    #[schemars(extend("x-unit" = "count"))]
    target: Target,
    /// The monitor that frames are brought to; without it that of the first frame.
    #[serde(default)]
    monitor_ref: Option<f64>,
    /// Whether frames are multiplied and given; without it only the factors are.
    ///
    /// `dct.background` takes raw frames, `dark` and `factor` at once: half the memory, and two passes over it fewer.
    #[serde(default = "yes")]
    apply: bool,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

fn first() -> Target {
    Target::Of(Which::First)
}
fn yes() -> bool {
    true
}

#[derive(Default)]
struct State {
    target: Option<f64>,
    /// What each pixel loses, no number where it is invalid; none when nothing is lost.
    lost: Option<Vec<f32>>,
    /// Whether the boxes were held against a frame with beam.
    looked: bool,
    /// Whether a frame without beam was told.
    told: bool,
}

/// The input of [`Normalize`].
#[derive(Ports)]
pub struct NormalizeIn {
    /// Frames less their dark, or raw ones with `dark`; NaN is invalid.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// The dark image, which frames lose first.
    #[port(dtype = "number", fixed, axes = "y x")]
    dark: Option<Array>,
    /// The monitor of each frame.
    #[port(dtype = "number", axes = "")]
    monitor: Option<Array>,
    /// Frames with beam and without sample: less their dark, or raw ones with `dark`.
    #[port(dtype = "number", fixed)]
    reference: Option<Array>,
    /// Invalid pixels, which become NaN: 0 is good.
    #[port(dtype = "number", fixed, axes = "y x")]
    mask: Option<Array>,
}

/// The output of [`Normalize`].
#[derive(Ports)]
pub struct NormalizeOut {
    /// Frames of the same intensity, with `apply`.
    #[port(dtype = "f32", axes = "y x")]
    image: Option<Array>,
    /// The mean of the margin, or the monitor.
    #[port(dtype = "f64", axes = "")]
    margin_mean: Array,
    /// What the frame was multiplied by.
    #[port(dtype = "f64", axes = "")]
    factor: Array,
}

impl Stage for Normalize {
    type In = NormalizeIn;
    type Out = NormalizeOut;

    fn example() -> Example {
        Example::new("margin_boxes = [{ x = [0, 2], y = [0, 1] }]").frames(
            "image",
            Array::of(&[3, 1, 3], &[10.0f32, 12.0, 5.0, 20.0, 24.0, 5.0, 5.0, 6.0, 5.0])
                .expect("nine pixels"),
        )
    }

    fn check(&self, faults: &mut Faults) {
        if self.normalization == Method::Margin && self.margin_boxes.is_empty() {
            faults.add_with_help(
                "margin_boxes",
                "found no box, wanted one or more for `normalization = \"margin\"`",
                "name a part of the direct beam that the sample never covers",
            );
        }
        self.margin_boxes.iter().for_each(|b| b.check("margin_boxes", faults));
        if let Target::Number(n) = self.target
            && !(n.is_finite() && n > 0.0)
        {
            faults.add("target", format!("found {n}, wanted more than 0"));
        }
        if let Some(n) = self.monitor_ref.filter(|n| !(n.is_finite() && *n > 0.0)) {
            faults.add("monitor_ref", format!("found {n}, wanted more than 0"));
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        same_shape("dark", input)?;
        same_shape("mask", input)?;
        if let Some(&[rows, columns]) = input.get("image").dims.as_deref() {
            self.margin_boxes.iter().try_for_each(|b| b.within("margin_boxes", rows, columns))?;
        }
        let image = Shape { dtype: Some(Dtype::F32), dims: input.get("image").dims };
        let number = Shape::array(Dtype::F64, &[]);
        let shapes = Shapes::default().with("margin_mean", number.clone()).with("factor", number);
        Ok(if self.apply { shapes.with("image", image) } else { shapes })
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = pixels(input);
        let seconds = if self.apply { 5e-10 * pixels as f64 } else { 1e-6 };
        let fixed = if input.has("dark") || input.has("mask") { 4 } else { 0 };
        Cost { memory: fixed * pixels, seconds_per_record: seconds, ..Cost::default() }
    }
}

impl Fold for Normalize {
    fn lag(&self) -> Lag {
        Lag::Kept { lag: 0 }
    }

    fn push(
        &mut self,
        cx: &Cx,
        span: &Span,
        input: NormalizeIn,
        emit: &mut Emit<NormalizeOut>,
    ) -> Result<()> {
        let [n, rows, columns] = size(&input.image)?;
        self.begin(&input, rows, columns)?;
        for k in 0..n {
            let number = span.start + k as u64;
            let frame = input.image.record(k)?;
            let mean = match self.normalization {
                Method::None => 1.0,
                Method::Margin => self.margin(&frame, columns)?,
                Method::Monitor => match &input.monitor {
                    Some(monitor) => monitor.record(k)?.to_f64()?[0],
                    None => {
                        let error = Error::recipe("`normalization = \"monitor\"` has no monitor");
                        return Err(error.help("wire `monitor` to a number for each frame"));
                    }
                },
            };
            let target = self.state.target.or_else(|| (mean.is_finite() && mean > 0.0).then_some(mean));
            let Some(target) = target.filter(|t| mean.is_finite() && mean > 0.05 * t) else {
                let why =
                    format!("no beam: the mean is {mean:.1}, wanted more than a twentieth of the target");
                if !std::mem::replace(&mut self.state.told, true) {
                    let text = "A frame has no beam, and perhaps others: they are given up as missing.";
                    tracing::warn!(stage = cx.stage(), frame = number, mean, "{text}");
                }
                let span = Span::frames(number, 1);
                emit.give_up(Gap { span, reason: Reason::Missing, why: why.into() });
                continue;
            };
            if self.normalization == Method::Margin && !self.state.looked {
                self.look(&frame, mean)?;
            }
            self.state.target = Some(target);
            let factor = if self.normalization == Method::None { 1.0 } else { target / mean };
            emit.put(
                Span::frames(number, 1),
                NormalizeOut {
                    image: self.apply.then(|| self.multiplied(cx, &frame, factor as f32)).transpose()?,
                    margin_mean: Array::from_slice(&[mean]),
                    factor: Array::from_slice(&[factor]),
                },
            );
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap, _: &mut Emit<NormalizeOut>) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &Cx, _: &mut Emit<NormalizeOut>) -> Result<()> {
        Ok(())
    }

    fn save(&self) -> Result<Dict> {
        Ok(self.state.target.map_or_else(Dict::new, |t| Dict::new().with("target", t)))
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.state.target = state.get("target").and_then(Value::number);
        Ok(())
    }
}
declare!(Fold, "dct.normalize", Kind::Reducer, Normalize);

impl Normalize {
    /// What is known before the first frame.
    fn begin(&mut self, input: &NormalizeIn, rows: usize, columns: usize) -> Result<()> {
        self.margin_boxes.iter().try_for_each(|b| b.within("margin_boxes", rows, columns))?;
        if self.state.lost.is_none() && (input.dark.is_some() || input.mask.is_some()) {
            self.state.lost = Some(lost(input.dark.as_ref(), input.mask.as_ref(), 0.0, rows, columns)?);
        }
        if self.state.target.is_some() {
            return Ok(());
        }
        self.state.target = match (self.normalization, self.target, &input.reference) {
            (Method::Monitor, ..) => self.monitor_ref,
            (Method::None, ..) | (_, Target::Of(Which::First), _) => None,
            (_, Target::Number(n), _) => Some(n),
            (_, _, None) => {
                let error = Error::recipe("`target = \"reference\"` has no reference");
                return Err(error.help("wire `reference` to the flat-field stack"));
            }
            (_, _, Some(reference)) => {
                let stack = if reference.shape().len() == 2 { reference.lead() } else { reference.clone() };
                let [n, y, x] = size(&stack).map_err(|e| e.at("`reference`"))?;
                same("reference", &[y, x], rows, columns)?;
                let means: f64 =
                    (0..n).map(|k| self.margin(&stack.record(k)?, columns)).sum::<Result<f64>>()?;
                Some(means / n as f64)
            }
        };
        Ok(())
    }

    /// The mean of the valid pixels of all boxes.
    fn margin(&self, frame: &Array, columns: usize) -> Result<f64> {
        dispatch!(frame.dtype(), T => Ok(self.mean(frame.as_slice::<T>()?, columns)), complex => {
            Err(Error::data("found complex pixels, wanted real ones"))
        })
    }

    fn mean<T: Pixel>(&self, pixels: &[T], columns: usize) -> f64 {
        let lost = self.state.lost.as_deref();
        let (mut sum, mut count) = (0.0, 0u64);
        for area in self.margin_boxes.iter().map(|b| b.area()) {
            for row in area.rows[0]..area.rows[1] {
                for at in row * columns + area.columns[0]..row * columns + area.columns[1] {
                    let value = pixels[at].as_f32() - lost.map_or(0.0, |lost| lost[at]);
                    if value.is_finite() {
                        sum += f64::from(value);
                        count += 1;
                    }
                }
            }
        }
        sum / count as f64
    }

    /// Warns when the boxes seem to lie beside the beam.
    fn look(&mut self, frame: &Array, mean: f64) -> Result<()> {
        self.state.looked = true;
        let most = dispatch!(frame.dtype(), T => {
            let finite = frame.as_slice::<T>()?.iter().map(|v| v.as_f32()).filter(|v| v.is_finite());
            f64::from(finite.fold(f32::NEG_INFINITY, f32::max))
        }, complex => return Err(Error::data("found complex pixels, wanted real ones")));
        if mean < 0.1 * most {
            let text =
                "The margin is darker than a tenth of the brightest pixel: boxes are (x, y), columns first.";
            tracing::warn!(mean, most, "{text}");
        }
        Ok(())
    }

    /// A frame less its dark and times a factor.
    fn multiplied(&self, cx: &Cx, frame: &Array, by: f32) -> Result<Array> {
        let mut image = cx.array(Dtype::F32, &[&[1], frame.shape()].concat())?;
        let (to, level) = (image.as_slice_mut::<f32>()?, Level::best());
        match (&self.state.lost, frame.dtype()) {
            (None, Dtype::F32) => times(level, frame.as_slice::<f32>()?, by, to),
            (None, _) => times(level, &floats(frame)?, by, to),
            (Some(lost), _) => dispatch!(frame.dtype(), T => {
                even(level, frame.as_slice::<T>()?, lost, by, f32::NAN, to);
            }, complex => return Err(Error::data("found complex pixels, wanted real ones"))),
        }
        Ok(image.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn frames_without_beam_are_given_up_with_the_reason() {
        let run = RunCx::default();
        let cx = Cx::new(&run, "normalize");
        let mut stage: Normalize =
            toml::from_str("margin_boxes = [[[0, 0], [2, 1]]]").expect("two corners are a box");
        let image = [1.0f32, 3.0, 9.0, 0.05, 0.05, 9.0, f32::NAN, 8.0, 9.0];
        let input = NormalizeIn {
            image: Array::of(&[3, 1, 3], &image).unwrap(),
            dark: None,
            monitor: None,
            reference: None,
            mask: None,
        };
        let mut emit = Emit::default();
        stage.push(&cx, &Span::frames(4, 3), input, &mut emit).unwrap();
        let (items, gaps) = emit.take();
        // Means 2, 0.05 and 8: the second is below a twentieth of the first, the third is divided by 4.
        assert_eq!(items.iter().map(|(s, _)| s.start).collect::<Vec<_>>(), [4, 6]);
        assert_eq!(items[1].1.image.as_ref().unwrap().as_slice::<f32>().unwrap()[1..], [2.0, 2.25]);
        assert!(gaps.len() == 1 && gaps[0].span.start == 5 && gaps[0].why.contains("no beam"));
    }
}
