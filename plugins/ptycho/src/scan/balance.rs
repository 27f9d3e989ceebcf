//! Even distribution of frames over workers that may have had different shares before.

/// Keeps count of how many frames each worker has.
#[derive(Clone, Debug)]
pub struct Balance {
    load: Vec<usize>,
}

impl Balance {
    /// So many workers without any frames.
    pub fn new(workers: usize) -> Balance {
        Balance { load: vec![0; workers.max(1)] }
    }

    /// Frames that each worker has.
    pub fn load(&self) -> &[usize] {
        &self.load
    }

    /// Deals `n` frames as runs of consecutive ones; gives the indices of each worker.
    pub fn assign(&mut self, n: usize) -> Vec<Vec<usize>> {
        let total = self.load.iter().sum::<usize>() + n;
        let taking: Vec<usize> =
            (0..self.load.len()).filter(|rank| total > self.load[*rank] * self.load.len()).collect();
        let mut dealt = vec![vec![]; self.load.len()];
        let m = taking.len();
        if m == 0 {
            return dealt;
        }
        let total = taking.iter().map(|rank| self.load[*rank]).sum::<usize>() + n;
        let part: Vec<usize> = taking.iter().map(|rank| total - self.load[*rank] * m).collect();
        let more = part.iter().map(|p| p % m).sum::<usize>() / m;
        let mut next = 0;
        for (i, rank) in taking.into_iter().enumerate() {
            let count = part[i] / m + usize::from(i >= m - more);
            dealt[rank] = (next..next + count).collect();
            next += count;
            self.load[rank] += count;
        }
        dealt
    }

    /// Deals one frame to the last of those that have fewest; gives the worker.
    pub fn assign_one(&mut self) -> usize {
        let least = self.load.iter().copied().min().unwrap_or(0);
        let rank = self.load.iter().rposition(|l| *l == least).unwrap_or(0);
        self.load[rank] += 1;
        rank
    }
}
