//! The REST interface: settings are written, read back and compared; the detector is armed, triggered and disarmed.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use isard_core::prelude::*;
use serde_json::{Map, Value as Json, json};

use crate::net::address;
use crate::net::http::ask;

/// How long a setting may take, and a command: arming may load a flat field, a trigger lasts as long as its exposures.
const SETTING: Duration = Duration::from_secs(10);
const COMMAND: Duration = Duration::from_secs(50);
const TRIGGER: Duration = Duration::from_secs(24 * 3600);
/// Read-back numbers may differ by this share: single-precision settings come back rounded.
const NEAR: f64 = 1e-6;

/// How a detector is configured and started.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Where the REST interface is: `host:port`, unless the input `api` says it.
    #[serde(default)]
    address: Option<String>,
    /// The version in the paths of the interface.
    #[serde(default = "version")]
    version: String,
    /// Whether the detector is initialised first: it forgets all settings.
    #[serde(default)]
    initialize: bool,
    /// Settings of the detector by name, in the order they are to be made.
    #[serde(default)]
    settings: Map<String, Json>,
    /// How much the start message says: `all`, `basic` or `none`.
    #[serde(default = "all")]
    #[schemars(extend("enum" = ["all", "basic", "none"]))]
    header: String,
    /// Whether the series is triggered here; with external triggers it is not.
    #[serde(default = "yes")]
    trigger: bool,
}

fn version() -> String {
    "1.8.0".into()
}
fn all() -> String {
    "all".into()
}
fn yes() -> bool {
    true
}

impl Control {
    /// A control over a detector at an address, with settings in their order.
    pub fn new(address: &str, settings: Map<String, Json>) -> Control {
        Control {
            address: Some(address.into()),
            version: version(),
            initialize: false,
            settings,
            header: all(),
            trigger: true,
        }
    }
}

/// An armed detector; it is disarmed when this is dropped.
pub struct Session {
    api: Api,
    series: u64,
    settings: Dict,
    armed: bool,
    trigger: bool,
    triggered: Option<mpsc::Receiver<Result<()>>>,
}

impl Session {
    /// Configures and arms a detector.
    ///
    /// What it says of its settings afterwards must be what was asked for.
    pub fn arm(cx: &Cx, control: &Control, api: Option<&str>, stream: u8) -> Result<Session> {
        let text = api.or(control.address.as_deref()).ok_or_else(|| {
            Error::recipe("`control` names no detector")
                .help("set `control.address`, or wire the input `api`")
        })?;
        let api = Api { address: address(text, 80)?, version: control.version.clone() };
        if control.initialize {
            api.command("initialize", COMMAND)?;
        }
        let state = api.get("detector", "status/state")?;
        if let Some(state @ ("na" | "error" | "acquire" | "configure")) = state.as_str() {
            return Err(Error::new(
                Blame::Io,
                format!("the detector is in the state `{state}`, wanted `idle`"),
            )
            .help("stop what runs there, or set `control.initialize`"));
        }
        if state.as_str() == Some("ready") {
            // Armed by a run that was killed: its series is given up.
            api.command("disarm", COMMAND)?;
        }
        let format = if stream == 1 { "legacy" } else { "cbor" };
        let mut asked: Vec<(&str, String, Json)> = vec![
            ("stream", "mode".into(), json!("enabled")),
            ("stream", "format".into(), json!(format)),
            ("stream", "header_detail".into(), json!(control.header)),
        ];
        asked.extend(control.settings.iter().map(|(name, value)| ("detector", name.clone(), value.clone())));
        let (mut old, mut moved) = (false, vec![]);
        for (module, name, value) in &asked {
            cx.check()?;
            let path = format!("config/{name}");
            match api.put(module, &path, &json!({ "value": value }), SETTING) {
                // Detectors that know stream v1 alone have no choice to make.
                Err(Refused::Unknown(_)) if name == "format" && stream == 1 => old = true,
                other => {
                    // The detector answers with all settings that this one has moved.
                    let answer = other.map_err(Refused::error)?;
                    let names = answer.as_array().into_iter().flatten().filter_map(Json::as_str);
                    moved.extend(names.filter(|_| *module == "detector").map(str::to_owned));
                }
            }
        }
        asked.retain(|(_, name, _)| !(old && name == "format"));
        // Read back when all are made: a later one may have changed an earlier one.
        let mut settings = Dict::new();
        let mut wrong = vec![];
        for (module, name, value) in &asked {
            cx.check()?;
            let found = api.get(module, &format!("config/{name}"))?;
            if !same(&found, value) {
                wrong.push(format!("`{name}` is {found}, wanted {value}"));
            }
            settings.set(name.clone(), Value::from_json(&found)?);
        }
        for name in moved {
            if settings.get(&name).is_none() {
                let found = api.get("detector", &format!("config/{name}"))?;
                settings.set(name, Value::from_json(&found)?);
            }
        }
        if !wrong.is_empty() {
            let text =
                format!("the detector at {} did not take its settings: {}", api.address, wrong.join("; "));
            return Err(Error::new(Blame::Io, text)
                .help("ask for a value that the detector can have, or change the order of `settings`"));
        }
        let answer = api.command("arm", COMMAND)?;
        let series = answer["sequence id"].as_u64();
        let series = series.ok_or_else(|| {
            Error::data(format!("the detector answered {answer} to `arm`, wanted a `sequence id`"))
        })?;
        Ok(Session { api, series, settings, armed: true, trigger: control.trigger, triggered: None })
    }

    /// The number of the series that was armed.
    pub fn series(&self) -> u64 {
        self.series
    }

    /// The settings as the detector said them.
    pub fn settings(&self) -> &Dict {
        &self.settings
    }

    /// Triggers the series, if that is not left to others.
    ///
    /// The detector answers when its exposures are over.
    pub fn trigger(&mut self) -> Result<()> {
        if !self.trigger {
            return Ok(());
        }
        let api = self.api.clone();
        let (tx, rx) = mpsc::channel();
        let work = move || {
            // Nobody listens any more when the series ended first.
            let _ = tx.send(api.command("trigger", TRIGGER).map(drop));
        };
        let thread = std::thread::Builder::new().name("isard trigger".into()).spawn(work);
        thread.map_err(|e| Error::new(Blame::Resources, format!("cannot start a thread: {e}")))?;
        self.triggered = Some(rx);
        Ok(())
    }

    /// What went wrong with the trigger, once.
    pub fn fault(&mut self) -> Option<Error> {
        match self.triggered.as_ref()?.try_recv() {
            Ok(answer) => {
                self.triggered = None;
                answer.err()
            }
            Err(_) => None,
        }
    }

    /// Disarms the detector; what it says to that changes nothing any more.
    pub fn disarm(&mut self) {
        if !std::mem::take(&mut self.armed) {
            return;
        }
        if let Err(error) = self.api.command("disarm", SETTING) {
            tracing::warn!(%error, "The detector could not be disarmed.");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if std::mem::take(&mut self.armed)
            && let Err(error) = self.api.command("abort", Duration::from_secs(3))
        {
            tracing::warn!(%error, "The series could not be aborted.");
        }
    }
}

/// Whether a setting that was read back is the one that was asked for.
fn same(found: &Json, wanted: &Json) -> bool {
    match (found.as_f64(), wanted.as_f64()) {
        (Some(a), Some(b)) => a == b || (a - b).abs() <= NEAR * a.abs().max(b.abs()),
        _ => match (found, wanted) {
            (Json::Array(a), Json::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
            }
            _ => found == wanted,
        },
    }
}

#[derive(Clone)]
struct Api {
    address: SocketAddr,
    version: String,
}

enum Refused {
    Unknown(Error),
    Other(Error),
}

impl Refused {
    fn error(self) -> Error {
        let (Refused::Unknown(error) | Refused::Other(error)) = self;
        error
    }
}

impl Api {
    fn path(&self, module: &str, rest: &str) -> String {
        format!("/{module}/api/{}/{rest}", self.version)
    }

    fn get(&self, module: &str, rest: &str) -> Result<Json> {
        let path = self.path(module, rest);
        match ask(self.address, "GET", &path, None, SETTING)? {
            (200, mut answer) => Ok(answer["value"].take()),
            (status, answer) => Err(self.refused("GET", &path, status, &answer)),
        }
    }

    fn put(
        &self,
        module: &str,
        rest: &str,
        body: &Json,
        limit: Duration,
    ) -> std::result::Result<Json, Refused> {
        let path = self.path(module, rest);
        match ask(self.address, "PUT", &path, Some(body), limit).map_err(Refused::Other)? {
            (200, answer) => Ok(answer),
            (404, answer) => Err(Refused::Unknown(self.refused("PUT", &path, 404, &answer))),
            (status, answer) => Err(Refused::Other(self.refused("PUT", &path, status, &answer))),
        }
    }

    fn command(&self, name: &str, limit: Duration) -> Result<Json> {
        self.put("detector", &format!("command/{name}"), &json!({}), limit).map_err(Refused::error)
    }

    fn refused(&self, method: &str, path: &str, status: u16, answer: &Json) -> Error {
        let said = if answer.is_null() { String::new() } else { format!(": {answer}") };
        let address = self.address;
        let error = Error::new(
            Blame::Io,
            format!("{method} http://{address}{path}: answered with status {status}{said}"),
        );
        if status == 404 { error.help("check the name, and `control.version`") } else { error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_back_are_the_same_up_to_single_precision() {
        assert!(same(&json!(0.009_999_999_776_482_582), &json!(0.01)));
        assert!(same(&json!(4), &json!(4.0)));
        assert!(same(&json!([1.0, 2]), &json!([1, 2.0])));
        assert!(!same(&json!(0.0101), &json!(0.01)));
        assert!(!same(&json!("exts"), &json!("ints")));
        assert!(!same(&Json::Null, &json!(0)));
    }
}
