//! `hedm.files`: reduced frames and what goes with them as files of the MIDAS near-field programs.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::Ranges;
use isard_orientation::Quat;

use super::experiment::{Experiment, example};
use super::fit::example_frames;
use super::kept;
use super::table::{orientations, quaternions, voxels_of, voxels_table};
use crate::bits::{BitWriter, Volume};
use crate::files::{
    LegacyPixel, spot_files, write_grid, write_legacy, write_reflections, write_seeds, write_spot_table,
};
use crate::model::{Grid, Layout};
use crate::reduce::blobs;

/// Writes reduced frames and what goes with them as files of the MIDAS programs.
///
/// Into the folder `path` go `SpotsInfo.bin`, the lit pixels of all frames as bits, and `hkls.csv`; with `voxels` wired
/// `grid.txt`; with `seeds` wired `SeedOrientations.txt`, `DiffractionSpots.bin`, `Key.bin` and `OrientMat.bin`; with
/// `footprints` wired `SpotTable.txt`, the pixels that voxels light, apart by tabs. Frames
/// that did not come are dark in `SpotsInfo.bin`, which knows no other; their number goes to the log.
///
/// Takes all frames; the bits are put together in memory when all are in, one for each pixel of each frame.
///
/// Source: the files of the MIDAS near-field programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesWrite {
    /// The folder, relative to the run's folder.
    #[schemars(extend("x-path" = "output"))]
    path: String,
    /// Whether each frame is written as a file of the older programs, too.
    ///
    /// Frame 3 of the first distance is `red_000003.bin0`. It holds the counts of pixels and the number of their blob, and
    /// wants frames that say counts, such as those of `hedm.reduce`.
    #[serde(default)]
    legacy: bool,
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
    #[serde(skip)]
    #[schemars(skip)]
    work: Option<Work>,
}

/// What is to be written.
struct Work {
    out: Arc<dyn Output>,
    volume: Volume,
    beside: bool,
}

/// The input of [`FilesWrite`].
#[derive(Ports)]
pub struct FilesIn {
    /// The lit pixels of frames, Y and Z counted against columns and rows.
    #[port(columns = "y: u32 pixel, z: u32 pixel")]
    spots: Table,
    /// How many pixels are lit.
    #[port(dtype = "u32", axes = "")]
    lit: Array,
    /// The voxels: centroid, edge, and whether the apex points to +y.
    #[port(fixed, columns = "x: f64 um, y: f64 um, edge: f64 um, up: u8")]
    voxels: Option<Table>,
    /// Orientations as quaternions w x y z.
    #[port(fixed, dtype = "f64", axes = "seed component")]
    seeds: Option<Array>,
    /// The pixels that voxels light, as `hedm.footprints` lists them.
    #[port(
        fixed,
        columns = "voxel: u32, distance: u32, frame: u32, y: u32 pixel, z: u32 pixel, omega: f64 degree, ideal_y: f64 um, ideal_z: f64 um"
    )]
    footprints: Option<Table>,
}

impl Stage for FilesWrite {
    type In = FilesIn;
    type Out = ();

    fn example() -> Example {
        let truth = Quat::from_euler([0.3, 0.7, 1.1]);
        let voxels = Grid { radius: 20.0, size: 20.0, edge: 10.0, layout: Layout::Tiling }.voxels();
        let (counts, spots) = example_frames(&voxels, &truth);
        Example::new(example("path = \"reduced\"\n"))
            .frames("lit", counts)
            .frames("spots", spots)
            .fixed("voxels", voxels_table(&voxels).expect("columns of equal length"))
            .fixed("seeds", quaternions(&[truth]).expect("four numbers"))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
    }

    fn cost(&self, _: &Shapes) -> Cost {
        let frames = (self.experiment.distances.len() * self.experiment.frames) as u64;
        let bytes = self.experiment.size.iter().product::<usize>() as u64 / 8;
        Cost { memory: frames * (bytes + 4096), disk_per_record: bytes, ..Cost::default() }
    }
}

impl Writer for FilesWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        let e = &self.experiment;
        let mut volume = Volume::new(e.distances.len(), e.frames, e.size);
        let mut beside = false;
        if let Some(state) = committed.filter(|s| !s.is_empty()) {
            kept::restore(&state, |number, pixels| {
                let (l, f) = e.place(number)?;
                volume.fill(l, f, pixels)
            })?;
            beside = volume.count_known() > 0;
        }
        self.work = Some(Work { out, volume, beside });
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: FilesIn) -> Result<()> {
        let work = self.work.as_mut();
        let work = work.ok_or_else(|| Error::internal("a writer was used before it was opened"))?;
        let experiment = &self.experiment;
        if self.legacy {
            for (name, bytes) in legacy_files(experiment, span, &input.spots)? {
                work.out.replace(&format!("{}/{name}", self.path), &bytes)?;
            }
        }
        kept::frames(span, &input.spots, |number, pixels| {
            let (l, f) = experiment.place(number)?;
            work.volume.fill(l, f, pixels)
        })?;
        if std::mem::replace(&mut work.beside, true) {
            return Ok(());
        }
        let (projector, (cell, ..)) = (experiment.projector()?, experiment.crystal()?);
        let put = |name: &str, bytes: &[u8]| work.out.replace(&format!("{}/{name}", self.path), bytes);
        put("hkls.csv", write_reflections(projector.predictor.reflections()).as_bytes())?;
        if let Some(voxels) = &input.voxels {
            put("grid.txt", write_grid(&voxels_of(voxels)?).as_bytes())?;
        }
        if let Some(pixels) = &input.footprints {
            put("SpotTable.txt", write_spot_table(pixels)?.as_bytes())?;
        }
        if let Some(seeds) = &input.seeds {
            let seeds = orientations(seeds)?;
            put("SeedOrientations.txt", write_seeds(&seeds, &cell).as_bytes())?;
            let matrices: Vec<_> = seeds.iter().map(Quat::matrix).collect();
            let files = spot_files(&projector.predictor, &matrices)?;
            put("DiffractionSpots.bin", &files.spots)?;
            put("Key.bin", &files.key)?;
            put("OrientMat.bin", &files.matrices)?;
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // Frames that did not come are told at the end.
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        Ok(self.work.as_ref().map_or_else(Dict::new, |w| kept::keep(&w.volume)))
    }

    fn finish(&mut self, cx: &Cx, _: &Ranges) -> Result<()> {
        let Some(work) = &self.work else { return Ok(()) };
        let dark = work.volume.distances() * work.volume.frames() - work.volume.count_known();
        if dark > 0 {
            tracing::warn!(
                stage = cx.stage(),
                frames = dark,
                "Frames that did not come are written as dark."
            );
        }
        let told = |e: std::io::Error| Error::internal(format!("bits in memory: {e}"));
        let bytes = BitWriter::new(vec![], self.experiment.size).volume(&work.volume).map_err(told)?;
        work.out.replace(&format!("{}/SpotsInfo.bin", self.path), &bytes)
    }
}
declare!(Writer, "hedm.files", Kind::Writer, FilesWrite);

/// The files of the older programs for some frames: name and bytes.
fn legacy_files(experiment: &Experiment, span: &Span, spots: &Table) -> Result<Vec<(String, Vec<u8>)>> {
    let [columns, rows] = experiment.size.map(|n| n as u32);
    let (y, z) = (spots.numbers::<u32>("y")?, spots.numbers::<u32>("z")?);
    let counts = spots.numbers::<u16>("value").map_err(|_| {
        Error::data("`legacy`: found lit pixels without counts, wanted the column `value`")
            .help("take the frames of `hedm.reduce`, or leave `legacy` out")
    })?;
    let records = spots.records();
    let mut out = vec![];
    for number in span.range() {
        let range = records.partition_point(|r| *r < number)..records.partition_point(|r| *r <= number);
        // Blobs are found row by row of the stored image, which counts against Z and Y.
        let mut order: Vec<usize> = range.collect();
        let beside = |k: usize| {
            Error::data(format!("frame {number}: the pixel ({}, {}) is on no detector", y[k], z[k]))
        };
        if let Some(k) = order.iter().find(|k| y[**k] >= columns || z[**k] >= rows) {
            return Err(beside(*k));
        }
        order.sort_by_key(|k| [rows - 1 - z[*k], columns - 1 - y[*k]]);
        let found = blobs(order.iter().map(|k| [rows - 1 - z[*k], columns - 1 - y[*k]]));
        let pixel = |(k, blob): (&usize, &u32)| {
            LegacyPixel::new([y[*k] as u16, z[*k] as u16], f32::from(counts[*k]), *blob)
        };
        let pixels: Vec<LegacyPixel> = order.iter().zip(&found.of).map(pixel).collect();
        let (l, f) = experiment.place(number)?;
        out.push((format!("red_{f:06}.bin{l}"), write_legacy(&pixels)));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::experiment::small;
    use super::*;
    use crate::files::read_legacy;

    #[test]
    fn each_frame_has_its_file_with_its_blobs() {
        // Two frames: the first of the second distance has two blobs, the one after it nothing.
        let spots = Table::new(3)
            .with("y", &[9u32, 100, 8])
            .and_then(|t| t.with("z", &[5u32, 7, 4]))
            .and_then(|t| t.with("value", &[30u16, 40, 50]))
            .and_then(|t| t.with_records(&[90, 90, 90]))
            .unwrap();
        let files = legacy_files(&small(), &Span::frames(90, 2), &spots).unwrap();
        assert_eq!((files[0].0.as_str(), files[1].0.as_str()), ("red_000000.bin1", "red_000001.bin1"));
        // Rows of the image from above: Z falls, and Y within a row.
        let wanted = [([100, 7], 40.0, 0), ([9, 5], 30.0, 1), ([8, 4], 50.0, 1)]
            .map(|(at, counts, blob)| LegacyPixel::new(at, counts, blob));
        assert_eq!(read_legacy(&files[0].1).unwrap(), wanted);
        assert!(read_legacy(&files[1].1).unwrap().is_empty());
        let bare = Table::new(0).with("y", &[0u32; 0]).and_then(|t| t.with("z", &[0u32; 0])).unwrap();
        assert!(
            legacy_files(&small(), &Span::frames(0, 1), &bare).unwrap_err().to_string().contains("`value`")
        );
    }
}
