//! Clients that wait for the end of a job, without a thread for each.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

#[derive(Default)]
pub(super) struct Waiters(Mutex<HashMap<u64, Vec<oneshot::Sender<()>>>>);

impl Waiters {
    /// Is told when a job has ended; ask for its state after this, for it may have ended before.
    pub fn wait(&self, id: u64) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let list = all.entry(id).or_default();
        // Clients that gave up must not pile up behind a job that takes days.
        list.retain(|waiter| !waiter.is_closed());
        list.push(tell);
        told
    }

    /// Forgets those who gave up waiting for a job.
    pub fn forget(&self, id: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = all.get_mut(&id) {
            list.retain(|waiter| !waiter.is_closed());
            if list.is_empty() {
                all.remove(&id);
            }
        }
    }

    /// Tells everybody who waits for a job.
    pub fn ended(&self, id: u64) {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        for waiter in list.into_iter().flatten() {
            // Whoever gave up does not listen.
            let _ = waiter.send(());
        }
    }
}
