//! Marks over a picture.

use crate::Colour;

/// A mark in pixels of the image; whole numbers are centres of pixels.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Points (y, x) joined by lines; a point that is not finite breaks the line.
    Line(Vec<[f32; 2]>),
    /// A circle around (y, x).
    Circle {
        /// The centre (y, x).
        centre: [f32; 2],
        /// The radius.
        radius: f32,
    },
    /// An upright cross at (y, x).
    Cross {
        /// The centre (y, x).
        centre: [f32; 2],
        /// Half the length of a bar.
        arm: f32,
    },
}

/// A mark and how it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlay {
    pub(crate) shape: Shape,
    pub(crate) colour: Colour,
    pub(crate) opacity: f32,
    pub(crate) width: f32,
}

impl Overlay {
    /// A mark in a colour, one point wide and opaque.
    pub fn new(shape: Shape, colour: Colour) -> Self {
        Self { shape, colour, opacity: 1.0, width: 1.0 }
    }

    /// Lets the image shine through: 0 is invisible, 1 opaque.
    pub fn opacity(mut self, opacity: f32) -> Self {
        self.opacity = opacity.clamp(0.0, 1.0);
        self
    }

    /// Width of the line in points of the picture, whatever its zoom.
    pub fn width(mut self, width: f32) -> Self {
        self.width = width.clamp(0.5, 50.0);
        self
    }

    /// The mark as lines (y, x).
    pub(crate) fn lines(&self) -> Vec<Vec<[f32; 2]>> {
        match &self.shape {
            Shape::Line(points) => vec![points.clone()],
            Shape::Cross { centre: [y, x], arm } => {
                vec![vec![[y - arm, *x], [y + arm, *x]], vec![[*y, x - arm], [*y, x + arm]]]
            }
            Shape::Circle { centre: [y, x], radius } => {
                // Straight pieces that stay within a fiftieth of a pixel, also when enlarged.
                let pieces = (16.0 * radius.abs().sqrt()).clamp(96.0, 4000.0) as usize;
                let turn = std::f32::consts::TAU / pieces as f32;
                let point = |i| {
                    let (sin, cos) = (i as f32 * turn).sin_cos();
                    [y + radius * sin, x + radius * cos]
                };
                vec![(0..=pieces).map(point).collect()]
            }
        }
    }
}
