//! What jobs have cost, in the text that users know.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use isard_core::store::utc_now;

use crate::state::State;

/// Sums over all jobs that have ended: they do not grow with the number of jobs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    n: f64,
    id: f64,
    id2: f64,
    time: f64,
    id_time: f64,
}

impl Sums {
    pub fn add(&mut self, id: u64, time: f64) {
        let id = id as f64;
        self.n += 1.0;
        self.id += id;
        self.id2 += id * id;
        self.time += time;
        self.id_time += id * time;
    }

    /// Run time against id as a straight line: where it begins, and its slope.
    fn line(&self) -> (f64, f64) {
        let spread = self.n * self.id2 - self.id * self.id;
        if self.n < 2.0 || spread <= 0.0 {
            return (if self.n > 0.0 { self.time / self.n } else { 0.0 }, 0.0);
        }
        let slope = (self.n * self.id_time - self.id * self.time) / spread;
        ((self.time - slope * self.id) / self.n, slope)
    }
}

/// Collects statistics, and keeps the last text.
pub(crate) struct Statistics {
    pub sums: Mutex<Sums>,
    last: Mutex<String>,
    begun: Instant,
}

impl Default for Statistics {
    fn default() -> Self {
        Statistics { sums: Mutex::default(), last: Mutex::default(), begun: Instant::now() }
    }
}

impl Statistics {
    /// Seconds since the server began.
    pub fn up(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Makes the text from the sums and the jobs that are still in memory: id, plugin, state, run time.
    pub fn collect(&self, jobs: &[(u64, String, State, f64)], total: u64) {
        let begun = Instant::now();
        let sums = *self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = table(&sums, jobs, total, self.up());
        // Writing to memory does not fail.
        let _ = writeln!(
            text,
            "Statistics collected on {}, the collect took: {:.3}s",
            utc_now(),
            begun.elapsed().as_secs_f64()
        );
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// The last text; empty before the first.
    pub fn last(&self) -> String {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn table(sums: &Sums, jobs: &[(u64, String, State, f64)], total: u64, up: f64) -> String {
    let rule = "_".repeat(80);
    let mut text = format!("{rule}\nId\t|\tName\t|\tStatus\t|\tRun-time (sec)\n{rule}\n");
    let older = total.saturating_sub(jobs.len() as u64);
    if older > 0 {
        let _ =
            writeln!(text, "({older} older jobs are no longer in memory; their run times are in the sums)");
    }
    for (id, name, state, time) in jobs {
        let _ = writeln!(text, "{id}\t|\t{name}\t|\t{state}\t|\t{time:.6}");
    }
    let (start, slope) = sums.line();
    let n = sums.n.max(1.0);
    let _ = writeln!(
        text,
        "{rule}\nTotal execution time (Wall): {up:.3}s, Execution time: {:.3}s. SpeedUp: {:.3}\n\
         Average execution time (Wall/N): {:.6}s, Average execution time: {:.6}s\n\
         ExecTime = {start:.6} + {slope:.6e} * NbJob\n{rule}",
        sums.time,
        sums.time / up.max(1e-9),
        up / n,
        sums.time / n,
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: times 1, 2, 4 at ids 1, 2, 3 lie around 1.5 x - 2/3 by least squares.
    #[test]
    fn run_times_are_fitted_by_a_line() {
        let mut sums = Sums::default();
        assert_eq!(sums.line(), (0.0, 0.0));
        sums.add(1, 1.0);
        assert_eq!(sums.line(), (1.0, 0.0));
        sums.add(2, 2.0);
        sums.add(3, 4.0);
        let (start, slope) = sums.line();
        assert!((start + 2.0 / 3.0).abs() < 1e-12 && (slope - 1.5).abs() < 1e-12, "{start} {slope}");
        let jobs = [(3, "example.square".to_owned(), State::Success, 4.0)];
        let text = table(&sums, &jobs, 3, 14.0);
        assert!(text.starts_with(&"_".repeat(80)), "{text}");
        assert!(text.contains("Id\t|\tName\t|\tStatus\t|\tRun-time (sec)"), "{text}");
        assert!(text.contains("(2 older jobs") && text.contains("SpeedUp: 0.500"), "{text}");
    }
}
