//! Faults of a recipe: a code, a place with carets, what was found and wanted, what to try.

mod render;

use std::path::{Path, PathBuf};

use serde_json::json;

/// Bytes `start..end` of one of the files of a recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file, as a place in [`Files`].
    pub file: usize,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

/// One text that a recipe was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Its path, or the option it was given by.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// The folder that its relative paths start from.
    pub folder: PathBuf,
    /// Whether it is a file and not a command-line option.
    pub real: bool,
}

/// The texts that a recipe was made of: the recipe first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files(Vec<File>);

impl Files {
    /// Adds a file and says where it is.
    pub fn add(&mut self, path: &Path, text: &str) -> usize {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        self.push(File { path: path.to_owned(), text: text.to_owned(), folder, real: true })
    }

    /// Adds a text that is no file; its relative paths start from the recipe's folder.
    pub fn add_option(&mut self, name: &str, text: &str) -> usize {
        let folder = self.0.first().map(|f| f.folder.clone()).unwrap_or_default();
        self.push(File { path: name.into(), text: text.to_owned(), folder, real: false })
    }

    fn push(&mut self, file: File) -> usize {
        self.0.push(file);
        self.0.len() - 1
    }

    /// The file of a number.
    pub fn get(&self, file: usize) -> Option<&File> {
        self.0.get(file)
    }

    /// All files in order.
    pub fn iter(&self) -> impl Iterator<Item = &File> {
        self.0.iter()
    }

    /// Line and column of a place, both counted from 1; columns count characters.
    pub fn position(&self, place: Place) -> (usize, usize) {
        let Some(file) = self.get(place.file) else { return (1, 1) };
        let before = head(&file.text, place.start);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[begin..].chars().count() + 1)
    }

    /// `file:line:column` of a place; the file alone when it has no text.
    pub fn locate(&self, place: Place) -> String {
        let (line, column) = self.position(place);
        let path = self.get(place.file).map(|f| f.path.display().to_string()).unwrap_or_default();
        if self.get(place.file).is_some_and(|f| f.text.is_empty()) {
            return path;
        }
        format!("{path}:{line}:{column}")
    }
}

/// The text up to a byte, moved down to a character's edge.
fn head(text: &str, mut end: usize) -> &str {
    end = end.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Whether a recipe can run in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but probably not as meant.
    Warning,
}

impl Severity {
    /// The word that stands before the code.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One fault of a recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// Its code, which has a page in `docs/errors`.
    pub code: &'static str,
    /// Whether the recipe can run in spite of it.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where, with a word on each place; the first is the fault's own.
    pub labels: Vec<(Place, String)>,
    /// What was found.
    pub found: Option<String>,
    /// What was wanted.
    pub wanted: Option<String>,
    /// What to try.
    pub help: Vec<String>,
    /// What explains it.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// A fault that stops the recipe.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: vec![],
            found: None,
            wanted: None,
            help: vec![],
            notes: vec![],
        }
    }

    /// A fault that does not stop the recipe.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Adds a place and what is to be said about it.
    #[must_use]
    pub fn at(mut self, place: Place, label: impl Into<String>) -> Self {
        self.labels.push((place, label.into()));
        self
    }

    /// Says what was found and what was wanted.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>, wanted: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self.wanted = Some(wanted.into());
        self
    }

    /// Adds what to try.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds the nearest name, if there is one.
    #[must_use]
    pub fn similar(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.help(format!("similar names: `{name}`")),
            None => self,
        }
    }

    /// Adds what explains it.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// Every fault that was found, with the texts they are in.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    files: Files,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Faults in the order of their places, each once.
    pub fn new(files: Files, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|d| d.labels.first().map(|(place, _)| *place));
        let mut each: Vec<Diagnostic> = Vec::with_capacity(list.len());
        for one in list {
            if !each.contains(&one) {
                each.push(one);
            }
        }
        Diagnostics { files, list: each }
    }

    /// The faults.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether one of them stops the recipe.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// The codes in order.
    pub fn codes(&self) -> Vec<&'static str> {
        self.list.iter().map(|d| d.code).collect()
    }

    /// The faults as text, with colours when asked.
    pub fn render(&self, colour: bool) -> String {
        render::all(&self.files, &self.list, colour)
    }

    /// The faults for a program to read.
    pub fn to_json(&self) -> serde_json::Value {
        self.list.iter().map(|d| self.one_json(d)).collect()
    }

    fn one_json(&self, d: &Diagnostic) -> serde_json::Value {
        let places: Vec<_> = d
            .labels
            .iter()
            .map(|(place, label)| {
                let (line, column) = self.files.position(*place);
                let path = self.files.get(place.file).map(|f| f.path.display().to_string());
                json!({
                    "file": path, "line": line, "column": column,
                    "span": [place.start, place.end], "label": label,
                })
            })
            .collect();
        json!({
            "code": d.code, "severity": d.severity.word(), "message": d.message, "places": places,
            "found": d.found, "wanted": d.wanted, "help": d.help, "notes": d.notes,
        })
    }
}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostics> for crate::Error {
    fn from(faults: Diagnostics) -> crate::Error {
        crate::Error::recipe(faults.render(false))
    }
}
