//! Maps in pixels of a micrometre, and what neighbouring pixels tell: local misorientation, grains, spread in a grain.

use isard_orientation::{Quat, Symmetry};

use crate::files::Fitted;

/// How far beyond its edge a voxel reaches, in micrometres.
const BEYOND: f64 = 5.0;

/// How far the map reaches beyond voxel and edge, in micrometres.
const MARGIN: f64 = 25.0;

/// What stands in a pixel that no voxel reaches.
pub const EMPTY: f64 = -15.0;

/// Pixels at whole micrometres, each with the nearest voxel.
#[derive(Clone, Debug)]
pub struct Pixels {
    /// Pixels along y and x.
    pub shape: [usize; 2],
    /// Where the first pixel lies: x and y.
    pub origin: [f64; 2],
    /// The nearest voxel of each pixel with its distance, rows of rising y.
    pub nearest: Vec<Option<(u32, f64)>>,
}

impl Pixels {
    /// The pixels around voxels that have an orientation.
    ///
    /// With `midas` the rules of the existing program hold: coordinates are cut towards zero, and the distance is
    /// that of the pixel on the other side of the voxel's own.
    pub fn new(voxels: &[Fitted], midas: bool) -> Pixels {
        let solved = || voxels.iter().enumerate().filter(|(_, v)| v.confidence > 0.0);
        let wide = |v: &Fitted| v.voxel.edge + MARGIN;
        let low = |of: &dyn Fn(&Fitted) -> f64| solved().fold(f64::INFINITY, |a, (_, v)| a.min(of(v)));
        let min = [low(&|v| v.voxel.x - wide(v)), low(&|v| v.voxel.y - wide(v))];
        let max = [-low(&|v| -v.voxel.x - wide(v)), -low(&|v| -v.voxel.y - wide(v))];
        if min[0].is_infinite() {
            return Pixels { shape: [0, 0], origin: [0.0; 2], nearest: vec![] };
        }
        let count = |k: usize| (max[k].ceil() - min[k].floor()) as usize + 1;
        let shape = [count(1), count(0)];
        let origin = if midas { min } else { min.map(f64::floor) };
        let mut nearest: Vec<Option<(u32, f64)>> = vec![None; shape[0] * shape[1]];
        for (k, v) in solved() {
            let reach = (v.voxel.edge + BEYOND).floor() as i64;
            let at = [v.voxel.x, v.voxel.y];
            let own = at.map(|c| if midas { c.trunc() } else { c.floor() });
            let place = |axis: usize, d: i64| {
                let place = (own[axis] + d as f64 - origin[axis]).trunc();
                (place >= 0.0 && (place as usize) < shape[1 - axis]).then_some(place as usize)
            };
            let away = |axis: usize, d: i64| {
                let d = if midas { -d } else { d };
                at[axis] - own[axis] - d as f64
            };
            for dy in -reach..=reach {
                let Some(row) = place(1, dy) else { continue };
                for dx in -reach..=reach {
                    let Some(column) = place(0, dx) else { continue };
                    let distance = away(0, dx).hypot(away(1, dy));
                    let pixel = &mut nearest[row * shape[1] + column];
                    if pixel.is_none_or(|(_, old)| distance < old) {
                        *pixel = Some((k as u32, distance));
                    }
                }
            }
        }
        Pixels { shape, origin, nearest }
    }

    /// The planes of a map: confidence, three Euler angles, seed, phase, distance to the voxel.
    pub fn planes(&self, voxels: &[Fitted], phase: i64) -> Vec<f64> {
        let plane = |of: &dyn Fn(&Fitted, f64) -> f64| -> Vec<f64> {
            let value = |p: &Option<(u32, f64)>| p.map_or(EMPTY, |(v, d)| of(&voxels[v as usize], d));
            self.nearest.iter().map(value).collect()
        };
        [
            plane(&|v, _| v.confidence),
            plane(&|v, _| v.euler[0]),
            plane(&|v, _| v.euler[1]),
            plane(&|v, _| v.euler[2]),
            plane(&|v, _| v.seed),
            plane(&|_, _| phase as f64),
            plane(&|_, d| d),
        ]
        .concat()
    }

    /// What neighbouring pixels tell; neighbours of one grain differ by at most `angle`, in radians.
    pub fn texture(&self, voxels: &[Fitted], symmetry: &Symmetry, angle: f64) -> Texture {
        let q: Vec<Quat> = voxels.iter().map(|v| Quat::from_euler(v.euler)).collect();
        let between = |a: u32, b: u32| match a == b {
            true => 0.0,
            false => symmetry.misorientation(&q[a as usize], &q[b as usize]),
        };
        let n = self.nearest.len();
        let mut out = Texture { kam: vec![0.0; n], grain: vec![0; n], grod: vec![0.0; n], grains: 0 };
        for (at, own) in self.nearest.iter().enumerate() {
            let Some((own, _)) = own else { continue };
            let (mut sum, mut count) = (0.0, 0u32);
            for near in self.around(at) {
                let Some((near, _)) = self.nearest[near] else { continue };
                sum += between(*own, near);
                count += 1;
            }
            out.kam[at] = if count > 0 { sum / f64::from(count) } else { 0.0 };
        }
        let mut open = vec![];
        for first in 0..n {
            if self.nearest[first].is_none() || out.grain[first] != 0 {
                continue;
            }
            out.grains += 1;
            out.grain[first] = out.grains;
            open.push(first);
            let mut members = vec![];
            while let Some(at) = open.pop() {
                members.push(at);
                let (own, _) = self.nearest[at].expect("only pixels with a voxel are opened");
                for near in self.around(at) {
                    let Some((other, _)) = self.nearest[near] else { continue };
                    if out.grain[near] == 0 && between(own, other) <= angle {
                        out.grain[near] = out.grains;
                        open.push(near);
                    }
                }
            }
            members.sort_unstable();
            let voxel = |at: usize| self.nearest[at].expect("members have a voxel").0;
            let better = |best: u32, v: u32| {
                let c = |v: u32| voxels[v as usize].confidence;
                if c(v) > c(best) { v } else { best }
            };
            let best = members.iter().map(|at| voxel(*at)).reduce(better).expect("a grain has a first pixel");
            members.iter().for_each(|at| out.grod[*at] = between(best, voxel(*at)));
        }
        out
    }

    /// The pixels that touch one, by an edge or a corner.
    fn around(&self, at: usize) -> impl Iterator<Item = usize> + use<> {
        let [rows, columns] = self.shape.map(|n| n as i64);
        let (y, x) = (at as i64 / columns, at as i64 % columns);
        (0..9).filter(|k| *k != 4).filter_map(move |k| {
            let (y, x) = (y + k / 3 - 1, x + k % 3 - 1);
            ((0..rows).contains(&y) && (0..columns).contains(&x)).then_some((y * columns + x) as usize)
        })
    }
}

/// What neighbouring pixels tell; 0 where there is no voxel.
#[derive(Clone, Debug)]
pub struct Texture {
    /// Mean misorientation to the pixels around, radians.
    pub kam: Vec<f64>,
    /// The grain, from 1 in the order of first pixels.
    pub grain: Vec<u32>,
    /// Misorientation to the grain's best pixel, radians.
    pub grod: Vec<f64>,
    /// How many grains there are.
    pub grains: u32,
}

/// The bytes of a map file: width, height, the first pixel's x and y, then planes.
pub fn write_map(pixels: &Pixels, planes: &[f64]) -> Vec<u8> {
    let [rows, columns] = pixels.shape;
    let head = [columns as f64, rows as f64, pixels.origin[0], pixels.origin[1]];
    head.iter().chain(planes).flat_map(|x| x.to_le_bytes()).collect()
}

/// The pixels along y and x, the origin and the planes of a map file.
pub fn read_map(bytes: &[u8]) -> isard_core::error::Result<([usize; 2], [f64; 2], Vec<f64>)> {
    let wrong = |what: String| Err(isard_core::error::Error::data(what).help("is this a `.map` file?"));
    if bytes.len() < 32 || !bytes.len().is_multiple_of(8) {
        return wrong(format!("found {} bytes, wanted four doubles and planes of doubles", bytes.len()));
    }
    let mut all = bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes")));
    let mut next = || all.next().expect("the head has four doubles");
    let (columns, rows, x, y) = (next(), next(), next(), next());
    let planes: Vec<f64> = all.collect();
    let whole = |n: f64| n.fract() == 0.0 && (0.0..=planes.len() as f64).contains(&n);
    let pixels = columns * rows;
    if !(whole(columns) && whole(rows)) || pixels == 0.0 || planes.len() as f64 % pixels != 0.0 {
        let found = planes.len();
        return wrong(format!("found {found} values, wanted planes of {columns} x {rows} pixels"));
    }
    Ok(([rows as usize, columns as usize], [x, y], planes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Voxel;
    use isard_orientation::{Cell, SpaceGroup};

    fn at(x: f64, y: f64, turn: f64) -> Fitted {
        let voxel = Voxel { x, y, edge: 1.0, up: true };
        Fitted { euler: [turn.to_radians(), 0.0, 0.0], confidence: 0.5, ..Fitted::unsolved(voxel) }
    }

    #[test]
    fn a_pixel_takes_the_voxel_that_is_nearest() {
        let voxels = [at(-2.25, 0.5, 0.0), at(3.5, -0.75, 2.0), Fitted::unsolved(at(90.0, 0.0, 0.0).voxel)];
        let pixels = Pixels::new(&voxels, false);
        assert_eq!(pixels.origin, [-29.0, -27.0]);
        // From -28.25 to 29.5 and from -26.75 to 26.5.
        assert_eq!(pixels.shape, [27 + 27 + 1, 29 + 30 + 1]);
        for (k, found) in pixels.nearest.iter().enumerate() {
            let Some((voxel, distance)) = found else { continue };
            let x = pixels.origin[0] + (k % pixels.shape[1]) as f64;
            let y = pixels.origin[1] + (k / pixels.shape[1]) as f64;
            let of = |v: &Fitted| (v.voxel.x - x).hypot(v.voxel.y - y);
            assert!((of(&voxels[*voxel as usize]) - distance).abs() < 1e-12);
            assert!(*distance <= 7.0 * 2f64.sqrt());
        }
        let middle = 27 * pixels.shape[1] + 29;
        assert_eq!(pixels.nearest[middle].unwrap().0, 0);
    }

    #[test]
    fn a_turned_half_is_a_grain_of_its_own() {
        // Two columns of voxels 10 degrees apart about z, which in cubic symmetry is 10 degrees; 4 of 3 within one.
        let voxels: Vec<Fitted> =
            (0..24).map(|k| at((k % 6) as f64, (k / 6) as f64, if k % 6 < 3 { 1.0 } else { 11.0 })).collect();
        let cell = Cell::new([4.0, 4.0, 4.0, 90.0, 90.0, 90.0]).unwrap();
        let symmetry = Symmetry::of(&SpaceGroup::of(225, &cell).unwrap(), &cell).unwrap();
        let pixels = Pixels::new(&voxels, false);
        let found = pixels.texture(&voxels, &symmetry, 5f64.to_radians());
        assert_eq!(found.grains, 2);
        assert!(found.grod.iter().all(|x| *x == 0.0));
        let place = |x: usize, y: usize| (26 + y) * pixels.shape[1] + 26 + x;
        assert_eq!((found.grain[place(2, 1)], found.grain[place(3, 1)]), (1, 2));
        // Three of the eight neighbours lie beyond the border.
        assert!((found.kam[place(2, 1)] - 10f64.to_radians() * 3.0 / 8.0).abs() < 1e-9);
        assert_eq!(found.kam[place(1, 1)], 0.0);
        let one = pixels.texture(&voxels, &symmetry, 11f64.to_radians());
        assert_eq!(one.grains, 1);
        assert!(one.grod.iter().any(|x| (x - 10f64.to_radians()).abs() < 1e-9));
    }

    #[test]
    fn a_map_file_comes_back_and_a_cut_one_is_refused() {
        let voxels = [at(0.0, 0.0, 3.0)];
        let pixels = Pixels::new(&voxels, false);
        let planes = pixels.planes(&voxels, 1);
        let bytes = write_map(&pixels, &planes);
        assert_eq!(read_map(&bytes).unwrap(), (pixels.shape, pixels.origin, planes));
        assert!(read_map(&bytes[..bytes.len() - 8]).unwrap_err().message().contains("wanted planes of"));
        assert!(read_map(&bytes[..9]).is_err());
    }
}
