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
        // A text form that no writer of values makes: `bare` finds and strips it.
        (Value::Float(x), NotNumbers::Bare) if !x.is_finite() => format!("\u{0}{x}").into(),
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
    bare(object(dict, how).to_string(), how)
}

/// The text of a JSON value with an indent of four, as files of jobs have it.
pub fn indented(json: &serde_json::Value) -> String {
    let mut out = vec![];
    let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut out, form);
    serde::Serialize::serialize(json, &mut writer).expect("JSON values are written to memory");
    String::from_utf8(out).expect("JSON is written as UTF-8")
}

fn bare(text: String, how: NotNumbers) -> String {
    if how != NotNumbers::Bare {
        return text;
    }
    text.replace("\"\\u0000NaN\"", "NaN")
        .replace("\"\\u0000inf\"", "Infinity")
        .replace("\"\\u0000-inf\"", "-Infinity")
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
}
