//! The kinds of files with frames, told by their endings or by how they begin.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::stage::RunCx;

use crate::input::cbf::{self, CbfFiles};
use crate::input::edf::{self, EdfFiles};
use crate::input::folder::has_ending;
use crate::input::npy::{self, NpyFiles};
use crate::input::npz::{self, NpzFiles};
use crate::input::scan::{Scan, Scanned};
use crate::input::series::{FileFrames, Series};
use crate::input::tiff::{self, TiffFiles};

/// A kind of file, and the source that reads it in a recipe.
pub(crate) struct FileKind {
    /// The source.
    pub stage: &'static str,
    /// Endings of its names.
    pub endings: &'static [&'static str],
    /// What its files begin with; one of these.
    begins: &'static [&'static [u8]],
    /// How its frames are found.
    pub scan: fn() -> Arc<dyn Scan>,
}

static KINDS: [FileKind; 5] = [
    FileKind {
        stage: "tiff.sequence",
        endings: &tiff::ENDINGS,
        begins: &[b"II\x2a\0", b"MM\0\x2a", b"II\x2b\0", b"MM\0\x2b"],
        scan: || Arc::new(TiffFiles),
    },
    FileKind {
        stage: "edf.sequence",
        endings: &edf::ENDINGS,
        begins: &[b"{\n", b"{\r\n"],
        scan: || Arc::new(EdfFiles { columns: BTreeMap::new() }),
    },
    FileKind {
        stage: "cbf.sequence",
        endings: &cbf::ENDINGS,
        begins: &[b"###CBF"],
        scan: || Arc::new(CbfFiles { md5: true, columns: BTreeMap::new() }),
    },
    FileKind {
        stage: "npy.stack",
        endings: &npy::ENDINGS,
        begins: &[b"\x93NUMPY"],
        scan: || Arc::new(NpyFiles),
    },
    FileKind {
        stage: "npz.stack",
        endings: &npz::ENDINGS,
        begins: &[b"PK\x03\x04"],
        scan: || Arc::new(NpzFiles::default()),
    },
];

/// The kind of a file by its name; of another name by how the file begins.
pub(crate) fn kind(path: &Path) -> Option<&'static FileKind> {
    let name = path.to_string_lossy();
    if let Some(kind) = KINDS.iter().find(|kind| has_ending(&name, kind.endings)) {
        return Some(kind);
    }
    let mut magic = vec![];
    let read = File::open(path).and_then(|file| file.take(8).read_to_end(&mut magic));
    read.ok()?;
    KINDS.iter().find(|kind| kind.begins.iter().any(|begin| magic.starts_with(begin)))
}

/// The endings of all kinds, for messages.
pub(crate) fn endings() -> String {
    let all: Vec<String> = KINDS.iter().flat_map(|k| k.endings).map(|e| format!("`{e}`")).collect();
    all.join(", ")
}

/// All frames of a file: [n y x], or [y x] where there is one.
pub(crate) fn whole(run: &RunCx, path: &Path, scan: &dyn Scan) -> Result<Array> {
    let Scanned { dtype, dims, frames, form, .. } = scan.scan(path)?;
    let file = FileFrames { path: path.to_owned(), frames, form };
    let mut series = Series::new(dtype, &dims, vec![file], 0)?;
    let cx = Cx::new(run, "input");
    let mut parts = vec![];
    while series.left() > 0 {
        cx.check()?;
        parts.extend(series.pull(&cx, frames)?.into_iter().map(|(_, images)| images));
    }
    let all = match parts.as_slice() {
        [one] => one.detach()?,
        _ => Array::concat(&parts.iter().collect::<Vec<_>>(), isard_core::Pool::unpooled())?,
    };
    if frames == 1 { all.reshape(&dims) } else { Ok(all) }
}
