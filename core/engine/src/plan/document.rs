//! One JSON schema for whole recipes, so that an editor completes and checks them.

use serde_json::{Map, Value as Json, json};

use crate::plan::{join, options};
use crate::registry::{Declaration, Registry};

/// The JSON schema of recipes over the stages of a registry.
pub fn recipe_schema(registry: &Registry) -> Json {
    let mut defs = Map::new();
    let mut cases = vec![];
    let mut names = vec![];
    for declaration in registry.iter() {
        let name = declaration.name.as_str();
        names.push(json!({ "const": name, "description": declaration.summary() }));
        defs.insert(format!("set.{name}"), moved(declaration));
        cases.push(case(name, inputs(declaration)));
    }
    names.push(json!({ "const": "flow.join", "description": "Brings two streams together." }));
    defs.insert("set.flow.join".into(), join::schema());
    cases.push(case("flow.join", json!({ "type": "object", "additionalProperties": false })));
    let text = json!({ "type": "string" });
    let names_or_name = json!({ "anyOf": [text, { "type": "array", "items": { "type": "string" } }] });
    defs.insert("stage".into(), json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "use": { "description": "The plugin.", "oneOf": names },
            "from": { "description": "The stage whose stream it reads; a join reads two.", "anyOf": names_or_name["anyOf"] },
            "in": { "description": "Where single ports get their values.", "type": "object" },
            "set": { "description": "The parameters.", "type": "object" },
            "run": options::stage_schema(),
        },
        "allOf": cases,
    }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "isard recipe",
        "type": "object", "additionalProperties": false, "$defs": defs,
        "properties": {
            "isard": { "type": "string", "description": "The version of isard the recipe was written for." },
            "name": { "type": "string", "description": "What the recipe is called." },
            "include": { "description": "Other recipes whose stages are used.", "anyOf": names_or_name["anyOf"] },
            "run": options::run_schema(),
            "scan": { "type": "object", "additionalProperties": false, "description": "What frame numbers mean.",
                "properties": { "axes": { "type": "array", "description": "Named axes, slowest first.",
                    "items": { "type": "object", "additionalProperties": false, "required": ["name", "n"],
                        "properties": { "name": text, "n": { "type": "integer", "minimum": 1 } } } } } },
            "shared": { "type": "object", "description": "Parameters that several stages take as one." },
            "stage": { "type": "object", "description": "The stages.",
                "propertyNames": { "pattern": "^[A-Za-z0-9_-]+$" },
                "additionalProperties": { "$ref": "#/$defs/stage" } },
            "pass": { "type": "object", "description": "Passes, in the order they run.",
                "additionalProperties": { "type": "object", "additionalProperties": false,
                    "properties": { "needs": { "type": "string",
                        "description": "The pass is skipped when this port of an earlier one is empty." } } } },
            "loop": { "type": "object", "description": "Passes that repeat.",
                "additionalProperties": { "type": "object", "additionalProperties": false, "required": ["passes"],
                    "properties": {
                        "passes": { "type": "array", "items": text, "description": "The passes, in order." },
                        "repeat": { "type": "integer", "minimum": 1, "description": "How often they run." },
                        "vary": { "type": "object", "description": "`stage.parameter` = one value for each turn.",
                            "additionalProperties": { "type": "array" } },
                        "carry": { "type": "object", "description": "Values that go from turn to turn.",
                            "additionalProperties": { "type": "object", "additionalProperties": false,
                                "required": ["first", "then"],
                                "properties": { "first": feed(), "then": feed() } } },
                    } } },
            "in": { "type": "object", "description": "The recipe's own parameters with their defaults." },
            "out": { "type": "object", "additionalProperties": text,
                "description": "The recipe's results: a name and `stage.port`." },
            "test": { "type": "array", "description": "Checks that the recipe carries.",
                "items": { "type": "object", "additionalProperties": false, "required": ["expect"],
                    "properties": { "name": text, "set": { "type": "object" }, "expect": { "type": "object" } } } },
        },
    })
}

/// What may stand at an entry of `in`.
fn feed() -> Json {
    json!({ "anyOf": [
        { "type": "string", "description": "`stage.port`, `stage.head.key`, `carry.key`, `in.name`." },
        { "type": "object", "required": ["file"], "additionalProperties": false, "properties": { "file": { "type": "string" } } },
        { "type": "object", "required": ["value"], "additionalProperties": false, "properties": { "value": {} } },
    ] })
}

fn case(name: &str, inputs: Json) -> Json {
    json!({
        "if": { "required": ["use"], "properties": { "use": { "const": name } } },
        "then": { "properties": { "set": { "$ref": format!("#/$defs/set.{name}") }, "in": inputs } },
    })
}

fn inputs(declaration: &Declaration) -> Json {
    let open = declaration.inputs.iter().any(|p| p.open);
    let mut properties = Map::new();
    for port in declaration.inputs.iter().filter(|p| !p.open) {
        let mut one = feed();
        one["description"] = Json::from(format!("{} ({})", port.doc, port.kind));
        properties.insert(port.name.to_string(), one);
    }
    let rest = if open { feed() } else { Json::Bool(false) };
    json!({ "type": "object", "properties": properties, "additionalProperties": rest })
}

/// A stage's schema at its place in the whole: references move along, and what has a unit also takes text.
fn moved(declaration: &Declaration) -> Json {
    let mut schema = declaration.schema.clone();
    rewrite(&mut schema, &format!("#/$defs/set.{}", declaration.name));
    if let Some(map) = schema.as_object_mut() {
        map.remove("$schema");
        // Values may come from a loop, from `[shared]` or from an included stage.
        map.remove("required");
        map.entry("additionalProperties").or_insert(Json::Bool(false));
    }
    schema
}

fn rewrite(part: &mut Json, base: &str) {
    match part {
        Json::Object(map) => {
            if let Some(Json::String(target)) = map.get_mut("$ref")
                && let Some(rest) = target.strip_prefix('#')
            {
                *target = format!("{base}{rest}");
            }
            if map.contains_key("x-unit")
                && let Some(Json::String(kind)) = map.get("type")
                && matches!(kind.as_str(), "number" | "integer")
            {
                let kind = kind.clone();
                map.insert("type".into(), json!([kind, "string"]));
            }
            for value in map.values_mut() {
                rewrite(value, base);
            }
        }
        Json::Array(list) => list.iter_mut().for_each(|one| rewrite(one, base)),
        _ => (),
    }
}
