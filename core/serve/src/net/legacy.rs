//! The commands of the older server with its exact texts: what macros of control systems compare with.

use std::time::Duration;

use isard_core::value::Dict;
use serde_json::{Value as Json, json};

use crate::jobs::Jobs;
use crate::json::{self, NotNumbers};
use crate::net::rpc::{Fault, code};
use crate::request::{Request, input_of};
use crate::state::State;

/// Runs a command.
pub(super) fn run(jobs: &Jobs, command: &str, argument: &Json) -> Result<Json, Fault> {
    let id = || {
        let id = argument.as_i64().or(argument.as_str().and_then(|text| text.trim().parse().ok()));
        id.ok_or_else(|| Fault::new(code::PARAMS, format!("`{command}` wants the id of a job")))
    };
    let none = |id: i64| Json::from(format!("No such job: {id}"));
    let text = |dict: &Dict| Json::from(json::compact(dict, NotNumbers::Bare));
    Ok(match command {
        "startJob" => {
            let [Some(plugin), Some(input)] = [0, 1].map(|i| argument.get(i).and_then(Json::as_str)) else {
                return Err(Fault::new(code::PARAMS, "`startJob` wants a list of the plugin and JSON text"));
            };
            if input.trim().is_empty() {
                return Ok((-1).into());
            }
            jobs.start(Request::new(plugin, input_of(input, &jobs.config().confine)?))?.into()
        }
        "abort" => jobs.abort(id()?).unwrap_or(false).into(),
        "getJobState" => match jobs.state(id()?) {
            Ok(state) => state.word().into(),
            Err(_) => format!("Unable to retrieve such job: {}", id()?).into(),
        },
        "getJobOutput" => jobs.output(id()?).map_or_else(|_| none(argument_id(argument)), |dict| text(&dict)),
        "getJobInput" => jobs.input(id()?).map_or_else(|_| none(argument_id(argument)), |dict| text(&dict)),
        "getJobError" => jobs.error(id()?).map_or_else(|_| none(argument_id(argument)), Json::from),
        "waitJob" => {
            // A job that does not begin is not waited for; one that runs is, as long as control systems allow.
            let wait = |ms| jobs.wait(id()?, Some(Duration::from_millis(ms))).map_err(Fault::from);
            match wait(1100) {
                Ok(state) if state.is_final() || state == State::Uninitialized => state.word().into(),
                Ok(_) => wait(1700)?.word().into(),
                Err(_) => "inexistant".into(),
            }
        }
        "listPlugins" => {
            let lines = jobs.catalog().list().into_iter().map(|p| format!(" {} : {}", p.name(), p.summary()));
            let title = "List of all plugin currently loaded (use initPlugin to loaded additional plugins):";
            std::iter::once(title.to_owned()).chain(lines).collect::<Vec<_>>().join("\n").into()
        }
        "initPlugin" => {
            let name = argument.as_str().unwrap_or_default();
            match jobs.init(name) {
                Ok(plugin) => format!("Plugin loaded: {name}\n{}", plugin.doc()).into(),
                Err(error) => format!("Plugin not found: {name}, err: {error}").into(),
            }
        }
        "cleanJob" => {
            let found = jobs.id(id()?);
            match found.and_then(|id| jobs.clean(id as i64).map(|()| id)) {
                Ok(id) => format!("Job {id} cleaned").into(),
                Err(_) => none(argument_id(argument)),
            }
        }
        "collectStatistics" => {
            jobs.collect_statistics();
            Json::Null
        }
        "getStatistics" => jobs.statistics().into(),
        "jobSuccess" => jobs.last_success().into(),
        "jobFailure" => jobs.last_failure().into(),
        "serialize" => {
            if let Some(on) = argument.as_bool() {
                jobs.set_serialize(on);
            }
            json!(jobs.serialize())
        }
        other => {
            let shown: String = other.chars().take(100).collect();
            return Err(Fault::new(code::PARAMS, format!("no command `{shown}`")));
        }
    })
}

fn argument_id(argument: &Json) -> i64 {
    argument.as_i64().or(argument.as_str().and_then(|text| text.trim().parse().ok())).unwrap_or_default()
}
