//! PONI files: read versions 1 to 3, write version 2.1 or 3.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};

use crate::detector::known_detector;
use crate::grid::{Grid, Orientation};
use crate::pose::Pose;

/// The newest version of the format that is understood.
const NEWEST: f64 = 3.0;

/// A detector's sensor, as version 3 describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensor {
    /// Chemical formula or name.
    pub material: String,
    /// Thickness in metres.
    pub thickness: f64,
}

/// What a PONI file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Poni {
    /// Version: the largest that the content implies.
    pub version: f64,
    /// Detector's name; `Detector` for a generic one.
    pub detector: String,
    /// Pixel height and width in metres, where the file or the detector's name gives them.
    pub pixel: Option<[f64; 2]>,
    /// Rows and columns, where the file or the detector's name gives them.
    pub shape: Option<[usize; 2]>,
    /// Which corner holds pixel (0, 0).
    pub orientation: Orientation,
    /// Sensor, from version 3 on.
    pub sensor: Option<Sensor>,
    /// Other entries of the detector's configuration, kept as they were.
    pub config: Map<String, Value>,
    /// Distance, point of normal incidence and rotations.
    pub pose: Pose,
    /// Wavelength in metres.
    pub wavelength: Option<f64>,
    /// Whether parallax was corrected, from version 3 on.
    pub parallax: Option<bool>,
    /// What else was found, in order: `Calibrant`, `Image` and unknown keys.
    pub extra: Vec<(String, String)>,
}

/// What is wrong with a PONI file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoniError {
    /// Line number from 1; 0 where no line is to blame.
    pub line: usize,
    /// What was found, what was wanted and what to try.
    pub what: String,
}

impl fmt::Display for PoniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.what),
            n => write!(f, "line {n}: {}", self.what),
        }
    }
}

impl std::error::Error for PoniError {}

struct Entry<'a> {
    line: usize,
    key: &'a str,
    value: &'a str,
}

impl Entry<'_> {
    fn fault(&self, wanted: &str) -> PoniError {
        let what = format!("`{}` is `{}`; wanted {wanted}", self.key, self.value);
        PoniError { line: self.line, what }
    }

    fn number(&self) -> Result<f64, PoniError> {
        let number = self.value.parse::<f64>().ok().filter(|v| v.is_finite());
        number.ok_or_else(|| self.fault("a finite number"))
    }
}

const KNOWN: &[&str] = &[
    "poni_version",
    "detector",
    "detector_config",
    "pixelsize1",
    "pixelsize2",
    "splinefile",
    "distance",
    "dist",
    "poni1",
    "poni2",
    "rot1",
    "rot2",
    "rot3",
    "wavelength",
    "parallax",
];

impl Poni {
    /// A generic detector's geometry, to be written.
    pub fn new(grid: &Grid, pose: Pose, wavelength: Option<f64>) -> Self {
        Self {
            version: 2.1,
            detector: "Detector".to_owned(),
            pixel: Some(grid.pixel),
            shape: Some(grid.shape),
            orientation: grid.orientation,
            sensor: None,
            config: Map::new(),
            pose,
            wavelength,
            parallax: None,
            extra: Vec::new(),
        }
    }

    /// The pixels described, where both their size and their number are known.
    pub fn grid(&self) -> Option<Grid> {
        Some(Grid { shape: self.shape?, pixel: self.pixel?, orientation: self.orientation })
    }

    /// Read the text of a file; the last occurrence of a key wins.
    pub fn parse(text: &str) -> Result<Self, PoniError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut extra: Vec<(String, String)> = Vec::new();
        for (n, raw) in text.lines().enumerate() {
            let (comment, body) = match raw.trim().strip_prefix('#') {
                Some(rest) => (true, rest.trim()),
                None => (false, raw.trim()),
            };
            let Some((key, value)) = body.split_once(':') else { continue };
            let (key, value) = (key.trim(), value.trim());
            let lower = key.to_lowercase();
            if comment && !["calibrant", "image"].contains(&lower.as_str()) {
                continue;
            }
            if !comment && KNOWN.contains(&lower.as_str()) {
                entries.push(Entry { line: n + 1, key, value });
                continue;
            }
            extra.retain(|(k, _)| !k.eq_ignore_ascii_case(key));
            extra.push((key.to_owned(), value.to_owned()));
        }
        Self::resolve(&entries, extra)
    }

    fn resolve(entries: &[Entry], extra: Vec<(String, String)>) -> Result<Self, PoniError> {
        // `None` unsets a key, as the format's writers mean it.
        let find = |names: &[&str]| {
            let last = entries.iter().rev().find(|e| names.iter().any(|n| e.key.eq_ignore_ascii_case(n)));
            last.filter(|e| !e.value.eq_ignore_ascii_case("none") && !e.value.is_empty())
        };
        let number = |names: &[&str]| find(names).map(Entry::number).transpose();
        let needed = |names: &[&str]| {
            let missing = || PoniError { line: 0, what: format!("`{}` is missing; add its line", names[0]) };
            number(names)?.ok_or_else(missing)
        };

        let mut version = number(&["poni_version"])?.unwrap_or(1.0);
        if version > NEWEST {
            let wanted = format!("at most {NEWEST}; write the file with an older version");
            let entry = find(&["poni_version"]).expect("a version above 3 was read from an entry");
            return Err(entry.fault(&wanted));
        }
        let detector = find(&["detector"]).map_or("Detector", |e| e.value).to_owned();
        let known = known_detector(&detector);
        let mut poni = Self {
            version,
            detector,
            pixel: known.map(|k| [k.height, k.pixel]),
            shape: known.map(|k| k.shape).filter(|shape| *shape != [0, 0]),
            orientation: Orientation::default(),
            sensor: None,
            config: Map::new(),
            pose: Pose {
                dist: needed(&["Distance", "dist"])?,
                poni1: needed(&["Poni1"])?,
                poni2: needed(&["Poni2"])?,
                rot1: needed(&["Rot1"])?,
                rot2: needed(&["Rot2"])?,
                rot3: needed(&["Rot3"])?,
            },
            wavelength: number(&["wavelength"])?,
            parallax: None,
            extra,
        };
        if let (Some(p1), Some(p2)) = (number(&["pixelsize1"])?, number(&["pixelsize2"])?) {
            poni.pixel = Some([p1, p2]);
        }
        if let Some(entry) = find(&["splinefile"]) {
            return Err(entry.fault("no distortion; only flat, regular detectors are supported"));
        }
        if let Some(entry) = find(&["detector_config"]) {
            version = version.max(2.0);
            poni.configure(entry, &mut version)?;
        }
        if let Some(entry) = find(&["parallax"]) {
            version = version.max(3.0);
            poni.parallax = Some(match entry.value.to_lowercase().as_str() {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(entry.fault("True or False")),
            });
        }
        poni.version = version;
        Ok(poni)
    }

    fn configure(&mut self, entry: &Entry, version: &mut f64) -> Result<(), PoniError> {
        let bad = |wanted: &str| entry.fault(wanted);
        let mut config: Map<String, Value> =
            serde_json::from_str(entry.value).map_err(|e| bad(&format!("a JSON object ({e})")))?;
        let mut size = |key: &str, old: Option<f64>| match config.remove(key) {
            None | Some(Value::Null) => Ok(old),
            Some(v) => match v.as_f64().filter(|v| *v > 0.0) {
                Some(v) => Ok(Some(v)),
                None => Err(bad(&format!("a positive `{key}`"))),
            },
        };
        let p1 = size("pixel1", self.pixel.map(|p| p[0]))?;
        let p2 = size("pixel2", self.pixel.map(|p| p[1]))?;
        if let (Some(p1), Some(p2)) = (p1, p2) {
            self.pixel = Some([p1, p2]);
        }
        match config.remove("max_shape") {
            None | Some(Value::Null) => {}
            Some(v) => {
                let shape: Option<Vec<usize>> = serde_json::from_value(v).ok();
                let Some([rows, cols]) = shape.as_deref() else {
                    return Err(bad("`max_shape` as [rows, columns]"));
                };
                self.shape = Some([*rows, *cols]);
            }
        }
        match config.remove("orientation") {
            None | Some(Value::Null) => {}
            Some(v) => {
                *version = version.max(2.1);
                let found = v.as_u64().and_then(Orientation::from_number);
                self.orientation = found
                    .ok_or_else(|| bad("an `orientation` of 1 to 4; transposed ones are not supported"))?;
            }
        }
        if let Some(sensor) = config.remove("sensor").filter(|v| !v.is_null()) {
            let material = sensor.get("material").and_then(Value::as_str);
            let thickness = sensor.get("thickness").and_then(Value::as_f64);
            match (material, thickness) {
                (Some(material), Some(thickness)) => {
                    self.sensor = Some(Sensor { material: material.to_owned(), thickness });
                }
                // Partly described sensors are legal and mean nothing here: keep them as they were.
                _ => drop(config.insert("sensor".to_owned(), sensor)),
            }
        }
        self.config = config;
        Ok(())
    }

    /// The text of a file with this content; `comments` go to its head, one a line.
    ///
    /// Numbers are written with as many digits as reading back needs.
    pub fn write(&self, comments: &[&str]) -> String {
        let version = if self.parallax.is_some() || self.sensor.is_some() { 3.0 } else { 2.1 };
        let mut config = Map::new();
        if let Some([p1, p2]) = self.pixel {
            config.insert("pixel1".to_owned(), p1.into());
            config.insert("pixel2".to_owned(), p2.into());
        }
        if let Some([rows, cols]) = self.shape {
            config.insert("max_shape".to_owned(), vec![rows, cols].into());
        }
        config.insert("orientation".to_owned(), self.orientation.number().into());
        if let Some(Sensor { material, thickness }) = &self.sensor {
            config.insert(
                "sensor".to_owned(),
                serde_json::json!({ "material": material, "thickness": thickness }),
            );
        }
        config.extend(self.config.iter().map(|(k, v)| (k.clone(), v.clone())));

        let mut out = String::new();
        let mut line = |key: &str, value: &dyn fmt::Display| {
            writeln!(out, "{key}: {value}").expect("writing to a string cannot fail");
        };
        line("# Nota", &"C-Order, 1 refers to the Y axis, 2 to the X axis");
        for comment in comments {
            // A colon within a comment would be read as a key by nobody: comments are skipped.
            line("# Note", comment);
        }
        line("poni_version", &version);
        line("Detector", &self.detector);
        line("Detector_config", &Value::Object(config));
        line("Distance", &self.pose.dist);
        line("Poni1", &self.pose.poni1);
        line("Poni2", &self.pose.poni2);
        line("Rot1", &self.pose.rot1);
        line("Rot2", &self.pose.rot2);
        line("Rot3", &self.pose.rot3);
        if let Some(wavelength) = self.wavelength {
            line("Wavelength", &format_args!("{wavelength:e}"));
        }
        if let Some(parallax) = self.parallax {
            line("Parallax", &if parallax { "True" } else { "False" });
        }
        for (key, value) in &self.extra {
            match key.to_lowercase().as_str() {
                "calibrant" | "image" => line(&format!("# {key}"), value),
                _ => line(key, value),
            }
        }
        out
    }
}
