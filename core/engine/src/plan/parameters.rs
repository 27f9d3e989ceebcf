//! Parameters against the JSON schema of a declaration: every fault, with its place.

use std::path::Path;

use serde_json::{Map, Value as Json};

use crate::diagnostic::{Diagnostic, Files, Place};
use crate::error::nearest;
use crate::plan::{path, schema, unit};
use crate::recipe::{Item, Table, Typed, Word};

/// Whose parameters are checked, for messages.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// `parameter`, or `key` for the framework's own words.
    pub noun: &'static str,
    /// ``stage `clean` ``.
    pub name: String,
    /// The code of an unknown name.
    pub unknown: &'static str,
    /// Whether paths without a direction are outputs.
    pub writes: bool,
    /// The placeholders that output paths may not have here, with the reason.
    pub without: Vec<(&'static str, String)>,
}

impl Owner {
    /// The framework's own words at a place in the recipe.
    pub(crate) fn words(name: impl Into<String>) -> Owner {
        Owner { noun: "key", name: name.into(), unknown: "E0102", writes: false, without: vec![] }
    }
}

/// An output path of a stage: the text and where it stands.
pub(crate) type OutPath = (String, Place);

/// Finds the value of one of the recipe's own parameters, and where it is from.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Option<(Json, Origin)> + 'a;

/// Where a value of one of the recipe's own parameters is from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// Its default, which stands there.
    Default(Place),
    /// Whoever calls the recipe.
    Caller,
}

/// Checks values against a schema.
pub(crate) struct Check<'a> {
    pub owner: &'a Owner,
    pub root: &'a Json,
    pub files: &'a Files,
    pub shared: Option<&'a Table>,
    pub arguments: Option<&'a Lookup<'a>>,
    /// Where the value that is being checked is from, when it stands elsewhere.
    pub origin: Option<Origin>,
    /// The folder of whoever calls the recipe.
    pub caller: &'a Path,
    pub faults: Vec<Diagnostic>,
    pub outputs: Vec<OutPath>,
}

impl<'a> Check<'a> {
    /// A check of an owner's values against a root schema.
    pub(crate) fn new(owner: &'a Owner, root: &'a Json, files: &'a Files) -> Check<'a> {
        Check {
            owner,
            root,
            files,
            shared: None,
            arguments: None,
            origin: None,
            caller: Path::new(""),
            faults: vec![],
            outputs: vec![],
        }
    }

    /// A table of parameters with the defaults filled in; `at` is where a missing one is reported.
    pub(crate) fn table(&mut self, table: &Table, at: Place) -> Json {
        let root = schema::flat(self.root, self.root);
        match schema::variants(self.root, &root) {
            Some(variants) => self.spread(&root, &variants, table, at, ""),
            None => self.object(&root, table, at, ""),
        }
    }

    /// One value against a part of the schema; none when it is at fault.
    pub(crate) fn value(&mut self, part: &Json, item: &Item, name: &str) -> Option<Json> {
        let part = schema::flat(self.root, part);
        let before = self.faults.len();
        let json = self.inner(&part, item, name);
        (self.faults.len() == before).then_some(json)
    }

    pub(super) fn fault(&mut self, code: &'static str, item: &Item, name: &str, found: &str, wanted: &str) {
        let Owner { noun, name: owner, .. } = self.owner;
        let message = match code {
            "E0114" => format!("{noun} `{name}` of {owner} has the wrong type"),
            "E0115" => format!("{noun} `{name}` of {owner} is out of range"),
            "E0116" => format!("{noun} `{name}` of {owner} is not one of the choices"),
            _ => format!("{noun} `{name}` of {owner} has the wrong unit"),
        };
        self.faults.push(Diagnostic::error(code, message).at(item.at, "").found(found, wanted));
    }

    pub(super) fn inner(&mut self, part: &Json, item: &Item, name: &str) -> Json {
        if let Some(given) = self.argument(item) {
            let Some((given, origin)) = given else { return Json::Null };
            let before = self.origin.replace(origin);
            let json = self.inner(part, &given, name);
            self.origin = before;
            return json;
        }
        if let Some(variants) = schema::variants(self.root, part) {
            return match item.table() {
                Some(table) if part.get("properties").is_some() => {
                    self.spread(part, &variants, table, item.at, name)
                }
                _ => self.one_of(&variants, item, name),
            };
        }
        if let Some(choices) = part.get("enum").and_then(Json::as_array) {
            return self.choice(choices, item, name);
        }
        if let Some(only) = part.get("const") {
            return self.choice(std::slice::from_ref(only), item, name);
        }
        if let (Some(wanted), Typed::Text(text)) = (part.get("x-unit").and_then(Json::as_str), &item.value)
            && schema::takes(part, "number", "integer")
        {
            return self.with_unit(part, item, name, text, wanted);
        }
        let types = schema::types(part);
        if !types.is_empty() && !types.iter().any(|t| fits(t, item)) {
            let wanted = describe(part);
            let Owner { noun, name: owner, .. } = self.owner;
            let message = format!("{noun} `{name}` of {owner} has the wrong type");
            let mut fault = Diagnostic::error("E0114", message).at(item.at, "");
            fault = fault.found(item.describe(), wanted);
            if let (Typed::Text(text), true) =
                (&item.value, types.contains(&"number") || types.contains(&"integer"))
                && text.trim().parse::<f64>().is_ok()
            {
                fault = fault.help("leave out the quotes");
            }
            self.faults.push(fault);
            return Json::Null;
        }
        match &item.value {
            Typed::Int(i) if types.contains(&"number") && !types.contains(&"integer") => {
                self.number(part, item, name, *i as f64);
                Json::from(*i as f64)
            }
            Typed::Int(i) => {
                self.number(part, item, name, *i as f64);
                Json::from(*i)
            }
            Typed::Float(x) => {
                self.number(part, item, name, *x);
                item.to_json()
            }
            Typed::Text(text) => self.text(part, item, name, text),
            Typed::List(list) => self.list(part, item, name, list),
            Typed::Table(table) => self.object(part, table, item.at, name),
            Typed::Bool(_) | Typed::Date(_) => item.to_json(),
        }
    }

    /// `{ in = "energy" }` stands for one of the recipe's own parameters.
    fn argument(&mut self, item: &Item) -> Option<Option<(Item, Origin)>> {
        let table = item.table().filter(|t| t.0.len() == 1)?;
        let (name, text) = (table.get("in")?, table.get("in")?.text()?);
        let given = (self.arguments?)(text);
        if given.is_none() {
            self.faults.push(
                Diagnostic::error("E0122", format!("no value for the recipe's parameter `{text}`"))
                    .at(name.at, "")
                    .help(format!(
                        "add `{text} = ..` under `[in]`, or give it a value when the recipe is called"
                    )),
            );
        }
        Some(given.map(|(json, origin)| (Item::of_json(&json, item.at), origin)))
    }

    fn with_unit(&mut self, part: &Json, item: &Item, name: &str, text: &str, wanted: &str) -> Json {
        match unit::convert(text, wanted) {
            Ok(number) => {
                self.number(part, item, name, number);
                let whole =
                    schema::takes(part, "integer", "integer") && !schema::takes(part, "number", "number");
                if whole && number.fract() != 0.0 {
                    self.fault("E0114", item, name, &format!("{number} {wanted}"), "a whole number");
                }
                if whole { Json::from(number as i64) } else { Json::from(number) }
            }
            Err(why) => {
                if !text.contains(|c: char| c.is_ascii_digit()) {
                    self.fault("E0114", item, name, &item.describe(), &describe(part));
                    return Json::Null;
                }
                let Owner { noun, name: owner, .. } = self.owner;
                let message = format!("{noun} `{name}` of {owner} has the wrong unit");
                let help = format!("write a number in {wanted}, or text such as \"1 {wanted}\"");
                self.faults.push(Diagnostic::error("E0117", message).at(item.at, why).help(help));
                Json::Null
            }
        }
    }

    fn number(&mut self, part: &Json, item: &Item, name: &str, x: f64) {
        let bounds = schema::bounds(part);
        if x.is_nan() || x.is_infinite() || !bounds.hold(x) {
            self.fault("E0115", item, name, &format!("{x}"), &bounds.words());
        }
    }

    fn text(&mut self, part: &Json, item: &Item, name: &str, text: &str) -> Json {
        let size = |key: &str| part.get(key).and_then(Json::as_u64);
        let length = text.chars().count() as u64;
        if let Some(least) = size("minLength").filter(|n| length < *n) {
            self.fault("E0115", item, name, &format!("{length} characters"), &format!("{least} or more"));
        }
        if let Some(most) = size("maxLength").filter(|n| length > *n) {
            self.fault("E0115", item, name, &format!("{length} characters"), &format!("{most} or fewer"));
        }
        let what = part.get("x-path").and_then(Json::as_str);
        let is_path = part.get("format").and_then(Json::as_str) == Some("path");
        match what {
            Some("output") => self.output(item, text),
            Some(_) => Json::from(self.input(item, text)),
            None if is_path && self.owner.writes => self.output(item, text),
            None if is_path => Json::from(self.input(item, text)),
            None => Json::from(text),
        }
    }

    fn output(&mut self, item: &Item, text: &str) -> Json {
        path::placeholders(text, item.at, &self.owner.without, &mut self.faults);
        self.outputs.push((text.to_owned(), item.at));
        Json::from(text)
    }

    fn input(&mut self, item: &Item, text: &str) -> String {
        // A path is relative to where it was written: the recipe of a default, the folder of whoever calls it.
        let (at, folder) = match self.origin {
            None => (item.at, path::folder(self.files, item.at)),
            Some(Origin::Default(at)) => (at, path::folder(self.files, at)),
            Some(Origin::Caller) => (item.at, self.caller.to_owned()),
        };
        path::input(text, at, &folder, &mut self.faults)
    }

    fn list(&mut self, part: &Json, item: &Item, name: &str, list: &[Item]) -> Json {
        let size = |key: &str| part.get(key).and_then(Json::as_u64);
        let n = list.len() as u64;
        let (least, most) = (size("minItems"), size("maxItems"));
        if least.is_some_and(|l| n < l) || most.is_some_and(|m| n > m) {
            let wanted = match (least, most) {
                (Some(a), Some(b)) if a == b => format!("{a} values"),
                (Some(a), Some(b)) => format!("{a} to {b} values"),
                (Some(a), None) => format!("{a} values or more"),
                (_, b) => format!("{} values or fewer", b.unwrap_or_default()),
            };
            self.fault("E0115", item, name, &format!("{n} values"), &wanted);
        }
        if part.get("uniqueItems") == Some(&Json::Bool(true)) {
            let twice = list.iter().enumerate().find(|(i, x)| list[..*i].iter().any(|y| y.value == x.value));
            if let Some((_, again)) = twice {
                self.fault("E0115", again, name, &format!("{} twice", again.describe()), "different values");
            }
        }
        let first = part.get("prefixItems").and_then(Json::as_array);
        let rest = part.get("items").filter(|i| i.is_object());
        let each = list.iter().enumerate().map(|(i, one)| {
            let name = format!("{name}[{i}]");
            match first.and_then(|f| f.get(i)).or(rest) {
                Some(schema) => {
                    // A list of paths says so on the list.
                    let mut schema = schema::flat(self.root, schema);
                    if let (Some(path), Some(map)) = (part.get("x-path"), schema.as_object_mut()) {
                        map.entry("x-path").or_insert(path.clone());
                    }
                    if let (Some(unit), Some(map)) = (part.get("x-unit"), schema.as_object_mut()) {
                        map.entry("x-unit").or_insert(unit.clone());
                    }
                    self.inner(&schema, one, &name)
                }
                None => one.to_json(),
            }
        });
        each.collect()
    }

    pub(super) fn object(&mut self, part: &Json, table: &Table, at: Place, prefix: &str) -> Json {
        let properties = part.get("properties").and_then(Json::as_object);
        let extra = part.get("additionalProperties").filter(|e| e.is_object());
        let open = extra.is_some()
            || part.get("additionalProperties") == Some(&Json::Bool(true))
            || (properties.is_none() && part.get("additionalProperties").is_none() && !prefix.is_empty());
        let full = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
        let mut out = Map::new();
        let before = self.faults.len();
        for (word, item) in &table.0 {
            match properties.and_then(|p| p.get(&word.text)) {
                Some(schema) => {
                    let schema = schema::flat(self.root, schema);
                    out.insert(word.text.clone(), self.inner(&schema, item, &full(&word.text)));
                }
                None => match extra {
                    Some(schema) => {
                        let schema = schema::flat(self.root, schema);
                        out.insert(word.text.clone(), self.inner(&schema, item, &full(&word.text)));
                    }
                    None if open => drop(out.insert(word.text.clone(), item.to_json())),
                    None => self.unknown(word, properties),
                },
            }
        }
        // What is followed may still have to appear.
        if table.get("follow").is_some() && properties.is_some_and(|p| p.contains_key("follow")) {
            let later = self.faults.split_off(before);
            self.faults.extend(later.into_iter().filter(|fault| fault.code != "E0118"));
        }
        for (name, schema) in properties.into_iter().flatten() {
            if !out.contains_key(name) && table.get(name).is_none() {
                self.absent(part, name, schema, at, &full(name), &mut out);
            }
        }
        Json::Object(out)
    }

    /// A parameter nobody set: shared, default, or missing.
    fn absent(
        &mut self,
        part: &Json,
        name: &str,
        schema: &Json,
        at: Place,
        full: &str,
        out: &mut Map<String, Json>,
    ) {
        let flat = schema::flat(self.root, schema);
        let shared = flat.get("x-shared").and_then(Json::as_str);
        if let Some(shared) = shared
            && let Some((key, item)) = self.shared.and_then(|table| entry(table, shared))
        {
            let owner = Owner { name: "`[shared]`".into(), ..self.owner.clone() };
            let mut check = Check { owner: &owner, faults: vec![], outputs: vec![], ..*self };
            let at_key = Item { value: item.value.clone(), at: key.at };
            out.insert(name.to_owned(), check.inner(&flat, &at_key, shared));
            self.faults.append(&mut check.faults);
            return;
        }
        if let Some(default) = flat.get("default") {
            out.insert(name.to_owned(), default.clone());
            return;
        }
        let required = part.get("required").and_then(Json::as_array).into_iter().flatten();
        if required.into_iter().any(|r| r.as_str() == Some(name)) {
            let Owner { noun, name: owner, .. } = self.owner;
            let doc = flat.get("description").and_then(Json::as_str).and_then(|d| d.lines().next());
            let mut fault = Diagnostic::error("E0113", format!("{owner} needs {noun} `{full}`"))
                .at(at, format!("`{full}` is not set"));
            if let Some(doc) = doc {
                fault = fault.note(format!("`{full}`: {doc}"));
            }
            fault = match shared {
                Some(shared) => fault.help(match shared.split_once('.') {
                    Some((table, key)) => {
                        format!("add `{key} = ..` under `[shared.{table}]`, or `{full} = ..` here")
                    }
                    None => format!("add `[shared.{shared}]`, or `{full}` here"),
                }),
                None => fault.help(format!("add `{full} = ..`, {}", describe(&flat))),
            };
            self.faults.push(fault);
        }
    }

    fn unknown(&mut self, word: &Word, properties: Option<&Map<String, Json>>) {
        let Owner { noun, name: owner, unknown, .. } = self.owner;
        let known: Vec<&str> = properties.into_iter().flatten().map(|(n, _)| n.as_str()).collect();
        let fault =
            Diagnostic::error(unknown, format!("unknown {noun} `{}` in {owner}", word.text)).at(word.at, "");
        let all = known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ");
        self.faults.push(match nearest(&word.text, known.iter().copied()) {
            Some(near) => fault.similar(Some(near)),
            None if all.is_empty() => fault.help(format!("{owner} takes none")),
            None => fault.help(format!("known here: {all}")),
        });
    }
}

/// What `[shared]` holds under a name, or under `table.name`.
fn entry<'a>(shared: &'a Table, path: &str) -> Option<&'a (Word, Item)> {
    match path.split_once('.') {
        Some((table, key)) => shared.get(table)?.table()?.entry(key),
        None => shared.entry(path),
    }
}

/// Whether a value is of a type.
pub(super) fn fits(kind: &str, item: &Item) -> bool {
    matches!(
        (&item.value, kind),
        (Typed::Int(_), "integer" | "number")
            | (Typed::Float(_), "number")
            | (Typed::Text(_) | Typed::Date(_), "string")
            | (Typed::Bool(_), "boolean")
            | (Typed::List(_), "array")
            | (Typed::Table(_), "object")
    )
}

/// What a schema wants, in a few words.
pub(crate) fn describe(part: &Json) -> String {
    let unit = part.get("x-unit").and_then(Json::as_str).map(|u| format!(" in {u}")).unwrap_or_default();
    if let Some(only) = schema::only(part) {
        return only.to_string();
    }
    let words: Vec<&str> = schema::types(part)
        .iter()
        .map(|t| match *t {
            "integer" => "an integer",
            "number" => "a number",
            "string" => "text",
            "boolean" => "true or false",
            "array" => "a list",
            "object" => "a table",
            other => other,
        })
        .collect();
    if words.is_empty() { "a value".into() } else { format!("{}{unit}", words.join(" or ")) }
}
