//! The engine's own join of two streams.

use serde_json::{Value as Json, json};

use crate::diagnostic::Diagnostic;
use crate::plan::axis::{self, Axis, Flow};
use crate::plan::make::Maker;
use crate::plan::names::{Given, Scope};
use crate::plan::parameters::{Check, Owner};
use crate::plan::{Join, NodeId, Stream, What};
use crate::recipe::{StageText, Typed, Word};
use crate::value::Key;

/// The schema of a join's `set`.
pub(crate) fn schema() -> Json {
    json!({
        "type": "object", "additionalProperties": false,
        "description": "Brings two streams together, by number or by time.",
        "properties": {
            "by": { "enum": ["number", "time"], "default": "number", "description": "What the halves have in common." },
            "within": { "type": "number", "minimum": 0, "x-unit": "s",
                "description": "How far the times of two halves may be apart." },
            "time": { "type": "array", "items": { "type": "string" }, "minItems": 2, "maxItems": 2,
                "description": "The key that holds the time on each side." },
            "wait": { "type": "object", "additionalProperties": false,
                "description": "How long a half waits for the other.",
                "properties": {
                    "frames": { "type": "integer", "minimum": 0, "default": 64,
                        "description": "Later frames of the other side." },
                    "s": { "type": "number", "minimum": 0, "x-unit": "s", "description": "Seconds; none is for ever." },
                } },
        },
    })
}

/// Reads a join; its time keys are filled in when the streams are known.
pub(crate) fn read(maker: &mut Maker<'_>, text: &StageText) -> Join {
    let mut owner = Owner::words(format!("join `{}`", text.name.text));
    owner.noun = "parameter";
    owner.unknown = "E0112";
    let schema = schema();
    let mut check = Check::new(&owner, &schema, &maker.recipe.files);
    let json = check.table(&text.set, text.set_at);
    maker.faults.append(&mut check.faults);
    let by_time = json["by"] == "time";
    for word in ["within", "time"] {
        match (by_time, text.set.entry(word)) {
            (true, None) => maker.faults.push(
                Diagnostic::error("E0143", format!("join `{}` by time needs `{word}`", text.name.text))
                    .at(text.set_at, format!("`{word}` is not set"))
                    .help("write `set = { by = \"time\", time = [\"a.t\", \"b.t\"], within = 0.01 }`"),
            ),
            (false, Some((key, _))) => maker.faults.push(
                Diagnostic::error(
                    "E0143",
                    format!("join `{}` is by number and has no `{word}`", text.name.text),
                )
                .at(key.at, "")
                .help("add `by = \"time\"`, or leave it out"),
            ),
            _ => (),
        }
    }
    if !text.inputs.0.is_empty() {
        let at = text.inputs.0[0].0.at;
        let fault = Diagnostic::error("E0133", format!("join `{}` has no inputs by name", text.name.text));
        maker
            .faults
            .push(fault.at(at, "").help("all keys of both streams travel on; name them where they are read"));
    }
    Join {
        time: None,
        within: json["within"].as_f64().unwrap_or(0.0),
        wait_frames: json["wait"]["frames"].as_u64().unwrap_or(64),
        wait_s: json["wait"]["s"].as_f64(),
    }
}

/// Finds the time keys of joins on their streams, and whether the streams can meet at all.
pub(crate) fn keys(maker: &mut Maker<'_>) {
    for id in 0..maker.drafts.len() {
        let Some(What::Join(join)) = &maker.drafts[id].what else { continue };
        let mut join = join.clone();
        let Some((a, b)) = sides(maker, id) else { continue };
        let text = maker.drafts[id].text;
        if a.axis != b.axis || a.axis == Axis::Snapshot {
            let found = format!("a stream of {}s and one of {}s", a.axis.word(), b.axis.word());
            let fault = Diagnostic::error(
                "E0143",
                format!("join `{}` cannot bring its streams together", text.name.text),
            );
            let at = text.from.get(1).map_or(text.name.at, |w| w.at);
            maker.faults.push(fault.at(at, "").found(found, "two streams that count the same".to_owned()));
        }
        if text.set.get("by").and_then(|i| i.text()) == Some("time")
            && let Some(Typed::List(list)) = text.set.get("time").map(|i| &i.value)
            && let [one, two] = list.as_slice()
        {
            let words = [one, two].map(|i| Word { text: i.text().unwrap_or_default().to_owned(), at: i.at });
            let first = time(maker, id, &words[0], &a, 0);
            let second = time(maker, id, &words[1], &b, 1);
            join.time = first.zip(second);
        }
        maker.drafts[id].what = Some(What::Join(join));
    }
}

fn sides(maker: &Maker<'_>, id: NodeId) -> Option<(Flow, Flow)> {
    let flow = |stream: &Stream| {
        let (Stream::Live(node) | Stream::Kept(node)) = *stream;
        maker.flows.get(node).cloned().flatten()
    };
    match maker.drafts[id].from.as_slice() {
        [a, b] => axis::read(maker, id).and(flow(a).zip(flow(b))),
        _ => None,
    }
}

fn time(maker: &mut Maker<'_>, id: NodeId, word: &Word, flow: &Flow, side: usize) -> Option<Key> {
    match maker.reference(word, Scope::Pass(maker.drafts[id].pass)) {
        Given::Port(node, port) if flow.stages.contains(&node) => {
            Some(format!("{}.{port}", maker.drafts[node].name()).into())
        }
        Given::Wrong => None,
        _ => {
            let from = &maker.drafts[id].text.from[side].text;
            let fault =
                Diagnostic::error("E0143", format!("`{}` is not on the stream of `{from}`", word.text));
            maker.faults.push(
                fault.at(word.at, "").help("`time` names a key of the first stream, then one of the second"),
            );
            None
        }
    }
}
