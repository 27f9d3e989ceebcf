//! Log events of a loaded library, told to the host.

use std::ffi::c_void;
use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::load::abi::{self, Text};
use crate::load::adopt;

const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

fn code(level: &Level) -> u32 {
    LEVELS.iter().position(|l| l == level).map_or(5, |at| at as u32 + 1)
}

/// The library's subscriber: it passes everything on.
///
/// `tracing` in a library has its own dispatcher, which nobody reads: measured, its events vanish without this.
struct Forward(&'static abi::Services);

// SAFETY: the interface demands that services may be used from any thread.
unsafe impl Send for Forward {}
// SAFETY: as above.
unsafe impl Sync for Forward {}

/// Sends this library's events to the host.
pub(crate) fn forward(services: &'static abi::Services) {
    // Refused when the author set a subscriber of their own, which is then what they want.
    let _ = tracing::subscriber::set_global_default(Forward(services));
}

/// The message and the other fields of an event.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name if self.fields.is_empty() => write!(self.fields, "{name}={value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Forward {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The host may change what it listens to.
        Interest::sometimes()
    }
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // SAFETY: services stay for good.
        metadata.is_event() && unsafe { (self.0.listens)(self.0, code(metadata.level())) } != 0
    }
    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        let (level, target) = (code(event.metadata().level()), Text::of(event.metadata().target()));
        let (message, fields) = (Text::of(&words.message), Text::of(&words.fields));
        // SAFETY: services stay for good; the texts are lent until the call returns.
        unsafe { (self.0.log)(self.0, level, target, message, fields) };
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The host's log for one library; `label` names it.
pub(crate) fn services(label: &str) -> &'static abi::Services {
    let label: &'static String = Box::leak(Box::new(label.to_owned()));
    Box::leak(Box::new(abi::Services {
        size: size_of::<abi::Services>() as u64,
        this: std::ptr::from_ref(label).cast::<c_void>(),
        listens,
        log,
    }))
}

macro_rules! at_level {
    ($level:expr, $what:ident, $($rest:tt)*) => {
        match $level {
            1 => tracing::$what!(target: "isard::plugin", Level::ERROR $($rest)*),
            2 => tracing::$what!(target: "isard::plugin", Level::WARN $($rest)*),
            3 => tracing::$what!(target: "isard::plugin", Level::INFO $($rest)*),
            4 => tracing::$what!(target: "isard::plugin", Level::DEBUG $($rest)*),
            _ => tracing::$what!(target: "isard::plugin", Level::TRACE $($rest)*),
        }
    };
}

/// A panic of the host's subscriber must not reach the library.
fn quietly(work: impl FnOnce()) {
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
}

unsafe extern "C" fn listens(_: *const abi::Services, level: u32) -> i32 {
    let mut answer = false;
    quietly(|| answer = at_level!(level, enabled,));
    i32::from(answer)
}

unsafe extern "C" fn log(
    services: *const abi::Services,
    level: u32,
    target: Text,
    message: Text,
    fields: Text,
) {
    quietly(|| {
        // SAFETY: services stay for good, and `this` is the label they were made with.
        let library = unsafe { &*(*services).this.cast::<String>() };
        // SAFETY: the library lends the texts.
        let (source, message, fields) =
            unsafe { (adopt::text(target), adopt::text(message), adopt::text(fields)) };
        let (source, message) = (source.unwrap_or("?"), message.unwrap_or("A message that is not UTF-8."));
        match fields {
            Ok(fields) if !fields.is_empty() => {
                at_level!(level, event, , library, source, fields, "{message}");
            }
            _ => at_level!(level, event, , library, source, "{message}"),
        }
    });
}
