//! How many requests an address may make.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Addresses that are remembered at most.
const ADDRESSES: usize = 4096;
/// Wrong tokens in a row before an address has to pause, and how many seconds each costs after that.
const WRONG: f64 = 10.0;
const WRONG_PAUSE: f64 = 5.0;

/// A bucket of tokens for each address.
pub(super) struct Limiter {
    rate: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

struct Bucket {
    left: f64,
    wrong: f64,
    at: Instant,
}

impl Limiter {
    pub fn new(rate: u32) -> Limiter {
        Limiter { rate: f64::from(rate), buckets: Mutex::default() }
    }

    /// Whether an address may make a request now; else how many seconds it should wait.
    pub fn take(&self, address: IpAddr) -> Result<(), f64> {
        if self.rate <= 0.0 {
            return Ok(());
        }
        self.with(address, |bucket, rate| {
            if bucket.left >= 1.0 {
                bucket.left -= 1.0;
                Ok(())
            } else {
                Err((1.0 - bucket.left) / rate)
            }
        })
    }

    /// Whether an address may show a token; too many wrong ones cost a pause.
    pub fn may_show(&self, address: IpAddr) -> Result<(), f64> {
        self.with(address, |bucket, _| match bucket.wrong {
            // It sinks from the first moment on: the tenth one leaves a little less than ten.
            wrong if wrong > WRONG - 1.0 => Err((wrong - WRONG + 1.0) * WRONG_PAUSE),
            _ => Ok(()),
        })
    }

    /// Hears of a wrong token.
    pub fn wrong(&self, address: IpAddr) {
        self.with(address, |bucket, _| bucket.wrong += 1.0);
    }

    fn with<T>(&self, address: IpAddr, work: impl FnOnce(&mut Bucket, f64) -> T) -> T {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Two seconds' worth may come at once.
        let most = (2.0 * self.rate).max(1.0);
        if buckets.len() >= ADDRESSES && !buckets.contains_key(&address) {
            buckets.retain(|_, b| now.duration_since(b.at).as_secs_f64() < 10.0);
            if buckets.len() >= ADDRESSES {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(address).or_insert(Bucket { left: most, wrong: 0.0, at: now });
        let passed = now.duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + passed * self.rate).min(most);
        bucket.wrong = (bucket.wrong - passed / WRONG_PAUSE).max(0.0);
        bucket.at = now;
        work(bucket, self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_slowed_down_and_others_are_not() {
        let limiter = Limiter::new(10);
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let passed = (0..100).filter(|_| limiter.take(a).is_ok()).count();
        assert!((20..30).contains(&passed), "{passed}");
        assert!(limiter.take(a).is_err_and(|pause| pause <= 0.1));
        assert!(limiter.take(b).is_ok());
        (0..10).for_each(|_| limiter.wrong(a));
        assert!(limiter.may_show(a).is_err() && limiter.may_show(b).is_ok());
        let free = Limiter::new(0);
        assert!((0..100_000).all(|_| free.take(a).is_ok()));
    }
}
