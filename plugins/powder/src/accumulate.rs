//! The sum of frames, pixel by pixel, that a calibration works on.

/// Sums and counts of the frames seen so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Accumulator {
    pub(crate) shape: [usize; 2],
    pub(crate) sum: Vec<f64>,
    pub(crate) count: Vec<u32>,
    pub(crate) variance: Option<Vec<f64>>,
    pub(crate) masked: Vec<bool>,
    pub(crate) frames: u64,
}

impl Accumulator {
    /// An empty sum for frames of this many rows and columns.
    pub fn new(shape: [usize; 2]) -> Self {
        let n = shape[0] * shape[1];
        Self {
            shape,
            sum: vec![0.0; n],
            count: vec![0; n],
            variance: None,
            masked: vec![false; n],
            frames: 0,
        }
    }

    /// Exclude pixels, now and for what was already summed.
    ///
    /// # Panics
    /// When the mask has another size than the frames.
    pub fn mask(&mut self, invalid: impl IntoIterator<Item = bool>) {
        let mut n = 0;
        for (masked, invalid) in self.masked.iter_mut().zip(invalid) {
            *masked |= invalid;
            n += 1;
        }
        assert_eq!(n, self.masked.len(), "the mask has the size of the frames");
    }

    /// Add a frame of counts; negative and non-finite values are invalid and are not counted.
    ///
    /// A value of `saturation` or more excludes its pixel for good: leaving out only the full frames would
    /// bend the mean.
    ///
    /// # Panics
    /// When the frame has another size.
    pub fn add<T: Copy + Into<f64>>(&mut self, frame: &[T], saturation: Option<f64>) {
        assert_eq!(frame.len(), self.sum.len(), "the frame has the accumulator's size");
        let limit = saturation.unwrap_or(f64::INFINITY);
        for (i, &value) in frame.iter().enumerate() {
            let value: f64 = value.into();
            if value >= limit {
                self.masked[i] = true;
            } else if value >= 0.0 {
                self.sum[i] += value;
                self.count[i] += 1;
                if let Some(variance) = &mut self.variance {
                    variance[i] += value;
                }
            }
        }
        self.frames += 1;
    }

    /// Add a frame whose noise is not that of counts, with the variance of each pixel.
    ///
    /// From then on every frame must come with its variance, or with counts, whose variance is their sum.
    ///
    /// # Panics
    /// When frame or variance have another size.
    pub fn add_with_variance<T: Copy + Into<f64>>(
        &mut self,
        frame: &[T],
        variance: &[f64],
        saturation: Option<f64>,
    ) {
        assert_eq!(variance.len(), self.sum.len(), "the variance has the accumulator's size");
        // Frames summed so far were counts.
        let mut total = self.variance.take().unwrap_or_else(|| self.sum.clone());
        let before = self.count.clone();
        self.add(frame, saturation);
        for (i, total) in total.iter_mut().enumerate() {
            if self.count[i] > before[i] {
                *total += variance[i];
            }
        }
        self.variance = Some(total);
    }

    /// Add another sum of frames of the same size.
    ///
    /// # Panics
    /// When the sizes differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.shape, other.shape, "both sums are of frames of one size");
        if self.variance.is_some() || other.variance.is_some() {
            let mut total = self.variance.take().unwrap_or_else(|| self.sum.clone());
            let theirs = other.variance.as_ref().unwrap_or(&other.sum);
            total.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
            self.variance = Some(total);
        }
        for i in 0..self.sum.len() {
            self.sum[i] += other.sum[i];
            self.count[i] += other.count[i];
            self.masked[i] |= other.masked[i];
        }
        self.frames += other.frames;
    }

    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Number of frames added.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Sum of one pixel's valid values.
    pub fn sum(&self, i: usize) -> f64 {
        self.sum[i]
    }

    /// How many frames count at one pixel; 0 where it is excluded.
    pub fn count(&self, i: usize) -> u32 {
        if self.masked[i] { 0 } else { self.count[i] }
    }

    /// Variance of one pixel's sum, where it is not that of counts.
    pub fn variance(&self, i: usize) -> Option<f64> {
        self.variance.as_ref().map(|v| v[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_values_do_not_count_and_full_ones_never_again() {
        let mut acc = Accumulator::new([1, 4]);
        acc.add(&[5i32, -2, 7, 100], Some(100.0));
        acc.add(&[6i32, 3, -1, 1], Some(100.0));
        acc.mask([false, false, false, false]);
        let got: Vec<_> = (0..4).map(|i| (acc.sum(i), acc.count(i))).collect();
        assert_eq!(got, [(11.0, 2), (3.0, 1), (7.0, 1), (1.0, 0)]);
        assert_eq!(acc.frames(), 2);
    }

    #[test]
    fn merged_sums_are_the_sum_of_all() {
        let frames = [[1u16, 2, 3], [4, 5, 6], [7, 8, 9]];
        let mut whole = Accumulator::new([1, 3]);
        frames.iter().for_each(|f| whole.add(f, Some(9.0)));
        let (mut a, mut b) = (Accumulator::new([1, 3]), Accumulator::new([1, 3]));
        a.add(&frames[0], Some(9.0));
        frames[1..].iter().for_each(|f| b.add(f, Some(9.0)));
        a.merge(&b);
        assert_eq!(a, whole);
    }

    #[test]
    fn given_variances_add_to_those_of_counts() {
        let mut acc = Accumulator::new([1, 2]);
        acc.add(&[4u16, 9], None);
        assert_eq!(acc.variance(0), None);
        acc.add_with_variance(&[1.0f64, -1.0], &[0.25, 0.25], None);
        assert_eq!((acc.variance(0), acc.variance(1)), (Some(4.25), Some(9.0)));
        acc.add(&[2u16, 1], None);
        assert_eq!((acc.variance(0), acc.variance(1)), (Some(6.25), Some(10.0)));
    }
}
