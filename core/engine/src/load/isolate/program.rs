//! Which program is started as a host.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// A program with the arguments that come before the plugin's path.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// None is found when the first host is started: most libraries never need one.
    pub path: Option<PathBuf>,
    pub arguments: Vec<String>,
    /// What to try when it cannot be started.
    pub help: String,
}

/// What `use_host` named.
static HOST: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Names the program that is started as `PROGRAM host LIBRARY`; for programs that are not `isard` themselves.
pub fn use_host(program: &Path) {
    *HOST.lock().unwrap_or_else(PoisonError::into_inner) = Some(program.to_owned());
}

impl Program {
    /// The host of libraries.
    pub fn host() -> Program {
        let help = "set ISARD_HOST to the path of `isard`".into();
        Program { path: None, arguments: vec!["host".into()], help }
    }

    /// The program itself: for libraries what was named, else this one when it is `isard`, else the one beside it.
    pub fn find(&self) -> Result<PathBuf> {
        if let Some(path) = &self.path {
            return Ok(path.clone());
        }
        let named = HOST.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = named.or_else(|| std::env::var_os("ISARD_HOST").map(PathBuf::from)).or_else(nearby);
        found.ok_or_else(|| {
            Error::plugin("no `isard` beside this program, which an isolated plugin runs in")
                .help(self.help.clone())
        })
    }
}

/// `isard` itself, or the one in the same folder or the one above.
fn nearby() -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    if here.file_stem()? == "isard" {
        return Some(here);
    }
    here.ancestors().skip(1).take(2).map(|folder| folder.join("isard")).find(|path| path.is_file())
}
