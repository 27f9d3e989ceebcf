//! Pixels: what the loops need to know of a real dtype.

use isard_core::prelude::*;

/// A real dtype as the loops see it.
pub(crate) trait Pixel: Element + PartialOrd + Copy + 'static {
    /// The value that marks a bad pixel unless the user names another.
    const MARK: Self;
    /// Nothing is lower.
    const LOWEST: Self;
    /// Nothing is higher.
    const HIGHEST: Self;
    /// What stands where there was nothing to take a maximum of.
    const NOTHING: Self;

    /// The smallest value that is not below a bound; none when every value is.
    fn at_least(bound: f64) -> Option<Self>;
    /// The largest value that is not above a bound; none when every value is.
    fn at_most(bound: f64) -> Option<Self>;
    /// The value of a number, when there is exactly such a value.
    fn exact(number: f64) -> Option<Self>;
    /// Whether it is no number.
    fn missing(self) -> bool;
    /// As a double; exact but for 64-bit integers beyond 2^53.
    fn float(self) -> f64;
    /// As a 64-bit integer; exact for integers of up to 32 bits.
    fn int(self) -> i64;
    /// As a 128-bit integer; exact for integers.
    fn wide(self) -> i128;
    /// The mean of values; integers are rounded to the nearest, halves up.
    fn mean(values: &[Self]) -> Self;
}

macro_rules! integers {
    ($($t:ty => $mark:expr;)*) => {$(
        impl Pixel for $t {
            const MARK: Self = $mark;
            const LOWEST: Self = <$t>::MIN;
            const HIGHEST: Self = <$t>::MAX;
            const NOTHING: Self = 0;

            fn at_least(bound: f64) -> Option<Self> {
                // The cast to i128 holds at its ends, far outside of every dtype.
                let bound = bound.ceil() as i128;
                (bound <= Self::MAX as i128).then(|| bound.max(Self::MIN as i128) as Self)
            }
            fn at_most(bound: f64) -> Option<Self> {
                let bound = bound.floor() as i128;
                (bound >= Self::MIN as i128).then(|| bound.min(Self::MAX as i128) as Self)
            }
            fn exact(number: f64) -> Option<Self> {
                let whole = number as i128;
                (whole as f64 == number).then(|| Self::try_from(whole).ok()).flatten()
            }
            fn missing(self) -> bool {
                false
            }
            fn float(self) -> f64 {
                self as f64
            }
            fn int(self) -> i64 {
                self as i64
            }
            fn wide(self) -> i128 {
                self as i128
            }
            fn mean(values: &[Self]) -> Self {
                let n = values.len() as i128;
                let sum: i128 = values.iter().map(|v| *v as i128).sum();
                (2 * sum + n).div_euclid(2 * n) as Self
            }
        }
    )*};
}
integers! {
    u8 => u8::MAX; u16 => u16::MAX; u32 => u32::MAX; u64 => u64::MAX; i8 => -1; i16 => -1; i32 => -1; i64 => -1;
}

macro_rules! floats {
    ($($t:ty),*) => {$(
        impl Pixel for $t {
            const MARK: Self = <$t>::NAN;
            const LOWEST: Self = <$t>::NEG_INFINITY;
            const HIGHEST: Self = <$t>::INFINITY;
            const NOTHING: Self = <$t>::NAN;

            fn at_least(bound: f64) -> Option<Self> {
                let near = bound as $t;
                Some(if f64::from(near) < bound { near.next_up() } else { near })
            }
            fn at_most(bound: f64) -> Option<Self> {
                let near = bound as $t;
                Some(if f64::from(near) > bound { near.next_down() } else { near })
            }
            fn exact(number: f64) -> Option<Self> {
                let near = number as $t;
                (f64::from(near) == number || number.is_nan()).then_some(near)
            }
            fn missing(self) -> bool {
                self.is_nan()
            }
            fn float(self) -> f64 {
                f64::from(self)
            }
            fn int(self) -> i64 {
                self as i64
            }
            fn wide(self) -> i128 {
                self as i128
            }
            fn mean(values: &[Self]) -> Self {
                let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
                (sum / values.len() as f64) as Self
            }
        }
    )*};
}
floats!(f32, f64);

/// The values from `low` to `high`, both in; none when `low` is above `high`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Band<T> {
    low: T,
    high: T,
}

impl<T: Pixel> Band<T> {
    /// The values that are not below one bound and not above the other.
    pub(crate) fn new(below: Option<f64>, above: Option<f64>) -> Band<T> {
        let low = below.map_or(Some(T::LOWEST), T::at_least);
        let high = above.map_or(Some(T::HIGHEST), T::at_most);
        match (low, high) {
            (Some(low), Some(high)) => Band { low, high },
            _ => Band { low: T::HIGHEST, high: T::LOWEST },
        }
    }

    /// Whether a value is in; a NaN never is.
    #[inline(always)]
    pub(crate) fn has(self, x: T) -> bool {
        (x >= self.low) & (x <= self.high)
    }
}

/// Says that bounds which leave no value are a fault.
pub(crate) fn check_bounds(below: Option<f64>, above: Option<f64>, faults: &mut Faults) {
    if let (Some(below), Some(above)) = (below, above)
        && below > above
    {
        faults.add_with_help(
            "above",
            format!("values below {below} and above {above} are bad, so none is good"),
            "`above` is the larger of the two",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_met_exactly_in_every_dtype() {
        assert_eq!((u8::at_least(3.2), u8::at_most(3.2)), (Some(4), Some(3)));
        assert_eq!((u8::at_least(-5.0), u8::at_most(-5.0)), (Some(0), None));
        assert_eq!((u8::at_least(255.5), u8::at_most(1e300)), (None, Some(255)));
        // 2^53 + 1 has no double: the bound 2^53 must still tell it from 2^53.
        assert!(!Band::<i64>::new(None, Some(9_007_199_254_740_992.0)).has(9_007_199_254_740_993));
        // 0.1 as f32 is above 0.1, so it is not below the bound; its lower neighbour is.
        let band = Band::<f32>::new(Some(0.1), None);
        assert!(band.has(0.1f32) && !band.has(0.1f32.next_down()));
        assert!(!band.has(f32::NAN) && !Band::<u16>::new(Some(1e6), None).has(u16::MAX));
    }

    #[test]
    fn integer_means_round_to_the_nearest() {
        assert_eq!(u8::mean(&[255, 254]), 255);
        assert_eq!(i16::mean(&[-1, -2]), -1);
        assert_eq!(i16::mean(&[-1, -2, -2]), -2);
        assert_eq!(u64::mean(&[u64::MAX, u64::MAX]), u64::MAX);
    }

    #[test]
    fn only_exact_numbers_become_pixels() {
        assert_eq!((u8::exact(255.0), u8::exact(256.0), u8::exact(1.5)), (Some(255), None, None));
        assert_eq!((f32::exact(0.5), f32::exact(0.1), i8::exact(f64::NAN)), (Some(0.5), None, None));
    }
}
