//! The geometry from ridge points alone: each is drawn to the nearest line, closer and closer.

use isard_geometry::Grid;

use super::param::{Five, Param, Square};
use super::ridge::Ridge;

/// Standard deviation in radians that a tilt is believed to have before anything is seen.
const TILT: f64 = 0.2;
/// Ridge points that make one independent one: they are pixels of smoothed ridges.
const CORRELATED: f64 = 50.0;

/// Ridge points that are looked at; more make it no better.
const ENOUGH: usize = 6000;

/// Improve a geometry from ridge points; returns it and the final robust spread in pixels.
pub fn attract(ridges: &[Ridge], grid: &Grid, angles: &[f64], mut param: Param) -> (Param, f64) {
    let pixel = grid.pixel[0].min(grid.pixel[1]);
    let mut spread = f64::INFINITY;
    let every = ridges.len().div_ceil(ENOUGH).max(1);
    for turn in 0..24 {
        let scale = (8.0 * 0.85f64.powi(turn)).max(1.0);
        let frame = param.frame();
        let (mut normal, mut right) = (Square::zeros(), Five::zeros());
        let (mut sum, mut weights) = (0.0, 0.0);
        for ridge in ridges.iter().step_by(every) {
            let (tth, slope) = frame.tth(grid.at(ridge.at[0], ridge.at[1]));
            let Some((line, gap)) = nearest(angles, tth) else { continue };
            let per_pixel = pixel * tth.cos().powi(2) / param.0[0];
            let miss = (tth - line) / per_pixel;
            if (tth - line).abs() > 0.4 * gap || miss.abs() > 3.0 * scale {
                continue;
            }
            let w = ridge.height / (1.0 + (miss / scale).powi(2)).powi(2);
            let slope = slope / per_pixel;
            normal += slope * slope.transpose() * w;
            right -= slope * (w * miss);
            sum += w * miss * miss;
            weights += w;
        }
        if weights <= 0.0 {
            break;
        }
        spread = (sum / weights).sqrt();
        // The mean height scales the data, so it scales what was believed before.
        let belief = weights * every as f64 / ridges.len() as f64 * CORRELATED / (TILT * TILT);
        for k in [3, 4] {
            normal[(k, k)] += belief;
            right[k] -= belief * param.0[k];
        }
        let Some(step) = solve(&normal, &right) else { break };
        param.0 += step;
        param.0[3] = param.0[3].clamp(-1.0, 1.0);
        param.0[4] = param.0[4].clamp(-1.0, 1.0);
    }
    (param, spread)
}

/// Solve a symmetric system after scaling its diagonal to one.
pub fn solve(normal: &Square, right: &Five) -> Option<Five> {
    let scale = normal.diagonal().map(|v| if v > 0.0 { v.sqrt().recip() } else { 1.0 });
    let scaled = Square::from_diagonal(&scale) * normal * Square::from_diagonal(&scale);
    let solved = scaled.cholesky()?.solve(&scale.component_mul(right));
    Some(scale.component_mul(&solved))
}

// The nearest line and the distance to its nearest neighbour.
fn nearest(angles: &[f64], tth: f64) -> Option<(f64, f64)> {
    let k = angles.partition_point(|a| *a < tth);
    let near = |i: usize| angles.get(i).map_or(f64::INFINITY, |a| (a - tth).abs());
    let best = if k > 0 && near(k - 1) < near(k) { k - 1 } else { k };
    let line = *angles.get(best)?;
    let below = best.checked_sub(1).map_or(line, |i| line - angles[i]);
    let above = angles.get(best + 1).map_or(below, |a| a - line);
    Some((line, below.min(above)))
}

#[cfg(test)]
mod tests {
    use isard_geometry::Pose;

    use super::*;

    #[test]
    fn a_rough_geometry_is_drawn_to_the_true_one() {
        let grid = Grid::new([512, 512], [1e-4, 1e-4]);
        let truth = Pose::from_centre(0.2, [0.027, 0.024], 0.03, -0.05);
        let angles = [0.04, 0.06, 0.085, 0.1, 0.12];
        let mut ridges = Vec::new();
        for row in (0..512).step_by(2) {
            for col in (0..512).step_by(2) {
                let at = [f64::from(row), f64::from(col)];
                let d = grid.at(at[0], at[1]);
                let tth = truth.lab(d[0], d[1]).tth();
                if angles.iter().any(|a| (a - tth).abs() < 4e-4) {
                    ridges.push(Ridge { at, across: [1.0, 0.0], height: 1.0 });
                }
            }
        }
        let start = Param::from_pose(&Pose::from_centre(0.201, [0.0272, 0.0237], 0.0, 0.0));
        let (got, spread) = attract(&ridges, &grid, &angles, start);
        let pose = got.pose();
        assert!((pose.dist / 0.2 - 1.0).abs() < 1e-3, "{pose:?}");
        assert!((pose.rot1 - 0.03).abs() < 5e-3 && (pose.rot2 + 0.05).abs() < 5e-3, "{pose:?}");
        assert!(spread < 0.6, "{spread}");
    }
}
