//! Which stages run in a host process: `run.isolate`, and what it is when the recipe does not say.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::load::isolate::isolated;
use crate::plan::StageOptions;
use crate::recipe::{Recipe, StageText, Typed};
use crate::registry::Declaration;

/// The declaration of a stage as it runs; a loaded one beside a recorder is isolated unless the recipe says no.
pub(crate) fn settle(
    recipe: &Recipe,
    text: &StageText,
    declaration: Arc<Declaration>,
    options: &mut StageOptions,
    faults: &mut Vec<Diagnostic>,
) -> Arc<Declaration> {
    let said = text.run.entry("isolate").and_then(|(word, item)| match item.value {
        Typed::Bool(said) => Some((said, word.at)),
        // Another type is a fault that was found where it was read.
        _ => None,
    });
    let name = &text.name.text;
    let mut refuse = |at, why: String, help: &str| {
        let message = format!("stage `{name}` {why}");
        faults.push(Diagnostic::error("E0141", message).at(at, "").help(help.to_owned()));
    };
    options.isolate = match (&declaration.apart, said) {
        (None, Some((true, at))) => {
            let why = format!("cannot be isolated: `{}` is built in", declaration.name);
            refuse(at, why, "leave out `isolate`: it is for stages of loaded plugins");
            false
        }
        (None, _) => false,
        (Some(apart), Some((false, at))) if apart.is_only() => {
            let why = format!("is always isolated: `{}` runs in Python", declaration.name);
            refuse(at, why, "leave out `isolate`");
            true
        }
        (Some(_), Some((said, _))) => said,
        (Some(apart), None) => apart.is_only() || records(recipe),
    };
    match isolated(&declaration).filter(|_| options.isolate) {
        Some(apart) => Arc::new(apart),
        None => declaration,
    }
}

/// Whether a recipe records: a plugin must not be able to end that.
fn records(recipe: &Recipe) -> bool {
    let lane = |stage: &StageText| stage.run.get("lane").and_then(|item| item.text()) == Some("record");
    recipe.stages.iter().any(lane)
}
