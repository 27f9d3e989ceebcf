//! Reading JSON schemas: references, optional values, variants, bounds.

use serde_json::{Map, Value as Json};

/// A schema with its reference followed, its `allOf` joined and its optional wrapping taken off.
pub(crate) fn flat(root: &Json, part: &Json) -> Json {
    let mut seen = 0;
    let mut part = part.clone();
    // A schema that refers to itself would go on for ever.
    while seen < 16 {
        seen += 1;
        let Json::Object(mut map) = part else { return part };
        if let Some(target) = map.remove("$ref") {
            let found = target.as_str().and_then(|t| root.pointer(t.strip_prefix('#')?));
            lay(&mut map, found);
        } else if let Some(Json::Array(all)) = map.remove("allOf") {
            for one in &all {
                lay(&mut map, Some(&flat(root, one)));
            }
        } else if let Some(only) = optional(&map) {
            map.remove("anyOf");
            map.remove("oneOf");
            lay(&mut map, Some(&only));
        } else {
            return Json::Object(map);
        }
        part = Json::Object(map);
    }
    part
}

/// Lays a schema under the words that stand beside its reference.
fn lay(map: &mut Map<String, Json>, under: Option<&Json>) {
    for (key, value) in under.and_then(Json::as_object).into_iter().flatten() {
        match (map.get_mut(key), value) {
            (None, value) => drop(map.insert(key.clone(), value.clone())),
            (Some(Json::Object(own)), Json::Object(more)) if key == "properties" => {
                for (name, schema) in more {
                    own.entry(name.clone()).or_insert(schema.clone());
                }
            }
            (Some(Json::Array(own)), Json::Array(more)) if key == "required" => {
                own.extend(more.iter().cloned())
            }
            _ => (),
        }
    }
}

/// The one variant beside null.
fn optional(map: &Map<String, Json>) -> Option<Json> {
    let list = map.get("anyOf").or(map.get("oneOf"))?.as_array()?;
    let mut rest = list.iter().filter(|v| v.get("type").and_then(Json::as_str) != Some("null"));
    match (rest.next(), rest.next()) {
        (Some(only), None) => Some(only.clone()),
        _ => None,
    }
}

/// The variants of a choice between schemas; enumerated texts are variants of their own.
pub(crate) fn variants(root: &Json, part: &Json) -> Option<Vec<Json>> {
    let list = part.get("anyOf").or(part.get("oneOf"))?.as_array()?;
    let mut all = vec![];
    for one in list {
        let one = flat(root, one);
        match one.get("enum").and_then(Json::as_array) {
            Some(choices) => all.extend(choices.iter().map(|c| serde_json::json!({ "const": c }))),
            None if types(&one) == ["null"] => (),
            None => all.push(one),
        }
    }
    all.retain(|v| v.get("const") != Some(&Json::Null));
    Some(all)
}

/// A schema together with one of its variants.
pub(crate) fn beside(part: &Json, variant: &Json) -> Json {
    let mut map = part.as_object().cloned().unwrap_or_default();
    map.remove("anyOf");
    map.remove("oneOf");
    lay(&mut map, Some(variant));
    Json::Object(map)
}

/// The only value a schema takes.
pub(crate) fn only(part: &Json) -> Option<Json> {
    part.get("const").cloned()
}

/// The property whose constant tells variants apart.
pub(crate) fn tag(variants: &[Json]) -> Option<String> {
    let mut objects = variants.iter().filter_map(|v| v.get("properties")?.as_object());
    let first = objects.next()?;
    let tag = first.iter().find(|(_, schema)| only(schema).is_some())?.0;
    objects.all(|o| o.get(tag).is_some_and(|s| only(s).is_some())).then(|| tag.clone())
}

/// The value of a variant's tag.
pub(crate) fn tag_value(variant: &Json, tag: &str) -> Option<Json> {
    only(variant.get("properties")?.get(tag)?)
}

/// The types a schema takes, without null.
pub(crate) fn types(part: &Json) -> Vec<&str> {
    match part.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(list)) => list.iter().filter_map(Json::as_str).filter(|t| *t != "null").collect(),
        _ => vec![],
    }
}

/// Whether a schema takes one of two types.
pub(crate) fn takes(part: &Json, a: &str, b: &str) -> bool {
    types(part).iter().any(|t| *t == a || *t == b)
}

/// The range of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Bounds {
    least: Option<f64>,
    above: Option<f64>,
    most: Option<f64>,
    below: Option<f64>,
    multiple: Option<f64>,
}

/// The range a schema gives, together with that of its integer format.
pub(crate) fn bounds(part: &Json) -> Bounds {
    let get = |key: &str| part.get(key).and_then(Json::as_f64);
    let format = match part.get("format").and_then(Json::as_str).unwrap_or_default() {
        "int8" => Some((i8::MIN.into(), i8::MAX.into())),
        "int16" => Some((i16::MIN.into(), i16::MAX.into())),
        "int32" => Some((i32::MIN.into(), i32::MAX.into())),
        "uint8" => Some((0.0, u8::MAX.into())),
        "uint16" => Some((0.0, u16::MAX.into())),
        "uint32" => Some((0.0, u32::MAX.into())),
        _ => None,
    };
    Bounds {
        least: get("minimum").or(format.map(|f| f.0)),
        above: get("exclusiveMinimum"),
        most: get("maximum").or(format.map(|f| f.1)),
        below: get("exclusiveMaximum"),
        multiple: get("multipleOf").filter(|m| *m > 0.0),
    }
}

impl Bounds {
    /// Whether a number is in it.
    pub(crate) fn hold(&self, x: f64) -> bool {
        self.least.is_none_or(|b| x >= b)
            && self.above.is_none_or(|b| x > b)
            && self.most.is_none_or(|b| x <= b)
            && self.below.is_none_or(|b| x < b)
            && self.multiple.is_none_or(|m| (x / m).fract() == 0.0)
    }

    /// The range in words.
    pub(crate) fn words(&self) -> String {
        if let (Some(a), Some(b), None, None, None) =
            (self.least, self.most, self.above, self.below, self.multiple)
        {
            return format!("{a} to {b}");
        }
        let low = self.above.map(|b| format!("above {b}")).or(self.least.map(|b| format!("{b} or more")));
        let high = self.below.map(|b| format!("below {b}")).or(self.most.map(|b| format!("{b} or less")));
        let step = self.multiple.map(|m| format!("a multiple of {m}"));
        let words: Vec<String> = [low, high, step].into_iter().flatten().collect();
        if words.is_empty() { "a finite number".into() } else { words.join(" and ") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_optional_reference_becomes_its_target() {
        let root = json!({ "$defs": { "A": { "type": "integer", "minimum": 1 } } });
        let part = json!({ "anyOf": [{ "$ref": "#/$defs/A" }, { "type": "null" }], "x-unit": "mm" });
        let flat = flat(&root, &part);
        assert_eq!(flat, json!({ "type": "integer", "minimum": 1, "x-unit": "mm" }));
        assert_eq!(bounds(&flat).words(), "1 or more");
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let root = json!({ "$defs": { "A": { "$ref": "#/$defs/A" } } });
        flat(&root, &json!({ "$ref": "#/$defs/A" }));
    }
}
