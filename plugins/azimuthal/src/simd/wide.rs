//! Loops compiled for the widest registers that the processor has.

/// A loop over arrays; its `run` must be inlined into the function that is compiled for a processor.
pub(crate) trait Work {
    /// Does it.
    fn run(self);
}

/// Does some work in the widest registers that there are; every level gives the same numbers.
pub(crate) fn widest(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { wide(work) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { middle(work) };
        }
    }
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2")]
unsafe fn wide(work: impl Work) {
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn middle(work: impl Work) {
    work.run();
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Roots<'a>(&'a mut [f64]);

    impl Work for Roots<'_> {
        #[inline(always)]
        fn run(self) {
            self.0.iter_mut().for_each(|v| *v = (*v * 3.0 + 1.0).sqrt() / *v);
        }
    }

    #[test]
    fn every_level_gives_the_same() {
        let start: Vec<f64> = (1..1000).map(|k| f64::from(k) * 0.37).collect();
        let of = |work: &dyn Fn(Roots)| {
            let mut values = start.clone();
            work(Roots(&mut values));
            values
        };
        let scalar = of(&|work| work.run());
        assert_eq!(scalar, of(&|work| widest(work)));
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function was compiled for.
            assert_eq!(scalar, of(&|work| unsafe { middle(work) }));
        }
    }
}
