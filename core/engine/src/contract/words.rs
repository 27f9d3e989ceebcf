//! Names, docs, units, defaults and examples.

use serde_json::Value;

use crate::plan::parameters;
use crate::port::Port;
use crate::registry::Declaration;

/// What a stage's own words break.
pub fn check(declaration: &Declaration) -> Vec<String> {
    let mut broken = vec![];
    let word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let parts: Vec<&str> = declaration.name.split('.').collect();
    if parts.len() != 2 || !parts.iter().all(|p| word(p)) {
        broken.push("its name is not `family.what` in lower case".into());
    }
    doc("the stage", &declaration.doc, &mut broken);
    if let Some(properties) = declaration.schema.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            if !word(name) {
                broken.push(format!("parameter `{name}` is not in lower case"));
            }
            let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
            doc(&format!("parameter `{name}`"), text, &mut broken);
        }
    }
    if declaration.schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        broken.push("it takes parameters that do not exist: add #[serde(deny_unknown_fields)]".into());
    }
    for (side, ports) in [("input", &declaration.inputs), ("output", &declaration.outputs)] {
        for port in ports {
            port_words(side, port, &mut broken);
        }
    }
    let example = (declaration.example)();
    match parameters(declaration, &example.set) {
        Err(faults) => broken.push(format!("its example has faults:\n{faults}")),
        Ok(set) => {
            if let Err(error) = (declaration.build)(set) {
                broken.push(format!("its example cannot be built: {error}"));
            }
        }
    }
    for port in declaration.inputs.iter().filter(|p| !p.optional && !p.open) {
        let given = example.frames.get(&port.name).or(example.fixed.get(&port.name));
        if given.is_none() && example.external.is_none() {
            broken.push(format!("its example gives nothing for input `{}`", port.name));
        }
    }
    broken
}

fn port_words(side: &str, port: &Port, broken: &mut Vec<String>) {
    doc(&format!("{side} `{}`", port.name), &port.doc, broken);
}

/// The first line is one sentence, at most 80 characters.
fn doc(what: &str, text: &str, broken: &mut Vec<String>) {
    let first = text.lines().next().unwrap_or_default().trim();
    if first.is_empty() {
        broken.push(format!("{what} has no doc comment"));
    } else if first.chars().count() > 80 {
        broken.push(format!("the first line of the doc of {what} is longer than 80 characters"));
    }
}
