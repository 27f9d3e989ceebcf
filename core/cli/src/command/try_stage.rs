//! `isard try`: one stage on one file.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Args;
use isard_core::error::Error;
use isard_core::port::{Port, PortKind};
use isard_core::registry::Declaration;
use isard_core::stage::RunCx;
use isard_core::store::{Files, RealFiles};
use isard_core::value::{Array, Dict, Key, Value};

use crate::command::{Done, Plugins};
use crate::show::style;

/// Arguments of `isard try`.
#[derive(Args)]
pub struct TryArguments {
    /// The stage: `family.what`.
    stage: String,
    /// An input: `image=frames.npy`, or just a file for the first port. Frames lead; a single image is one frame.
    #[arg(long = "in", value_name = "[PORT=]FILE")]
    input: Vec<String>,
    /// A parameter: `--set below=0`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// An output: `image=out.npy`, or just a file for the first array.
    #[arg(long, value_name = "[PORT=]FILE")]
    out: Vec<String>,
    #[command(flatten)]
    plugins: Plugins,
}

/// Runs one stage on one file.
pub fn run(arguments: &TryArguments) -> Done {
    let registry = crate::registry(&arguments.plugins)?;
    let declaration = registry.find(&arguments.stage)?;
    let set = isard_core::plan::parameters_from_text(declaration, &arguments.set)
        .map_err(|faults| crate::command::Stop::Faults(faults, false))?;
    let stage = (declaration.build)(set)?;
    let run = RunCx::default();
    let (frames, fixed) = inputs(declaration, &arguments.input, &run)?;
    let output = isard_core::run::once(&declaration.name, stage, &run, &frames, &fixed)?;
    let mut rest: BTreeMap<String, Value> = output.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
    for target in &arguments.out {
        let (port, path) = match target.split_once('=') {
            Some((port, path)) => (port.to_owned(), path),
            None => {
                let first = output.iter().find(|(_, v)| matches!(v, Value::Array(_)));
                let first =
                    first.ok_or_else(|| Error::recipe(format!("`{}` gives no array", declaration.name)))?;
                (first.0.to_string(), target.as_str())
            }
        };
        let value = output.need(&port)?;
        let Value::Array(array) = value else {
            return Err(
                Error::recipe(format!("`{port}` is {}, only arrays go to a file", value.describe())).into()
            );
        };
        if Path::new(path).extension().is_none_or(|e| !e.eq_ignore_ascii_case("npy")) {
            let error =
                Error::recipe(format!("`{path}` does not end in .npy, and nothing else is written here"));
            return Err(error.help("write `.npy`, and convert it with `isard convert`").into());
        }
        write_npy(Path::new(path), array)?;
        rest.remove(&port);
        style::print(&format!("{port} -> {path}: {}\n", value.describe()));
    }
    for (port, value) in rest {
        let text = if value.bytes() <= 400 { value.to_json().to_string() } else { value.describe() };
        style::print(&format!("{port} = {text}\n"));
    }
    Ok(0)
}

/// Writes an array; a file that is there is not overwritten.
fn write_npy(path: &Path, array: &Array) -> Result<(), Error> {
    let bytes = isard_files::output::npy_bytes(array);
    RealFiles.write_new(path, &bytes).map_err(|e| {
        let error = Error::io("cannot write", path, &e);
        if e.kind() == std::io::ErrorKind::AlreadyExists { error.help("name another file") } else { error }
    })
}

/// The inputs that lead with frames, and those that are one value.
fn inputs(declaration: &Declaration, given: &[String], run: &RunCx) -> Result<(Dict, Dict), Error> {
    let (mut frames, mut fixed) = (Dict::new(), Dict::new());
    for text in given {
        let (port, path) = match text.split_once('=') {
            Some((port, path)) => (find(declaration, port)?, path),
            None => (
                declaration
                    .inputs
                    .first()
                    .ok_or_else(|| Error::recipe(format!("`{}` takes no input", declaration.name)))?,
                text.as_str(),
            ),
        };
        let value = match path.parse::<f64>() {
            Ok(number) if matches!(port.kind, PortKind::Float | PortKind::Int) => Value::Float(number),
            _ => isard_files::input::read_path(run, path)?,
        };
        let key = Key::from(port.name.clone());
        match value {
            Value::Array(array) if !port.fixed => frames.set(key, led(port, array)),
            value => fixed.set(key, value),
        }
    }
    Ok((frames, fixed))
}

fn find<'a>(declaration: &'a Declaration, name: &str) -> Result<&'a Port, Error> {
    declaration.inputs.iter().find(|p| p.name == name).ok_or_else(|| {
        let known: Vec<String> = declaration.inputs.iter().map(|p| format!("`{}`", p.name)).collect();
        Error::recipe(format!("`{}` has no input `{name}`", declaration.name))
            .help(format!("it has {}", known.join(", ")))
    })
}

/// A single record gets its leading axis.
fn led(port: &Port, array: Array) -> Array {
    match &port.kind {
        PortKind::Array { axes: Some(axes), .. } if array.shape().len() == axes.len() => array.lead(),
        _ => array,
    }
}
