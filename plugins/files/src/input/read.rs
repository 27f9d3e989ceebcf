//! Whole files as static inputs.

use std::path::Path;

use isard_core::prelude::*;
use isard_core::stage::RunCx;
use isard_core::value::map_file;

use crate::convert::{core, extents, format};
use crate::input::folder::{has_ending, missing};
use crate::input::hdf5;
use crate::input::tiff::{ENDINGS, scan};
use crate::npy::Npy;

/// Reads what a path names, whole: `dark.npy`, `mask.tif`, `scan.h5::/entry/mask`.
///
/// An NPY file gives its array; a TIFF file its image, or `[n y x]` when it has several pages; an HDF5 dataset its
/// array, number or text, and `file.h5::/path@name` an attribute. A loaded run hands this to [`RunCx::reader`].
pub fn read_path(run: &RunCx, path: &str) -> Result<Value> {
    if path.contains("::") {
        let (file, dataset) = hdf5::open(path)?;
        return hdf5::constant(&file, &dataset);
    }
    let at = Path::new(path);
    if !at.exists() {
        return Err(missing(at));
    }
    if has_ending(path, &[".npy"]) {
        return npy(at).map(Value::Array);
    }
    if has_ending(path, &ENDINGS) {
        return tiff(run, at).map(Value::Array);
    }
    let error = Error::recipe(format!("{path}: no reader for this ending"));
    match has_ending(path, &[".h5", ".hdf5", ".nxs", ".cxi", ".nx5"]) {
        true => Err(error.help(format!("name the dataset in it: `{path}::/entry/data`"))),
        false => Err(error.help("wanted `.npy`, `.tif`, `.tiff` or `file.h5::/path`")),
    }
}

fn npy(path: &Path) -> Result<Array> {
    let name = path.display().to_string();
    let map = map_file(path)?;
    let npy = Npy::parse(&map, &name).map_err(format)?;
    let (dtype, shape) = (core(npy.dtype), extents(&npy.shape));
    if npy.native && npy.offset.is_multiple_of(dtype.size().min(8)) && map.len() >= npy.offset + npy.len() {
        return Array::over_map(map, npy.offset, dtype, &shape);
    }
    let mut out = isard_core::Pool::unpooled().take(dtype, &shape)?;
    npy.read(&map, &name, out.bytes_mut()).map_err(format)?;
    Ok(out.freeze())
}

fn tiff(run: &RunCx, path: &Path) -> Result<Array> {
    let tiff = scan(path)?;
    let page = tiff.uniform().map_err(format)?;
    let (dtype, n, bytes) = (core(page.dtype), tiff.pages().len(), page.bytes());
    let shape = match n {
        1 => vec![page.height, page.width],
        _ => vec![n, page.height, page.width],
    };
    let map = map_file(path)?;
    let mut out = isard_core::Pool::unpooled().take(dtype, &shape)?;
    for (index, cell) in out.bytes_mut().chunks_mut(bytes).enumerate() {
        if run.cancel.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::cancelled());
        }
        tiff.read(&map, index, cell).map_err(format)?;
    }
    Ok(out.freeze())
}
