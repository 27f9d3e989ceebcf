//! `id15.integratemanyframes` and `id15v2.integratemanyframes`: a scan of files into one HDF5 file.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use isard_azimuthal::{Integrator, Result1, Robust};
use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::stage::RunCx;
use isard_core::store::utc_now;

use super::id15_write::{Made, Save, Version};
use super::{Others, example};
use crate::frames::{self, Frames};
use crate::integrate::{Ask, curves, dummy, geometry, mask};
use crate::paths::Several;

/// Files that are read at once; each is integrated by the thread that read it.
const AT_ONCE: usize = 16;
/// What became of a file: results of its frames, and the frames where they are kept.
type Part = (Vec<Result1>, Option<Array>);

/// Radial bins that a profile along the azimuth is averaged over.
const ACROSS: usize = 100;

/// How frames are integrated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// Intensity against radius.
    #[default]
    Integrate1d,
    /// Intensity against azimuth and radius.
    Integrate2d,
    /// Intensity against azimuth.
    IntegrateRadial,
    /// Against radius, pixels far from the mean of their bin left out.
    SigmaClip,
    /// Against radius, of each bin the pixels between two quantiles.
    Medfilt1d,
}

/// How raw frames are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Packing {
    /// Deflate.
    Gzip,
    /// LZ4; written with bits shuffled first, which the same readers know.
    Lz4,
    /// Bits shuffled, then LZ4.
    Bitshuffle,
}

/// The input of both versions.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(crate) struct Scan {
    /// The geometry file (PONI).
    #[schemars(extend("x-path" = "input"))]
    poni_file: String,
    /// The files of the frames: a list, or a pattern whose files are sorted by name.
    #[schemars(extend("x-path" = "input"))]
    pub(crate) input_files: Several,
    /// The file of the curves; `output.h5` beside the first input if not named.
    #[schemars(extend("x-path" = "output"))]
    output_file: Option<String>,
    /// Radial bins.
    #[serde(default = "two_thousand")]
    #[schemars(range(min = 1))]
    npt: usize,
    /// Azimuthal bins of a map.
    #[serde(default = "azimuths")]
    #[schemars(range(min = 1))]
    npt_azim: usize,
    /// The radial unit.
    #[serde(default = "q")]
    unit: String,
    /// The wavelength, in place of the geometry's.
    #[schemars(extend("x-unit" = "m"))]
    wavelength: Option<f64>,
    /// An image of bad pixels: 0 is good; in place of the detector's own.
    #[schemars(extend("x-path" = "input"))]
    mask: Option<String>,
    /// The value of invalid pixels.
    dummy: Option<f64>,
    /// How far from `dummy` a pixel is still invalid.
    delta_dummy: Option<f64>,
    /// Whether the polarisation is corrected for.
    #[serde(default)]
    do_polarziation: bool,
    /// The same, spelt right.
    #[serde(default)]
    do_polarization: bool,
    /// The beam's polarisation: 1 horizontal, -1 vertical.
    #[schemars(range(min = -1, max = 1))]
    polarization_factor: Option<f64>,
    /// Whether pixels are divided by the solid angle they see.
    #[serde(default)]
    do_sa: bool,
    /// What all frames are divided by.
    #[serde(default = "one")]
    norm: f64,
    /// How pixels are split, by the names of the older programs.
    method: Option<String>,
    /// What is made of each frame.
    #[serde(default)]
    pub(crate) integration_method: Way,
    /// Standard deviations beyond which a pixel is left out.
    #[serde(default = "three")]
    #[schemars(range(min = 0))]
    sigma_clip_thresold: f64,
    /// Rounds of leaving pixels out.
    #[serde(default = "five")]
    sigma_clip_max_iter: usize,
    /// The quantiles between which pixels count, in percent.
    #[serde(default = "deciles")]
    medfilt1d_percentile: [f64; 2],
    /// An HDF5 file that the frames are copied to.
    #[schemars(extend("x-path" = "output"))]
    save_raw: Option<String>,
    /// How copied frames are compressed; not at all if not said.
    pub(crate) raw_compression: Option<Packing>,
    /// Whether the input files are removed when all is written.
    #[serde(default)]
    delete_incoming: bool,
    /// What each frame is divided by.
    monitor_values: Option<Vec<f64>>,
}

fn two_thousand() -> usize {
    2000
}

fn azimuths() -> usize {
    256
}

fn q() -> String {
    "q_nm^-1".into()
}

fn one() -> f64 {
    1.0
}

fn three() -> f64 {
    3.0
}

fn five() -> usize {
    5
}

fn deciles() -> [f64; 2] {
    [10.0, 90.0]
}

/// What was written.
#[derive(Ports)]
pub struct Saved {
    /// The file of the curves.
    output_file: String,
    /// The file of the copied frames.
    save_raw: Option<String>,
}

/// Integrates the files of a scan into one HDF5 file, one curve or map a frame.
///
/// Each call adds an entry to the file. `monitor_values` divide frame by frame, which the older server promised and did not
/// do. The file and its copy of the frames are written at once at the end, and only then `delete_incoming` removes inputs.
///
/// Source: the plugin of this name of the older job server; files as it writes them.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct First(Scan);

/// Integrates the files of a scan as `id15` does, without splitting pixels.
///
/// The group of the results is named after the method.
///
/// Source: the plugin of this name of the older job server; files as it writes them.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Second(Scan);

fn shown(name: &str) -> Example {
    Example::new(format!(
        "poni_file = {:?}\ninput_files = [{:?}]\nnpt = 20\noutput_file = {:?}",
        example::poni(),
        example::image(),
        example::output(name)
    ))
}

impl Stage for First {
    type In = Others;
    type Out = Saved;

    fn example() -> Example {
        shown("id15.h5")
    }

    fn check(&self, faults: &mut Faults) {
        self.0.check(faults);
    }
}

impl Stage for Second {
    type In = Others;
    type Out = Saved;

    fn example() -> Example {
        shown("id15v2.h5")
    }

    fn check(&self, faults: &mut Faults) {
        self.0.check(faults);
    }
}

impl Task for First {
    fn run(&mut self, cx: &Cx, others: Others) -> Result<Saved> {
        self.0.run(cx, &others, Version::First)
    }
}

impl Task for Second {
    fn run(&mut self, cx: &Cx, others: Others) -> Result<Saved> {
        self.0.run(cx, &others, Version::Second)
    }
}

declare!(Task, "id15.integratemanyframes", Kind::Tool, First);
declare!(Task, "id15v2.integratemanyframes", Kind::Tool, Second);

impl Scan {
    fn check(&self, faults: &mut Faults) {
        if !(self.norm.is_finite() && self.norm != 0.0) {
            faults.add("norm", format!("is {}, wanted a number other than 0", self.norm));
        }
        let [low, high] = self.medfilt1d_percentile;
        if !(0.0 <= low && low <= high && high <= 100.0) {
            faults.add(
                "medfilt1d_percentile",
                format!("is {low} and {high}, wanted 0 <= first <= second <= 100"),
            );
        }
        let corrected = self.do_polarziation || self.do_polarization;
        if corrected && self.polarization_factor.is_none() {
            faults.add_with_help(
                "polarization_factor",
                "is not given",
                "`do_polarziation` needs it: 0.99, say",
            );
        }
    }

    fn ask(&self, version: Version) -> Result<Ask> {
        let mut ask = Ask::new(geometry(&self.poni_file, self.wavelength)?, &self.unit, self.npt);
        let usual = if version == Version::First { "full_ocl_csr" } else { "ocl_nosplit_csr_gpu" };
        ask = ask.method(self.method.as_deref().unwrap_or(usual))?;
        ask.solid_angle = self.do_sa;
        ask.dummy = dummy(self.dummy, self.delta_dummy);
        ask.polarisation = self.polarization_factor.filter(|_| self.do_polarziation || self.do_polarization);
        if let Some(path) = &self.mask {
            ask.mask = Some(mask(&frames::single(path)?)?);
        }
        match self.integration_method {
            Way::Integrate1d => (),
            Way::Integrate2d => ask.azimuthal = Some(self.npt_azim),
            Way::IntegrateRadial => (ask.azimuthal, ask.bins) = (Some(self.npt), ACROSS),
            Way::SigmaClip => ask.clip(self.sigma_clip_thresold, self.sigma_clip_max_iter),
            Way::Medfilt1d => ask.robust = Robust::Between(self.medfilt1d_percentile.map(|p| p / 100.0)),
        }
        Ok(ask)
    }

    fn run(&self, cx: &Cx, others: &Others, version: Version) -> Result<Saved> {
        others.tell();
        let begun = utc_now();
        let files = self.input_files.files()?;
        let ask = self.ask(version)?;
        let output = self.output(&files);
        let first = Frames::open(&files[0].display().to_string())?;
        let integrator = ask.ready(cx, first.shape, first.dtype)?;
        let mut raw = self
            .save_raw
            .as_ref()
            .map(|path| super::id15_write::raw(Path::new(path), &first, files.len(), self.raw_compression));
        let mut made = Made::default();
        for some in files.chunks(AT_ONCE) {
            cx.check()?;
            let parts = self.some(cx, &integrator, &first, some, raw.is_some())?;
            for (found, array) in parts {
                made.take(&found, self.integration_method, self.npt);
                if let (Some(raw), Some(array)) = (&mut raw, array) {
                    raw.push(array.bytes())?;
                }
            }
        }
        made.divide(self.norm, self.monitor_values.as_deref())?;
        let save = Save {
            plugin: others.plugin(version.name()),
            input: self.described(others, version),
            begun,
            version,
            way: self.integration_method,
            bins: self.npt,
            azimuths: self.npt_azim,
        };
        save.write(&output, &ask, &integrator, &made)?;
        let save_raw = match (raw, &self.save_raw) {
            (Some(raw), Some(path)) => {
                save.write_raw(Path::new(path), raw)?;
                Some(path.clone())
            }
            _ => None,
        };
        if self.delete_incoming {
            for file in &files {
                std::fs::remove_file(file).map_err(|e| Error::io("cannot remove", file, &e))?;
            }
        }
        Ok(Saved { output_file: output.display().to_string(), save_raw })
    }

    /// Reads and integrates some files, each on a thread of its own; the frames too where they are wanted.
    fn some(
        &self,
        cx: &Cx,
        integrator: &Integrator,
        like: &Frames,
        files: &[PathBuf],
        keep: bool,
    ) -> Result<Vec<Part>> {
        let slots: Vec<Mutex<Option<Part>>> = files.iter().map(|_| Mutex::new(None)).collect();
        // A view of the engine stays on its thread; what it is needed for here is a buffer.
        cx.par(files.len(), |k| {
            let name = files[k].display().to_string();
            let run = RunCx::default();
            let cx = Cx::new(&run, "id15");
            let frames = Frames::open(&name)?;
            if frames.shape != like.shape || frames.dtype != like.dtype {
                return Err(Error::data(format!(
                    "{name}: has frames of {} {:?}, those of the first file are {} {:?}",
                    frames.dtype, frames.shape, like.dtype, like.shape
                )));
            }
            let array = frames.read(&cx, 0, frames.count)?;
            let found =
                curves(&cx, integrator, &array, None, &vec![1.0; frames.count]).map_err(|e| e.at(name))?;
            *slots[k].lock().unwrap_or_else(PoisonError::into_inner) = Some((found, keep.then_some(array)));
            Ok(())
        })?;
        let all = slots.into_iter().filter_map(|s| s.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(all.collect())
    }

    fn output(&self, files: &[PathBuf]) -> PathBuf {
        match &self.output_file {
            None => files[0].with_file_name("output.h5"),
            Some(name) if name.ends_with(".h5") => name.into(),
            Some(name) => format!("{name}.h5").into(),
        }
    }

    /// The input as JSON, as the file keeps it.
    fn described(&self, others: &Others, version: Version) -> String {
        let several = match &self.input_files {
            Several::One(text) => serde_json::json!(text),
            Several::Many(list) => serde_json::json!(list),
        };
        let value = serde_json::json!({
            "plugin_name": others.plugin(version.name()), "poni_file": self.poni_file, "input_files": several,
            "output_file": self.output_file, "npt": self.npt, "npt_azim": self.npt_azim, "unit": self.unit,
            "wavelength": self.wavelength, "mask": self.mask, "dummy": self.dummy, "delta_dummy": self.delta_dummy,
            "do_polarziation": self.do_polarziation || self.do_polarization,
            "polarization_factor": self.polarization_factor, "do_SA": self.do_sa, "norm": self.norm,
            "method": self.method, "integration_method": self.integration_method.word(),
            "sigma_clip_thresold": self.sigma_clip_thresold, "sigma_clip_max_iter": self.sigma_clip_max_iter,
            "medfilt1d_percentile": self.medfilt1d_percentile, "save_raw": self.save_raw,
            "delete_incoming": self.delete_incoming, "monitor_values": self.monitor_values,
        });
        serde_json::to_string_pretty(&value).expect("JSON values are written to memory")
    }
}

impl Way {
    /// Its name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Way::Integrate1d => "integrate1d",
            Way::Integrate2d => "integrate2d",
            Way::IntegrateRadial => "integrate_radial",
            Way::SigmaClip => "sigma_clip",
            Way::Medfilt1d => "medfilt1d",
        }
    }
}
