//! Several pictures and plots on one sheet.

use crate::canvas::Canvas;
use crate::{Picture, Plot, Result};

/// Pictures and plots beside and below each other, as near to a square as they go.
#[derive(Default)]
pub struct Sheet {
    parts: Vec<Canvas>,
}

impl Sheet {
    /// An empty sheet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a picture.
    pub fn picture(mut self, picture: &Picture) -> Result<Self> {
        self.parts.push(picture.canvas()?);
        Ok(self)
    }

    /// Adds a plot.
    pub fn plot(mut self, plot: &Plot) -> Result<Self> {
        self.parts.push(plot.canvas()?);
        Ok(self)
    }

    /// Whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Gives the bytes of a PNG file.
    pub fn png(&self) -> Result<Vec<u8>> {
        let columns = (1..).find(|c| c * c >= self.parts.len()).unwrap_or(1).max(1);
        let widest = |column: usize| {
            let parts = self.parts.iter().skip(column).step_by(columns);
            parts.map(|p| p.width).max().unwrap_or(0)
        };
        let left: Vec<usize> = (0..=columns).map(|c| (0..c).map(widest).sum()).collect();
        let heights: Vec<usize> =
            self.parts.chunks(columns).map(|row| row.iter().map(|p| p.height).max().unwrap_or(0)).collect();
        let (width, height) = (left[columns].max(1), heights.iter().sum::<usize>().max(1));
        let mut canvas = Canvas::new(width, height, [255; 3]);
        let mut top = 0;
        for (row, height) in self.parts.chunks(columns).zip(heights) {
            for (part, left) in row.iter().zip(&left) {
                canvas.paste(part, *left, top);
            }
            top += height;
        }
        canvas.png()
    }
}
