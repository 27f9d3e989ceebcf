//! The wish that a job ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The wish that a job ends, shared by who has it and who carries it out.
///
/// A plugin in this process sees the flag through `Cx::check`. An executor that can do more, such as killing a child
/// process, says so with [`Abort::on_abort`].
#[derive(Default)]
pub struct Abort {
    flag: Arc<AtomicBool>,
    acts: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Abort {
    /// Whether the job shall end.
    pub fn asked(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// The flag, as runs and plugins watch it.
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.flag
    }

    /// What to do when the job shall end, at once if that is wished already.
    pub fn on_abort(&self, act: impl FnOnce() + Send + 'static) {
        let mut acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        if self.asked() {
            drop(acts);
            act();
        } else {
            acts.push(Box::new(act));
        }
    }

    /// Wishes it.
    pub(crate) fn ask(&self) {
        let acts = {
            let mut acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
            self.flag.store(true, Ordering::Release);
            std::mem::take(&mut *acts)
        };
        for act in acts {
            act();
        }
    }
}
