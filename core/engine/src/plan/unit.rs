//! Units that recipes may write, and exact-enough conversion to the unit a parameter declares.

/// What a unit measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Length,
    Angle,
    Time,
    Energy,
    Frequency,
    Temperature,
    Pixel,
    Count,
    Bytes,
    Ratio,
    Voltage,
    Current,
    Mass,
    Pressure,
}

impl Measure {
    /// The word for it, with its article.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Measure::Length => "a length",
            Measure::Angle => "an angle",
            Measure::Time => "a time",
            Measure::Energy => "an energy",
            Measure::Frequency => "a frequency",
            Measure::Temperature => "a temperature",
            Measure::Pixel => "pixels",
            Measure::Count => "counts",
            Measure::Bytes => "a size in bytes",
            Measure::Ratio => "a ratio",
            Measure::Voltage => "a voltage",
            Measure::Current => "a current",
            Measure::Mass => "a mass",
            Measure::Pressure => "a pressure",
        }
    }
}

/// A simple unit: name, measure, power of ten and further factor, offset.
///
/// The power of ten stands apart so that `74 cm` becomes exactly 740 mm.
type Row = (&'static str, Measure, i32, f64);

const DEGREE: f64 = std::f64::consts::PI / 180.0;

const UNITS: &[Row] = &[
    ("km", Measure::Length, 3, 1.0),
    ("m", Measure::Length, 0, 1.0),
    ("cm", Measure::Length, -2, 1.0),
    ("mm", Measure::Length, -3, 1.0),
    ("um", Measure::Length, -6, 1.0),
    ("µm", Measure::Length, -6, 1.0),
    ("μm", Measure::Length, -6, 1.0),
    ("micron", Measure::Length, -6, 1.0),
    ("nm", Measure::Length, -9, 1.0),
    ("A", Measure::Length, -10, 1.0),
    ("Å", Measure::Length, -10, 1.0),
    ("angstrom", Measure::Length, -10, 1.0),
    ("pm", Measure::Length, -12, 1.0),
    ("rad", Measure::Angle, 0, 1.0),
    ("mrad", Measure::Angle, -3, 1.0),
    ("urad", Measure::Angle, -6, 1.0),
    ("deg", Measure::Angle, 0, DEGREE),
    ("degree", Measure::Angle, 0, DEGREE),
    ("degrees", Measure::Angle, 0, DEGREE),
    ("°", Measure::Angle, 0, DEGREE),
    ("mdeg", Measure::Angle, -3, DEGREE),
    ("d", Measure::Time, 0, 86400.0),
    ("h", Measure::Time, 0, 3600.0),
    ("min", Measure::Time, 0, 60.0),
    ("s", Measure::Time, 0, 1.0),
    ("ms", Measure::Time, -3, 1.0),
    ("us", Measure::Time, -6, 1.0),
    ("µs", Measure::Time, -6, 1.0),
    ("ns", Measure::Time, -9, 1.0),
    ("MeV", Measure::Energy, 6, 1.0),
    ("keV", Measure::Energy, 3, 1.0),
    ("eV", Measure::Energy, 0, 1.0),
    ("meV", Measure::Energy, -3, 1.0),
    ("J", Measure::Energy, 0, 1.0 / 1.602_176_634e-19),
    ("GHz", Measure::Frequency, 9, 1.0),
    ("MHz", Measure::Frequency, 6, 1.0),
    ("kHz", Measure::Frequency, 3, 1.0),
    ("Hz", Measure::Frequency, 0, 1.0),
    ("K", Measure::Temperature, 0, 1.0),
    ("mK", Measure::Temperature, -3, 1.0),
    ("degC", Measure::Temperature, 0, 1.0),
    ("°C", Measure::Temperature, 0, 1.0),
    ("pixel", Measure::Pixel, 0, 1.0),
    ("pixels", Measure::Pixel, 0, 1.0),
    ("px", Measure::Pixel, 0, 1.0),
    ("count", Measure::Count, 0, 1.0),
    ("counts", Measure::Count, 0, 1.0),
    ("photon", Measure::Count, 0, 1.0),
    ("photons", Measure::Count, 0, 1.0),
    ("frame", Measure::Count, 0, 1.0),
    ("frames", Measure::Count, 0, 1.0),
    ("byte", Measure::Bytes, 0, 1.0),
    ("bytes", Measure::Bytes, 0, 1.0),
    ("B", Measure::Bytes, 0, 1.0),
    ("kB", Measure::Bytes, 3, 1.0),
    ("MB", Measure::Bytes, 6, 1.0),
    ("GB", Measure::Bytes, 9, 1.0),
    ("TB", Measure::Bytes, 12, 1.0),
    ("KiB", Measure::Bytes, 0, 1024.0),
    ("MiB", Measure::Bytes, 0, 1_048_576.0),
    ("GiB", Measure::Bytes, 0, 1_073_741_824.0),
    ("TiB", Measure::Bytes, 0, 1_099_511_627_776.0),
    ("%", Measure::Ratio, -2, 1.0),
    ("1", Measure::Ratio, 0, 1.0),
    ("kV", Measure::Voltage, 3, 1.0),
    ("V", Measure::Voltage, 0, 1.0),
    ("mV", Measure::Voltage, -3, 1.0),
    ("ampere", Measure::Current, 0, 1.0),
    ("mA", Measure::Current, -3, 1.0),
    ("uA", Measure::Current, -6, 1.0),
    ("nA", Measure::Current, -9, 1.0),
    ("pA", Measure::Current, -12, 1.0),
    ("kg", Measure::Mass, 3, 1.0),
    ("g", Measure::Mass, 0, 1.0),
    ("mg", Measure::Mass, -3, 1.0),
    ("Pa", Measure::Pressure, 0, 1.0),
    ("kPa", Measure::Pressure, 3, 1.0),
    ("MPa", Measure::Pressure, 6, 1.0),
    ("GPa", Measure::Pressure, 9, 1.0),
    ("bar", Measure::Pressure, 5, 1.0),
    ("mbar", Measure::Pressure, 2, 1.0),
];

/// A unit in its base: measures with their powers, a power of ten and a factor.
#[derive(Clone, Debug, PartialEq)]
struct Unit {
    measures: Vec<(Measure, i32)>,
    ten: i32,
    factor: f64,
    offset: f64,
}

/// The measure of a unit when it is a simple one.
pub(crate) fn measure(text: &str) -> Option<Measure> {
    match parse(text)?.measures.as_slice() {
        [(one, 1)] => Some(*one),
        _ => None,
    }
}

/// `74 cm` in the unit `mm` is 740; the error says what is wrong in a few words.
pub(crate) fn convert(text: &str, wanted: &str) -> Result<f64, String> {
    let trimmed = text.trim();
    let end = trimmed
        .char_indices()
        .find(|(i, c)| {
            let exponent = matches!(c, 'e' | 'E')
                && trimmed[i + 1..].starts_with(|n: char| n.is_ascii_digit() || n == '-' || n == '+');
            !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | '_') || exponent)
        })
        .map_or(trimmed.len(), |(i, _)| i);
    let (number, unit) = (trimmed[..end].replace('_', ""), trimmed[end..].trim());
    let number: f64 = number.parse().map_err(|_| format!("`{text}` does not begin with a number"))?;
    if unit.is_empty() {
        return Err(format!("`{text}` has no unit"));
    }
    let found = parse(unit).ok_or_else(|| format!("`{unit}` is no known unit"))?;
    let target = parse(wanted).ok_or_else(|| format!("the parameter's own unit `{wanted}` is not known"))?;
    if found.measures != target.measures {
        let what = measure(wanted).map(|m| format!("{}: ", m.word())).unwrap_or_default();
        return Err(format!("found `{unit}`, wanted {what}{wanted}"));
    }
    let ten = found.ten - target.ten;
    let scaled = number * (found.factor / target.factor);
    let shift = (found.offset - target.offset) / target.factor;
    // Dividing by a whole power of ten rounds once, multiplying by its inverse twice.
    let scaled = if ten < 0 { scaled / 10f64.powi(-ten) } else { scaled * 10f64.powi(ten) };
    Ok(scaled + shift)
}

/// Whether two units of ports mean the same.
pub(crate) fn same(a: &str, b: &str) -> bool {
    match (parse(a), parse(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn parse(text: &str) -> Option<Unit> {
    let mut unit = Unit { measures: vec![], ten: 0, factor: 1.0, offset: 0.0 };
    let mut sign = 1;
    for (i, side) in text.split('/').enumerate() {
        if i > 0 {
            sign = -1;
        }
        for word in side.split(['*', ' ', '.', '·']).filter(|w| !w.is_empty()) {
            let (name, power) = power(word);
            let (_, measure, ten, factor) = UNITS.iter().find(|row| row.0 == name)?;
            let power = power * sign;
            unit.ten += ten * power;
            unit.factor *= factor.powi(power);
            if name != "1" {
                match unit.measures.iter_mut().find(|(m, _)| m == measure) {
                    Some((_, p)) => *p += power,
                    None => unit.measures.push((*measure, power)),
                }
            }
            if matches!(name, "degC" | "°C") && text == name {
                unit.offset = 273.15;
            }
        }
    }
    // 1/s and Hz are one thing.
    for (measure, power) in &mut unit.measures {
        if *measure == Measure::Frequency {
            (*measure, *power) = (Measure::Time, -*power);
        }
    }
    unit.measures.retain(|(_, p)| *p != 0);
    unit.measures.sort_by_key(|(m, _)| *m as u8);
    Some(unit)
}

/// `mm^2`, `mm2`, `A^-1` and `Å⁻¹`: a name and its power.
fn power(word: &str) -> (&str, i32) {
    if let Some(name) = word.strip_suffix("⁻¹") {
        return (name, -1);
    }
    if let Some(name) = word.strip_suffix('²') {
        return (name, 2);
    }
    let at = word.find('^').or_else(|| word.find(|c: char| c.is_ascii_digit() || c == '-'));
    match at {
        Some(at) if at > 0 => match word[at..].trim_start_matches('^').parse() {
            Ok(power) if (-4..=4).contains(&power) => (&word[..at], power),
            _ => (word, 1),
        },
        _ => (word, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_lengths_and_angles_convert() {
        // By hand: definitions of the SI prefixes, 180 deg = pi rad, 0 degC = 273.15 K.
        for (text, wanted, value) in [
            ("74 cm", "mm", 740.0),
            ("0.074 m", "mm", 74.0),
            ("172um", "mm", 0.172),
            ("1.5 Å", "nm", 0.15),
            ("61332 eV", "keV", 61.332),
            ("8 GB", "byte", 8e9),
            ("2 GiB", "bytes", 2_147_483_648.0),
            ("180 deg", "rad", std::f64::consts::PI),
            ("25 degC", "K", 298.15),
            ("300 K", "degC", 26.850000000000023),
            ("100 1/s", "Hz", 100.0),
            ("0.2 1/A", "1/nm", 2.0),
            ("1e-3 m", "um", 1000.0),
            ("3 mm^2", "um2", 3e6),
        ] {
            let found = convert(text, wanted).unwrap();
            assert!((found - value).abs() <= 1e-12 * value.abs(), "{text} in {wanted}: {found}");
        }
        assert_eq!(convert("74 cm", "mm"), Ok(740.0));
    }

    #[test]
    fn a_wrong_measure_is_named() {
        assert_eq!(convert("12 keV", "mm").unwrap_err(), "found `keV`, wanted a length: mm");
        assert_eq!(convert("12 parsec", "mm").unwrap_err(), "`parsec` is no known unit");
        assert_eq!(convert("12", "mm").unwrap_err(), "`12` has no unit");
        assert_eq!(convert("far", "mm").unwrap_err(), "`far` does not begin with a number");
    }

    #[test]
    fn one_unit_has_several_names() {
        assert!(same("Hz", "1/s") && same("px", "pixel") && same("weird", "weird"));
        assert!(!same("mm", "m") && !same("mm", "weird"));
    }
}
