//! `isard convert`: from any source of files to any writer, pixel by pixel.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use isard_core::error::{Context, Error};
use isard_core::registry::{Declaration, Registry, Role};
use isard_core::span::{Gap, Ranges, Span};
use isard_core::stage::{Arrival, Built, Cx, Output, Position, Pull, RunCx, Shapes, Slots};
use isard_core::store::{Files, RealFiles};
use isard_core::value::{Dict, Value};
use isard_files::info::{Beside, beside, info};
use serde_json::{Value as Json, json};

use crate::command::{Done, Plugins, Stop};
use crate::formats;
use crate::show::style;

/// Frames that are read at once take at most this much memory,
const CHUNK: usize = 64 << 20;
/// and files that hold several frames at most this much.
const FILE: u64 = 256 << 20;
/// The exit code when frames were lost.
const LOST: i32 = 8;

/// Arguments of `isard convert`.
#[derive(Args)]
pub struct ConvertArguments {
    /// What is read: a file, a folder, a pattern, or `file.h5::/path/of/dataset`.
    from: String,
    /// What is written; its ending says how.
    to: PathBuf,
    /// A parameter of the source: `--read key=value`.
    #[arg(long, value_name = "KEY=VALUE")]
    read: Vec<String>,
    /// A parameter of the writer: `--write key=value`.
    #[arg(long, value_name = "KEY=VALUE")]
    write: Vec<String>,
    /// Replace what is there.
    #[arg(long)]
    overwrite: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    plugins: Plugins,
}

/// Converts files.
pub fn run(arguments: &ConvertArguments) -> Done {
    let registry = crate::registry(&arguments.plugins)?;
    let reader = Reader::find(&registry, &arguments.from, &arguments.read)?;
    let mut notes = vec![];
    let run = context()?;
    let cx = Cx::new(&run, "convert");
    let Built::Source(mut source) = (reader.declaration.build)(reader.set)? else {
        return Err(Error::internal("a source was declared that is none").into());
    };
    let opened = source.open(&cx, Dict::new(), Position { next: 0 })?;
    let bytes = opened.shapes.bytes().max(1);
    let to = Target::new(arguments)?;
    let (writer, parameter) = formats::writer(&registry, &to.name)?;
    let set = parameters(&writer, &parameter, &to.name, &arguments.write, |set| {
        let pages = (FILE / bytes as u64).max(1).min(opened.frames.unwrap_or(1).max(1));
        for (name, schema) in writer.schema["properties"].as_object().into_iter().flatten() {
            if schema.get("x-per-file").is_some() {
                set.entry(name).or_insert(json!(pages));
            }
        }
        if writer.schema["properties"].get("whole_bytes").is_some() {
            set.entry("whole_bytes").or_insert(json!(2 * FILE));
        }
        if let Some(axis) = &reader.beside.axis {
            if writer.schema["properties"].get("axis").is_some() {
                set.insert("axis".into(), json!(axis));
            } else {
                notes.push(format!("that frames are plotted against `{axis}` is not kept"));
            }
        }
        if writer.schema["properties"].get("units").is_some() {
            set.entry("units").or_insert(json!(reader.beside.units));
        } else if !reader.beside.units.is_empty() {
            let units: Vec<String> = reader.beside.units.iter().map(|(k, u)| format!("{k} in {u}")).collect();
            notes.push(format!("units are not kept: {}", units.join(", ")));
        }
    })?;
    let Built::Writer(mut stage) = (writer.build)(set)? else {
        return Err(Error::internal("a writer was declared that is none").into());
    };
    let open = writer.inputs.iter().any(|port| port.open);
    let takes = |key: &str| open || writer.inputs.iter().any(|port| port.name == key);
    if !open {
        let kept = opened.head.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>();
        if !kept.is_empty() {
            notes.push(format!("constants are not kept: {}", kept.join(", ")));
        }
    }
    let dropped: Vec<&str> = opened.shapes.iter().map(|(key, _)| key).filter(|key| !takes(key)).collect();
    if !dropped.is_empty() {
        notes.push(format!("values of each frame are not kept: `{}`", dropped.join("`, `")));
    }
    if writer.name == "png.write" {
        notes.push("pixels are not kept: a picture shows the last frame in colours".to_owned());
    }
    if opened.scan.len() > 1 || reader.leading.len() > 1 {
        notes.push(format!("the leading axes {:?} become one of frames", reader.leading));
    }
    let shapes = opened.shapes.iter().filter(|(key, _)| takes(key));
    let shapes = shapes.fold(Shapes::default(), |all, (key, shape)| all.with(key, shape.clone()));
    let wanted = || format!("{} cannot hold {}", writer.name, arguments.from);
    stage.shapes(&shapes).at(wanted)?;
    let out = Arc::new(to);
    stage.open(&cx, out.clone(), None)?;

    let (mut next, mut frames, mut lost) = (0, 0, vec![]);
    let room = (CHUNK / bytes).clamp(1, 256) as u64;
    loop {
        cx.check()?;
        let mut slots = Slots::<Dict>::new(room, next);
        let pulled = source.pull(&cx, &mut slots)?;
        for arrival in slots.take() {
            match arrival {
                Arrival::Frames { first, count, data } => {
                    let mut input: Dict = data.into_iter().filter(|(key, _)| takes(key.as_str())).collect();
                    if open && !opened.head.is_empty() {
                        input.set("head", Value::Dict(opened.head.clone()));
                    }
                    stage.write(&cx, &Span::frames(first, count), input).at(wanted)?;
                    frames += count;
                    next = first + count;
                }
                Arrival::Lost { number, reason, why, .. } => {
                    lost.push(format!("frame {number}: {why}"));
                    stage.gap(&cx, &Gap { span: Span::frames(number, 1), reason, why })?;
                    next = number + 1;
                }
            }
        }
        match pulled {
            Pull::End => break,
            Pull::Wait(pause) => std::thread::sleep(pause),
            Pull::Ready => {}
        }
    }
    let mut covers = Ranges::default();
    covers.add(0..next);
    stage.finish(&cx, &covers)?;
    let files = out.settle()?;
    say(arguments, &reader.declaration, &writer, frames, &files, &notes, &lost);
    Ok(if lost.is_empty() { 0 } else { LOST })
}

fn say(
    arguments: &ConvertArguments,
    reader: &Declaration,
    writer: &Declaration,
    frames: u64,
    files: &[String],
    notes: &[String],
    lost: &[String],
) {
    if arguments.json {
        let done = json!({
            "reader": reader.name, "writer": writer.name, "frames": frames,
            "files": files, "notes": notes, "lost": lost,
        });
        style::print(&format!("{done:#}\n"));
        return;
    }
    let shown = match files {
        [one] => one.clone(),
        [first, .., last] => format!("{} files, {first} to {last}", files.len()),
        [] => "nothing".into(),
    };
    style::print(&format!("{frames} frames by {} and {}: {shown}\n", reader.name, writer.name));
    notes.iter().for_each(|note| style::note(note));
    lost.iter().for_each(|why| style::note(&format!("lost: {why}")));
}

/// The source of what is read, with its parameters.
struct Reader {
    declaration: Arc<Declaration>,
    set: Json,
    beside: Beside,
    leading: Vec<u64>,
}

impl Reader {
    fn find(registry: &Registry, from: &str, set: &[String]) -> Result<Reader, Stop> {
        let name = from.split_once("::").map_or(from, |(file, _)| file);
        let named = formats::by_ending(registry, name, Role::Source);
        let looked = match &named {
            // What other families and plugins declare is not known to the files family.
            Some((stage, _)) if stage.origin != "isard-files" => None,
            Some((stage, _)) if stage.name == "raw.stack" => None,
            _ => Some(info(from)?),
        };
        let main = looked.as_ref().and_then(|info| info.items.iter().find(|item| item.main));
        let path = main.map_or(from, |item| item.path.as_str());
        let (declaration, parameter) = match (main.and_then(|item| item.stage), named) {
            (Some(stage), _) => (registry.find(stage)?.clone(), "path".to_owned()),
            (None, Some(found)) if looked.is_none() => found,
            (None, _) => {
                let error = Error::data(format!("{from}: holds no frames that could be converted"));
                return Err(error.help("`isard info` lists what it holds").into());
            }
        };
        let around = if path.contains("::") { beside(path)? } else { Beside::default() };
        let leading = main.map(|item| item.shape[..item.shape.len().saturating_sub(2)].to_vec());
        let set = parameters(&declaration, &parameter, path, set, |set| {
            for (name, list) in [("columns", &around.columns), ("head", &around.head)] {
                if declaration.schema["properties"].get(name).is_some() && !list.is_empty() {
                    set.entry(name).or_insert(json!(list));
                }
            }
        })?;
        Ok(Reader { declaration, set, beside: around, leading: leading.unwrap_or_default() })
    }
}

/// The parameters of a stage: its path, what the user says, and what is added where the user says nothing.
fn parameters(
    stage: &Declaration,
    parameter: &str,
    path: &str,
    said: &[String],
    add: impl FnOnce(&mut serde_json::Map<String, Json>),
) -> Result<Json, Stop> {
    let quoted = |text: &str| Json::from(text).to_string();
    let texts: Vec<String> =
        std::iter::once(format!("{parameter}={}", quoted(path))).chain(said.iter().cloned()).collect();
    let set = isard_core::plan::parameters_from_text(stage, &texts);
    let mut set = set.map_err(|faults| Stop::Faults(faults, false))?;
    if let Some(map) = set.as_object_mut() {
        let given: Vec<&str> = said.iter().filter_map(|text| text.split(['=', '.']).next()).collect();
        // Defaults are filled in already; only what the user said stands.
        let mut wanted = serde_json::Map::new();
        add(&mut wanted);
        for (key, value) in wanted {
            if !given.iter().any(|name| name.trim() == key) {
                map.insert(key, value);
            }
        }
    }
    Ok(set)
}

/// A context with a thread for each core.
fn context() -> Result<RunCx, Error> {
    let threads = rayon::ThreadPoolBuilder::new().build();
    let threads = threads.map_err(|e| Error::internal(format!("cannot start threads: {e}")))?;
    Ok(RunCx {
        threads: Some(Arc::new(threads)),
        reader: Some(Arc::new(isard_files::input::read_path)),
        ..RunCx::default()
    })
}

/// Where the files go: whole ones, written beside and renamed.
struct Target {
    folder: PathBuf,
    name: String,
    overwrite: bool,
    made: Mutex<Vec<String>>,
}

impl Target {
    fn new(arguments: &ConvertArguments) -> Result<Target, Error> {
        let to = &arguments.to;
        let name = to.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| Error::recipe(format!("{} is no name of a file", to.display())))?;
        let folder = to.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parts = to.with_extension("parts");
        for path in [to.as_path(), &parts] {
            if path.exists() && !arguments.overwrite {
                let error = Error::recipe(format!("{} is there already", path.display()));
                return Err(error.help("name another file, or replace it with `--overwrite`"));
            }
        }
        if arguments.overwrite && parts.is_dir() {
            std::fs::remove_dir_all(&parts).map_err(|e| Error::io("cannot remove", &parts, &e))?;
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io("cannot make", folder, &e))?;
        Ok(Target { folder: folder.to_owned(), name, overwrite: arguments.overwrite, made: Mutex::default() })
    }

    /// Where a file goes, and where it is while it is not whole.
    fn places(&self, path: &str) -> (PathBuf, PathBuf) {
        let at = self.folder.join(path);
        let beside = at.with_extension("isard-part");
        (at, beside)
    }

    /// Where what has no last form yet is kept.
    fn aside(&self, path: &str) -> PathBuf {
        self.folder.join(format!("{path}.isard-part"))
    }

    /// Sees that a file may be written, and makes its folder.
    fn begin(&self, path: &str, replace: bool) -> Result<(), Error> {
        let (at, _) = self.places(path);
        if !replace && at.exists() && !self.overwrite {
            return Err(Error::recipe(format!("{} is there already", at.display())));
        }
        let above = at.parent().unwrap_or(&self.folder);
        std::fs::create_dir_all(above).map_err(|e| Error::io("cannot make", above, &e))
    }

    /// Notes a file that was made, or removes what there is of it.
    fn note(&self, path: &str, beside: &Path, written: Result<(), Error>) -> Result<(), Error> {
        if let Err(error) = written {
            // The first error counts; what cannot be removed stays and is seen.
            let _ = RealFiles.remove(beside);
            return Err(error);
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !made.iter().any(|m| m == path) {
            made.push(path.to_owned());
        }
        Ok(())
    }

    fn write(&self, path: &str, bytes: &[u8], replace: bool) -> Result<(), Error> {
        self.begin(path, replace)?;
        let (at, beside) = self.places(path);
        let written = RealFiles.write_new(&beside, bytes).and_then(|()| RealFiles.rename(&beside, &at));
        self.note(path, &beside, written.map_err(|e| Error::io("cannot write", &at, &e)))
    }

    /// The files that were made; a single part becomes the file that was asked for.
    fn settle(&self) -> Result<Vec<String>, Error> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let (to, parts) =
            (self.folder.join(&self.name), self.folder.join(&self.name).with_extension("parts"));
        let inside = |name: &String| self.folder.join(name).starts_with(&parts);
        // A file that holds all frames by itself makes its parts superfluous; a master needs them.
        let whole = made.contains(&self.name) && self.name.to_lowercase().ends_with(".npy");
        if whole {
            std::fs::remove_dir_all(&parts).map_err(|e| Error::io("cannot remove", &parts, &e))?;
            made.retain(|name| !inside(name));
        } else if let [one] = made.as_slice()
            && inside(one)
        {
            let from = self.folder.join(one);
            RealFiles.rename(&from, &to).map_err(|e| Error::io("cannot rename", &from, &e))?;
            std::fs::remove_dir(&parts).map_err(|e| Error::io("cannot remove", &parts, &e))?;
            *made = vec![self.name.clone()];
        }
        Ok(made.iter().map(|name| self.folder.join(name).display().to_string()).collect())
    }
}

impl Output for Target {
    fn seal(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write(path, bytes, false)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write(path, bytes, true)
    }

    fn replace_pieces(
        &self,
        path: &str,
        pieces: &mut dyn Iterator<Item = Result<Vec<u8>, Error>>,
    ) -> Result<(), Error> {
        self.begin(path, true)?;
        let (at, beside) = self.places(path);
        let io = |e: std::io::Error| Error::io("cannot write", &at, &e);
        let write = |pieces: &mut dyn Iterator<Item = Result<Vec<u8>, Error>>| {
            RealFiles.write_new(&beside, &[]).map_err(io)?;
            for piece in pieces {
                RealFiles.append(&beside, &piece?).map_err(io)?;
            }
            RealFiles.rename(&beside, &at).map_err(io)
        };
        self.note(path, &beside, write(pieces))
    }

    fn draft(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let at = self.aside(path);
        std::fs::write(&at, bytes).map_err(|e| Error::io("cannot write", &at, &e))
    }

    fn drafted(&self, path: &str) -> Result<Vec<u8>, Error> {
        let at = self.aside(path);
        std::fs::read(&at).map_err(|e| Error::io("cannot read", &at, &e))
    }

    fn end_drafts(&self, paths: &[String]) -> Result<(), Error> {
        paths.iter().try_for_each(|path| {
            let at = self.aside(path);
            RealFiles.remove(&at).map_err(|e| Error::io("cannot remove", &at, &e))
        })
    }

    fn record(&self) -> String {
        json!({ "command": "convert", "isard": env!("CARGO_PKG_VERSION") }).to_string()
    }
}
