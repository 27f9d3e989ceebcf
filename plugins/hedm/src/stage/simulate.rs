//! `hedm.simulate`: plays the scan of a known microstructure.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::stage::Pull;
use isard_orientation::Quat;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use super::experiment::{Experiment, example};
use super::table::{fitted_table, quaternions};
use crate::bits::Painter;
use crate::files::{Fitted, read_text_mic};
use crate::model::{Grid, Layout};

/// Records whose random numbers make the microstructure and the camera; no frame has them.
const STRUCTURE: u64 = u64::MAX;
const CAMERA: u64 = u64::MAX - 1;

/// Plays the scan of a known microstructure, frame by frame.
///
/// The microstructure is a text mic, or grains of random orientation around random points. Every pixel that a voxel
/// lights in a spot gets `low` to `high` counts, spread by the camera over its neighbours; on top come a smooth
/// background, the noise of counting, hot pixels and zingers. A frame depends on the run's seed and its number alone.
/// With `show = "hits"` there is no camera: a pixel holds the number of spots of voxels that light it.
/// With a `rate` frames come at that pace. The head holds `truth`, the voxels with their orientations, and `seeds`,
/// the orientations of the grains turned by up to `seed_error`.
///
/// Gives every frame of every distance once, in order, but for those that `lose` names. About 10 ns a pixel.
///
/// Source: the simulator of the MIDAS near-field programs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Simulate {
    /// A text mic with the microstructure.
    #[serde(default)]
    #[schemars(extend("x-path" = "input"))]
    truth: Option<String>,
    /// Voxels of the mic with a lower confidence are left out.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    truth_above: f64,
    /// Grains of random orientation, where no mic is given.
    #[serde(default = "grains")]
    #[schemars(range(min = 1))]
    grains: usize,
    /// The radius of the sample.
    #[serde(default = "radius")]
    #[schemars(extend("x-unit" = "um"))]
    radius: f64,
    /// The edge of its voxels.
    #[serde(default = "edge")]
    #[schemars(extend("x-unit" = "um"))]
    edge: f64,
    /// How far orientations spread within a grain.
    #[serde(default)]
    #[schemars(range(min = 0), extend("x-unit" = "degree"))]
    spread: f64,
    /// How far seeds are from their grains.
    #[serde(default)]
    #[schemars(range(min = 0), extend("x-unit" = "degree"))]
    seed_error: f64,
    /// Counts of a lit pixel at least.
    #[serde(default = "low")]
    #[schemars(extend("x-unit" = "count"))]
    low: f64,
    /// Counts of a lit pixel at most.
    #[serde(default = "high")]
    #[schemars(extend("x-unit" = "count"))]
    high: f64,
    /// The width of the camera's point spread.
    #[serde(default = "blur")]
    #[schemars(range(min = 0, max = 1), extend("x-unit" = "pixel"))]
    blur: f64,
    /// Counts of the background.
    #[serde(default = "hundred")]
    #[schemars(extend("x-unit" = "count"))]
    background: f64,
    /// The share of pixels that are hot in every frame.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    hot: f64,
    /// Zingers in a frame, on average.
    #[serde(default)]
    #[schemars(range(min = 0))]
    zingers: f64,
    /// Frames per second; 0 gives them as fast as they are taken.
    #[serde(default)]
    #[schemars(range(min = 0), extend("x-unit" = "Hz"))]
    rate: f64,
    /// What frames show.
    #[serde(default)]
    show: Show,
    /// Frames that never come.
    #[serde(default)]
    lose: Vec<u64>,
    /// Detector, scan and crystal.
    #[schemars(extend("x-shared" = "experiment"))]
    experiment: Experiment,
    #[serde(skip)]
    #[schemars(skip)]
    play: Option<Play>,
}

/// What frames show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Show {
    /// What a camera would see.
    #[default]
    Camera,
    /// How many spots of voxels light each pixel.
    Hits,
}

fn grains() -> usize {
    5
}
fn radius() -> f64 {
    30.0
}
fn edge() -> f64 {
    5.0
}
fn low() -> f64 {
    100.0
}
fn high() -> f64 {
    300.0
}
fn blur() -> f64 {
    0.5
}
fn hundred() -> f64 {
    100.0
}

/// A scan while it plays.
struct Play {
    frames: Vec<Vec<[u32; 2]>>,
    /// How many light each of these pixels, where that is shown.
    hits: Vec<Vec<u16>>,
    /// Background and standard deviation of its noise, pixel by pixel, and the hot ones.
    floor: Vec<f32>,
    hot: Vec<u32>,
    /// Normal numbers that frames take from a place of their own.
    noise: Vec<f32>,
    next: u64,
    begun: (u64, Instant),
}

/// What a frame of [`Simulate`] holds.
#[derive(Ports)]
pub struct Frame {
    /// Counts.
    #[port(dtype = "u16", axes = "y x", unit = "count")]
    pub(super) image: Array,
}

impl Stage for Simulate {
    type In = ();
    type Out = Frame;

    fn example() -> Example {
        Example::new(example(
            "grains = 2\nradius = 20.0\nedge = 20.0\nzingers = 1.0\nhot = 0.001\nlose = [7]\n",
        ))
    }

    fn check(&self, faults: &mut Faults) {
        self.experiment.check(faults);
        for (name, value) in [("radius", self.radius), ("edge", self.edge)] {
            if !(value.is_finite() && value > 0.0) {
                faults.add(name, format!("found {value}, wanted more than 0"));
            }
        }
        if !(0.0 <= self.low && self.low <= self.high && self.high < 60_000.0) {
            faults.add(
                "low",
                format!("found {} to {} counts, wanted rising ones from 0 to 60000", self.low, self.high),
            );
        }
        for (name, value) in [("background", self.background), ("rate", self.rate), ("zingers", self.zingers)]
        {
            if !(value.is_finite() && value >= 0.0) {
                faults.add(name, format!("found {value}, wanted 0 or more"));
            }
        }
    }

    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        let [columns, rows] = self.experiment.size;
        Ok(Shapes::default().with("image", Shape::array(Dtype::U16, &[rows, columns])))
    }

    fn cost(&self, _: &Shapes) -> Cost {
        let pixels = self.experiment.size.iter().product::<usize>() as u64;
        Cost { memory: 12 * pixels, seconds_per_record: 1e-8 * pixels as f64, ..Cost::default() }
    }
}

impl Source for Simulate {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let projector = self.experiment.projector()?;
        let (truth, of_grains) = self.structure(cx)?;
        let mut painter = Painter::new(&projector);
        for v in &truth {
            cx.check()?;
            painter.add(&projector, &v.voxel, &Quat::from_euler(v.euler));
        }
        let (distances, count) = (self.experiment.distances.len(), self.experiment.frames);
        let total = (distances * count) as u64;
        let hits = match self.show {
            Show::Camera => vec![],
            Show::Hits => (0..distances * count)
                .map(|k| painter.hits(k / count, k % count).into_iter().map(|(_, n)| n).collect())
                .collect(),
        };
        let frames = (0..distances * count).map(|k| painter.pixels(k / count, k % count).to_vec()).collect();
        let [columns, rows] = self.experiment.size;
        let mut rng = cx.rng(CAMERA);
        let floor = (0..rows * columns).map(|k| {
            let (y, x) = ((k / columns) as f64 / rows as f64, (k % columns) as f64 / columns as f64);
            (self.background * (1.0 + 0.3 * (x - 0.5) - 0.2 * (y - 0.5) * (x + 0.5))) as f32
        });
        let noise = (0..1 << 16).map(|_| StandardNormal.sample(&mut rng)).collect();
        let hot = (0..(self.hot * (rows * columns) as f64).round() as usize)
            .map(|_| (rng.next_u64() % (rows * columns) as u64) as u32)
            .collect();
        let next = from.next.min(total);
        let (floor, begun) = (floor.collect(), (next, Instant::now()));
        self.play = Some(Play { frames, hits, floor, hot, noise, next, begun });
        let mut rng = cx.rng(STRUCTURE - 2);
        let seeds: Vec<Quat> = of_grains.iter().map(|q| turned(&mut rng, self.seed_error).times(q)).collect();
        Ok(Opened {
            frames: Some(total),
            head: Dict::new().with("truth", fitted_table(&truth)?).with("seeds", quaternions(&seeds)?),
            shapes: self.shapes(&Shapes::default())?,
            live: self.rate > 0.0,
            scan: vec![("distance".into(), distances as u64), ("omega".into(), count as u64)],
        })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Frame>) -> Result<Pull> {
        let columns = self.experiment.size[0];
        let camera =
            Camera { low: self.low, high: self.high, blur: self.blur, zingers: self.zingers, columns };
        let play =
            self.play.as_mut().ok_or_else(|| Error::internal("a source was pulled before it was opened"))?;
        let total = play.frames.len() as u64;
        let due = match self.rate {
            0.0 => total,
            rate => {
                let passed = (play.begun.1.elapsed().as_secs_f64() * rate) as u64;
                (play.begun.0 + passed + 1).min(total)
            }
        };
        if play.next >= total {
            return Ok(Pull::End);
        }
        if play.next >= due {
            let wait = (play.next - play.begun.0) as f64 / self.rate - play.begun.1.elapsed().as_secs_f64();
            return Ok(Pull::Wait(Duration::from_secs_f64(wait.clamp(0.0, 0.1))));
        }
        let first = play.next;
        if self.lose.contains(&first) {
            play.next += 1;
            slots.missing(first, "it was lost on purpose");
            return Ok(Pull::Ready);
        }
        let pixels = play.floor.len();
        let most = slots.room().clamp(1, ((1 << 22) / pixels).max(1) as u64);
        let mut end = (first + most).min(due);
        if let Some(lost) = (first..end).find(|n| self.lose.contains(n)) {
            end = lost;
        }
        play.next = end;
        let [columns, rows] = self.experiment.size;
        let mut image = cx.array(Dtype::U16, &[(end - first) as usize, rows, columns])?;
        let parts: Vec<Mutex<&mut [u16]>> =
            image.as_slice_mut::<u16>()?.chunks_mut(pixels).map(Mutex::new).collect();
        let play = &*play;
        let rngs: Vec<_> = (first..end).map(|n| cx.rng(n)).collect();
        cx.par(parts.len(), |k| {
            let mut part = parts[k].lock().map_err(|_| Error::internal("a frame was drawn twice"))?;
            camera.draw(play, (first as usize) + k, rngs[k].clone(), &mut part);
            Ok(())
        })?;
        drop(parts);
        slots.put(first, Frame { image: image.freeze() })?;
        Ok(Pull::Ready)
    }
}
declare!(Source, "hedm.simulate", Kind::Simulator, Simulate);

/// What the camera does to lit pixels.
struct Camera {
    low: f64,
    high: f64,
    blur: f64,
    zingers: f64,
    columns: usize,
}

impl Camera {
    fn draw(&self, play: &Play, number: usize, mut rng: impl Rng, out: &mut [u16]) {
        let (rows, columns) = (out.len() / self.columns, self.columns);
        if let Some(hits) = play.hits.get(number) {
            out.fill(0);
            for ([y, z], n) in play.frames[number].iter().zip(hits) {
                out[(rows - 1 - *z as usize) * columns + columns - 1 - *y as usize] = *n;
            }
            return;
        }
        let mut signal: Vec<(usize, f32)> = vec![];
        let side = if self.blur > 0.0 { (-0.5 / (self.blur * self.blur)).exp() } else { 0.0 };
        let norm = (1.0 + 2.0 * side).powi(2);
        for [y, z] in &play.frames[number] {
            let (row, column) = (rows as i64 - 1 - i64::from(*z), columns as i64 - 1 - i64::from(*y));
            let share = rng.next_u64() as f64 / u64::MAX as f64;
            let counts = self.low + (self.high - self.low) * share;
            for (dr, dc) in (0..9).map(|k| (k / 3 - 1, k % 3 - 1)) {
                let (r, c) = (row + dr, column + dc);
                let weight = [1.0, side][usize::from(dr != 0)] * [1.0, side][usize::from(dc != 0)] / norm;
                if weight > 0.0 && (0..rows as i64).contains(&r) && (0..columns as i64).contains(&c) {
                    signal.push(((r as usize) * columns + c as usize, (counts * weight) as f32));
                }
            }
        }
        let zingers = (self.zingers + rng.next_u64() as f64 / u64::MAX as f64).floor() as usize;
        for _ in 0..zingers {
            signal.push(((rng.next_u64() % out.len() as u64) as usize, 1000.0));
        }
        signal.sort_unstable_by_key(|s| s.0);
        let mut signal = signal.into_iter().peekable();
        let mask = play.noise.len() - 1;
        for (row, line) in out.chunks_mut(columns).enumerate() {
            // Each row takes its noise from another place.
            let from = rng.next_u64() as usize;
            for (c, value) in line.iter_mut().enumerate() {
                let at = row * columns + c;
                let mut mean = play.floor[at];
                while let Some((_, more)) = signal.next_if(|s| s.0 == at) {
                    mean += more;
                }
                *value = (mean + mean.sqrt() * play.noise[(from + c) & mask]).round() as u16;
            }
        }
        for at in &play.hot {
            out[*at as usize] = out[*at as usize].saturating_add(2000);
        }
    }
}

impl Simulate {
    /// The voxels with their orientations, and the orientations of the grains.
    fn structure(&self, cx: &Cx) -> Result<(Vec<Fitted>, Vec<Quat>)> {
        if let Some(file) = &self.truth {
            let path = std::path::Path::new(file);
            let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))?;
            let (_, mut voxels) = read_text_mic(&text).map_err(|e| e.at(file.clone()))?;
            voxels.retain(|v| v.confidence >= self.truth_above);
            if voxels.is_empty() {
                return Err(Error::data(format!(
                    "{file}: no voxel has a confidence of {} or more",
                    self.truth_above
                )));
            }
            return Ok((voxels, vec![]));
        }
        let mut rng = cx.rng(STRUCTURE);
        let mut uniform = move || rng.next_u64() as f64 / u64::MAX as f64;
        let mut grains: Vec<([f64; 2], Quat)> = vec![];
        for _ in 0..self.grains {
            let (r, a) = (self.radius * uniform().sqrt(), std::f64::consts::TAU * uniform());
            // Shoemake's uniform quaternions.
            let (u, b, c) = (uniform(), std::f64::consts::TAU * uniform(), std::f64::consts::TAU * uniform());
            let (s, t) = ((1.0 - u).sqrt(), u.sqrt());
            let q = Quat::new([s * b.sin(), s * b.cos(), t * c.sin(), t * c.cos()]).unwrap_or(Quat::IDENTITY);
            grains.push(([r * a.cos(), r * a.sin()], q));
        }
        let grid = Grid { radius: self.radius, size: self.edge, edge: self.edge, layout: Layout::Tiling };
        let mut rng = cx.rng(STRUCTURE - 1);
        let mut out = vec![];
        for voxel in grid.voxels().into_iter().filter(|v| v.x.hypot(v.y) <= self.radius) {
            let away = |g: &([f64; 2], Quat)| (g.0[0] - voxel.x).hypot(g.0[1] - voxel.y);
            let nearest = (0..grains.len()).min_by(|a, b| away(&grains[*a]).total_cmp(&away(&grains[*b])));
            let at = nearest.ok_or_else(|| Error::internal("no grains"))?;
            let q = turned(&mut rng, self.spread).times(&grains[at].1);
            out.push(Fitted {
                seed: at as f64,
                euler: q.euler(),
                confidence: 1.0,
                ..Fitted::unsolved(voxel)
            });
        }
        Ok((out, grains.into_iter().map(|g| g.1).collect()))
    }
}

/// A turn about a random axis by up to so many degrees.
fn turned(rng: &mut impl Rng, degrees: f64) -> Quat {
    let v: [f64; 3] = std::array::from_fn(|_| StandardNormal.sample(rng));
    let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
    let angle = degrees.to_radians() * (rng.next_u64() as f64 / u64::MAX as f64);
    Quat::from_rotation_vector(v.map(|x| x / norm * angle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn hits_are_counted_where_a_camera_would_see_them() {
        let play = Play {
            frames: vec![vec![[1, 0], [2, 3]]],
            hits: vec![vec![7, 2]],
            floor: vec![],
            hot: vec![],
            noise: vec![],
            next: 0,
            begun: (0, Instant::now()),
        };
        let camera = Camera { low: 100.0, high: 300.0, blur: 0.5, zingers: 9.0, columns: 4 };
        let mut image = [9u16; 20];
        let run = RunCx::default();
        camera.draw(&play, 0, Cx::new(&run, "it").rng(0), &mut image);
        // Five rows of four: Y 1, Z 0 is column 2 of the last row; Y 2, Z 3 is column 1 of row 1.
        let mut wanted = [0u16; 20];
        (wanted[4 * 4 + 2], wanted[4 + 1]) = (7, 2);
        assert_eq!(image, wanted);
    }
}
