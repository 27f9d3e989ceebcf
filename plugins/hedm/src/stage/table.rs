//! Voxels as tables that travel between stages.

use isard_core::prelude::*;

use crate::files::Fitted;
use crate::model::Voxel;

/// The columns of voxels that were laid but not fitted.
pub(crate) fn voxels_table(voxels: &[Voxel]) -> Result<Table> {
    let column = |of: fn(&Voxel) -> f64| voxels.iter().map(of).collect::<Vec<f64>>();
    Table::new(voxels.len())
        .with("x", &column(|v| v.x))?
        .with("y", &column(|v| v.y))?
        .with("edge", &column(|v| v.edge))?
        .with("up", &voxels.iter().map(|v| u8::from(v.up)).collect::<Vec<u8>>())
}

/// The voxels of a table.
pub(crate) fn voxels_of(table: &Table) -> Result<Vec<Voxel>> {
    let (x, y, edge) =
        (table.numbers::<f64>("x")?, table.numbers::<f64>("y")?, table.numbers::<f64>("edge")?);
    let up = table.numbers::<u8>("up")?;
    Ok((0..table.rows()).map(|k| Voxel { x: x[k], y: y[k], edge: edge[k], up: up[k] != 0 }).collect())
}

/// Fitted voxels as a table.
pub(crate) fn fitted_table(voxels: &[Fitted]) -> Result<Table> {
    let laid: Vec<Voxel> = voxels.iter().map(|v| v.voxel).collect();
    let column = |of: fn(&Fitted) -> f64| voxels.iter().map(of).collect::<Vec<f64>>();
    voxels_table(&laid)?
        .with("phi1", &column(|v| v.euler[0]))?
        .with("phi", &column(|v| v.euler[1]))?
        .with("phi2", &column(|v| v.euler[2]))?
        .with("confidence", &column(|v| v.confidence))?
        .with("seed", &voxels.iter().map(|v| v.seed as u32).collect::<Vec<u32>>())?
        .with("candidates", &voxels.iter().map(|v| v.candidates as u32).collect::<Vec<u32>>())
}

/// The fitted voxels of a table; of a table over several records those of the last.
pub(crate) fn fitted_of(table: &Table) -> Result<Vec<Fitted>> {
    let last = match table.records().last() {
        Some(record) => table.between(*record, *record + 1)?,
        None => table.clone(),
    };
    let column = |name: &str| last.numbers::<f64>(name);
    let (a, b, c, confidence) = (column("phi1")?, column("phi")?, column("phi2")?, column("confidence")?);
    let (seed, candidates) = (last.numbers::<u32>("seed")?, last.numbers::<u32>("candidates")?);
    let voxels = voxels_of(&last)?;
    Ok((0..last.rows())
        .map(|k| Fitted {
            seed: f64::from(seed[k]),
            candidates: f64::from(candidates[k]),
            seconds: 0.0,
            voxel: voxels[k],
            euler: [a[k], b[k], c[k]],
            confidence: confidence[k],
        })
        .collect())
}

/// Orientations as rows w x y z.
pub(crate) fn quaternions(seeds: &[isard_orientation::Quat]) -> Result<Array> {
    let flat: Vec<f64> = seeds.iter().flat_map(|q| q.0).collect();
    Array::of(&[seeds.len(), 4], &flat)
}

/// The orientations of rows w x y z.
pub(crate) fn orientations(array: &Array) -> Result<Vec<isard_orientation::Quat>> {
    let &[_, 4] = array.shape() else {
        let found = array.shape();
        return Err(Error::data(format!("found seeds of shape {found:?}, wanted rows of w x y z")));
    };
    let rows = array.to_f64()?;
    let one = |(at, q): (usize, &[f64])| {
        let norm = q.iter().map(|x| x * x).sum::<f64>().sqrt();
        let q = isard_orientation::Quat::new([q[0], q[1], q[2], q[3]]).filter(|_| (norm - 1.0).abs() < 1e-2);
        q.ok_or_else(|| Error::data(format!("seed {at}: found a quaternion of length {norm}, wanted 1")))
    };
    rows.chunks_exact(4).enumerate().map(one).collect()
}
