//! The model of a scan: what the detector sees in each frame.

use std::f64::consts::PI;

use isard_core::prelude::*;
use rand::{Rng, RngExt};

/// What a scan is made of.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) frames: u64,
    pub(crate) shape: [usize; 2],
    pub(crate) blobs: usize,
    pub(crate) wrap: bool,
    pub(crate) beam: f32,
    pub(crate) drift: f64,
    pub(crate) noise: f32,
}

/// A spot as it was put in.
#[derive(Clone, Copy, Debug)]
struct Spot {
    bright: bool,
    centre: [f64; 3],
    radius: [f64; 3],
    peak: f32,
}

/// A scan, ready to be exposed frame by frame.
pub(crate) struct Scan {
    settings: Settings,
    /// The dark of each pixel.
    pub(crate) offset: Vec<f32>,
    scatter: Vec<f32>,
    direct: Vec<f32>,
    /// The first row and the row after the last of the direct beam, and so for columns.
    pub(crate) beam_box: [usize; 4],
    /// Boxes beside the sample, in the same form.
    pub(crate) margins: [[usize; 4]; 2],
    /// The intensity of the source, frame by frame.
    pub(crate) source: Vec<f64>,
    spots: Vec<Spot>,
    /// The spots of each frame.
    by_frame: Vec<Vec<(u32, f32)>>,
    /// Normally distributed numbers that pixels draw from.
    normal: Vec<f32>,
}

impl Scan {
    /// A scan of these settings; all of it comes from `rng`.
    pub(crate) fn new(settings: Settings, rng: &mut impl Rng) -> Scan {
        let [ny, nx] = settings.shape;
        let pixel = |p: usize| ((p / nx) as f64, (p % nx) as f64);
        let (cy, cx) = ((ny as f64 - 1.0) / 2.0, (nx as f64 - 1.0) / 2.0);
        let normal: Vec<f32> = (0..1 << 16).map(|_| gauss(rng) as f32).collect();
        let pedestal: [f64; 4] = std::array::from_fn(|_| 100.0 + rng.random_range(-6.0..6.0));
        let column: Vec<f64> = (0..nx).map(|_| 1.5 * gauss(rng)).collect();
        let sensor = |p: usize| 2 * usize::from(p / nx >= ny / 2) + usize::from(p % nx >= nx / 2);
        let mut offset: Vec<f32> =
            (0..ny * nx).map(|p| (pedestal[sensor(p)] + column[p % nx]) as f32).collect();
        for _ in 0..(ny * nx / 50_000).max(1) {
            offset[rng.random_range(0..ny * nx)] += (-400.0 * (1.0 - rng.random::<f64>()).ln()) as f32;
        }
        let scatter = |p: usize| {
            let (y, x) = pixel(p);
            let far = (y - cy).hypot(x - cx) / (0.45 * nx as f64);
            (60.0 + 260.0 * (-far * far).exp()) as f32
        };
        let (by, bx) = (ny * 3 / 10, nx * 34 / 100);
        let beam_box = [ny / 2 - by / 2, ny / 2 + by / 2, nx / 2 - bx / 2, nx / 2 + bx / 2];
        let soft = (6.0 * ny.min(nx) as f64 / 2048.0).max(2.0);
        let rise = |v: f64| 1.0 / (1.0 + (-v / soft).clamp(-60.0, 60.0).exp());
        let edge = |v: f64, a: usize, b: usize| rise(v - a as f64) * rise(b as f64 - v);
        let direct = |p: usize| {
            let (y, x) = pixel(p);
            let inside = edge(y, beam_box[0], beam_box[1]) * edge(x, beam_box[2], beam_box[3]);
            (inside * f64::from(settings.beam) * (1.0 + 0.03 * (y * 7.0 / ny as f64).sin())) as f32
        };
        let m = (bx * 6 / 100).max(1);
        let rows = [beam_box[0] + 2 * m, beam_box[1].saturating_sub(2 * m).max(beam_box[0] + 2 * m + 1)];
        let margins = [
            [rows[0], rows[1], beam_box[2] + m, beam_box[2] + 2 * m],
            [rows[0], rows[1], beam_box[3] - 2 * m, beam_box[3] - m],
        ];
        let n = settings.frames as f64;
        let mut walk = 0.0;
        let source = (0..settings.frames)
            .map(|k| {
                walk += gauss(rng) * settings.drift / 60.0;
                let refill = (n / 4.0).max(60.0);
                let wave = settings.drift * (2.0 * PI * k as f64 / (n / 3.3).max(40.0)).sin();
                (1.0 + wave + walk - settings.drift * 0.5 * (k as f64 % refill) / refill).clamp(0.3, 2.0)
            })
            .collect();
        let spots: Vec<Spot> = (0..settings.blobs).map(|_| spot(&settings, rng)).collect();
        let mut by_frame = vec![vec![]; settings.frames as usize];
        for (i, spot) in spots.iter().enumerate() {
            let (z, rz) = (spot.centre[0], spot.radius[0]);
            for k in (z - 1.05 * rz).floor() as i64..=(z + 1.05 * rz).ceil() as i64 {
                let there = (0..settings.frames as i64).contains(&k);
                if there || settings.wrap {
                    let frame = k.rem_euclid(settings.frames as i64) as usize;
                    by_frame[frame].push((i as u32, ((k as f64 - z) / rz) as f32));
                }
            }
        }
        Scan {
            scatter: (0..ny * nx).map(scatter).collect(),
            direct: (0..ny * nx).map(direct).collect(),
            settings,
            offset,
            beam_box,
            margins,
            source,
            spots,
            by_frame,
            normal,
        }
    }

    /// The spots as they were put in, one row each.
    pub(crate) fn truth(&self) -> Result<Table> {
        let column = |of: fn(&Spot) -> f64| self.spots.iter().map(of).collect::<Vec<f64>>();
        let bright: Vec<u8> = self.spots.iter().map(|s| u8::from(s.bright)).collect();
        Table::new(self.spots.len())
            .with("frame", &column(|s| s.centre[0]))?
            .with("row", &column(|s| s.centre[1]))?
            .with("column", &column(|s| s.centre[2]))?
            .with("frames", &column(|s| s.radius[0]))?
            .with("rows", &column(|s| s.radius[1]))?
            .with("columns", &column(|s| s.radius[2]))?
            .with("peak", &column(|s| f64::from(s.peak)))?
            .with("bright", &bright)
    }

    /// The counts of some rows of a frame, from `first` on.
    pub(crate) fn expose(&self, frame: u64, lit: bool, first: usize, out: &mut [u16], rng: &mut impl Rng) {
        let [ny, nx] = self.settings.shape;
        let turn = 2.0 * PI * frame as f64 / self.settings.frames as f64;
        let bx = (self.beam_box[3] - self.beam_box[2]) as f64;
        let (radius, axis) = (0.3 * bx, (nx as f64 - 1.0) / 2.0 + 0.05 * bx * turn.cos());
        let source = if lit { self.source[frame as usize] as f32 } else { 0.0 };
        let through: Vec<f32> = (0..nx)
            .map(|x| {
                let chord = (radius * radius - (x as f64 - axis).powi(2)).max(0.0).sqrt();
                (-1.1 * chord / radius).exp() as f32 * source
            })
            .collect();
        let wave = 12.0 * (turn + 0.4).sin() as f32 * f32::from(u8::from(lit));
        let along: Vec<f32> = (0..nx).map(|x| (x as f32 * 3.0 / nx as f32).cos() * wave).collect();
        let mut image = vec![0f32; out.len()];
        for (k, line) in image.chunks_exact_mut(nx).enumerate() {
            let at = (first + k) * nx;
            let down = ((first + k) as f32 * 4.0 / ny as f32).cos();
            for x in 0..nx {
                line[x] = self.scatter[at + x] * source + self.direct[at + x] * through[x] + along[x] * down;
            }
        }
        if lit {
            for (spot, dz) in &self.by_frame[frame as usize] {
                self.stamp(&self.spots[*spot as usize], *dz, first, &mut image);
            }
        }
        let (gain, noise) = (1.0 / 2.2, self.settings.noise * self.settings.noise);
        let offset = &self.offset[first * nx..first * nx + out.len()];
        for ((out, value), offset) in out.chunks_mut(4).zip(image.chunks(4)).zip(offset.chunks(4)) {
            // One random number serves four pixels, sixteen bits each.
            let mut random = rng.next_u64();
            for k in 0..out.len() {
                let sigma = (value[k].max(0.0) * gain + noise).sqrt();
                let counts = value[k] + offset[k] + sigma * self.normal[(random & 0xffff) as usize];
                // A float beyond the range of counts becomes its nearest end.
                out[k] = counts.round() as u16;
                random >>= 16;
            }
        }
    }

    /// Adds a spot to some rows: a flat disc with a soft edge that moves a little from frame to frame.
    fn stamp(&self, spot: &Spot, dz: f32, first: usize, image: &mut [f32]) {
        let nx = self.settings.shape[1];
        let [_, y, x] = spot.centre;
        let [_, ry, rx] = spot.radius.map(|r| r as f32);
        let reach = f64::from(ry.max(rx) * 1.4 + 2.0);
        let rows = (y - reach).max(first as f64) as usize..;
        let last = ((y + reach).max(0.0) as usize + 1).min(first + image.len() / nx);
        let (from, to) = ((x - reach).max(0.0) as usize, ((x + reach).max(0.0) as usize + 1).min(nx));
        for row in rows.take_while(|r| *r < last) {
            let v = ((row as f64 - y) as f32 - dz * 0.12 * ry) / ry;
            for column in from..to {
                let u = (column as f64 - x) as f32 / rx;
                let d = (u * u + v * v + 0.9 * dz * dz).sqrt();
                let soft = 1.0 / (1.0 + ((d - 0.85) / 0.07).clamp(-60.0, 60.0).exp());
                let value = spot.peak * soft * (0.7 + 0.3 * (2.1 * u).cos() * (1.7 * v).cos());
                if value >= 0.02 * spot.peak {
                    image[(row - first) * nx + column] += value;
                }
            }
        }
    }
}

/// A spot on one of six rings; those beside the axis last longer.
fn spot(settings: &Settings, rng: &mut impl Rng) -> Spot {
    let [ny, nx] = settings.shape;
    let scale = ny.min(nx) as f64 / 2048.0;
    let rings = [0.32, 0.45, 0.52, 0.63, 0.70, 0.78];
    let ring = rings[rng.random_range(0..rings.len())] * ny.min(nx) as f64 / 2.0 * 1.25;
    let mut eta = rng.random_range(0.0..2.0 * PI);
    if rng.random_range(0..100) < 15 {
        eta = PI * f64::from(rng.random_range(0..2u8)) + 0.15 * gauss(rng);
    }
    let y = (ny as f64 - 1.0) / 2.0 - ring * eta.cos() + 20.0 * scale * gauss(rng);
    let x = (nx as f64 - 1.0) / 2.0 + ring * eta.sin() + 20.0 * scale * gauss(rng);
    let bright = rng.random_range(0..100) >= 70;
    let peak = match bright {
        false => 120.0 * (0.4 * gauss(rng)).exp(),
        true => 4000.0 * (0.6 * gauss(rng)).exp(),
    };
    let mut radius = || rng.random_range(7.0..32.0) * scale.max(0.15);
    let (ry, rx) = (radius(), radius());
    let rz = (rng.random_range(0.6..1.8) / eta.sin().abs().max(0.08)).clamp(0.8, 20.0);
    let n = settings.frames as f64;
    let margin = if settings.wrap { 0.0 } else { rz.min(n / 2.0 - 0.5).max(0.0) };
    let z = margin + rng.random::<f64>() * (n - 2.0 * margin);
    Spot { bright, centre: [z, y, x], radius: [rz, ry, rx], peak: peak as f32 }
}

/// A normally distributed number, after Box and Muller.
fn gauss(rng: &mut impl Rng) -> f64 {
    let (a, b): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * a.ln()).sqrt() * (2.0 * PI * b).cos()
}
