//! Pixel positions of a flat, regular detector.

use crate::pose::Pose;

/// Corner that holds pixel (0, 0) when looking at the sample from behind the camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orientation {
    /// Both axes mirrored (1).
    TopLeft,
    /// Rows mirrored (2).
    TopRight,
    /// As stored (3).
    #[default]
    BottomRight,
    /// Columns mirrored (4).
    BottomLeft,
}

impl Orientation {
    /// From its number 1 to 4; 0 is the detector's own, which is 3.
    pub fn from_number(n: u64) -> Option<Self> {
        Some(match n {
            1 => Self::TopLeft,
            2 => Self::TopRight,
            0 | 3 => Self::BottomRight,
            4 => Self::BottomLeft,
            _ => return None,
        })
    }

    /// Its number, 1 to 4.
    pub fn number(self) -> u8 {
        match self {
            Self::TopLeft => 1,
            Self::TopRight => 2,
            Self::BottomRight => 3,
            Self::BottomLeft => 4,
        }
    }

    fn mirrors(self) -> (bool, bool) {
        match self {
            Self::TopLeft => (true, true),
            Self::TopRight => (true, false),
            Self::BottomRight => (false, false),
            Self::BottomLeft => (false, true),
        }
    }
}

/// A flat detector's pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Pixel height and width in metres.
    pub pixel: [f64; 2],
    /// Which corner holds pixel (0, 0).
    pub orientation: Orientation,
}

impl Grid {
    /// A detector in its native orientation.
    pub fn new(shape: [usize; 2], pixel: [f64; 2]) -> Self {
        Self { shape, pixel, orientation: Orientation::BottomRight }
    }

    /// Position of a pixel's centre in metres.
    pub fn centre(&self, row: usize, col: usize) -> [f64; 2] {
        self.at(row as f64 + 0.5, col as f64 + 0.5)
    }

    /// Position in metres of a fractional pixel coordinate, whose integers are pixel edges.
    pub fn at(&self, row: f64, col: f64) -> [f64; 2] {
        let [row, col] = self.mirrored(row, col);
        [row * self.pixel[0], col * self.pixel[1]]
    }

    /// A fractional pixel coordinate as it would be in the native orientation.
    pub fn mirrored(&self, row: f64, col: f64) -> [f64; 2] {
        let (up, left) = self.orientation.mirrors();
        let row = if up { self.shape[0] as f64 - row } else { row };
        [row, if left { self.shape[1] as f64 - col } else { col }]
    }

    /// Fractional pixel coordinate of a position in metres; the inverse of [`Grid::at`].
    pub fn index(&self, d: [f64; 2]) -> [f64; 2] {
        let (up, left) = self.orientation.mirrors();
        let [row, col] = [d[0] / self.pixel[0], d[1] / self.pixel[1]];
        [
            if up { self.shape[0] as f64 - row } else { row },
            if left { self.shape[1] as f64 - col } else { col },
        ]
    }

    /// Two-theta of every pixel centre of one row, in radians.
    pub fn tth_row(&self, pose: &Pose, row: usize, out: &mut [f64]) {
        let m = pose.rotation();
        for (col, out) in out.iter_mut().enumerate().take(self.shape[1]) {
            let [d1, d2] = self.centre(row, col);
            *out = pose.lab_with(&m, d1, d2).tth();
        }
    }

    /// Azimuth of every pixel centre of one row, in radians, in (-pi, pi].
    pub fn chi_row(&self, pose: &Pose, row: usize, out: &mut [f64]) {
        let m = pose.rotation();
        for (col, out) in out.iter_mut().enumerate().take(self.shape[1]) {
            let [d1, d2] = self.centre(row, col);
            *out = pose.lab_with(&m, d1, d2).chi();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Table of the PONI convention: orientation 2 mirrors rows, 4 mirrors columns, 1 both.
    #[test]
    fn orientations_mirror_the_stored_indices() {
        let expected = [(1, [3.5, 4.5]), (2, [3.5, 0.5]), (3, [0.5, 0.5]), (4, [0.5, 4.5])];
        for (number, position) in expected {
            let orientation = Orientation::from_number(number).unwrap();
            let grid = Grid { shape: [4, 5], pixel: [1.0, 1.0], orientation };
            assert_eq!(grid.centre(0, 0), position, "orientation {number}");
            assert_eq!(grid.index(grid.at(1.25, 2.75)), [1.25, 2.75]);
        }
        assert_eq!(Orientation::from_number(5), None);
    }
}
