//! Photon energy and wavelength.

/// Planck constant times speed of light in eV m (CODATA, exact since 2019).
pub const HC: f64 = 6.626_070_15e-34 * 299_792_458.0 / 1.602_176_634e-19;

/// Wavelength in metres of a photon of this energy in keV.
pub fn wavelength_of(energy_kev: f64) -> f64 {
    HC / (energy_kev * 1e3)
}

/// Photon energy in keV for this wavelength in metres.
pub fn energy_of(wavelength: f64) -> f64 {
    HC / wavelength * 1e-3
}

#[cfg(test)]
mod tests {
    use super::*;

    // CODATA 2022 gives hc = 1.239 841 984... e-6 eV m.
    // The Yb K edge, 61.332 keV, is written as 0.202153 angstrom in the ceria frame's own notes.
    #[test]
    fn energy_and_wavelength_agree_with_the_literature() {
        assert!((HC - 1.239_841_984_332e-6).abs() < 1e-18);
        assert!((wavelength_of(61.332) - 0.202_153e-10).abs() < 1e-16);
        assert!((energy_of(wavelength_of(17.3)) - 17.3).abs() < 1e-12);
    }
}
