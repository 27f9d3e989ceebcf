//! Errors that say whose fault it is, what was found, and what to try.

use std::fmt;

/// The result of anything a stage or the engine does.
pub type Result<T> = std::result::Result<T, Error>;

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The recipe asks for something that cannot be.
    Recipe,
    /// A plugin broke its contract, panicked or hung.
    Plugin,
    /// The data are not what they should be.
    Data,
    /// The operating system refused a read or a write.
    Io,
    /// Memory, disk or time ran out.
    Resources,
    /// Somebody asked the run to stop.
    Cancelled,
    /// A bug in isard.
    Internal,
}

impl Blame {
    /// The word used in messages and in `run.json`.
    pub fn word(self) -> &'static str {
        match self {
            Blame::Recipe => "recipe",
            Blame::Plugin => "plugin",
            Blame::Data => "data",
            Blame::Io => "io",
            Blame::Resources => "resources",
            Blame::Cancelled => "cancelled",
            Blame::Internal => "internal",
        }
    }
}

/// One error: a message, the places it passed through, and advice.
#[derive(Clone, PartialEq)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    blame: Blame,
    message: String,
    context: Vec<String>,
    help: Option<String>,
    transient: bool,
}

impl Error {
    /// An error with its message: lower case, no full stop.
    pub fn new(blame: Blame, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            blame,
            message: message.into(),
            context: vec![],
            help: None,
            transient: false,
        }))
    }

    /// The recipe is at fault.
    pub fn recipe(message: impl Into<String>) -> Self {
        Self::new(Blame::Recipe, message)
    }

    /// A plugin is at fault.
    pub fn plugin(message: impl Into<String>) -> Self {
        Self::new(Blame::Plugin, message)
    }

    /// The data are at fault.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Blame::Data, message)
    }

    /// isard is at fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Blame::Internal, message)
    }

    /// The run was asked to stop.
    pub fn cancelled() -> Self {
        Self::new(Blame::Cancelled, "the run was cancelled")
    }

    /// An operating-system error on a path; a full disk is blamed on resources.
    pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let blame = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Blame::Resources,
            _ => Blame::Io,
        };
        Self::new(blame, format!("{what} {}: {error}", path.display()))
    }

    /// Adds what the caller knows: the stage, the span, the file.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        let place = place.into();
        // Two layers may know the same place; once is enough to read.
        if self.0.context.last() != Some(&place) {
            self.0.context.push(place);
        }
        self
    }

    /// Adds what to try.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Says that trying again may succeed; sources and writers are then retried.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.0.transient = true;
        self
    }

    /// Who has to act.
    pub fn blame(&self) -> Blame {
        self.0.blame
    }

    /// The message without its places and advice.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The places it passed through, innermost first.
    pub fn places(&self) -> &[String] {
        &self.0.context
    }

    /// What to try, if known.
    pub fn advice(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// Whether trying again may succeed.
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.0.context.iter().rev() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}", self.0.message)?;
        if let Some(help) = &self.0.help {
            write!(f, " (help: {help})")?;
        }
        if self.0.blame == Blame::Internal {
            write!(f, " (this is a bug in isard)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {self}", self.0.blame.word())
    }
}

impl std::error::Error for Error {}

/// Adds a place to the error of a result.
pub trait Context<T> {
    /// Adds what the caller knows; the text is built only when there is an error.
    fn at<S: Into<String>>(self, place: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn at<S: Into<String>>(self, place: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.at(place()))
    }
}

/// The known name most like the one written, when it is near enough to be meant.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = written.chars().count().max(3) / 3 + 1;
    known
        .into_iter()
        .map(|name| (distance(written, name), name))
        .filter(|(d, name)| *d <= limit || (written.len() > 2 && name.ends_with(&format!(".{written}"))))
        .min_by_key(|(d, _)| *d)
        .map(|(_, name)| name)
}

/// Edit distance in characters; a swap of two neighbours counts once.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut rows: Vec<usize> = (0..width).collect();
    let mut before: Vec<usize> = vec![];
    for i in 1..=a.len() {
        let mut next = vec![i; width];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            next[j] = (rows[j] + 1).min(next[j - 1] + 1).min(rows[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                next[j] = next[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut rows, next);
    }
    rows[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_a_typo_and_refuses_a_stranger() {
        assert_eq!(nearest("treshold", ["threshold", "window"]), Some("threshold"));
        assert_eq!(nearest("sum", ["image.sum", "image.max"]), Some("image.sum"));
        assert_eq!(nearest("wavelength", ["threshold", "window"]), None);
    }

    #[test]
    fn display_reads_from_the_outside_in() {
        let error =
            Error::data("found 3 pixels, wanted 4").at("frame 7").at("stage `clean`").help("check the mask");
        assert_eq!(
            error.to_string(),
            "stage `clean`: frame 7: found 3 pixels, wanted 4 (help: check the mask)"
        );
    }
}
