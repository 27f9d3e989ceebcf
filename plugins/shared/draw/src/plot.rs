//! Curves over axes.

use crate::canvas::{Canvas, Frame};
use crate::{Colour, DrawError, Result, Scale, font};

const INK: Colour = [25; 3];
const GRID: Colour = [228; 3];
/// Colours of curves that name none, told apart with any eyes (Okabe and Ito, 2008).
const COLOURS: [Colour; 6] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [230, 159, 0]];

/// One curve.
#[derive(Debug, Clone)]
pub struct Curve<'a> {
    x: &'a [f32],
    y: &'a [f32],
    name: String,
    colour: Option<Colour>,
}

impl<'a> Curve<'a> {
    /// A curve through points; those that are not finite break it.
    pub fn new(x: &'a [f32], y: &'a [f32]) -> Self {
        Self { x, y, name: String::new(), colour: None }
    }

    /// A name for the legend.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// The colour of the line.
    pub fn colour(mut self, colour: Colour) -> Self {
        self.colour = Some(colour);
        self
    }
}

/// Curves with axes, ticks and a legend.
#[derive(Debug, Clone)]
pub struct Plot<'a> {
    curves: Vec<Curve<'a>>,
    title: String,
    labels: [String; 2],
    scale: Scale,
    size: [usize; 2],
}

impl<'a> Plot<'a> {
    /// An empty plot of 800 by 480 pixels.
    pub fn new() -> Self {
        Self {
            curves: Vec::new(),
            title: String::new(),
            labels: Default::default(),
            scale: Scale::Linear,
            size: [480, 800],
        }
    }

    /// Adds a curve.
    pub fn curve(mut self, curve: Curve<'a>) -> Self {
        self.curves.push(curve);
        self
    }

    /// A line of text above the axes.
    pub fn title(mut self, title: &str) -> Self {
        self.title = title.into();
        self
    }

    /// Labels of the axes.
    pub fn labels(mut self, x: &str, y: &str) -> Self {
        self.labels = [x.into(), y.into()];
        self
    }

    /// The scale of the upright axis.
    pub fn scale(mut self, scale: Scale) -> Self {
        self.scale = scale;
        self
    }

    /// Height and width in pixels.
    pub fn size(mut self, size: [usize; 2]) -> Self {
        self.size = size.map(|n| n.clamp(160, 8000));
        self
    }

    /// Draws the plot and gives the bytes of a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        self.canvas()?.png()
    }

    pub(crate) fn canvas(&self) -> Result<Canvas> {
        for (i, curve) in self.curves.iter().enumerate() {
            if curve.x.len() != curve.y.len() {
                let (x, y) = (curve.x.len(), curve.y.len());
                return Err(DrawError(format!("curve {i} `{}` has {x} x and {y} y", curve.name)));
            }
        }
        let shown = |x: f32, y: f32| x.is_finite() && y.is_finite() && (self.scale != Scale::Log || y > 0.0);
        let points = || {
            let each = |c: &Curve<'a>| c.x.iter().copied().zip(c.y.iter().copied()).collect::<Vec<_>>();
            self.curves.iter().flat_map(each).filter(|(x, y)| shown(*x, *y))
        };
        let (x0, x1) = span(points().map(|p| p.0));
        let (y0, y1) = span(points().map(|p| self.scale.bend(p.1)));
        let (y0, y1) = (y0 - 0.04 * (y1 - y0), y1 + 0.04 * (y1 - y0));
        let back = |v: f32| match self.scale {
            Scale::Linear => v,
            Scale::Log => 10_f32.powf(v),
            Scale::Sqrt => v.max(0.0).powi(2),
        };
        let [height, width] = self.size;
        let xticks = Scale::Linear.ticks(x0, x1, width / 110);
        let yticks = self.scale.ticks(back(y0), back(y1), height / 70);
        let wide = yticks.iter().map(|t| font::width(&t.1)).max().unwrap_or(0);
        let left = wide + 14 + if self.labels[1].is_empty() { 0 } else { 16 };
        let below = 22 + if self.labels[0].is_empty() { 0 } else { 14 };
        let top = if self.title.is_empty() { 14 } else { 34 };
        let frame = Frame { left, top, right: width - 18, bottom: height - below };
        let mut canvas = Canvas::new(width, height, [255; 3]);
        let (across, down) = ((frame.right - left) as f32, (frame.bottom - top) as f32);
        let px = |x: f32| left as f32 + (x - x0) / (x1 - x0) * across;
        let py = |bent: f32| frame.bottom as f32 - (bent - y0) / (y1 - y0) * down;

        for (value, text) in &xticks {
            let x = px(*value) as usize;
            (top..frame.bottom).for_each(|y| canvas.set(x, y, GRID));
            let at = x.saturating_sub(font::width(text) / 2);
            canvas.text(at.min(width - font::width(text).min(width)), frame.bottom + 6, text, 1, INK);
        }
        for (value, text) in &yticks {
            let y = py(self.scale.bend(*value));
            if !(top as f32..=frame.bottom as f32).contains(&y) {
                continue;
            }
            let y = y as usize;
            (left..frame.right).for_each(|x| canvas.set(x, y, GRID));
            canvas.text(left.saturating_sub(font::width(text) + 4), y.saturating_sub(3), text, 1, INK);
        }
        for (i, curve) in self.curves.iter().enumerate() {
            let point = |(x, y): (&f32, &f32)| {
                if shown(*x, *y) { [px(*x), py(self.scale.bend(*y))] } else { [f32::NAN; 2] }
            };
            let line: Vec<_> = curve.x.iter().zip(curve.y).map(point).collect();
            canvas.stroke(&[line], 1.6, self.colour(i), 1.0, frame);
        }
        canvas.outline(frame, INK);
        self.write(&mut canvas, frame);
        Ok(canvas)
    }

    fn colour(&self, i: usize) -> Colour {
        self.curves[i].colour.unwrap_or(COLOURS[i % COLOURS.len()])
    }

    fn write(&self, canvas: &mut Canvas, frame: Frame) {
        let size = if 2 * font::width(&self.title) + frame.left <= canvas.width { 2 } else { 1 };
        canvas.text(frame.left, 10, &self.title, size, INK);
        let [x, y] = &self.labels;
        let middle = (frame.left + frame.right).saturating_sub(font::width(x)) / 2;
        canvas.text(middle, canvas.height - 12, x, 1, INK);
        canvas.text_up(4, (frame.top + frame.bottom + font::width(y)) / 2, y, INK);
        let named = self.curves.iter().enumerate().filter(|(_, c)| !c.name.is_empty());
        for (row, (i, curve)) in named.enumerate() {
            let right = frame.right - 10;
            let (y, x) = (frame.top + 10 + 13 * row, right.saturating_sub(font::width(&curve.name)));
            canvas.text(x, y, &curve.name, 1, INK);
            let line = vec![[x as f32 - 26.0, y as f32 + 3.5], [x as f32 - 6.0, y as f32 + 3.5]];
            canvas.stroke(&[line], 2.0, self.colour(i), 1.0, frame);
        }
    }
}

impl Default for Plot<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// Least and most, apart from each other.
fn span(values: impl Iterator<Item = f32>) -> (f32, f32) {
    let (low, high) = values.fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(v), b.max(v)));
    match (low < high, low == high) {
        (true, _) => (low, high),
        (_, true) => (low - low.abs().max(1.0) * 0.5, high + high.abs().max(1.0) * 0.5),
        _ => (0.0, 1.0),
    }
}
