//! Frames come, wait for their windows, and go.

use std::collections::BTreeMap;

use super::super::frames::{lost, size};
use super::super::full;
use super::super::raw::Frames;
use super::*;

/// What is kept between frames.
#[derive(Default)]
pub(super) struct State {
    pub(super) frames: Frames,
    /// The factor of each frame that is kept.
    pub(super) factors: BTreeMap<u64, f32>,
    /// What each pixel loses, when frames come raw; no number where it is invalid.
    pub(super) dark: Option<Array>,
    /// The next frame in turn.
    pub(super) next: u64,
    /// Frames with full pixels, and the first of them.
    pub(super) full: Option<(u64, u64)>,
    /// The largest value of the dtype that frames come in; none before the first.
    pub(super) most: Option<f32>,
}

impl Fold for Background {
    fn lag(&self) -> Lag {
        let reach = self.span().reach() as u64;
        match self.edge {
            Edge::Wrap => Lag::Rotated,
            _ => Lag::Kept { lag: 2 * reach + (self.batch.unwrap_or(MOST_BATCH) + self.interval) as u64 },
        }
    }

    fn push(
        &mut self,
        cx: &Cx,
        span: &Span,
        input: BackgroundIn,
        emit: &mut Emit<BackgroundOut>,
    ) -> Result<()> {
        self.begin_raw(&input)?;
        if let Some(factor) = &input.factor {
            for (k, factor) in factor.to_f64()?.into_iter().enumerate() {
                self.state.factors.insert(span.start + k as u64, factor as f32);
            }
        }
        self.state.most = Some(full::most(input.image.dtype()));
        self.state.frames.take(span.start, &input.image)?;
        let batch = self.batch(self.state.frames.bytes()) as u64;
        loop {
            let ready = self.ready(batch);
            if ready.end.saturating_sub(ready.start) < batch {
                return Ok(());
            }
            let end = ready.start + batch;
            self.emit(cx, ready.start..end, None, emit)?;
            self.state.next = end;
            self.forget(cx)?;
        }
    }

    fn gap(&mut self, _: &Cx, gap: &Gap, _: &mut Emit<BackgroundOut>) -> Result<()> {
        self.state.frames.end = self.state.frames.end.max(gap.span.end());
        Ok(())
    }

    fn finish(&mut self, cx: &Cx, emit: &mut Emit<BackgroundOut>) -> Result<()> {
        let frames = self.state.frames.end;
        if self.state.frames.held.is_empty() && self.state.frames.awake() {
            return Ok(());
        }
        self.fits(frames)?;
        let from = self.state.next.max(self.begin());
        let batch = self.batch(self.state.frames.bytes()) as u64;
        // The first frames of a ring come last.
        let wrapped = if self.edge == Edge::Wrap { self.begin().min(frames) } else { 0 };
        for part in [from..frames, 0..wrapped] {
            let mut at = part.start;
            while at < part.end {
                let end = part.end.min(at + batch);
                self.emit(cx, at..end, Some(frames), emit)?;
                at = end;
                self.let_go(cx, at, part.end == frames)?;
            }
        }
        if let Some((full, first)) = self.state.full {
            tracing::warn!(
                stage = cx.stage(),
                frames = full,
                first,
                "Pixels are saturated: the intensity of spots there is too low; `saturated` counts them."
            );
        }
        self.state = State::default();
        Ok(())
    }

    fn save(&self) -> Result<Dict> {
        let factors: Vec<f64> =
            self.state.factors.iter().flat_map(|(n, f)| [*n as f64, f64::from(*f)]).collect();
        let state = self.state.frames.save().with("next", self.state.next as i64);
        let (full, first) = self.state.full.unwrap_or_default();
        let state = state.with("factors", Array::from_slice(&factors));
        let state = state.with("full", Array::from_slice(&[full, first]));
        let state = state.with("most", f64::from(self.state.most.unwrap_or(f32::NAN)));
        Ok(match &self.state.dark {
            Some(dark) => state.with("dark", dark.clone()),
            None => state,
        })
    }

    fn load(&mut self, state: Dict) -> Result<()> {
        self.state.frames.load(&state)?;
        self.state.factors.clear();
        if let Value::Array(factors) = state.need("factors")? {
            let pairs = factors.as_slice::<f64>()?.chunks_exact(2);
            self.state.factors = pairs.map(|p| (p[0] as u64, p[1] as f32)).collect();
        }
        self.state.full = match state.need("full")? {
            Value::Array(full) => match full.as_slice::<u64>()? {
                [0, _] => None,
                [frames, first] => Some((*frames, *first)),
                _ => return Err(Error::internal("counts of full frames were saved as other values")),
            },
            _ => None,
        };
        self.state.most = state.need("most")?.number().map(|most| most as f32);
        self.state.dark = match state.get("dark") {
            Some(Value::Array(dark)) => Some(dark.clone()),
            _ => None,
        };
        self.state.next = state.need("next")?.number().unwrap_or(0.0) as u64;
        Ok(())
    }
}

impl Background {
    /// Puts dark and mask together, when frames come raw.
    fn begin_raw(&mut self, input: &BackgroundIn) -> Result<()> {
        if self.state.dark.is_some()
            || !(input.factor.is_some() || input.dark.is_some() || input.mask.is_some())
        {
            return Ok(());
        }
        self.floats_only()?;
        let [_, rows, columns] = size(&input.image)?;
        let lost = lost(input.dark.as_ref(), input.mask.as_ref(), 0.0, rows, columns)?;
        self.state.dark = Some(Array::from_slice(&lost));
        Ok(())
    }
}
