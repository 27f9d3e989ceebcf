//! `isard info`: what a file holds, and the path a recipe would use.

use std::fmt::Write;
use std::sync::Arc;

use clap::Args;
use isard_core::error::Error;
use isard_core::plan;
use isard_core::registry::{Declaration, Registry, Role};
use isard_core::stage::{Built, Cx, Opened, Position, RunCx};
use isard_core::value::{Dict, Dtype};
use isard_files::info::{Info, Item, info};

use crate::command::{Done, Stop};
use crate::formats;
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
    if let Some((stage, parameter, opened)) = foreign(&arguments.path)? {
        style::print(&match arguments.json {
            true => format!("{:#}\n", opened_json(&arguments.path, &stage, &opened)),
            false => opened_text(&arguments.path, &stage, &parameter, &opened),
        });
        return Ok(0);
    }
    let found = info(&arguments.path)?;
    style::print(&match arguments.json {
        true => format!("{:#}\n", json(&found)),
        false => text(&found),
    });
    Ok(0)
}

/// A file of another family: what its source says when it opens it.
fn foreign(path: &str) -> Result<Option<(Arc<Declaration>, String, Opened)>, Stop> {
    let registry = Registry::built_in()?;
    let name = path.split_once("::").map_or(path, |(file, _)| file);
    let found = formats::by_ending(&registry, name, Role::Source);
    let Some((stage, parameter)) = found.filter(|(stage, _)| stage.origin != "isard-files") else {
        return Ok(None);
    };
    let said = [format!("{parameter}={}", serde_json::Value::from(path))];
    let set = plan::parameters_from_text(&stage, &said).map_err(|faults| Stop::Faults(faults, false))?;
    let Built::Source(mut source) = (stage.build)(set)? else {
        return Err(Error::internal("a source was declared that is none").into());
    };
    let run = RunCx { reader: Some(Arc::new(isard_files::input::read_path)), ..RunCx::default() };
    let opened = source.open(&Cx::new(&run, "info"), Dict::new(), Position { next: 0 })?;
    Ok(Some((stage, parameter, opened)))
}

fn opened_json(path: &str, stage: &Declaration, opened: &Opened) -> serde_json::Value {
    let head: serde_json::Map<String, serde_json::Value> =
        opened.head.iter().map(|(key, value)| (key.to_string(), value.to_json())).collect();
    let shapes = opened.shapes.iter().map(|(key, shape)| {
        (key.to_owned(), serde_json::json!({ "dtype": shape.dtype.map(Dtype::name), "shape": shape.dims }))
    });
    let shapes: serde_json::Map<String, serde_json::Value> = shapes.collect();
    serde_json::json!({
        "file": path, "stage": stage.name, "frames": opened.frames, "scan": opened.scan,
        "outputs": shapes, "head": head,
    })
}

fn opened_text(path: &str, stage: &Declaration, parameter: &str, opened: &Opened) -> String {
    let mut out = String::new();
    let frames = opened.frames.map_or("frames".into(), |n| format!("{n} frames"));
    let _ = writeln!(out, "{path}: {frames}, read by {}", stage.name);
    for (key, shape) in opened.shapes.iter() {
        let dims = shape.dims.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let _ = writeln!(out, "* {key}  {} [{dims}]", shape.dtype.map_or("?", Dtype::name));
    }
    if !opened.scan.is_empty() {
        let axes: Vec<String> = opened.scan.iter().map(|(axis, n)| format!("{axis} {n}")).collect();
        let _ = writeln!(out, "  scan: {}", axes.join(", "));
    }
    for (key, value) in opened.head.iter() {
        let _ = writeln!(out, "  {key} = {}", shown(value));
    }
    let _ = write!(
        out,
        "\nin a recipe:\n[stage.frames]\nuse = {:?}\nset = {{ {parameter} = {path:?} }}\n",
        stage.name
    );
    out
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
