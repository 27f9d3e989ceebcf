//! A recipe's own parameters: their defaults, their types, the values they are given.

use crate::diagnostic::Diagnostic;
use crate::plan::make::Maker;
use crate::recipe::{Table, Word};
use crate::value::Value;

impl Maker<'_> {
    /// The values of the recipe's own parameters.
    pub(super) fn arguments(&mut self) {
        for (word, item) in &self.recipe.parameters.0 {
            let typed = item.table().filter(|t| t.get("type").is_some());
            let given = self.recipe.arguments.get(&word.text).cloned();
            match typed {
                Some(table) => self.argument_type(word, table, given.as_ref()),
                None if given.is_none() => match Value::from_json(&item.to_json()) {
                    Ok(value) => drop(self.arguments.insert(word.text.clone(), value)),
                    Err(error) => self.faults.push(
                        Diagnostic::error("E0104", format!("`{}`: {}", word.text, error.message()))
                            .at(item.at, ""),
                    ),
                },
                None => (),
            }
            if let Some(value) = given {
                self.arguments.insert(word.text.clone(), value);
            }
        }
    }

    fn argument_type(&mut self, word: &Word, table: &Table, given: Option<&Value>) {
        const TYPES: [&str; 9] =
            ["any", "bool", "integer", "float", "text", "list", "array", "table", "dict"];
        let Some(item) = table.get("type") else { return };
        let Some(kind) = item.text().filter(|t| TYPES.contains(t)) else {
            let fault =
                Diagnostic::error("E0104", format!("`type` of `{}` is {}", word.text, item.describe()));
            self.faults.push(fault.at(item.at, format!("wanted one of {}", TYPES.join(", "))));
            return;
        };
        if let Some(value) = given
            && kind != "any"
            && value.kind() != kind
            && !(kind == "float" && value.kind() == "integer")
        {
            self.faults.push(
                Diagnostic::error(
                    "E0122",
                    format!("the recipe's parameter `{}` has the wrong type", word.text),
                )
                .at(word.at, "")
                .found(value.describe(), kind.to_owned()),
            );
        }
    }
}
