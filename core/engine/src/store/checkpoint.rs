//! Checkpoints: the state of a run at a mark, in one file.
//!
//! The file is a header (magic, version, length, SHA-256 of all that follows the magic) and a dictionary in the
//! binary form of values. The header's layout is the same in every version.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::store::files::{Files, fault};
use crate::store::folder::{Folder, Sealed};
use crate::store::{INNER, PART};
use crate::value::{Dict, Value, decode, encode, encode_to};

/// The version of checkpoints that this isard writes and reads.
pub const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"isardckp";
const HEADER: usize = 8 + 4 + 8 + 32;

/// The state of a run at a mark.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The digest of the recipe as written.
    pub recipe: String,
    /// The step of the plan that was running.
    pub step: String,
    /// The number of the mark; it rises over the whole run.
    pub mark: u64,
    /// The state of each stage by name.
    pub nodes: Dict,
    /// The account of the frames.
    pub ledger: Dict,
    /// What else the run needs to go on: digests under way, carried values.
    pub more: Dict,
    /// The whole files at the mark, as [`Folder::commit`] gave them.
    pub files: Vec<Sealed>,
}

/// What was found when a checkpoint was looked for.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The newest that is whole; none when the run wrote none.
    pub checkpoint: Option<Checkpoint>,
    /// Damaged ones that were passed over.
    pub warnings: Vec<String>,
}

/// Writes a checkpoint; the one before it goes when this one is safe.
pub fn save(folder: &Folder, checkpoint: &Checkpoint) -> Result<()> {
    let files = &**folder.files();
    let inner = folder.path(INNER);
    let at = |e: io::Error| fault(files, "write a checkpoint in", &inner, &e);
    let older = numbers(files, folder.root()).map_err(at)?;
    let next = older.last().map_or(1, |n| n + 1);
    write(folder, &name(next), checkpoint)?;
    folder.state().settle(&checkpoint.files);
    older.iter().try_for_each(|n| files.remove(&folder.path(&name(*n)))).map_err(at)?;
    files.sync_dir(&inner).map_err(at)?;
    prune(folder)
}

/// The newest checkpoint of a folder that is whole.
///
/// Damaged ones are passed over with a warning; that all are damaged, or that one is of another version, is an error.
pub fn load(folder: &Folder) -> Result<Loaded> {
    read(&**folder.files(), folder.root())
}

/// As [`load`], for a folder that nobody opened.
pub fn read(files: &dyn Files, root: &Path) -> Result<Loaded> {
    let inner = root.join(INNER);
    let mut loaded = Loaded::default();
    let numbers = numbers(files, root).map_err(|e| fault(files, "look for checkpoints in", &inner, &e))?;
    for n in numbers.iter().rev() {
        let path = root.join(name(*n));
        let bytes = files.read(&path).map_err(|e| fault(files, "read", &path, &e))?;
        match unpack(&bytes).map_err(|e| e.at(path.display().to_string()))? {
            Ok(checkpoint) => {
                loaded.checkpoint = Some(checkpoint);
                return Ok(loaded);
            }
            Err(damage) => {
                loaded.warnings.push(format!("checkpoint {} is damaged: {damage}", path.display()))
            }
        }
    }
    match loaded.warnings.is_empty() {
        true => Ok(loaded),
        false => Err(Error::data(loaded.warnings.join("; ")).help(
            "start the recipe anew with another `--out`, or `--restart-from` the end of an earlier pass",
        )),
    }
}

/// Keeps a checkpoint for good under the name of its step, for `--restart-from`.
pub fn keep(folder: &Folder, checkpoint: &Checkpoint) -> Result<()> {
    known_boundaries(folder)?;
    let path = boundary(&checkpoint.step)?;
    write(folder, &path, checkpoint)?;
    folder.state().boundaries.get_or_insert_default().extend(checkpoint.files.iter().cloned());
    Ok(())
}

/// The kept checkpoints of a folder in the order of their marks.
pub fn boundaries(files: &dyn Files, root: &Path) -> Result<Vec<Checkpoint>> {
    let inner = root.join(INNER);
    let entries = files.list(&inner).map_err(|e| fault(files, "list", &inner, &e))?;
    let mut found = vec![];
    for entry in entries.iter().filter(|e| e.name.starts_with("boundary-") && !e.name.contains(PART)) {
        let path = inner.join(&entry.name);
        let bytes = files.read(&path).map_err(|e| fault(files, "read", &path, &e))?;
        match unpack(&bytes).map_err(|e| e.at(path.display().to_string()))? {
            Ok(checkpoint) => found.push(checkpoint),
            Err(damage) => tracing::warn!(path = %path.display(), %damage, "A kept checkpoint is damaged."),
        }
    }
    found.sort_by_key(|c| c.mark);
    Ok(found)
}

/// Goes back to a kept checkpoint: it becomes the newest, later ones are forgotten. Then comes `rollback`.
pub fn restart(folder: &Folder, checkpoint: &Checkpoint) -> Result<()> {
    // Written first: a power cut from here on resumes at this checkpoint, whose rollback can be repeated.
    save(folder, checkpoint)?;
    let files = &**folder.files();
    for later in boundaries(files, folder.root())?.iter().filter(|c| c.mark > checkpoint.mark) {
        let path = folder.path(&boundary(&later.step)?);
        files.remove(&path).map_err(|e| fault(files, "remove", &path, &e))?;
    }
    folder.state().boundaries = None;
    prune(folder)
}

fn boundary(step: &str) -> Result<String> {
    match step.is_empty() || step.contains('/') || step.contains(PART) {
        true => Err(Error::internal(format!("`{step}` cannot be the name of a step"))),
        false => Ok(format!("{INNER}/boundary-{step}")),
    }
}

fn known_boundaries(folder: &Folder) -> Result<()> {
    if folder.state().boundaries.is_none() {
        let found = boundaries(&**folder.files(), folder.root())?;
        folder.state().boundaries = Some(found.into_iter().flat_map(|c| c.files).collect());
    }
    Ok(())
}

/// Removes kept versions that no checkpoint needs.
fn prune(folder: &Folder) -> Result<()> {
    known_boundaries(folder)?;
    let files = &**folder.files();
    let before = folder.path(&format!("{INNER}/before"));
    let at = |e: io::Error| fault(files, "tidy up", &before, &e);
    if !files.exists(&before).map_err(at)? {
        return Ok(());
    }
    // A version kept between the look at what is needed and the look at what is there would be taken for an old one.
    let _keeping = folder.keeping.lock().unwrap_or_else(PoisonError::into_inner);
    let needed: BTreeSet<String> = folder.state().needed().map(|f| f.sha256.clone()).collect();
    for entry in files.list(&before).map_err(at)?.iter().filter(|e| !needed.contains(&e.name)) {
        files.remove(&before.join(&entry.name)).map_err(at)?;
    }
    Ok(())
}

fn name(n: u64) -> String {
    format!("{INNER}/checkpoint-{n:08}")
}

fn numbers(files: &dyn Files, root: &Path) -> io::Result<Vec<u64>> {
    let inner = root.join(INNER);
    if !files.exists(&inner)? {
        return Ok(vec![]);
    }
    let number = |name: &str| name.strip_prefix("checkpoint-")?.parse().ok();
    let mut found: Vec<u64> = files.list(&inner)?.iter().filter_map(|e| number(&e.name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// Writes a checkpoint file piece by piece: what stages keep may be a large part of the memory there is.
fn write(folder: &Folder, path: &str, checkpoint: &Checkpoint) -> Result<()> {
    let value = to_value(checkpoint);
    let header = header(&value);
    folder
        .write_pieces(path, &|sink| {
            sink(&header)?;
            encode_to(&value, sink)
        })
        .map_err(|e| e.at("checkpoint"))
}

/// The bytes of a checkpoint file.
pub fn pack(checkpoint: &Checkpoint) -> Vec<u8> {
    let value = to_value(checkpoint);
    let mut bytes = header(&value).to_vec();
    encode(&value, &mut bytes);
    bytes
}

fn to_value(checkpoint: &Checkpoint) -> Value {
    Dict::new()
        .with("recipe", checkpoint.recipe.as_str())
        .with("step", checkpoint.step.as_str())
        .with("mark", checkpoint.mark as i64)
        .with("nodes", checkpoint.nodes.clone())
        .with("ledger", checkpoint.ledger.clone())
        .with("more", checkpoint.more.clone())
        .with("files", checkpoint.files.iter().map(file_to_value).collect::<Vec<_>>())
        .into()
}

/// What stands before a value in its file.
fn header(value: &Value) -> [u8; HEADER] {
    // The length comes before what it is the length of, in the digest too.
    let each = |take: &mut dyn FnMut(&[u8])| {
        let Ok(()) = encode_to::<Infallible>(value, &mut |piece| {
            take(piece);
            Ok(())
        });
    };
    let mut length = 0;
    each(&mut |piece| length += piece.len() as u64);
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&length.to_le_bytes());
    let mut digest = Sha256::new().chain_update(&bytes[8..20]);
    each(&mut |piece| digest.update(piece));
    bytes[20..].copy_from_slice(&digest.finalize());
    bytes
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(&bytes[8..20]).chain_update(&bytes[HEADER..]).finalize().into()
}

/// Reads a checkpoint file: the outer error refuses another version, the inner text tells the damage.
pub fn unpack(bytes: &[u8]) -> Result<std::result::Result<Checkpoint, String>> {
    if bytes.len() < HEADER || bytes[..8] != *MAGIC {
        return Ok(Err(format!("{} bytes without the header of a checkpoint", bytes.len())));
    }
    let length = u64::from_le_bytes(bytes[12..20].try_into().expect("eight bytes"));
    if bytes[20..HEADER] != digest(bytes) {
        let found = bytes.len() - HEADER;
        return Ok(Err(match found as u64 == length {
            true => "the bytes do not match their SHA-256".into(),
            false => format!("found {found} bytes, wanted {length}"),
        }));
    }
    let version = u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"));
    if version != VERSION {
        return Err(Error::data(format!(
            "a checkpoint of version {version}, this isard reads version {VERSION}"
        ))
        .help("resume with the isard that wrote it; run.json names its version"));
    }
    Ok(decode(&bytes[HEADER..]).and_then(from_value).map_err(|e| e.to_string()))
}

fn from_value(value: Value) -> Result<Checkpoint> {
    let Value::Dict(dict) = value else { return Err(Error::data("it holds no dictionary")) };
    let mark = match dict.need("mark")? {
        Value::Int(mark) => *mark as u64,
        other => return Err(unlike("mark", other)),
    };
    let Value::List(list) = dict.need("files")? else { return Err(unlike("files", dict.need("files")?)) };
    Ok(Checkpoint {
        recipe: text(&dict, "recipe")?.to_string(),
        step: text(&dict, "step")?.to_string(),
        mark,
        nodes: entries(&dict, "nodes")?,
        ledger: entries(&dict, "ledger")?,
        more: entries(&dict, "more")?,
        files: list.iter().map(file_from_value).collect::<Result<_>>()?,
    })
}

fn unlike(key: &str, found: &Value) -> Error {
    Error::data(format!("`{key}` is {}", found.describe()))
}

fn text(dict: &Dict, key: &str) -> Result<Arc<str>> {
    match dict.need(key)? {
        Value::Text(text) => Ok(text.clone()),
        other => Err(unlike(key, other)),
    }
}

fn entries(dict: &Dict, key: &str) -> Result<Dict> {
    match dict.need(key)? {
        Value::Dict(dict) => Ok(dict.clone()),
        other => Err(unlike(key, other)),
    }
}

/// A file of a list as a value.
pub(crate) fn file_to_value(file: &Sealed) -> Value {
    let earlier: Vec<Value> = file.earlier.iter().map(|d| Value::from(d.as_str())).collect();
    Dict::new()
        .with("path", file.path.as_str())
        .with("stage", file.stage.as_str())
        .with("bytes", file.bytes as i64)
        .with("sha256", file.sha256.as_str())
        .with("replaced", file.replaced)
        .with("earlier", earlier)
        .into()
}

/// The file of a value.
pub(crate) fn file_from_value(value: &Value) -> Result<Sealed> {
    let Value::Dict(dict) = value else { return Err(unlike("files", value)) };
    let (Value::Int(bytes), Value::Bool(replaced), Value::List(earlier)) =
        (dict.need("bytes")?, dict.need("replaced")?, dict.need("earlier")?)
    else {
        return Err(unlike("files", value));
    };
    Ok(Sealed {
        path: text(dict, "path")?.to_string(),
        stage: text(dict, "stage")?.to_string(),
        bytes: *bytes as u64,
        sha256: text(dict, "sha256")?.to_string(),
        replaced: *replaced,
        earlier: earlier.iter().filter_map(|v| v.text().map(str::to_owned)).collect(),
    })
}
