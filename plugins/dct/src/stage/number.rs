//! The HDF5 layout of a spot: the one place that counts from 1.

use isard_core::prelude::*;
use isard_h5::{Compression, Image, Spec};

use super::spots::{MASKED, PROVISIONAL, Row, WRAPS};

/// Arrays of more values than this are compressed.
const PLAIN: usize = 16;

/// An index that counts from 0, as the files count.
fn from_one(index: i64) -> i64 {
    index + 1
}

/// Writes a spot into a file, below a group; `/` is the file itself.
pub(super) fn write(image: &mut Image, group: &str, row: &Row, id: i64) -> Result<()> {
    let size = row.size()?;
    let [frames, rows, columns] = size.map(|n| n as i64);
    let (data, mask) = (row.voxels::<f32>("data")?, row.voxels::<u8>("mask")?);
    let (x, y) = (from_one(row.whole("column")?), from_one(row.whole("row")?));
    let (first, last) = (from_one(row.whole("first_frame")?), from_one(row.whole("last_frame")?));
    let at = |name: &str| format!("{group}/{name}");
    let scalars = [
        ("Area", row.whole("area")?),
        ("BoundingBoxXorigin", x),
        ("BoundingBoxYorigin", y),
        ("BoundingBoxXsize", columns),
        ("BoundingBoxYsize", rows),
        ("difspotID", id),
        ("StartImage", first),
        ("EndImage", last),
        ("MaxImage", from_one(row.whole("peak_slice")?)),
    ];
    for (name, value) in scalars {
        image.scalar(&at(name), isard_h5::Dtype::I64, &value.to_ne_bytes()).map_err(h5)?;
    }
    let centroid = ["centroid_column", "centroid_row", "centroid_frame"];
    let centroid = centroid.map(|name| row.real(name).map(|c| c + 1.0));
    let [cx, cy, cz] = centroid;
    let centroid = [cx?, cy?, cz?];
    for (name, value) in ["CentroidX", "CentroidY", "CentroidImage"].into_iter().zip(centroid) {
        image.scalar(&at(name), isard_h5::Dtype::F64, &value.to_ne_bytes()).map_err(h5)?;
    }
    let integral = row.real("integral")? as f32;
    image.scalar(&at("Integral"), isard_h5::Dtype::F32, &integral.to_ne_bytes()).map_err(h5)?;

    let bounds = [x, y, first, x + columns - 1, y + rows - 1, first + frames - 1];
    array(image, &at("BoundingBox"), isard_h5::Dtype::I64, &[2, 3], bytemuck::bytes_of(&bounds))?;
    let extent = [x, y, first, columns, rows, frames];
    array(image, &at("BoundingBoxOriginSize"), isard_h5::Dtype::I64, &[2, 3], bytemuck::bytes_of(&extent))?;
    array(image, &at("CentroidIndex"), isard_h5::Dtype::F64, &[3], bytemuck::bytes_of(&centroid))?;
    let peak = [
        from_one(row.whole("peak_column")? - row.whole("column")?),
        from_one(row.whole("peak_row")? - row.whole("row")?),
        from_one(row.whole("peak_slice")?),
    ];
    array(image, &at("MaxIntensityIndex"), isard_h5::Dtype::I64, &[3], bytemuck::bytes_of(&peak))?;

    let masked: Vec<f32> = data.iter().zip(mask).map(|(v, m)| if *m != 0 { *v } else { 0.0 }).collect();
    let mut projection = vec![0f64; size[1] * size[2]];
    for slice in masked.chunks_exact(projection.len().max(1)) {
        projection.iter_mut().zip(slice).for_each(|(sum, v)| *sum += f64::from(*v));
    }
    let projection: Vec<f32> = projection.iter().map(|v| *v as f32).collect();
    let dims = size.map(|n| n as u64);
    let hidden = row.whole("flags")? & i64::from(MASKED) != 0;
    let shown = if hidden { &masked } else { data };
    array(image, &at("Data"), isard_h5::Dtype::F32, &dims, bytemuck::cast_slice(shown))?;
    array(image, &at("DataMasked"), isard_h5::Dtype::F32, &dims, bytemuck::cast_slice(&masked))?;
    array(image, &at("Mask"), isard_h5::Dtype::I8, &dims, mask)?;
    array(image, &at("Projection"), isard_h5::Dtype::F32, &dims[1..], bytemuck::cast_slice(&projection))?;

    let root = if group.is_empty() { "/" } else { group };
    image.attribute(root, "interpretation", "difspot").map_err(h5)?;
    image.attribute(root, "notation_axes", "xyz").map_err(h5)?;
    image.attribute(root, "notation_indexing", "starts with 1 (MATLAB)").map_err(h5)?;
    if row.whole("flags")? & i64::from(WRAPS) != 0 {
        image.attribute(root, "wraps", 1i64).map_err(h5)?;
    }
    if row.whole("flags")? & i64::from(PROVISIONAL) != 0 {
        image.attribute(root, "provisional", 1i64).map_err(h5)?;
    }
    if hidden {
        image.attribute(root, "data_is_masked", 1i64).map_err(h5)?;
    }
    Ok(())
}

fn array(image: &mut Image, path: &str, dtype: isard_h5::Dtype, dims: &[u64], bytes: &[u8]) -> Result<()> {
    let spec = Spec::new(dtype, &dims[1..]).chunk(dims[0]).fletcher32(false);
    let many = dims.iter().product::<u64>() > PLAIN as u64;
    let spec = if many { spec.compress(Compression::Deflate(1)) } else { spec };
    let slot = image.dataset(path, &spec).map_err(h5)?;
    image.append(slot, bytes, dims[0]).map_err(h5)
}

/// An error of the HDF5 library, which works in memory here.
pub(super) fn h5(error: isard_h5::Error) -> Error {
    Error::internal(format!("a spot was not written: {error}"))
}
