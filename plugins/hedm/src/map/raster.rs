//! Voxels on a lattice of points: for pictures and for the files of EBSD programs.

use std::collections::HashMap;
use std::fmt::Write;

use isard_core::error::{Error, Result};
use isard_orientation::{Cell, Quat};

use crate::files::Fitted;
use crate::model::Voxel;

/// Points along the longer side at most.
const MOST: f64 = 800.0;

/// A square lattice of points, each with the voxel it lies in or near.
#[derive(Clone, Debug)]
pub struct Raster {
    /// Points along y and x.
    pub shape: [usize; 2],
    /// The first point: x and y.
    pub origin: [f64; 2],
    /// The distance of two points.
    pub step: f64,
    /// The nearest voxel of each point, rows of rising y; none further away than a voxel reaches.
    pub nearest: Vec<Option<u32>>,
}

impl Raster {
    /// A lattice over voxels, about three points to the distance of two.
    pub fn new(voxels: &[Voxel]) -> Raster {
        let bounds = |of: fn(&Voxel) -> f64| {
            voxels.iter().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)))
        };
        let ((x0, x1), (y0, y1)) = (bounds(|v| v.x), bounds(|v| v.y));
        if voxels.is_empty() {
            return Raster { shape: [0, 0], origin: [0.0; 2], step: 1.0, nearest: vec![] };
        }
        let extent = (x1 - x0).max(y1 - y0);
        let pitch = pitch(voxels).unwrap_or(voxels[0].edge);
        let step = (pitch / 3.0).max(extent / MOST).max(1e-6);
        let reach = pitch.max(step);
        let origin = [x0 - reach, y0 - reach];
        let count = |low: f64, high: f64| ((high - low + 2.0 * reach) / step).ceil() as usize + 1;
        let shape = [count(y0, y1), count(x0, x1)];
        let bin = |x: f64, y: f64| ((x / reach).floor() as i64, (y / reach).floor() as i64);
        let mut bins: HashMap<(i64, i64), Vec<u32>> = HashMap::new();
        voxels.iter().enumerate().for_each(|(k, v)| bins.entry(bin(v.x, v.y)).or_default().push(k as u32));
        let nearest = (0..shape[0] * shape[1]).map(|k| {
            let (x, y) = (origin[0] + (k % shape[1]) as f64 * step, origin[1] + (k / shape[1]) as f64 * step);
            let (bx, by) = bin(x, y);
            let near = (0..9).filter_map(|n| bins.get(&(bx + n % 3 - 1, by + n / 3 - 1))).flatten();
            let away = |n: &u32| (voxels[*n as usize].x - x).hypot(voxels[*n as usize].y - y);
            near.copied().filter(|n| away(n) <= reach).min_by(|a, b| away(a).total_cmp(&away(b)))
        });
        Raster { nearest: nearest.collect(), shape, origin, step }
    }
}

/// The smallest distance of two voxels, from some of them.
fn pitch(voxels: &[Voxel]) -> Option<f64> {
    let nearest = |(at, a): (usize, &Voxel)| {
        let others = voxels.iter().enumerate().filter(|(k, _)| *k != at);
        others.map(|(_, b)| (a.x - b.x).hypot(a.y - b.y)).fold(f64::INFINITY, f64::min)
    };
    let step = voxels.len().div_ceil(16).max(1);
    let found = voxels.iter().enumerate().step_by(step).map(nearest).fold(f64::INFINITY, f64::min);
    (found.is_finite() && found > 0.0).then_some(found)
}

/// A picture of voxels in their colours, y upwards, white where there is none.
pub fn png(raster: &Raster, colours: &[[u8; 3]]) -> Result<Vec<u8>> {
    let [rows, columns] = raster.shape;
    let mut pixels = Vec::with_capacity(3 * rows * columns);
    for row in (0..rows).rev() {
        for at in &raster.nearest[row * columns..(row + 1) * columns] {
            pixels.extend(at.map_or([255; 3], |v| colours[v as usize]));
        }
    }
    let told = |e: png::EncodingError| Error::internal(format!("drawing a map: {e}"));
    let mut out = vec![];
    let mut encoder = png::Encoder::new(&mut out, columns.max(1) as u32, rows.max(1) as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    if pixels.is_empty() {
        pixels = vec![255; 3];
    }
    let mut writer = encoder.write_header().map_err(told)?;
    writer.write_image_data(&pixels).map_err(told)?;
    writer.finish().map_err(told)?;
    Ok(out)
}

/// A map as Channel text (`.ctf`), or as OIM text (`.ang`).
///
/// Both hold the passive rotation in Bunge's angles; that of sample to crystal has the angles of the active one in the
/// order (pi - phi2, Phi, pi - phi1), which is what the matrix here transposes to.
pub fn channel_text(
    raster: &Raster,
    voxels: &[Fitted],
    cell: &Cell,
    space_group: u8,
    channel: bool,
) -> String {
    let [rows, columns] = raster.shape;
    let [a, b, c, alpha, beta, gamma] = cell.constants();
    let mut out = match channel {
        true => format!(
            "Channel Text File\nPrj\tisard\nAuthor\tisard\nJobMode\tGrid\nXCells\t{columns}\nYCells\t{rows}\nXStep\t{0:.6}\n\
             YStep\t{0:.6}\nAcqE1\t0\nAcqE2\t0\nAcqE3\t0\nEuler angles refer to Sample Coordinate system (CS0)!\t\
             Mag\t1\tCoverage\t100\tDevice\t0\tKV\t0\tTiltAngle\t0\tTiltAxis\t0\nPhases\t1\n\
             {a:.4};{b:.4};{c:.4}\t{alpha:.3};{beta:.3};{gamma:.3}\tphase\t{1}\t{space_group}\n\
             Phase\tX\tY\tBands\tError\tEuler1\tEuler2\tEuler3\tMAD\tBC\tBS\n",
            raster.step,
            laue_number(space_group)
        ),
        false => format!(
            "# Phase 1\n# MaterialName phase\n# Symmetry {}\n# LatticeConstants {a:.4} {b:.4} {c:.4} {alpha:.3} {beta:.3} \
             {gamma:.3}\n# GRID: SqrGrid\n# XSTEP: {2:.6}\n# YSTEP: {2:.6}\n# NCOLS_ODD: {columns}\n\
             # NCOLS_EVEN: {columns}\n# NROWS: {rows}\n# SpaceGroup {1}\n",
            laue_name(space_group),
            space_group,
            raster.step
        ),
    };
    for row in 0..rows {
        for column in 0..columns {
            let (x, y) = (column as f64 * raster.step, row as f64 * raster.step);
            let at = raster.nearest[row * columns + column].map(|v| &voxels[v as usize]);
            let found = at.filter(|v| v.confidence > 0.0);
            let euler = found.map_or([0.0; 3], |v| Quat::from_euler(v.euler).euler());
            let confidence = found.map_or(0.0, |v| v.confidence);
            if channel {
                let phase = u8::from(found.is_some());
                let e = euler.map(f64::to_degrees);
                let contrast = (255.0 * confidence).round();
                writeln!(
                    out,
                    "{phase}\t{x:.4}\t{y:.4}\t0\t0\t{:.4}\t{:.4}\t{:.4}\t0\t{contrast:.0}\t0",
                    e[0], e[1], e[2]
                )
            } else {
                let phase = if found.is_some() { 1 } else { 0 };
                let e = euler;
                writeln!(
                    out,
                    "{:.5} {:.5} {:.5} {x:.5} {y:.5} {confidence:.4} {confidence:.4} {phase} 0 0",
                    e[0], e[1], e[2]
                )
            }
            .expect("text grows");
        }
    }
    out
}

/// The number of the Laue class in Channel files.
fn laue_number(space_group: u8) -> u8 {
    match space_group {
        0..=2 => 1,
        3..=15 => 2,
        16..=74 => 3,
        75..=88 => 4,
        89..=142 => 5,
        143..=148 => 6,
        149..=167 => 7,
        168..=176 => 8,
        177..=194 => 9,
        195..=206 => 10,
        _ => 11,
    }
}

/// The name of the Laue class in OIM files.
fn laue_name(space_group: u8) -> u8 {
    [1, 2, 22, 4, 42, 3, 32, 6, 62, 23, 43][usize::from(laue_number(space_group)) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Grid, Layout};

    #[test]
    fn every_voxel_has_its_points_and_pictures_have_their_size() {
        let voxels = Grid { radius: 20.0, size: 5.0, edge: 5.0, layout: Layout::Tiling }.voxels();
        let raster = Raster::new(&voxels);
        let mut seen = vec![false; voxels.len()];
        raster.nearest.iter().flatten().for_each(|v| seen[*v as usize] = true);
        assert!(seen.iter().all(|s| *s));
        let bytes = png(&raster, &vec![[1, 2, 3]; voxels.len()]).unwrap();
        let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        assert_eq!(
            (reader.info().height as usize, reader.info().width as usize),
            (raster.shape[0], raster.shape[1])
        );
        let cell = Cell::new([4.0, 4.0, 4.0, 90.0, 90.0, 90.0]).unwrap();
        let fitted: Vec<Fitted> =
            voxels.iter().map(|v| Fitted { confidence: 1.0, ..Fitted::unsolved(*v) }).collect();
        let text = channel_text(&raster, &fitted, &cell, 225, true);
        assert_eq!(text.lines().count(), 15 + raster.nearest.len());
        assert!(text.contains("\tphase\t11\t225\n"));
        assert!(channel_text(&raster, &fitted, &cell, 194, false).contains("# Symmetry 62\n"));
    }
}
