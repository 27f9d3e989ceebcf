//! Files of inputs that were not made when their jobs ended, because more jobs came than files can be made.
//!
//! The database has the inputs, so nothing is lost if the server ends meanwhile: the next one looks which are missing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use isard_core::error::{Blame, Result};
use isard_core::value::Value;

use crate::files::Folder;
use crate::jobs::filing::Rest;
use crate::jobs::{Shared, lock};
use crate::json;
use crate::store::Store;

/// How long no file may have been put off before those that were are made.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a disk that takes no files is left alone.
const AGAIN: Duration = Duration::from_secs(10);

/// Thousands of jobs of which some have no file of their input.
#[derive(Default)]
pub(super) struct Owed {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    thousands: BTreeSet<u64>,
    /// When they may be looked at.
    when: Option<Instant>,
}

impl Owed {
    /// Notes a thousand: a file of it was put off.
    pub fn add(&self, thousand: u64) {
        self.put_off([thousand], PAUSE);
    }

    /// Notes thousands of an earlier server.
    pub fn look_at(&self, thousands: impl IntoIterator<Item = u64>) {
        lock(&self.inner).thousands.extend(thousands);
    }

    fn put_off(&self, thousands: impl IntoIterator<Item = u64>, pause: Duration) {
        let mut inner = lock(&self.inner);
        inner.thousands.extend(thousands);
        inner.when = Some(Instant::now() + pause);
    }

    fn take(&self) -> Option<u64> {
        lock(&self.inner).thousands.pop_first()
    }

    fn pause(&self) -> Option<Duration> {
        let inner = lock(&self.inner);
        let pause = |when: Instant| when.saturating_duration_since(Instant::now());
        (!inner.thousands.is_empty()).then(|| inner.when.map_or(Duration::ZERO, pause))
    }
}

/// The files that a server owes.
pub(super) struct Debt {
    owed: Arc<Owed>,
    shared: Weak<Shared>,
}

impl Debt {
    pub fn of(shared: &Arc<Shared>) -> Debt {
        Debt { owed: shared.owed.clone(), shared: Arc::downgrade(shared) }
    }
}

impl Rest for Debt {
    fn pause(&self) -> Option<Duration> {
        self.owed.pause()
    }

    fn work(&self, stop: &dyn Fn() -> bool) {
        let Some(shared) = self.shared.upgrade() else { return };
        while !stop()
            && let Some(thousand) = self.owed.take()
        {
            if let Err(error) = shared.write_inputs(thousand, stop) {
                tracing::warn!(%error, "Files of inputs cannot be written now.");
                self.owed.put_off([thousand], AGAIN);
                return;
            }
        }
    }
}

impl Shared {
    /// Writes the files of inputs that a thousand lacks.
    fn write_inputs(&self, thousand: u64, stop: &dyn Fn() -> bool) -> Result<()> {
        let (Some(folder), Some(store)) = (&self.folder, &self.store) else { return Ok(()) };
        for id in folder.without_input(thousand) {
            if stop() {
                self.owed.look_at([thousand]);
                return Ok(());
            }
            match self.write_input(folder, store, id) {
                Err(error) if matches!(error.blame(), Blame::Io | Blame::Resources) => return Err(error),
                Err(error) => tracing::warn!(%error, id, "The file of an input cannot be written."),
                Ok(()) => (),
            }
        }
        Ok(())
    }

    fn write_input(&self, folder: &Folder, store: &Store, id: u64) -> Result<()> {
        // One that the database has forgotten has its other file removed, too.
        let _held = folder.hold();
        if store.get(id)?.is_none() {
            return Ok(());
        }
        let input = self.input(id)?;
        let plugin = input.get("plugin_name").and_then(Value::text).unwrap_or_default();
        folder.write(id, plugin, &[("inp", &json::spread(&input, self.config.not_numbers))])
    }
}
