//! `hdf5.write`: a small master over parts that are never touched again.

mod item;
mod master;
mod part;
mod single;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::{Chunk, Ranges, SNAPSHOT};

use crate::convert::h5;
use crate::output::name;
use crate::verdict;

use item::{constants, items, weights};
use part::Building;
use state::State;

/// Writes records of any kind to a set of HDF5 files in NeXus form.
///
/// `NAME.h5` is a small master that shows the parts `NAME.parts/000000.h5`, ... as one: arrays and numbers under
/// `/entry/data` (with the record numbers in `frame`, or whatever the axis is called), tables as groups of columns under
/// `/entry/tables`, what is the same for the whole run under `/entry/constants`, the run itself under `/entry/process`,
/// frames that did not come under `/entry/missing`. A part is closed at `part_bytes` or at a checkpoint and never
/// touched again; the master is replaced in one step at each checkpoint and at the end, so it may be read at any time. The
/// folder may be moved as a whole. A single snapshot, as a fit or a reduction gives one, goes into the master alone,
/// under `/entry/result`. A ragged column is a group of `values`, with `offset` and `count` for each row.
///
/// In the recording lane a frame that came damaged is kept in its place and marked: `/entry/data/verdict` then holds 0 for
/// each good record and 1 for each corrupt one, and `/entry/missing` says why. `hdf5.dataset` gives such frames as
/// corrupt again. (If an output called `verdict` is written, damaged frames are left out like any other gap.)
///
/// Changes neither order nor count; records keep their numbers, so a gap shifts nothing. Texts are kept in memory, since
/// the master repeats them. One copy and one checksum for each byte, more with compression; bitshuffle and deflate use all
/// cores.
///
/// Source: NeXus (Koennecke et al., J. Appl. Cryst. 48, 2015, 301) and the HDF5 virtual dataset.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hdf5Write {
    /// The master, relative to the run's folder; must end in `.h5`, `.hdf5` or `.nxs`.
    #[schemars(extend("x-path" = "output", "x-endings" = [".h5", ".hdf5", ".nxs"]))]
    path: String,
    /// How chunks are compressed.
    #[serde(default)]
    compression: Packing,
    /// A part is closed when it holds this much, before compression.
    #[serde(default = "part_bytes")]
    #[schemars(range(min = 1), extend("x-unit" = "byte", "x-level" = "expert"))]
    part_bytes: u64,
    /// A title for viewers; else the name of the file.
    #[serde(default)]
    title: Option<String>,
    /// What viewers plot first; else the first image, or the first curve.
    #[serde(default)]
    signal: Option<String>,
    /// What records are plotted against; else the record numbers.
    ///
    /// Numbers that are written, one for each record.
    #[serde(default)]
    axis: Option<String>,
    /// Units by name; others are those of the ports that are written.
    ///
    /// Such as `image = "count"`, `"peaks.row" = "pixel"`.
    #[serde(default)]
    units: BTreeMap<String, String>,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<Arc<dyn Output>>,
    /// The units of the ports, and over them those of the recipe.
    #[serde(skip)]
    #[schemars(skip)]
    known: BTreeMap<String, String>,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
    #[serde(skip)]
    #[schemars(skip)]
    open: Option<Building>,
    /// A finished part whose bytes are not on disk yet: what an error leaves to be tried again.
    #[serde(skip)]
    #[schemars(skip)]
    closed: Option<(Vec<u8>, Vec<u64>)>,
    /// The memory of the last part that came to be on disk, for the next one.
    #[serde(skip)]
    #[schemars(skip)]
    spare: Vec<u8>,
    /// Whether a part has come to be on disk since that was last asked.
    #[serde(skip)]
    #[schemars(skip)]
    sealed: bool,
    /// How far the chunk at hand is taken, should its writing be tried again.
    #[serde(skip)]
    #[schemars(skip)]
    taken: Option<(u64, u64)>,
}

/// How chunks are compressed.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// Not at all: the fastest.
    #[default]
    None,
    /// Deflate at level 4: small and slow.
    Deflate,
    /// LZF: quick, moderate.
    Lzf,
    /// Bitshuffle and LZ4: as quick as the disk, small for counts; needs hdf5plugin to be read with h5py.
    Bitshuffle,
}

fn part_bytes() -> u64 {
    64 << 20
}

impl Stage for Hdf5Write {
    type In = Dict;
    type Out = ();

    fn example() -> Example {
        let image: Vec<u16> = (0..24).collect();
        let peaks = Table::new(3).with("row", &[0.5, 1.0, 0.25]).and_then(|t| t.with_records(&[0, 2, 2]));
        Example::new("path = \"result.h5\"\nunits = { image = \"count\", \"peaks.row\" = \"pixel\" }")
            .frames("image", Array::of(&[4, 2, 3], &image).expect("24 pixels"))
            .frames("omega", Array::from_slice(&[0.0, 0.5, 1.0, 1.5]))
            .frames("peaks", peaks.expect("three rows and three record numbers"))
    }

    fn check(&self, faults: &mut Faults) {
        name::check(&self.path, &[".h5", ".hdf5", ".nxs"], faults);
        if self.part_bytes == 0 {
            faults.add("part_bytes", "is 0, wanted at least 1");
        }
    }

    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        for (parameter, name) in [("signal", &self.signal), ("axis", &self.axis)] {
            // Columns of tables are known with the first record only.
            let port = name.as_ref().map(|name| name.split(['.', '/']).next().unwrap_or_default());
            if let Some(port) = port
                && !input.has(port)
                && input.iter().next().is_some()
            {
                return Err(master::absent(parameter, port, input.iter().map(|(name, _)| name)));
            }
        }
        Ok(Shapes::default())
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let seconds = match self.compression {
            Packing::None | Packing::Bitshuffle => 1e-9,
            Packing::Lzf => 5e-9,
            Packing::Deflate => 2e-8,
        };
        Cost {
            memory: 2 * self.part_bytes,
            disk_per_record: input.bytes() as u64,
            seconds_per_record: seconds * input.bytes() as f64,
            seconds: 0.0,
        }
    }
}

impl Writer for Hdf5Write {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.state = committed.map(State::load).transpose()?.unwrap_or_default();
        (self.open, self.closed, self.taken) = (None, None, None);
        self.known = out.units();
        self.known.extend(self.units.clone());
        self.out = Some(out);
        Ok(())
    }

    fn write(&mut self, cx: &Cx, span: &Span, input: Dict) -> Result<()> {
        let (stream, fixed) = constants(input);
        self.state.constants(&fixed)?;
        if span.axis == SNAPSHOT && self.state.is_new() && span.len == 1 && self.state.single.is_none() {
            // Nothing says yet whether more will come.
            self.state.single = Some((span.start, detached(&stream)?));
            return Ok(());
        }
        if let Some((number, first)) = self.state.single.take() {
            self.series(cx, &Span { axis: SNAPSHOT, start: number, len: 1 }, first)?;
        }
        self.series(cx, span, stream)
    }

    fn gap(&mut self, _: &Cx, gap: &Gap) -> Result<()> {
        self.state.gap(gap);
        Ok(())
    }

    fn corrupt(&mut self, cx: &Cx, gap: &Gap, frame: Dict) -> Result<bool> {
        let (stream, fixed) = constants(frame);
        // The name is taken: without a mark nobody could tell the frame from a good one.
        if stream.get(verdict::NAME).is_some() {
            return self.gap(cx, gap).map(|()| false);
        }
        self.state.constants(&fixed)?;
        self.series(cx, &gap.span, stream)?;
        let part = self.open.as_mut();
        part.ok_or_else(|| Error::internal("a record went into no part"))?.mark();
        self.state.gap(gap);
        Ok(true)
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        self.close()?;
        self.flush()?;
        self.master(None)?;
        // What this put on disk is told by the commit itself.
        self.sealed = false;
        self.state.save()
    }

    fn settled(&mut self) -> Result<Option<(Dict, u64)>> {
        if !std::mem::take(&mut self.sealed) {
            return Ok(None);
        }
        let left = self.open.as_ref().map_or(0, Building::records);
        Ok(Some((self.state.save()?, left)))
    }

    fn finish(&mut self, _: &Cx, covers: &Ranges) -> Result<()> {
        self.close()?;
        self.flush()?;
        self.master(Some(covers))
    }
}
declare!(Writer, "hdf5.write", Kind::Writer, Hdf5Write);

impl Hdf5Write {
    fn plot(&self) -> master::Plot<'_> {
        master::Plot { signal: self.signal.as_deref(), axis: self.axis.as_deref() }
    }

    fn out(&self) -> Result<&Arc<dyn Output>> {
        self.out.as_ref().ok_or_else(|| Error::internal("a writer was used before it was opened"))
    }

    /// An empty part.
    fn begin(&mut self) -> Result<Building> {
        let spare = std::mem::take(&mut self.spare);
        Building::new(spare, self.compression, &self.known, self.plot(), &self.state)
    }

    /// Takes records, cutting them where parts end.
    fn series(&mut self, cx: &Cx, span: &Span, data: Dict) -> Result<()> {
        let weights = weights(span, &data)?;
        let chunk = Chunk::new(span.clone(), data);
        let mut at = match self.taken {
            Some((start, taken)) if start == span.start => taken,
            _ => 0,
        };
        while at < span.len {
            cx.check()?;
            self.flush()?;
            // Where a part ends depends on the records alone, not on how they were chunked.
            let (mut n, mut bytes) = (0, self.open.as_ref().map_or(0, |p| p.bytes));
            while at + n < span.len && (bytes == 0 || bytes + weights[(at + n) as usize] <= self.part_bytes) {
                bytes += weights[(at + n) as usize].max(1);
                n += 1;
            }
            if n == 0 {
                self.close()?;
                continue;
            }
            let piece = chunk.cut(span.start + at, span.start + at + n)?;
            let items = items(&piece.span, &piece.data)?;
            self.state.settle(&piece.span, &items)?;
            if self.open.is_none() {
                self.open = Some(self.begin()?);
            }
            if let Some(part) = &mut self.open {
                part.add(cx, &self.state, &items, bytes)?;
            }
            at += n;
            self.taken = Some((span.start, at));
        }
        self.taken = None;
        Ok(())
    }

    /// Ends the open part.
    fn close(&mut self) -> Result<()> {
        self.flush()?;
        if let Some(part) = self.open.take() {
            self.closed = Some(part.finish(&mut self.state)?);
        }
        Ok(())
    }

    /// Puts a finished part on disk.
    fn flush(&mut self) -> Result<()> {
        if let Some((bytes, counts)) = &self.closed {
            let path = format!("{}.parts/{:06}.h5", name::stem(&self.path), self.state.parts.len());
            self.out()?.seal(&path, bytes)?;
            self.state.sealed(counts);
            self.sealed = true;
            self.spare = self.closed.take().map(|(bytes, _)| bytes).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes the master in place of the last one.
    fn master(&self, covers: Option<&Ranges>) -> Result<()> {
        let out = self.out()?;
        let about = master::About {
            path: &self.path,
            title: self.title.as_deref(),
            plot: self.plot(),
            units: &self.known,
            record: out.record(),
            covers,
        };
        let bytes = match &self.state.single {
            Some((_, result)) => single::master(&about, &self.state, result)?,
            None => master::master(&about, &self.state)?,
        };
        out.replace(&self.path, &bytes)
    }
}

/// Values that outlive their chunk without holding buffers of the pool.
fn detached(data: &Dict) -> Result<Dict> {
    data.iter()
        .map(|(key, value)| {
            let value = match value {
                Value::Array(a) => Value::Array(a.detach()?),
                other => other.clone(),
            };
            Ok((key.clone(), value))
        })
        .collect()
}

/// Adds what both kinds of master carry: title, process, constants, missing frames, coverage.
fn common(image: &mut isard_h5::Image, about: &master::About, state: &State) -> Result<()> {
    let title = about.title.unwrap_or_else(|| name::last(name::stem(about.path)));
    image.text("/entry/title", title).map_err(h5)?;
    image.nexus("/entry/process", "NXprocess").map_err(h5)?;
    image.text("/entry/process/program", "isard").map_err(h5)?;
    image.text("/entry/process/version", env!("CARGO_PKG_VERSION")).map_err(h5)?;
    if !about.record.is_empty() {
        image.text("/entry/process/record", &about.record).map_err(h5)?;
    }
    if !state.constants.is_empty() {
        image.nexus("/entry/constants", "NXcollection").map_err(h5)?;
        single::values(image, "/entry/constants", &state.constants, about.units)?;
    }
    master::missing(image, state)?;
    if let Some(covers) = about.covers {
        let bounds: Vec<u8> = covers.bounds().iter().flat_map(|n| n.to_ne_bytes()).collect();
        let slot =
            image.dataset("/entry/covers", &isard_h5::Spec::new(isard_h5::Dtype::U64, &[2])).map_err(h5)?;
        image.append(slot, &bounds, covers.iter().count() as u64).map_err(h5)?;
        image.attribute("/entry/covers", "frames", covers.count() as i64).map_err(h5)?;
        image
            .attribute("/entry/covers", "description", "first frame and the one after the last")
            .map_err(h5)?;
    }
    Ok(())
}
