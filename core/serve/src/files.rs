//! The folder of the jobs: two files for each, and the runs of recipes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use isard_core::error::{Error, Result};
use isard_core::store::utc_now;

/// The folder of the jobs.
pub struct Folder {
    root: PathBuf,
    /// Folders of thousands that are there.
    made: Mutex<HashSet<u64>>,
}

impl Folder {
    /// The folder itself.
    pub fn open(root: &Path) -> Result<Folder> {
        std::fs::create_dir_all(root).map_err(|e| Error::io("cannot make the folder", root, &e))?;
        let root = root.canonicalize().map_err(|e| Error::io("cannot open the folder", root, &e))?;
        Ok(Folder { root, made: Mutex::default() })
    }

    /// A folder of its own below another one, as users know it: `dahu_2026-01-31T12h00m59`.
    ///
    /// A name that is already of that form is the folder itself.
    pub fn dated(base: &Path) -> PathBuf {
        let name = base.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("dahu_") && name.len() == 24 {
            return base.to_owned();
        }
        let now = utc_now();
        let (hour, minute, second) = (&now[11..13], &now[14..16], &now[17..19]);
        base.join(format!("dahu_{}T{hour}h{minute}m{second}", &now[..10]))
    }

    /// Where everything lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the run of a job's recipe.
    pub fn run(&self, id: u64) -> PathBuf {
        self.thousand(id).join(format!("{id:05}_run"))
    }

    /// Writes the files of a job.
    pub fn write(&self, id: u64, plugin: &str, input: &str, output: &str) -> Result<()> {
        let folder = self.thousand(id);
        let failed = |path: &Path, e: std::io::Error| Error::io("cannot write", path, &e);
        let thousand = id / 1000;
        let known = self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(&thousand);
        if !known {
            std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
            self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(thousand);
        }
        let name = safe(plugin);
        for (ending, text) in [("inp", input), ("out", output)] {
            let path = folder.join(format!("{id:05}_{name}.{ending}"));
            std::fs::write(&path, text).map_err(|e| failed(&path, e))?;
        }
        Ok(())
    }

    /// The text of a job's file: `inp` or `out`.
    pub fn read(&self, id: u64, ending: &str) -> Result<Option<String>> {
        let Ok(list) = std::fs::read_dir(self.thousand(id)) else { return Ok(None) };
        let begin = format!("{id:05}_");
        for entry in list.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&begin) && name.ends_with(&format!(".{ending}")) {
                let path = entry.path();
                return std::fs::read_to_string(&path)
                    .map(Some)
                    .map_err(|e| Error::io("cannot read", &path, &e));
            }
        }
        Ok(None)
    }

    fn thousand(&self, id: u64) -> PathBuf {
        self.root.join(format!("{:04}", id / 1000))
    }
}

/// A plugin's name as it can stand in a file name: what a client wrote may be anything.
pub fn safe(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    name.chars().take(100).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_clients_cannot_leave_the_folder() {
        assert_eq!(safe("../../etc/x y.z"), ".._.._etc_x_y.z");
        assert_eq!(safe("example.square"), "example.square");
    }

    #[test]
    fn a_dated_folder_is_made_once() {
        let dated = Folder::dated(Path::new("/data"));
        let name = dated.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!((name.len(), &name[..5]), (24, "dahu_"));
        assert_eq!(Folder::dated(&dated), dated);
    }
}
