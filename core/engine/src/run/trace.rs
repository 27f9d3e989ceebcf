//! A trace of what every stage did when, in the form that Chrome and Perfetto show.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::error::{Error, Result};
use crate::span::Span;

/// A file of spans: one for each call of each stage.
#[derive(Debug)]
pub struct Trace {
    begun: Instant,
    out: Mutex<Out>,
}

#[derive(Debug)]
struct Out {
    file: BufWriter<File>,
    /// Set when a write failed: a trace that cannot be written must not end the run.
    broken: bool,
}

thread_local! {
    /// The number of this thread in traces; 0 until it has one.
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

static THREADS: AtomicU64 = AtomicU64::new(1);

impl Trace {
    /// A trace into a new file.
    pub fn create(path: &Path) -> Result<Trace> {
        let file = File::options().write(true).create_new(true).open(path);
        let file =
            file.map_err(|e| Error::io("cannot make", path, &e).help("name a file that is not there"))?;
        let mut file = BufWriter::new(file);
        file.write_all(b"[\n").map_err(|e| Error::io("cannot write", path, &e))?;
        Ok(Trace { begun: Instant::now(), out: Mutex::new(Out { file, broken: false }) })
    }

    /// Notes one call of a stage.
    pub(crate) fn note(&self, stage: &str, what: &str, span: &Span, since: Instant, took: Duration) {
        let micro = |time: Duration| time.as_nanos() as f64 / 1e3;
        let (thread, fresh) = THREAD.with(|id| match id.get() {
            0 => {
                let new = THREADS.fetch_add(1, Ordering::Relaxed);
                id.set(new);
                (new, true)
            }
            known => (known, false),
        });
        let event = json!({
            "name": format!("{stage} {what}"), "cat": stage, "ph": "X", "pid": 1, "tid": thread,
            "ts": micro(since.saturating_duration_since(self.begun)), "dur": micro(took),
            "args": { "axis": span.axis.as_str(), "first": span.start, "count": span.len },
        });
        if fresh {
            let name = std::thread::current().name().unwrap_or("isard").to_owned();
            self.put(&json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": thread, "args": { "name": name } }));
        }
        self.put(&event);
    }

    fn put(&self, event: &serde_json::Value) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if !out.broken && writeln!(out.file, "{event},").is_err() {
            out.broken = true;
            tracing::warn!("The trace cannot be written any more.");
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let end = json!({ "name": "end", "ph": "i", "pid": 1, "tid": 0, "s": "g", "ts": self.begun.elapsed().as_micros() as u64 });
        let out = self.out.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The form allows a list without its end.
        let _ = writeln!(out.file, "{end}]").and_then(|()| out.file.flush());
    }
}
