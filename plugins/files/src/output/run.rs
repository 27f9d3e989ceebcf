//! Consecutive frames on their way into one file.

use isard_core::prelude::*;

/// The input of writers of plain images.
#[derive(Ports)]
pub struct ImageIn {
    /// Images, or arrays of any shape where the format takes them.
    #[port(dtype = "any")]
    pub(crate) image: Array,
}

/// Consecutive frames of one shape.
pub(crate) struct Run {
    pub first: u64,
    pub frames: u64,
    pub dtype: Dtype,
    pub dims: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// Frames taken and not yet in a file.
#[derive(Default)]
pub(crate) struct Pending {
    open: Option<Run>,
    like: Option<(Dtype, Vec<usize>)>,
    /// The frame after the last one taken.
    pub next: u64,
}

impl Pending {
    /// Nothing taken yet, but for frames before `next`.
    pub fn from(next: u64) -> Pending {
        Pending { next, ..Pending::default() }
    }

    /// Takes frames; a file is closed when it holds `most` of them and at a gap.
    ///
    /// Frames that were taken before an error are not taken again.
    pub fn take(
        &mut self,
        span: &Span,
        image: &Array,
        most: u64,
        mut seal: impl FnMut(&Run) -> Result<()>,
    ) -> Result<()> {
        let (dtype, dims) = (image.dtype(), image.shape().get(1..).unwrap_or_default());
        let like = self.like.get_or_insert_with(|| (dtype, dims.to_vec()));
        if (like.0, like.1.as_slice()) != (dtype, dims) {
            let (wanted, shape) = like;
            return Err(Error::data(format!(
                "{span}: found images of {dtype} {dims:?}, wanted {wanted} {shape:?} as before"
            )));
        }
        let mut at = self.next.max(span.start);
        while at < span.end() {
            if let Some(run) = &self.open
                && (run.first + run.frames != at || run.frames >= most)
            {
                seal(run)?;
                self.open = None;
            }
            let run = self.open.get_or_insert_with(|| {
                let dims = dims.to_vec();
                Run { first: at, frames: 0, dtype, dims, bytes: vec![] }
            });
            let n = (span.end() - at).min(most - run.frames);
            let from = (at - span.start) as usize;
            run.bytes.extend_from_slice(image.records(from..from + n as usize)?.bytes());
            run.frames += n;
            at += n;
            self.next = at;
        }
        if self.open.as_ref().is_some_and(|run| run.frames >= most) {
            self.close(seal)?;
        }
        Ok(())
    }

    /// Puts what is left into a file.
    pub fn close(&mut self, mut seal: impl FnMut(&Run) -> Result<()>) -> Result<()> {
        if let Some(run) = &self.open {
            seal(run)?;
            self.open = None;
        }
        Ok(())
    }
}

/// The next frame of a commit.
pub(crate) fn next(committed: Option<&Dict>) -> u64 {
    match committed.and_then(|d| d.get("next")) {
        Some(Value::Int(next)) => *next as u64,
        _ => 0,
    }
}
