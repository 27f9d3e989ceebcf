//! What the processor can do.

use std::sync::OnceLock;

/// The widest kernels that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Any processor.
    Plain,
    /// 256 bits.
    Wide,
    /// 512 bits.
    Widest,
}

/// What this processor can do.
pub(crate) fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                return Level::Widest;
            }
            if has!("avx2") {
                return Level::Wide;
            }
        }
        Level::Plain
    })
}
