//! `npy.write`: arrays for numpy.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::{Ranges, SNAPSHOT};

use crate::convert::lengths;
use crate::npy::header;
use crate::output::name;
use crate::output::run::{ImageIn, Pending, Run, next};

/// Writes arrays to NPY files.
///
/// Records go to `NAME.parts/000000000.npy`, ..., each named by its first record: a part is closed at `part_bytes`, at a
/// checkpoint and at a gap, so numbers are never lost. If all records together take no more than `whole_bytes` and none
/// is missing, they are also written at the end as one array `NAME.npy`; a growing NPY file could not be kept whole at
/// every moment, so larger series stay in parts, which `npy.stack` reads as one. Of snapshots the last one is `NAME.npy`,
/// without a leading axis.
///
/// Changes neither order nor count. Keeps at most `part_bytes` and `whole_bytes` in memory; one copy.
///
/// Source: the NPY format, version 1.0, as numpy documents it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NpyWrite {
    /// The file, relative to the run's folder; must end in `.npy`.
    #[schemars(extend("x-path" = "output", "x-endings" = [".npy"]))]
    path: String,
    /// A part is closed when another record would make it larger than this.
    #[serde(default = "bytes")]
    #[schemars(range(min = 1), extend("x-unit" = "byte", "x-level" = "expert"))]
    part_bytes: u64,
    /// The largest series that is also written as one file.
    #[serde(default = "bytes")]
    #[schemars(extend("x-unit" = "byte", "x-level" = "expert"))]
    whole_bytes: u64,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

fn bytes() -> u64 {
    64 << 20
}

#[derive(Default)]
struct State {
    out: Option<Arc<dyn Output>>,
    pending: Pending,
    /// Every record so far, as long as they may end up in one file.
    whole: Option<Run>,
    /// They will not: too many, or with a gap.
    parts_only: bool,
}

impl Stage for NpyWrite {
    type In = ImageIn;
    type Out = ();

    fn example() -> Example {
        let pixels: Vec<f32> = (0..12).map(|i| i as f32).collect();
        Example::new("path = \"frames.npy\"")
            .frames("image", Array::of(&[2, 2, 3], &pixels).expect("twelve pixels"))
    }

    fn check(&self, faults: &mut Faults) {
        name::check(&self.path, &[".npy"], faults);
        if self.part_bytes == 0 {
            faults.add("part_bytes", "is 0, wanted at least 1");
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let memory = self.part_bytes + self.whole_bytes;
        Cost { memory, disk_per_record: input.bytes() as u64, ..Cost::default() }
    }
}

impl Writer for NpyWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        self.state =
            State { out: Some(out), pending: Pending::from(next(committed.as_ref())), ..State::default() };
        let Some(committed) = committed else { return Ok(()) };
        self.state.parts_only = committed.get("parts_only") == Some(&Value::Bool(true));
        if let (Some(Value::Array(whole)), Some(Value::Int(first))) =
            (committed.get("whole"), committed.get("first"))
        {
            self.state.whole = Some(Run {
                first: *first as u64,
                frames: whole.shape().first().copied().unwrap_or(0) as u64,
                dtype: whole.dtype(),
                dims: whole.shape().get(1..).unwrap_or_default().to_vec(),
                bytes: whole.bytes().to_vec(),
            });
        }
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: ImageIn) -> Result<()> {
        let (path, out) = (self.path.clone(), self.out()?);
        let image = &input.image;
        if span.axis == SNAPSHOT {
            let last = image.record(image.shape()[0] - 1)?;
            return out.replace(&path, &file(last.dtype(), last.shape(), last.bytes()));
        }
        let each = (image.bytes().len() as u64 / span.len.max(1)).max(1);
        self.keep(span, image);
        self.state.pending.take(span, image, (self.part_bytes / each).max(1), |run| seal(&*out, &path, run))
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        let (path, out) = (self.path.clone(), self.out()?);
        self.state.pending.close(|run| seal(&*out, &path, run))?;
        let mut state = Dict::new()
            .with("next", self.state.pending.next as i64)
            .with("parts_only", self.state.parts_only);
        if let Some(run) = &self.state.whole {
            let shape = [&[run.frames as usize], run.dims.as_slice()].concat();
            let mut whole = isard_core::Pool::unpooled().take(run.dtype, &shape)?;
            whole.bytes_mut().copy_from_slice(&run.bytes);
            state = state.with("whole", whole.freeze()).with("first", run.first as i64);
        }
        Ok(state)
    }

    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        let (path, out) = (self.path.clone(), self.out()?);
        self.state.pending.close(|run| seal(&*out, &path, run))?;
        match &self.state.whole {
            Some(run) => {
                let shape = [&[run.frames as usize], run.dims.as_slice()].concat();
                out.replace(&path, &file(run.dtype, &shape, &run.bytes))
            }
            None => Ok(()),
        }
    }
}
declare!(Writer, "npy.write", Kind::Writer, NpyWrite);

impl NpyWrite {
    fn out(&self) -> Result<Arc<dyn Output>> {
        self.state.out.clone().ok_or_else(|| Error::internal("a writer was used before it was opened"))
    }

    /// Adds records to the whole file to be, or gives it up.
    fn keep(&mut self, span: &Span, image: &Array) {
        if self.state.parts_only {
            return;
        }
        let dims = image.shape().get(1..).unwrap_or_default();
        let run = self.state.whole.get_or_insert_with(|| Run {
            first: span.start,
            frames: 0,
            dtype: image.dtype(),
            dims: dims.to_vec(),
            bytes: vec![],
        });
        // A write that is tried again brings what is here already.
        if run.frames > 0 && run.first + run.frames == span.end() {
            return;
        }
        let same = (run.dtype, run.dims.as_slice()) == (image.dtype(), dims);
        let fits = (run.bytes.len() + image.bytes().len()) as u64 <= self.whole_bytes;
        if same && fits && run.first + run.frames == span.start {
            run.bytes.extend_from_slice(image.bytes());
            run.frames += span.len;
        } else {
            (self.state.whole, self.state.parts_only) = (None, true);
        }
    }
}

fn seal(out: &dyn Output, path: &str, run: &Run) -> Result<()> {
    let shape = [&[run.frames as usize], run.dims.as_slice()].concat();
    let part = format!("{}.parts/{:09}.npy", name::stem(path), run.first);
    out.seal(&part, &file(run.dtype, &shape, &run.bytes))
}

fn file(dtype: Dtype, shape: &[usize], elements: &[u8]) -> Vec<u8> {
    let mut bytes = header(isard_h5::Dtype::from(dtype), &lengths(shape));
    bytes.extend_from_slice(elements);
    bytes
}

/// The bytes of an NPY file that holds an array.
pub fn npy_bytes(array: &Array) -> Vec<u8> {
    file(array.dtype(), array.shape(), array.bytes())
}
