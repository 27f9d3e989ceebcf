//! Fitted rings as lines on the image.

use isard_core::prelude::*;
use isard_geometry::{Grid, Pose};

/// Points of a full ring; between two of them it is off its chord by 4e-5 of its radius.
const POINTS: usize = 360;
/// Rings that are drawn at most: more hide the image.
const MOST: usize = 40;

/// The rings of these scattering angles that cross the detector, the innermost first, as unbroken lines.
///
/// Positions are in pixels from the centre of pixel (0, 0), as pictures have them.
pub(crate) fn lines(grid: &Grid, pose: &Pose, angles: &[f64]) -> Result<Table> {
    let (mut line, mut y, mut x) = (vec![], vec![], vec![]);
    let (mut drawn, mut number) = (0, 0u32);
    let m = pose.rotation();
    for angle in angles {
        let points: Vec<Option<[f64; 2]>> = (0..POINTS).map(|k| point(grid, pose, &m, *angle, k)).collect();
        // A line begins where the ring enters the detector; a ring that never leaves it ends where it began.
        let outside = points.iter().position(Option::is_none);
        let order = match outside {
            Some(at) => at..at + POINTS,
            None => 0..POINTS + 1,
        };
        let mut open = false;
        for k in order {
            match points[k % POINTS] {
                Some([row, column]) => {
                    line.push(number);
                    y.push((row - 0.5) as f32);
                    x.push((column - 0.5) as f32);
                    open = true;
                }
                None => {
                    number += u32::from(open);
                    open = false;
                }
            }
        }
        number += u32::from(open);
        drawn += usize::from(points.iter().any(Option::is_some));
        if drawn == MOST {
            break;
        }
    }
    Table::new(line.len()).with("line", &line)?.with("y", &y)?.with("x", &x)
}

/// The lines of a powder without those that a recipe leaves out, counted from 1 at the beam outwards.
pub(crate) fn visible_lines(mut angles: Vec<f64>, skip: &[usize], angstrom: f64) -> Result<Vec<f64>> {
    let lines = angles.len();
    if let Some(beyond) = skip.iter().find(|k| **k > lines) {
        let error = format!("`skip_rings` has ring {beyond}, the powder has {lines} lines that may be seen");
        return Err(Error::recipe(error).help("rings are counted from 1 at the beam outwards"));
    }
    let mut number = 0;
    angles.retain(|_| {
        number += 1;
        !skip.contains(&number)
    });
    if angles.is_empty() {
        let error = format!("the powder has no line at a wavelength of {angstrom} angstrom");
        return Err(Error::recipe(error).help("check `energy`, `spacings` and `skip_rings`"));
    }
    Ok(angles)
}

/// Where a ray of a scattering angle meets the detector, as row and column from its outer edge.
fn point(grid: &Grid, pose: &Pose, m: &[[f64; 3]; 3], angle: f64, k: usize) -> Option<[f64; 2]> {
    let azimuth = std::f64::consts::TAU * k as f64 / POINTS as f64;
    let ray = [angle.sin() * azimuth.sin(), angle.sin() * azimuth.cos(), angle.cos()];
    // The matrix takes detector to laboratory and is a rotation: its transpose goes back.
    let v = [0, 1, 2].map(|k| m[0][k] * ray[0] + m[1][k] * ray[1] + m[2][k] * ray[2]);
    if v[2] <= 0.0 {
        return None;
    }
    let scale = pose.dist / v[2];
    let at = grid.index([pose.poni1 + v[0] * scale, pose.poni2 + v[1] * scale]);
    let inside = (0..2).all(|k| (0.0..=grid.shape[k] as f64).contains(&at[k]));
    inside.then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_lies_on_its_ring_and_lines_are_unbroken() {
        let grid = Grid::new([200, 300], [1e-4, 1e-4]);
        let pose = Pose::from_centre(0.1, [0.011, 0.013], 0.05, -0.1);
        let angles = [0.05, 0.1, 0.13, 1.2];
        let table = lines(&grid, &pose, &angles).unwrap();
        let (line, y, x) = (
            table.numbers::<u32>("line").unwrap(),
            table.numbers::<f32>("y").unwrap(),
            table.numbers::<f32>("x").unwrap(),
        );
        for i in 0..line.len() {
            let at = grid.at(f64::from(y[i]) + 0.5, f64::from(x[i]) + 0.5);
            let tth = pose.lab(at[0], at[1]).tth();
            assert!(angles[..3].iter().any(|a| (a - tth).abs() < 1e-6), "{tth}");
            if i > 0 && line[i] == line[i - 1] {
                assert!((y[i] - y[i - 1]).hypot(x[i] - x[i - 1]) < 4.0, "line {} is broken", line[i]);
            }
        }
        // The smallest ring is whole and closed; the largest misses the detector.
        let first: Vec<usize> = (0..line.len()).filter(|i| line[*i] == 0).collect();
        assert_eq!((first.len(), y[0], x[0]), (POINTS + 1, y[POINTS], x[POINTS]));
        assert!(line[line.len() - 1] >= 2);
    }
}
