//! Who could have changed a library: files and folders that anybody may write to are refused.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The path without links, when nobody but its owner and group can change what lies there.
///
/// A world-writable file is refused. A world-writable folder on the way to it is refused too, but for one case: a
/// sticky folder of root, like `/tmp`, where only owners can replace what is theirs; what lies in it must then belong
/// to root or to whoever runs isard.
pub(crate) fn check(path: &Path) -> Result<PathBuf> {
    let real = path.canonicalize().map_err(|e| {
        let error = Error::io("cannot open the plugin", path, &e);
        match e.kind() {
            std::io::ErrorKind::NotFound => error.help("build it, or mend the path of the plugin"),
            _ => error,
        }
    })?;
    let mut inside = about(&real)?;
    if !inside.is_file() {
        return Err(Error::plugin(format!("plugin {} is not a file", real.display())));
    }
    if open_to_all(&inside) {
        return Err(refused(&real, &real));
    }
    let mut at: &Path = &real;
    while let Some(folder) = at.parent() {
        let meta = about(folder)?;
        if open_to_all(&meta) {
            let sticky_root = meta.mode() & 0o1000 != 0 && meta.uid() == 0;
            if !sticky_root {
                return Err(refused(&real, folder));
            }
            if inside.uid() != 0 && inside.uid() != me() {
                let owner = inside.uid();
                return Err(Error::plugin(format!(
                    "plugin {} is refused: {} belongs to user {owner} and lies in a folder that anybody may write to",
                    real.display(),
                    at.display()
                ))
                .help("copy the plugin to a folder of your own"));
            }
        }
        inside = meta;
        at = folder;
    }
    Ok(real)
}

fn about(path: &Path) -> Result<Metadata> {
    std::fs::metadata(path).map_err(|e| Error::io("cannot look at", path, &e))
}

fn open_to_all(meta: &Metadata) -> bool {
    meta.mode() & 0o002 != 0
}

fn refused(plugin: &Path, culprit: &Path) -> Error {
    Error::plugin(format!(
        "plugin {} is refused: anybody may write to {}",
        plugin.display(),
        culprit.display()
    ))
    .help(format!("chmod o-w {}", culprit.display()))
}

fn me() -> u32 {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}
