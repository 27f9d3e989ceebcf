//! `isard import poni`: the geometry of a PONI file in the words of a recipe.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use isard_core::error::{Blame, Error};
use isard_geometry::{Poni, energy_of};

use crate::command::Done;

/// Arguments of `isard import poni`.
#[derive(Args)]
pub struct PoniArguments {
    /// The PONI file.
    file: PathBuf,
    /// A file for the lines; else they are printed.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Prints or writes the geometry.
pub fn run(arguments: &PoniArguments) -> Done {
    let path = &arguments.file;
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))?;
    let poni = Poni::parse(&text).map_err(|e| Error::new(Blame::Data, format!("{}: {e}", path.display())))?;
    let lines = lines(&poni, &path.display().to_string())?;
    super::put(arguments.out.as_deref(), &lines)?;
    Ok(0)
}

/// The geometry in the words and units of a recipe, to be included or pasted.
fn lines(poni: &Poni, name: &str) -> Result<String, Error> {
    let pixel = poni.pixel.ok_or_else(|| {
        let error = Error::data(format!("{name}: the detector `{}` has no pixel size", poni.detector));
        error.help("add `PixelSize1` and `PixelSize2`, or a `Detector_config` with `pixel1` and `pixel2`")
    })?;
    let pose = &poni.pose;
    // The foot of the normal and the spot of the direct beam are one point only without tilts.
    let centre = pose.centre();
    let (row, column) = (centre[0] / pixel[0], centre[1] / pixel[1]);
    let mut out = format!("# The geometry of {name}, for the `set` of a stage.\n");
    let mut line = |key: &str, value: f64, unit: &str| {
        // Conversions leave dust in the last digits.
        let value = (value * 1e9).round() / 1e9;
        let _ = writeln!(out, "{key} = \"{value} {unit}\"");
    };
    line("distance", pose.dist * 1e3, "mm");
    line("row", row, "pixel");
    line("column", column, "pixel");
    line("rot1", pose.rot1.to_degrees(), "degree");
    line("rot2", pose.rot2.to_degrees(), "degree");
    line("rot3", pose.rot3.to_degrees(), "degree");
    if (pixel[0] - pixel[1]).abs() <= 1e-12 {
        line("pixel", pixel[0] * 1e6, "um");
    } else {
        line("pixel_row", pixel[0] * 1e6, "um");
        line("pixel_column", pixel[1] * 1e6, "um");
    }
    if let Some(wavelength) = poni.wavelength {
        line("wavelength", wavelength * 1e10, "angstrom");
        line("energy", energy_of(wavelength), "keV");
    }
    if let Some([rows, columns]) = poni.shape {
        let _ = writeln!(out, "shape = [{rows}, {columns}]");
    }
    let _ = writeln!(out, "# detector: {}", poni.detector);
    Ok(out)
}
