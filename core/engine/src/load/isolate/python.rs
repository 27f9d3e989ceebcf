//! Python plugins: the package that speaks for them, and the Python that runs it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Context, Error, Result};
use crate::load::adopt::Keys;
use crate::load::export::Card;
use crate::load::isolate::{Apart, Door, Program};
use crate::load::{open, words};
use crate::registry::Declaration;
use crate::stage::Example;

/// The package of `examples/python`: what a plugin imports is what speaks to this isard, installed or not.
const PACKAGE: [(&str, &str); 6] = [
    ("isard", include_str!("../../../../../examples/python/isard/__init__.py")),
    ("isard.ports", include_str!("../../../../../examples/python/isard/ports.py")),
    ("isard.stages", include_str!("../../../../../examples/python/isard/stages.py")),
    ("isard.memory", include_str!("../../../../../examples/python/isard/memory.py")),
    ("isard.wire", include_str!("../../../../../examples/python/isard/wire.py")),
    ("isard.host", include_str!("../../../../../examples/python/isard/host.py")),
];

/// Makes the package from its text and serves the plugin named after it.
const START: &str = include_str!("start.py");

/// The stages of a Python file; its host stays warm for the first of them.
pub(super) fn declarations(path: &Path, wanted: Option<&str>) -> Result<Vec<Declaration>> {
    let (path, sha256) = open::trusted(path, wanted)?;
    let door = Arc::new(Door::new(program()?, path, sha256));
    let process = door.start()?;
    let cards = open::parse(&process.cards).at(|| format!("plugin {}", door.path().display()))?;
    door.keep(process);
    Ok(cards.into_iter().map(|card| declaration(&door, card)).collect())
}

fn declaration(door: &Arc<Door>, card: Card) -> Declaration {
    let name: Arc<str> = card.name.as_str().into();
    let apart =
        Apart { only: true, ..Apart::new(door, &name, card.role, &Arc::new(Keys::of(&card.outputs))) };
    let (builder, about) = (apart.clone(), door.clone());
    Declaration {
        name: card.name,
        kind: card.kind,
        role: card.role,
        origin: door.path().display().to_string(),
        version: card.version,
        doc: card.doc,
        schema: card.schema,
        inputs: card.inputs,
        outputs: card.outputs,
        early: card.early,
        example: Arc::new(move || match about.example(&name) {
            Ok(dict) => words::example_of(dict),
            Err(error) => {
                let why = format!("the plugin's example fails: {error}");
                Example { external: Some(words::intern(&why)), ..Example::default() }
            }
        }),
        build: Arc::new(move |set| builder.build(&set)),
        apart: Some(apart),
    }
}

/// The Python that is named by `ISARD_PYTHON`, else the `python3` found first.
fn program() -> Result<Program> {
    let help = "name another Python, version 3.10 or later with numpy, by ISARD_PYTHON";
    let path = match std::env::var_os("ISARD_PYTHON").filter(|named| !named.is_empty()) {
        Some(named) => PathBuf::from(named),
        None => {
            let folders = std::env::var_os("PATH").unwrap_or_default();
            let mut all = std::env::split_paths(&folders).map(|folder| folder.join("python3"));
            all.find(|path| path.is_file()).ok_or_else(|| {
                Error::plugin("a Python plugin needs python3, which is not on PATH").help(help)
            })?
        }
    };
    let modules: serde_json::Map<String, serde_json::Value> =
        PACKAGE.iter().map(|(name, text)| ((*name).to_owned(), (*text).into())).collect();
    let package = serde_json::Value::Object(modules).to_string();
    // Not the working folder, which `-c` would look for modules in: a data folder is no place to run code from.
    Ok(Program { path: Some(path), arguments: vec!["-c".into(), START.into(), package], help: help.into() })
}
