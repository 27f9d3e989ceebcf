//! Seeds: lists of orientations, and the grains of a far-field reconstruction.

use std::fmt::Write;

use isard_core::error::{Error, Result};
use isard_orientation::{Cell, Quat};

use crate::files::numbers;

/// The orientations of a seed list: a quaternion w x y z in each line, anything behind it.
pub fn read_seeds(text: &str) -> Result<Vec<Quat>> {
    Ok(read_printed_seeds(text)?.into_iter().filter_map(Quat::new).collect())
}

/// The quaternions of a seed list as they are printed, which is not to unit length.
pub fn read_printed_seeds(text: &str) -> Result<Vec<[f64; 4]>> {
    let mut out = vec![];
    for (at, line) in content(text) {
        let row = numbers(line, at)?;
        let [w, x, y, z, ..] = row[..] else {
            let found = row.len();
            return Err(Error::data(format!(
                "line {at}: found {found} numbers, wanted a quaternion w x y z"
            ))
            .help("one orientation a line; far-field grains (`Grains.csv`) go to `grains`"));
        };
        // Six printed digits are not of unit length; anything further off is no quaternion.
        let norm = (w * w + x * x + y * y + z * z).sqrt();
        if !norm.is_finite() || (norm - 1.0).abs() > 1e-2 {
            return Err(Error::data(format!("line {at}: found a quaternion of length {norm}, wanted 1"))
                .help("the first four columns are w x y z"));
        }
        out.push([w, x, y, z]);
    }
    Ok(out)
}

/// The orientations of far-field grains (`Grains.csv`): the id, the matrix row by row, anything behind it.
pub fn read_grains(text: &str) -> Result<Vec<Quat>> {
    let mut out = vec![];
    for (at, line) in content(text) {
        let row = numbers(line, at)?;
        let Some(m) = row.get(1..10) else {
            let found = row.len();
            return Err(Error::data(format!(
                "line {at}: found {found} numbers, wanted an id and nine of a matrix"
            )));
        };
        let matrix: [[f64; 3]; 3] = std::array::from_fn(|i| std::array::from_fn(|j| m[3 * i + j]));
        // Six printed digits; a mirror image has the same lengths and angles, but no quaternion.
        let dot = |i: usize, j: usize| (0..3).map(|k| matrix[i][k] * matrix[j][k]).sum::<f64>();
        let off =
            (0..9).map(|k| (dot(k / 3, k % 3) - f64::from(u8::from(k % 4 == 0))).abs()).fold(0.0, f64::max);
        let [a, b, c] = matrix;
        let volume = a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
            + a[2] * (b[0] * c[1] - b[1] * c[0]);
        if !(off <= 0.03 && volume > 0.0) {
            return Err(Error::data(format!(
                "line {at}: found {matrix:?}, wanted the matrix of a rotation: rows of length 1 at right angles, determinant 1 (found {volume:.3})"
            ))
            .help("columns 2 to 10 are the orientation matrix, row by row, crystal to sample"));
        }
        out.push(Quat::from_matrix(&matrix));
    }
    Ok(out)
}

/// The text of a seed list as far-field programs write it, with cell and number.
pub fn write_seeds(seeds: &[Quat], cell: &Cell) -> String {
    let mut out = String::new();
    for (at, seed) in seeds.iter().enumerate() {
        for x in seed.0.iter().chain(&cell.constants()) {
            write!(out, "{x:.6},").expect("text grows");
        }
        writeln!(out, "{}", at + 1).expect("text grows");
    }
    out
}

fn content(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines.filter(|(_, l)| !l.is_empty() && !l.starts_with(['%', '#']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_leniently_and_bad_ones_are_told() {
        let text = "% seeds\n0.866537,-0.080783,-0.367319,0.328124,4.08\n\n1 0 0 0\n";
        let seeds = read_seeds(text).unwrap();
        assert_eq!(seeds.len(), 2);
        assert!((seeds[0].0.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-14);
        let error = read_seeds("1 0 0 0\n0.5 0 0 0\n").unwrap_err();
        assert!(error.message().contains("line 2: found a quaternion of length 0.5"), "{error}");
        assert!(read_seeds("1 0 0").is_err() && read_seeds("nan 0 0 0").is_err());
        let grains = read_grains("%GrainID\n1 0 -1 0 1 0 0 0 0 1 0 0 0").unwrap();
        assert!((grains[0].angle_to(&Quat::IDENTITY).to_degrees() - 90.0).abs() < 1e-9);
        assert!(read_grains("1 0 0 0 1 0 0 0 0 1").is_err());
        // Lengths of three rotations, but skew ones, a mirror image, and none at all.
        for matrix in ["1 0 0 1 0 0 0 0 1", "1 0 0 0 1 0 0 0 -1", "nan 0 0 0 1 0 0 0 1"] {
            let error = read_grains(&format!("%\n7 {matrix}")).unwrap_err();
            assert!(error.message().contains("line 2: found [["), "{error}");
        }
    }
}
