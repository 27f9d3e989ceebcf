//! `png.write`: pictures to look at.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::{Ranges, SNAPSHOT};
use isard_draw::{Curve, Limits, Map as Colours, Overlay, Picture, Plot, Scale, Shape as Mark};

use crate::output::name;

/// The colour of rings: seen on every map.
const RING: isard_draw::Colour = [255, 45, 85];

/// Draws images as PNG pictures, live.
///
/// `NAME.png` shows the latest record and is replaced in one step at most every `live_s` seconds, at checkpoints and at the
/// end; with `every`, each frame whose number is a multiple of it stays as `NAME.parts/000000000.png`. Records of one axis
/// are drawn as a curve. Bad pixels (masked or not a number) are grey.
///
/// Changes neither order nor count; shows few frames out of many. A picture takes some 20 ms for each million pixels.
///
/// Source: the PNG specification, third edition.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PngWrite {
    /// The file, relative to the run's folder; must end in `.png`.
    #[schemars(extend("x-path" = "output", "x-endings" = [".png"]))]
    path: String,
    /// Keeps every so many frames as files of their own; else only the latest is shown.
    #[serde(default)]
    #[schemars(range(min = 1))]
    every: Option<u64>,
    /// The colour map.
    #[serde(default)]
    colours: ColourMap,
    /// How values are spread over the colours.
    #[serde(default)]
    scale: Spread,
    /// The value of the low end; else a percentile of the good pixels.
    #[serde(default)]
    low: Option<f64>,
    /// The value of the high end; else a percentile of the good pixels.
    #[serde(default)]
    high: Option<f64>,
    /// The percentiles that take the ends where no values are given.
    #[serde(default = "percentiles")]
    percentiles: [f64; 2],
    /// A label for the colour bar; without it there is no bar.
    #[serde(default)]
    bar: Option<String>,
    /// A line above the image; else the record's number.
    #[serde(default)]
    title: Option<String>,
    /// The longest side that is shown without averaging pixels.
    #[serde(default = "largest")]
    #[schemars(range(min = 16, max = 8192), extend("x-unit" = "pixel", "x-level" = "expert"))]
    largest: usize,
    /// The live picture is replaced no more often than this.
    #[serde(default = "live_s")]
    #[schemars(range(min = 0.0), extend("x-unit" = "s", "x-level" = "expert"))]
    live_s: f64,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

fn percentiles() -> [f64; 2] {
    [0.5, 99.5]
}
fn largest() -> usize {
    1200
}
fn live_s() -> f64 {
    1.0
}

/// A colour map.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ColourMap {
    /// Blue to yellow, even in lightness.
    #[default]
    Viridis,
    /// Black over red to white: weak signals on a dark ground.
    Magma,
    /// Black to white.
    Grey,
}

/// How values are spread over the colours.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// Even steps.
    #[default]
    Linear,
    /// Even factors.
    Log,
    /// Even steps of the square root, which evens counting noise.
    Sqrt,
}

/// The input of [`PngWrite`].
#[derive(Ports)]
pub struct PngIn {
    /// Images [y x], or curves [x].
    #[port(dtype = "any")]
    image: Array,
    /// Bad pixels: 0 is good, anything else bad.
    #[port(fixed, dtype = "number", axes = "y x")]
    mask: Option<Array>,
    /// Marks over each image, in pixels.
    ///
    /// A table of circles `y, x, radius`, or of lines of points `line, y, x`.
    rings: Option<Table>,
}

#[derive(Default)]
struct State {
    out: Option<Arc<dyn Output>>,
    /// The record after the last one that was kept.
    next: u64,
    /// The latest record, not yet drawn.
    latest: Option<Shot>,
    drawn: Option<Instant>,
}

/// One record to be drawn.
struct Shot {
    title: String,
    image: Array,
    mask: Option<Array>,
    rings: Option<Table>,
}

impl Stage for PngWrite {
    type In = PngIn;
    type Out = ();

    fn example() -> Example {
        let pixels: Vec<f32> = (0..96).map(|i| (i % 48) as f32).collect();
        let rings = Table::new(1)
            .with("y", &[3.0])
            .and_then(|t| t.with("x", &[4.0]))
            .and_then(|t| t.with("radius", &[2.0]))
            .and_then(|t| t.with_records(&[1]));
        Example::new("path = \"latest.png\"\nscale = \"sqrt\"\nbar = \"count\"")
            .frames("image", Array::of(&[2, 6, 8], &pixels).expect("96 pixels"))
            .frames("rings", rings.expect("one circle"))
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        match input.get("image").dims {
            Some(dims) if !matches!(dims.len(), 1 | 2) => {
                let error =
                    Error::recipe(format!("records of shape {dims:?} are no images [y x] or curves [x]"));
                Err(error.help("what `run.per` gives has the axis in front: write it with `hdf5.write`"))
            }
            _ => Ok(Shapes::default()),
        }
    }

    fn check(&self, faults: &mut Faults) {
        name::check(&self.path, &[".png"], faults);
        if self.every == Some(0) {
            faults.add("every", "is 0, wanted at least 1");
        }
        match (self.low, self.high) {
            (Some(low), Some(high)) if low >= high => {
                faults.add("high", format!("is {high}, wanted more than `low`, which is {low}"));
            }
            (Some(_), None) | (None, Some(_)) => {
                let absent = if self.low.is_some() { "high" } else { "low" };
                faults.add(absent, "is not given, wanted both ends or none");
            }
            (Some(low), _) if low <= 0.0 && matches!(self.scale, Spread::Log) => {
                faults.add("low", format!("is {low}, wanted more than 0 for a log scale"));
            }
            _ => (),
        }
        let [low, high] = self.percentiles;
        if !(0.0 <= low && low < high && high <= 100.0) {
            faults.add("percentiles", format!("are {low} and {high}, wanted two rising ones from 0 to 100"));
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let image = input.get("image");
        let pixels: usize = image.dims.iter().flatten().product();
        let disk_per_record = self.every.map_or(0, |n| (pixels as u64).min(2 << 20) / n.max(1));
        Cost { memory: 16 * pixels as u64, disk_per_record, ..Cost::default() }
    }
}

impl Writer for PngWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        let next = crate::output::run::next(committed.as_ref());
        self.state = State { out: Some(out), next, ..State::default() };
        Ok(())
    }

    fn write(&mut self, cx: &Cx, span: &Span, input: PngIn) -> Result<()> {
        let shot = |record: u64| -> Result<Shot> {
            Ok(Shot {
                title: self.title.clone().unwrap_or_else(|| format!("{} {record}", span.axis)),
                image: input.image.record((record - span.start) as usize)?,
                mask: input.mask.clone(),
                rings: input.rings.as_ref().map(|t| t.between(record, record + 1)).transpose()?,
            })
        };
        if let Some(every) = self.every.filter(|_| span.axis != SNAPSHOT) {
            for record in span.range().filter(|n| n.is_multiple_of(every)) {
                cx.check()?;
                if record < self.state.next {
                    continue;
                }
                let part = format!("{}.parts/{record:09}.png", name::stem(&self.path));
                self.out()?.seal(&part, &self.draw(&shot(record)?)?)?;
                self.state.next = record + 1;
            }
        }
        let mut latest = shot(span.end() - 1)?;
        // The shot outlives the call, the buffer of the chunk must not.
        latest.image = latest.image.detach()?;
        self.state.latest = Some(latest);
        if self.state.drawn.is_none_or(|drawn| drawn.elapsed().as_secs_f64() >= self.live_s) {
            self.flush()?;
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        self.flush()?;
        Ok(Dict::new().with("next", self.state.next as i64))
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        self.flush()
    }
}
declare!(Writer, "png.write", Kind::Writer, PngWrite);

impl PngWrite {
    fn out(&self) -> Result<&Arc<dyn Output>> {
        self.state.out.as_ref().ok_or_else(|| Error::internal("a writer was used before it was opened"))
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(shot) = &self.state.latest {
            self.out()?.replace(&self.path, &self.draw(shot)?)?;
            self.state.latest = None;
            self.state.drawn = Some(Instant::now());
        }
        Ok(())
    }

    fn draw(&self, shot: &Shot) -> Result<Vec<u8>> {
        let fault = |e: isard_draw::DrawError| Error::data(e.to_string());
        let values = values(&shot.image)?;
        let scale = match self.scale {
            Spread::Linear => Scale::Linear,
            Spread::Log => Scale::Log,
            Spread::Sqrt => Scale::Sqrt,
        };
        if let [n] = shot.image.shape() {
            let x: Vec<f32> = (0..*n).map(|i| i as f32).collect();
            let plot = Plot::new().curve(Curve::new(&x, &values)).title(&shot.title).scale(scale);
            return plot.labels("", self.bar.as_deref().unwrap_or_default()).png().map_err(fault);
        }
        let [rows, columns] = shot.image.shape() else {
            let shape = shot.image.shape();
            return Err(Error::data(format!(
                "found records of shape {shape:?}, wanted images [y x] or curves [x]"
            )));
        };
        let bad = match &shot.mask {
            Some(mask) if mask.shape() != shot.image.shape() => {
                let (found, wanted) = (mask.shape(), shot.image.shape());
                return Err(Error::data(format!("the mask has shape {found:?}, the image {wanted:?}")));
            }
            Some(mask) => Some(mask.to_f64()?.into_iter().map(|m| m != 0.0).collect::<Vec<bool>>()),
            None => None,
        };
        let limits = match (self.low, self.high) {
            (Some(low), Some(high)) => Limits::Fixed(low as f32, high as f32),
            _ => Limits::Percentile(self.percentiles[0] as f32, self.percentiles[1] as f32),
        };
        let map = match self.colours {
            ColourMap::Viridis => Colours::Viridis,
            ColourMap::Magma => Colours::Magma,
            ColourMap::Grey => Colours::Grey,
        };
        let mut picture = Picture::new(&values, [*rows, *columns]).map_err(fault)?;
        picture = picture.map(map).scale(scale).limits(limits).title(&shot.title).largest(self.largest);
        if let Some(bad) = &bad {
            picture = picture.mask(bad).map_err(fault)?;
        }
        if let Some(label) = &self.bar {
            picture = picture.bar(label);
        }
        for mark in shot.rings.iter().map(marks).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            picture = picture.overlay(Overlay::new(mark, RING).opacity(0.9));
        }
        picture.png().map_err(fault)
    }
}

/// The pixels as the picture takes them; complex ones by their modulus.
fn values(image: &Array) -> Result<Vec<f32>> {
    match image.dtype() {
        Dtype::F32 => Ok(image.as_slice::<f32>()?.to_vec()),
        Dtype::C32 | Dtype::C64 => {
            let modulus = |re: f64, im: f64| re.hypot(im) as f32;
            let bytes = image.bytes();
            Ok(match image.dtype() {
                Dtype::C32 => {
                    bytes.as_chunks::<8>().0.iter().map(|c| modulus(float(&c[..4]), float(&c[4..]))).collect()
                }
                _ => bytes
                    .as_chunks::<16>()
                    .0
                    .iter()
                    .map(|c| modulus(float(&c[..8]), float(&c[8..])))
                    .collect(),
            })
        }
        _ => Ok(image.to_f64()?.into_iter().map(|x| x as f32).collect()),
    }
}

fn float(bytes: &[u8]) -> f64 {
    match bytes.try_into() {
        Ok(four) => f64::from(f32::from_ne_bytes(four)),
        Err(_) => bytes.try_into().map_or(f64::NAN, f64::from_ne_bytes),
    }
}

/// The marks of a table: circles, or lines of points with one number.
fn marks(table: &Table) -> Result<Vec<Mark>> {
    let column = |name: &str| match table.column(name)? {
        Column::Array(a) => Ok(a.to_f64()?.into_iter().map(|x| x as f32).collect::<Vec<f32>>()),
        _ => Err(Error::data(format!("column `{name}` of `rings` holds no numbers"))),
    };
    let (y, x) = (column("y")?, column("x")?);
    let points = y.into_iter().zip(x).map(|(y, x)| [y, x]);
    if table.names().any(|n| n == "radius") {
        let radius = column("radius")?;
        return Ok(points.zip(radius).map(|(centre, radius)| Mark::Circle { centre, radius }).collect());
    }
    let line = column("line").map_err(|_| {
        let names: Vec<&str> = table.names().collect();
        Error::data(format!(
            "`rings` has columns {}, wanted `y, x, radius` or `line, y, x`",
            names.join(", ")
        ))
    })?;
    let mut lines: BTreeMap<i64, Vec<[f32; 2]>> = BTreeMap::new();
    for (point, line) in points.zip(line) {
        lines.entry(line as i64).or_default().push(point);
    }
    Ok(lines.into_values().map(Mark::Line).collect())
}
