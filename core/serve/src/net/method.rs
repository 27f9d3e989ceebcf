//! What each method does.

use std::sync::Arc;
use std::time::Duration;

use isard_core::error::Error;
use isard_core::value::Dict;
use serde_json::{Value as Json, json};

use crate::catalog::Plugin;
use crate::jobs::{Filter, Info, Jobs};
use crate::json::{self, NotNumbers};
use crate::net::App;
use crate::net::args::Args;
use crate::net::legacy;
use crate::net::rpc::{Fault, code};
use crate::request::{Request, dictionary, input_of, names_file};
use crate::state::State;

/// Seconds that `waitJob` waits when it does not say.
const WAIT: f64 = 30.0;
/// Jobs in a list at most.
const LIST: i64 = 100_000;

/// Runs a method of the table.
pub(super) async fn run(app: &App, name: &str, mut args: Args) -> Result<Json, Fault> {
    let jobs = &app.jobs;
    match name {
        "startJob" => start(jobs, args).await,
        "getJobState" => {
            let id = args.id()?;
            near(jobs, id, move |jobs| Ok(jobs.state(id)?.word().into())).await
        }
        "getJobError" => {
            let id = args.id()?;
            near(jobs, id, move |jobs| Ok(jobs.error(id)?.into())).await
        }
        "getJobOutput" => shown(jobs, args, |jobs, id| jobs.output(id)).await,
        "getJobInput" => shown(jobs, args, |jobs, id| jobs.input(id).map(Arc::new)).await,
        "waitJob" => wait(app, args).await,
        "abort" => {
            let id = args.id()?;
            apart(jobs, move |jobs| Ok(jobs.abort(id)?.into())).await
        }
        "cleanJob" => {
            let id = args.id()?;
            apart(jobs, move |jobs| {
                let id = jobs.id(id)?;
                jobs.clean(id as i64)?;
                Ok(format!("Job {id} cleaned").into())
            })
            .await
        }
        "getJob" => {
            let id = args.id()?;
            near(jobs, id, move |jobs| Ok(jobs.info(id)?.to_json())).await
        }
        "restartJob" => {
            let id = args.id()?;
            apart(jobs, move |jobs| Ok(jobs.restart(id)?.into())).await
        }
        "resumeJob" => {
            let id = args.id()?;
            apart(jobs, move |jobs| Ok(jobs.resume(id)?.into())).await
        }
        "listJobs" => {
            let state = match args.text("state")? {
                Some(word) => Some(State::named(&word).ok_or_else(|| unknown_state(&word))?),
                None => None,
            };
            list(jobs, Filter { state, ..page(&mut args)? }, Info::to_json).await
        }
        "getWaiting" => of_state(jobs, &mut args, State::Uninitialized).await,
        "getRunning" => of_state(jobs, &mut args, State::Running).await,
        "getSuccess" => of_state(jobs, &mut args, State::Success).await,
        "getFailure" => of_state(jobs, &mut args, State::Failure).await,
        "getAborted" => of_state(jobs, &mut args, State::Aborted).await,
        "getInterrupted" => list(jobs, Filter { interrupted: true, ..page(&mut args)? }, brief).await,
        "listPlugins" => Ok(jobs.catalog().list().iter().map(|plugin| about(plugin)).collect()),
        "describePlugin" => {
            let name = args.text("name")?.unwrap_or_default();
            let plugin = jobs.init(&name)?;
            Ok(described(&plugin))
        }
        "initPlugin" => {
            let name = args.text("name")?.unwrap_or_default();
            let plugin = jobs.init(&name)?;
            Ok(format!("Plugin loaded: {name}\n{}", plugin.doc()).into())
        }
        "reloadPlugin" => {
            let name = args.text("name")?;
            apart(jobs, move |jobs| {
                jobs.catalog().reload()?;
                let plugin = name.map(|name| jobs.init(&name)).transpose()?;
                let what = plugin.map_or("all".to_owned(), |p| p.name().to_owned());
                Ok(format!("Plugin reloaded: {what}").into())
            })
            .await
        }
        "collectStatistics" => {
            apart(jobs, |jobs| {
                jobs.collect_statistics();
                Ok(Json::Null)
            })
            .await
        }
        "getStatistics" => apart(jobs, |jobs| Ok(jobs.statistics().into())).await,
        "statisticsCollected" => apart(jobs, |jobs| Ok(jobs.last_statistics().into())).await,
        "jobSuccess" => Ok(jobs.last_success().into()),
        "jobFailure" => Ok(jobs.last_failure().into()),
        "serialize" => {
            if let Some(on) = args.flag("on")? {
                jobs.set_serialize(on);
            }
            Ok(jobs.serialize().into())
        }
        "legacy" => {
            let command = args.text("command")?.unwrap_or_default();
            let argument = args.take("argument").unwrap_or_default();
            apart(jobs, move |jobs| legacy::run(jobs, &command, &argument)).await
        }
        "subscribe" | "unsubscribe" => {
            Err(Fault::new(code::REQUEST, format!("`{name}` is for a WebSocket, at `/ws`")))
        }
        other => Err(Fault::new(code::METHOD, format!("no method `{other}`"))),
    }
}

async fn start(jobs: &Arc<Jobs>, mut args: Args) -> Result<Json, Fault> {
    let plugin = args.text("plugin")?.unwrap_or_default();
    let input = match args.take("input") {
        None => Dict::new(),
        Some(Json::String(path)) if names_file(&path) => {
            let read = move |jobs: &Jobs| {
                let input = input_of(&path, &jobs.config().confine).map_err(not_json)?;
                Ok(json::object(&input, NotNumbers::Text))
            };
            dictionary(&apart(jobs, read).await?).map_err(not_json)?
        }
        Some(Json::String(text)) => dictionary(&json::parse(&text).map_err(not_json)?).map_err(not_json)?,
        Some(json) => dictionary(&json).map_err(not_json)?,
    };
    let priority = args.integer("priority")?.unwrap_or(0);
    let priority = i32::try_from(priority).map_err(|_| {
        Fault::new(code::PARAMS, format!("`startJob`: `priority` is {priority}, wanted 32 bits"))
    })?;
    let timeout = args.number("timeout")?.map(|t| Duration::from_secs_f64(t.min(1e9)));
    let request = Request { plugin, input, priority, after: args.ids("after")?, timeout, resume: None };
    let (answer, answered) = tokio::sync::oneshot::channel();
    // A client that went away meanwhile does not hear of its job, which runs all the same.
    jobs.start_then(request, move |id| drop(answer.send(id)));
    let id = answered.await.map_err(|_| Fault::new(code::SERVER, "the server is closing"))?;
    Ok(id?.into())
}

fn not_json(error: Error) -> Fault {
    Fault::new(code::PARAMS, format!("`startJob`: the input: {}", error.message()))
}

async fn wait(app: &App, mut args: Args) -> Result<Json, Fault> {
    let id = args.id()?;
    let most = args.number("timeout")?.unwrap_or(WAIT).min(app.options.longest_wait);
    let known = app.jobs.id(id)?;
    let told = app.waiters.wait(known);
    let state = near(&app.jobs, known as i64, move |jobs| Ok(jobs.state(known as i64)?.word().into())).await;
    let done = match &state {
        Ok(Json::String(word)) => State::named(word).is_some_and(State::is_final),
        _ => true,
    };
    if !done {
        // Whether it ended or the time is over is told by the state.
        let _ = tokio::time::timeout(Duration::from_secs_f64(most), told).await;
        app.waiters.forget(known);
        return Ok(app.jobs.state(known as i64)?.word().into());
    }
    drop(told);
    app.waiters.forget(known);
    state
}

/// An input or output in the form that is asked for.
async fn shown(
    jobs: &Arc<Jobs>,
    mut args: Args,
    get: impl FnOnce(&Jobs, i64) -> isard_core::Result<Arc<Dict>> + Send + 'static,
) -> Result<Json, Fault> {
    let id = args.id()?;
    let wrong = |name: &str, found: &str, wanted: &str| {
        Err(Fault::new(code::PARAMS, format!("`{name}` is `{found}`, wanted {wanted}")))
    };
    let text = match args.text("form")?.as_deref() {
        None | Some("object") => false,
        Some("text") => true,
        Some(other) => return wrong("form", other, "`object` or `text`"),
    };
    let how = match args.text("nan")?.as_deref() {
        None | Some("text") => NotNumbers::Text,
        Some("null") => NotNumbers::Null,
        Some("bare") if text => NotNumbers::Bare,
        Some(other) => return wrong("nan", other, "`text`, `null`, or `bare` with `form` = `text`"),
    };
    near(jobs, id, move |jobs| {
        let dict = get(jobs, id)?;
        Ok(if text { json::compact(&dict, how).into() } else { json::object(&dict, how) })
    })
    .await
}

fn page(args: &mut Args) -> Result<Filter, Fault> {
    let limit = args.integer("limit")?.unwrap_or(1000).clamp(0, LIST) as usize;
    let before = args.integer("before")?.map(|id| id.max(0) as u64);
    Ok(Filter { limit, before, ..Filter::default() })
}

async fn of_state(jobs: &Arc<Jobs>, args: &mut Args, state: State) -> Result<Json, Fault> {
    list(jobs, Filter { state: Some(state), ..page(args)? }, brief).await
}

fn brief(info: &Info) -> Json {
    json!({ "id": info.id, "plugin": info.plugin })
}

async fn list(jobs: &Arc<Jobs>, filter: Filter, form: fn(&Info) -> Json) -> Result<Json, Fault> {
    apart(jobs, move |jobs| Ok(jobs.list(&filter)?.iter().map(form).collect())).await
}

fn about(plugin: &Plugin) -> Json {
    let kind = if matches!(plugin, Plugin::Recipe(_)) { "recipe" } else { "task" };
    json!({ "name": plugin.name(), "doc": plugin.summary(), "kind": kind })
}

fn described(plugin: &Plugin) -> Json {
    let mut about = about(plugin);
    about["doc"] = plugin.doc().into();
    if let Plugin::Task(task) = plugin {
        let declared = &task.declaration;
        about["parameters"] = declared.schema["properties"].clone();
        about["inputs"] = json!(declared.inputs);
        about["outputs"] = json!(declared.outputs);
        about["version"] = json!(declared.version);
    }
    about
}

fn unknown_state(word: &str) -> Fault {
    let known = State::ALL.map(State::word).join("`, `");
    let shown: String = word.chars().take(100).collect();
    Fault::new(code::PARAMS, format!("`state` is `{shown}`, wanted one of `{known}`"))
}

/// Asks about a job: here if it is at hand, else on a thread that may wait for the disk.
async fn near(
    jobs: &Arc<Jobs>,
    id: i64,
    work: impl FnOnce(&Jobs) -> Result<Json, Fault> + Send + 'static,
) -> Result<Json, Fault> {
    if jobs.is_at_hand(id) { work(jobs) } else { apart(jobs, work).await }
}

/// Works on a thread that may wait.
async fn apart(
    jobs: &Arc<Jobs>,
    work: impl FnOnce(&Jobs) -> Result<Json, Fault> + Send + 'static,
) -> Result<Json, Fault> {
    let jobs = jobs.clone();
    let done = tokio::task::spawn_blocking(move || work(&jobs)).await;
    done.unwrap_or_else(|e| Err(Fault::new(code::SERVER, format!("{e} (this is a bug in isard)"))))
}
