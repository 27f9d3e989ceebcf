//! Recipes: what was typed, with the place of every word. What it means is the plan's affair.

mod include;
mod item;
mod overrides;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) use include::syntax as table;
pub use item::{Item, Table, Typed, Word};
pub(crate) use overrides::set;
pub use overrides::value_of;

use crate::diagnostic::{Diagnostic, Diagnostics, Files, Place};
use crate::value::Value;

/// What is said about a recipe from outside.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `stage.key=value`, in the order given.
    pub set: Vec<String>,
    /// A file with the site's `[run]` and `[shared]`, laid underneath.
    pub site: Option<PathBuf>,
    /// Values of the recipe's own parameters, its `[in]`.
    pub arguments: BTreeMap<String, Value>,
    /// The folder that paths among these values start from; empty is the working directory.
    pub folder: PathBuf,
    /// Texts that stand for files, by their absolute paths: what a run recorded.
    pub texts: BTreeMap<PathBuf, String>,
}

impl Overrides {
    /// The text of a file.
    fn read(&self, path: &Path) -> std::io::Result<String> {
        match self.texts.get(&std::path::absolute(path)?) {
            Some(text) => Ok(text.clone()),
            None => std::fs::read_to_string(path),
        }
    }
}

/// What was typed: a recipe with its includes, the site's defaults and the overrides.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// The texts it was made of: the recipe first.
    pub files: Files,
    /// Its name.
    pub name: Option<String>,
    /// How it runs.
    pub run: Table,
    /// What frame numbers mean, slowest axis first; each with the place it was said.
    pub scan: Vec<(Word, u64)>,
    /// Parameters that several stages take as one.
    pub shared: Table,
    /// Its stages in the order written, those of includes first.
    pub stages: Vec<StageText>,
    /// Its passes in the order written.
    pub passes: Vec<PassText>,
    /// Its loops in the order written.
    pub loops: Vec<LoopText>,
    /// Its own parameters: a default value or `{ type = ".." }`.
    pub parameters: Table,
    /// Its results: a name and `stage.port`.
    pub results: Vec<(Word, Word)>,
    /// Its own checks.
    pub tests: Vec<TestText>,
    /// The site's file, as a place in `files`.
    pub site: Option<usize>,
    /// Values given for its parameters.
    pub arguments: BTreeMap<String, Value>,
    /// The folder that paths among these values start from.
    pub folder: PathBuf,
    /// Faults that did not keep it from being read.
    pub faults: Vec<Diagnostic>,
}

/// A stage as typed.
#[derive(Clone, Debug)]
pub struct StageText {
    /// Its name.
    pub name: Word,
    /// The plugin.
    pub plugin: Option<Word>,
    /// The stages whose streams it reads.
    pub from: Vec<Word>,
    /// Where `from` stands, whatever it says.
    pub from_at: Option<Place>,
    /// Where its ports get their values.
    pub inputs: Table,
    /// Its parameters.
    pub set: Table,
    /// Where its parameters stand.
    pub set_at: Place,
    /// How it runs.
    pub run: Table,
}

/// A pass as typed.
#[derive(Clone, Debug)]
pub struct PassText {
    /// Its name.
    pub name: Word,
    /// The port that must not be empty.
    pub needs: Option<Word>,
}

/// A loop as typed.
#[derive(Clone, Debug)]
pub struct LoopText {
    /// Its name.
    pub name: Word,
    /// Its passes.
    pub passes: Vec<Word>,
    /// How often they run.
    pub repeat: Option<Item>,
    /// What each turn sets.
    pub vary: Table,
    /// What is carried forward.
    pub carry: Table,
}

/// A check that a recipe carries.
#[derive(Clone, Debug)]
pub struct TestText {
    /// Its name.
    pub name: Word,
    /// What it sets first: `stage.key=value`.
    pub set: Vec<String>,
    /// What it expects.
    pub expect: Vec<Expect>,
}

/// One thing a test expects.
#[derive(Clone, Debug)]
pub struct Expect {
    /// `stage.port`, or `ledger.done` and the like.
    pub what: Word,
    /// The value.
    pub value: serde_json::Value,
    /// How far the value found may be from it.
    pub within: f64,
}

/// Reads a recipe from its file, with its includes.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Recipe, Diagnostics> {
    match overrides.read(path) {
        Ok(text) => parse_with(&text, path, overrides),
        Err(error) => {
            let mut files = Files::default();
            let file = files.add(path, "");
            let fault = Diagnostic::error("E0100", format!("cannot read the recipe: {error}"))
                .at(Place { file, start: 0, end: 0 }, "")
                .similar(crate::plan::nearest_file(path).as_deref());
            Err(Diagnostics::new(files, vec![fault]))
        }
    }
}

/// Reads a recipe from its text; the path is where the text stands.
pub fn parse(text: &str, path: &Path) -> Result<Recipe, Diagnostics> {
    parse_with(text, path, &Overrides::default())
}

/// Reads a recipe from its text, with what is said about it from outside.
pub fn parse_with(text: &str, path: &Path, overrides: &Overrides) -> Result<Recipe, Diagnostics> {
    let mut reader = include::Reader::new(overrides);
    let mut recipe = reader.recipe(path, text);
    let mut faults = std::mem::take(&mut reader.faults);
    let mut files = std::mem::take(&mut reader.files);
    if let Some(site) = &overrides.site {
        include::site(&mut recipe, overrides.read(site), site, &mut files, &mut faults);
    }
    for text in &overrides.set {
        overrides::apply(&mut recipe, text, &mut files, &mut faults);
    }
    recipe.arguments = overrides.arguments.clone();
    recipe.folder = overrides.folder.clone();
    overrides::arguments(&recipe, &mut files, &mut faults);
    // With a word missing from the text, what follows would be guesses about the rest of it.
    let fatal = faults.iter().any(|f| matches!(f.code, "E0100" | "E0101" | "E0106" | "E0107"));
    if fatal {
        return Err(Diagnostics::new(files, faults));
    }
    recipe.files = files;
    recipe.faults = faults;
    Ok(recipe)
}
