//! Calibrants: d-spacings from lattice parameters and reflection conditions.

use std::fmt;

use crate::substance::{CRYSTALS, Crystal};

/// One powder line: all reflections of one d-spacing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Lattice spacing in metres.
    pub d: f64,
    /// One of its reflections, the largest indices first; zeros for a user's list.
    pub hkl: [i32; 3],
    /// Number of reflections that share the spacing.
    pub multiplicity: u32,
}

/// A substance of known d-spacings.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrant {
    /// Its name, as written in files.
    pub name: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Cubic { a: f64, lattice: Lattice },
    // Hexagonal axes of a rhombohedral lattice with a c glide.
    Corundum { a: f64, c: f64 },
    Lamellar { d: f64 },
    Crystal(Crystal),
    Listed(Vec<f64>),
}

/// A calibrant's name that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCalibrant(pub String);

impl fmt::Display for UnknownCalibrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Calibrant::names().collect::<Vec<_>>().join(", ");
        write!(f, "calibrant `{}` is not known; known: {names}; or give a list of d-spacings", self.0)
    }
}

impl std::error::Error for UnknownCalibrant {}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Lattice {
    Primitive,
    FaceCentred,
    // Face-centred, and sites 8a: h + k + l = 2 mod 4 is absent.
    Diamond,
}

impl Lattice {
    fn allows(self, h: i32, k: i32, l: i32) -> bool {
        let face_centred = (h + k) % 2 == 0 && (k + l) % 2 == 0;
        match self {
            Self::Primitive => true,
            Self::FaceCentred => face_centred,
            Self::Diamond => face_centred && (h % 2 != 0 || (h + k + l) % 4 == 0),
        }
    }
}

// R -3 c, hexagonal axes, general conditions and those of the sites 12c and 18e, which add none.
fn corundum(h: i32, k: i32, l: i32) -> bool {
    let centred = (-h + k + l).rem_euclid(3) == 0;
    let glide = !(h == 0 || k == 0 || h == -k) || l % 2 == 0;
    centred && glide
}

impl Calibrant {
    /// The names [`Calibrant::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let first = ["CeO2", "LaB6", "Si", "AgBh", "Al2O3", "Au", "Pt", "Ni", "C14H30O"];
        first.into_iter().chain(CRYSTALS.iter().map(|(name, _)| *name))
    }

    /// A known calibrant; case does not matter.
    ///
    /// Lattice parameters at 22.5 degrees: CeO2 SRM 674b, LaB6 SRM 660c, Si SRM 640e, Al2O3 SRM 676a (NIST certificates);
    /// AgBh 58.380 angstrom (Huang et al., J. Appl. Cryst. 26, 180 (1993)); Au, Pt and Ni from NBS Circular 539, volume I;
    /// tetradecanol (C14H30O) from Brindley, Clays and Clay Minerals 29 (1981) 67. Others name their source beside them.
    pub fn named(name: &str) -> Result<Self, UnknownCalibrant> {
        let cubic = |a: f64, lattice| Kind::Cubic { a: a * 1e-10, lattice };
        let lower = name.to_lowercase();
        // As other programs spell them.
        let plain = match lower.strip_prefix("alpha_").unwrap_or(&lower) {
            "cristobaltite" => "cristobalite",
            other => other,
        };
        let (name, kind) = match plain {
            "ceo2" => ("CeO2", cubic(5.411_65, Lattice::FaceCentred)),
            "lab6" => ("LaB6", cubic(4.156_826, Lattice::Primitive)),
            "si" => ("Si", cubic(5.431_179, Lattice::Diamond)),
            "agbh" => ("AgBh", Kind::Lamellar { d: 58.380e-10 }),
            "al2o3" => ("Al2O3", Kind::Corundum { a: 4.759_091e-10, c: 12.991_779e-10 }),
            "au" => ("Au", cubic(4.078_6, Lattice::FaceCentred)),
            "pt" => ("Pt", cubic(3.923_1, Lattice::FaceCentred)),
            "ni" => ("Ni", cubic(3.523_8, Lattice::FaceCentred)),
            "c14h30o" => ("C14H30O", Kind::Lamellar { d: 39.681e-10 }),
            other => match CRYSTALS.iter().find(|(name, _)| name.to_lowercase() == other) {
                Some((name, crystal)) => (*name, Kind::Crystal(*crystal)),
                None => return Err(UnknownCalibrant(name.to_owned())),
            },
        };
        Ok(Self { name: name.to_owned(), kind })
    }

    /// A calibrant given by its d-spacings in metres.
    pub fn listed(name: &str, d: &[f64]) -> Self {
        Self { name: name.to_owned(), kind: Kind::Listed(d.to_vec()) }
    }

    /// All lines with a spacing of `d_min` (metres) or more, the largest spacing first.
    pub fn lines(&self, d_min: f64) -> Vec<Line> {
        let mut all = match &self.kind {
            Kind::Cubic { a, lattice } => {
                let n = (a / d_min).floor() as i32;
                reflections([n; 3], |h, k, l| {
                    let s = f64::from(h * h + k * k + l * l);
                    lattice.allows(h, k, l).then(|| a / s.sqrt())
                })
            }
            Kind::Corundum { a, c } => {
                let (n, m) = ((2.0 * a / d_min).floor() as i32, (c / d_min).floor() as i32);
                reflections([n, n, m], |h, k, l| {
                    let s =
                        4.0 / 3.0 * f64::from(h * h + h * k + k * k) / (a * a) + f64::from(l * l) / (c * c);
                    corundum(h, k, l).then(|| 1.0 / s.sqrt())
                })
            }
            Kind::Crystal(crystal) => reflections(crystal.limits(d_min), |h, k, l| crystal.spacing(h, k, l)),
            Kind::Lamellar { d } => (1..=(d / d_min).floor() as i32)
                .map(|l| Line { d: d / f64::from(l), hkl: [0, 0, l], multiplicity: 2 })
                .collect(),
            Kind::Listed(d) => d.iter().map(|&d| Line { d, hkl: [0; 3], multiplicity: 1 }).collect(),
        };
        all.retain(|line| line.d >= d_min);
        all.sort_by(|p, q| q.d.total_cmp(&p.d).then(q.hkl.cmp(&p.hkl)));
        let mut lines: Vec<Line> = Vec::new();
        for line in all {
            match lines.last_mut() {
                // Equal spacings differ by rounding alone.
                Some(last) if last.d - line.d < 1e-9 * line.d => last.multiplicity += line.multiplicity,
                _ => lines.push(line),
            }
        }
        lines
    }

    /// Scattering angles in radians below `tth_max` for a wavelength in metres.
    pub fn angles(&self, wavelength: f64, tth_max: f64) -> Vec<f64> {
        let d_min = wavelength / (2.0 * (0.5 * tth_max.min(std::f64::consts::PI)).sin());
        self.lines(d_min).iter().map(|l| 2.0 * (wavelength / (2.0 * l.d)).min(1.0).asin()).collect()
    }

    /// Lines weighted by multiplicity over the Lorentz factor's angles, the brightest 1.
    ///
    /// A plausible brightness for simulated rings: structure factors are taken as equal, damped by `b` (square metres).
    pub fn brightness(&self, wavelength: f64, d_min: f64, b: f64) -> Vec<(Line, f64)> {
        let lines = self.lines(d_min.max(0.5 * wavelength));
        let raw: Vec<f64> = lines
            .iter()
            .map(|l| {
                let theta = (wavelength / (2.0 * l.d)).min(1.0).asin();
                let damp = (-b / (2.0 * l.d * l.d)).exp();
                f64::from(l.multiplicity) * damp / (theta.sin() * (2.0 * theta).sin())
            })
            .collect();
        let top = raw.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        lines.into_iter().zip(raw).map(|(l, r)| (l, r / top)).collect()
    }
}

fn reflections([n, m, o]: [i32; 3], spacing: impl Fn(i32, i32, i32) -> Option<f64>) -> Vec<Line> {
    let mut out = Vec::new();
    for h in -n..=n {
        for k in -m..=m {
            for l in -o..=o {
                if (h, k, l) == (0, 0, 0) {
                    continue;
                }
                if let Some(d) = spacing(h, k, l) {
                    out.push(Line { d, hkl: [h, k, l], multiplicity: 1 });
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &[f64], tolerance: f64) {
        let calibrant = Calibrant::named(name).unwrap();
        let d_min = expected.last().unwrap() * 1e-10 - 2.0 * tolerance * 1e-10;
        let got: Vec<f64> = calibrant.lines(d_min).iter().map(|l| l.d * 1e10).collect();
        assert_eq!(got.len(), expected.len(), "{name}: {got:?}");
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() < tolerance, "{name}: {g} is not {e}");
        }
    }

    // pyFAI 2026.9.0 resources/calibration (CeO2.D, LaB6_SRM660c.D, Si_SRM640e.D, alpha_Al2O3.D, AgBh.D).
    #[test]
    fn spacings_agree_with_published_lists() {
        check("CeO2", &[3.124_42, 2.705_82, 1.913_31, 1.631_67, 1.562_21, 1.352_91], 2e-5);
        check("LaB6", &[4.156_826, 2.939_320, 2.399_944, 2.078_413, 1.858_989, 1.697_017, 1.469_660], 2e-6);
        check("Si", &[3.135_693, 1.920_212, 1.637_562, 1.357_795, 1.245_998, 1.108_635, 1.045_231], 2e-6);
        check("AgBh", &[58.380, 29.190, 19.460, 14.595, 11.676], 1e-3);
        // PDF 46-1212, scaled within its own digits to SRM 676a.
        check("Al2O3", &[3.480, 2.551, 2.379, 2.165, 2.085, 1.964, 1.740, 1.601], 2e-3);
    }

    // pyFAI 2026.9.0 resources/calibration, the file of each name: its first two lines, one of the middle, the last.
    #[test]
    fn lines_of_the_usual_list_are_all_there() {
        let cases: [(&str, &[f64]); 27] = [
            ("LaB6_SRM660a", &[4.15692, 2.93938, 0.57100, 0.40186]),
            ("LaB6_SRM660b", &[4.15689, 2.93937, 0.57099, 0.40186]),
            ("Si_SRM640", &[3.13552, 1.92011, 0.96005, 0.70704]),
            ("Si_SRM640a", &[3.13549, 1.92009, 0.96004, 0.70703]),
            ("Si_SRM640b", &[3.13555, 1.92013, 0.96006, 0.70705]),
            ("Si_SRM640c", &[3.13570, 1.92022, 0.96011, 0.70708]),
            ("Si_SRM640d", &[3.13572, 1.92023, 0.96011, 0.70709]),
            ("Al2O3_SRM676", &[3.48017, 2.55105, 1.23908, 0.99774]),
            ("Al2O3_SRM676a_2008", &[3.48012, 2.55102, 1.23908, 0.99773]),
            ("Al2O3_SRM676a_2015", &[3.48029, 2.55114, 1.23913, 0.99778]),
            ("Cr2O3", &[3.63076, 2.66523, 1.17382, 0.86602]),
            ("TiO2", &[3.24840, 2.48755, 1.24378, 1.01685]),
            ("ZnO", &[2.81449, 2.60326, 1.35850, 1.01589]),
            ("Al", &[2.33798, 2.02475, 0.68449, 0.50619]),
            ("C60", &[8.23300, 7.13000, 2.91080, 1.90560]),
            ("CuO", &[3.01829, 2.46442, 1.50914, 1.23221]),
            ("NaCl", &[3.25631, 2.82005, 1.15128, 0.81408]),
            ("PBBA", &[14.72690, 5.21190, 2.94538, 2.37444]),
            ("cristobalite", &[4.03812, 3.13447, 1.43143, 1.09620]),
            ("diamond", &[2.05930, 1.26110]),
            ("graphite", &[3.34800, 2.12700, 1.53980, 1.11600]),
            ("hydrocerussite", &[7.90077, 4.46240, 1.33291, 1.01806]),
            ("lysozyme", &[56.05151, 39.63440, 25.06700, 17.97616]),
            ("quartz", &[4.25738, 3.34456, 1.65931, 1.18419]),
            ("vanadinite", &[8.94010, 5.16160, 1.60740, 1.09440]),
            ("verneite", &[7.25279, 5.12850, 1.39580, 1.00578]),
            ("C14H30O", &[39.68100, 19.84050, 3.05238, 1.65338]),
        ];
        for (name, wanted) in cases {
            let lines = Calibrant::named(name).unwrap().lines(0.999e-10 * wanted[wanted.len() - 1]);
            for d in wanted {
                // Some files are rounded to three or four digits.
                let near = lines.iter().map(|l| (l.d * 1e10 / d - 1.0).abs()).fold(1.0, f64::min);
                assert!(near < 4e-4, "{name}: {d} is not there, {near} off");
            }
        }
        // Its own spellings of some of them.
        for (theirs, ours) in [
            ("alpha_Al2O3", "Al2O3"),
            ("alpha_Al2O3_SRM676a_2015", "Al2O3_SRM676a_2015"),
            ("cristobaltite", "cristobalite"),
        ] {
            assert_eq!(Calibrant::named(theirs), Calibrant::named(ours), "{theirs}");
            assert!(Calibrant::named(theirs).is_ok(), "{theirs}");
        }
        assert_eq!(Calibrant::names().filter(|n| Calibrant::named(n).is_ok()).count(), 37);
    }

    #[test]
    fn multiplicities_are_those_of_the_point_group() {
        let lines = Calibrant::named("ceo2").unwrap().lines(1.0e-10);
        let got: Vec<_> = lines.iter().map(|l| (l.hkl, l.multiplicity)).collect();
        assert_eq!(got[..3], [([1, 1, 1], 8), ([2, 0, 0], 6), ([2, 2, 0], 12)]);
        // 333 and 511 share a spacing: 8 + 24.
        assert!(got.contains(&([5, 1, 1], 32)), "{got:?}");
    }

    // Bragg by hand: 2 asin(0.202153 / (2 x 3.124418)) = 3.7078 degrees.
    #[test]
    fn angles_follow_bragg() {
        let angles = Calibrant::named("CeO2").unwrap().angles(0.202_153e-10, 0.1);
        assert!((angles[0].to_degrees() - 3.7078).abs() < 1e-3);
        assert!(angles.windows(2).all(|w| w[0] < w[1]) && angles[angles.len() - 1] <= 0.1);
        let listed = Calibrant::listed("mine", &[1e-10, 2e-10]);
        assert_eq!(listed.lines(0.5e-10).iter().map(|l| l.d).collect::<Vec<_>>(), [2e-10, 1e-10]);
        assert!(Calibrant::named("cheese").unwrap_err().to_string().contains("LaB6"));
    }
}
