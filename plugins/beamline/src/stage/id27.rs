//! `id27`: sums, maps and conversions of scans of Eiger files at high pressure.

use std::path::{Path, PathBuf};

use isard_azimuthal::ErrorModel;
use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::store::utc_now;
use isard_files::{edf, tiff};
use isard_h5::{Attr, Dtype as H5};
use serde_json::json;

use super::Others;
use crate::entry::{About, append, axis, column, process};
use crate::frames::{self, Frames, h5};
use crate::integrate::{Ask, curves, geometry, mask};
use crate::paths::{stem, write};

/// Frames that are read before they are worked on together.
const AT_ONCE: usize = 16;

/// What every plugin of the beamline says of each file: as if a command had been run for it.
#[derive(Ports)]
pub struct Ran {
    /// For each file `{args, returncode, stdout, stderr}`, by its path.
    #[port(open)]
    files: Dict,
}

fn ran(what: &str, from: &Path, to: &Path) -> Dict {
    let text = |t: &str| Value::from(t);
    let (from, to) = (from.display().to_string(), to.display().to_string());
    let args = vec![text("isard"), text(what), Value::from(from), Value::from(to.clone())];
    Dict::new().with("args", args).with("returncode", 0).with("stdout", to).with("stderr", "")
}

/// The files of a scan, and the folder that what is made of them goes to.
fn scan(folder: &str, number: &str) -> Result<(Vec<PathBuf>, PathBuf)> {
    let folder = Path::new(folder).join(number);
    let pattern = folder.join("eiger_????.h5").display().to_string();
    let mut files = isard_files::input::listed(&pattern)?;
    files.sort();
    let text = folder.display().to_string();
    if !text.contains("RAW_DATA") {
        let error = format!("`file_path` is {text}, wanted a folder below RAW_DATA");
        return Err(Error::recipe(error).help("results go to the same place below PROCESSED_DATA"));
    }
    Ok((files, PathBuf::from(text.replace("RAW_DATA", "PROCESSED_DATA"))))
}

macro_rules! scanned {
    ($(#[$doc:meta])* $name:ident $plugin:literal $work:ident) => {
        $(#[$doc])*
        #[derive(Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The folder of the scans, below RAW_DATA.
            #[schemars(extend("x-path" = "input"))]
            file_path: String,
            /// The folder of the scan in it: `scan0001`.
            scan_number: String,
        }

        impl Stage for $name {
            type In = Others;
            type Out = Ran;

            fn example() -> Example {
                Example { external: Some("it works on the folders of a beamline"), ..Example::new(
                    "file_path = \"/\"\nscan_number = \"scan0001\"") }
            }
        }

        impl Task for $name {
            fn run(&mut self, cx: &Cx, others: Others) -> Result<Ran> {
                others.tell();
                let (files, to) = scan(&self.file_path, &self.scan_number)?;
                let mut done = Dict::new();
                for file in files {
                    cx.check()?;
                    let told = $work(cx, &file, &to).map_err(|e| e.at(file.display().to_string()))?;
                    done.set(file.display().to_string(), told);
                }
                Ok(Ran { files: done })
            }
        }
        declare!(Task, $plugin, Kind::Tool, $name);
    };
}

scanned! {
    /// Sums the frames of each file of a scan into one image (EDF, 64 bits).
    ///
    /// `<file_path>/<scan_number>/eiger_????.h5` become `.../PROCESSED_DATA/.../<scan_number>/average/<file>_sum.edf`.
    /// A pixel with all bits set in any frame, which is invalid, is -1.
    ///
    /// Source: the plugin of this name of the older job server, which runs a command for it.
    Average "id27.average" average
}

scanned! {
    /// Converts each frame of a scan into a TIFF file.
    ///
    /// `<file_path>/<scan_number>/eiger_????.h5` become `.../PROCESSED_DATA/.../<scan_number>/xdi/<file>_0001.tif`, ...
    ///
    /// Source: the plugin of this name of the older job server, which runs a command for it.
    Xdi "id27.xdiconversion" convert
}

fn average(cx: &Cx, file: &Path, to: &Path) -> Result<Dict> {
    let frames = Frames::open(&file.display().to_string())?;
    let mut sum = vec![0i64; frames.shape[0] * frames.shape[1]];
    for first in (0..frames.count).step_by(AT_ONCE) {
        cx.check()?;
        let array = frames.read(cx, first, AT_ONCE.min(frames.count - first))?;
        add(&array, &mut sum)?;
    }
    let bytes: Vec<u8> = sum.iter().flat_map(|v| v.to_ne_bytes()).collect();
    let count = frames.count.to_string();
    let block = edf::block(
        H5::I64,
        frames.shape,
        &bytes,
        0,
        &[("nframes", &count), ("method", "sum"), ("Dummy", "-1")],
    );
    let path = to.join("average").join(format!("{}_sum.edf", stem(file)));
    write(&path, &block.ok_or_else(|| Error::internal("EDF holds whole numbers of 64 bits"))?)?;
    Ok(ran("average", file, &path))
}

/// Adds frames to a sum in which -1 stands for no value.
fn add(frames: &Array, sum: &mut [i64]) -> Result<()> {
    macro_rules! unsigned {
        ($($dtype:ident $t:ty),*) => {
            match frames.dtype() {
                $(Dtype::$dtype => {
                    for frame in frames.as_slice::<$t>()?.chunks_exact(sum.len().max(1)) {
                        for (sum, v) in sum.iter_mut().zip(frame) {
                            *sum = if *v == <$t>::MAX || *sum < 0 { -1 } else { *sum + *v as i64 };
                        }
                    }
                    return Ok(());
                })*
                _ => (),
            }
        };
    }
    unsigned!(U8 u8, U16 u16, U32 u32);
    match frames.dtype() {
        Dtype::I8 => signed::<i8>(frames, sum),
        Dtype::I16 => signed::<i16>(frames, sum),
        Dtype::I32 => signed::<i32>(frames, sum),
        Dtype::I64 => signed::<i64>(frames, sum),
        other => Err(Error::data(format!("frames of {other} cannot be summed, wanted counts"))),
    }
}

fn signed<T: Element + Into<i64>>(frames: &Array, sum: &mut [i64]) -> Result<()> {
    for frame in frames.as_slice::<T>()?.chunks_exact(sum.len().max(1)) {
        for (sum, v) in sum.iter_mut().zip(frame) {
            let v: i64 = (*v).into();
            *sum = if v < 0 || *sum < 0 { -1 } else { *sum + v };
        }
    }
    Ok(())
}

fn convert(cx: &Cx, file: &Path, to: &Path) -> Result<Dict> {
    let frames = Frames::open(&file.display().to_string())?;
    let folder = to.join("xdi");
    for frame in 0..frames.count {
        cx.check()?;
        let array = frames.read(cx, frame, 1)?;
        let format = |e: isard_files::format::FormatError| Error::data(e.to_string());
        let mut page = tiff::Writer::new(frames.dtype.into(), frames.shape, false).map_err(format)?;
        page.page(array.bytes()).map_err(format)?;
        let path = folder.join(format!("{}_{:04}.tif", stem(file), frame + 1));
        write(&path, &page.into_bytes().map_err(format)?)?;
    }
    Ok(ran("xdiconversion", file, &folder))
}

/// Integrates a raster scan into a map of curves: `diff_map.h5`.
///
/// The frames of `<file_path>/<scan_number>/eiger_????.h5`, one after the other, are the points of the raster, the fast axis
/// innermost; the map goes to the same folder below PROCESSED_DATA. Polarisation 0.99, solid angle, Poisson errors and
/// splitting by outlines are fixed. `results` has `data` and `data_errors` (slow, fast, radial).
///
/// Source: the plugin of this name of the older job server; files as pyFAI's maps.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffMap {
    /// The folder of the scans, below RAW_DATA.
    #[schemars(extend("x-path" = "input"))]
    file_path: String,
    /// The folder of the scan in it: `scan0001`.
    scan_number: String,
    /// The geometry file (PONI).
    #[schemars(extend("x-path" = "input"))]
    ponifile: String,
    /// An image of bad pixels: 0 is good; in place of the detector's own.
    #[schemars(extend("x-path" = "input"))]
    maskfile: Option<String>,
    /// The radial unit.
    #[serde(default = "unit")]
    unit: String,
    /// Radial bins.
    #[serde(default = "bins")]
    #[schemars(range(min = 1))]
    npt: usize,
    /// Points of the fast axis.
    #[schemars(range(min = 1))]
    fast_scan: usize,
    /// Points of the slow axis.
    #[schemars(range(min = 1))]
    slow_scan: usize,
}

fn unit() -> String {
    "2th_deg".into()
}

fn bins() -> usize {
    1000
}

impl Stage for DiffMap {
    type In = Others;
    type Out = Ran;

    fn example() -> Example {
        let set =
            "file_path = \"/\"\nscan_number = \"scan0001\"\nponifile = \"/\"\nfast_scan = 2\nslow_scan = 2";
        Example { external: Some("it works on the folders of a beamline"), ..Example::new(set) }
    }
}

impl Task for DiffMap {
    fn run(&mut self, cx: &Cx, others: Others) -> Result<Ran> {
        others.tell();
        let begun = utc_now();
        let (files, to) = scan(&self.file_path, &self.scan_number)?;
        let mut ask = Ask::new(geometry(&self.ponifile, None)?, &self.unit, self.npt).method("full")?;
        (ask.polarisation, ask.model) = (Some(0.99), ErrorModel::Poisson);
        if let Some(path) = &self.maskfile {
            ask.mask = Some(mask(&frames::single(path)?)?);
        }
        let (mut intensity, mut errors, mut radial) = (vec![], vec![], vec![]);
        for file in &files {
            let frames = Frames::open(&file.display().to_string())?;
            let integrator = ask.ready(cx, frames.shape, frames.dtype)?;
            radial = integrator.shares.radial_axis(&ask.unit()?);
            for first in (0..frames.count).step_by(AT_ONCE) {
                cx.check()?;
                let n = AT_ONCE.min(frames.count - first);
                for one in curves(cx, &integrator, &frames.read(cx, first, n)?, None, &vec![1.0; n])? {
                    intensity.extend_from_slice(&one.intensity);
                    errors.extend_from_slice(&one.sem);
                }
            }
        }
        let (found, wanted) = (intensity.len() / self.npt, self.fast_scan * self.slow_scan);
        if found != wanted {
            return Err(Error::data(format!(
                "the scan has {found} frames, wanted {} x {} points",
                self.slow_scan, self.fast_scan
            ))
            .help("correct `fast_scan` and `slow_scan`, or take the files of a whole scan"));
        }
        let path = to.join("diff_map.h5");
        let config = json!({
            "ponifile": self.ponifile, "maskfile": self.maskfile, "unit": self.unit, "npt": self.npt,
            "file_path": self.file_path, "scan_number": self.scan_number, "fast_scan": self.fast_scan,
            "slow_scan": self.slow_scan, "polarization_factor": 0.99, "do_solid_angle": true,
            "error_model": "poisson", "method": ["full", "csr", "isard"],
        });
        self.save(
            &path,
            &ask,
            &others.plugin("id27.diffmap"),
            &begun,
            &config.to_string(),
            Map { radial: &radial, intensity: &intensity, errors: &errors },
        )?;
        let folder = Path::new(&self.file_path).join(&self.scan_number);
        let told = ran("diffmap", &folder, &path);
        Ok(Ran { files: Dict::new().with(path.display().to_string(), told) })
    }
}
declare!(Task, "id27.diffmap", Kind::Tool, DiffMap);

struct Map<'a> {
    radial: &'a [f64],
    intensity: &'a [f32],
    errors: &'a [f32],
}

impl DiffMap {
    fn save(&self, path: &Path, ask: &Ask, plugin: &str, begun: &str, input: &str, map: Map) -> Result<()> {
        let unit = ask.unit()?;
        let about = About { title: "diffraction map", plugin, input, begun };
        append(path, &about, |image, entry| {
            let group = format!("{entry}/pyFAI");
            let results = format!("{group}/results");
            let record = [self.fast_scan as u64, self.npt as u64];
            let mut put = || -> isard_h5::Result<()> {
                process(image, &group, "diffmap")?;
                image.scalar(&format!("{group}/sequence_index"), H5::I64, &1i64.to_ne_bytes())?;
                image.nexus(&format!("{group}/configuration"), "NXnote")?;
                image.text(&format!("{group}/configuration/type"), "application/json")?;
                image.text(&format!("{group}/configuration/data"), input)?;
                image.nexus_data(&results, "data", &[".", "fast", "radial"])?;
                column(image, &format!("{results}/data"), &record, map.intensity)?;
                column(image, &format!("{results}/data_errors"), &record, map.errors)?;
                let places: Vec<f64> = (0..self.fast_scan).map(|k| k as f64).collect();
                axis(image, &format!("{results}/fast"), &places)?;
                let path = format!("{results}/radial");
                axis(image, &path, map.radial)?;
                let name = format!("{} ({})", unit.quantity(), unit.symbol());
                for (key, text) in
                    [("unit", unit.symbol()), ("name", unit.quantity()), ("long_name", name.as_str())]
                {
                    image.attribute(&path, key, text)?;
                }
                image.attribute(&format!("{results}/data"), "interpretation", Attr::from("spectrum"))?;
                image.alias(&format!("{entry}/results"), &results)?;
                image.nexus_default(&results)
            };
            put().map_err(h5)
        })
    }
}
