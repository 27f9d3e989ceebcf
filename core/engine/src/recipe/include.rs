//! Files of a recipe: their syntax, what they include, and how stages of both come together.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Files, Place};
use crate::recipe::item::{Item, Table, Typed, Word};
use crate::recipe::words::{self, Words};
use crate::recipe::{Overrides, Recipe, StageText, item};

/// Reads files and keeps what is wrong with them.
pub(super) struct Reader<'a> {
    overrides: &'a Overrides,
    pub(super) files: Files,
    pub(super) faults: Vec<Diagnostic>,
    open: Vec<PathBuf>,
    read: Vec<PathBuf>,
}

/// Parts of a dotted key at most.
pub(super) const DEPTH: usize = 64;

/// Where a dotted key goes too deep.
///
/// The parser bounds brackets but not dots, and each dot is a table in a table: taking them apart needs stack.
pub(super) fn deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut dots) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'.' => {
                dots += 1;
                if dots > DEPTH {
                    return Some(at);
                }
            }
            b'#' => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
                continue;
            }
            quote @ (b'"' | b'\'') => {
                let triple = [quote; 3];
                if bytes[at..].starts_with(&triple) {
                    let end = bytes[at + 3..].windows(3).position(|w| w == triple);
                    at = end.map_or(bytes.len(), |end| at + 3 + end + 2);
                } else {
                    at += 1;
                    while at < bytes.len() && bytes[at] != quote && bytes[at] != b'\n' {
                        at += if quote == b'"' && bytes[at] == b'\\' { 2 } else { 1 };
                    }
                }
            }
            b' ' | b'\t' | b'_' | b'-' => (),
            byte if byte.is_ascii_alphanumeric() => (),
            _ => dots = 0,
        }
        at += 1;
    }
    None
}

/// The table of a text; every syntax error becomes a fault.
pub(crate) fn syntax(text: &str, file: usize, faults: &mut Vec<Diagnostic>) -> Table {
    if let Some(at) = deep(text) {
        let fault = Diagnostic::error("E0101", format!("a key of more than {DEPTH} parts"));
        faults.push(
            fault.at(Place { file, start: at, end: at + 1 }, "here").help("no word of a recipe lies so deep"),
        );
        return Table::default();
    }
    let (parsed, errors) = DeTable::parse_recoverable(text);
    let mut doubled: Option<usize> = None;
    let mut broken = false;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let at = Place { file, start: span.start, end: span.end };
        if !error.message().contains("duplicate key") {
            // One bracket that is not closed makes hundreds: what follows the first is guesses about the rest.
            if !broken {
                let message = format!("not valid TOML: {}", error.message());
                let fault = Diagnostic::error("E0101", message).at(at, "here");
                // On the line of the fault the reader sees it himself.
                let open = unclosed(text, at.start).filter(|(open, _)| text[*open..at.start].contains('\n'));
                faults.push(match open {
                    Some((open, bracket)) => fault.at(
                        Place { file, start: open, end: open + 1 },
                        format!("`{bracket}` is open since here"),
                    ),
                    None => fault,
                });
            }
            broken = true;
            continue;
        }
        // What stands in a table that is there twice is there twice as well, and says nothing new.
        let between = doubled.and_then(|from| text.get(from..at.start));
        if between.is_some_and(|t| !t.contains("\n[")) {
            continue;
        }
        let header =
            text.get(..at.start).is_some_and(|t| t.lines().next_back().unwrap_or("").starts_with('['));
        doubled = header.then_some(at.start);
        faults.push(twice(text, at));
    }
    item::table(parsed.get_ref(), file, 0)
}

/// The last bracket before a place that nothing has closed.
fn unclosed(text: &str, before: usize) -> Option<(usize, char)> {
    let (mut open, mut quote, mut comment) = (vec![], None, false);
    for (at, c) in text.char_indices().take_while(|(at, _)| *at < before) {
        match (c, quote) {
            ('\n', _) => (quote, comment) = (None, false),
            _ if comment => (),
            (_, Some(q)) if c == q => quote = None,
            (_, Some(_)) => (),
            ('#', None) => comment = true,
            ('"' | '\'', None) => quote = Some(c),
            ('[' | '{', None) => open.push((at, c)),
            (']' | '}', None) => drop(open.pop()),
            _ => (),
        }
    }
    open.pop()
}

/// A name that stands twice in one text; the first place is looked for among the lines above.
fn twice(text: &str, at: Place) -> Diagnostic {
    let name = text.get(at.start..at.end).unwrap_or_default().to_owned();
    let line_start = text.get(..at.start).and_then(|t| t.rfind('\n')).map_or(0, |n| n + 1);
    let line = text.get(line_start..).and_then(|t| t.lines().next()).unwrap_or_default().trim();
    let stage = line.starts_with("[stage.");
    let message =
        if stage { format!("two stages named `{name}`") } else { format!("`{name}` is given twice") };
    let fault = Diagnostic::error("E0103", message).at(at, "the second");
    let mut start = 0;
    for earlier in text.split_inclusive('\n') {
        if start >= line_start {
            break;
        }
        if stage && earlier.trim() == line {
            let end = start + earlier.trim_end().len();
            return fault.at(Place { file: at.file, start, end }, "the first").help("rename one of them");
        }
        start += earlier.len();
    }
    fault.help("keep one of them")
}

impl Reader<'_> {
    /// A reader of files, some of which may be given as texts.
    pub(super) fn new(overrides: &Overrides) -> Reader<'_> {
        Reader { overrides, files: Files::default(), faults: vec![], open: vec![], read: vec![] }
    }

    /// A recipe with what it includes, from its text.
    pub(super) fn recipe(&mut self, path: &Path, text: &str) -> Recipe {
        let file = self.files.add(path, text);
        let root = syntax(text, file, &mut self.faults);
        self.open.push(known(path));
        let mut words = Words { faults: &mut self.faults, file };
        let own = words.recipe(&root);
        let mut base = Recipe::default();
        for include in words.includes(&root) {
            if let Some(included) = self.include(path, &include) {
                join(&mut base, included, &mut self.faults);
            }
        }
        join(&mut base, own, &mut self.faults);
        self.open.pop();
        if self.open.is_empty() {
            for stage in base.stages.iter().filter(|s| s.plugin.is_none()) {
                self.faults.push(
                    Diagnostic::error("E0105", format!("stage `{}` does not say `use`", stage.name.text))
                        .at(stage.name.at, "which plugin is it?")
                        .help("add `use = \"family.what\"`; `isard list` shows all"),
                );
            }
        }
        base
    }

    fn include(&mut self, from: &Path, word: &Word) -> Option<Recipe> {
        let path = from.parent().unwrap_or(Path::new("")).join(&word.text);
        let same = known(&path);
        if self.open.contains(&same) {
            let mut circle: Vec<String> = self.open.iter().map(|p| short(p)).collect();
            circle.push(short(&same));
            self.faults.push(
                Diagnostic::error("E0107", format!("`{}` includes itself", word.text))
                    .at(word.at, "the circle closes here")
                    .note(circle.join(" -> ")),
            );
            return None;
        }
        // What two files include is read once.
        if self.read.contains(&same) {
            return None;
        }
        match self.overrides.read(&path) {
            Ok(text) => {
                self.read.push(same);
                Some(self.recipe(&path, &text))
            }
            Err(error) => {
                let why = if error.kind() == std::io::ErrorKind::NotFound {
                    "no such file".to_owned()
                } else {
                    error.to_string()
                };
                self.faults.push(
                    Diagnostic::error("E0106", format!("cannot include `{}`", word.text))
                        .at(word.at, why)
                        .similar(crate::plan::nearest_file(&path).as_deref()),
                );
                None
            }
        }
    }
}

fn known(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn short(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Lays a recipe over what it includes.
fn join(base: &mut Recipe, over: Recipe, faults: &mut Vec<Diagnostic>) {
    base.name = over.name.or(base.name.take());
    base.run.overlay(over.run);
    base.shared.overlay(over.shared);
    base.parameters.overlay(over.parameters);
    if !over.scan.is_empty() {
        base.scan = over.scan;
    }
    for stage in over.stages {
        match base.stages.iter_mut().find(|s| s.name.text == stage.name.text) {
            None => base.stages.push(stage),
            Some(old) if stage.plugin.is_none() => refine(old, stage),
            Some(old) => faults.push(
                Diagnostic::error("E0103", format!("two stages named `{}`", stage.name.text))
                    .at(stage.name.at, "the second")
                    .at(old.name.at, "the first")
                    .help("leave out `use` to change an included stage, or rename one of them"),
            ),
        }
    }
    for pass in over.passes {
        same(base.passes.iter().map(|p| &p.name), &pass.name, "passes", faults);
        base.passes.push(pass);
    }
    for one in over.loops {
        same(base.loops.iter().map(|l| &l.name), &one.name, "loops", faults);
        base.loops.push(one);
    }
    for (name, port) in over.results {
        base.results.retain(|(n, _)| n.text != name.text);
        base.results.push((name, port));
    }
    base.tests = over.tests;
}

fn same<'a>(
    mut names: impl Iterator<Item = &'a Word>,
    name: &Word,
    what: &str,
    faults: &mut Vec<Diagnostic>,
) {
    if let Some(first) = names.find(|n| n.text == name.text) {
        faults.push(
            Diagnostic::error("E0103", format!("two {what} named `{}`", name.text))
                .at(name.at, "the second")
                .at(first.at, "the first"),
        );
    }
}

/// Changes an included stage by what the including recipe says of it.
fn refine(old: &mut StageText, new: StageText) {
    if !new.set.0.is_empty() {
        old.set_at = new.set_at;
    }
    if new.from_at.is_some() {
        old.from = new.from;
        old.from_at = new.from_at;
    }
    for (name, item) in new.set.0 {
        old.set.set(name, item);
    }
    old.inputs.overlay(new.inputs);
    old.run.overlay(new.run);
}

/// Lays a site's defaults under a recipe.
pub(super) fn site(
    recipe: &mut Recipe,
    text: std::io::Result<String>,
    path: &Path,
    files: &mut Files,
    faults: &mut Vec<Diagnostic>,
) {
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            let file = files.add(path, "");
            let fault = Diagnostic::error("E0100", format!("cannot read the site's file: {error}"));
            faults.push(fault.at(Place { file, start: 0, end: 0 }, ""));
            return;
        }
    };
    let file = files.add(path, &text);
    recipe.site = Some(file);
    let root = syntax(&text, file, faults);
    for (word, item) in root.0 {
        let (Item { value: Typed::Table(mut table), .. }, "run" | "shared") = (item, word.text.as_str())
        else {
            faults.push(
                words::unknown(&word, "a site's file", &["run", "shared"])
                    .note("a site's file gives defaults of `[run]` and `[shared]` only"),
            );
            continue;
        };
        let own = if word.text == "run" { &mut recipe.run } else { &mut recipe.shared };
        table.overlay(std::mem::take(own));
        *own = table;
    }
}
