//! The framework's words in a recipe: which there are, and what form each has.

use crate::diagnostic::{Diagnostic, Place};
use crate::error::nearest;
use crate::recipe::item::{Item, Table, Typed, Word};
use crate::recipe::{Expect, LoopText, PassText, Recipe, StageText, TestText};

const TOP: [&str; 12] =
    ["isard", "name", "include", "run", "scan", "shared", "stage", "pass", "loop", "in", "out", "test"];
const STAGE: [&str; 5] = ["use", "from", "in", "set", "run"];

/// Names that mean something else where a stage could stand.
const TAKEN: [&str; 7] = ["in", "carry", "head", "scan", "run", "shared", "ledger"];

/// An unknown word of the framework.
pub(super) fn unknown(word: &Word, place: &str, known: &[&str]) -> Diagnostic {
    let all = known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
    let fault = Diagnostic::error("E0102", format!("unknown key `{}` in {place}", word.text)).at(word.at, "");
    match nearest(&word.text, known.iter().copied()) {
        Some(near) => fault.similar(Some(near)),
        None => fault.help(format!("known here: {all}")),
    }
}

/// Reads the words of one file.
pub(super) struct Words<'a> {
    pub(super) faults: &'a mut Vec<Diagnostic>,
    pub(super) file: usize,
}

impl Words<'_> {
    fn wrong(&mut self, item: &Item, what: &str, wanted: &str) {
        self.faults.push(
            Diagnostic::error("E0104", format!("{what} is {}", item.describe()))
                .at(item.at, format!("wanted {wanted}")),
        );
    }

    fn text(&mut self, item: &Item, what: &str) -> Option<Word> {
        match item.text() {
            Some(text) => Some(Word { text: text.to_owned(), at: item.at }),
            None => {
                self.wrong(item, what, "text");
                None
            }
        }
    }

    fn table(&mut self, item: &Item, what: &str) -> Table {
        match item.table() {
            Some(table) => table.clone(),
            None => {
                self.wrong(item, what, "a table");
                Table::default()
            }
        }
    }

    /// One text or a list of texts.
    fn texts(&mut self, item: &Item, what: &str) -> Vec<Word> {
        match &item.value {
            Typed::List(list) => list.iter().filter_map(|i| self.text(i, what)).collect(),
            _ => self.text(item, what).into_iter().collect(),
        }
    }

    fn keys(&mut self, table: &Table, place: &str, known: &[&str]) {
        for (word, _) in table.0.iter().filter(|(w, _)| !known.contains(&w.text.as_str())) {
            self.faults.push(unknown(word, place, known));
        }
    }

    /// The files that a file includes.
    pub(super) fn includes(&mut self, root: &Table) -> Vec<Word> {
        root.get("include").map(|item| self.texts(item, "`include`")).unwrap_or_default()
    }

    /// What one file says.
    pub(super) fn recipe(&mut self, root: &Table) -> Recipe {
        self.keys(root, "a recipe", &TOP);
        let mut recipe = Recipe::default();
        if let Some(word) = root.get("isard").and_then(|i| self.text(i, "`isard`")) {
            self.version(&word);
        }
        recipe.name = root.get("name").and_then(|i| self.text(i, "`name`")).map(|w| w.text);
        let mut table = |name: &str| root.get(name).map(|i| self.table(i, &format!("`{name}`")));
        recipe.run = table("run").unwrap_or_default();
        recipe.shared = table("shared").unwrap_or_default();
        recipe.parameters = table("in").unwrap_or_default();
        let (scan, results) = (table("scan"), table("out").unwrap_or_default());
        let (stages, passes, loops) = (table("stage"), table("pass"), table("loop"));
        recipe.scan = scan.map(|t| self.scan(&t)).unwrap_or_default();
        for (name, item) in &results.0 {
            recipe.results.extend(self.text(item, "a result of `[out]`").map(|port| (name.clone(), port)));
        }
        for (name, item) in stages.unwrap_or_default().0 {
            recipe.stages.push(self.stage(name, &item));
        }
        for (name, item) in passes.unwrap_or_default().0 {
            self.name(&name, "pass");
            let table = self.table(&item, &format!("pass `{}`", name.text));
            self.keys(&table, &format!("pass `{}`", name.text), &["needs"]);
            let needs = table.get("needs").and_then(|i| self.text(i, "`needs`"));
            recipe.passes.push(PassText { name, needs });
        }
        for (name, item) in loops.unwrap_or_default().0 {
            recipe.loops.push(self.looped(name, &item));
        }
        match root.get("test").map(|i| (&i.value, i)) {
            None => (),
            Some((Typed::List(list), _)) => {
                recipe.tests = list.iter().map(|item| self.test(item)).collect();
            }
            Some((_, item)) => self.wrong(item, "`test`", "blocks that begin with `[[test]]`"),
        }
        recipe
    }

    fn version(&mut self, word: &Word) {
        let own = env!("CARGO_PKG_VERSION");
        let numbers = |text: &str| -> Option<Vec<u64>> { text.split('.').map(|n| n.parse().ok()).collect() };
        let (Some(asked), Some(have)) = (numbers(&word.text), numbers(own)) else {
            let fault = Diagnostic::error("E0108", format!("`isard = \"{}\"` is no version", word.text));
            self.faults.push(fault.at(word.at, "wanted two numbers").help(format!("this is isard {own}")));
            return;
        };
        // Recipes of every earlier release stay good; of a later one nothing is known.
        let newer = asked.iter().zip(&have).find(|(a, h)| a != h).is_some_and(|(a, h)| a > h);
        if newer {
            self.faults.push(
                Diagnostic::error("E0108", "the recipe is for a later isard")
                    .at(word.at, "")
                    .found(format!("isard {}", word.text), format!("isard {own} or earlier"))
                    .help("update isard, or check the recipe against this one and lower the number"),
            );
        }
    }

    fn name(&mut self, name: &Word, what: &str) {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.text.is_empty() || !name.text.chars().all(good) {
            let message = format!("`{}` cannot be the name of a {what}", name.text);
            let fault = Diagnostic::error("E0121", message).at(name.at, "");
            self.faults.push(fault.help("use letters, digits, `_` and `-`"));
        } else if TAKEN.contains(&name.text.as_str()) {
            let message = format!("a {what} cannot be named `{}`", name.text);
            let fault = Diagnostic::error("E0121", message).at(name.at, "this word has a meaning of its own");
            self.faults.push(fault.help(format!("not to be used: {}", TAKEN.join(", "))));
        }
    }

    fn scan(&mut self, table: &Table) -> Vec<(Word, u64)> {
        self.keys(table, "`[scan]`", &["axes"]);
        let Some(item) = table.get("axes") else { return vec![] };
        let Typed::List(list) = &item.value else {
            self.wrong(item, "`axes`", "a list of `{ name = .., n = .. }`");
            return vec![];
        };
        let mut axes: Vec<(Word, u64)> = vec![];
        for one in list {
            let table = self.table(one, "an axis");
            self.keys(&table, "an axis of `[scan]`", &["name", "n"]);
            let name = table.get("name").and_then(|i| self.text(i, "the name of an axis"));
            let n = table.get("n").map(|i| (i, &i.value));
            match (name, n) {
                (Some(name), Some((_, Typed::Int(n)))) if *n > 0 => axes.push((name, *n as u64)),
                (_, Some((item, _))) => self.wrong(item, "the length of an axis", "an integer above 0"),
                _ => self
                    .faults
                    .push(Diagnostic::error("E0105", "an axis needs `name` and `n`").at(one.at, "")),
            }
        }
        axes
    }

    fn stage(&mut self, name: Word, item: &Item) -> StageText {
        self.name(&name, "stage");
        let place = format!("stage `{}`", name.text);
        let table = self.table(item, &place);
        for (word, _) in table.0.iter().filter(|(w, _)| !STAGE.contains(&w.text.as_str())) {
            self.faults.push(
                unknown(word, &place, &STAGE).note(
                    "inside a stage stand `use`, `from`, `in`, `set` and `run`; parameters go into `set`",
                ),
            );
        }
        let plugin = table.get("use").and_then(|i| self.text(i, "`use`"));
        let from = table.get("from").map(|i| self.texts(i, "`from`")).unwrap_or_default();
        let mut inner = |word: &str| table.get(word).map(|i| self.table(i, &format!("`{word}`")));
        let (inputs, set, run) = (inner("in"), inner("set"), inner("run"));
        let set_at = table.entry("set").map_or(name.at, |(word, _)| word.at);
        StageText {
            plugin,
            from,
            from_at: table.entry("from").map(|(word, _)| word.at),
            inputs: inputs.unwrap_or_default(),
            set: set.unwrap_or_default(),
            set_at,
            run: run.unwrap_or_default(),
            name,
        }
    }

    fn looped(&mut self, name: Word, item: &Item) -> LoopText {
        self.name(&name, "loop");
        let place = format!("loop `{}`", name.text);
        let table = self.table(item, &place);
        self.keys(&table, &place, &["passes", "repeat", "vary", "carry"]);
        let passes = table.get("passes").map(|i| self.texts(i, "`passes`")).unwrap_or_default();
        let vary = table.get("vary").map(|i| self.table(i, "`vary`")).unwrap_or_default();
        let carry = table.get("carry").map(|i| self.table(i, "`carry`")).unwrap_or_default();
        LoopText { name, passes, repeat: table.get("repeat").cloned(), vary, carry }
    }

    fn test(&mut self, item: &Item) -> TestText {
        let table = self.table(item, "a test");
        self.keys(&table, "a `[[test]]`", &["name", "set", "expect"]);
        let here = Place { file: self.file, ..item.at };
        let name = table.get("name").and_then(|i| self.text(i, "the name of a test"));
        let set = table.get("set").map(|i| self.table(i, "`set` of a test")).unwrap_or_default();
        let set = set.0.iter().flat_map(|(word, item)| flat(&word.text, item)).collect();
        let expect = table.get("expect").map(|i| self.table(i, "`expect`")).unwrap_or_default();
        if expect.0.is_empty() {
            let fault = Diagnostic::error("E0105", "a test expects nothing").at(here, "no `expect`");
            self.faults.push(fault.help("add `expect = { \"stage.port\" = value }`"));
        }
        let mut list = vec![];
        for (what, item) in expect.0 {
            self.expect(what, &item, &mut list);
        }
        TestText { name: name.unwrap_or(Word { text: "test".into(), at: here }), set, expect: list }
    }

    fn expect(&mut self, what: Word, item: &Item, list: &mut Vec<Expect>) {
        let Some(table) = item.table() else {
            list.push(Expect { what, value: item.to_json(), within: 0.0 });
            return;
        };
        // `ledger = { done = 3 }` and `ledger.done = 3` say the same.
        if table.get("value").is_none() {
            for (word, item) in &table.0 {
                let text = format!("{}.{}", what.text, word.text);
                self.expect(Word { text, at: word.at }, item, list);
            }
            return;
        }
        self.keys(table, "`expect`", &["value", "within"]);
        let within = match table.get("within").map(|i| (&i.value, i)) {
            None => 0.0,
            Some((Typed::Float(x), _)) if *x >= 0.0 => *x,
            Some((Typed::Int(x), _)) if *x >= 0 => *x as f64,
            Some((_, item)) => {
                self.wrong(item, "`within`", "a number, 0 or above");
                0.0
            }
        };
        let value = table.get("value").map(Item::to_json).unwrap_or_default();
        list.push(Expect { what, value, within });
    }
}

/// `stage.key=value` for every leaf of a table.
fn flat(path: &str, item: &Item) -> Vec<String> {
    match &item.value {
        Typed::Table(table) if !path.contains('.') => {
            table.0.iter().flat_map(|(word, inner)| flat(&format!("{path}.{}", word.text), inner)).collect()
        }
        _ => vec![format!("{path}={}", toml_text(item))],
    }
}

/// A value as TOML on one line.
fn toml_text(item: &Item) -> String {
    match &item.value {
        // JSON's text is TOML's basic string.
        Typed::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
        Typed::Date(text) => text.clone(),
        Typed::Int(i) => i.to_string(),
        Typed::Float(x) => format!("{x:?}"),
        Typed::Bool(b) => b.to_string(),
        Typed::List(list) => {
            format!("[{}]", list.iter().map(toml_text).collect::<Vec<_>>().join(", "))
        }
        Typed::Table(table) => {
            let entries = table.0.iter().map(|(word, item)| {
                format!("{} = {}", serde_json::Value::from(word.text.as_str()), toml_text(item))
            });
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}
