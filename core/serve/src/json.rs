//! JSON as clients of the older server write and read it.

use isard_core::error::{Error, Result};
use isard_core::value::{Dict, Value};

/// How numbers that are none are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotNumbers {
    /// As texts: `"NaN"`, `"inf"`, `"-inf"`.
    #[default]
    Text,
    /// As `null`.
    Null,
    /// Bare `NaN`, `Infinity` and `-Infinity`, which is no JSON; some readers want it.
    Bare,
}

/// The value of a JSON text; bare `NaN` and `Infinity` are taken as the texts `NaN`, `inf` and `-inf`.
pub fn parse(text: &str) -> Result<serde_json::Value> {
    let fault = |e: serde_json::Error| Error::data(format!("not JSON: {e}"));
    match serde_json::from_str(text) {
        Ok(json) => Ok(json),
        Err(error) => match quoted(text) {
            Some(mended) => serde_json::from_str(&mended).map_err(fault),
            None => Err(fault(error)),
        },
    }
}

/// The text with bare words for numbers in quotes; none if it has none.
fn quoted(text: &str) -> Option<String> {
    const WORDS: [(&str, &str); 3] = [("NaN", "\"NaN\""), ("-Infinity", "\"-inf\""), ("Infinity", "\"inf\"")];
    let mut out = String::with_capacity(text.len() + 16);
    let (mut found, mut inside, mut at) = (false, false, 0);
    while let Some(next) = text[at..].chars().next() {
        if !inside && let Some((word, better)) = WORDS.iter().find(|(word, _)| text[at..].starts_with(word)) {
            out += better;
            at += word.len();
            found = true;
            continue;
        }
        out.push(next);
        at += next.len_utf8();
        match next {
            '"' => inside = !inside,
            '\\' if inside => {
                if let Some(escaped) = text[at..].chars().next() {
                    out.push(escaped);
                    at += escaped.len_utf8();
                }
            }
            _ => (),
        }
    }
    found.then_some(out)
}

/// The number that a text stands for when a number is wanted.
pub fn number(text: &str) -> Option<f64> {
    match text {
        "NaN" | "nan" => Some(f64::NAN),
        "inf" | "Infinity" => Some(f64::INFINITY),
        "-inf" | "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The JSON object of a dictionary.
pub fn object(dict: &Dict, how: NotNumbers) -> serde_json::Value {
    let entry = |(k, v): (&isard_core::Key, &Value)| (k.to_string(), json(v, how));
    serde_json::Value::Object(dict.iter().map(entry).collect())
}

fn json(value: &Value, how: NotNumbers) -> serde_json::Value {
    match (value, how) {
        // A tree of JSON has no place for bare words.
        (Value::Float(x), NotNumbers::Bare) if !x.is_finite() => x.to_string().into(),
        (Value::Float(x), NotNumbers::Null) if !x.is_finite() => serde_json::Value::Null,
        (Value::List(list), _) => list.iter().map(|v| json(v, how)).collect(),
        (Value::Dict(dict), _) => object(dict, how),
        (Value::Array(a), _) if a.dtype().is_float() && how != NotNumbers::Text => match a.shape().len() {
            0 => a.scalar(0).map_or(serde_json::Value::Null, |v| json(&v, how)),
            1 => {
                (0..a.len()).map(|i| a.scalar(i).map_or(serde_json::Value::Null, |v| json(&v, how))).collect()
            }
            _ => (0..a.shape()[0])
                .map(|i| a.record(i).map_or(serde_json::Value::Null, |r| json(&Value::Array(r), how)))
                .collect(),
        },
        _ => value.to_json(),
    }
}

/// The compact text of a dictionary: separators `,` and `:`.
pub fn compact(dict: &Dict, how: NotNumbers) -> String {
    text(dict, how, None)
}

/// The text of a dictionary with an indent of four, as files of jobs have it.
pub fn spread(dict: &Dict, how: NotNumbers) -> String {
    text(dict, how, Some(0))
}

/// Writes text straight from values: a tree of JSON in between would cost more than a small job.
fn text(dict: &Dict, how: NotNumbers, indent: Option<usize>) -> String {
    let mut out = Vec::with_capacity(256);
    entries(&mut out, dict, how, indent);
    String::from_utf8(out).expect("JSON is written as UTF-8")
}

fn entries(out: &mut Vec<u8>, dict: &Dict, how: NotNumbers, indent: Option<usize>) {
    series(out, b"{}", dict.iter(), indent, |out, (key, value), inner| {
        string(out, key.as_str());
        out.extend_from_slice(if indent.is_some() { b": " } else { b":" });
        put(out, value, how, inner);
    });
}

/// Items between brackets, each on a line of its own where there is an indent.
fn series<T>(
    out: &mut Vec<u8>,
    brackets: &[u8; 2],
    items: impl Iterator<Item = T>,
    indent: Option<usize>,
    mut each: impl FnMut(&mut Vec<u8>, T, Option<usize>),
) {
    out.push(brackets[0]);
    let inner = indent.map(|n| n + 4);
    let mut some = false;
    for item in items {
        if some {
            out.push(b',');
        }
        some = true;
        line(out, inner);
        each(out, item, inner);
    }
    if some {
        line(out, indent);
    }
    out.push(brackets[1]);
}

fn line(out: &mut Vec<u8>, indent: Option<usize>) {
    if let Some(indent) = indent {
        out.push(b'\n');
        out.resize(out.len() + indent, b' ');
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("text is written to memory");
}

fn put(out: &mut Vec<u8>, value: &Value, how: NotNumbers, indent: Option<usize>) {
    match value {
        Value::Float(x) if x.is_finite() => {
            serde_json::to_writer(out, x).expect("numbers are written to memory")
        }
        Value::Float(x) => match how {
            NotNumbers::Text => string(out, &x.to_string()),
            NotNumbers::Null => out.extend_from_slice(b"null"),
            NotNumbers::Bare if x.is_nan() => out.extend_from_slice(b"NaN"),
            NotNumbers::Bare => out.extend_from_slice(if *x > 0.0 { b"Infinity" } else { b"-Infinity" }),
        },
        Value::Text(text) => string(out, text),
        Value::List(list) => {
            series(out, b"[]", list.iter(), indent, |out, v, inner| put(out, v, how, inner));
        }
        Value::Dict(dict) => entries(out, dict, how, indent),
        Value::Array(array) if array.shape().is_empty() => {
            put(out, &array.scalar(0).unwrap_or_default(), how, indent);
        }
        Value::Array(array) => series(out, b"[]", 0..array.shape()[0], indent, |out, k, inner| {
            let part = match array.shape().len() {
                1 => array.scalar(k),
                _ => array.record(k).map(Value::Array),
            };
            put(out, &part.unwrap_or_default(), how, inner);
        }),
        Value::Table(_) => match Value::from_json(&value.to_json()) {
            Ok(plain) => put(out, &plain, how, indent),
            Err(_) => out.extend_from_slice(value.to_json().to_string().as_bytes()),
        },
        Value::None | Value::Bool(_) | Value::Int(_) => {
            serde_json::to_writer(out, &value.to_json()).expect("JSON values are written to memory");
        }
    }
}

/// The text of a JSON value with an indent of four, as files of jobs have it.
pub fn indented(json: &serde_json::Value) -> String {
    let mut out = vec![];
    let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut out, form);
    serde::Serialize::serialize(json, &mut writer).expect("JSON values are written to memory");
    String::from_utf8(out).expect("JSON is written as UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python's `json.dumps({"a": [nan, inf, -inf], "NaN": "Infinity \" NaN"})` writes.
    #[test]
    fn bare_words_of_python_are_read_and_strings_are_left_alone() {
        let text = r#"{"a": [NaN, Infinity, -Infinity], "NaN": "Infinity \" NaN"}"#;
        let json = parse(text).unwrap();
        assert_eq!(json["a"], serde_json::json!(["NaN", "inf", "-inf"]));
        assert_eq!(json["NaN"], "Infinity \" NaN");
        assert!(parse("{\"a\": Nan}").is_err());
    }

    #[test]
    fn numbers_that_are_none_are_written_in_the_form_asked_for() {
        let array = isard_core::Array::from_slice(&[1.5, f64::NAN, f64::NEG_INFINITY]);
        let dict = Dict::new().with("x", array).with("y", f64::INFINITY);
        assert_eq!(compact(&dict, NotNumbers::Text), r#"{"x":[1.5,"NaN","-inf"],"y":"inf"}"#);
        assert_eq!(compact(&dict, NotNumbers::Null), r#"{"x":[1.5,null,null],"y":null}"#);
        assert_eq!(compact(&dict, NotNumbers::Bare), r#"{"x":[1.5,NaN,-Infinity],"y":Infinity}"#);
    }

    /// What Python's `json.dumps(value, indent=4)` writes.
    #[test]
    fn files_look_as_python_writes_them() {
        let inner = Dict::new().with("a", vec![]).with("b", Dict::new()).with("c \"\n", "d");
        let array = isard_core::Array::of(&[2, 2], &[1u8, 2, 3, 4]).unwrap();
        let dict = Dict::new().with("n", 7).with("x", 0.5).with("y", inner).with("z", array).with("t", true);
        let wanted = "{\n    \"n\": 7,\n    \"x\": 0.5,\n    \"y\": {\n        \"a\": [],\n        \"b\": {},\n        \
                      \"c \\\"\\n\": \"d\"\n    },\n    \"z\": [\n        [\n            1,\n            2\n        ],\n        [\n            \
                      3,\n            4\n        ]\n    ],\n    \"t\": true\n}";
        assert_eq!(spread(&dict, NotNumbers::Text), wanted);
        assert_eq!(indented(&object(&dict, NotNumbers::Text)), wanted);
    }
}
