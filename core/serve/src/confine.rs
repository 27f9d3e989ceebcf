//! Which paths a job may read and write.

use std::path::{Component, Path, PathBuf};

use isard_core::error::{Error, Result};
use isard_core::plan::plain;
use isard_core::value::{Dict, Value};

/// The folders that jobs may read and write below.
#[derive(Clone, Debug, Default)]
pub struct Confine {
    /// No folders stand for no limits.
    roots: Vec<PathBuf>,
    base: PathBuf,
}

impl Confine {
    /// No limits: for jobs of the program itself.
    pub fn anywhere() -> Confine {
        Confine::default()
    }

    /// Only below these folders; relative paths start from the first one.
    pub fn to(roots: &[PathBuf]) -> Result<Confine> {
        let real = |root: &PathBuf| {
            root.canonicalize().map_err(|e| {
                Error::io("cannot use as a root of jobs", root, &e).help("roots are folders that exist")
            })
        };
        let roots = roots.iter().map(real).collect::<Result<Vec<_>>>()?;
        let base = roots.first().cloned().unwrap_or_default();
        Ok(Confine { roots, base })
    }

    /// The folder that relative paths start from.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The folders; none stand for no limits.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// The full form of a path of an input, with what stands behind `::`; one that leads outside is refused.
    pub fn path(&self, text: &str) -> Result<String> {
        let text = &*plain(text);
        if self.roots.is_empty() || is_address(text) {
            return Ok(text.to_owned());
        }
        let (file, inside) = match text.split_once("::") {
            Some((file, inside)) => (file, format!("::{inside}")),
            None => (text, String::new()),
        };
        let full = self.base.join(file);
        match self.inside(&full) {
            true => Ok(format!("{}{inside}", full.display())),
            false => Err(self.refused(text)),
        }
    }

    fn inside(&self, path: &Path) -> bool {
        real(path).is_some_and(|real| self.roots.iter().any(|root| real.starts_with(root)))
    }

    /// Refuses every text of an input that reads as a path and leads outside.
    ///
    /// A plugin may take a path in a parameter or port that does not say so: what looks like one is treated as one.
    pub fn check(&self, input: &Dict) -> Result<()> {
        if self.roots.is_empty() {
            return Ok(());
        }
        input.iter().try_for_each(|(key, value)| self.value(value).map_err(|e| e.at(format!("`{key}`"))))
    }

    fn value(&self, value: &Value) -> Result<()> {
        match value {
            Value::Text(text) => self.text(text),
            Value::List(list) => list.iter().try_for_each(|v| self.value(v)),
            Value::Dict(dict) => dict.values().try_for_each(|v| self.value(v)),
            _ => Ok(()),
        }
    }

    fn text(&self, text: &str) -> Result<()> {
        let plain = plain(text);
        let trimmed = plain.trim();
        if trimmed.starts_with('~') || trimmed.starts_with("file:") || trimmed.contains('\0') {
            return Err(self.refused(text));
        }
        let path = Path::new(trimmed);
        let leads_away = path.is_absolute() || path.components().any(|c| c == Component::ParentDir);
        // Names are short: a long text is prose, and asking the disk for it is an error anyway.
        if trimmed.is_empty() || (trimmed.len() > 4096 && !leads_away) {
            return Ok(());
        }
        if leads_away {
            return self.path(trimmed).map(drop);
        }
        // A plugin that takes a plain text as a path starts from the folder of the process.
        let file = trimmed.split_once("::").map_or(trimmed, |(file, _)| file);
        let here = std::path::absolute(file).unwrap_or_default();
        let strays = |full: &Path| full.symlink_metadata().is_ok() && !self.inside(full);
        match strays(&self.base.join(file)) || strays(&here) {
            true => Err(self.refused(text)),
            false => Ok(()),
        }
    }

    fn refused(&self, text: &str) -> Error {
        let roots = self.roots.iter().map(|r| r.display().to_string()).collect::<Vec<_>>().join(", ");
        Error::recipe(format!("the path `{text}` leads outside of what jobs may use"))
            .help(format!("paths lie below {roots}; the server takes more with `--root DIR`"))
    }
}

fn is_address(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| scheme != "file")
}

/// The path without links; what does not exist yet hangs below the deepest folder that does.
fn real(path: &Path) -> Option<PathBuf> {
    let mut existing = path.to_owned();
    let mut rest = vec![];
    loop {
        match existing.canonicalize() {
            Ok(mut found) => {
                found.extend(rest.iter().rev());
                return Some(found);
            }
            // A link that leads nowhere may lead anywhere by the time it is used.
            Err(_) if existing.symlink_metadata().is_ok_and(|m| m.is_symlink()) => return None,
            Err(_) => {
                // `..` behind what does not exist cannot be followed.
                match existing.components().next_back()? {
                    Component::Normal(name) => rest.push(name.to_owned()),
                    _ => return None,
                }
                existing.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_roots_whatever_way_they_take() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, other) = (inside.path(), outside.path());
        std::fs::write(root.join("a.npy"), b"a").unwrap();
        std::fs::write(other.join("b.npy"), b"b").unwrap();
        std::os::unix::fs::symlink(other, root.join("away")).unwrap();
        std::os::unix::fs::symlink(other.join("none"), root.join("nowhere")).unwrap();
        let confine = Confine::to(&[root.to_owned()]).unwrap();
        for good in ["a.npy", "a.npy::/x", "silx:a.npy?path=/x", "new/b.npy", "./a.npy", "new/frame_####.tif"]
        {
            let full = confine.path(good).unwrap();
            assert!(full.starts_with('/'), "{full}");
        }
        let absolute = other.join("b.npy").display().to_string();
        let relative = format!("../{}/b.npy", other.file_name().unwrap().to_string_lossy());
        let silx = format!("silx:{absolute}?path=/x");
        let bad =
            ["away/b.npy", "nowhere", "../a.npy", "new/../../a.npy", "/etc/passwd", &absolute, &relative];
        let bad = bad.into_iter().chain([&*silx, "silx:///etc/passwd?path=/x", "silx:../a.h5?path=/x"]);
        for bad in bad {
            let error = confine.path(bad).unwrap_err().to_string();
            assert!(error.contains("leads outside"), "{bad}: {error}");
            let input = Dict::new().with("x", Value::from(vec![Value::Dict(Dict::new().with("y", bad))]));
            assert!(confine.check(&input).is_err(), "{bad}");
        }
        for bad in ["~/x", "file:///etc/passwd"] {
            assert!(confine.check(&Dict::new().with("x", bad)).is_err(), "{bad}");
        }
        let prose = Dict::new().with("comment", "ratio 3/4 of the sample").with("unit", "q_nm^-1");
        confine.check(&prose).unwrap();
        assert!(Confine::anywhere().path("/etc/passwd").is_ok());
    }
}
