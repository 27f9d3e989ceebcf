//! Log lines: warnings to the user, everything to the run's `log.txt`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

static FILE: Mutex<Option<File>> = Mutex::new(None);

/// Starts logging.
pub fn start() {
    let verbose =
        std::env::var("ISARD_LOG").ok().and_then(|l| l.parse::<Level>().ok()).unwrap_or(Level::WARN);
    // A stage's panic becomes an error that names the stage; where exactly it was raised is for the log.
    std::panic::set_hook(Box::new(|panic| tracing::info!("{}", panic.to_string().replace('\n', " "))));
    // A test that runs two commands in one process has started it already.
    let _ = tracing_subscriber::registry().with(Lines { verbose }).try_init();
}

/// Sends log lines to a run's log from now on, or no longer.
pub fn into(path: Option<PathBuf>) {
    let file = path.and_then(|p| File::options().append(true).create(true).open(p).ok());
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = file;
}

struct Lines {
    verbose: Level,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::INFO && level > self.verbose {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let line = format!("{level} {}{}\n", text.message, text.fields);
        if level <= self.verbose {
            super::style::complain(&format!("isard: {line}"));
        }
        if let Some(file) = &mut *FILE.lock().unwrap_or_else(PoisonError::into_inner) {
            // A log that cannot be written must not end the run.
            let _ = file.write_all(format!("{} {line}", isard_core::store::utc_now()).as_bytes());
        }
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields += &format!(" {name}={value:?}"),
        }
    }
}
