//! `id31.integrate_simple` and `id31.integrate`: images into text files, divided by the flux that a diode saw.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use isard_azimuthal::text::{Head, dat};
use isard_core::prelude::*;
use isard_core::schemars;
use isard_files::edf::Edf;
use isard_geometry::Poni;
use serde_json::{Map, Value as Json};

use super::pyfai::{Returned, simple};
use super::{Others, example};
use crate::frames::{self, Frames};
use crate::integrate::{Ask, curves, dummy, geometry, mask};
use crate::monitor::{HC, counter, flux};
use crate::paths::{Several, stem, write};

/// Integrates one image into bins of the scattering angle, as text.
///
/// As `pyfai.integrate_simple`, with a number of bins.
///
/// Source: the plugin of this name of the older job server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Simple31 {
    /// The geometry file (PONI).
    #[schemars(extend("x-path" = "input"))]
    poni_file: String,
    /// The image, in any format that isard reads.
    #[schemars(extend("x-path" = "input"))]
    image_file: String,
    /// The text file to write.
    #[schemars(extend("x-path" = "output"))]
    curve_file: String,
    /// Radial bins.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1))]
    nbins: usize,
}

fn thousand() -> usize {
    1000
}

impl Stage for Simple31 {
    type In = Others;
    type Out = Returned;

    fn example() -> Example {
        let (poni, image) = (example::poni(), example::image());
        Example::new(format!(
            "poni_file = {poni:?}\nimage_file = {image:?}\nnbins = 20\ncurve_file = {:?}",
            example::output("simple31.dat")
        ))
    }
}

impl Task for Simple31 {
    fn run(&mut self, cx: &Cx, others: Others) -> Result<Returned> {
        others.tell();
        let ask = Ask::new(geometry(&self.poni_file, None)?, "2th_deg", self.nbins);
        simple(cx, &ask, &self.image_file, &self.curve_file)
    }
}
declare!(Task, "id31.integrate_simple", Kind::Tool, Simple31);

/// Integrates images into text files, divided by the photons that a diode saw.
///
/// Each image becomes `<output_dir>/<its name>.dat`. The flux is 3.66 eV I / (e E (1 - exp(-mu d rho))) of a silicon diode
/// 0.3 mm thick, with the current `mondio` in pA of the EDF header, divided by `norm` of the configuration (1e12).
/// An image without that counter is an error.
///
/// Source: the plugin of this name of the older job server; silicon from NISTIR 5632.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Integrate31 {
    /// The folder that text files go to.
    #[schemars(extend("x-path" = "output"))]
    output_dir: String,
    /// The configuration of the integration (JSON).
    #[schemars(extend("x-path" = "input"))]
    json: String,
    /// The images (EDF): a list, or a pattern.
    #[schemars(extend("x-path" = "input"))]
    input_files: Several,
}

/// The files that were written.
#[derive(Ports)]
pub struct Written {
    /// The text files, in order of the images.
    output_files: Value,
}

impl Stage for Integrate31 {
    type In = Others;
    type Out = Written;

    fn example() -> Example {
        let config = format!("{{\"poni\": {:?}, \"npt\": 20, \"unit\": \"q_nm^-1\"}}", example::poni());
        let config = Example::file("beamline.json", config.as_bytes());
        let (folder, image) = (example::output("id31"), example::image());
        Example::new(format!("output_dir = {folder:?}\njson = {config:?}\ninput_files = [{image:?}]"))
    }
}

impl Task for Integrate31 {
    fn run(&mut self, cx: &Cx, others: Others) -> Result<Written> {
        others.tell();
        let config = Config::read(cx, &self.json)?;
        let energy = config.ask.poni.wavelength.map(|w| HC / (1e10 * w)).ok_or_else(|| {
            Error::data("neither the configuration nor the geometry has a wavelength")
                .help("add `\"wavelength\": 1.6e-11` (metres) to the configuration")
        })?;
        let mut output_files = vec![];
        for file in self.input_files.files()? {
            cx.check()?;
            let name = file.display().to_string();
            let frames = Frames::open(&name)?;
            if frames.count != 1 {
                return Err(Error::data(format!("{name}: has {} frames, wanted one", frames.count)));
            }
            let factor = flux(diode(&file)?, energy).map_err(|e| e.at(name.clone()))? / config.norm;
            let integrator = config.ask.ready(cx, frames.shape, frames.dtype)?;
            let found = curves(cx, &integrator, &frames.read(cx, 0, 1)?, None, &[factor])
                .map_err(|e| e.at(name.clone()))?;
            let path = Path::new(&self.output_dir).join(format!("{}.dat", stem(&file)));
            let shown = path.display().to_string();
            let ask = &config.ask;
            let head = Head {
                poni: Some(&ask.poni),
                given: [ask.mask.is_some(), false, false],
                polarisation: ask.polarisation,
                normalisation: factor,
            };
            let unit = ask.unit()?;
            let text = dat(
                &head.text(),
                &shown,
                unit.name,
                &integrator.shares.radial_axis(&unit),
                &found[0].intensity,
                None,
            );
            write(&path, text.as_bytes())?;
            output_files.push(Value::from(shown));
        }
        Ok(Written { output_files: Value::from(output_files) })
    }
}
declare!(Task, "id31.integrate", Kind::Tool, Integrate31);

/// The current of the diode in the header of an EDF file.
fn diode(file: &Path) -> Result<f64> {
    let name = file.display().to_string();
    let opened = File::open(file).map_err(|e| Error::io("cannot open", file, &e))?;
    let edf = Edf::scan(BufReader::new(opened), &name, &[], false)
        .map_err(|e| Error::data(e.to_string()).help("the monitor stands in the header of EDF files"))?;
    let lower: BTreeMap<String, &String> = edf.header.iter().map(|(k, v)| (k.to_lowercase(), v)).collect();
    let get = |key: &str| lower.get(key).map(|text| text.as_str()).unwrap_or_default();
    counter(get("counter_mne"), get("counter_pos"), "mondio").ok_or_else(|| {
        Error::data(format!("{name}: its header has no counter `mondio`"))
            .help("`counter_mne` names the counters, `counter_pos` has their values")
    })
}

/// A configuration of an integration.
struct Config {
    ask: Ask,
    norm: f64,
}

/// Keys of configurations that are used here, or say nothing about the result.
const KNOWN: [&str; 44] = [
    "poni",
    "poni_file",
    "poni_version",
    "dist",
    "distance",
    "poni1",
    "poni2",
    "rot1",
    "rot2",
    "rot3",
    "wavelength",
    "detector",
    "detector_config",
    "pixel1",
    "pixel2",
    "splinefile",
    "npt",
    "nbpt_rad",
    "unit",
    "mask",
    "mask_file",
    "do_mask",
    "val_dummy",
    "delta_dummy",
    "do_dummy",
    "do_polarziation",
    "do_polarization",
    "polarization_factor",
    "do_sa",
    "do_solid_angle",
    "norm",
    "method",
    "do_2d",
    "application",
    "version",
    "shape",
    "do_opencl",
    "opencl_device",
    "progressbar",
    "nthreads",
    "output_dir",
    "file_version",
    "input_data",
    "parallax",
];

impl Config {
    fn read(cx: &Cx, path: &str) -> Result<Config> {
        let at = Path::new(path);
        let text = std::fs::read_to_string(at).map_err(|e| Error::io("cannot read", at, &e))?;
        let all: Map<String, Json> = serde_json::from_str(&text)
            .map_err(|e| Error::data(format!("no configuration: {e}")).at(path.to_owned()))?;
        let all: BTreeMap<String, Json> = all.into_iter().map(|(k, v)| (k.to_lowercase(), v)).collect();
        for key in all.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
            tracing::warn!("The key `{key}` of the configuration is not used here.");
        }
        Config::of(cx, &all).map_err(|e| e.at(path.to_owned()))
    }

    fn of(cx: &Cx, all: &BTreeMap<String, Json>) -> Result<Config> {
        let text = |keys: &[&str]| {
            keys.iter().find_map(|k| all.get(*k)?.as_str().filter(|t| !t.is_empty())).map(str::to_owned)
        };
        let number = |keys: &[&str]| -> Result<Option<f64>> {
            let Some((key, value)) =
                keys.iter().find_map(|k| Some((k, all.get(*k).filter(|v| !v.is_null())?)))
            else {
                return Ok(None);
            };
            let found = match value {
                Json::String(text) if text.is_empty() => return Ok(None),
                Json::String(text) => text.trim().parse().ok(),
                other => other.as_f64(),
            };
            found.map(Some).ok_or_else(|| Error::data(format!("`{key}` is {value}, wanted a number")))
        };
        let on = |keys: &[&str]| keys.iter().find_map(|k| all.get(*k).and_then(Json::as_bool));
        let poni = Config::geometry(all, number(&["wavelength"])?)?;
        let bins = number(&["npt", "nbpt_rad"])?.unwrap_or(1000.0);
        if !(bins >= 1.0 && bins.fract() == 0.0 && bins < 1e8) {
            return Err(Error::data(format!("`npt` is {bins}, wanted a whole number of bins")));
        }
        let mut ask = Ask::new(poni, &text(&["unit"]).unwrap_or_else(|| "2th_deg".into()), bins as usize);
        if let Some(method) = text(&["method"]) {
            ask = ask.method(&method)?;
        }
        if on(&["do_dummy"]) != Some(false) {
            ask.dummy = dummy(number(&["val_dummy"])?, number(&["delta_dummy"])?);
        }
        if on(&["do_polarziation", "do_polarization"]) == Some(true) {
            ask.polarisation = number(&["polarization_factor"])?;
        }
        ask.solid_angle = on(&["do_sa", "do_solid_angle"]).unwrap_or(true);
        if let Some(path) = text(&["mask", "mask_file"]).filter(|_| on(&["do_mask"]) != Some(false)) {
            // The reader of the job, which knows what paths it may read.
            ask.mask = Some(mask(&frames::image(cx.read(&path)?, &path)?)?);
        }
        Ok(Config { ask, norm: number(&["norm"])?.unwrap_or(1e12) })
    }

    /// The geometry: a file, a nested table, or keys of the configuration itself.
    fn geometry(all: &BTreeMap<String, Json>, wavelength: Option<f64>) -> Result<Poni> {
        let nested = match all.get("poni").or(all.get("poni_file")) {
            Some(Json::String(path)) => return geometry(path, wavelength),
            Some(Json::Object(table)) => {
                table.iter().map(|(k, v)| (k.to_lowercase(), v.clone())).collect::<BTreeMap<_, _>>()
            }
            _ => all.clone(),
        };
        let mut lines = String::new();
        for (key, value) in nested {
            let name = match key.as_str() {
                "pixel1" => "PixelSize1",
                "pixel2" => "PixelSize2",
                "dist" | "distance" => "Distance",
                "poni1" | "poni2" | "rot1" | "rot2" | "rot3" | "detector" | "detector_config"
                | "poni_version" | "splinefile" | "parallax" | "wavelength" => key.as_str(),
                _ => continue,
            };
            match &value {
                Json::Null => (),
                Json::String(text) => lines += &format!("{name}: {text}\n"),
                other => lines += &format!("{name}: {other}\n"),
            }
        }
        let mut poni = Poni::parse(&lines).map_err(|e| Error::data(format!("the geometry: {e}")))?;
        poni.wavelength = wavelength.or(poni.wavelength);
        Ok(poni)
    }
}
