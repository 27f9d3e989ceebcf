//! `hedm.mic`: maps as files that other programs read, and as pictures.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::Ranges;
use isard_orientation::{Quat, inverse_pole_colour};

use super::experiment::{Compat, Experiment, example};
use super::levels::levels_of;
use super::maps::five;
use super::table::{fitted_of, fitted_table};
use crate::files::{
    Beside, Fitted, MicHead, consolidated, pipeline, write_all_matches, write_binary_mic, write_text_matches,
    write_text_mic,
};
use crate::map::{Pixels, Raster, channel_text, png, write_map};
use crate::model::Voxel;

/// Writes the map of a layer: text and binary mic, `.ctf` and `.ang`, and pictures.
///
/// `NAME.mic` is the text and `NAME.bin` the binary map of the MIDAS near-field programs; the text leaves out voxels
/// without an orientation, the binary file has every voxel. `NAME.mic.map` has pixels of a micrometre, and beside it
/// stand `.kam`, `.grainId` and `.grod` as `hedm.maps` explains them, in radians. `NAME_consolidated.h5`
/// holds all of that, and the grains, and opens with a plot; with `levels` wired it holds each map of a coarse-to-fine run
/// under `multi_resolution/`, and `NAME_pipeline.h5` says which of the driver's stages are done. `NAME.ctf` and `NAME.ang` are lattices of points as EBSD
/// programs read them. `NAME_ipf.png` shows the crystal direction along `direction` as inverse pole figure colours,
/// `NAME_confidence.png` the confidence, `NAME_completeness.png` the lit share of the ring that is explained worst.
/// Of several orientations for each voxel `NAME.mic.AllMatches` and `NAME.bin.AllMatches` hold all. Each is replaced in one step, behind `run.take = "every"` at each snapshot.
///
/// Changes neither order nor count; keeps the last of many records. Some 10 ms for thousand voxels, and a microsecond a pixel of the pixel map.
///
/// Source: the mic files of the MIDAS near-field programs; the Channel and OIM text formats.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MicWrite {
    /// The files, relative to the run's folder, without an ending.
    #[schemars(extend("x-path" = "output"))]
    path: String,
    /// What is written: any of mic, bin, map, h5, ctf, ang, png.
    #[serde(default = "all")]
    formats: Vec<Format>,
    /// The sample direction of the inverse pole figure.
    #[serde(default = "up")]
    direction: [f64; 3],
    /// The height of the layer.
    #[serde(default)]
    #[schemars(extend("x-unit" = "um"))]
    height: f64,
    /// How many phases the sample has, for the head of the text.
    #[serde(default = "first")]
    #[schemars(range(min = 1))]
    phases: i64,
    /// Which of them this is.
    #[serde(default = "first")]
    #[schemars(range(min = 1))]
    phase: i64,
    /// The largest misorientation of neighbouring pixels of one grain.
    #[serde(default = "five")]
    #[schemars(range(min = 0, max = 180), extend("x-unit" = "degree"))]
    grain_angle: f64,
    /// Voxels of a lower confidence are left white in the inverse pole figure.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0, max = 1))]
    above: f64,
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<Arc<dyn Output>>,
}

/// A format of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// Text of the MIDAS programs.
    Mic,
    /// Doubles of the MIDAS programs.
    Bin,
    /// Pixels of the MIDAS programs.
    Map,
    /// Voxels, grains and pixels in one file.
    H5,
    /// Channel text.
    Ctf,
    /// OIM text.
    Ang,
    /// Pictures.
    Png,
}

fn all() -> Vec<Format> {
    vec![Format::Mic, Format::Bin, Format::Map, Format::H5, Format::Ctf, Format::Ang, Format::Png]
}
fn up() -> [f64; 3] {
    [0.0, 0.0, 1.0]
}
fn first() -> i64 {
    1
}
fn tenth() -> f64 {
    0.1
}

/// The input of [`MicWrite`].
#[derive(Ports)]
pub struct MicIn {
    /// The voxels with their orientations.
    #[port(
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32"
    )]
    voxels: Table,
    /// For each voxel the lit share of each ring.
    #[port(dtype = "f32", axes = "voxel ring")]
    completeness: Option<Array>,
    /// The numbers of those rings.
    #[port(dtype = "u32", axes = "ring")]
    rings: Option<Array>,
    /// For each voxel its best orientations: Bunge's angles and the confidence.
    #[port(dtype = "f64", axes = "voxel solution value")]
    matches: Option<Array>,
    /// The maps of a coarse-to-fine run, as `hedm.levels` keeps them.
    #[port(
        fixed,
        columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8, phi1: f64 radian, phi: f64 radian, phi2: f64 radian, confidence: f64, seed: u32, candidates: u32, turn: u32, trial: u8, size: f64 um"
    )]
    levels: Option<Table>,
    /// The number of each record, for the log.
    #[port(dtype = "integer", axes = "")]
    number: Option<Array>,
}

impl Stage for MicWrite {
    type In = MicIn;
    type Out = ();

    fn example() -> Example {
        let voxels: Vec<Fitted> = (0..6)
            .map(|k| Fitted {
                euler: [0.1 * f64::from(k), 0.5, 1.0],
                confidence: 0.15 * f64::from(k),
                ..Fitted::unsolved(Voxel { x: 10.0 * f64::from(k), y: 3.0, edge: 10.0, up: k % 2 == 0 })
            })
            .collect();
        let table = fitted_table(&voxels).expect("columns of equal length").with_record(0);
        Example::new(example("path = \"map\"\n"))
            .frames("number", Array::from_slice(&[0u32]))
            .frames("voxels", table)
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        if self.direction.iter().map(|x| x * x).sum::<f64>() < 1e-12 {
            faults.add("direction", format!("found {:?}, wanted a direction", self.direction));
        }
        if self.formats.is_empty() {
            faults.add("formats", "found none, wanted one or more");
        }
    }
}

impl Writer for MicWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, _: Option<Dict>) -> Result<()> {
        self.out = Some(out);
        Ok(())
    }

    fn write(&mut self, cx: &Cx, span: &Span, input: MicIn) -> Result<()> {
        let number = input.number.as_ref().map(|n| n.to_f64()).transpose()?.and_then(|n| n.last().copied());
        tracing::debug!(stage = cx.stage(), span = %span, number, "Map replaced.");
        let voxels = fitted_of(&input.voxels)?;
        let (cell, _, symmetry) = self.experiment.crystal()?;
        let edge = voxels.first().map_or(0.0, |v| v.voxel.edge);
        let head = MicHead { edge, phases: self.phases, phase: self.phase, position: self.height };
        let beside = beside(&input, voxels.len())?;
        let several = beside.matches.iter().map(Vec::len).max().filter(|n| *n > 1);
        let out = self.out.as_ref();
        let out = out.ok_or_else(|| Error::internal("a writer was used before it was opened"))?;
        let name = |ending: &str| format!("{}{ending}", self.path);
        let raster = Raster::new(&voxels.iter().map(|v| v.voxel).collect::<Vec<_>>());
        let in_pixels = self.formats.iter().any(|f| matches!(f, Format::Map | Format::H5));
        let pixels = in_pixels.then(|| {
            let pixels = Pixels::new(&voxels, self.experiment.compat == Compat::Midas);
            let texture = pixels.texture(&voxels, &symmetry, self.grain_angle.to_radians());
            (pixels, texture)
        });
        for format in &self.formats {
            match format {
                Format::Mic => {
                    out.replace(&name(".mic"), write_text_mic(&head, &voxels).as_bytes())?;
                    if let Some(n) = several {
                        let text = write_text_matches(&head, &voxels, &beside.matches, n);
                        out.replace(&name(".mic.AllMatches"), text.as_bytes())?;
                    }
                }
                Format::Bin => {
                    out.replace(&name(".bin"), &write_binary_mic(&voxels))?;
                    if let Some(n) = several {
                        let bytes = write_all_matches(&voxels, &beside.matches, n);
                        out.replace(&name(".bin.AllMatches"), &bytes)?;
                    }
                }
                Format::Map => {
                    let Some((pixels, texture)) = &pixels else { continue };
                    let grain: Vec<f64> = texture.grain.iter().map(|g| f64::from(*g)).collect();
                    let planes = pixels.planes(&voxels, head.phase);
                    let maps = [
                        ("", &planes),
                        (".kam", &texture.kam),
                        (".grainId", &grain),
                        (".grod", &texture.grod),
                    ];
                    for (ending, planes) in maps {
                        out.replace(&name(&format!(".mic.map{ending}")), &write_map(pixels, planes))?;
                    }
                }
                Format::H5 => {
                    let Some((pixels, texture)) = &pixels else { continue };
                    let levels = input.levels.as_ref().map(levels_of).transpose()?.unwrap_or_default();
                    let levels = levels.into_iter().map(|level| {
                        let pixels = Pixels::new(&level.voxels, self.experiment.compat == Compat::Midas);
                        let texture = pixels.texture(&level.voxels, &symmetry, self.grain_angle.to_radians());
                        (level, pixels, texture)
                    });
                    let levels = levels.collect();
                    let beside = Beside { parameters: self.experiment.keys(), levels, ..beside.clone() };
                    let bytes = consolidated(&voxels, head.phase, pixels, texture, &symmetry, &beside)?;
                    out.replace(&name("_consolidated.h5"), &bytes)?;
                    if !beside.levels.is_empty() {
                        out.replace(&name("_pipeline.h5"), &pipeline(&beside)?)?;
                    }
                }
                Format::Ctf => {
                    let text = channel_text(&raster, &voxels, &cell, self.experiment.space_group as u8, true);
                    out.replace(&name(".ctf"), text.as_bytes())?;
                }
                Format::Ang => {
                    let text =
                        channel_text(&raster, &voxels, &cell, self.experiment.space_group as u8, false);
                    out.replace(&name(".ang"), text.as_bytes())?;
                }
                Format::Png => {
                    let norm = self.direction.iter().map(|x| x * x).sum::<f64>().sqrt();
                    let direction = self.direction.map(|x| x / norm);
                    let colours: Vec<[u8; 3]> = voxels
                        .iter()
                        .map(|v| match v.confidence >= self.above {
                            true => inverse_pole_colour(&symmetry, &Quat::from_euler(v.euler), direction),
                            false => [255; 3],
                        })
                        .collect();
                    out.replace(&name("_ipf.png"), &png(&raster, &colours)?)?;
                    let map = isard_draw::Map::Viridis;
                    let colours: Vec<[u8; 3]> =
                        voxels.iter().map(|v| map.colour(v.confidence as f32)).collect();
                    out.replace(&name("_confidence.png"), &png(&raster, &colours)?)?;
                    if !beside.shares.is_empty() {
                        let lowest = |shares: &[f32]| shares.iter().copied().fold(f32::NAN, f32::min);
                        let worst = |shares: &[f32]| Some(lowest(shares)).filter(|s| !s.is_nan());
                        let colour = |share: Option<f32>| share.map_or([255; 3], |s| map.colour(s));
                        let rows = beside.shares.chunks_exact(beside.rings.len().max(1));
                        let colours: Vec<[u8; 3]> = rows.map(|r| colour(worst(r))).collect();
                        out.replace(&name("_completeness.png"), &png(&raster, &colours)?)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        // Each write is on disk when it returns, and a later one takes its place.
        Ok(Dict::new())
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        Ok(())
    }
}
declare!(Writer, "hedm.mic", Kind::Writer, MicWrite);

/// What a map says beside the best orientation of each voxel; of several records the last.
fn beside(input: &MicIn, count: usize) -> Result<Beside> {
    let last = |array: &Array| array.record(array.shape()[0].saturating_sub(1));
    let mut out = Beside::default();
    if let (Some(shares), Some(rings)) = (&input.completeness, &input.rings) {
        let (shares, rings) = (last(shares)?, last(rings)?);
        let (found, wide) = (shares.shape().to_vec(), rings.len());
        if found != [count, wide] {
            return Err(Error::data(format!("found a completeness of {found:?}, wanted [{count}, {wide}]")));
        }
        out.rings = rings.as_slice::<u32>()?.to_vec();
        out.shares = shares.as_slice::<f32>()?.to_vec();
    }
    if let Some(matches) = &input.matches {
        let matches = last(matches)?;
        let &[rows, n, 4] = matches.shape() else {
            let found = matches.shape();
            return Err(Error::data(format!(
                "found matches of shape {found:?}, wanted voxel, solution and 4"
            )));
        };
        if rows != count {
            return Err(Error::data(format!("found matches of {rows} voxels, wanted {count}")));
        }
        let values = matches.as_slice::<f64>()?;
        let one = |m: &[f64]| ([m[0], m[1], m[2]], m[3]);
        out.matches = match n {
            0 => vec![],
            n => values.chunks_exact(4 * n).map(|row| row.chunks_exact(4).map(one).collect()).collect(),
        };
    }
    let table = match input.voxels.records().last() {
        Some(record) => input.voxels.between(*record, *record + 1)?,
        None => input.voxels.clone(),
    };
    for name in ["distances", "runner_up", "runner_up_angle"] {
        if let Ok(column) = table.numbers::<f32>(name) {
            out.columns.push((name, column.iter().map(|x| f64::from(*x)).collect()));
        }
    }
    Ok(out)
}
