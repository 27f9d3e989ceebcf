//! Re-reading a run: is every file still what was written?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::store::files::{Files, fault};
use crate::store::folder::{Sealed, walk};
use crate::store::journal::{Found, journals};
use crate::store::manifest::{Listed, Manifest};
use crate::store::output::kept;
use crate::store::rollback::digest_file;
use crate::store::{Checkpoint, Head, INNER, LOG, MANIFEST, PART, RUN, VIEW, checkpoint, lock};

/// The verdict on a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The run is finished and every byte is as it was written.
    Good,
    /// The run is not finished; what its last checkpoint lists is as it was written.
    Unfinished,
    /// Something is not as it was written.
    Damaged,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It is listed and not there.
    Missing,
    /// It is shorter than it was.
    Truncated,
    /// It is longer than it was.
    Longer,
    /// It has its size, but other bytes.
    Changed,
    /// It holds what another file of the run should hold.
    Swapped,
    /// It is an earlier version of itself.
    Stale,
    /// It is there and not listed.
    Unlisted,
    /// It cannot be read.
    Unreadable,
    /// The manifest or the checkpoint is damaged.
    Record,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub kind: Kind,
    /// The same in words.
    pub text: String,
}

/// What `verify` found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// How many files were read again.
    pub files: u64,
    /// How many bytes were read again.
    pub bytes: u64,
    /// How many blocks of recorders that are in no file yet were read again.
    pub blocks: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
}

impl Report {
    fn find(&mut self, path: &str, kind: Kind, text: impl Into<String>) {
        self.findings.push(Finding { path: path.to_owned(), kind, text: text.into() });
    }

    /// Whether nothing is wrong; an unfinished run may be good as far as it came.
    pub fn is_good(&self) -> bool {
        self.verdict != Verdict::Damaged
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{}: {}", finding.path, finding.text)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        let (files, bytes, wrong) = (self.files, self.bytes, self.findings.len());
        match self.verdict {
            Verdict::Good => write!(f, "good: {files} files, {bytes} bytes as they were written"),
            Verdict::Unfinished => {
                write!(
                    f,
                    "not finished: the {files} files of the last checkpoint, {bytes} bytes, are as written"
                )
            }
            Verdict::Damaged => write!(f, "damaged: {wrong} found wrong in {files} files, {bytes} bytes"),
        }
    }
}

/// Reads every file of a run again and compares it with what was written.
pub fn verify(files: &dyn Files, root: &Path) -> Result<Report> {
    let mut report =
        Report { verdict: Verdict::Good, files: 0, bytes: 0, blocks: 0, findings: vec![], notes: vec![] };
    let mut found = BTreeMap::new();
    walk(files, root, "", &mut |path, entry| {
        if !entry.folder {
            found.insert(path.to_owned(), entry.bytes);
        }
    })
    .map_err(|e| fault(files, "list", root, &e))?;
    if !found.keys().any(|p| p.starts_with(INNER) || p == MANIFEST || p == RUN) {
        return Err(Error::recipe(format!("{} is not the folder of a run", root.display()))
            .help("name the folder that holds run.json"));
    }
    if let Some(holder) = lock::holder(files, root) {
        report.notes.push(format!("process {} on {} is writing there", holder.pid, holder.host));
    }
    match Manifest::read(files, root) {
        Ok(Some(manifest)) => finished(files, root, &manifest, &found, &mut report),
        Ok(None) => unfinished(files, root, &found, &mut report)?,
        Err(error) => {
            report.find(MANIFEST, Kind::Record, error.message());
            unfinished(files, root, &found, &mut report)?;
        }
    }
    if !report.findings.is_empty() {
        report.verdict = Verdict::Damaged;
    }
    Ok(report)
}

fn finished(
    files: &dyn Files,
    root: &Path,
    manifest: &Manifest,
    found: &BTreeMap<String, u64>,
    report: &mut Report,
) {
    let listed: BTreeSet<&str> = manifest.files.iter().map(|f| f.path.as_str()).collect();
    compare(files, root, &manifest.files, &|_| false, report);
    for path in
        found.keys().filter(|p| !listed.contains(p.as_str()) && ![MANIFEST, VIEW].contains(&p.as_str()))
    {
        match path.strip_prefix(".isard/") {
            Some(inner) if !inner.starts_with("streams/") => {}
            _ if path.contains(PART) => {
                report.find(path, Kind::Unlisted, "a file that was never whole, left by a write cut off");
            }
            _ => report.find(path, Kind::Unlisted, "not in the manifest: this run did not write it"),
        }
    }
}

fn unfinished(
    files: &dyn Files,
    root: &Path,
    found: &BTreeMap<String, u64>,
    report: &mut Report,
) -> Result<()> {
    report.verdict = Verdict::Unfinished;
    let loaded = match checkpoint::read(files, root) {
        Ok(loaded) => loaded,
        Err(error) => {
            report.find(INNER, Kind::Record, error.message());
            return Ok(());
        }
    };
    for warning in &loaded.warnings {
        report.find(INNER, Kind::Record, warning);
    }
    let journals = journals(files, root)?;
    let checkpoint = match loaded.checkpoint {
        Some(checkpoint) => {
            let (step, mark) = (&checkpoint.step, checkpoint.mark);
            report
                .notes
                .push(format!("the run is not finished; its last checkpoint is mark {mark} of `{step}`"));
            checkpoint
        }
        None if journals.is_empty() => {
            report
                .notes
                .push("the run is not finished and wrote no checkpoint: nothing can be compared".into());
            return Ok(());
        }
        None => Checkpoint::default(),
    };
    let mut listed: Vec<Listed> = checkpoint.files.iter().map(listed).collect();
    for found in &journals {
        journaled(root, found, &mut listed, report)?;
    }
    let replaced: BTreeMap<&str, &Sealed> =
        checkpoint.files.iter().filter(|f| f.replaced).map(|f| (f.path.as_str(), f)).collect();
    // A file replaced since then is newer than the checkpoint; its version of then is kept.
    let replaced_since = |path: &str| {
        replaced.get(path).is_some_and(|file| {
            digest_file(files, &root.join(kept(&file.sha256))).is_ok_and(|(_, found)| found == file.sha256)
        })
    };
    compare(files, root, &listed, &replaced_since, report);
    let paths: BTreeSet<&str> = listed.iter().map(|f| f.path.as_str()).collect();
    let later = found
        .keys()
        .filter(|p| !paths.contains(p.as_str()) && ![RUN, LOG, MANIFEST, VIEW].contains(&p.as_str()))
        .filter(|p| !p.starts_with(".isard/") || p.starts_with(".isard/streams/"));
    match later.count() {
        0 => {}
        n => report.notes.push(format!("{n} files are newer than the checkpoint and cannot be compared")),
    }
    Ok(())
}

/// Looks at the journal of a recorder: whole files that no checkpoint lists yet, and blocks that are in none.
fn journaled(root: &Path, found: &Found, listed: &mut Vec<Listed>, report: &mut Report) -> Result<()> {
    let head = Head::of(&found.head).map_err(|e| e.at(found.path.display().to_string()))?;
    for file in head.standing() {
        if !listed.iter().any(|f| f.path == file.path) {
            listed.push(self::listed(file));
        }
    }
    report.blocks += found.blocks.len() as u64;
    let path = found.path.strip_prefix(root).unwrap_or(&found.path).display().to_string();
    for damage in &found.damage {
        report.find(&path, Kind::Changed, damage);
    }
    let frames: u64 = found.blocks.iter().map(|b| b.frames.end - b.frames.start).sum();
    if !head.ended {
        report.notes.push(format!(
            "recorder `{}`: {} frames are in whole files, {frames} in {} blocks behind them, {} bytes come after the \
             last commit; `isard repair` makes whole files of them",
            found.stage,
            head.covers.count(),
            found.blocks.len(),
            found.cut
        ));
    }
    Ok(())
}

fn listed(file: &Sealed) -> Listed {
    Listed {
        path: file.path.clone(),
        stage: file.stage.clone(),
        bytes: file.bytes,
        sha256: file.sha256.clone(),
        earlier: file.earlier.clone(),
    }
}

fn compare(
    files: &dyn Files,
    root: &Path,
    listed: &[Listed],
    excused: &dyn Fn(&str) -> bool,
    report: &mut Report,
) {
    let owners: BTreeMap<&str, &str> = listed.iter().map(|f| (f.sha256.as_str(), f.path.as_str())).collect();
    for file in listed {
        let (bytes, digest) = match digest_file(files, &root.join(&file.path)) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                report.find(&file.path, Kind::Missing, format!("missing, {} bytes wanted", file.bytes));
                continue;
            }
            Err(e) => {
                report.find(&file.path, Kind::Unreadable, format!("cannot be read: {e}"));
                continue;
            }
        };
        report.files += 1;
        report.bytes += bytes;
        if digest == file.sha256 || excused(&file.path) {
            continue;
        }
        let sizes = format!("found {bytes} bytes, wanted {}", file.bytes);
        if let Some(owner) = owners.get(digest.as_str()) {
            report.find(&file.path, Kind::Swapped, format!("holds what `{owner}` should hold"));
        } else if file.earlier.contains(&digest) {
            report.find(&file.path, Kind::Stale, format!("is an earlier version of itself, {sizes}"));
        } else if bytes < file.bytes {
            report.find(&file.path, Kind::Truncated, format!("truncated: {sizes}"));
        } else if bytes > file.bytes {
            report.find(&file.path, Kind::Longer, format!("too long: {sizes}"));
        } else {
            let (found, wanted) = (&digest[..12], &file.sha256[..12.min(file.sha256.len())]);
            let text = format!("changed: its {bytes} bytes have SHA-256 {found}..., wanted {wanted}...");
            report.find(&file.path, Kind::Changed, text);
        }
    }
}
