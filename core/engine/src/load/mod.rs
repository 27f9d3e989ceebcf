//! Plugins as shared libraries, behind one exported C structure.
//!
//! A library is a crate like any other plugin with [`export_plugin!`](crate::export_plugin) in it, or C code against
//! `include/isard.h`. What crosses is C: dictionaries lent for a call, arrays kept without a copy, JSON for
//! declarations and parameters. A panic is caught on the side that raised it. Libraries are never unloaded.
//!
//! [`isolate`] has the same stages in a child process, and those of Python files, which run nowhere else.

pub mod abi;
pub mod isolate;

mod adopt;
mod collect;
mod lend;
mod words;

mod host;
mod open;
mod stage;
mod trust;

#[doc(hidden)]
pub mod export;
mod far;
mod log;

use std::fs::File;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::registry::Declaration;

/// Exports the stages that a library declares; said once in a crate of type `cdylib`.
#[macro_export]
macro_rules! export_plugin {
    () => {
        /// What isard reads when it loads this library.
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals)]
        pub static isard_plugin: $crate::load::abi::Plugin = $crate::load::export::PLUGIN;
    };
}

/// Loads a plugin, a library or a Python file, and gives the declarations of its stages.
///
/// A library that is loaded already gives them again.
pub fn library(path: &Path) -> Result<Vec<Declaration>> {
    if is_python(path) { isolate::python(path, None) } else { open::open(path, None) }
}

/// Loads a plugin whose SHA-256 was recorded; another one is refused.
pub fn recorded(path: &Path, sha256: &str) -> Result<Vec<Declaration>> {
    if is_python(path) { isolate::python(path, Some(sha256)) } else { open::open(path, Some(sha256)) }
}

/// Whether a plugin is a Python file.
fn is_python(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "py")
}

/// Loads every plugin of a folder, in the order of their names.
pub fn folder(path: &Path) -> Result<Vec<Declaration>> {
    let mut declarations = vec![];
    for library in libraries(path)? {
        declarations.extend(self::library(&library)?);
    }
    Ok(declarations)
}

/// The plugins of a folder, sorted by name: libraries, and Python files that do not begin with `_` or `test_`.
pub fn libraries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e: std::io::Error| Error::io("cannot list the plugin folder", folder, &e);
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let python = is_python(&path) && !name.starts_with('_') && !name.starts_with("test_");
        if python || path.extension().is_some_and(|e| e == std::env::consts::DLL_EXTENSION) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The SHA-256 of a file in hexadecimal digits, as it is recorded for a plugin.
pub fn hash(path: &Path) -> Result<String> {
    let failed = |e: std::io::Error| Error::io("cannot read", path, &e);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut room = vec![0; 1 << 16];
    loop {
        let n = std::io::Read::read(&mut file, &mut room).map_err(failed)?;
        if n == 0 {
            break;
        }
        hasher.update(&room[..n]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
