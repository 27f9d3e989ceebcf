//! Sizes, steps and units of scan and detector, as they travel from a file to the outputs.

use isard_core::prelude::*;

/// Step and unit of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    /// From one point to the next.
    pub step: f64,
    /// The position of the first point.
    pub start: f64,
    /// The unit; empty where there is none.
    pub unit: String,
}

impl Default for Axis {
    fn default() -> Axis {
        Axis { step: 1.0, start: 0.0, unit: "pixel".into() }
    }
}

/// What is known of the axes: scan y, scan x, detector y, detector x.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Axes {
    /// Lines and points of the scan.
    pub scan: Option<[u64; 2]>,
    /// The axes in order.
    pub axes: [Axis; 4],
}

/// The names of the axes as they stand in a head.
pub(crate) const NAMES: [&str; 4] = ["scan_y", "scan_x", "detector_y", "detector_x"];

impl Axes {
    /// The dictionary that stands in a head as `axes`.
    pub fn to_dict(&self) -> Dict {
        let mut all = Dict::new();
        if let Some([rows, columns]) = self.scan {
            all.set("scan", Array::from_slice(&[rows as i64, columns as i64]));
        }
        for (name, axis) in NAMES.into_iter().zip(&self.axes) {
            let one = Dict::new().with("step", axis.step).with("start", axis.start);
            all.set(name, one.with("unit", axis.unit.as_str()));
        }
        all
    }

    /// What such a dictionary says.
    pub fn of(dict: &Dict) -> Result<Axes> {
        let mut axes = Axes::default();
        if let Some(scan) = dict.get("scan") {
            axes.scan = Some(pair(scan)?);
        }
        for (name, axis) in NAMES.into_iter().zip(&mut axes.axes) {
            let Some(Value::Dict(one)) = dict.get(name) else { continue };
            let number = |key: &str, or: f64| one.get(key).and_then(Value::number).unwrap_or(or);
            axis.step = number("step", 1.0);
            axis.start = number("start", 0.0);
            axis.unit = one.get("unit").and_then(Value::text).unwrap_or_default().to_owned();
        }
        Ok(axes)
    }
}

fn pair(value: &Value) -> Result<[u64; 2]> {
    let wrong = || Error::data(format!("`axes.scan` is {}, wanted two whole numbers", value.describe()));
    let Value::Array(array) = value else { return Err(wrong()) };
    match array.to_f64()?[..] {
        [rows, columns] if rows >= 1.0 && columns >= 1.0 => Ok([rows as u64, columns as u64]),
        _ => Err(wrong()),
    }
}

/// The scan of a stage: of its parameter, or of the axes that are wired to it.
pub(crate) fn scan_of(parameter: Option<[usize; 2]>, axes: Option<&Dict>) -> Result<[usize; 2]> {
    let wired = axes.map(Axes::of).transpose()?.and_then(|a| a.scan);
    let wired = wired.map(|scan| scan.map(|n| n as usize));
    parameter.or(wired).ok_or_else(|| {
        Error::recipe("the size of the scan is not known").help(
            "give `scan = [lines, points]`, or wire the source's: `in = { axes = \"frames.head.axes\" }`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_come_back_from_their_dictionary() {
        let mut axes = Axes { scan: Some([12, 10]), ..Axes::default() };
        axes.axes[1] = Axis { step: 0.5, start: -1.0, unit: "nm".into() };
        assert_eq!(Axes::of(&axes.to_dict()).unwrap(), axes);
        assert!(scan_of(None, None).is_err());
        assert_eq!(scan_of(None, Some(&axes.to_dict())).unwrap(), [12, 10]);
        assert_eq!(scan_of(Some([2, 3]), Some(&axes.to_dict())).unwrap(), [2, 3]);
    }
}
