//! `grid.txt`: the voxels that are fitted.

use std::fmt::Write;

use isard_core::error::{Error, Result};

use crate::files::numbers;
use crate::model::Voxel;

/// The voxels of a grid file: a count, then `c1 c2 x y half-edge` for each.
pub fn read_grid(text: &str) -> Result<Vec<Voxel>> {
    let mut lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
    let (_, first) =
        lines.next().ok_or_else(|| Error::data("found an empty grid, wanted a count and voxels"))?;
    let count: usize = first
        .trim()
        .parse()
        .map_err(|_| Error::data(format!("line 1: found `{}`, wanted the number of voxels", first.trim())))?;
    let mut out = vec![];
    for (at, line) in lines {
        let row = numbers(line, at + 1)?;
        let [c1, c2, x, y, half] = row[..] else {
            let found = row.len();
            return Err(Error::data(format!("line {}: found {found} numbers, wanted 5", at + 1)));
        };
        out.push(Voxel { x, y, edge: 2.0 * half, up: c1 <= c2 });
    }
    if out.len() != count {
        let found = out.len();
        return Err(Error::data(format!("found {found} voxels, the first line promises {count}")));
    }
    Ok(out)
}

/// The text of a grid file.
pub fn write_grid(voxels: &[Voxel]) -> String {
    let mut out = format!("{}\n", voxels.len());
    for v in voxels {
        let [c1, c2, x, y, half] = grid_row(v);
        writeln!(out, "{c1:.6} {c2:.6} {x:.6} {y:.6} {half:.6}").expect("text grows");
    }
    out
}

/// The numbers of a voxel in a grid: two heights of the triangle, the shorter first when it points up, x, y, half edge.
pub fn grid_row(v: &Voxel) -> [f64; 5] {
    let (small, big) = (v.edge * 3f64.sqrt() / 6.0, v.edge * 3f64.sqrt() / 3.0);
    let (c1, c2) = if v.up { (small, big) } else { (big, small) };
    [c1, c2, v.x, v.y, 0.5 * v.edge]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_comes_back_and_faults_are_told() {
        let text = "2\n0.577350 0.288675 -28.750000 -50.518149 0.500000\n0.288675 0.577350 -27.500000 -51.239836 0.500000\n";
        let voxels = read_grid(text).unwrap();
        assert!(!voxels[0].up && voxels[1].up && voxels[1].edge == 1.0);
        assert_eq!(write_grid(&voxels), text);
        for (text, wanted) in
            [("", "empty"), ("3\n1 2 3 4 5\n", "promises 3"), ("1\n1 2 3\n", "found 3 numbers"), ("x", "`x`")]
        {
            assert!(read_grid(text).unwrap_err().message().contains(wanted));
        }
    }
}
