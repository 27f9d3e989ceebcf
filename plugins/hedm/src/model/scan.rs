//! The rotation: from an angle to a frame.

use crate::model::Rules;

/// Brings an angle in degrees into (-180, 180].
#[inline]
pub fn wrap(mut omega: f64) -> f64 {
    while omega <= -180.0 {
        omega += 360.0;
    }
    while omega > 180.0 {
        omega -= 360.0;
    }
    omega
}

/// A range of rotation and the box on the ideal detector plane that holds its spots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// From and to, in degrees.
    pub omega: [f64; 2],
    /// Y from and to, Z from and to, in micrometres on the ideal plane at the first distance.
    pub area: [f64; 4],
}

/// A scan of rotation frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// The angle at the beginning of frame 0, in degrees.
    pub start: f64,
    /// The turn of one frame in degrees; negative for a scan that turns back.
    pub step: f64,
    /// Frames of one distance.
    pub frames: usize,
    /// Where spots are looked for; a spot must lie in one of them.
    pub windows: Vec<Window>,
    /// Spots nearer than this to the rotation axis, in degrees of azimuth, are left out.
    pub exclude_pole: f64,
    /// The tilt of the rotation axis in degrees.
    pub wedge: f64,
    /// Whose rules hold for angles beyond a half turn.
    pub rules: Rules,
}

impl Scan {
    /// The frame coordinate of an angle: frame `f` holds `f <= x < f + 1`; none outside of the scan.
    #[inline]
    pub fn place(&self, omega: f64) -> Option<f64> {
        let turns: &[f64] = match self.rules {
            Rules::Right => &[0.0, 360.0, -360.0],
            Rules::Midas => &[0.0],
        };
        let frames = self.frames as f64;
        let mut places = turns.iter().map(|t| (omega + t - self.start) / self.step);
        places.find(|x| *x >= 0.0 && *x < frames)
    }

    /// The frame of an angle; none outside of the scan.
    #[inline]
    pub fn frame(&self, omega: f64) -> Option<usize> {
        self.place(omega).map(|x| x.floor() as usize)
    }

    /// Whether an angle lies in one of the windows.
    pub fn in_range(&self, omega: f64) -> bool {
        self.windows.iter().any(|w| self.inside(w, omega))
    }

    /// Whether an angle lies in the range of a window.
    #[inline]
    pub(crate) fn inside(&self, window: &Window, omega: f64) -> bool {
        let [low, high] = window.omega;
        let plain = low < omega && omega < high;
        // A range such as 0..360 holds angles that are written as negative ones.
        let turned = || [360.0, -360.0].iter().any(|t| low < omega + t && omega + t < high);
        plain || (self.rules == Rules::Right && turned())
    }

    /// The angle of a spot after the tilt of the axis, to first order in it.
    #[inline]
    pub fn tilted(&self, y: f64, z: f64, omega: f64, lsd: f64, wavelength: f64) -> f64 {
        if self.wedge == 0.0 {
            return omega;
        }
        let radius = y.hypot(z);
        let (sin_t, cos_t) = (radius / lsd).atan().sin_cos();
        let (sin_eta, cos_eta) = (-y / radius, z / radius);
        let s = 2.0 * sin_t / wavelength;
        let (k1, k2, k3) = (-s * sin_t, -s * cos_t * sin_eta, s * cos_t * cos_eta);
        let (sin_w, cos_w) = self.wedge.to_radians().sin_cos();
        let (g1, g2) = (k1 * cos_w + k3 * sin_w, k2);
        let v = s * sin_t;
        let around = (-v / g1.hypot(g2)).clamp(-1.0, 1.0).acos();
        let offset = g2.atan2(g1);
        let turns = [around, -around].map(|a| wrap((a - offset).to_degrees()));
        let delta = if turns[0].abs() < turns[1].abs() { turns[0] } else { turns[1] };
        wrap(omega - delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(start: f64, step: f64, frames: usize, rules: Rules) -> Scan {
        let windows = vec![Window { omega: [-180.0, 180.0], area: [-1e4, 1e4, -1e4, 1e4] }];
        Scan { start, step, frames, windows, exclude_pole: 6.0, wedge: 0.0, rules }
    }

    #[test]
    fn angles_find_their_frames_in_either_direction() {
        let back = scan(180.0, -0.25, 1440, Rules::Midas);
        // Frames of the worked example in the specification.
        for (omega, frame) in [(-25.297236, 821), (149.736147, 121), (-62.647211, 970)] {
            assert_eq!(back.frame(omega), Some(frame));
        }
        // A scan from 0 to 360 loses negative angles in the existing program.
        let turn = |rules| scan(0.0, 1.0, 360, rules);
        assert_eq!(turn(Rules::Midas).frame(-10.5), None);
        assert_eq!(turn(Rules::Right).frame(-10.5), Some(349));
        assert_eq!(scan(-30.0, 1.0, 60, Rules::Right).frame(40.0), None);
    }

    #[test]
    fn the_wedge_turns_by_its_cotangent() {
        // To first order the angle moves by wedge times cot(eta).
        let mut s = scan(-180.0, 0.25, 1440, Rules::Right);
        s.wedge = 0.05;
        let eta = 40f64.to_radians();
        let moved = s.tilted(-800.0 * eta.sin(), 800.0 * eta.cos(), 12.0, 8000.0, 0.17) - 12.0;
        assert!((moved - 0.05 / eta.tan()).abs() < 2e-3, "{moved}");
    }
}
