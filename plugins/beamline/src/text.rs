//! Curves as columns of text, as the older programs write them.

use std::fmt::Write;

use isard_azimuthal::Unit;
use isard_geometry::Poni;
use serde_json::json;

/// What stands above the columns.
pub(crate) struct Head<'a> {
    pub poni: &'a Poni,
    pub mask: bool,
    pub polarisation: Option<f64>,
    pub normalisation: f64,
    /// The name of the file.
    pub name: &'a str,
}

/// A `.dat` file.
pub(crate) fn dat(
    head: &Head,
    unit: &Unit,
    radial: &[f64],
    intensity: &[f32],
    sigma: Option<&[f32]>,
) -> String {
    let mut text = String::with_capacity(1024 + 48 * radial.len());
    let mut line = |what: String| {
        text += "# ";
        text += &what;
        text.push('\n');
    };
    geometry(head.poni).lines().for_each(|l| line(l.to_owned()));
    line(format!("Mask applied: {}", if head.mask { "provided" } else { "None" }));
    line("Dark current applied: None".into());
    line("Flat field applied: None".into());
    line(format!("Polarization factor: {}", head.polarisation.map_or("None".into(), |p| p.to_string())));
    line(format!("Normalization factor: {}", head.normalisation));
    line(format!("--> {}", head.name));
    let errors = if sigma.is_some() { "         sigma" } else { "" };
    let _ = writeln!(text, "#{:>13}  {:>14}{errors}", unit.name, "I");
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
pub(crate) fn geometry(poni: &Poni) -> String {
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
        assert_eq!(number(f64::INFINITY), "           inf");
    }
}
