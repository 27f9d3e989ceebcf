//! What a client asks for.

use std::time::Duration;

use isard_core::error::{Error, Result};
use isard_core::value::{Dict, Value};

use crate::confine::Confine;
use crate::json;

/// A job as it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The plugin or recipe: `module.thing`.
    pub plugin: String,
    /// Its input.
    pub input: Dict,
    /// Jobs of a higher priority start first.
    pub priority: i32,
    /// It starts when these have succeeded; negative ids count from the end.
    pub after: Vec<i64>,
    /// It fails when it works longer than this.
    pub timeout: Option<Duration>,
    /// An interrupted job whose run it goes on with.
    pub resume: Option<u64>,
}

impl Request {
    /// A job of a plugin with its input.
    pub fn new(plugin: impl Into<String>, input: Dict) -> Request {
        Request { plugin: plugin.into(), input, ..Request::default() }
    }

    /// A job with its input as JSON text.
    pub fn from_text(plugin: impl Into<String>, text: &str) -> Result<Request> {
        Ok(Request::new(plugin, dictionary(&json::parse(text)?)?))
    }
}

/// The input in a text: JSON, or the path of a file that holds it.
pub(crate) fn input_of(text: &str, confine: &Confine) -> Result<Dict> {
    if !names_file(text) {
        return dictionary(&json::parse(text)?);
    }
    let path = confine.path(text.trim())?;
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() && found.len() <= MOST => {
            let at = std::path::Path::new(&path);
            let text = std::fs::read_to_string(at).map_err(|e| Error::io("cannot read", at, &e))?;
            json::parse(&text).and_then(|json| dictionary(&json)).map_err(|e| e.at(path))
        }
        // What is neither JSON nor a file was most likely meant as JSON.
        _ => dictionary(&json::parse(text)?),
    }
}

/// Bytes of a file of input at most.
const MOST: u64 = 64 << 20;

/// Whether a text cannot be the JSON of an input, so that it may be a path.
pub(crate) fn names_file(text: &str) -> bool {
    let bare = text.trim();
    !(bare.is_empty() || bare.starts_with(['{', '[', '"']))
}

/// The dictionary of a JSON object.
pub fn dictionary(input: &serde_json::Value) -> Result<Dict> {
    match Value::from_json(input)? {
        Value::Dict(dict) => Ok(dict),
        other => Err(Error::data(format!("the input of a job is {}, wanted an object", other.describe()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_json_or_a_file_of_it_below_the_roots() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&inside, &outside] {
            std::fs::write(folder.path().join("in.json"), r#"{"x": 5}"#).unwrap();
        }
        let confine = Confine::to(&[inside.path().to_owned()]).unwrap();
        for text in [r#" {"x": 5}"#, "in.json", " in.json\n"] {
            assert_eq!(input_of(text, &confine).unwrap().get("x"), Some(&Value::Int(5)), "{text}");
        }
        let away = outside.path().join("in.json").display().to_string();
        assert!(input_of(&away, &confine).unwrap_err().to_string().contains("leads outside"));
        assert!(input_of("none.json", &confine).unwrap_err().to_string().contains("not JSON"));
    }
}
