//! Log events of a loaded library, told to the host.

use std::ffi::c_void;
use std::fmt::{Debug, Write};
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};

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
        share: HOSTING.load(Ordering::Relaxed).then_some(share),
    }))
}

/// Whether this process is a host: then a library's buffers must be in shared memory.
static HOSTING: AtomicBool = AtomicBool::new(false);

/// Makes this process a host: what is loaded from here on shares its memory.
pub(crate) fn hosting() {
    HOSTING.store(true, Ordering::Relaxed);
}

unsafe extern "C" fn share(_: *const abi::Services, data: *const c_void, len: u64, descriptor: i32) {
    quietly(|| {
        if descriptor < 0 {
            return crate::value::share::forget_at(data as usize);
        }
        // SAFETY: the library lends an open descriptor for the length of the call.
        let lent = unsafe { BorrowedFd::borrow_raw(descriptor) };
        match lent.try_clone_to_owned() {
            Ok(own) => drop(crate::value::share::publish(data as usize, len as usize, own)),
            // Its arrays are then copied.
            Err(error) => tracing::warn!(%error, "Memory of a plugin cannot be shared."),
        }
    });
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

/// What a line of a host's log begins with; other lines are what a plugin prints.
const MARK: char = '\u{1e}';

/// The subscriber of a host: its events go to standard error, which isard reads.
struct ToStderr(u32);

/// Sends this process's events to the isard that started it.
pub(crate) fn to_stderr() {
    let level = std::env::var("ISARD_HOST_LOG").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    // Refused when there is a subscriber already, which is then what whoever set it wants.
    let _ = tracing::subscriber::set_global_default(ToStderr(level));
}

/// The level that somebody listens to, as a code: 1 error to 5 tracing.
pub(crate) fn level() -> u32 {
    (1..=5).rev().find(|level| at_level!(*level, enabled,)).unwrap_or(0)
}

impl Subscriber for ToStderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The question whether somebody listens is no event, and must be answered like one.
        !metadata.is_span() && code(metadata.level()) <= self.0
    }
    fn event(&self, event: &Event<'_>) {
        let (mut message, mut source) = (Words::default(), Source::default());
        event.record(&mut message);
        event.record(&mut source);
        // An event that a library passed on names its own source and fields.
        let (target, fields) = match source.0 {
            Some(target) => (target, source.1.unwrap_or_default()),
            None => (event.metadata().target().to_owned(), message.fields),
        };
        let flat = |text: &str| text.replace(['\n', '\t', MARK], " ");
        let level = code(event.metadata().level());
        let (target, fields, text) = (flat(&target), flat(&fields), flat(&message.message));
        // Nobody reads it any more when isard is gone.
        let _ =
            std::io::stderr().write_all(format!("{MARK}{level}\t{target}\t{fields}\t{text}\n").as_bytes());
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What a passed-on event says of where it came from.
#[derive(Default)]
struct Source(Option<String>, Option<String>);

impl Visit for Source {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "source" => self.0 = Some(value.to_owned()),
            "fields" => self.1 = Some(value.to_owned()),
            _ => (),
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// Passes a line of a host's log on; false for what a plugin printed.
pub(crate) fn pass_on(line: &str, library: &str) -> bool {
    let Some(line) = line.strip_prefix(MARK) else { return false };
    let mut parts = line.splitn(4, '\t');
    let mut next = || parts.next().unwrap_or_default();
    let (level, source, fields, message) = (next().parse().unwrap_or(3), next(), next(), next());
    match fields {
        "" => at_level!(level, event, , library, source, "{message}"),
        fields => at_level!(level, event, , library, source, fields, "{message}"),
    }
    true
}
