//! Photons per second from the current of a silicon diode.

use isard_core::prelude::*;

/// Energy in keV times wavelength in angstrom.
pub(crate) const HC: f64 = 12.398_419_843_320_026;

/// Mass energy-absorption coefficient of silicon: keV, cm2/g.
///
/// Hubbell and Seltzer, NISTIR 5632 (1995), table 3, element 14.
const SILICON: [(f64, f64); 20] = [
    (2.0, 2.669e3),
    (3.0, 9.516e2),
    (4.0, 4.427e2),
    (5.0, 2.400e2),
    (6.0, 1.439e2),
    (8.0, 6.313e1),
    (10.0, 3.289e1),
    (15.0, 9.794),
    (20.0, 4.076),
    (30.0, 1.164),
    (40.0, 4.782e-1),
    (50.0, 2.430e-1),
    (60.0, 1.434e-1),
    (80.0, 6.896e-2),
    (100.0, 4.513e-2),
    (150.0, 3.086e-2),
    (200.0, 2.905e-2),
    (300.0, 2.932e-2),
    (400.0, 2.968e-2),
    (500.0, 2.971e-2),
];

/// Photons per second that a diode of 0.3 mm of silicon saw, from its current in pA at an energy in keV.
pub(crate) fn flux(current: f64, energy: f64) -> Result<f64> {
    let (first, last) = (SILICON[0].0, SILICON[SILICON.len() - 1].0);
    if !(first..=last).contains(&energy) {
        return Err(Error::data(format!("the energy is {energy} keV, wanted {first} to {last}"))
            .help("the wavelength is in metres: 1e-10 is 12.4 keV"));
    }
    let above = SILICON.iter().position(|(e, _)| *e >= energy).unwrap_or(1).max(1);
    let ((e0, m0), (e1, m1)) = (SILICON[above - 1], SILICON[above]);
    let mu = m0 + (m1 - m0) * (energy - e0) / (e1 - e0);
    // 3.66 eV make a pair; 0.03 cm of 2.33 g/cm3.
    Ok(3.66 * current * 1e-12 / (1.6022e-19 * 1e3 * energy * (1.0 - (-mu * 0.03 * 2.33).exp())))
}

/// The value of a counter in two blank-separated lists.
pub(crate) fn counter(names: &str, values: &str, wanted: &str) -> Option<f64> {
    let at = names.split_whitespace().position(|name| name == wanted)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand: at 60 keV 1 - exp(-0.1434 * 0.0699) = 0.00997367, and
    // 3.66e-6 / (1.6022e-19 * 6e4 * 0.00997367) = 3.81731e10 for a microampere.
    #[test]
    fn a_current_by_hand() {
        let found = flux(1e6, 60.0).unwrap();
        assert!((found / 3.817_31e10 - 1.0).abs() < 1e-4, "{found}");
        // Half way between 60 and 80 keV the coefficient is the mean of 0.1434 and 0.06896.
        let mu: f64 = 0.106_18;
        let wanted = 3.66e-6 / (1.6022e-19 * 7e4 * (1.0 - (-mu * 0.0699).exp()));
        assert!((flux(1e6, 70.0).unwrap() / wanted - 1.0).abs() < 1e-12);
        assert!(flux(1.0, 1.0).is_err() && flux(1.0, f64::NAN).is_err());
    }

    #[test]
    fn counters_stand_in_parallel_lists() {
        assert_eq!(counter("sec mondio det", "1.5 2.5e3 7", "mondio"), Some(2.5e3));
        assert_eq!(counter("sec mondio", "1.5", "mondio"), None);
        assert_eq!(counter("sec", "1", "mondio"), None);
    }
}
