//! What a calibration is told and what it answers.

use isard_geometry::{Calibrant, Grid, Pose};

/// What is known before the first frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// The pixels.
    pub grid: Grid,
    /// Scattering angles of the calibrant's lines in radians, rising.
    pub angles: Vec<f64>,
    /// Degree of horizontal polarisation, if rings are to be corrected for it.
    pub polarisation: Option<f64>,
    /// Least and greatest distance in metres, if anything is known of it.
    pub distance: Option<[f64; 2]>,
}

/// Most lines that are looked at.
const LINES: usize = 200;
/// Largest scattering angle that is looked at, in radians.
const WIDEST: f64 = 1.4;

impl Setup {
    /// A calibration with a calibrant at a wavelength in metres, nothing else being known.
    pub fn new(grid: Grid, calibrant: &Calibrant, wavelength: f64) -> Self {
        let mut angles = calibrant.angles(wavelength, WIDEST);
        angles.truncate(LINES);
        Self { grid, angles, polarisation: None, distance: None }
    }
}

/// A geometry found from rings, with how sure it is.
///
/// Uncertainties are standard deviations.
/// They follow from the noise of counts and, where ring positions scatter more than that, from their scatter.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Distance, point of normal incidence, rot1 and rot2 in metres and radians; rot3 is 0, rings do not show it.
    pub pose: Pose,
    /// Covariance of distance, poni1, poni2, rot1 and rot2, in this order, in metres and radians.
    pub covariance: [[f64; 5]; 5],
    /// Row and column where the direct beam hits, in pixels from the outer edge of pixel (0, 0).
    pub centre: [f64; 2],
    /// Standard deviations of the centre, in pixels.
    pub centre_sigma: [f64; 2],
    /// Correlation of the distance with rot1 and rot2.
    pub correlation: [f64; 2],
    /// Number of rings that count.
    pub rings: usize,
    /// Number of ring positions (sectors of rings) that count.
    pub positions: usize,
    /// Number of ring positions that were measured and do not count.
    pub rejected: usize,
    /// Root mean square distance of the positions from their rings, in pixels.
    pub rms: f64,
    /// Sum of squares over degrees of freedom, with the noise of counts alone.
    pub chi2_dof: f64,
    /// Scatter of the positions beyond the noise of counts, in pixels; 0 where there is none.
    pub systematic: f64,
    /// Median standard deviation of the rings' profile, in pixels.
    pub width: f64,
    /// How well lines and all rings in the image explain each other: 1 if each is the other, 0 if none is.
    pub score: f64,
    /// Length of the last step in standard deviations.
    pub moved: f64,
    /// Frames it rests on.
    pub frames: u64,
}

impl Estimate {
    /// Standard deviations of distance, poni1, poni2, rot1 and rot2, in metres and radians.
    pub fn sigma(&self) -> [f64; 5] {
        [0, 1, 2, 3, 4].map(|k| self.covariance[k][k].sqrt())
    }
}
