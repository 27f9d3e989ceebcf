//! Series of DECTRIS detectors: a master file and its data files.

mod head;
mod layout;

use std::path::{Path, PathBuf};

use isard_core::prelude::*;
use isard_core::schemars;

use crate::input::folder::missing;
use crate::input::follow::Follow;
use crate::input::hdf5::{Found, Frames, Reader, Unwritten, put, watched};

/// Frames of a DECTRIS series: a master file with links to data files.
///
/// Takes `NAME_master.h5` as the file writer of EIGER and PILATUS4 makes it: frames in `/entry/data/data_000001`, ... of
/// `NAME_data_000001.h5`, ..., or one virtual dataset `/entry/data/data`. The head holds `mask`, `flat` and
/// `countrate_table` where the master has them, and every number and text of `/entry/instrument` and `/entry/sample` by
/// its own name (`count_time`, `bit_depth_image`, `incident_wavelength`), with its unit as `NAME_units`. Frames stand at
/// the numbers that their files state (`image_nr_low`). Masked pixels hold the largest value of their dtype; nothing is
/// changed here. Of a detector with several thresholds, whose dataset has an axis of channels, one is read: `channel`. Its
/// mask and flat stand in the head.
///
/// A data file that is not there is an error, or with `missing = "gap"` its frames are; with `follow` it has not come
/// yet, and the series is complete with the frames that the master announces or as `follow` says.
///
/// Keeps order and count. Chunks are decoded on all cores, about 1 ms for a megapixel; no plug-in is needed.
///
/// Source: DECTRIS, SIMPLON API file writer (legacy and NXmx formats).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DectrisMaster {
    /// The master file.
    #[schemars(extend("x-path" = "input", "x-series" = true))]
    path: String,
    /// The threshold that is read, of a detector with several; the first one is 1.
    #[serde(default)]
    #[schemars(range(min = 1))]
    channel: Option<u64>,
    /// What the frames of a data file are that is not there.
    #[serde(default)]
    missing: Missing,
    /// Reads on while the series is still being written.
    #[serde(default)]
    follow: Option<Follow>,
    #[serde(skip)]
    #[schemars(skip)]
    reader: Option<Reader>,
}

/// What the frames of a missing data file are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// An error.
    #[default]
    Error,
    /// A gap: told and counted.
    Gap,
}

/// What a master file with links to data files, or with several channels, shows: dtype, extents of a frame, frames.
pub(crate) fn master(path: &Path, file: &isard_h5::File) -> Option<(Dtype, Vec<usize>, u64)> {
    if !layout::is_master(file) {
        return None;
    }
    // Frames of data files that are absent count where the master announces them.
    let series = layout::series(path, false, true, Some(1)).ok()?;
    let records = series.pieces.last().map_or(0, |piece| piece.first + piece.count);
    Some((series.dtype, series.dims, records / series.channels))
}

/// What [`DectrisMaster`] gives.
#[derive(Ports)]
pub struct DectrisOut {
    /// Images as the detector counted them.
    #[port(dtype = "any", axes = "y x", unit = "count")]
    image: Array,
}

impl Stage for DectrisMaster {
    type In = ();
    type Out = DectrisOut;

    fn example() -> Example {
        let (master, data) = layout::example().expect("a series of four frames can be built");
        Example::file("series_data_000001.h5", &data);
        Example::new(format!("path = {:?}", Example::file("series_master.h5", &master)))
    }

    fn check(&self, faults: &mut Faults) {
        if self.path.is_empty() {
            faults.add("path", "is empty, wanted a master file such as `series_1_master.h5`");
        }
        if self.channel == Some(0) {
            faults.add("channel", "is 0, wanted at least 1");
        }
        if let Some(follow) = &self.follow {
            // The master says how many frames there will be, so an end is not asked for.
            let mut own = Faults::default();
            follow.check(&mut own);
            for fault in own.list().iter().filter(|fault| fault.parameter != "follow") {
                faults.add(&fault.parameter, fault.message.clone());
            }
        }
    }

    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl Source for DectrisMaster {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let path = PathBuf::from(&self.path);
        if self.follow.is_none() && !path.exists() {
            return Err(missing(&path));
        }
        let (master, gap, channel) = (path.clone(), self.missing == Missing::Gap, self.channel);
        let open = move |growing: bool| -> Result<Found> {
            let series = layout::series(&master, growing, gap, channel)?;
            let mut watched = watched(&master, &series.pieces);
            watched.extend(series.next);
            let frames = Frames::new(series.dtype, &series.dims, series.pieces, Unwritten::Missing, growing);
            let frames = frames.channel(series.channels, channel.unwrap_or(1) - 1);
            Ok(Found { frames, watched, announced: series.announced })
        };
        let beside = path.parent().unwrap_or(Path::new(""));
        let reader = Reader::new(cx, Box::new(open), self.follow.as_ref(), beside, from.next)?;
        let frames = &reader.found()?.frames;
        let shapes = Shapes::default().with("image", Shape::array(frames.dtype, &frames.dims));
        let head = head::head(cx, &path, self.follow.is_some(), self.channel)?;
        let opened = Opened { frames: reader.total(), head, shapes, ..Opened::default() };
        self.reader = Some(reader);
        Ok(opened)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<DectrisOut>) -> Result<Pull> {
        let reader = self.reader.as_mut();
        let reader = reader.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        put(reader.look(cx, slots.room())?, slots, |_, image| Ok(DectrisOut { image }))
    }
}
declare!(Source, "dectris.master", Kind::Source, DectrisMaster);
