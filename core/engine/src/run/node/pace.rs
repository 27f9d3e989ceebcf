//! A source that is played at a given rate, as a detector would give its frames.

use std::time::{Duration, Instant};

/// The rate of a source, and how it was kept.
pub struct Pace {
    rate: f64,
    /// The first frame and when it was due.
    begun: Option<(u64, Instant)>,
    /// How far behind the source was at most.
    behind: Duration,
}

impl Pace {
    /// So many frames a second.
    pub fn new(rate: f64) -> Pace {
        Pace { rate, begun: None, behind: Duration::ZERO }
    }

    /// How many frames from `next` on are due; an error is how long until one is.
    pub fn due(&mut self, next: u64) -> Result<u64, Duration> {
        let (from, at) = *self.begun.get_or_insert_with(|| (next, Instant::now()));
        let passed = at.elapsed().as_secs_f64();
        let when = next.saturating_sub(from) as f64 / self.rate;
        if when > passed {
            return Err(Duration::from_secs_f64(when - passed));
        }
        self.behind = self.behind.max(Duration::from_secs_f64(passed - when));
        Ok(((passed * self.rate) as u64 + from + 1).saturating_sub(next).max(1))
    }

    /// Says how the rate was kept, at the end.
    pub fn report(&self, stage: &str, next: u64) {
        let Some((from, at)) = self.begun else { return };
        let reached = next.saturating_sub(from) as f64 / at.elapsed().as_secs_f64();
        let (asked, behind_s) = (self.rate, self.behind.as_secs_f64());
        // A short stumble is made good; one that lasts means that the stages behind are too slow.
        if reached < 0.98 * asked && self.behind > Duration::from_millis(200) {
            tracing::warn!(
                stage,
                asked,
                reached,
                behind_s,
                "The pace was not kept: the stages behind are slower."
            );
        } else {
            tracing::info!(stage, asked, reached, behind_s, "The pace was kept.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_when_their_time_has_come() {
        let mut pace = Pace::new(100.0);
        assert_eq!(pace.due(5), Ok(1));
        let (mut slow, before) = (Pace::new(1.0), Instant::now());
        assert_eq!(slow.due(5), Ok(1));
        // Twenty seconds after the first frame, of which no more have passed than since before it.
        let (left, whole) = (slow.due(25).unwrap_err(), Duration::from_secs(20));
        assert!(left <= whole && left + before.elapsed() + Duration::from_micros(1) >= whole, "{left:?}");
        std::thread::sleep(Duration::from_millis(35));
        // Whoever was held up gets all that is due at once.
        assert!(pace.due(6).unwrap() >= 3);
    }
}
