//! What a plugin logs while it works for a job, kept for the job's output.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::OnceLock;

use tracing::dispatcher::{self, Dispatch};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Lines of a job that are kept at most.
const LINES: usize = 1000;

thread_local! {
    static JOB: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs a plugin's code and gives the lines it logged on this thread beside what it came to.
pub fn collect<T>(work: impl FnOnce() -> T) -> (T, Vec<String>) {
    // One dispatcher for all jobs: making one visits every place in the program that logs.
    static DISPATCH: OnceLock<Dispatch> = OnceLock::new();
    let dispatch = DISPATCH.get_or_init(|| Dispatch::new(Collect(dispatcher::get_default(Clone::clone))));
    JOB.set(Some(vec![]));
    let result = dispatcher::with_default(dispatch, work);
    (result, JOB.take().unwrap_or_default())
}

/// Adds a line to the log of the job that works on this thread.
pub fn line(text: String) {
    JOB.with_borrow_mut(|job| {
        if let Some(lines) = job {
            match lines.len() {
                n if n < LINES => lines.push(text),
                LINES => lines.push(format!("more than {LINES} lines: the rest was not kept")),
                _ => (),
            }
        }
    });
}

/// Keeps lines for the job, and passes everything on.
struct Collect(Dispatch);

impl Subscriber for Collect {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO || self.0.enabled(metadata)
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.0.new_span(span)
    }
    fn record(&self, span: &Id, values: &Record<'_>) {
        self.0.record(span, values);
    }
    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.0.record_follows_from(span, follows);
    }
    fn event(&self, event: &Event<'_>) {
        if *event.metadata().level() <= Level::INFO {
            let mut text = Text::default();
            event.record(&mut text);
            let level = match *event.metadata().level() {
                Level::ERROR => "ERROR",
                Level::WARN => "Warning",
                _ => "Info",
            };
            line(format!("{level}: {}{}", text.message, text.fields));
        }
        if self.0.enabled(event.metadata()) {
            self.0.event(event);
        }
    }
    fn enter(&self, span: &Id) {
        self.0.enter(span);
    }
    fn exit(&self, span: &Id) {
        self.0.exit(span);
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to memory does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_keeps_its_own_lines() {
        let (x, lines) = collect(|| {
            tracing::info!(frames = 3, "Raster laid.");
            tracing::debug!("Not kept.");
            7
        });
        tracing::info!("Of nobody.");
        assert_eq!(x, 7);
        assert_eq!(lines, ["Info: Raster laid. frames=3"]);
    }
}
