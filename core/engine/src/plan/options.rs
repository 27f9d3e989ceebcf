//! How a recipe and its stages run: the words of `[run]` and of a stage's `run`.

use serde_json::{Value as Json, json};

use crate::diagnostic::{Diagnostic, Place};
use crate::plan::parameters::{Check, Owner};
use crate::plan::{Limits, Overflow, RunOptions, StageOptions, Take};
use crate::recipe::{Recipe, StageText};
use crate::registry::Role;

/// The schema of `[run]`.
pub(crate) fn run_schema() -> Json {
    let count = |doc: &str| json!({ "type": "integer", "minimum": 0, "description": doc });
    let seconds = |doc: &str| json!({ "type": "number", "minimum": 0, "x-unit": "s", "description": doc });
    let bytes = |doc: &str| json!({ "type": "integer", "minimum": 1, "x-unit": "byte", "description": doc });
    let mut schema = json!({
        "type": "object", "additionalProperties": false, "description": "How the whole recipe runs.",
        "properties": {
            "chunk": { "type": "integer", "minimum": 1, "maximum": 65536, "description": "Frames to a chunk; up to 64 that fit in 2 MiB by default." },
            "latency_ms": count("A chunk closes after this time even if it is not full, in milliseconds."),
            "reorder": count("How many frames a late one may be behind before it is given up."),
            "seed": count("The seed of all random numbers."),
            "threads": { "type": "integer", "minimum": 1, "maximum": 4096, "description": "Threads for heavy work." },
            "hang_s": seconds("Seconds after which a stage is said to hang that neither comes back nor ends a piece of its work."),
            "checkpoint_s": seconds("Seconds between checkpoints; 0 makes none but the last."),
            "checkpoint_frames": { "type": "integer", "minimum": 1, "description": "Frames between checkpoints." },
            "memory": bytes("Bytes of memory the plan may use: a number, or text such as \"8 GB\"."),
            "disk": bytes("Bytes the outputs may take: a number, or text such as \"2 TB\"."),
            "retry": { "type": "integer", "minimum": 0, "maximum": 1000,
                "description": "Tries again of a source or writer after an error that may pass." },
            "limits": { "type": "object", "additionalProperties": false,
                "description": "How many frames may go wrong before the run fails.",
                "properties": {
                    "missing": count("Frames that never came."),
                    "corrupt": count("Frames that came damaged."),
                    "late": count("Frames that came after they were given up."),
                    "dropped": count("Frames let go by a declared overflow; any number by default."),
                    "extra": count("Repeats and numbers outside the scan."),
                } },
        },
    });
    // Said once, in the types, and shown everywhere.
    let defaults = [("", json!(RunOptions::default())), ("/properties/limits", json!(Limits::default()))];
    for (place, values) in defaults {
        for (name, value) in values.as_object().into_iter().flatten() {
            let property = schema.pointer_mut(&format!("{place}/properties/{name}"));
            let property = property.expect("every run option has a schema");
            if !value.is_null() && value.as_u64() != Some(u64::MAX) && property["type"] != "object" {
                property["default"] = value.clone();
            }
        }
    }
    schema
}

/// The schema of a stage's `run`.
pub(crate) fn stage_schema() -> Json {
    let sync = crate::store::SyncPolicy::default();
    json!({
        "type": "object", "additionalProperties": false, "description": "How the stage runs.",
        "properties": {
            "pass": { "type": "string", "description": "The pass it belongs to; the first by default." },
            "overflow": { "enum": ["block", "latest", "drop", "replay"], "default": "block",
                "description": "What happens when its queue is full: wait, keep the newest, drop the newest, or put aside on disk and read back later." },
            "queue": { "type": "integer", "minimum": 1, "maximum": 65536,
                "description": "Chunks in its queue; by default 2 to 16 by their size, right behind a detector as many as take 64 MiB, up to 1024." },
            "lane": { "enum": ["record"], "description": "The recording lane: first delivery, never held up." },
            "on_error": { "enum": ["fail", "detach"], "default": "fail",
                "description": "What an error ends: the run, or with `detach` this branch only." },
            "snapshot_s": { "type": "number", "exclusiveMinimum": 0, "x-unit": "s",
                "description": "Seconds between snapshots." },
            "snapshot_frames": { "type": "integer", "minimum": 1, "description": "Frames between snapshots." },
            "take": { "enum": ["final", "every", "latest"], "default": "final",
                "description": "Which snapshots it takes." },
            "per": { "type": "string", "description": "A fresh instance for each value of this scan axis." },
            "isolate": { "type": "boolean", "description": "A stage of a loaded plugin runs in a child process, which a crash or a hang ends alone; the default beside a recorder, and always so for Python." },
            "keep": { "type": "boolean",
                "description": "What it gives is kept on disk, for a later run to take with `--reuse`." },
            "pace": { "type": "number", "exclusiveMinimum": 0, "x-unit": "Hz",
                "description": "Plays a source, or what an earlier pass kept, as a detector of this rate; as fast as frames are taken by default." },
            "sync_s": { "type": "number", "minimum": 0, "x-unit": "s", "default": sync.seconds,
                "description": "A recorder's frames are on the disk after this time: what a power cut may take; a kill takes none." },
            "sync_bytes": { "type": "integer", "minimum": 1, "x-unit": "byte", "default": sync.bytes,
                "description": "As `sync_s`, by bytes." },
            "verify": { "enum": ["read-back", "none"],
                "description": "Whether a recorder reads its files back from the disk before they count; for live sources by default." },
        },
    })
}

/// Reads `[run]`.
pub(crate) fn run(recipe: &Recipe, faults: &mut Vec<Diagnostic>) -> RunOptions {
    let (owner, schema) = (Owner::words("`[run]`"), run_schema());
    let mut check = Check::new(&owner, &schema, &recipe.files);
    let json = check.table(&recipe.run, Place::default());
    faults.append(&mut check.faults);
    let mut out = RunOptions::default();
    let int = |name: &str| json.get(name).and_then(Json::as_u64);
    let number = |name: &str| json.get(name).and_then(Json::as_f64);
    out.chunk = int("chunk");
    out.latency_ms = int("latency_ms").unwrap_or(out.latency_ms);
    out.reorder = int("reorder").unwrap_or(out.reorder);
    out.seed = int("seed").unwrap_or(out.seed);
    out.threads = int("threads").map(|n| n as usize);
    out.hang_s = number("hang_s").unwrap_or(out.hang_s);
    out.checkpoint_s = number("checkpoint_s").unwrap_or(out.checkpoint_s);
    out.checkpoint_frames = int("checkpoint_frames");
    out.memory = int("memory");
    out.disk = int("disk");
    out.retry = int("retry").map_or(out.retry, |n| n as u32);
    let limit =
        |name: &str, or: u64| json.pointer(&format!("/limits/{name}")).and_then(Json::as_u64).unwrap_or(or);
    let limits = Limits::default();
    out.limits = Limits {
        missing: limit("missing", limits.missing),
        corrupt: limit("corrupt", limits.corrupt),
        late: limit("late", limits.late),
        dropped: limit("dropped", limits.dropped),
        extra: limit("extra", limits.extra),
    };
    out
}

/// Reads a stage's `run`; its pass is read elsewhere.
pub(crate) fn stage(recipe: &Recipe, text: &StageText, faults: &mut Vec<Diagnostic>) -> StageOptions {
    let owner = Owner::words(format!("`run` of stage `{}`", text.name.text));
    let schema = stage_schema();
    let mut check = Check::new(&owner, &schema, &recipe.files);
    let json = check.table(&text.run, text.name.at);
    faults.append(&mut check.faults);
    let word = |name: &str| json.get(name).and_then(Json::as_str).unwrap_or_default();
    StageOptions {
        overflow: match word("overflow") {
            "latest" => Overflow::Latest,
            "drop" => Overflow::Drop,
            "replay" => Overflow::Replay,
            _ => Overflow::Block,
        },
        queue: json.get("queue").and_then(Json::as_u64).map(|n| n as usize),
        record: word("lane") == "record",
        detach: word("on_error") == "detach",
        snapshot_s: json.get("snapshot_s").and_then(Json::as_f64),
        snapshot_frames: json.get("snapshot_frames").and_then(Json::as_u64),
        take: match word("take") {
            "every" => Take::Every,
            "latest" => Take::Latest,
            _ => Take::Final,
        },
        per: json.get("per").and_then(Json::as_str).map(str::to_owned),
        // Settled when it is known where the stage comes from.
        isolate: json.get("isolate") == Some(&Json::Bool(true)),
        keep: json.get("keep") == Some(&Json::Bool(true)),
        pace: json.get("pace").and_then(Json::as_f64),
        sync_s: json.get("sync_s").and_then(Json::as_f64),
        sync_bytes: json.get("sync_bytes").and_then(Json::as_u64),
        read_back: json.get("verify").and_then(Json::as_str).map(|word| word == "read-back"),
    }
}

/// The `run` words that do not go with the role of a stage.
pub(crate) fn by_role(
    recipe: &Recipe,
    text: &StageText,
    role: Option<Role>,
    options: &StageOptions,
    faults: &mut Vec<Diagnostic>,
) {
    let what = role.map_or("a join".to_owned(), |r| format!("a {r}"));
    let mut refuse = |word: &str, wanted: &str| {
        if let Some((key, _)) = text.run.entry(word) {
            let message = format!("`run.{word}` does not go with stage `{}`", text.name.text);
            faults.push(
                Diagnostic::error("E0141", message).at(key.at, "").found(what.clone(), wanted.to_owned()),
            );
        }
    };
    let streaming = !text.from.is_empty();
    if !matches!(role, Some(Role::Fit | Role::Reduce)) {
        refuse("snapshot_s", "a fit or a reduce");
        refuse("snapshot_frames", "a fit or a reduce");
    }
    if role != Some(Role::Writer) {
        refuse("lane", "a writer");
    }
    if !options.record {
        for word in ["sync_s", "sync_bytes", "verify"] {
            refuse(word, "a writer in the recording lane");
        }
    }
    if matches!(role, Some(Role::Source)) || !streaming {
        refuse("overflow", "a stage that reads a stream");
        refuse("queue", "a stage that reads a stream");
        refuse("take", "a stage that reads a stream");
    }
    if role == Some(Role::Writer) {
        refuse("keep", "a stage that gives something");
    }
    if role == Some(Role::Source) {
        refuse("on_error", "a stage behind a source");
    }
    if !matches!(role, Some(Role::Fold | Role::Reduce | Role::Fit | Role::Writer)) {
        refuse("per", "a fold, a reduce, a fit or a writer");
    }
    if role.is_none() {
        refuse("isolate", "a stage of a loaded plugin");
    }
    if options.record && options.overflow != Overflow::Block {
        let at = text.run.entry("overflow").map_or(text.name.at, |(w, _)| w.at);
        let message = format!("stage `{}` records, and may not let frames go", text.name.text);
        let fault = Diagnostic::error("E0141", message).at(at, "").help("leave out `overflow` or `lane`");
        faults.push(fault);
    }
    if let Some(per) = &options.per
        && !recipe.scan.is_empty()
        && !recipe.scan.iter().any(|(axis, _)| axis.text == *per)
    {
        let at = text.run.get("per").map_or(text.name.at, |i| i.at);
        let axes: Vec<&str> = recipe.scan.iter().map(|(a, _)| a.text.as_str()).collect();
        let all = axes.iter().map(|a| format!("`{a}`")).collect::<Vec<_>>().join(", ");
        faults.push(
            Diagnostic::error("E0142", format!("the scan has no axis `{per}`"))
                .at(at, "")
                .similar(crate::error::nearest(per, axes))
                .note(format!("axes of `[scan]`: {all}")),
        );
    }
}
