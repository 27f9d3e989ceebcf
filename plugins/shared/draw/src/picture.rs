//! An image as a picture.

use crate::canvas::{Canvas, Frame};
use crate::scale::ends;
use crate::{Colour, DrawError, Limits, Map, Overlay, Result, Scale, font};

const GROUND: Colour = [255; 3];
const INK: Colour = [25; 3];
/// Images smaller than this are shown with whole pixels enlarged.
const SMALLEST: usize = 384;
const EDGE: usize = 10;

/// An image with a colour map, marks over it and labels around it.
#[derive(Debug, Clone)]
pub struct Picture<'a> {
    data: &'a [f32],
    shape: [usize; 2],
    mask: Option<&'a [bool]>,
    map: Map,
    scale: Scale,
    limits: Limits,
    invalid: Colour,
    bar: Option<String>,
    title: String,
    overlays: Vec<Overlay>,
    largest: usize,
}

impl<'a> Picture<'a> {
    /// A picture of an image of `shape` (rows, columns).
    pub fn new(data: &'a [f32], shape: [usize; 2]) -> Result<Self> {
        let [rows, columns] = shape;
        if rows.checked_mul(columns) != Some(data.len()) || data.is_empty() {
            return Err(DrawError(format!("an image of shape {shape:?} cannot have {} pixels", data.len())));
        }
        Ok(Self {
            data,
            shape,
            mask: None,
            map: Map::default(),
            scale: Scale::default(),
            limits: Limits::Percentile(0.5, 99.5),
            invalid: [150, 155, 165],
            bar: None,
            title: String::new(),
            overlays: Vec::new(),
            largest: 1200,
        })
    }

    /// Marks pixels as invalid where `mask` is true; not-a-number always is.
    pub fn mask(mut self, mask: &'a [bool]) -> Result<Self> {
        if mask.len() != self.data.len() {
            let text = format!("the mask has {} pixels, the image {}", mask.len(), self.data.len());
            return Err(DrawError(text));
        }
        self.mask = Some(mask);
        Ok(self)
    }

    /// The colour map.
    pub fn map(mut self, map: Map) -> Self {
        self.map = map;
        self
    }

    /// How values are spread over the colours.
    pub fn scale(mut self, scale: Scale) -> Self {
        self.scale = scale;
        self
    }

    /// Which values take the ends of the map; by default percentiles 0.5 and 99.5.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The colour of invalid pixels.
    pub fn invalid(mut self, colour: Colour) -> Self {
        self.invalid = colour;
        self
    }

    /// Shows a colour bar with a label, which may be empty.
    pub fn bar(mut self, label: &str) -> Self {
        self.bar = Some(label.into());
        self
    }

    /// A line of text above the image.
    pub fn title(mut self, title: &str) -> Self {
        self.title = title.into();
        self
    }

    /// Adds a mark; later ones lie over earlier ones.
    pub fn overlay(mut self, overlay: Overlay) -> Self {
        self.overlays.push(overlay);
        self
    }

    /// The longest side that is shown without averaging, in pixels.
    pub fn largest(mut self, pixels: usize) -> Self {
        self.largest = pixels.max(16);
        self
    }

    /// Pixels of the image along each side of a block that is averaged into one.
    pub fn reduction(&self) -> usize {
        self.shape[0].max(self.shape[1]).div_ceil(self.largest)
    }

    /// Draws the picture and gives the bytes of a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        self.canvas()?.png()
    }

    pub(crate) fn canvas(&self) -> Result<Canvas> {
        let by = self.reduction();
        let (values, [rows, columns]) = self.reduce(by);
        let mut valid: Vec<f32> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let (low, high) = ends(self.limits, self.scale, &mut valid)?;
        let (from, to) = (self.scale.bend(low), self.scale.bend(high));
        let zoom = if by == 1 { (SMALLEST / rows.max(columns)).max(1) } else { 1 };

        let ticks = self.scale.ticks(low, high, (rows * zoom / 60).clamp(2, 8));
        let note = if by > 1 { format!("means of {by} x {by} pixels") } else { String::new() };
        let wide = ticks.iter().map(|t| font::width(&t.1)).max().unwrap_or(0);
        let side = self.bar.as_ref().map_or(EDGE, |label| 38 + wide + if label.is_empty() { 0 } else { 14 });
        let top = if self.title.is_empty() { EDGE } else { 30 };
        let bottom = if note.is_empty() { EDGE } else { 22 };
        let text = font::width(&self.title).max(font::width(&note)) + 2 * EDGE;
        let width = (EDGE + columns * zoom + side).max(text);
        let mut canvas = Canvas::new(width, top + rows * zoom + bottom, GROUND);
        let frame = Frame { left: EDGE, top, right: EDGE + columns * zoom, bottom: top + rows * zoom };

        let colour = |v: f32| {
            if v.is_finite() {
                self.map.colour((self.scale.bend(v) - from) / (to - from))
            } else {
                self.invalid
            }
        };
        for y in 0..rows * zoom {
            for x in 0..columns * zoom {
                let value = values[y / zoom * columns + x / zoom];
                canvas.set(frame.left + x, frame.top + y, colour(value));
            }
        }
        let place = |[y, x]: [f32; 2]| {
            let to = |v: f32| (v + 0.5) / by as f32 * zoom as f32;
            [frame.left as f32 + to(x), frame.top as f32 + to(y)]
        };
        for overlay in &self.overlays {
            let lines: Vec<Vec<_>> =
                overlay.lines().into_iter().map(|line| line.into_iter().map(place).collect()).collect();
            canvas.stroke(&lines, overlay.width, overlay.colour, overlay.opacity, frame);
        }
        canvas.outline(frame, INK);
        self.label(&mut canvas, frame, &note);
        if let Some(label) = &self.bar {
            let span = (from, to);
            self.draw_bar(&mut canvas, frame, span, &ticks, label);
        }
        Ok(canvas)
    }

    fn label(&self, canvas: &mut Canvas, frame: Frame, note: &str) {
        // Twice the size if there is room for it.
        let size = if 2 * font::width(&self.title) + 2 * EDGE <= canvas.width { 2 } else { 1 };
        canvas.text(EDGE, if size == 2 { 8 } else { 14 }, &self.title, size, INK);
        canvas.text(EDGE, frame.bottom + 8, note, 1, [110; 3]);
    }

    fn draw_bar(
        &self,
        canvas: &mut Canvas,
        frame: Frame,
        span: (f32, f32),
        ticks: &[(f32, String)],
        label: &str,
    ) {
        let bar = Frame { left: frame.right + 10, right: frame.right + 24, ..frame };
        let height = (bar.bottom - bar.top) as f32;
        for y in bar.top..bar.bottom {
            let t = 1.0 - (y - bar.top) as f32 / (height - 1.0).max(1.0);
            for x in bar.left..bar.right {
                canvas.set(x, y, self.map.colour(t));
            }
        }
        canvas.outline(bar, INK);
        for (value, text) in ticks {
            let t = (self.scale.bend(*value) - span.0) / (span.1 - span.0);
            if !(-0.001..=1.001).contains(&t) {
                continue;
            }
            let y = bar.top + ((1.0 - t).clamp(0.0, 1.0) * (height - 1.0)) as usize;
            for x in bar.right..bar.right + 4 {
                canvas.set(x, y, INK);
            }
            canvas.text(bar.right + 6, y.saturating_sub(3), text, 1, INK);
        }
        let middle = (bar.top + bar.bottom + font::width(label)) / 2;
        canvas.text_up(canvas.width - 12, middle, label, INK);
    }

    /// Means over blocks of valid pixels; a block without any is not a number.
    fn reduce(&self, by: usize) -> (Vec<f32>, [usize; 2]) {
        let [rows, columns] = self.shape;
        let shape = [rows.div_ceil(by), columns.div_ceil(by)];
        let mut out = Vec::with_capacity(shape[0] * shape[1]);
        for block in 0..shape[0] * shape[1] {
            let (y, x) = (block / shape[1] * by, block % shape[1] * by);
            let (mut sum, mut n) = (0_f64, 0_u32);
            for row in y..(y + by).min(rows) {
                for index in row * columns + x..row * columns + (x + by).min(columns) {
                    let value = self.data[index];
                    if value.is_finite() && !self.mask.is_some_and(|mask| mask[index]) {
                        sum += f64::from(value);
                        n += 1;
                    }
                }
            }
            out.push(if n > 0 { (sum / f64::from(n)) as f32 } else { f32::NAN });
        }
        (out, shape)
    }
}
