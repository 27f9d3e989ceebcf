//! The REST interface of a simulated detector.

use serde_json::{Map, Value as Json, json};

use super::Detector;

/// What both interfaces of a simulated detector know.
pub(super) struct State {
    detector: Map<String, Json>,
    stream: Map<String, Json>,
    deaf: Vec<String>,
    /// The number of the newest series.
    pub series: u64,
    /// It is armed: its start message is due or sent.
    pub armed: bool,
    /// It is triggered: its images are due.
    pub triggered: bool,
    /// Commands in the order they came.
    pub commands: Vec<String>,
}

impl State {
    /// A detector that has been initialised.
    pub(super) fn new(of: &Detector) -> State {
        let map = |json: Json| if let Json::Object(map) = json { map } else { Map::new() };
        State {
            detector: map(json!({
                "nimages": of.frames, "ntrigger": 1, "trigger_mode": "ints", "count_time": 0.001,
                "frame_time": 0.001, "photon_energy": 12398.42, "threshold_energy": 6199.21, "compression": "bslz4",
                "bit_depth_image": of.bits, "x_pixels_in_detector": of.shape[1],
                "y_pixels_in_detector": of.shape[0], "beam_center_x": 0.0, "beam_center_y": 0.0,
                "detector_distance": 0.1, "roi_mode": "disabled", "auto_summation": true,
            })),
            stream: map(json!({
                "mode": "disabled", "format": "legacy", "header_detail": "basic", "header_appendix": "",
                "image_appendix": "",
            })),
            deaf: of.deaf.clone(),
            series: 0,
            armed: false,
            triggered: false,
            commands: vec![],
        }
    }

    /// A setting of the detector as a count.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.detector.get(name)?.as_u64()
    }

    /// A setting of the stream.
    pub(super) fn stream(&self, name: &str) -> &str {
        self.stream.get(name).and_then(Json::as_str).unwrap_or_default()
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, method: &str, path: &str, body: &Json) -> (u16, Json) {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let [module, "api", _, what, name] = parts[..] else { return unknown(path) };
        match (method, module, what) {
            ("GET", "detector", "status") if name == "state" => {
                let state = if self.armed { "ready" } else { "idle" };
                (200, json!({ "value": state, "value_type": "string", "access_mode": "r" }))
            }
            ("GET" | "PUT", "detector" | "stream", "config") => self.config(method, module, name, body, path),
            ("PUT", "detector", "command") => self.command(name, path),
            _ => unknown(path),
        }
    }

    fn config(&mut self, method: &str, module: &str, name: &str, body: &Json, path: &str) -> (u16, Json) {
        let map = if module == "stream" { &mut self.stream } else { &mut self.detector };
        let Some(now) = map.get_mut(name) else { return unknown(path) };
        if method == "GET" {
            return (200, json!({ "value": now, "access_mode": "rw" }));
        }
        let value = &body["value"];
        if value.is_null() || value.is_string() != now.is_string() {
            return (400, json!(format!("{name}: {value} is no value of this setting")));
        }
        if self.deaf.iter().any(|deaf| deaf == name) {
            return (200, json!([]));
        }
        *now = value.clone();
        // A frame lasts at least as long as its exposure: the detector sees to that by itself, and says so.
        let mut changed = vec![name.to_owned()];
        let time = |map: &Map<String, Json>, key: &str| map.get(key).and_then(Json::as_f64).unwrap_or(0.0);
        if name == "count_time" && time(map, "frame_time") < time(map, "count_time") {
            map.insert("frame_time".into(), value.clone());
            changed.push("frame_time".into());
        }
        (200, json!(changed))
    }

    fn command(&mut self, name: &str, path: &str) -> (u16, Json) {
        self.commands.push(name.to_owned());
        match name {
            "arm" => {
                self.series += 1;
                (self.armed, self.triggered) = (true, false);
                (200, json!({ "sequence id": self.series }))
            }
            "trigger" if self.armed => {
                self.triggered = true;
                (200, Json::Null)
            }
            "trigger" => (400, json!("the detector is not armed")),
            "disarm" | "cancel" | "abort" | "initialize" => {
                (self.armed, self.triggered) = (false, false);
                (200, json!({ "sequence id": self.series }))
            }
            _ => unknown(path),
        }
    }
}

fn unknown(path: &str) -> (u16, Json) {
    (404, json!(format!("{path} does not exist")))
}
