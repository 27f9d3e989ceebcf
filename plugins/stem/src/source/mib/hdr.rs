//! The text beside Merlin files: the size of the scan, and what else it says.

use std::path::{Path, PathBuf};

use isard_core::prelude::*;

use crate::format::mib::{Header, sidecar};

/// Keys and values of an HDR, in its own order.
pub(super) type Pairs = Vec<(String, String)>;

/// The size of the scan as the HDR has it.
pub(super) fn said(pairs: &[(String, String)], frames: Option<u64>) -> Option<[u64; 2]> {
    let number = |name: &str| {
        let (_, text) = pairs.iter().find(|(key, _)| key == name)?;
        text.trim().parse::<u64>().ok().filter(|n| *n > 0)
    };
    if let (Some(y), Some(x)) = (number("ScanY"), number("ScanX")) {
        return Some([y, x]);
    }
    let columns = number("Frames per Trigger (Number)").filter(|n| *n > 1)?;
    let all = number("Frames in Acquisition (Number)").or(frames)?;
    all.is_multiple_of(columns).then(|| [all / columns, columns])
}

/// What the head says of the first frame and of the HDR.
pub(super) fn head(header: &Header, pairs: &[(String, String)]) -> Dict {
    let mut head = Dict::new().with("time", header.time.as_str()).with("flip_y", 1i64);
    if header.exposure.is_finite() {
        head.set("exposure", header.exposure);
    }
    if !header.thresholds.is_empty() {
        head.set("thresholds", Array::from_slice(&header.thresholds));
    }
    if !pairs.is_empty() {
        let pairs = pairs.iter().map(|(k, v)| (Key::from(k.replace('/', "_")), Value::from(v.as_str())));
        head.set("hdr", pairs.collect::<Dict>());
    }
    head
}

/// Reads an HDR.
pub(super) fn read_pairs(path: &Path) -> Result<Pairs> {
    let bytes = std::fs::read(path).map_err(|e| Error::io("cannot read", path, &e))?;
    if !bytes.starts_with(b"HDR") {
        return Err(Error::data(format!("{}: does not begin with `HDR`", path.display())));
    }
    Ok(sidecar(&bytes))
}

/// The MIB files of an HDR: of the same name, or of that name with a running number.
pub(super) fn beside(hdr: &Path) -> Result<Vec<PathBuf>> {
    let one = hdr.with_extension("mib");
    if one.exists() {
        return Ok(vec![one]);
    }
    let stem = hdr.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let above = hdr.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let listed = std::fs::read_dir(above).map_err(|e| Error::io("cannot list", above, &e))?;
    let fits = |name: &str| {
        let number = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(".mib"));
        number.is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit() || c == '_'))
    };
    let files: Vec<PathBuf> = listed
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.file_name().is_some_and(|n| fits(&n.to_string_lossy())))
        .collect();
    match files.is_empty() {
        true => Err(Error::data(format!("{}: no MIB file of this name is beside it", hdr.display()))),
        false => Ok(files),
    }
}
