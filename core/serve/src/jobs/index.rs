//! The jobs in memory: all that have not ended, and the newest of those that have.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::job::Job;

pub(super) struct Index {
    jobs: HashMap<u64, Arc<Job>>,
    /// Ended jobs, oldest first, with the bytes they keep.
    ended: VecDeque<(u64, usize)>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

impl Index {
    pub fn new(most: usize, most_bytes: usize) -> Index {
        Index { jobs: HashMap::new(), ended: VecDeque::new(), bytes: 0, most: most.max(1), most_bytes }
    }

    pub fn put(&mut self, job: Arc<Job>) {
        self.jobs.insert(job.id, job);
    }

    pub fn get(&self, id: u64) -> Option<&Arc<Job>> {
        self.jobs.get(&id)
    }

    /// Takes out a job that was not accepted after all.
    pub fn take(&mut self, id: u64) {
        self.jobs.remove(&id);
    }

    /// Hears that a job has ended; gives those that memory has no room for, to be dropped outside of the lock.
    pub fn ended(&mut self, id: u64, bytes: usize) -> Vec<Arc<Job>> {
        self.ended.push_back((id, bytes));
        self.bytes += bytes;
        let mut gone = vec![];
        while self.ended.len() > self.most || (self.bytes > self.most_bytes && self.ended.len() > 1) {
            let Some((id, bytes)) = self.ended.pop_front() else { break };
            self.bytes -= bytes;
            gone.extend(self.jobs.remove(&id));
        }
        gone
    }

    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    pub fn all(&self) -> Vec<Arc<Job>> {
        self.jobs.values().cloned().collect()
    }
}
