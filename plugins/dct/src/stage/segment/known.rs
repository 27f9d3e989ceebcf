//! What the first frames say, the rules that come of it, and which spots are given.

use super::*;

/// Voxels of the spots that make one table.
const VOXELS: usize = 1 << 22;

impl Segment {
    /// Looks at the first frame, where a threshold is relative to its background.
    pub(super) fn weigh(&mut self, input: &SegmentIn) -> Result<()> {
        let low = self.t_low.as_ref();
        if self.state.sigma.is_some() || !(self.threshold.relative() || low.is_some_and(Threshold::relative))
        {
            return Ok(());
        }
        let Some(image) = &input.image else {
            let error = Error::recipe("lit pixels have no background that a threshold could be relative to");
            return Err(error.help("give `threshold` and `t_low` in counts"));
        };
        let found = sigma(&image.record(0)?, self.exclude_box.map(Box::area).as_ref())?;
        let threshold = self.threshold.counts(found);
        tracing::info!(sigma = found, threshold, "The background of the first frame sets the threshold.");
        self.state.sigma = Some(found);
        Ok(())
    }

    /// Warns when the weakest spots would be grown into the noise of the first frame.
    pub(super) fn look(&mut self, input: &SegmentIn) -> Result<()> {
        let Some(image) = input.image.as_ref().filter(|_| !self.state.looked) else { return Ok(()) };
        self.state.looked = true;
        let floor = f64::from(self.rules()?.floor());
        // A frame without noise has no deviation that a floor could be held against.
        if let Ok(sigma) = sigma(&image.record(0)?, self.exclude_box.map(Box::area).as_ref())
            && floor < 3.0 * sigma
        {
            tracing::warn!(
                floor,
                sigma,
                "Weak spots grow into the noise: raise `t_low`, `tolerance` or `threshold`."
            );
        }
        Ok(())
    }

    /// Takes what comes with the frames and stays the same.
    pub(super) fn know(&mut self, input: &SegmentIn, [rows, columns]: [usize; 2]) -> Result<()> {
        if let Some(covered) = &input.covered {
            self.state.covered = covered.as_slice::<u32>()?.first().copied();
        }
        if self.bridge_mask > 0
            && self.state.bridges.is_none()
            && let Some(mask) = &input.mask
        {
            same("mask", mask.shape(), rows, columns)?;
            self.state.bridges = Some(Arc::new(Bridges::of([rows, columns], &bad(mask)?, self.bridge_mask)));
        }
        Ok(())
    }

    pub(super) fn rules(&self) -> Result<Rules> {
        let sigma = self.state.sigma.unwrap_or(f64::NAN);
        Ok(Rules {
            threshold: self.threshold.counts(sigma),
            tolerance: self.tolerance,
            low: self.t_low.as_ref().map(|low| low.counts(sigma)),
            high: self.t_high,
            limit: self.bb_max,
            connectivity: Connectivity::of(self.connectivity)
                .ok_or_else(|| Error::internal("a connectivity that was not checked"))?,
            overlap: self.overlap,
            least: self.min_seed_voxels,
            wrap: self.wrap,
            bridge: self.gap == Break::Bridge,
            delay: self.max_delay,
            dense: self.dense_frames_max,
        })
    }

    /// Whether a spot is given.
    fn wanted(&self, blob: &Blob) -> bool {
        (0..3).all(|k| blob.size[k] >= self.min_blob_size[k])
            && self.max_blob_size.is_none_or(|most| (0..3).all(|k| blob.size[k] <= most[k]))
            && !(self.drop_oversize && blob.oversize)
            && !(self.drop_edge && blob.edge)
    }

    pub(super) fn emit(&mut self, mut blobs: Vec<Blob>, emit: &mut Emit<SegmentOut>) -> Result<()> {
        blobs.retain(|b| self.wanted(b));
        for blob in &mut blobs {
            let frames = blob.size[0] as u64;
            blob.long = self.state.covered.is_some_and(|covered| 2 * frames > u64::from(covered));
            if blob.long {
                let [spots, longest] = self.state.long;
                self.state.long = [spots + 1, longest.max(frames)];
            }
        }
        // At the end of a ring many spots come at once: in parts, so that they are not all there twice.
        let mut left = blobs.into_iter().peekable();
        while left.peek().is_some() {
            let (mut part, mut voxels) = (vec![], 0);
            while let Some(blob) = left.next_if(|b| voxels == 0 || voxels + b.data.len() <= VOXELS) {
                voxels += blob.data.len();
                part.push(blob);
            }
            let span = Span { axis: Key::Static("spot"), start: 0, len: part.len() as u64 };
            emit.put(span, SegmentOut { spots: table(&part)? });
        }
        Ok(())
    }
}
