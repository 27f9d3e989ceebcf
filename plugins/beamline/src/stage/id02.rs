//! `id02.singledetector`: the steps of small-angle scattering, each in a file of its own.

use std::path::Path;

use isard_azimuthal::{Camera, ErrorModel};
use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::store::utc_now;
use isard_files::edf::Edf;
use isard_geometry::{Grid, Poni, Pose};

use super::Others;
use super::id02_save::{Chain, Product, Series};
use crate::expression::Expression;
use crate::frames::{self, Frames, h5};
use crate::integrate::Ask;
use crate::paths::stem;

/// The products that are made.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Names {
    /// Names with blanks between.
    Text(String),
    /// Names.
    List(Vec<String>),
}

/// The dark image: a file, or one number for all pixels.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Dark {
    /// What each pixel shows without beam.
    Number(f64),
    /// A file of frames without beam.
    File(String),
}

/// How frames without beam become one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Filter {
    /// The mean.
    Mean,
    /// The median.
    Median,
    /// The mean of what lies between two quantiles.
    Quantil,
}

/// The readings of the monitor: one for all frames, or one each.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Readings {
    /// For all frames.
    One(f64),
    /// Frame by frame.
    Each(Vec<f64>),
}

/// Reduces frames of small-angle scattering, one HDF5 file for each step.
///
/// `to_save` names the steps: `raw` copies the frames, `sub` takes the dark off, `flat` divides by the flat, `solid` by the relative solid angle, `dist`
/// is `solid` (distortion files are not known), `norm` is divided by `I1 / scaling_factor`, `azim` is the map of azimuth and
/// q, `ave` the curve, `ave_<unit>` the curve in another unit. Maps and curves are absolute: divided, too, by the solid angle
/// of a pixel at normal incidence. The geometry is that of SPD: centres in pixels, `Rot_1` about the first axis.
/// `PSize` is the size of a pixel as it is, binned or not.
///
/// Source: the plugin of this name of the older job server; Boesecke, J. Appl. Cryst. 40, s423 (2007).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SingleDetector {
    /// The frames.
    #[schemars(extend("x-path" = "input"))]
    image_file: String,
    /// The folder of the products.
    #[schemars(extend("x-path" = "output"))]
    output_dir: String,
    /// The counters of the scan (HDF5): the monitor is its `Intensity1ShutCor`.
    #[schemars(extend("x-path" = "input"))]
    c216_filename: String,
    /// What is made, by name: a list, or a text with blanks.
    #[serde(default = "products")]
    to_save: Names,
    /// Bins of curves; from the smallest step of a pixel in q if not said.
    npt1_rad: Option<usize>,
    /// Radial bins of maps; the same.
    npt2_rad: Option<usize>,
    /// Azimuthal bins of maps.
    #[serde(default = "turn")]
    #[schemars(range(min = 1))]
    npt2_azim: usize,
    /// Where the beam goes through the detector, along its rows, in pixels.
    center_1: f64,
    /// The same along its columns.
    center_2: f64,
    /// Width of a pixel.
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    psize_1: f64,
    /// Height of a pixel.
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    psize_2: f64,
    /// Binning along rows; told for the record.
    bsize_1: Option<f64>,
    /// Binning along columns; told for the record.
    bsize_2: Option<f64>,
    /// Pixels left out before the first column.
    #[serde(default)]
    offset_1: f64,
    /// Pixels left out before the first row.
    #[serde(default)]
    offset_2: f64,
    /// Distance from the sample.
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    sampledistance: f64,
    /// The wavelength.
    #[schemars(range(min = 0), extend("x-unit" = "m"))]
    wavelength: f64,
    /// Rotation about the first axis.
    #[serde(default)]
    #[schemars(extend("x-unit" = "radian"))]
    rot_1: f64,
    /// Rotation about the second axis.
    #[serde(default)]
    #[schemars(extend("x-unit" = "radian"))]
    rot_2: f64,
    /// Rotation about the beam.
    #[serde(default)]
    #[schemars(extend("x-unit" = "radian"))]
    rot_3: f64,
    /// The value of invalid pixels; 0 is none.
    #[serde(default)]
    dummy: f64,
    /// How far from `dummy` a pixel is still invalid.
    #[serde(default)]
    #[schemars(range(min = 0))]
    ddummy: f64,
    /// The dark: a file of frames, or a number.
    #[schemars(extend("x-path" = "input"))]
    dark_filename: Option<Dark>,
    /// How frames of the dark become one image.
    dark_filter: Option<Filter>,
    /// The lower quantile of `quantil`.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0, max = 1))]
    dark_filter_quantil_lower: f64,
    /// The upper quantile of `quantil`.
    #[serde(default = "nine_tenths")]
    #[schemars(range(min = 0, max = 1))]
    dark_filter_quantil_upper: f64,
    /// The flat: what the detector shows under even light.
    #[schemars(extend("x-path" = "input"))]
    flat_filename: Option<String>,
    /// An image of bad pixels: those with the `Dummy` of its EDF header.
    ///
    /// Without a `Dummy` all that are not 0 are bad.
    #[schemars(extend("x-path" = "input"))]
    regrouping_mask_filename: Option<String>,
    /// A distortion file; not known here.
    distortion_filename: Option<String>,
    /// What the monitor is divided by.
    #[serde(default = "one")]
    scaling_factor: f64,
    /// Whether pixels are divided by the solid angle they see.
    #[serde(default = "yes")]
    correct_solid_angle: bool,
    /// Whether frames are divided by the monitor.
    #[serde(default = "yes")]
    correct_i1: bool,
    /// The unit of `ave` and `azim`.
    #[serde(default = "q")]
    unit: String,
    /// The variance of a pixel, in `data` and `dark`; without it no errors are given.
    variance_formula: Option<String>,
    /// Whether the polarisation is corrected for.
    #[serde(default)]
    do_polarization: bool,
    /// The beam's polarisation: 1 horizontal, -1 vertical.
    #[schemars(range(min = -1, max = 1))]
    polarization_factor: Option<f64>,
    /// A job that this one comes after; the server waits for it.
    metadata_job: Option<i64>,
    /// The readings of the monitor, in place of those of the counters.
    i1: Option<Readings>,
}

fn products() -> Names {
    Names::Text("raw ave".into())
}

fn turn() -> usize {
    360
}

fn tenth() -> f64 {
    0.1
}

fn nine_tenths() -> f64 {
    0.9
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn q() -> String {
    "q_nm^-1".into()
}

/// What was written.
#[derive(Ports)]
pub struct Files {
    /// The file of each product.
    files: Dict,
}

impl Stage for SingleDetector {
    type In = Others;
    type Out = Files;

    fn example() -> Example {
        let set = "image_file = \"/\"\noutput_dir = \"/\"\nc216_filename = \"/\"\ncenter_1 = 5.0\ncenter_2 = 5.0\n\
                   psize_1 = 1e-4\npsize_2 = 1e-4\nsampledistance = 1.0\nwavelength = 1e-10";
        Example { external: Some("it works on the files of a scan"), ..Example::new(set) }
    }

    fn check(&self, faults: &mut Faults) {
        if let Some(name) = self.distortion_filename.as_ref().filter(|name| !name.is_empty()) {
            let help = "correct the frames before, or leave it out";
            faults.add_with_help(
                "distortion_filename",
                format!("`{name}`: distortion files are not known"),
                help,
            );
        }
        if self.do_polarization && self.polarization_factor.is_none() {
            faults.add("polarization_factor", "is not given, and `do_polarization` needs it");
        }
        if self.dark_filter_quantil_lower > self.dark_filter_quantil_upper {
            faults.add("dark_filter_quantil_lower", "is above the upper quantile");
        }
        for (name, size) in [
            ("psize_1", self.psize_1),
            ("psize_2", self.psize_2),
            ("sampledistance", self.sampledistance),
            ("wavelength", self.wavelength),
            ("scaling_factor", self.scaling_factor),
        ] {
            if !(size > 0.0 && size.is_finite()) {
                faults.add(name, format!("is {size}, wanted more than 0"));
            }
        }
    }
}

impl Task for SingleDetector {
    fn run(&mut self, cx: &Cx, others: Others) -> Result<Files> {
        others.tell();
        let begun = utc_now();
        let frames = Frames::open(&self.image_file)?;
        let camera = Camera::new(&self.poni(frames.shape), Some(frames.shape))?;
        let chain = self.chain(cx, &frames, &camera)?;
        let monitor = self.monitor(frames.count)?;
        let times = self.times(frames.count);
        let base = stem(Path::new(&self.image_file));
        let base = base.strip_suffix("_raw").unwrap_or(&base).to_owned();
        let mut series = vec![];
        for name in self.names() {
            let product = Product::named(&name, &self.unit)?;
            let path = Path::new(&self.output_dir).join(format!("{base}_{name}.h5"));
            series.push(Series::new(cx, product, name, path, &chain, &frames)?);
        }
        for (frame, reading) in monitor.iter().enumerate() {
            cx.check()?;
            let array = frames.read(cx, frame, 1)?;
            let steps = chain.steps(&array, reading / self.scaling_factor)?;
            for one in &mut series {
                one.take(cx, &array, &steps)?;
            }
        }
        let mut files = Dict::new();
        let plugin = others.plugin("id02.singledetector");
        for one in series {
            let (name, path) = (one.name.clone(), one.path.display().to_string());
            one.save(&plugin, &self.described(), &begun, &times)?;
            files.set(name, path);
        }
        Ok(Files { files })
    }
}
declare!(Task, "id02.singledetector", Kind::Tool, SingleDetector);

impl SingleDetector {
    fn names(&self) -> Vec<String> {
        match &self.to_save {
            Names::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
            Names::List(list) => list.clone(),
        }
    }

    /// SPD counts its axes the other way around: 1 is along rows.
    fn poni(&self, shape: [usize; 2]) -> Poni {
        let pose = Pose {
            dist: self.sampledistance,
            poni1: (self.center_2 - self.offset_2) * self.psize_2,
            poni2: (self.center_1 - self.offset_1) * self.psize_1,
            rot1: self.rot_2,
            rot2: self.rot_1,
            rot3: -self.rot_3,
        };
        Poni::new(&Grid::new(shape, [self.psize_2, self.psize_1]), pose, Some(self.wavelength))
    }

    fn chain(&self, cx: &Cx, frames: &Frames, camera: &Camera) -> Result<Chain> {
        let pixels = camera.pixels();
        let fits = |name: &str, image: Vec<f32>| match image.len() == pixels {
            true => Ok(image),
            false => {
                let (found, shape) = (image.len(), frames.shape);
                Err(Error::data(format!("{name} has {found} pixels, the frames have {shape:?}")))
            }
        };
        let single = |path: &String| -> Result<Vec<f32>> {
            let image = frames::single(path)?.to_f64()?;
            fits(path, image.iter().map(|v| *v as f32).collect())
        };
        let dark = match &self.dark_filename {
            None => None,
            Some(Dark::Number(value)) => Some(vec![*value as f32; pixels]),
            Some(Dark::File(path)) => Some(fits(path, self.dark(cx, path)?)?),
        };
        let formula = self.variance_formula.as_ref().filter(|text| !text.trim().is_empty());
        let mut ask = Ask::new(self.poni(frames.shape), &self.unit, 1);
        ask.solid_angle = self.correct_solid_angle;
        ask.polarisation = self.polarization_factor.filter(|_| self.do_polarization);
        ask.flat = self.flat_filename.as_ref().map(single).transpose()?;
        ask.mask = Some(match &self.regrouping_mask_filename {
            Some(path) => bad(path, pixels)?,
            None => vec![0; pixels],
        });
        ask.model = if formula.is_some() { ErrorModel::Variance } else { ErrorModel::None };
        // The rays of a pixel at normal incidence: with it, results are absolute.
        let absolute = self.psize_1 * self.psize_2 / self.sampledistance.powi(2);
        let bins = bins(camera)?;
        Ok(Chain {
            solid: camera.solid_angle().iter().map(|v| *v as f32).collect(),
            dark,
            dummy: (self.dummy != 0.0).then_some([self.dummy as f32, self.ddummy as f32]),
            formula: formula.map(|text| Expression::parse(text, &["data", "dark"])).transpose()?,
            ask,
            absolute,
            curve: self.npt1_rad.unwrap_or(bins),
            map: [self.npt2_azim, self.npt2_rad.unwrap_or(bins)],
        })
    }

    /// One image of frames without beam.
    fn dark(&self, cx: &Cx, path: &str) -> Result<Vec<f32>> {
        let frames = Frames::open(path)?;
        let all = frames.read(cx, 0, frames.count)?.to_f64()?;
        let (n, pixels) = (frames.count, frames.shape[0] * frames.shape[1]);
        if n == 0 {
            return Err(Error::data(format!("{path}: holds no frame")));
        }
        let [low, high] = match self.dark_filter.unwrap_or(Filter::Mean) {
            Filter::Mean => [0.0, 1.0],
            Filter::Median => [0.5, 0.5],
            Filter::Quantil => [self.dark_filter_quantil_lower, self.dark_filter_quantil_upper],
        };
        let mut column = vec![0.0; n];
        let one = |p: usize, column: &mut Vec<f64>| {
            column.iter_mut().enumerate().for_each(|(k, v)| *v = all[k * pixels + p]);
            column.sort_unstable_by(f64::total_cmp);
            // Of an even number the median is the mean of the middle two.
            let first = ((low * (n - 1) as f64).floor() as usize).min(n - 1);
            let last = ((high * (n - 1) as f64).ceil() as usize).clamp(first, n - 1);
            let some = &column[first..=last];
            (some.iter().sum::<f64>() / some.len() as f64) as f32
        };
        Ok((0..pixels).map(|p| one(p, &mut column)).collect())
    }

    /// The reading of the monitor for each frame.
    fn monitor(&self, frames: usize) -> Result<Vec<f64>> {
        let found = match (&self.i1, self.correct_i1) {
            (_, false) => return Ok(vec![self.scaling_factor; frames]),
            (Some(Readings::One(value)), _) => vec![*value; frames],
            (Some(Readings::Each(values)), _) => values.clone(),
            (None, _) => counters(&self.c216_filename, &["Intensity1ShutCor", "I1"])?.ok_or_else(|| {
                Error::data(format!("{}: has no dataset `Intensity1ShutCor`", self.c216_filename))
                    .help("give the readings as `I1`, or set `correct_I1` to false")
            })?,
        };
        if found.len() != frames {
            return Err(Error::data(format!("the monitor has {} readings for {frames} frames", found.len())));
        }
        match found.iter().position(|v| !(v.is_finite() && *v != 0.0)) {
            None => Ok(found),
            Some(frame) => Err(Error::data(format!("the monitor of frame {frame} is {}", found[frame]))
                .help("set `correct_I1` to false, or leave frames without beam out")),
        }
    }

    /// When each frame was taken, where the counters say it; else its number.
    fn times(&self, frames: usize) -> Vec<f64> {
        let found = counters(&self.c216_filename, &["delta_time", "t"]).ok().flatten();
        found.filter(|t| t.len() == frames).unwrap_or_else(|| (0..frames).map(|k| k as f64).collect())
    }

    fn described(&self) -> String {
        let value = serde_json::json!({
            "image_file": self.image_file, "output_dir": self.output_dir, "c216_filename": self.c216_filename,
            "to_save": self.names(), "npt1_rad": self.npt1_rad, "npt2_rad": self.npt2_rad, "npt2_azim": self.npt2_azim,
            "Center_1": self.center_1, "Center_2": self.center_2, "PSize_1": self.psize_1, "PSize_2": self.psize_2,
            "BSize_1": self.bsize_1, "BSize_2": self.bsize_2, "Offset_1": self.offset_1, "Offset_2": self.offset_2,
            "SampleDistance": self.sampledistance, "WaveLength": self.wavelength, "Rot_1": self.rot_1,
            "Rot_2": self.rot_2, "Rot_3": self.rot_3, "Dummy": self.dummy, "DDummy": self.ddummy,
            "scaling_factor": self.scaling_factor, "correct_solid_angle": self.correct_solid_angle,
            "correct_I1": self.correct_i1, "unit": self.unit, "variance_formula": self.variance_formula,
            "flat_filename": self.flat_filename, "regrouping_mask_filename": self.regrouping_mask_filename,
            "do_polarization": self.do_polarization, "polarization_factor": self.polarization_factor,
            "metadata_job": self.metadata_job,
        });
        serde_json::to_string_pretty(&value).expect("JSON values are written to memory")
    }
}

/// The bad pixels of a mask: those that its EDF header calls `Dummy`, or else all that are not 0.
fn bad(path: &str, pixels: usize) -> Result<Vec<u8>> {
    let image = frames::single(path)?.to_f64()?;
    if image.len() != pixels {
        return Err(Error::data(format!("the mask {path} has {} pixels, wanted {pixels}", image.len())));
    }
    let file = std::fs::File::open(path).map_err(|e| Error::io("cannot open", Path::new(path), &e))?;
    let head =
        Edf::scan(std::io::BufReader::new(file), path, &[], false).map(|edf| edf.header).unwrap_or_default();
    let value = |key: &str| {
        head.iter().find(|(k, _)| k.eq_ignore_ascii_case(key)).and_then(|(_, v)| v.trim().parse::<f64>().ok())
    };
    let marks = |v: &f64| match value("Dummy") {
        Some(dummy) => (v - dummy).abs() <= value("DDummy").unwrap_or(0.0),
        None => *v != 0.0,
    };
    Ok(image.iter().map(|v| u8::from(marks(v))).collect())
}

/// The first dataset of one of these names, wherever it stands in a file.
fn counters(path: &str, names: &[&str]) -> Result<Option<Vec<f64>>> {
    let file = isard_h5::File::open(path).map_err(h5)?;
    let listing = file.list().map_err(h5)?;
    for name in names {
        let found = listing.datasets.iter().find(|d| d.path.rsplit('/').next() == Some(name));
        if let Some(found) = found {
            let read =
                isard_files::input::read_path(&Default::default(), &format!("{path}::{}", found.path))?;
            return match read {
                Value::Array(array) => array.to_f64().map(Some),
                other => Ok(other.number().map(|v| vec![v])),
            };
        }
    }
    Ok(None)
}

/// As many bins as the smallest step of a pixel in q goes into the largest q.
fn bins(camera: &Camera) -> Result<usize> {
    let unit = isard_azimuthal::Unit::named("q_nm^-1").ok_or_else(|| Error::internal("q is no unit"))?;
    let top = camera.centres(&unit)?.into_iter().fold(0.0, f64::max);
    let wavelength = camera.wavelength.ok_or_else(|| Error::internal("the wavelength was not taken over"))?;
    let pixel = camera.grid.pixel[0].min(camera.grid.pixel[1]);
    let step = 2e-9 * std::f64::consts::PI / wavelength * pixel / camera.pose.dist;
    Ok(((top / step).ceil() as usize).clamp(1, 1 << 20))
}
