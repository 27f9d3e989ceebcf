//! Curves as columns of text, as pyFAI writes them.

use std::fmt::Write;

use isard_geometry::Poni;
use serde_json::json;

/// What the lines above the columns say, but for the name of the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head<'a> {
    /// The geometry, where it is known.
    pub poni: Option<&'a Poni>,
    /// Whether a mask, a dark and a flat were given.
    pub given: [bool; 3],
    /// The polarisation that was corrected for.
    pub polarisation: Option<f64>,
    /// What all pixels were divided by.
    pub normalisation: f64,
}

impl Head<'_> {
    /// The lines.
    pub fn text(&self) -> String {
        let mut head = String::new();
        for line in self.poni.map(geometry).iter().flat_map(|text| text.lines()) {
            let _ = writeln!(head, "# {line}");
        }
        let names = ["Mask applied", "Dark current applied", "Flat field applied"];
        for (name, given) in names.into_iter().zip(self.given) {
            let _ = writeln!(head, "# {name}: {}", if given { "provided" } else { "None" });
        }
        let factor = self.polarisation.map_or("None".into(), |p| p.to_string());
        let _ =
            writeln!(head, "# Polarization factor: {factor}\n# Normalization factor: {}", self.normalisation);
        head
    }
}

/// A whole file: the lines of a [`Head`], its name, the names of the columns and their numbers.
pub fn dat(
    head: &str,
    name: &str,
    unit: &str,
    radial: &[f64],
    intensity: &[f32],
    sigma: Option<&[f32]>,
) -> String {
    let mut text = String::with_capacity(head.len() + 256 + 48 * radial.len());
    let errors = if sigma.is_some() { "         sigma" } else { "" };
    let _ = write!(text, "{head}# --> {name}\n#{unit:>13}  {:>14}{errors}\n", "I");
    for (k, (r, i)) in radial.iter().zip(intensity).enumerate() {
        let _ = write!(text, "{}  {}", number(*r), number(f64::from(*i)));
        if let Some(sigma) = sigma {
            let _ = write!(text, "  {}", number(f64::from(sigma[k])));
        }
        text.push('\n');
    }
    text
}

/// A geometry as indented JSON.
pub fn geometry(poni: &Poni) -> String {
    let mut config = poni.config.clone();
    if let Some([p1, p2]) = poni.pixel {
        config.insert("pixel1".into(), p1.into());
        config.insert("pixel2".into(), p2.into());
    }
    if let Some([rows, columns]) = poni.shape {
        config.insert("max_shape".into(), json!([rows, columns]));
    }
    config.insert("orientation".into(), poni.orientation.number().into());
    let pose = &poni.pose;
    let value = json!({
        "poni_version": if poni.parallax.is_some() { 3.0 } else { 2.1 },
        "dist": pose.dist, "poni1": pose.poni1, "poni2": pose.poni2,
        "rot1": pose.rot1, "rot2": pose.rot2, "rot3": pose.rot3,
        "detector": poni.detector, "detector_config": config, "wavelength": poni.wavelength,
    });
    serde_json::to_string_pretty(&value).expect("JSON values are written to memory")
}

/// A number in fourteen places, six behind the point, as C prints it with `%14.6e`.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return format!("{:>14}", if value.is_nan() { "nan".into() } else { value.to_string() });
    }
    let text = format!("{value:.6e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |p| ('-', p));
    format!("{:>14}", format!("{digits}e{sign}{power:0>2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // C's printf("%14.6e") of the same numbers.
    #[test]
    fn numbers_look_as_in_c() {
        assert_eq!(number(1.0), "  1.000000e+00");
        assert_eq!(number(-123456.789), " -1.234568e+05");
        assert_eq!(number(2.5e-101), " 2.500000e-101");
        assert_eq!(number(0.0), "  0.000000e+00");
        assert_eq!(number(f64::NAN), "           nan");
        assert_eq!(number(f64::INFINITY), "           inf");
    }

    // The head of the description of `.dat` files, line by line.
    #[test]
    fn the_head_says_what_was_applied() {
        let head = Head { given: [true, false, false], normalisation: 2.0, ..Head::default() };
        let text = dat(&head.text(), "a.dat", "2th_deg", &[0.5], &[3.0], Some(&[1.0]));
        let wanted = "# Mask applied: provided\n# Dark current applied: None\n# Flat field applied: None\n\
            # Polarization factor: None\n# Normalization factor: 2\n# --> a.dat\n\
            #      2th_deg               I         sigma\n  5.000000e-01    3.000000e+00    1.000000e+00\n";
        assert_eq!(text, wanted);
    }
}
