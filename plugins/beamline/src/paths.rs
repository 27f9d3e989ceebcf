//! Files of jobs: lists of inputs, and outputs that appear whole.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use isard_core::prelude::*;
use isard_core::schemars;
use isard_files::input::listed;

/// One path or several; a pattern stands for the files that fit it, in order.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Several {
    /// A path, or a pattern with `*` and `?`.
    One(String),
    /// Paths.
    Many(Vec<String>),
}

impl Several {
    /// The files, in the order they are worked on.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let files = match self {
            Several::Many(files) => files.iter().map(PathBuf::from).collect(),
            Several::One(text) if text.contains(['*', '?', '#']) => {
                let mut found = listed(text)?;
                found.sort();
                found
            }
            Several::One(text) => vec![PathBuf::from(text)],
        };
        match files.is_empty() {
            true => {
                Err(Error::data("`input_files` names no file").help("give a list of paths, or a pattern"))
            }
            false => Ok(files),
        }
    }
}

/// Writes a file so that it appears under its name only when it is whole, with the folders above it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let failed = |e: std::io::Error| Error::io("cannot write", path, &e);
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        std::fs::create_dir_all(above).map_err(failed)?;
    }
    let mut beside = path.as_os_str().to_owned();
    // Two jobs may write one file: each has a draft of its own, and the last one stays.
    beside.push(format!(".part-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let beside = PathBuf::from(beside);
    let written = (|| {
        let mut file = std::fs::File::create(&beside)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    if written.is_err() {
        // What is left of the draft is of no use; that it cannot be removed either adds nothing.
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(failed)
}

/// The name of a file without its folder and its ending.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_with_their_folders() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b.txt");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(root.path().join("a")).unwrap().count(), 1);
        assert!(
            write(&root.path().join("a/b.txt/c"), b"x").unwrap_err().to_string().contains("cannot write")
        );
    }

    #[test]
    fn patterns_are_sorted() {
        let root = tempfile::tempdir().unwrap();
        for name in ["s_3.cbf", "s_1.cbf", "s_2.cbf", "t_1.cbf"] {
            std::fs::write(root.path().join(name), b"x").unwrap();
        }
        let text = root.path().join("s_*.cbf").display().to_string();
        let found: Vec<String> = Several::One(text).files().unwrap().iter().map(|p| stem(p)).collect();
        assert_eq!(found, ["s_1", "s_2", "s_3"]);
        assert!(Several::Many(vec![]).files().is_err());
    }
}
