//! What a client asks for.

use std::time::Duration;

use isard_core::error::{Error, Result};
use isard_core::value::{Dict, Value};

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

/// The dictionary of a JSON object.
pub fn dictionary(input: &serde_json::Value) -> Result<Dict> {
    match Value::from_json(input)? {
        Value::Dict(dict) => Ok(dict),
        other => Err(Error::data(format!("the input of a job is {}, wanted an object", other.describe()))),
    }
}
