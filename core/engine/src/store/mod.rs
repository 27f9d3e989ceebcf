//! What a run leaves behind: its folder, whole files, checkpoints, manifest and provenance.
//!
//! Every byte goes through [`Files`], so that tests can cut the power between any two operations.

mod files;
mod lock;

mod drafts;
mod folder;
mod output;

pub mod checkpoint;
mod head;
pub(crate) mod journal;
pub(crate) mod rollback;

mod manifest;
mod verify;

mod digest;
mod part;
mod provenance;
mod time;

pub mod testing;

pub use checkpoint::Checkpoint;
pub use digest::ContentDigest;
pub use files::{Entry, Files, Op, RealFiles};
pub use folder::{Folder, Opened, Sealed, is_free};
pub(crate) use head::Head;
pub use journal::SyncPolicy;
pub use lock::Holder;
pub use manifest::{Manifest, finish};
pub(crate) use output::tidy;
pub use part::Part;
pub use provenance::{
    GapList, Input, PartUsed, PluginUsed, Provenance, Recording, Repaired, Reused, difference,
};
pub use rollback::Rollback;
pub use time::{rfc3339, utc_now};
pub use verify::{Finding, Kind, Report, Verdict, verify};

use sha2::{Digest, Sha256};

/// The record of the run, in its folder.
pub const RUN: &str = "run.json";
/// The log of the run, in its folder.
pub const LOG: &str = "log.txt";
/// The list of all files with their digests, in the folder of a finished run.
pub const MANIFEST: &str = "manifest.json";
/// The picture that `--view` leaves in the folder of a run: for watching, no output and not verified.
pub const VIEW: &str = "view.png";
/// The sub-folder that belongs to isard: lock, checkpoints, what was set aside.
pub const INNER: &str = ".isard";

/// What stands in the name of a file that is not whole yet.
pub(crate) const PART: &str = ".part-";

/// The SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text takes what is written to it");
        text
    })
}
