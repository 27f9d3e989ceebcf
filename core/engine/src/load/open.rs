//! Opening a library: trust, version and size first, then its declarations.

use std::collections::HashMap;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use libloading::os::unix;

use crate::error::{Context, Error, Result};
use crate::load::abi::{self, Out, Request, Status, Text};
use crate::load::adopt::{self, Adopt, Keys};
use crate::load::collect::Collect;
use crate::load::export::Card;
use crate::load::isolate::{Apart, Door, Program};
use crate::load::{hash, log, stage, trust, words};
use crate::registry::Declaration;
use crate::stage::Example;
use crate::value::Pool;

/// A loaded library: the functions that every one must have, and who it is.
pub(crate) struct Library {
    pub build: unsafe extern "C" fn(Text, Text, *const Out, *mut *mut c_void) -> Status,
    pub call: unsafe extern "C" fn(*mut c_void, *const Request, *const Out, *const abi::Host) -> Status,
    pub discard: unsafe extern "C" fn(*mut c_void),
    example: Option<unsafe extern "C" fn(Text, *const Out) -> Status>,
    path: PathBuf,
}

impl Library {
    /// Where an error of a stage came from.
    pub fn place(&self, stage: &str) -> String {
        let file = self.path.file_name().unwrap_or(self.path.as_os_str());
        format!("`{stage}` of {}", file.to_string_lossy())
    }

    /// A library that breaks the rules of the interface.
    pub fn broke(&self, stage: &str, how: &str) -> Error {
        Error::plugin(how).at(self.place(stage))
    }
}

/// The digest of a library that is loaded, and its declarations.
type Known = (String, Vec<Declaration>);

/// What was loaded already, by path.
static LOADED: Mutex<Option<HashMap<PathBuf, Known>>> = Mutex::new(None);

/// An opened library, and its declarations as JSON.
#[derive(Clone, Copy)]
pub(crate) struct Opened {
    pub library: &'static Library,
    pub cards: &'static str,
}

/// Opens a library once; `wanted` is the digest it must have, if one was recorded.
pub(crate) fn open(path: &Path, wanted: Option<&str>) -> Result<Vec<Declaration>> {
    let (path, found) = trusted(path, wanted)?;
    // Held to the end: two threads must not start one library twice.
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = loaded.get_or_insert_default();
    match loaded.get(&path) {
        Some((known, declarations)) if *known == found => return Ok(declarations.clone()),
        Some(_) => {
            return Err(Error::plugin(format!("plugin {} has changed since it was loaded", path.display()))
                .help("libraries are never unloaded: start isard again"));
        }
        None => (),
    }
    let make = || -> Result<Vec<Declaration>> {
        let Opened { library, cards } = first(&path)?;
        let door = Arc::new(Door::new(Program::host(), path.clone(), found.clone()));
        Ok(parse(cards)?.into_iter().map(|card| declaration(library, &door, card)).collect())
    };
    let declarations = make().at(|| format!("plugin {}", path.display()))?;
    loaded.insert(path, (found, declarations.clone()));
    Ok(declarations)
}

/// Opens a library in a host process.
pub(crate) fn whole(path: &Path, wanted: Option<&str>) -> Result<Opened> {
    let (path, _) = trusted(path, wanted)?;
    first(&path)
}

/// The path of a plugin without links and its digest, when it is the one that is wanted and can be trusted.
pub(crate) fn trusted(path: &Path, wanted: Option<&str>) -> Result<(PathBuf, String)> {
    let path = trust::check(path)?;
    let found = hash(&path)?;
    match wanted {
        Some(wanted) if wanted != found => Err(Error::plugin(format!(
            "plugin {} has changed: its SHA-256 is {found}, wanted {wanted}",
            path.display()
        ))
        .help("build it from the recorded version, or accept the new one by recording it")),
        _ => Ok((path, found)),
    }
}

/// The declarations of a plugin.
pub(crate) fn parse(cards: &str) -> Result<Vec<Card>> {
    serde_json::from_str(cards).map_err(|e| {
        Error::plugin(format!("its declarations cannot be read: {e}")).help("include/isard.h describes them")
    })
}

fn first(path: &Path) -> Result<Opened> {
    let library = dlopen(path)?;
    // SAFETY: only the address is taken here; what it points to is checked before use.
    let symbol = unsafe { library.get::<*const abi::Plugin>(abi::SYMBOL.as_bytes()) };
    let address = symbol.map(|s| s.as_raw_ptr().cast::<abi::Plugin>().cast_const());
    // Never unloaded: destructors of threads, call sites of logs and vtables of stages outlive any use of it.
    std::mem::forget(library);
    let address = address.map_err(|_| {
        Error::plugin(format!("the library has no symbol `{}`", abi::SYMBOL))
            .help("a Rust plugin says `isard_core::export_plugin!();` and has crate-type cdylib")
    })?;
    // SAFETY: the symbol is at least as long as the three fields that `handshake` reads first.
    let plugin = unsafe { handshake(address) }?;
    let (Some(declare), Some(build), Some(call), Some(discard)) =
        (plugin.declare, plugin.build, plugin.call, plugin.discard)
    else {
        return Err(Error::plugin("the library lacks one of declare, build, call, discard"));
    };
    if let Some(start) = plugin.start {
        // SAFETY: services stay for good, as the interface demands.
        unsafe { start(log::services(&path.display().to_string())) };
    }
    // SAFETY: the interface demands that the text stays for good.
    let cards: &'static str = unsafe { adopt::text(declare()) }?;
    let library = Library { build, call, discard, example: plugin.example, path: path.to_owned() };
    Ok(Opened { library: Box::leak(Box::new(library)), cards })
}

fn dlopen(path: &Path) -> Result<unix::Library> {
    // All symbols now: a missing one is an error here and not a crash in the middle of a run.
    // SAFETY: opening runs the library's initialisers; the user asked for this code to run in this process.
    unsafe { unix::Library::open(Some(path), unix::RTLD_NOW | unix::RTLD_LOCAL) }
        .map_err(|e| Error::plugin(format!("the library cannot be opened: {e}")))
}

/// Checks magic, version and size before anything else is read.
///
/// # Safety
/// Sixteen bytes at `address` must be readable, and as many as they promise.
pub(crate) unsafe fn handshake(address: *const abi::Plugin) -> Result<abi::Plugin> {
    if address.is_null() || !address.is_aligned() {
        return Err(Error::plugin(format!("the symbol `{}` points nowhere", abi::SYMBOL)));
    }
    // SAFETY: as the caller promises; these fields keep their place in every version.
    let (magic, version, size) = unsafe { ((*address).magic, (*address).version, (*address).size) };
    if magic != abi::MAGIC {
        let message = format!("`{}` starts with {magic:#018x}, wanted {:#018x}", abi::SYMBOL, abi::MAGIC);
        return Err(Error::plugin(message).help("this is no isard plugin"));
    }
    if version != abi::VERSION {
        let message = format!("it speaks version {version} of the plugin interface, wanted {}", abi::VERSION);
        return Err(Error::plugin(message).help("build it against the isard-core of this isard"));
    }
    let wanted = size_of::<abi::Plugin>();
    if size as usize != wanted {
        let message = format!("its plugin structure has {size} bytes, wanted {wanted}");
        return Err(Error::plugin(message).help("build it against the isard-core of this isard"));
    }
    // SAFETY: as the caller promises, `size` bytes.
    Ok(unsafe { *address })
}

fn declaration(library: &'static Library, door: &Arc<Door>, card: Card) -> Declaration {
    let name: Arc<str> = card.name.as_str().into();
    let keys = Arc::new(Keys::of(&card.outputs));
    let role = card.role;
    let about = name.clone();
    let apart = Apart::new(door, &name, role, &keys);
    Declaration {
        apart: Some(apart),
        name: card.name,
        kind: card.kind,
        role,
        origin: library.path.display().to_string(),
        version: card.version,
        doc: card.doc,
        schema: card.schema,
        inputs: card.inputs,
        outputs: card.outputs,
        early: card.early,
        example: Arc::new(move || example(library, &about)),
        build: Arc::new(move |set| stage::build(library, &name, role, &keys, &set)),
    }
}

/// The example that a library gives of a stage.
pub(crate) fn example(library: &Library, name: &str) -> Example {
    let Some(give) = library.example else {
        return Example { external: Some("the library gives no example"), ..Example::default() };
    };
    let adopt = Adopt { keys: &Keys::default(), pool: Pool::unpooled() };
    // SAFETY: name and receiver are lent until the call returns.
    let call = |out: &Out| unsafe { give(Text::of(name), out) };
    match Collect::new(adopt).call(call).dict() {
        Ok(dict) => words::example_of(dict),
        Err(error) => {
            let why = format!("the library's example fails: {error}");
            Example { external: Some(words::intern(&why)), ..Example::default() }
        }
    }
}
