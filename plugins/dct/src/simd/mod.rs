//! Kernels chosen at run time, each with a scalar twin that it is tested against.

mod lit;

pub(crate) use lit::{lit_f32, lit_i16, lit_plain, lit_u16};

/// What the processor offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing that is used here.
    Plain,
    /// 256 bits.
    Avx2,
    /// 512 bits, with words and bytes.
    Avx512,
}

impl Level {
    /// The best level of this machine.
    pub fn best() -> Level {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                return Level::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Level::Avx2;
            }
        }
        Level::Plain
    }

    /// The levels of this machine, worst first.
    pub fn all() -> Vec<Level> {
        [Level::Plain, Level::Avx2, Level::Avx512].into_iter().filter(|l| *l <= Level::best()).collect()
    }
}
