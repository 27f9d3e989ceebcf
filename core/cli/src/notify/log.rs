//! A log of events, with rotation.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use isard_core::error::{Error, Result};

use super::{Event, Sink};

/// A log file and those before it: `NAME`, `NAME.1`, `NAME.2`, ...
pub(super) struct Log {
    path: PathBuf,
    json: bool,
    limit: u64,
    keep: u32,
    file: File,
    bytes: u64,
}

impl Log {
    pub(super) fn new(path: PathBuf, json: bool, limit: u64, keep: u32) -> Result<Log> {
        let (file, bytes) = open(&path)?;
        Ok(Log { path, json, limit, keep, file, bytes })
    }

    fn aside(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }

    fn rotate(&mut self) -> Result<()> {
        let moved = |from: &PathBuf, to: &PathBuf| match std::fs::rename(from, to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("cannot put aside", from, &e))
            }
            _ => Ok(()),
        };
        for n in (1..self.keep).rev() {
            moved(&self.aside(n), &self.aside(n + 1))?;
        }
        match self.keep {
            0 => std::fs::remove_file(&self.path).map_err(|e| Error::io("cannot remove", &self.path, &e))?,
            _ => moved(&self.path, &self.aside(1))?,
        }
        (self.file, self.bytes) = open(&self.path)?;
        Ok(())
    }
}

fn open(path: &PathBuf) -> Result<(File, u64)> {
    let file = File::options().append(true).create(true).open(path);
    let file = file.map_err(|e| Error::io("cannot open", path, &e))?;
    let bytes = file.metadata().map_err(|e| Error::io("cannot look at", path, &e))?.len();
    Ok((file, bytes))
}

impl Sink for Log {
    fn tell(&mut self, event: &Event) -> Result<()> {
        let level = format!("{:?}", event.level).to_uppercase();
        let line = match self.json {
            true => event.json() + "\n",
            false => {
                format!(
                    "{} {level} {} {}: {}\n",
                    event.time,
                    event.run,
                    event.what,
                    event.text.replace('\n', " ")
                )
            }
        };
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.limit {
            self.rotate()?;
        }
        self.file.write_all(line.as_bytes()).map_err(|e| Error::io("cannot write", &self.path, &e))?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}
