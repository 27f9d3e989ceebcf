//! Bins of equal width, and the limits they stand between.

/// What the upper limit is stretched by, so that the last value falls into the last bin: 1 + 2^-23.
const STRETCH: f64 = 1.0 + f32::EPSILON as f64;

/// Pi in single precision, where azimuths end.
const PI_SINGLE: f64 = std::f32::consts::PI as f64;

/// Bins of equal width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Lower edge of the first bin.
    pub lower: f64,
    /// Width of a bin.
    pub width: f64,
    /// Bins.
    pub n: usize,
    /// What the upper limit was before it was stretched: outlines on maps are cut there.
    pub end: f64,
}

/// The smallest and the largest of what was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Limits {
    /// Nothing was seen yet.
    pub(crate) const NONE: Limits = Limits { low: f64::INFINITY, high: f64::NEG_INFINITY };

    /// Takes a stretch of values in; one that is not finite says nothing about limits.
    pub(crate) fn see(&mut self, low: f64, high: f64) {
        if low.is_finite() && high.is_finite() {
            self.low = self.low.min(low);
            self.high = self.high.max(high);
        }
    }

    /// The limits, if anything was seen.
    pub(crate) fn found(self) -> Option<Limits> {
        (self.low <= self.high).then_some(self)
    }

    /// Radial limits of a unit that may not be negative.
    pub(crate) fn positive(mut self, positive: bool) -> Limits {
        if positive {
            self.low = self.low.max(0.0);
        }
        self
    }

    /// Azimuthal limits, cut to one turn.
    pub(crate) fn turn(self, cut_at_zero: bool) -> Limits {
        let (low, high) = if cut_at_zero { (0.0, 2.0 * PI_SINGLE) } else { (-PI_SINGLE, PI_SINGLE) };
        Limits { low: self.low.max(low), high: self.high.min(high) }
    }
}

impl Axis {
    /// So many bins between limits, the upper one stretched a little.
    pub(crate) fn new(limits: Limits, n: usize) -> Axis {
        let Limits { low, high: end } = limits;
        let high = if end > 0.0 { end * STRETCH } else { end / STRETCH };
        Axis { lower: low, width: (high - low) / n as f64, n, end }
    }

    /// The upper edge of the last bin.
    pub fn upper(&self) -> f64 {
        self.lower + self.width * self.n as f64
    }

    /// A value in units of bins from the lower edge.
    #[inline(always)]
    pub fn place(&self, value: f64) -> f64 {
        (value - self.lower) / self.width
    }

    /// The middles of the bins, times a scale.
    pub fn centres(&self, scale: f64) -> Vec<f64> {
        (0..self.n).map(|k| (self.lower + (k as f64 + 0.5) * self.width) * scale).collect()
    }
}
