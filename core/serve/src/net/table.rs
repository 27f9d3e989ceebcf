//! The methods: one table for calls, for the OpenAPI page, and for people.

/// A method of the server.
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Its parameters in order.
    pub params: &'static [Param],
    /// The JSON type of its result.
    pub result: &'static str,
}

/// A parameter of a method.
#[derive(Clone, Copy)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// Its JSON type, or several with `|`.
    pub kind: &'static str,
    /// Whether it must be given.
    pub needed: bool,
}

const fn need(name: &'static str, kind: &'static str, doc: &'static str) -> Param {
    Param { name, doc, kind, needed: true }
}

const fn may(name: &'static str, kind: &'static str, doc: &'static str) -> Param {
    Param { name, doc, kind, needed: false }
}

const fn method(
    name: &'static str,
    params: &'static [Param],
    result: &'static str,
    doc: &'static str,
) -> Method {
    Method { name, doc, params, result }
}

const ID: Param = need("id", "integer", "The job; negative ids count from the end, -1 is the latest.");
const FORM: [Param; 3] = [
    ID,
    may("form", "string", "`object` (default), or `text` for compact JSON text."),
    may(
        "nan",
        "string",
        "How numbers that are none are written: `text` (default), `null`, or `bare` in a text.",
    ),
];
const PAGE: [Param; 2] = [
    may("limit", "integer", "So many at most, 1000 if not given; the newest."),
    may("before", "integer", "Only jobs older than this one: the next page."),
];

/// Every method.
pub static METHODS: [Method; 31] = [
    method(
        "startJob",
        &[
            need("plugin", "string", "The plugin or recipe: `module.thing`."),
            may("input", "object|string", "Its input, or JSON text of it."),
            may("priority", "integer", "Higher ones start first; 0 if not given."),
            may("after", "array", "Ids of jobs that must succeed first."),
            may("timeout", "number", "Seconds it may work."),
        ],
        "integer",
        "Accepts a job and gives its id at once.",
    ),
    method("abort", &[ID], "boolean", "Ends a job that waits or runs; says whether it did."),
    method("cleanJob", &[ID], "string", "Frees the memory of an ended job; its files are on disk."),
    method("getJobState", &[ID], "string", "The state of a job."),
    method("getJobOutput", &FORM, "object|string", "The output of a job, empty until it has ended."),
    method("getJobInput", &FORM, "object|string", "The input of a job, with `plugin_name` and `job_id`."),
    method("getJobError", &[ID], "string", "The lines of the error of a job; empty if it has none."),
    method(
        "waitJob",
        &[ID, may("timeout", "number", "Seconds to wait at most, 30 if not given.")],
        "string",
        "Waits for the end of a job; its state then.",
    ),
    method("getJob", &[ID], "object", "Plugin, state, priority, times and marks of a job."),
    method(
        "listJobs",
        &[may("state", "string", "Only jobs of this state."), PAGE[0], PAGE[1]],
        "array",
        "Jobs, newest first.",
    ),
    method("getWaiting", &PAGE, "array", "`{id, plugin}` of jobs that wait."),
    method("getRunning", &PAGE, "array", "`{id, plugin}` of jobs that run."),
    method("getSuccess", &PAGE, "array", "`{id, plugin}` of jobs that succeeded."),
    method("getFailure", &PAGE, "array", "`{id, plugin}` of jobs that failed."),
    method("getAborted", &PAGE, "array", "`{id, plugin}` of jobs that were aborted."),
    method(
        "getInterrupted",
        &PAGE,
        "array",
        "`{id, plugin}` of jobs that were cut off with an earlier server.",
    ),
    method("restartJob", &[ID], "integer", "Runs an ended job anew; the id of the new one."),
    method("resumeJob", &[ID], "integer", "Goes on with a job that was cut off; the id of the new one."),
    method("listPlugins", &[], "array", "`{name, doc, kind}` of what jobs may name."),
    method(
        "describePlugin",
        &[need("name", "string", "The plugin.")],
        "object",
        "Doc, parameters and ports.",
    ),
    method("initPlugin", &[need("name", "string", "The plugin.")], "string", "Looks a plugin up; its doc."),
    method(
        "reloadPlugin",
        &[may("name", "string", "A plugin that must be there afterwards.")],
        "string",
        "Looks at the folders of plugins and recipes again; running jobs keep what they began with.",
    ),
    method(
        "collectStatistics",
        &[],
        "null",
        "Collects statistics, and tells subscribers when they are there.",
    ),
    method("getStatistics", &[], "string", "The statistics collected last, as text."),
    method("jobSuccess", &[], "integer", "The id of the last job that succeeded, -1 before the first."),
    method("jobFailure", &[], "integer", "The id of the last job that failed or was aborted, or -1."),
    method("statisticsCollected", &[], "string", "The statistics text collected last; empty before."),
    method(
        "serialize",
        &[may("on", "boolean", "Runs jobs one by one, or as many as there are workers.")],
        "boolean",
        "Whether jobs run one by one.",
    ),
    method(
        "subscribe",
        &[may("events", "array", "Names of events; all if not given.")],
        "array",
        "Over a WebSocket: events to be told of from now on.",
    ),
    method(
        "unsubscribe",
        &[may("events", "array", "Names of events; all if not given.")],
        "array",
        "Over a WebSocket: events to be told of no longer.",
    ),
    method(
        "legacy",
        &[
            need("command", "string", "A command of the older server."),
            may("argument", "any", "Its argument."),
        ],
        "any",
        "A command of the older server with its exact texts, for gateways to control systems.",
    ),
];

/// The method of a name.
pub(super) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}
