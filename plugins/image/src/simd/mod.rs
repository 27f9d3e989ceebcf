//! Loops compiled once more for wider vectors, and chosen at run time.

mod median;
#[cfg(target_arch = "x86_64")]
mod three;
mod total;

use std::sync::OnceLock;

pub(crate) use median::{Middle, Rows, Scratch, any_missing, median_row};
pub(crate) use total::totals;

/// What the processor offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing that is used here.
    Plain,
    /// 256 bits.
    Avx2,
    /// 512 bits, with words and bytes.
    Avx512,
}

impl Level {
    /// The best level of this machine, or what `ISARD_SIMD` allows of it: `plain`, `avx2`.
    pub(crate) fn best() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Level::there().min(Level::allowed()))
    }

    /// What the environment allows: every level gives the same bits, so this is for measurements.
    fn allowed() -> Level {
        match std::env::var("ISARD_SIMD").as_deref() {
            Ok("plain") => Level::Plain,
            Ok("avx2") => Level::Avx2,
            _ => Level::Avx512,
        }
    }

    fn there() -> Level {
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
}
