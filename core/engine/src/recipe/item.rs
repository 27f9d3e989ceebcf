//! What stands in a recipe's text: TOML values that know their place.

use serde_json::{Map, Number, Value as Json};
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Place;

/// A name and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// The name.
    pub text: String,
    /// Where it stands.
    pub at: Place,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The value.
    pub value: Typed,
    /// Where it stands.
    pub at: Place,
}

/// A value as TOML knows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A date or a time, as written.
    Date(String),
    /// A list.
    List(Vec<Item>),
    /// A table.
    Table(Table),
}

/// A table in the order it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table(pub Vec<(Word, Item)>);

impl Table {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&Item> {
        self.entry(name).map(|(_, item)| item)
    }

    /// The name as written, and its value.
    pub fn entry(&self, name: &str) -> Option<&(Word, Item)> {
        self.0.iter().find(|(word, _)| word.text == name)
    }

    /// Puts a value in, in place of an older one of the same name.
    pub fn set(&mut self, name: Word, item: Item) {
        match self.0.iter_mut().find(|(word, _)| word.text == name.text) {
            Some(old) => *old = (name, item),
            None => self.0.push((name, item)),
        }
    }

    /// Lays another table over this one; tables in it are laid over too.
    pub fn overlay(&mut self, over: Table) {
        for (name, item) in over.0 {
            match (self.0.iter_mut().find(|(word, _)| word.text == name.text), item) {
                (Some((_, Item { value: Typed::Table(old), .. })), Item { value: Typed::Table(new), .. }) => {
                    old.overlay(new);
                }
                (_, item) => self.set(name, item),
            }
        }
    }

    /// The value at a path of names.
    pub fn path(&self, path: &str) -> Option<&Item> {
        let mut steps = path.split(['.', '[']);
        let mut here = self.get(steps.next()?)?;
        for step in steps {
            here = match &here.value {
                Typed::Table(table) => table.get(step)?,
                Typed::List(list) => list.get(step.trim_end_matches(']').parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(here)
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(word, _)| word.text.as_str())
    }
}

impl Item {
    /// What it is in a few words, for messages.
    pub fn describe(&self) -> String {
        match &self.value {
            Typed::Text(t) => format!("text \"{t}\""),
            Typed::Int(i) => format!("integer {i}"),
            Typed::Float(x) => format!("float {x:?}"),
            Typed::Bool(b) => format!("bool {b}"),
            Typed::Date(d) => format!("date {d}"),
            Typed::List(l) => format!("list of {}", l.len()),
            Typed::Table(_) => "table".into(),
        }
    }

    /// The text it holds.
    pub fn text(&self) -> Option<&str> {
        if let Typed::Text(t) = &self.value { Some(t) } else { None }
    }

    /// The table it holds.
    pub fn table(&self) -> Option<&Table> {
        if let Typed::Table(t) = &self.value { Some(t) } else { None }
    }

    /// The item of a JSON form, all of it at one place; null becomes empty text.
    pub fn of_json(json: &Json, at: Place) -> Item {
        let value = match json {
            Json::Null => Typed::Text(String::new()),
            Json::Bool(b) => Typed::Bool(*b),
            Json::Number(n) => match n.as_i64() {
                Some(i) => Typed::Int(i),
                None => Typed::Float(n.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Typed::Text(text.clone()),
            Json::Array(list) => Typed::List(list.iter().map(|one| Item::of_json(one, at)).collect()),
            Json::Object(map) => Typed::Table(Table(
                map.iter().map(|(k, v)| (Word { text: k.clone(), at }, Item::of_json(v, at))).collect(),
            )),
        };
        Item { value, at }
    }

    /// The JSON form; NaN and infinity have none and become null.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Typed::Text(t) | Typed::Date(t) => Json::from(t.as_str()),
            Typed::Int(i) => Json::from(*i),
            Typed::Float(x) => Number::from_f64(*x).map_or(Json::Null, Json::Number),
            Typed::Bool(b) => Json::Bool(*b),
            Typed::List(list) => list.iter().map(Item::to_json).collect(),
            Typed::Table(table) => Json::Object(
                table.0.iter().map(|(k, v)| (k.text.clone(), v.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

/// The table of a parsed text; `offset` is where the text begins in its file.
pub(crate) fn table(parsed: &DeTable<'_>, file: usize, offset: usize) -> Table {
    let entries = parsed.iter().map(|(key, value)| {
        let span = key.span();
        let at = Place { file, start: span.start + offset, end: span.end + offset };
        let word = Word { text: key.get_ref().to_string(), at };
        (word, item(value.get_ref(), value.span(), file, offset))
    });
    Table(entries.collect())
}

/// The value of a parsed text.
pub(crate) fn item(parsed: &DeValue<'_>, span: std::ops::Range<usize>, file: usize, offset: usize) -> Item {
    let value = match parsed {
        DeValue::String(text) => Typed::Text(text.to_string()),
        DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
            Ok(i) => Typed::Int(i),
            // Beyond 64 bits only the size can be kept; the range check of the parameter sees it.
            Err(_) => Typed::Float(i.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(x) => Typed::Float(x.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Typed::Bool(*b),
        DeValue::Datetime(d) => Typed::Date(d.to_string()),
        DeValue::Array(list) => {
            Typed::List(list.iter().map(|v| item(v.get_ref(), v.span(), file, offset)).collect())
        }
        DeValue::Table(entries) => Typed::Table(table(entries, file, offset)),
    };
    Item { value, at: Place { file, start: span.start + offset, end: span.end + offset } }
}
