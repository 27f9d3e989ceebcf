//! JSON-RPC 2.0: requests, batches, notifications, errors.

use isard_core::error::{Blame, Error};
use serde_json::{Value as Json, json};

use crate::net::App;
use crate::net::args::Args;
use crate::net::method;
use crate::net::table;

/// Requests in a batch at most.
const BATCH: usize = 1000;

/// The codes of errors.
pub(super) mod code {
    pub const PARSE: i64 = -32700;
    pub const REQUEST: i64 = -32600;
    pub const METHOD: i64 = -32601;
    pub const PARAMS: i64 = -32602;
    /// Anything else that a job or the server says.
    pub const SERVER: i64 = -32000;
    /// No such job.
    pub const JOB: i64 = -32001;
    /// No room: the queue, memory, the disk.
    pub const BUSY: i64 = -32002;
    /// The client may not.
    pub const REFUSED: i64 = -32003;
    /// No such plugin.
    pub const PLUGIN: i64 = -32004;
}

/// An error as it is sent.
#[derive(Debug)]
pub(super) struct Fault {
    pub code: i64,
    pub message: String,
    pub data: Json,
}

impl Fault {
    pub fn new(code: i64, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), data: Json::Null }
    }

    fn to_json(&self) -> Json {
        match &self.data {
            Json::Null => json!({ "code": self.code, "message": self.message }),
            data => json!({ "code": self.code, "message": self.message, "data": data }),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let code = match (error.blame(), error.message()) {
            (Blame::Data, text) if text.starts_with("no job ") => code::JOB,
            (Blame::Recipe, text) if text.starts_with("no plugin ") => code::PLUGIN,
            (Blame::Resources, _) => code::BUSY,
            _ => code::SERVER,
        };
        let mut data = json!({ "blame": error.blame().word() });
        if let Some(help) = error.advice() {
            data["help"] = help.into();
        }
        if error.is_transient() {
            data["retry"] = true.into();
        }
        let places: Vec<&str> = error.places().iter().rev().map(String::as_str).collect();
        let message = places.into_iter().chain([error.message()]).collect::<Vec<_>>().join(": ");
        Fault { code, message, data }
    }
}

/// The text of an error that belongs to no request.
pub(super) fn refusal(code: i64, message: &str) -> String {
    failed(Json::Null, &Fault::new(code, message)).to_string()
}

fn failed(id: Json, fault: &Fault) -> Json {
    json!({ "jsonrpc": "2.0", "error": fault.to_json(), "id": id })
}

/// Answers a text; none if it holds notifications alone.
pub(super) async fn answer(app: &App, text: &[u8]) -> Option<String> {
    let parsed = std::str::from_utf8(text).map_err(|e| format!("not UTF-8: {e}"));
    let parsed = parsed.and_then(|text| crate::json::parse(text).map_err(|e| e.message().to_owned()));
    match parsed {
        Err(why) => Some(refusal(code::PARSE, &why)),
        Ok(Json::Array(list)) if list.is_empty() => Some(refusal(code::REQUEST, "an empty batch")),
        Ok(Json::Array(list)) if list.len() > BATCH => {
            let why = format!("a batch of {} requests, wanted at most {BATCH}", list.len());
            Some(refusal(code::REQUEST, &why))
        }
        Ok(Json::Array(list)) => {
            let mut answers = vec![];
            for request in list {
                answers.extend(one(app, request).await);
            }
            (!answers.is_empty()).then(|| Json::Array(answers).to_string())
        }
        Ok(request) => one(app, request).await.map(|answer| answer.to_string()),
    }
}

async fn one(app: &App, mut request: Json) -> Option<Json> {
    let Some(fields) = request.as_object_mut() else {
        return Some(failed(Json::Null, &Fault::new(code::REQUEST, "a request is an object")));
    };
    let id = fields.remove("id");
    let bad_id = matches!(id, Some(Json::Array(_) | Json::Object(_) | Json::Bool(_)));
    let Some(Json::String(method)) = fields.remove("method") else {
        let id = id.filter(|_| !bad_id).unwrap_or_default();
        return Some(failed(id, &Fault::new(code::REQUEST, "a request names its `method`")));
    };
    if bad_id {
        return Some(failed(Json::Null, &Fault::new(code::REQUEST, "an `id` is a text or a number")));
    }
    if fields.get("jsonrpc").is_some_and(|version| version != "2.0") {
        let fault = Fault::new(code::REQUEST, "`jsonrpc` is not \"2.0\"");
        return Some(failed(id.unwrap_or_default(), &fault));
    }
    let params = fields.remove("params").unwrap_or_default();
    let result = call(app, &method, params).await;
    // A request without an id wants no answer, not even of an error.
    let id = id?;
    Some(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "result": result, "id": id }),
        Err(fault) => failed(id, &fault),
    })
}

/// Calls a method with its parameters by position or by name.
pub(super) async fn call(app: &App, name: &str, params: Json) -> Result<Json, Fault> {
    let Some(found) = table::find(name) else {
        let names = table::METHODS.iter().map(|m| m.name);
        let help = isard_core::error::nearest(name, names).map(|near| format!("did you mean `{near}`?"));
        let shown: String = name.chars().take(100).collect();
        let mut fault = Fault::new(code::METHOD, format!("no method `{shown}`"));
        fault.data = json!({ "help": help });
        return Err(fault);
    };
    let args = Args::of(found, params)?;
    method::run(app, found.name, args).await
}
