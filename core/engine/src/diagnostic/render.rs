//! Faults as text: the line they are in, carets, help.

use std::fmt::Write;

use crate::diagnostic::{Diagnostic, Files, Place, Severity, head};

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[1;34m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// All faults, a blank line between them.
pub(super) fn all(files: &Files, list: &[Diagnostic], colour: bool) -> String {
    let blocks: Vec<String> = list.iter().map(|d| Painter { files, colour, d }.block()).collect();
    blocks.join("\n")
}

struct Painter<'a> {
    files: &'a Files,
    colour: bool,
    d: &'a Diagnostic,
}

impl Painter<'_> {
    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    }

    fn loud(&self) -> &'static str {
        match self.d.severity {
            Severity::Error => RED,
            Severity::Warning => YELLOW,
        }
    }

    fn block(&self) -> String {
        let d = self.d;
        let title = format!("{}[{}]", d.severity.word(), d.code);
        let mut out = format!("{}: {}\n", self.paint(self.loud(), &title), self.paint(BOLD, &d.message));
        let widest = d.labels.iter().map(|(place, _)| self.files.position(*place).0).max().unwrap_or(1);
        let width = widest.to_string().len();
        for (i, (place, label)) in d.labels.iter().enumerate() {
            self.source(&mut out, width, i == 0, *place, label);
        }
        let mut line = |word: &str, text: &str| {
            let text = text.replace('\n', &format!("\n{:width$}   {:len$}  ", "", "", len = word.len()));
            let mark = self.paint(BLUE, "=");
            // Writing to a string cannot go wrong.
            let _ = writeln!(out, "{:width$} {mark} {word}: {text}", "");
        };
        if let (Some(found), Some(wanted)) = (&d.found, &d.wanted) {
            line("found", found);
            line("wanted", wanted);
        }
        d.notes.iter().for_each(|n| line("note", n));
        d.help.iter().for_each(|h| line("help", h));
        out
    }

    fn source(&self, out: &mut String, width: usize, first: bool, place: Place, label: &str) {
        let bar = self.paint(BLUE, "|");
        let arrow = self.paint(BLUE, if first { "-->" } else { ":::" });
        let _ = writeln!(out, "{:width$}{arrow} {}", "", self.files.locate(place));
        let Some(file) = self.files.get(place.file) else { return };
        let (number, column) = self.files.position(place);
        let before = head(&file.text, place.start);
        let begin = before.rfind('\n').map_or(0, |at| at + 1);
        let line = file.text[begin..].lines().next().unwrap_or("");
        if line.is_empty() && label.is_empty() {
            return;
        }
        let shown = line.replace('\t', " ");
        // A fault over several lines is marked to the end of its first.
        let inside = head(&file.text, place.end.max(before.len()));
        let here = inside[before.len()..].lines().next().unwrap_or("").chars().count();
        let left = shown.chars().count() + 1 - (column - 1).min(shown.chars().count());
        let marks = if first { "^" } else { "-" }.repeat(here.clamp(1, left));
        let marks = self.paint(if first { self.loud() } else { BLUE }, &marks);
        let number = self.paint(BLUE, &format!("{number:>width$}"));
        let _ = writeln!(out, "{:width$} {bar}", "");
        let _ = writeln!(out, "{number} {bar} {shown}");
        let tail = format!("{:width$} {bar} {:pad$}{marks} {label}", "", "", pad = column - 1);
        let _ = writeln!(out, "{}", tail.trim_end());
    }
}
