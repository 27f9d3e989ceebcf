//! Whole files as static inputs.

use std::path::Path;

use isard_core::prelude::*;
use isard_core::stage::RunCx;
use isard_core::value::map_file;

use crate::convert::{extents, format};
use crate::inflate;
use crate::input::folder::{has_ending, missing};
use crate::input::kinds::{endings, kind, whole};
use crate::input::{hdf5, npz, table};
use crate::npy::Npy;
use crate::npz::Npz;

/// Endings of HDF5 files.
pub(crate) const HDF5: [&str; 6] = [".h5", ".hdf5", ".nxs", ".cxi", ".nx5", ".emd"];

/// Reads what a path names, whole: `dark.npy`, `mask.tif`, `scan.h5::/entry/mask`.
///
/// An NPY file gives its array; a TIFF, EDF, CBF or NPZ file its image, or `[n y x]` when it has several frames; an array of
/// an archive is `file.npz::name`; an HDF5 dataset gives its array, number or text, and `file.h5::/path@name` an attribute;
/// columns of text give a table. `file.h5::/path[0:20]` is a part of the first axis. A loaded run hands this to [`RunCx::reader`].
pub fn read_path(run: &RunCx, path: &str) -> Result<Value> {
    if let Some((file, key)) = path.split_once("::") {
        if has_ending(file, &npz::ENDINGS) {
            return archived(Path::new(file), key).map(Value::Array);
        }
        return hdf5::read(path);
    }
    let at = Path::new(path);
    if !at.exists() {
        return Err(missing(at));
    }
    if has_ending(path, &[".npy"]) {
        return npy(at).map(Value::Array);
    }
    if has_ending(path, &HDF5) {
        let error = Error::recipe(format!("{path}: no reader for this ending"));
        return Err(error.help(format!("name the dataset in it: `{path}::/entry/data`")));
    }
    if has_ending(path, &table::ENDINGS) {
        return table::read(at).map(Value::Table);
    }
    match kind(at) {
        Some(kind) => whole(run, at, &*(kind.scan)()).map(Value::Array),
        None => {
            let error = Error::recipe(format!("{path}: no reader for this ending"));
            let texts = table::ENDINGS.map(|e| format!("`{e}`")).join(", ");
            Err(error.help(format!("wanted {}, {texts} or `file.h5::/path`", endings())))
        }
    }
}

fn npy(path: &Path) -> Result<Array> {
    let name = path.display().to_string();
    let map = map_file(path)?;
    let npy = Npy::parse(&map, &name).map_err(format)?;
    let (dtype, shape) = (Dtype::from(npy.dtype), extents(&npy.shape));
    let end = npy.offset.saturating_add(npy.len());
    if npy.native && npy.offset.is_multiple_of(dtype.size().min(8)) && map.len() >= end {
        return Array::over_map(map, npy.offset, dtype, &shape);
    }
    if map.len() < end {
        let text = format!("{name}: is {} bytes long, wanted {end} for {:?}", map.len(), npy.shape);
        return Err(Error::data(text));
    }
    let mut out = isard_core::Pool::unpooled().take(dtype, &shape)?;
    npy.read(&map, &name, out.bytes_mut()).map_err(format)?;
    Ok(out.freeze())
}

fn archived(path: &Path, key: &str) -> Result<Array> {
    if !path.exists() {
        return Err(missing(path));
    }
    let npz = Npz::scan(path).map_err(format)?;
    let (npy, bytes) = npz.read(path, key, inflate::most(npz.length)).map_err(format)?;
    let mut out = isard_core::Pool::unpooled().take(Dtype::from(npy.dtype), &extents(&npy.shape))?;
    out.bytes_mut().copy_from_slice(&bytes);
    Ok(out.freeze())
}
