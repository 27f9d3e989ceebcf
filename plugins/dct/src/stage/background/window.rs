//! Which frames a window takes, when it is whole, and which frames no window takes any more.

use std::ops::Range;

use super::*;

impl Background {
    /// The window, whichever method it belongs to.
    pub(super) fn span(&self) -> Window {
        match self.method {
            Method::Moving => Window { length: self.window, stride: self.stride, edge: self.edge },
            Method::Interval => {
                let interval = self.interval.max(1);
                Window { length: self.range / interval + 1, stride: interval, edge: self.edge }
            }
        }
    }

    /// How many frames a window covers.
    pub(super) fn covered(&self) -> u32 {
        let window = self.span();
        (window.length * window.stride) as u32
    }

    /// The frame that the window of another is centred on.
    pub(super) fn centre(&self, frame: u64) -> u64 {
        match self.method {
            Method::Moving => frame,
            Method::Interval => {
                let interval = self.interval.max(1) as u64;
                frame / interval * interval + interval / 2
            }
        }
    }

    /// An error when the window is longer than a scan that is a ring.
    pub(super) fn fits(&self, frames: u64) -> Result<()> {
        let window = self.span();
        let all = ((window.length - 1) * window.stride + 1) as u64;
        if self.edge == Edge::Wrap && all > frames {
            let error = Error::recipe(format!(
                "the window covers {all} frames, and the scan that wraps around has {frames}"
            ));
            return Err(error.help("make `window` or `stride` smaller, or choose `edge = \"shift\"`"));
        }
        if self.method == Method::Interval && !frames.is_multiple_of(self.interval.max(1) as u64) {
            let text = format!("{frames} frames are no whole number of intervals of {}", self.interval);
            return Err(Error::recipe(text).help("choose an `interval` that divides the number of frames"));
        }
        Ok(())
    }

    /// The first frame whose window begins within the scan, with `wrap`; the first of all otherwise.
    pub(super) fn begin(&self) -> u64 {
        if self.edge != Edge::Wrap {
            return 0;
        }
        let reach = self.span().reach() as u64;
        match self.method {
            Method::Moving => reach,
            Method::Interval => (0..).find(|k| self.centre(*k) >= reach).unwrap_or(0),
        }
    }

    /// The frames from the next in turn whose windows are there, whatever comes.
    pub(super) fn ready(&self, batch: u64) -> Range<u64> {
        let window = self.span();
        let (reach, stride) = (window.reach() as u64, window.stride as u64);
        let from = self.state.next.max(self.begin());
        let newest = self.state.frames.end.saturating_sub(1);
        let there = |k: u64| {
            let centre = self.centre(k);
            // A window that is moved inwards ends where the first that fits does.
            let last = match self.edge {
                Edge::Shift if centre < reach => 2 * reach + centre % stride,
                _ => centre + reach,
            };
            // A background of one frame may lie before the frame itself.
            last.max(k) <= newest
        };
        let end = (from..from + batch).take_while(|k| there(*k)).count() as u64;
        from..from + end
    }

    /// Lets go of frames that no window takes any more.
    pub(super) fn forget(&mut self, cx: &Cx) -> Result<()> {
        let window = self.span();
        let before = self.centre(self.state.next).saturating_sub((window.reach() + window.stride) as u64);
        // The first windows of a ring come last, and with them those that reach over its end.
        let more = if self.method == Method::Interval { self.interval } else { 0 };
        let head = if self.edge == Edge::Wrap { (2 * window.reach() + more) as u64 } else { 0 };
        self.state.factors.retain(|number, _| *number >= before || *number < head);
        self.state.frames.forget(cx, |number| number >= before, |number| number < head)
    }

    /// At the end of a ring: lets go of frames that only windows before the given frame take.
    pub(super) fn let_go(&mut self, cx: &Cx, next: u64, tail: bool) -> Result<()> {
        let window = self.span();
        if window.edge != Edge::Wrap || self.method == Method::Interval {
            return Ok(());
        }
        let reach = window.reach() as u64;
        // The windows of the last frames reach over the end; then those of the first ones, which come last.
        let end = self.state.frames.end;
        let kept = move |number: u64| match tail {
            true => number + reach >= next || number < 2 * reach,
            false => number + reach >= next && number < 2 * reach || number + reach >= end + next,
        };
        // What sleeps is woken when its turn comes; what is awake is not packed again.
        self.state.frames.forget(cx, kept, |_| false)
    }
}
