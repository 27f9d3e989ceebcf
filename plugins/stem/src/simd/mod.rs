//! Loops over pixels for wide registers, chosen at run time, each with a plain twin.

mod digits;
mod masked;
mod moments;
mod product;

pub(crate) use digits::Digits;
pub(crate) use masked::{Bits, masked_sums};
pub(crate) use moments::moments;
pub(crate) use product::{Weights, products};

/// What the processor offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing that is used here.
    Plain,
    /// 256 bits.
    Avx2,
    /// 512 bits, with words, bytes and masks.
    Avx512,
    /// The same, and sums of four products of bytes at once.
    Vnni,
}

impl Level {
    /// The best level of this machine.
    pub(crate) fn best() -> Level {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                return if is_x86_feature_detected!("avx512vnni") { Level::Vnni } else { Level::Avx512 };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Level::Avx2;
            }
        }
        Level::Plain
    }

    /// The levels of this machine, for tests.
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = Level> {
        [Level::Plain, Level::Avx2, Level::Avx512, Level::Vnni].into_iter().filter(|l| *l <= Level::best())
    }
}
