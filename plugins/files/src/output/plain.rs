//! Files of whole frames, one beside the other: what their writers share.

use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::span::SNAPSHOT;

use crate::output::name;
use crate::output::run::{Pending, Run, next};

/// Frames on their way into files `NAME.parts/000000000.ENDING`, and the last snapshot into `NAME.ENDING`.
#[derive(Default)]
pub(crate) struct FrameFiles {
    out: Option<Arc<dyn Output>>,
    pending: Pending,
}

impl FrameFiles {
    /// Begins anew, or after what was committed.
    pub fn open(&mut self, out: Arc<dyn Output>, committed: Option<&Dict>) {
        *self = FrameFiles { out: Some(out), pending: Pending::from(next(committed)) };
    }

    /// Takes frames; `file` makes the bytes of a file, which holds at most `most` of them.
    pub fn write(
        &mut self,
        path: &str,
        most: u64,
        span: &Span,
        image: &Array,
        file: impl Fn(&Run) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let dims = image.shape().get(1..).unwrap_or_default();
        if dims.len() != 2 {
            return Err(not_an_image(dims));
        }
        let out = self.out()?;
        if span.axis == SNAPSHOT {
            let last = image.record(image.shape()[0] - 1)?;
            let (dtype, bytes) = (last.dtype(), last.bytes().to_vec());
            return out
                .replace(path, &file(&Run { first: 0, frames: 1, dtype, dims: dims.to_vec(), bytes })?);
        }
        self.pending.take(span, image, most, |run| seal(&*out, path, &file(run)?, run.first))
    }

    /// Puts what was taken into files; what it returns goes on from there.
    pub fn commit(&mut self, path: &str, file: impl Fn(&Run) -> Result<Vec<u8>>) -> Result<Dict> {
        let out = self.out()?;
        self.pending.close(|run| seal(&*out, path, &file(run)?, run.first))?;
        Ok(Dict::new().with("next", self.pending.next as i64))
    }

    fn out(&self) -> Result<Arc<dyn Output>> {
        self.out.clone().ok_or_else(|| Error::internal("a writer was used before it was opened"))
    }
}

fn seal(out: &dyn Output, path: &str, bytes: &[u8], first: u64) -> Result<()> {
    let ending = path.rsplit('.').next().unwrap_or_default();
    out.seal(&format!("{}.parts/{first:09}.{ending}", name::stem(path)), bytes)
}

/// An error unless the input is known to be images of a type that the format holds.
pub(crate) fn fits(input: &Shapes, holds: impl Fn(isard_h5::Dtype) -> bool, format: &str) -> Result<()> {
    let shape = input.get("image");
    if let Some(dims) = shape.dims.filter(|dims| dims.len() != 2) {
        return Err(not_an_image(&dims));
    }
    match shape.dtype.filter(|dtype| !holds((*dtype).into())) {
        Some(dtype) => Err(not_held(dtype, format)),
        None => Ok(()),
    }
}

/// An error of a type that a format does not hold.
pub(crate) fn not_held(dtype: Dtype, format: &str) -> Error {
    Error::data(format!("found images of {dtype}, which {format} files do not hold"))
        .help("`npy.write` and `hdf5.write` take any type")
}

/// An error of records that are no images.
pub(crate) fn not_an_image(dims: &[usize]) -> Error {
    Error::data(format!("found records of shape {dims:?}, wanted images [y x]"))
        .help("`npy.write` and `hdf5.write` take any shape")
}
