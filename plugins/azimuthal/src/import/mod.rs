//! Integration configurations (JSON) of pyFAI's programs as a recipe.

mod method;

use std::collections::BTreeSet;
use std::fmt::Write;

use isard_core::error::{Error, Result};
use isard_geometry::{Poni, Pose};
use serde_json::{Map, Value};

/// A recipe, and what was found where.
#[derive(Debug)]
pub struct Imported {
    /// The recipe as text.
    pub recipe: String,
    /// One line for every key that has no counterpart, and for what was assumed.
    pub notes: Vec<String>,
}

/// Keys that say nothing about the result.
const SILENT: [&str; 11] = [
    "application",
    "version",
    "do_opencl",
    "opencl_device",
    "progressbar",
    "integrator_class",
    "nthreads",
    "output_dir",
    "file_version",
    "shape",
    "input_data",
];

/// The configuration, and which of its keys were used.
struct Found {
    all: Map<String, Value>,
    used: BTreeSet<String>,
    notes: Vec<String>,
}

/// Makes a recipe of a configuration, for frames that are read from `frames`.
pub fn recipe(text: &str, frames: &str) -> Result<Imported> {
    let all: Map<String, Value> = serde_json::from_str(text).map_err(|e| {
        Error::data(format!("no configuration: {e}")).help("give the JSON file of an integration")
    })?;
    let mut found = Found { all, used: BTreeSet::new(), notes: vec![] };
    let map = found.on("do_2D")
        || (found.get("do_2D").is_none() && found.number("nbpt_azim")?.is_some_and(|n| n > 1.0));
    let mut set = vec![found.geometry()?];
    let unit = found.text("unit").unwrap_or_else(|| "2th_deg".into());
    if crate::Unit::named(&unit).is_none() {
        let known = crate::unit::names();
        return Err(
            Error::data(format!("`unit` is `{unit}`, which is not known")).help(format!("known: {known}"))
        );
    }
    set.push(format!("unit = {unit:?}"));
    if let Some(bins) = found.number("nbpt_rad")? {
        set.push(format!("bins = {bins}"));
    }
    if let Some(bins) = found.number("nbpt_azim")?.filter(|_| map) {
        set.push(format!("azimuthal_bins = {bins}"));
    }
    let (splitting, histogram) = method::splitting(found.get("method").as_ref())?;
    set.push(format!("splitting = {splitting:?}"));
    if histogram {
        set.push("histogram = true".into());
    }
    if map && found.get("method").is_some_and(|method| method.to_string().contains("csc")) {
        // Of sparse maps those of columns alone leave the dark out of the variance of counts.
        set.push("dark_variance = false".into());
    }
    found.corrections(&mut set)?;
    let inputs = found.images();
    let left: Vec<String> = found.all.keys().filter(|k| !found.used.contains(*k)).cloned().collect();
    for key in left.iter().filter(|k| !SILENT.contains(&k.as_str())) {
        found.notes.push(format!("not taken: `{key}` = {}", found.all[key]));
    }
    let (source, path) = source(frames);
    let stage = if map { "azimuthal.integrate2d" } else { "azimuthal.integrate1d" };
    let errors = set.iter().any(|s| s.starts_with("errors"));
    let mut out = String::from("# Made of an integration configuration by `isard import pyfai`.\n");
    let _ = writeln!(out, "isard = \"0.1\"\nname = \"integrate\"\n\n[stage.frames]\nuse = {source:?}");
    let _ =
        writeln!(out, "set = {{ path = {path:?} }}\n\n[stage.result]\nuse = {stage:?}\nfrom = \"frames\"");
    if !inputs.is_empty() {
        let _ = writeln!(out, "in = {{ image = \"frames.image\", {} }}", inputs.join(", "));
    }
    let _ = writeln!(out, "\n[stage.result.set]");
    for line in &set {
        let _ = writeln!(out, "{line}");
    }
    let mut keys = vec!["intensity", "radial"];
    keys.extend(errors.then_some("sigma"));
    keys.extend(map.then_some("azimuthal"));
    let keys: Vec<String> = keys.iter().map(|k| format!("{k} = \"result.{k}\"")).collect();
    let _ = writeln!(
        out,
        "\n[stage.save]\nuse = \"azimuthal.write\"\nfrom = \"result\"\nin = {{ {} }}\n\
         set = {{ path = \"result.nxs\", unit = {unit:?} }}",
        keys.join(", ")
    );
    Ok(Imported { recipe: out, notes: found.notes })
}

/// The source that reads a path, by its ending.
fn source(frames: &str) -> (&'static str, &str) {
    let file = frames.split("::").next().unwrap_or(frames).to_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|e| file.ends_with(e));
    let source = match () {
        () if ends(&[".cbf"]) => "cbf.sequence",
        () if ends(&[".edf"]) => "edf.sequence",
        () if ends(&[".tif", ".tiff"]) => "tiff.sequence",
        () if ends(&[".npy"]) => "npy.stack",
        () if ends(&["_master.h5"]) => "dectris.master",
        () => "hdf5.dataset",
    };
    (source, frames)
}

impl Found {
    /// The value of a key; `null` is none.
    fn get(&mut self, key: &str) -> Option<Value> {
        let value = self.all.get(key)?.clone();
        self.used.insert(key.to_owned());
        Some(value).filter(|v| !v.is_null())
    }

    fn on(&mut self, key: &str) -> bool {
        self.get(key).is_some_and(|v| v == true || v == 1)
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.get(key)?;
        value.as_str().filter(|t| !t.is_empty() && *t != "None").map(str::to_owned)
    }

    fn number(&mut self, key: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match &value {
            Value::String(text) if text.is_empty() => return Ok(None),
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        let number = number.filter(|n: &f64| n.is_finite());
        number.map(Some).ok_or_else(|| Error::data(format!("`{key}` is {value}, wanted a number")))
    }

    /// The geometry: a path, a nested table, or keys of the configuration itself.
    fn geometry(&mut self) -> Result<String> {
        let nested = match self.get("poni") {
            Some(Value::String(path)) => return Ok(format!("geometry = {path:?}")),
            Some(Value::Object(table)) => table,
            _ => self.all.clone(),
        };
        let names = [
            "poni_version",
            "dist",
            "poni1",
            "poni2",
            "rot1",
            "rot2",
            "rot3",
            "wavelength",
            "detector",
            "detector_config",
        ];
        let mut text = String::new();
        for (key, value) in &nested {
            let lower = key.to_lowercase();
            if !names.contains(&lower.as_str()) && !["pixel1", "pixel2", "parallax"].contains(&lower.as_str())
            {
                continue;
            }
            self.used.insert(key.clone());
            let value = match value {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let key = match lower.as_str() {
                "pixel1" => "PixelSize1",
                "pixel2" => "PixelSize2",
                "dist" => "Distance",
                other => other,
            };
            let _ = writeln!(text, "{key}: {value}");
        }
        let poni = Poni::parse(&text).map_err(|e| {
            Error::data(format!("the geometry: {e}")).help("it stands under `poni`, or as `dist`, ...")
        })?;
        let Pose { dist, .. } = poni.pose;
        if dist <= 0.0 {
            self.notes.push(format!("the distance is {dist} m"));
        }
        Ok(format!("poni = '''\n{}'''", poni.write(&[])))
    }

    /// What is corrected, kept and left out.
    fn corrections(&mut self, set: &mut Vec<String>) -> Result<()> {
        self.ranges(set)?;
        if self.on("chi_discontinuity_at_0") {
            set.push("cut_at_zero = true".into());
        }
        let solid = self.get("do_solid_angle").or(self.get("correct_solid_angle"));
        if solid.is_some_and(|v| v == false || v == 0) {
            set.push("solid_angle = false".into());
        }
        self.polarisation(set)?;
        // Where a configuration has no switch, as newer ones have none, what is given counts.
        let on = self.get("do_dummy").is_none_or(|v| v == true || v == 1);
        let value = self.number("val_dummy")?.or(self.number("dummy")?);
        let delta = self.number("delta_dummy")?;
        if let Some(value) = value.filter(|_| on) {
            set.push(format!("dummy = {value:?}\ndelta_dummy = {:?}", delta.unwrap_or(0.0)));
        }
        if let Some(factor) = self.number("normalization_factor")?.filter(|f| *f != 1.0) {
            set.push(format!("normalisation = {factor:?}"));
        }
        let model = self.text("error_model").map(|m| m.to_lowercase());
        match model.as_deref() {
            None | Some("no" | "none") => {
                if self.on("do_poisson") {
                    set.push("errors = \"poisson\"".into());
                }
            }
            Some(model @ ("poisson" | "azimuthal" | "hybrid" | "variance")) => {
                set.push(format!("errors = {model:?}"));
                if model == "variance" {
                    self.notes
                        .push("`error_model` is `variance`: wire an image of variances as `variance`".into());
                }
            }
            Some(other) => self.notes.push(format!("not taken: `error_model` = {other}")),
        }
        let robust = self.get("integrator_method").or(self.get("integrator_name"));
        match robust.as_ref().and_then(Value::as_str).unwrap_or("integrate1d") {
            name if name.starts_with("sigma_clip") => {
                let extra = self.get("extra_options").unwrap_or_default();
                let threshold = extra["thres"].as_f64().or(extra["thresh"].as_f64()).unwrap_or(5.0);
                let rounds = extra["max_iter"].as_u64().unwrap_or(5);
                set.push(format!("clip = {{ threshold = {threshold:?}, rounds = {rounds} }}"));
                if !set.iter().any(|s| s.starts_with("errors")) {
                    set.push("errors = \"azimuthal\"".into());
                    self.notes.push("sigma clipping without an error model: azimuthal is taken".into());
                }
            }
            name if name.starts_with("medfilt") => {
                let extra = self.get("extra_options").unwrap_or_default();
                let range = match &extra["percentile"] {
                    Value::Array(pair) if pair.len() == 2 => [pair[0].as_f64(), pair[1].as_f64()],
                    other => [other.as_f64(); 2],
                };
                let [low, high] = range.map(|p| p.unwrap_or(50.0) / 100.0);
                set.push(format!("quantiles = [{low:?}, {high:?}]"));
            }
            _ => (),
        }
        Ok(())
    }

    /// Limits, in pairs of keys with a switch or as lists.
    fn ranges(&mut self, set: &mut Vec<String>) -> Result<()> {
        for (names, name) in [(&["radial"][..], "radial_range"), (&["azimuth", "azimuthal"], "azimuth_range")]
        {
            let (mut on, mut limits) = (None, [None, None]);
            for of in names {
                on = on.or(self.get(&format!("do_{of}_range")));
                for (limit, end) in limits.iter_mut().zip(["min", "max"]) {
                    *limit = limit.or(self.number(&format!("{of}_range_{end}"))?);
                }
            }
            // Newer programs write both in one list and know no switch.
            if let Some(Value::Array(pair)) = self.get(name)
                && let [low, high] = &pair[..]
            {
                limits = [low.as_f64(), high.as_f64()];
                on = on.or(Some(true.into()));
            }
            if !on.is_some_and(|v| v == true || v == 1) {
                continue;
            }
            match limits {
                [Some(low), Some(high)] => set.push(format!("{name} = [{low:?}, {high:?}]")),
                _ => self
                    .notes
                    .push(format!("`{name}` is asked for, but a limit is missing: the whole range is taken")),
            }
        }
        Ok(())
    }

    /// The factor of polarisation: a number, or a pair with the turn of its axis in radians.
    fn polarisation(&mut self, set: &mut Vec<String>) -> Result<()> {
        let on = self.get("do_polarization").is_none_or(|v| v == true || v == 1);
        let pair = self.get("polarization_description").or_else(|| {
            self.all
                .get("polarization_factor")
                .is_some_and(Value::is_array)
                .then(|| self.get("polarization_factor"))?
        });
        let [factor, turn] = match pair {
            Some(Value::Array(pair)) => [0, 1].map(|k| pair.get(k).and_then(Value::as_f64)),
            Some(Value::Object(pair)) => ["factor", "offset"].map(|k| pair.get(k).and_then(Value::as_f64)),
            _ => [self.number("polarization_factor")?, self.number("polarization_offset")?],
        };
        if let Some(factor) = factor.filter(|_| on) {
            set.push(format!("polarisation = {factor:?}"));
            if let Some(turn) = turn.filter(|t| *t != 0.0) {
                set.push(format!("polarisation_turn = {:?}", turn.to_degrees()));
            }
        }
        Ok(())
    }

    /// Images that are wired, and the monitor.
    fn images(&mut self) -> Vec<String> {
        let mut inputs = vec![];
        for (switch, key, name) in [
            ("do_mask", &["mask_file", "mask_image"][..], "mask"),
            ("do_dark", &["dark_current", "dark_current_image"][..], "dark"),
            ("do_flat", &["flat_field", "flat_field_image"][..], "flat"),
        ] {
            let on = self.get(switch);
            let files: Vec<String> = key
                .iter()
                .filter_map(|k| match self.get(k)? {
                    Value::String(file) if !file.is_empty() => Some(vec![file]),
                    Value::Array(files) => {
                        Some(files.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect())
                    }
                    _ => None,
                })
                .flatten()
                .collect();
            if on.is_some_and(|v| v == false) {
                continue;
            }
            match &files[..] {
                [] => (),
                [one] => inputs.push(format!("{name} = {one:?}")),
                many => self.notes.push(format!("not taken: {} files for `{name}`, wanted one", many.len())),
            }
        }
        if let Some(monitor) = self.text("monitor_name") {
            inputs.push(format!("monitor = {monitor:?}"));
            self.notes.push(format!("`monitor_name` is `{monitor}`: name the column of the source there"));
        }
        inputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{
        "application": "pyfai-integrate", "version": 4,
        "poni": {"poni_version": 2.1, "dist": 0.2, "poni1": 0.06, "poni2": 0.03, "rot1": 0.1, "rot2": 0, "rot3": 0,
                 "detector": "Pilatus300k", "detector_config": {"orientation": 3}, "wavelength": 5e-11},
        "nbpt_rad": 300, "nbpt_azim": 1, "unit": "2th_deg", "do_2D": false,
        "do_mask": true, "mask_file": "mask.edf", "do_dark": false, "dark_current": "dark.edf",
        "do_polarization": true, "polarization_factor": 0.95, "do_solid_angle": true,
        "do_dummy": true, "val_dummy": -2, "delta_dummy": 0.5, "do_radial_range": true,
        "radial_range_min": 1, "radial_range_max": 20, "do_azimuthal_range": false,
        "error_model": "poisson", "method": ["full", "csr", "opencl"], "normalization_factor": 2.5, "mystery": 7
    }"#;

    #[test]
    fn a_configuration_becomes_a_recipe() {
        let made = recipe(CONFIG, "scan.h5::/entry/data").unwrap();
        let table: toml::Table = made.recipe.parse().unwrap();
        let stage = &table["stage"]["result"];
        assert_eq!(stage["use"].as_str(), Some("azimuthal.integrate1d"));
        let set = &stage["set"];
        assert_eq!((set["bins"].as_integer(), set["splitting"].as_str()), (Some(300), Some("full")));
        assert_eq!(set["polarisation"].as_float(), Some(0.95));
        assert_eq!((set["dummy"].as_float(), set["delta_dummy"].as_float()), (Some(-2.0), Some(0.5)));
        assert_eq!(set["radial_range"].as_array().unwrap().len(), 2);
        assert!(set.get("azimuth_range").is_none() && set["normalisation"].as_float() == Some(2.5));
        assert_eq!(stage["in"]["mask"].as_str(), Some("mask.edf"));
        assert!(stage["in"].get("dark").is_none());
        let poni = Poni::parse(set["poni"].as_str().unwrap()).unwrap();
        assert_eq!((poni.shape, poni.pose.rot1), (Some([619, 487]), 0.1));
        assert_eq!(made.notes, ["not taken: `mystery` = 7"]);
    }

    // Version 5 of pyFAI 2026.9, as its `WorkerConfig.save` writes it: lists in place of pairs, and no switches.
    #[test]
    fn new_configurations_have_no_switches() {
        let new = r#"{"application": "worker", "version": 5, "nbpt_rad": 500, "nbpt_azim": 1, "unit": "q_nm^-1",
            "poni": {"poni_version": 2.1, "dist": 0.2, "poni1": 0.06, "poni2": 0.03, "rot1": 0, "rot2": 0, "rot3": 0,
                "detector": "Pilatus300k", "detector_config": {"orientation": 3}, "wavelength": 5e-11},
            "chi_discontinuity_at_0": true, "polarization_description": [0.95, 0.5], "normalization_factor": 1.0,
            "val_dummy": -1.0, "delta_dummy": null, "correct_solid_angle": false, "dark_current": null,
            "flat_field": null, "mask_file": null, "error_model": "poisson", "method": ["bbox", "csr", "cython"],
            "opencl_device": null, "azimuth_range": [-30, 60], "radial_range": null, "integrator_class": "AzimuthalIntegrator",
            "integrator_method": "sigma_clip_ng", "extra_options": {"thres": 3, "max_iter": 4}, "monitor_name": null,
            "shape": [619, 487]}"#;
        let made = recipe(new, "a.cbf").unwrap();
        assert!(made.notes.is_empty(), "{:?}", made.notes);
        let table: toml::Table = made.recipe.parse().unwrap();
        let set = &table["stage"]["result"]["set"];
        assert_eq!((set["polarisation"].as_float(), set["dummy"].as_float()), (Some(0.95), Some(-1.0)));
        assert!((set["polarisation_turn"].as_float().unwrap() - 28.647_889_756_541_16).abs() < 1e-12);
        assert_eq!((set["solid_angle"].as_bool(), set["cut_at_zero"].as_bool()), (Some(false), Some(true)));
        let range: Vec<_> =
            set["azimuth_range"].as_array().unwrap().iter().filter_map(toml::Value::as_float).collect();
        assert_eq!(range, [-30.0, 60.0]);
        assert_eq!(set["clip"]["rounds"].as_integer(), Some(4));
        assert!(set.get("radial_range").is_none());
    }

    #[test]
    fn old_configurations_have_the_geometry_inside() {
        let old = r#"{"poni1": 0.01, "poni2": 0.02, "dist": "0.1", "rot1": 0, "rot2": 0, "rot3": 0, "detector": "Eiger4M",
            "wavelength": 1e-10, "method": "splitpixel", "do_2D": true, "nbpt_rad": 100, "nbpt_azim": 36, "unit": "q_A^-1"}"#;
        let made = recipe(old, "a.cbf").unwrap();
        assert!(made.recipe.contains("integrate2d") && made.recipe.contains("azimuthal_bins = 36"));
        assert!(made.recipe.contains("splitting = \"full\"") && made.recipe.contains("cbf.sequence"));
        assert!(made.notes.is_empty(), "{:?}", made.notes);
        assert!(made.recipe.contains("histogram = true"));
        assert!(recipe("[1]", "a.cbf").is_err() && recipe("{}", "a.cbf").is_err());
    }
}
