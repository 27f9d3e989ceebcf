//! `--set stage.key=value`, and values for a recipe's own parameters.

use toml::de::DeValue;

use crate::diagnostic::{Diagnostic, Files, Place};
use crate::error::nearest;
use crate::recipe::include::{DEPTH, deep};
use crate::recipe::item::{Item, Table, Typed, Word};
use crate::recipe::{Recipe, item};
use crate::value::Value;

/// A text from a command line as a value: TOML, else text.
///
/// What is no TOML value is text: nobody wants to quote quotes in a shell.
pub fn value_of(text: &str) -> Value {
    let json = typed(text, 0, 0).to_json();
    Value::from_json(&json).unwrap_or_else(|_| Value::from(text))
}

fn typed(text: &str, file: usize, start: usize) -> Item {
    match DeValue::parse(text) {
        Ok(parsed) if deep(text).is_none() => item::item(parsed.get_ref(), parsed.span(), file, start),
        _ => {
            let at = Place { file, start, end: start + text.len() };
            Item { value: Typed::Text(text.to_owned()), at }
        }
    }
}

/// The names and the value of `a.b=value`; what cannot be read is a fault.
fn split(text: &str, wanted: &str, file: usize, faults: &mut Vec<Diagnostic>) -> Option<(Vec<Word>, Item)> {
    let place = |start: usize, end: usize| Place { file, start, end };
    let mut refuse = |message: String, end: usize| {
        let fault = Diagnostic::error("E0109", message).at(place(0, end), "");
        faults.push(fault.help(format!("write `--set {wanted}`")));
        None
    };
    let Some((path, value)) = text.split_once('=') else {
        return refuse(format!("`--set {text}` has no `=`"), text.len());
    };
    if path.split('.').count() > DEPTH || deep(value).is_some() {
        return refuse(format!("`--set` goes more than {DEPTH} names deep"), 1);
    }
    let mut words = vec![];
    let mut at = 0;
    for step in path.split('.') {
        words.push(Word { text: step.trim().to_owned(), at: place(at, at + step.len()) });
        at += step.len() + 1;
    }
    if words.len() < wanted.split('=').next().map_or(1, |w| w.split('.').count())
        || words.iter().any(|w| w.text.is_empty())
    {
        return refuse(format!("`{path}` names no parameter"), path.len());
    }
    Some((words, typed(value, file, path.len() + 1)))
}

/// Puts `key=value` into a table of parameters.
pub(crate) fn set(table: &mut Table, text: &str, files: &mut Files, faults: &mut Vec<Diagnostic>) {
    let file = files.add_option("--set", text);
    if let Some((words, value)) = split(text, "key=value", file, faults) {
        put(table, &words, value);
    }
}

/// Puts one override into the recipe.
pub(super) fn apply(recipe: &mut Recipe, text: &str, files: &mut Files, faults: &mut Vec<Diagnostic>) {
    let file = files.add_option("--set", text);
    let Some((words, found)) = split(text, "stage.key=value", file, faults) else { return };
    let [first, rest @ ..] = words.as_slice() else { return };
    let table = match first.text.as_str() {
        "run" => &mut recipe.run,
        "shared" => &mut recipe.shared,
        name => match recipe.stages.iter_mut().find(|s| s.name.text == name) {
            Some(stage) => &mut stage.set,
            None => {
                let names = recipe.stages.iter().map(|s| s.name.text.as_str());
                let near = nearest(name, names.clone()).map(str::to_owned);
                let all = names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
                faults.push(
                    Diagnostic::error("E0109", format!("no stage `{name}` to set"))
                        .at(first.at, "")
                        .similar(near.as_deref())
                        .note(format!("stages of the recipe: {all}")),
                );
                return;
            }
        },
    };
    put(table, rest, found);
}

/// Puts a value at a path of names; what is no table on the way becomes one.
fn put(table: &mut Table, path: &[Word], value: Item) {
    let [first, rest @ ..] = path else { return };
    if rest.is_empty() {
        table.set(first.clone(), value);
        return;
    }
    if table.get(&first.text).is_none_or(|i| i.table().is_none()) {
        table.set(first.clone(), Item { value: Typed::Table(Table::default()), at: first.at });
    }
    if let Some((_, Item { value: Typed::Table(inner), .. })) =
        table.0.iter_mut().find(|(w, _)| w.text == first.text)
    {
        put(inner, rest, value);
    }
}

/// Values for parameters that the recipe does not have are faults.
pub(super) fn arguments(recipe: &Recipe, files: &mut Files, faults: &mut Vec<Diagnostic>) {
    for name in recipe.arguments.keys().filter(|n| recipe.parameters.get(n).is_none()) {
        let file = files.add_option("arguments", name);
        let known: Vec<&str> = recipe.parameters.names().collect();
        let all = known.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        faults.push(
            Diagnostic::error("E0122", format!("the recipe has no parameter `{name}`"))
                .at(Place { file, start: 0, end: name.len() }, "")
                .similar(nearest(name, known.iter().copied()))
                .note(if all.is_empty() { "it has no `[in]`".into() } else { format!("its `[in]`: {all}") }),
        );
    }
}
