//! Choices in parameters: one of a few values, one of several forms.

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Place};
use crate::error::nearest;
use crate::plan::parameters::{Check, Owner, describe, fits};
use crate::plan::schema;
use crate::recipe::{Item, Table};

impl Check<'_> {
    /// A table whose own names stand beside those of one of several variants.
    pub(super) fn spread(
        &mut self,
        part: &Json,
        variants: &[Json],
        table: &Table,
        at: Place,
        prefix: &str,
    ) -> Json {
        let mut best: Option<Check<'_>> = None;
        let mut chosen = Json::Null;
        for variant in variants {
            let whole = schema::beside(part, variant);
            let mut check = Check { faults: vec![], outputs: vec![], ..*self };
            let json = check.object(&whole, table, at, prefix);
            if best.as_ref().is_none_or(|b| check.faults.len() < b.faults.len()) {
                (best, chosen) = (Some(check), json);
            }
        }
        if let Some(mut best) = best {
            let (faults, outputs) = (std::mem::take(&mut best.faults), std::mem::take(&mut best.outputs));
            self.faults.extend(faults);
            self.outputs.extend(outputs);
        }
        chosen
    }

    pub(super) fn choice(&mut self, choices: &[Json], item: &Item, name: &str) -> Json {
        let found = item.to_json();
        let same = |c: &&Json| **c == found || (c.is_number() && c.as_f64() == found.as_f64());
        if let Some(choice) = choices.iter().find(same) {
            return choice.clone();
        }
        let texts: Vec<&str> = choices.iter().filter_map(Json::as_str).collect();
        let all = choices.iter().map(Json::to_string).collect::<Vec<_>>().join(", ");
        let Owner { noun, name: owner, .. } = self.owner;
        let message = format!("{noun} `{name}` of {owner} is not one of the choices");
        let near = item.text().and_then(|text| nearest(text, texts.iter().copied()));
        self.faults.push(
            Diagnostic::error("E0116", message).at(item.at, "").found(item.describe(), all).similar(near),
        );
        Json::Null
    }

    pub(super) fn one_of(&mut self, variants: &[Json], item: &Item, name: &str) -> Json {
        let texts: Vec<Json> = variants.iter().filter_map(schema::only).collect();
        if texts.len() == variants.len() || (item.text().is_some() && !texts.is_empty()) {
            return self.choice(&texts, item, name);
        }
        if let Some(table) = item.table()
            && let Some(picked) = self.tagged(variants, table, item, name)
        {
            return picked;
        }
        let mut best: Option<(usize, Vec<Diagnostic>)> = None;
        for variant in variants {
            let mut check = Check { faults: vec![], outputs: vec![], ..*self };
            let json = check.inner(variant, item, name);
            if check.faults.is_empty() {
                self.outputs.append(&mut check.outputs);
                return json;
            }
            // The variant meant is the one of the right type with the fewest faults.
            let off = schema::types(variant).iter().all(|t| !fits(t, item));
            let weight = check.faults.len() + if off { 1000 } else { 0 };
            if best.as_ref().is_none_or(|(w, _)| weight < *w) {
                best = Some((weight, check.faults));
            }
        }
        match best {
            Some((weight, mut faults)) if weight < 1000 => self.faults.append(&mut faults),
            _ => {
                let wanted = variants.iter().map(describe).collect::<Vec<_>>().join(", or ");
                self.fault("E0114", item, name, &item.describe(), &wanted);
            }
        }
        Json::Null
    }

    /// The variant that a tag or a single key names.
    fn tagged(&mut self, variants: &[Json], table: &Table, item: &Item, name: &str) -> Option<Json> {
        let tag = schema::tag(variants)?;
        let names: Vec<(Json, &Json)> =
            variants.iter().filter_map(|v| Some((schema::tag_value(v, &tag)?, v))).collect();
        let Some(given) = table.get(&tag) else {
            let all = names.iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>().join(", ");
            let Owner { noun, name: owner, .. } = self.owner;
            self.faults.push(
                Diagnostic::error("E0113", format!("{noun} `{name}` of {owner} needs `{tag}`"))
                    .at(item.at, format!("`{tag}` is not set"))
                    .help(format!("add `{tag} = ..`, one of {all}")),
            );
            return Some(Json::Null);
        };
        match names.iter().find(|(n, _)| *n == given.to_json()) {
            Some((_, variant)) => Some(self.inner(variant, item, name)),
            None => {
                let all: Vec<Json> = names.into_iter().map(|(n, _)| n).collect();
                Some(self.choice(&all, given, &format!("{name}.{tag}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::diagnostic::{Files, Place};
    use crate::plan::parameters::{Check, Owner};
    use crate::recipe::{Item, Typed};

    /// The codes that a table of parameters gives.
    fn check(schema: serde_json::Value, set: serde_json::Value) -> (serde_json::Value, Vec<&'static str>) {
        let (owner, files, at) = (Owner::words("a test"), Files::default(), Place::default());
        let Typed::Table(table) = Item::of_json(&set, at).value else { panic!("a table") };
        let mut check = Check::new(&owner, &schema, &files);
        let json = check.table(&table, at);
        (json, check.faults.iter().map(|f| f.code).collect())
    }

    #[test]
    fn names_beside_variants_are_known() {
        // What schemars writes for a struct with a flattened enum.
        let schema = json!({
            "type": "object",
            "properties": { "width": { "type": "number" } },
            "required": ["width"],
            "oneOf": [
                { "type": "object", "properties": { "disc": { "type": "number" } }, "required": ["disc"] },
                { "type": "object", "properties": { "side": { "type": "integer" } }, "required": ["side"] },
            ],
        });
        assert_eq!(check(schema.clone(), json!({ "width": 1, "side": 3 })).1, [""; 0]);
        assert_eq!(check(schema.clone(), json!({ "width": 1, "side": 3.5 })).1, ["E0114"]);
        assert_eq!(check(schema.clone(), json!({ "width": 1, "sied": 3, "side": 1 })).1, ["E0102"]);
        assert_eq!(check(schema, json!({ "disc": 1 })).1, ["E0113"]);
    }

    #[test]
    fn a_stage_without_parameters_takes_none_and_a_map_takes_all() {
        assert_eq!(check(json!({ "type": "object" }), json!({ "width": 1 })).1, ["E0102"]);
        let map = json!({ "type": "object", "properties": { "names": { "type": "object" } } });
        assert_eq!(check(map, json!({ "names": { "width": 1 } })).1, [""; 0]);
    }

    #[test]
    fn an_untagged_choice_takes_the_form_that_fits() {
        let one = json!({ "anyOf": [
            { "type": "string", "enum": ["auto"] },
            { "type": "number", "minimum": 0 },
            { "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2 },
        ] });
        let schema = json!({ "type": "object", "properties": { "range": one } });
        for good in [json!("auto"), json!(3), json!([1, 2.5])] {
            assert_eq!(check(schema.clone(), json!({ "range": good })).1, [""; 0]);
        }
        assert_eq!(check(schema.clone(), json!({ "range": "atuo" })).1, ["E0116"]);
        assert_eq!(check(schema.clone(), json!({ "range": -1 })).1, ["E0115"]);
        assert_eq!(check(schema.clone(), json!({ "range": [1] })).1, ["E0115"]);
        assert_eq!(check(schema, json!({ "range": true })).1, ["E0114"]);
    }

    #[test]
    fn an_externally_tagged_choice_is_told_by_its_key() {
        let one = json!({ "oneOf": [
            { "type": "string", "const": "none" },
            { "type": "object", "properties": { "fixed": { "type": "number" } }, "required": ["fixed"],
              "additionalProperties": false },
            { "type": "object", "properties": { "fit": { "type": "integer" } }, "required": ["fit"],
              "additionalProperties": false },
        ] });
        let schema = json!({ "type": "object", "properties": { "background": one } });
        assert_eq!(check(schema.clone(), json!({ "background": "none" })).1, [""; 0]);
        assert_eq!(check(schema.clone(), json!({ "background": { "fit": 3 } })).1, [""; 0]);
        assert_eq!(check(schema, json!({ "background": { "fit": "x" } })).1, ["E0114"]);
    }
}
