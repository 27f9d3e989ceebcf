//! `dct.preprocessed`: the stack of preprocessed frames, as one HDF5 file shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::Ranges;
use isard_h5::Compression;

use super::frames::size;
use super::number::h5;

mod file;

use file::{Building, Part, Told};

/// How chunks, of one frame each, are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Packing {
    /// Not at all: the fastest.
    None,
    /// Deflate at level 1: every reader has it.
    Gzip,
    /// Bitshuffle and LZ4: quick; needs hdf5plugin to be read with h5py.
    #[default]
    Bitshuffle,
}

/// The dtype of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stored {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit integers: a frame that holds anything else is an error.
    I16,
}

/// Writes preprocessed frames as one stack, with all that made them.
///
/// `NAME.h5` shows the scan by position: `/entry/data/preprocessed`, and beside it `omega`, `frame_number`, `valid`,
/// `margin_mean` and `factor`, one for each frame. A frame that is missing is 0 there, with `valid` = 0 and no number for
/// what is not known. `/entry/process` holds `dark`, `parameters` (the recipe and versions, as JSON), and of `backgrounds`
/// one frame of many in `backgrounds`, whose numbers are in `background_frame`. The frames stand in `NAME.parts/`, some
/// 64 MiB to a file, in chunks of one frame; the master is replaced at checkpoints and at the end. The folder may be
/// moved as a whole.
///
/// Takes frames in any order of parts, as a ring gives them. One copy of each byte, and what compression costs: some 2 ns
/// a pixel with bitshuffle, on all cores.
///
/// Source: the preprocessed files of the DCT pipeline; NeXus and the HDF5 virtual dataset.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preprocessed {
    /// The master, relative to the run's folder; must end in `.h5`.
    #[serde(default = "path")]
    #[schemars(extend("x-path" = "output"))]
    path: String,
    /// How chunks are compressed.
    #[serde(default)]
    compression: Packing,
    /// The dtype of the frames.
    #[serde(default)]
    preprocessed_dtype: Stored,
    /// From one background that is kept to the next.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1), extend("x-unit" = "frame"))]
    save_backgrounds_every: u64,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

fn path() -> String {
    "preprocessed.h5".into()
}
fn fifty() -> u64 {
    50
}

/// A part's file is ended when it holds so many bytes before compression.
const PART: usize = 64 << 20;

#[derive(Default)]
struct State {
    out: Option<Arc<dyn Output>>,
    parts: Vec<Part>,
    /// What is known of each frame that is there.
    told: BTreeMap<u64, Told>,
    dark: Option<Array>,
    /// The number after the last heard of.
    end: u64,
    open: Option<Building>,
    /// A whole part whose bytes are not on disk yet: what an error leaves to be tried again.
    closed: Option<(Vec<u8>, Part)>,
}

/// The input of [`Preprocessed`].
#[derive(Ports)]
pub struct PreprocessedIn {
    /// Frames less their background.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// The angle of each frame.
    #[port(dtype = "number", axes = "", unit = "degree")]
    omega: Option<Array>,
    /// The mean of the margin, or the monitor, as `dct.normalize` gives it.
    #[port(dtype = "number", axes = "")]
    margin_mean: Option<Array>,
    /// What the frame was multiplied by.
    #[port(dtype = "number", axes = "")]
    factor: Option<Array>,
    /// The background of each frame, of which one in many is kept.
    #[port(dtype = "f32", axes = "y x")]
    backgrounds: Option<Array>,
    /// The dark image.
    #[port(dtype = "number", fixed, axes = "y x")]
    dark: Option<Array>,
}

impl Stage for Preprocessed {
    type In = PreprocessedIn;
    type Out = ();

    fn example() -> Example {
        let image: Vec<f32> = (0..24).map(|k| k as f32 - 8.0).collect();
        Example::new("preprocessed_dtype = \"i16\"")
            .frames("image", Array::of(&[4, 2, 3], &image).expect("24 pixels"))
            .frames("omega", Array::from_slice(&[0.0, 0.5, 1.0, 1.5]))
    }

    fn check(&self, faults: &mut Faults) {
        if !self.path.ends_with(".h5") || self.path.trim_end_matches(".h5").ends_with(['/', '\0']) {
            faults.add("path", format!("`{}` does not end in .h5", self.path));
        }
        if self.save_backgrounds_every == 0 {
            faults.add("save_backgrounds_every", "found 0, wanted 1 or more");
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let pixels = input.get("image").dims.map_or(0, |d| d.iter().product::<usize>()) as u64;
        let size = if self.preprocessed_dtype == Stored::I16 { 2 } else { 4 };
        Cost {
            memory: 2 * PART as u64 + size * pixels,
            disk_per_record: size * pixels,
            seconds_per_record: 2e-9 * pixels as f64,
            ..Cost::default()
        }
    }
}

impl Writer for Preprocessed {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.state = State { out: Some(out), ..State::default() };
        if let Some(kept) = committed {
            self.load(&kept)?;
        }
        Ok(())
    }

    fn write(&mut self, cx: &Cx, span: &Span, input: PreprocessedIn) -> Result<()> {
        let [n, ..] = size(&input.image)?;
        if self.state.dark.is_none() {
            self.state.dark = input.dark.as_ref().map(Array::detach).transpose()?;
        }
        let number =
            |of: &Option<Array>| -> Result<Option<Vec<f64>>> { of.as_ref().map(Array::to_f64).transpose() };
        let own = [number(&input.omega)?, number(&input.margin_mean)?, number(&input.factor)?];
        for k in 0..n {
            cx.check()?;
            self.flush()?;
            let frame = span.start + k as u64;
            // A write that is tried again brings what is here already.
            if self.state.told.contains_key(&frame) {
                continue;
            }
            if self.state.open.as_ref().is_some_and(|open| open.end() != frame || open.bytes() >= PART) {
                self.close()?;
                self.flush()?;
            }
            if self.state.open.is_none() {
                self.state.open = Some(Building::new(frame, self.packing(), self.preprocessed_dtype)?);
            }
            let open = self.state.open.as_mut().expect("made above");
            open.add(cx, &input.image.record(k)?)?;
            if let Some(background) = &input.backgrounds
                && frame.is_multiple_of(self.save_backgrounds_every)
            {
                open.background(cx, &background.record(k)?)?;
            }
            let told = [0, 1, 2].map(|i| own[i].as_ref().map_or(f64::NAN, |all| all[k]));
            self.state.told.insert(frame, told);
            self.state.end = self.state.end.max(frame + 1);
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, gap: &Gap) -> Result<()> {
        self.state.end = self.state.end.max(gap.span.end());
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        self.close()?;
        self.flush()?;
        self.master()?;
        Ok(self.save())
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        self.close()?;
        self.flush()?;
        self.master()
    }
}
declare!(Writer, "dct.preprocessed", Kind::Writer, Preprocessed);

impl Preprocessed {
    fn packing(&self) -> Compression {
        match self.compression {
            Packing::None => Compression::None,
            Packing::Gzip => Compression::Deflate(1),
            Packing::Bitshuffle => Compression::Bitshuffle,
        }
    }

    fn out(&self) -> Result<&Arc<dyn Output>> {
        self.state.out.as_ref().ok_or_else(|| Error::internal("a writer was used before it was opened"))
    }

    fn stem(&self) -> &str {
        self.path.trim_end_matches(".h5")
    }

    /// Ends the open part.
    fn close(&mut self) -> Result<()> {
        self.flush()?;
        if let Some(open) = self.state.open.take() {
            self.state.closed = Some(open.finish()?);
        }
        Ok(())
    }

    /// Puts a whole part on disk.
    fn flush(&mut self) -> Result<()> {
        if let Some((bytes, part)) = &self.state.closed {
            let path = format!("{}.parts/{:06}.h5", self.stem(), self.state.parts.len());
            self.out()?.seal(&path, bytes)?;
            self.state.parts.push(part.clone());
            self.state.closed = None;
        }
        Ok(())
    }

    /// Writes the master in place of the last one.
    fn master(&self) -> Result<()> {
        let out = self.out()?;
        let folder = format!("{}.parts", self.stem().rsplit('/').next().unwrap_or_default());
        let missing = self.state.end > self.state.told.len() as u64;
        if let Some(part) = self.state.parts.first().filter(|_| missing) {
            // One frame of zeros stands for every one that is missing.
            out.replace(
                &format!("{}.parts/missing.h5", self.stem()),
                &file::missing(part, self.preprocessed_dtype)?,
            )?;
        }
        let scan = file::Scan {
            folder: &folder,
            parts: &self.state.parts,
            told: &self.state.told,
            dark: self.state.dark.as_ref(),
            end: self.state.end,
            dtype: self.preprocessed_dtype,
            every: self.save_backgrounds_every,
            record: out.record(),
        };
        out.replace(&self.path, &scan.master().map_err(h5)?)
    }

    fn save(&self) -> Dict {
        let parts: Vec<u64> = self.state.parts.iter().flat_map(Part::numbers).collect();
        let frames: Vec<u64> = self.state.told.keys().copied().collect();
        let told: Vec<f64> = self.state.told.values().flatten().copied().collect();
        let state = Dict::new()
            .with("parts", Array::from_slice(&parts))
            .with("frames", Array::from_slice(&frames))
            .with("told", Array::from_slice(&told))
            .with("end", self.state.end as i64);
        match &self.state.dark {
            Some(dark) => state.with("dark", dark.clone()),
            None => state,
        }
    }

    fn load(&mut self, kept: &Dict) -> Result<()> {
        let array = |name: &str| match kept.need(name)? {
            Value::Array(array) => Ok(array),
            _ => Err(Error::internal("the parts of a stack were saved as other values")),
        };
        self.state.parts = array("parts")?.as_slice::<u64>()?.chunks_exact(5).map(Part::of).collect();
        let told = array("told")?.as_slice::<f64>()?.chunks_exact(3).map(|t| [t[0], t[1], t[2]]);
        self.state.told = array("frames")?.as_slice::<u64>()?.iter().copied().zip(told).collect();
        self.state.end = kept.need("end")?.number().unwrap_or(0.0) as u64;
        self.state.dark = match kept.get("dark") {
            Some(Value::Array(dark)) => Some(dark.clone()),
            _ => None,
        };
        Ok(())
    }
}
