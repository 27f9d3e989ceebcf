//! The command socket: settings are written, read back and compared.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use isard_core::prelude::*;
use serde_json::{Map, Value as Json};

use super::inlet::{PREFIX, length};
use crate::net::address;
use crate::net::wire::{Broken, Wire};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Read-back numbers may differ by this share.
const NEAR: f64 = 1e-6;

/// How a detector is configured and started.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Where the command socket is: `host:port`, unless the input `control` says it.
    #[serde(default)]
    address: Option<String>,
    /// Settings by name, such as `NUMFRAMESTOACQUIRE`, in the order they are made.
    #[serde(default)]
    settings: Map<String, Json>,
    /// Whether the acquisition is started here.
    #[serde(default = "yes")]
    start: bool,
    /// Whether a soft trigger is sent too.
    #[serde(default)]
    trigger: bool,
}

fn yes() -> bool {
    true
}

/// A connection to the command socket.
pub struct Command {
    wire: Wire,
    address: SocketAddr,
    running: bool,
}

impl Command {
    /// Connects, makes the settings, and gives them as the detector says them then.
    pub fn configure(control: &Control, wired: Option<&str>) -> Result<(Command, Dict)> {
        let text = wired.or(control.address.as_deref()).ok_or_else(|| {
            Error::recipe("`control` names no detector")
                .help("set `control.address`, or wire the input `control`")
        })?;
        let address = address(text, 6341)?;
        let wire =
            Wire::connect(address, Arc::new(AtomicBool::new(false))).map_err(|e| fault(address, &e))?;
        let mut command = Command { wire, address, running: false };
        for (name, value) in &control.settings {
            command.ask(&format!("SET,{name},{}", plain(value)))?;
        }
        // Read back when all are made: a later one may have changed an earlier one.
        let (mut settings, mut wrong) = (Dict::new(), vec![]);
        for (name, value) in &control.settings {
            let found = command.get(name)?;
            if !same(&found, value) {
                wrong.push(format!("`{name}` is {found}, wanted {}", plain(value)));
            }
            let number = found.parse::<i64>().map(Value::Int).or(found.parse().map(Value::Float));
            settings.set(name.clone(), number.unwrap_or(Value::from(found.as_str())));
        }
        if wrong.is_empty() {
            return Ok((command, settings));
        }
        let text = format!("the detector at {address} did not take its settings: {}", wrong.join("; "));
        Err(Error::new(Blame::Io, text).help("ask for a value that the detector can have"))
    }

    /// Starts the acquisition and triggers it, as far as that is left to us.
    pub fn start(&mut self, control: &Control) -> Result<()> {
        if control.start {
            self.ask("CMD,STARTACQUISITION,0")?;
            self.running = true;
        }
        if control.trigger {
            self.ask("CMD,SOFTTRIGGER,0")?;
        }
        Ok(())
    }

    /// Hears that the acquisition is over: there is nothing to stop.
    pub fn over(&mut self) {
        self.running = false;
    }

    /// The value of a setting.
    pub fn get(&mut self, name: &str) -> Result<String> {
        self.ask(&format!("GET,{name},0"))
    }

    /// Sends a command and gives the value in its answer, if it has one.
    fn ask(&mut self, body: &str) -> Result<String> {
        let address = self.address;
        let at = |e: Broken| fault(address, &e).at(format!("command `{body}`"));
        self.wire.write(message(body.as_bytes()).as_slice()).map_err(at)?;
        let mut words = body.split(',');
        let wanted = [words.next().unwrap_or_default(), words.next().unwrap_or_default()];
        for _ in 0..16 {
            if !self.wire.wait_for(ANSWER).map_err(at)? {
                return Err(Error::new(Blame::Io, format!("{address}: no answer to `{body}` in 10 s")));
            }
            let prefix: [u8; PREFIX] = self.wire.bytes().map_err(at)?;
            let len = length(&prefix).filter(|len| *len < 1 << 16).ok_or_else(|| {
                let text = String::from_utf8_lossy(&prefix).into_owned();
                Error::data(format!("{address}: answered {text:?} to `{body}`, wanted MPX, length and comma"))
            })?;
            let mut answer = vec![0; len];
            self.wire.read(&mut answer).map_err(at)?;
            let answer = String::from_utf8_lossy(&answer).trim_end_matches('\0').to_owned();
            let fields: Vec<&str> = answer.split(',').map(str::trim).collect();
            if fields.len() < 3 || fields[..2] != wanted {
                // The answer to an earlier command that was given up.
                continue;
            }
            let meaning = match fields[fields.len() - 1] {
                "0" => return Ok(if fields.len() > 3 { fields[2].to_owned() } else { String::new() }),
                "1" => "busy",
                "2" => "not known to it",
                "3" => "out of range",
                _ => "refused",
            };
            return Err(Error::new(
                Blame::Io,
                format!("{address}: `{body}` is {meaning}, it answered {answer:?}"),
            )
            .help("check the name and the value; stop what runs there"));
        }
        Err(Error::data(format!("{address}: sends answers to other commands than `{body}`")))
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        if self.running
            && let Err(error) = self.ask("CMD,STOPACQUISITION,0")
        {
            tracing::warn!(%error, "The acquisition could not be stopped.");
        }
    }
}

/// A message with its prefix.
pub(super) fn message(body: &[u8]) -> Vec<u8> {
    let mut out = format!("MPX,{:010},", body.len() + 1).into_bytes();
    out.extend_from_slice(body);
    out
}

fn fault(address: SocketAddr, broken: &Broken) -> Error {
    Error::new(Blame::Io, format!("{address}: {}", broken.why()))
        .help("is the detector's software running, and is this its command port?")
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Bool(b) => u8::from(*b).to_string(),
        other => other.to_string(),
    }
}

fn same(found: &str, wanted: &Json) -> bool {
    let wanted = plain(wanted);
    match (found.parse::<f64>(), wanted.parse::<f64>()) {
        (Ok(a), Ok(b)) => a == b || (a - b).abs() <= NEAR * a.abs().max(b.abs()),
        _ => found.eq_ignore_ascii_case(&wanted),
    }
}
