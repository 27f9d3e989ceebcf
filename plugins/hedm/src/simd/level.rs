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
            if has!("popcnt")
                && has!("bmi1")
                && has!("bmi2")
                && has!("avx512f")
                && has!("avx512bw")
                && has!("avx512dq")
                && has!("avx512vl")
            {
                return Level::Widest;
            }
            if has!("avx2") && has!("popcnt") && has!("bmi1") && has!("bmi2") {
                return Level::Wide;
            }
        }
        Level::Plain
    })
}

/// Does work that counts and shifts bits, with the instructions for it where the processor has them.
///
/// What is to gain from them must be inlined into `work`.
#[inline(always)]
pub(crate) fn counting<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if level() >= Level::Wide {
        // SAFETY: the processor counts and shifts bits by single instructions.
        return unsafe { counting_fast(work) };
    }
    work()
}

/// # Safety
/// The processor must have AVX2, POPCNT, BMI1 and BMI2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt,bmi1,bmi2")]
unsafe fn counting_fast<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_alike() {
        for k in 0..64u32 {
            let word = 0x9e37_79b9_7f4a_7c15u64.rotate_left(k) >> (k % 7);
            let plain = (0..64).filter(|b| word >> b & 1 != 0).count() as u32;
            assert_eq!(
                counting(
                    #[inline(always)]
                    || word.count_ones()
                ),
                plain
            );
        }
    }
}
