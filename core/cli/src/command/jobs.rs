//! `isard submit`, `isard jobs` and `isard job`: a server from the command line.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use isard_core::error::Error;
use isard_core::recipe;
use isard_serve::client::Client;
use serde_json::{Map, Value as Json, json};

use crate::command::{Done, serve};
use crate::show::style;

/// Which server.
#[derive(Args)]
pub struct ServerArguments {
    /// The server.
    #[arg(long, value_name = "HOST:PORT", env = "ISARD_SERVER", default_value = "127.0.0.1:8421")]
    server: String,
    /// A file with the token of the server; else the variable ISARD_TOKEN.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl ServerArguments {
    fn client(&self) -> Result<Client, Error> {
        Ok(Client::new(&self.server, serve::token(self.token_file.as_deref())?))
    }
}

/// Arguments of `isard submit`.
#[derive(Args)]
pub struct SubmitArguments {
    /// The plugin or recipe: `module.thing`, `recipe.NAME`.
    plugin: String,
    /// Its input as JSON, or `@FILE` with it.
    input: Option<String>,
    /// A key of the input: `--in x=5`; may be given several times.
    #[arg(long = "in", value_name = "KEY=VALUE")]
    keys: Vec<String>,
    /// Higher ones start first.
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    priority: i32,
    /// A job that must succeed first; may be given several times.
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    after: Vec<i64>,
    /// Seconds it may work.
    #[arg(long, value_name = "S")]
    timeout: Option<f64>,
    /// Wait for its end, and print its output.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// Submits a job.
pub fn submit(arguments: &SubmitArguments) -> Done {
    let mut client = arguments.server.client()?;
    let mut params = json!({
        "plugin": arguments.plugin, "input": input(arguments)?,
        "priority": arguments.priority, "after": arguments.after,
    });
    if let Some(timeout) = arguments.timeout {
        params["timeout"] = timeout.into();
    }
    let id = client.call("startJob", params)?.as_i64().unwrap_or(-1);
    if !arguments.wait {
        style::print(&format!("{id}\n"));
        return Ok(0);
    }
    style::note(&format!("job {id}"));
    ended(&mut client, id)
}

fn input(arguments: &SubmitArguments) -> Result<Json, Error> {
    let mut input = match arguments.input.as_deref().map(|text| text.strip_prefix('@').ok_or(text)) {
        None => Json::Object(Map::new()),
        Some(Err(text)) => isard_serve::json::parse(text)?,
        Some(Ok(path)) => {
            let path = PathBuf::from(path);
            let text = std::fs::read_to_string(&path).map_err(|e| Error::io("cannot read", &path, &e))?;
            isard_serve::json::parse(&text)?
        }
    };
    let Some(map) = input.as_object_mut() else {
        return Err(
            Error::recipe("the input of a job is a JSON object").help("write `'{\"x\": 5}'`, or `--in x=5`")
        );
    };
    for (key, value) in keys(&arguments.keys)? {
        map.insert(key, value);
    }
    Ok(input)
}

/// `key=value` texts as entries of an input.
pub fn keys(texts: &[String]) -> Result<Vec<(String, Json)>, Error> {
    let one = |text: &String| {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| Error::recipe(format!("`{text}` has no `=`")).help("write `key=value`"))?;
        Ok((key.trim().to_owned(), recipe::value_of(value).to_json()))
    };
    texts.iter().map(one).collect()
}

/// Waits for the end of a job and prints its output; the exit code says how it ended.
fn ended(client: &mut Client, id: i64) -> Done {
    let state = loop {
        let state = client.call("waitJob", json!([id, 30]))?;
        let word = state.as_str().unwrap_or_default().to_owned();
        if !matches!(word.as_str(), "uninitialized" | "starting" | "running") {
            break word;
        }
    };
    let output = client.call("getJobOutput", json!([id]))?;
    style::print(&format!("{output:#}\n"));
    if state != "success" {
        style::note(&format!("job {id}: {state}"));
    }
    Ok(code(&state))
}

fn code(state: &str) -> i32 {
    match state {
        "failure" => 3,
        "aborted" => 7,
        _ => 0,
    }
}

/// Arguments of `isard jobs`.
#[derive(Args)]
pub struct JobsArguments {
    /// Only jobs of this state.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// So many of the newest.
    #[arg(short, value_name = "N", default_value_t = 20)]
    n: usize,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// Lists jobs.
pub fn list(arguments: &JobsArguments) -> Done {
    let mut client = arguments.server.client()?;
    let list = client.call("listJobs", json!({ "state": arguments.state, "limit": arguments.n }))?;
    if arguments.json {
        style::print(&format!("{list:#}\n"));
        return Ok(0);
    }
    let mut text = format!("{:>8}  {:<13}  {:>10}  {:<20}  plugin\n", "id", "state", "seconds", "accepted");
    for job in list.as_array().into_iter().flatten() {
        let accepted =
            Duration::try_from_secs_f64(job["created"].as_f64().unwrap_or(0.0)).unwrap_or_default();
        let accepted = isard_core::store::rfc3339(SystemTime::UNIX_EPOCH + accepted);
        let mark = if job["interrupted"] == true { "  (interrupted)" } else { "" };
        // Writing to memory does not fail.
        let _ = writeln!(
            text,
            "{:>8}  {:<13}  {:>10.3}  {:<20}  {}{mark}",
            job["id"].as_i64().unwrap_or(0),
            job["state"].as_str().unwrap_or_default(),
            job["runtime"].as_f64().unwrap_or(0.0),
            &accepted[..19],
            job["plugin"].as_str().unwrap_or_default(),
        );
    }
    style::print(&text);
    Ok(0)
}

/// Arguments of `isard job`.
#[derive(Args)]
pub struct JobArguments {
    /// The job; negative ids count from the end, -1 is the latest.
    #[arg(allow_negative_numbers = true)]
    id: i64,
    /// Wait for its end, and print its output.
    #[arg(long)]
    wait: bool,
    /// End it.
    #[arg(long)]
    abort: bool,
    /// Print what it logged, and its error.
    #[arg(long)]
    log: bool,
    /// Print its input.
    #[arg(long)]
    input: bool,
    /// Run it anew with the same input.
    #[arg(long)]
    restart: bool,
    /// Go on with it after it was cut off.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// Shows a job, or does something with it.
pub fn one(arguments: &JobArguments) -> Done {
    let mut client = arguments.server.client()?;
    let mut id = arguments.id;
    if arguments.abort {
        let did = client.call("abort", json!([id]))?;
        let state = client.call("getJobState", json!([id]))?;
        style::print(&format!("{}\n", state.as_str().unwrap_or_default()));
        return Ok(if did == true { 0 } else { 7 });
    }
    if arguments.restart || arguments.resume {
        let method = if arguments.resume { "resumeJob" } else { "restartJob" };
        id = client.call(method, json!([id]))?.as_i64().unwrap_or(id);
        if !arguments.wait {
            style::print(&format!("{id}\n"));
            return Ok(0);
        }
    }
    if arguments.wait {
        return ended(&mut client, id);
    }
    if arguments.input {
        style::print(&format!("{:#}\n", client.call("getJobInput", json!([id]))?));
        return Ok(0);
    }
    if arguments.log {
        let output = client.call("getJobOutput", json!([id]))?;
        let lines = |key: &str| output[key].as_array().cloned().unwrap_or_default();
        let all = lines("logging").into_iter().chain(lines("error"));
        style::print(&all.map(|line| format!("{}\n", line.as_str().unwrap_or_default())).collect::<String>());
        return Ok(0);
    }
    let mut job = client.call("getJob", json!([id]))?;
    job["output"] = client.call("getJobOutput", json!([id]))?;
    style::print(&format!("{job:#}\n"));
    Ok(0)
}
