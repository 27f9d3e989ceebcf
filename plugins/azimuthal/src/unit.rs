//! Radial units: what is integrated against, and in which scale it is reported.

use std::f64::consts::PI;
use std::fmt;

use isard_geometry::Lab;

/// The quantity behind a unit, in SI units or nanometres as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Scattering vector in 1/nm.
    Q,
    /// Scattering angle in radians.
    Tth,
    /// Distance from the beam in metres.
    Radius,
    /// Square of the reciprocal spacing in 1/nm^2.
    SquaredReciprocal,
    /// Spacing in metres.
    Spacing,
    /// Decimal logarithm of q in 1/m.
    Log10Q,
    /// Natural logarithm of q in 1/nm.
    LnQ,
    /// Natural logarithm of 1 + q in 1/nm.
    Ln1Q,
    /// Natural logarithm of 1 + q in 1/angstrom.
    Ln1QAngstrom,
    /// Inverse hyperbolic sine of q in 1/nm.
    AsinhQ,
    /// Inverse hyperbolic sine of q in 1/angstrom.
    AsinhQAngstrom,
    /// Horizontal part of the scattering vector in 1/nm.
    Qx,
    /// Vertical part of the scattering vector in 1/nm.
    Qy,
    /// Azimuth in radians.
    Chi,
}

/// A radial unit: a space and the factor from it to what is reported.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// Its name, such as `q_nm^-1`.
    pub name: &'static str,
    /// The quantity.
    pub space: Space,
    /// What internal values are multiplied by when they are reported.
    pub scale: f64,
}

const fn unit(name: &'static str, space: Space, scale: f64) -> Unit {
    Unit { name, space, scale }
}

/// All units by name.
pub const UNITS: &[Unit] = &[
    unit("q_nm^-1", Space::Q, 1.0),
    unit("q_A^-1", Space::Q, 0.1),
    unit("2th_rad", Space::Tth, 1.0),
    unit("2th_deg", Space::Tth, 180.0 / PI),
    unit("r_m", Space::Radius, 1.0),
    unit("r_mm", Space::Radius, 1000.0),
    unit("d*2_nm^-2", Space::SquaredReciprocal, 1.0),
    unit("d*2_A^-2", Space::SquaredReciprocal, 0.01),
    unit("d_m", Space::Spacing, 1.0),
    unit("d_nm", Space::Spacing, 1e9),
    unit("d_A", Space::Spacing, 1e10),
    unit("log10(q.m)_None", Space::Log10Q, 1.0),
    unit("log(q.nm)_None", Space::LnQ, 1.0),
    unit("log(1+q.nm)_None", Space::Ln1Q, 1.0),
    unit("log(1+q.A)_None", Space::Ln1QAngstrom, 1.0),
    unit("arcsinh(q.nm)_None", Space::AsinhQ, 1.0),
    unit("arcsinh(q.A)_None", Space::AsinhQAngstrom, 1.0),
    unit("qx_nm^-1", Space::Qx, 1.0),
    unit("qy_nm^-1", Space::Qy, 1.0),
    unit("chi_rad", Space::Chi, 1.0),
    unit("chi_deg", Space::Chi, 180.0 / PI),
];

impl Unit {
    /// The unit of this name.
    pub fn named(name: &str) -> Option<Unit> {
        UNITS.iter().find(|u| u.name == name).copied()
    }

    /// What stands before the last underscore: the quantity in files.
    pub fn quantity(&self) -> &'static str {
        self.name.rsplit_once('_').map_or(self.name, |(space, _)| space)
    }

    /// What stands behind the last underscore: the unit in files.
    pub fn symbol(&self) -> &'static str {
        self.name.rsplit_once('_').map_or("", |(_, symbol)| symbol)
    }

    /// Whether its lower limit is never below zero.
    pub fn positive(&self) -> bool {
        !matches!(self.space, Space::Log10Q | Space::LnQ | Space::Qx | Space::Qy | Space::Chi)
    }

    /// Whether a wavelength is needed.
    pub fn needs_wavelength(&self) -> bool {
        !matches!(self.space, Space::Tth | Space::Radius | Space::Chi)
    }

    /// Whether its corners come straight from places, not from a table of corners in single precision.
    pub(crate) fn is_straight(&self) -> bool {
        matches!(self.space, Space::Q | Space::Tth | Space::Radius | Space::Chi)
    }

    /// Whether the azimuth is what is integrated against.
    pub fn is_angle(&self) -> bool {
        self.space == Space::Chi
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The names of all units, for messages.
pub fn names() -> String {
    UNITS.iter().map(|u| u.name).collect::<Vec<_>>().join(", ")
}

impl Space {
    /// The value at a point of the laboratory; `wavelength` in metres, NaN where it is not known.
    #[inline(always)]
    pub fn at(self, lab: &Lab, wavelength: f64) -> f64 {
        let q = || 4e-9 * PI / wavelength * sine(lab);
        match self {
            Space::Q => q(),
            Space::Tth => radius(lab).atan2(lab.z),
            Space::Radius => radius(lab),
            Space::SquaredReciprocal => (q() / (2.0 * PI)).powi(2),
            Space::Spacing => 2e-9 * PI / q(),
            Space::Log10Q => (q() * 1e9).log10(),
            Space::LnQ => q().ln(),
            Space::Ln1Q => q().ln_1p(),
            Space::Ln1QAngstrom => (0.1 * q()).ln_1p(),
            Space::AsinhQ => q().asinh(),
            Space::AsinhQAngstrom => (0.1 * q()).asinh(),
            Space::Qx => 4e-9 * PI / wavelength * (0.5 * lab.x.atan2(lab.z)).sin(),
            Space::Qy => 4e-9 * PI / wavelength * (0.5 * lab.y.atan2(lab.z)).sin(),
            Space::Chi => lab.chi(),
        }
    }
}

#[inline(always)]
fn radius(lab: &Lab) -> f64 {
    // Detectors are neither so small nor so large that the squares would leave the range of doubles.
    (lab.x * lab.x + lab.y * lab.y).sqrt()
}

/// Sine of half the scattering angle, without the loss of digits that the cosine has at small angles.
#[inline(always)]
fn sine(lab: &Lab) -> f64 {
    let across = lab.x * lab.x + lab.y * lab.y;
    let length = (across + lab.z * lab.z).sqrt();
    // Both are length times 1 - cos; a choice between values needs no branch.
    let (near, far) = (across / (length + lab.z), length - lab.z);
    let versed = if lab.z > 0.0 { near } else { far };
    (0.5 * versed / length).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand: 2theta = 90 degrees at 1 angstrom: q = 4 pi sin(45) = 8.885765876 1/angstrom, d = 0.7071 angstrom.
    #[test]
    fn a_right_angle_by_hand() {
        let lab = Lab { x: 0.0, y: 0.3, z: 0.0 };
        let at = |name: &str| {
            let unit = Unit::named(name).unwrap();
            unit.space.at(&lab, 1e-10) * unit.scale
        };
        let close = |name: &str, wanted: f64| {
            assert!((at(name) / wanted - 1.0).abs() < 1e-9, "{name}: {} for {wanted}", at(name));
        };
        close("q_A^-1", 8.885_765_876_316_732);
        close("q_nm^-1", 88.857_658_763_167_32);
        close("2th_deg", 90.0);
        close("r_mm", 300.0);
        close("d_A", 0.707_106_781_186_547_5);
        close("d*2_A^-2", 2.0);
        close("log10(q.m)_None", 10.948_694_866_190_106);
        close("log(1+q.A)_None", 2.291_095_932_257_255);
        close("qy_nm^-1", 88.857_658_763_167_32);
        assert!(at("qx_nm^-1").abs() < 1e-12);
    }

    #[test]
    fn the_sine_is_exact_on_both_sides() {
        for tth in [1e-7f64, 1e-3, 0.7, 1.5, 1.6, 2.9] {
            let lab = Lab { x: tth.sin(), y: 0.0, z: tth.cos() };
            assert!((sine(&lab) / (tth / 2.0).sin() - 1.0).abs() < 1e-14, "{tth}");
        }
    }

    #[test]
    fn names_split_at_the_last_underscore() {
        let unit = Unit::named("d*2_nm^-2").unwrap();
        assert_eq!((unit.quantity(), unit.symbol()), ("d*2", "nm^-2"));
        assert_eq!(Unit::named("furlongs"), None);
        assert!(
            Unit::named("2th_deg").unwrap().positive() && !Unit::named("log(q.nm)_None").unwrap().positive()
        );
    }
}
