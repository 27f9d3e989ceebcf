//! The manifest: every file of a finished run with its digest, and its own digest last.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::files::{Files, fault};
use crate::store::folder::{Folder, Slot};
use crate::store::journal::drop_journals;
use crate::store::rollback::digest_file;
use crate::store::{LOG, MANIFEST, RUN, sha256};

/// The version of the manifest's form.
const VERSION: u32 = 1;
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Every file of a finished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of its form.
    pub isard_manifest: u32,
    /// The files, sorted by path.
    pub files: Vec<Listed>,
    /// Digests of what the outputs mean, by the name of the output: they compare runs.
    pub content: BTreeMap<String, String>,
    /// The SHA-256 of the manifest with zeros in this place.
    pub sha256: String,
}

/// One file of a finished run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Its path below the folder.
    pub path: String,
    /// The stage that wrote it; `isard` for the run's own.
    pub stage: String,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its bytes.
    pub sha256: String,
    /// The SHA-256 of earlier versions, so that a stale one is known as such.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<String>,
}

/// Ends a run: writes the manifest of its folder, last of all files.
pub fn finish(folder: &Folder, content: &BTreeMap<String, String>) -> Result<Manifest> {
    let mut listed = vec![];
    let mut look = vec![(LOG.to_owned(), "isard".to_owned())];
    {
        let state = folder.state();
        for (path, slot) in &state.slots {
            match slot {
                Slot::Whole(f) => listed.push(Listed {
                    path: f.path.clone(),
                    stage: f.stage.clone(),
                    bytes: f.bytes,
                    sha256: f.sha256.clone(),
                    earlier: f.earlier.clone(),
                }),
                // A write that ended in an error left the old version, the new one or none.
                Slot::Claimed { stage, .. } => look.push((path.clone(), stage.clone())),
            }
        }
        match state.own.get(RUN) {
            Some(f) => listed.push(Listed {
                path: f.path.clone(),
                stage: f.stage.clone(),
                bytes: f.bytes,
                sha256: f.sha256.clone(),
                earlier: vec![],
            }),
            None => look.push((RUN.to_owned(), "isard".to_owned())),
        }
    }
    let files = &**folder.files();
    for (path, stage) in look {
        let at = folder.path(&path);
        let found = files.exists(&at).and_then(|there| match there {
            true if path == LOG => files.sync(&at).and_then(|()| digest_file(files, &at)).map(Some),
            true => digest_file(files, &at).map(Some),
            false => Ok(None),
        });
        if let Some((bytes, sha256)) = found.map_err(|e| fault(files, "read", &at, &e))? {
            listed.push(Listed { path, stage, bytes, sha256, earlier: vec![] });
        }
    }
    listed.sort_by(|a, b| a.path.cmp(&b.path));
    let mut manifest =
        Manifest { isard_manifest: VERSION, files: listed, content: content.clone(), sha256: ZEROS.into() };
    manifest.sha256 = sha256(manifest.text().as_bytes());
    folder.write_whole(MANIFEST, manifest.text().as_bytes(), "isard")?;
    folder.drop_drafts();
    // One that stays takes room and nothing else: the run is finished.
    let _ = drop_journals(files, folder.root());
    Ok(manifest)
}

impl Manifest {
    fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest is plain data");
        text.push('\n');
        text
    }

    /// The manifest of a folder; none when the run there is not finished, an error when it is damaged.
    pub fn read(files: &dyn Files, root: &Path) -> Result<Option<Manifest>> {
        let path = root.join(MANIFEST);
        let bytes = match files.read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(fault(files, "read", &path, &e)),
        };
        Manifest::parse(&bytes).map(Some).map_err(|e| e.at(path.display().to_string()))
    }

    /// The manifest of its bytes; every single byte of them is checked.
    pub fn parse(bytes: &[u8]) -> Result<Manifest> {
        let damaged = |why: String| {
            Error::data(format!("the manifest is damaged: {why}"))
                .help("files can still be compared with the digests in a copy of the manifest")
        };
        let text = str::from_utf8(bytes).map_err(|e| damaged(e.to_string()))?;
        // The version is read first: another form may keep its digest elsewhere.
        let json: serde_json::Value = serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
        let tail =
            text.len().checked_sub(ZEROS.len() + "\"\n}\n".len()).filter(|at| text.is_char_boundary(*at));
        let split = tail.and_then(|at| {
            let (head, tail) = text.split_at(at);
            Some((head.strip_suffix("  \"sha256\": \"")?, tail.strip_suffix("\"\n}\n")?))
        });
        let wanted =
            split.map(|(head, _)| sha256(format!("{head}  \"sha256\": \"{ZEROS}\"\n}}\n").as_bytes()));
        if wanted.as_deref().is_none() || wanted.as_deref() != split.map(|(_, digest)| digest) {
            return Err(damaged("its bytes do not match its own SHA-256".into()));
        }
        match json.get("isard_manifest").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => {
                return Err(Error::data(format!(
                    "a manifest of version {version}, this isard reads version {VERSION}"
                )));
            }
            None => return Err(damaged("it has no version".into())),
        }
        serde_json::from_value(json).map_err(|e| damaged(e.to_string()))
    }
}
