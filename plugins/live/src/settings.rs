//! `live.settings`: values that somebody changes while a run goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::stage::Pull;
use serde_json::Value as Json;

/// Values of a small file that may be changed while the run goes on.
///
/// The file is TOML or JSON: names with numbers or lists of numbers, such as `centre = [63.5, 64.0]`. Each time it changes a
/// new record is given, with an output for each name. Wired to an input that is the same for all frames, the newest value
/// is latched, and `run.json` tells which value counted from which frame on. A file that cannot be read, or that lacks a
/// name it had, is left out with a warning, and the values before stand; a file written in place may be seen half, so
/// write beside and rename.
///
/// Gives a record for each version of the file, the first one when it is opened. Ends when the stages it steers have ended.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The file; it must be there when the run begins.
    #[schemars(extend("x-path" = "input"))]
    path: String,
    /// How often to look at it.
    #[serde(default = "poll")]
    #[schemars(range(min = 0.001, max = 60.0), extend("x-unit" = "s"))]
    poll: f64,
    /// Ends by itself after this time without a change; else with the stages it steers.
    #[serde(default)]
    #[schemars(range(min = 0.001), extend("x-unit" = "s"))]
    until: Option<f64>,
    #[serde(skip)]
    #[schemars(skip)]
    state: Option<Seen>,
}

fn poll() -> f64 {
    0.05
}

/// What was read last.
struct Seen {
    bytes: Vec<u8>,
    values: Dict,
    next: u64,
    /// Whether the values have been given.
    given: bool,
    looked: Instant,
    changed: Instant,
}

/// What [`Settings`] gives.
#[derive(Ports)]
pub struct SettingsOut {
    /// A value for each name of the file.
    #[port(open)]
    values: Dict,
}

impl Stage for Settings {
    type In = ();
    type Out = SettingsOut;

    fn example() -> Example {
        let path = Example::file("settings.toml", b"centre = [63.5, 64.0]\nradius = 5.0\n");
        Example::new(format!("path = {path:?}\nuntil = 0.05"))
    }

    fn check(&self, faults: &mut Faults) {
        for (name, value) in [("poll", Some(self.poll)), ("until", self.until)] {
            if let Some(value) = value
                && !(value.is_finite() && value >= 0.001)
            {
                faults.add(name, format!("found {value}, wanted 0.001 s or more"));
            }
        }
    }
}

impl Source for Settings {
    fn open(&mut self, _: &Cx, (): (), from: Position) -> Result<Opened> {
        let bytes = read(&self.path)?;
        let values = parsed(&self.path, &bytes)?;
        let now = Instant::now();
        let mut shapes = Shapes::default();
        for (key, value) in values.iter() {
            if let Value::Array(array) = value {
                shapes = shapes.with(key.as_str(), Shape::array(array.dtype(), &array.shape()[1..]));
            }
        }
        self.state = Some(Seen { bytes, values, next: from.next, given: false, looked: now, changed: now });
        Ok(Opened { frames: None, shapes, live: true, ..Opened::default() })
    }

    fn pull(&mut self, _: &Cx, slots: &mut Slots<SettingsOut>) -> Result<Pull> {
        let poll = Duration::from_secs_f64(self.poll);
        let seen = self.state.as_mut();
        let seen = seen.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        if seen.given {
            if self.until.is_some_and(|until| seen.changed.elapsed().as_secs_f64() >= until) {
                return Ok(Pull::End);
            }
            let waited = seen.looked.elapsed();
            if waited < poll {
                return Ok(Pull::Wait((poll - waited).min(Duration::from_millis(20))));
            }
            seen.looked = Instant::now();
            seen.look(&self.path);
        }
        if seen.given {
            return Ok(Pull::Wait(poll.min(Duration::from_millis(20))));
        }
        slots.put(seen.next, SettingsOut { values: seen.values.clone() })?;
        seen.next += 1;
        (seen.given, seen.changed) = (true, Instant::now());
        Ok(Pull::Ready)
    }
}
declare!(Source, "live.settings", Kind::Source, Settings);

impl Seen {
    /// Takes the file over when it has changed and can be used.
    fn look(&mut self, path: &str) {
        let new = match read(path) {
            Ok(bytes) if bytes == self.bytes => return,
            Ok(bytes) => bytes,
            // Between a removal and a rename there is none.
            Err(_) => return,
        };
        let values = parsed(path, &new).and_then(|values| match alike(&self.values, &values) {
            true => Ok(values),
            false => Err(Error::data("its names or the number of their values have changed")),
        });
        self.bytes = new;
        match values {
            Ok(values) => (self.values, self.given) = (values, false),
            Err(error) => tracing::warn!(path, %error, "Settings are not taken over."),
        }
    }
}

/// Whether two versions have the same names and shapes.
fn alike(a: &Dict, b: &Dict) -> bool {
    let shape = |v: &Value| if let Value::Array(a) = v { a.shape().to_vec() } else { vec![] };
    a.len() == b.len() && a.iter().all(|(key, v)| b.get(key.as_str()).is_some_and(|w| shape(v) == shape(w)))
}

fn read(path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::io("cannot read", Path::new(path), &e))
}

/// The values of a file, each led by one record.
fn parsed(path: &str, bytes: &[u8]) -> Result<Dict> {
    let wrong = |why: String| Error::data(format!("{path}: {why}"));
    let text = std::str::from_utf8(bytes).map_err(|e| wrong(e.to_string()))?;
    let json: Json = match path.to_lowercase().ends_with(".json") {
        true => serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?,
        false => toml::from_str(text).map_err(|e| wrong(e.to_string()))?,
    };
    let Json::Object(names) = json else { return Err(wrong("wanted names with values".into())) };
    let mut values = Dict::new();
    for (name, value) in names {
        let fault = || wrong(format!("`{name}` is {value}, wanted a number or a list of numbers"));
        let array = match &value {
            Json::Number(n) => Array::from_slice(&[n.as_f64().ok_or_else(fault)?]),
            Json::Array(list) if !list.is_empty() => {
                let numbers: Option<Vec<f64>> = list.iter().map(Json::as_f64).collect();
                Array::of(&[1, list.len()], &numbers.ok_or_else(fault)?)?
            }
            _ => return Err(fault()),
        };
        values.set(Key::from(name.clone()), array);
    }
    if values.is_empty() {
        return Err(wrong("holds no values".into()));
    }
    Ok(values)
}
