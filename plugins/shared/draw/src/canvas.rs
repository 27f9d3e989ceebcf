//! Pixels, lines and text.

use crate::{Colour, DrawError, Result, font};

/// Lines are cut into pieces of this length, to look at few pixels each.
const PIECE: f32 = 24.0;

pub(crate) struct Canvas {
    pub width: usize,
    pub height: usize,
    pixels: Vec<Colour>,
    /// How much of each pixel the current line covers; zero between lines.
    cover: Vec<f32>,
}

/// A part of the canvas: left, top, right, bottom, ends excluded.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

impl Canvas {
    pub fn new(width: usize, height: usize, ground: Colour) -> Self {
        let n = width * height;
        Self { width, height, pixels: vec![ground; n], cover: vec![0.0; n] }
    }

    pub fn set(&mut self, x: usize, y: usize, colour: Colour) {
        if x < self.width && y < self.height {
            self.pixels[y * self.width + x] = colour;
        }
    }

    /// Lays another canvas over this one.
    pub fn paste(&mut self, other: &Canvas, left: usize, top: usize) {
        for (y, row) in other.pixels.chunks(other.width.max(1)).enumerate() {
            for (x, colour) in row.iter().enumerate() {
                self.set(left + x, top + y, *colour);
            }
        }
    }

    fn blend(&mut self, index: usize, colour: Colour, part: f32) {
        let pixel = &mut self.pixels[index];
        for (old, new) in pixel.iter_mut().zip(colour) {
            let (a, b) = (f32::from(*old), f32::from(new));
            *old = (a + (b - a) * part).round() as u8;
        }
    }

    /// A rectangle of one-pixel lines around a frame.
    pub fn outline(&mut self, frame: Frame, colour: Colour) {
        let Frame { left, top, right, bottom } = frame;
        for x in left.saturating_sub(1)..=right {
            self.set(x, top.saturating_sub(1), colour);
            self.set(x, bottom, colour);
        }
        for y in top.saturating_sub(1)..=bottom {
            self.set(left.saturating_sub(1), y, colour);
            self.set(right, y, colour);
        }
    }

    /// Lines through points (x, y), clipped to a frame.
    ///
    /// All pieces are covered first and blended once, so that transparent
    /// lines show no knots where pieces meet.
    pub fn stroke(
        &mut self,
        lines: &[Vec<[f32; 2]>],
        width: f32,
        colour: Colour,
        opacity: f32,
        frame: Frame,
    ) {
        let mut touched = Vec::new();
        for line in lines {
            for pair in line.windows(2) {
                if let Some((a, b)) = clip(pair[0], pair[1], frame, width) {
                    self.segment(a, b, width, frame, &mut touched);
                }
            }
        }
        for index in touched {
            let part = std::mem::take(&mut self.cover[index]) * opacity;
            self.blend(index, colour, part);
        }
    }

    fn segment(&mut self, a: [f32; 2], b: [f32; 2], width: f32, frame: Frame, touched: &mut Vec<usize>) {
        let pieces = ((b[0] - a[0]).hypot(b[1] - a[1]) / PIECE).ceil().max(1.0) as usize;
        let point = |i: usize| {
            let t = i as f32 / pieces as f32;
            [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t]
        };
        let half = width / 2.0 + 0.5;
        for i in 0..pieces {
            let (p, q) = (point(i), point(i + 1));
            let low = |k: usize, end: usize| ((p[k].min(q[k]) - half).floor().max(0.0) as usize).max(end);
            let high = |k: usize, end: usize| ((p[k].max(q[k]) + half).ceil().max(0.0) as usize).min(end);
            for y in low(1, frame.top)..high(1, frame.bottom) {
                for x in low(0, frame.left)..high(0, frame.right) {
                    let far = distance([x as f32 + 0.5, y as f32 + 0.5], p, q);
                    let part = (half - far).clamp(0.0, 1.0);
                    let index = y * self.width + x;
                    if part > self.cover[index] {
                        if self.cover[index] == 0.0 {
                            touched.push(index);
                        }
                        self.cover[index] = part;
                    }
                }
            }
        }
    }

    /// Text with its top left corner at (x, y), each dot `size` pixels wide.
    pub fn text(&mut self, x: usize, y: usize, text: &str, size: usize, colour: Colour) {
        for (i, character) in text.chars().enumerate() {
            for (column, bits) in font::glyph(character).into_iter().enumerate() {
                for row in 0..8 {
                    if bits >> row & 1 == 1 {
                        let (left, top) = (x + (i * font::STEP + column) * size, y + row * size);
                        for dot in 0..size * size {
                            self.set(left + dot % size, top + dot / size, colour);
                        }
                    }
                }
            }
        }
    }

    /// Text that reads upwards, with its lower left corner at (x, y).
    pub fn text_up(&mut self, x: usize, y: usize, text: &str, colour: Colour) {
        for (i, character) in text.chars().enumerate() {
            for (column, bits) in font::glyph(character).into_iter().enumerate() {
                for row in 0..8 {
                    let above = y.checked_sub(i * font::STEP + column);
                    if let (1, Some(y)) = (bits >> row & 1, above) {
                        self.set(x + row, y, colour);
                    }
                }
            }
        }
    }

    pub fn png(&self) -> Result<Vec<u8>> {
        let fault = |e: png::EncodingError| DrawError(format!("png: {e}"));
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header().map_err(fault)?;
        writer.write_image_data(self.pixels.as_flattened()).map_err(fault)?;
        writer.finish().map_err(fault)?;
        Ok(bytes)
    }
}

/// Distance from a point to a segment.
fn distance(at: [f32; 2], a: [f32; 2], b: [f32; 2]) -> f32 {
    let along = [b[0] - a[0], b[1] - a[1]];
    let from = [at[0] - a[0], at[1] - a[1]];
    let length = along[0] * along[0] + along[1] * along[1];
    let t =
        if length > 0.0 { ((from[0] * along[0] + from[1] * along[1]) / length).clamp(0.0, 1.0) } else { 0.0 };
    (from[0] - t * along[0]).hypot(from[1] - t * along[1])
}

/// Liang-Barsky: the part of a segment near a frame, however far it runs.
fn clip(a: [f32; 2], b: [f32; 2], frame: Frame, width: f32) -> Option<([f32; 2], [f32; 2])> {
    if !a.into_iter().chain(b).all(f32::is_finite) {
        return None;
    }
    let edge = width + 1.0;
    let low = [frame.left as f32 - edge, frame.top as f32 - edge];
    let high = [frame.right as f32 + edge, frame.bottom as f32 + edge];
    let (mut from, mut to) = (0_f32, 1_f32);
    for k in 0..2 {
        let along = b[k] - a[k];
        if along == 0.0 {
            if a[k] < low[k] || a[k] > high[k] {
                return None;
            }
            continue;
        }
        let (s, t) = ((low[k] - a[k]) / along, (high[k] - a[k]) / along);
        from = from.max(s.min(t));
        to = to.min(s.max(t));
    }
    let point = |t: f32| [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t];
    // Rounding may throw a far end off again: keep it in reach.
    let held = |p: [f32; 2]| std::array::from_fn(|k| p[k].clamp(low[k], high[k]));
    (from <= to).then(|| (held(point(from)), held(point(to))))
}
