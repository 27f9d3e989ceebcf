//! `isard info`: what a file holds, and the path a recipe would use.

use std::fmt::Write;

use clap::Args;
use isard_files::info::{Info, Item, info};

use crate::command::Done;
use crate::show::style;

/// Arguments of `isard info`.
#[derive(Args)]
pub struct InfoArguments {
    /// A file, a folder, a pattern, or `file.h5::/path/of/dataset`.
    path: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Says what a file holds.
pub fn run(arguments: &InfoArguments) -> Done {
    let found = info(&arguments.path)?;
    style::print(&match arguments.json {
        true => format!("{:#}\n", json(&found)),
        false => text(&found),
    });
    Ok(0)
}

fn json(info: &Info) -> serde_json::Value {
    let items = info.items.iter().map(|item| {
        serde_json::json!({
            "path": item.path, "stage": item.stage, "shape": item.shape, "dtype": item.element,
            "frames": frames(item), "storage": item.storage, "filters": item.filters,
            "units": item.units, "value": item.value.as_ref().map(isard_core::Value::to_json), "main": item.main,
        })
    });
    let head: serde_json::Map<String, serde_json::Value> =
        info.head.iter().map(|(key, value)| (key.to_string(), value.to_json())).collect();
    serde_json::json!({
        "file": info.file, "bytes": info.bytes, "files": info.files,
        "items": items.collect::<Vec<_>>(), "head": head, "broken": info.broken,
    })
}

/// The frames of a stack whose last two axes are an image.
fn frames(item: &Item) -> Option<u64> {
    let leading = item.shape.len().checked_sub(2)?;
    item.stage.map(|_| item.shape[..leading].iter().product())
}

fn text(info: &Info) -> String {
    let mut out = String::new();
    let more = if info.files > 1 { format!(", the first of {} files", info.files) } else { String::new() };
    let _ = writeln!(out, "{}: {} bytes{more}", info.file, info.bytes);
    for item in &info.items {
        let mark = if item.main { '*' } else { ' ' };
        let shape: Vec<String> = item.shape.iter().map(u64::to_string).collect();
        let _ = write!(out, "{mark} {}  {} [{}]", item.path, item.element, shape.join(" "));
        for word in [item.storage.as_str(), &item.filters.join(" + "), item.units.as_deref().unwrap_or("")] {
            if !word.is_empty() {
                let _ = write!(out, "  {word}");
            }
        }
        if let Some(value) = &item.value {
            let _ = write!(out, "  = {}", shown(value));
        }
        out.push('\n');
    }
    for (key, value) in info.head.iter() {
        let _ = writeln!(out, "  {key} = {}", shown(value));
    }
    for link in &info.broken {
        let _ = writeln!(out, "! {link}");
    }
    if let Some((item, stage)) = info.items.iter().find(|i| i.main).and_then(|i| Some((i, i.stage?))) {
        let plural = |n| if n == 1 { "" } else { "s" };
        let frames =
            frames(item).map_or(String::new(), |n| format!("        # {n} frame{} in this file", plural(n)));
        let _ = write!(
            out,
            "\nin a recipe:\n[stage.frames]\nuse = {stage:?}{frames}\nset = {{ path = {:?} }}\n",
            item.path
        );
    }
    out
}

/// A value on a line.
fn shown(value: &isard_core::Value) -> String {
    if value.bytes() <= 400 { value.to_json().to_string() } else { value.describe() }
}
