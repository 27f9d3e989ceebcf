//! What a reconstruction works on: measured frames, probe, object, and where they meet.

use isard_core::{Error, Result};

use crate::camera::{Camera, Darkroom};
use crate::fft::FftSpace;
use crate::num::{Complex, Real, Shelf, narrow, wide};
use crate::propagate::Propagator;
use crate::simd;

mod pods;

pub use pods::{Block, Pod};

type C<T> = Complex<T>;

/// One measured frame.
#[derive(Clone, Debug)]
pub struct Frame<T> {
    /// The number of the frame.
    pub index: u64,
    /// Square roots of counts in the detector's own order; negative where a pixel does not count.
    pub amplitude: Vec<T>,
    /// How many pixels count.
    pub good: usize,
    /// The sum of counts.
    pub power: f64,
    /// Where the frame was taken, in object pixels from the coordinate's origin.
    pub at: [f64; 2],
    /// Where it was taken before any refinement.
    pub measured: [f64; 2],
    /// How many frames had come before it.
    pub came: u64,
}

impl<T: Real> Frame<T> {
    /// A frame from counts and weights in rows; pixels that are no numbers or negative do not count.
    ///
    /// Gives the frame and how many pixels with a weight were left out.
    pub fn new(
        propagator: &Propagator<T>,
        index: u64,
        at: [f64; 2],
        counts: impl Fn(usize) -> f64,
        good: impl Fn(usize) -> bool,
    ) -> (Frame<T>, usize) {
        let n = propagator.n();
        let (mut refused, mut count, mut power) = (0, 0, 0.0);
        let rows: Vec<T> = (0..n * n)
            .map(|k| {
                let c = counts(k);
                if !good(k) {
                    return -T::one();
                }
                if !(c.is_finite() && c >= 0.0) {
                    refused += 1;
                    return -T::one();
                }
                count += 1;
                power += c;
                T::of(c.sqrt())
            })
            .collect();
        let amplitude = propagator.in_rows(&rows);
        (Frame { index, amplitude, good: count, power, at, measured: at, came: 0 }, refused)
    }
}

/// Layers of one shape: the modes of a probe or an object.
#[derive(Clone, Debug)]
pub struct Layers<T> {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// The modes, row by row.
    pub modes: Vec<Vec<C<T>>>,
}

impl<T: Real> Layers<T> {
    /// The same modes, all 0.
    pub fn zeros(&self) -> Layers<T> {
        let empty = vec![C::default(); self.rows * self.columns];
        Layers { modes: vec![empty; self.modes.len()], ..*self }
    }

    /// The sum of squares.
    pub fn norm2(&self) -> f64 {
        self.modes.iter().flatten().map(|z| z.re.wide().powi(2) + z.im.wide().powi(2)).sum()
    }

    /// The real part of the product with another.
    pub fn dot(&self, other: &Layers<T>) -> f64 {
        let all = self.modes.iter().flatten().zip(other.modes.iter().flatten());
        all.map(|(a, b)| a.re.wide() * b.re.wide() + a.im.wide() * b.im.wide()).sum()
    }

    /// The sum of squares over modes, pixel by pixel.
    pub fn intensity(&self) -> Vec<T> {
        let mut out = vec![T::zero(); self.rows * self.columns];
        self.modes.iter().for_each(|m| simd::intensity_add(&mut out, m, T::one()));
        out
    }

    /// Grows on all sides; new pixels take a value.
    pub fn pad(&mut self, low: [usize; 2], high: [usize; 2], fill: C<T>) {
        let (rows, columns) = (self.rows + low[0] + high[0], self.columns + low[1] + high[1]);
        for mode in &mut self.modes {
            let mut grown = vec![fill; rows * columns];
            for (y, row) in mode.chunks_exact(self.columns).enumerate() {
                let to = (y + low[0]) * columns + low[1];
                grown[to..to + self.columns].copy_from_slice(row);
            }
            *mode = grown;
        }
        (self.rows, self.columns) = (rows, columns);
    }
}

/// Frames, probe and object of one scan.
pub struct Model<T> {
    /// From sample to detector, for light of one energy that is not finer than the camera.
    pub propagator: Propagator<T>,
    /// The way of any other light.
    pub camera: Option<Camera<T>>,
    /// The frames, by number.
    pub frames: Vec<Frame<T>>,
    /// The probe, without the phase of the propagation: modes of one energy, then those of the next.
    pub probe: Layers<T>,
    /// Layers of the probe for each frame, if every frame has its own; those of one frame lie together.
    pub own: Option<usize>,
    /// The object.
    pub object: Layers<T>,
    /// The object pixel where the coordinate's origin lies.
    pub centre: [f64; 2],
    /// What unseen object pixels hold.
    pub fill: C<T>,
    /// Room for threads.
    pub(crate) shelf: Shelf<Room<T>>,
}

/// What one thread works in.
pub(crate) struct Room<T> {
    pub fft: FftSpace<T>,
    pub dark: Darkroom<T>,
    pub waves: Vec<Vec<C<T>>>,
    pub reals: Vec<Vec<T>>,
}

impl<T: Real> Room<T> {
    /// At least so many waves and real images.
    pub fn need(&mut self, waves: usize, reals: usize, pixels: usize) {
        self.waves.resize_with(self.waves.len().max(waves), || vec![C::default(); pixels]);
        self.reals.resize_with(self.reals.len().max(reals), || vec![T::zero(); pixels]);
    }
}

/// Where a frame's window begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corner {
    /// The first row.
    pub y: usize,
    /// The first column.
    pub x: usize,
}

impl<T: Real> Model<T> {
    /// A model without frames.
    pub fn new(
        propagator: Propagator<T>,
        probe: Vec<Vec<C<T>>>,
        object_modes: usize,
        fill: C<T>,
    ) -> Model<T> {
        let n = propagator.n();
        Model {
            propagator,
            camera: None,
            frames: vec![],
            probe: Layers { rows: n, columns: n, modes: probe },
            own: None,
            object: Layers { rows: 0, columns: 0, modes: vec![vec![]; object_modes.max(1)] },
            centre: [0.0; 2],
            fill,
            shelf: Shelf::default(),
        }
    }

    /// Masks what no light can reach; gives whether any pixel of the frame is left.
    pub fn mask(&self, frame: &mut Frame<T>) -> bool {
        let Some(camera) = &self.camera else { return frame.good > 0 };
        let (n, reached) = (self.propagator.n(), camera.reached());
        let beside = |k: usize| !(reached[k / n] && reached[k % n]);
        for (_, a) in frame.amplitude.iter_mut().enumerate().filter(|(k, a)| **a >= T::zero() && beside(*k)) {
            frame.good -= 1;
            frame.power -= a.wide().powi(2);
            *a = -T::one();
        }
        frame.good > 0
    }

    /// The same for light that comes to the camera another way.
    pub fn with_camera(mut self, camera: Option<Camera<T>>) -> Model<T> {
        if let Some(camera) = &camera {
            (self.probe.rows, self.probe.columns) = (camera.n(), camera.n());
            let empty = std::mem::take(&mut self.object.modes).into_iter().next().unwrap_or_default();
            self.object.modes = vec![empty; self.object.modes.len().max(1) * camera.objects()];
        }
        self.camera = camera;
        self
    }

    /// Rows and columns of a window of the object, and of the probe.
    pub fn n(&self) -> usize {
        self.probe.rows
    }

    /// Pixels of a frame.
    pub fn pixels(&self) -> usize {
        self.propagator.n() * self.propagator.n()
    }

    /// Probes out of modes as files hold them.
    pub fn dressed(&self, modes: &[Vec<C<f64>>], each: usize) -> Vec<Vec<C<T>>> {
        match &self.camera {
            Some(camera) => camera.probes(modes, each),
            None => {
                modes.iter().map(|m| self.propagator.plain(m).into_iter().map(narrow).collect()).collect()
            }
        }
    }

    /// The probes of a frame as files hold them.
    pub fn bare(&self, probes: &[Vec<C<T>>]) -> Vec<Vec<C<f64>>> {
        let plain = |mode: &Vec<C<T>>| {
            let mode: Vec<C<f64>> = mode.iter().map(|z| wide(*z)).collect();
            self.propagator.dressed(&mode)
        };
        match &self.camera {
            Some(camera) => camera.modes(probes),
            None => probes.iter().map(plain).collect(),
        }
    }

    /// Where a window around a place begins, before it is known to lie in the object.
    pub fn window(&self, at: [f64; 2]) -> [i64; 2] {
        let half = (self.n() / 2) as i64;
        [0, 1].map(|k| (at[k] + self.centre[k] + 1e-5).round_ties_even() as i64 - half)
    }

    /// Where the window of a frame begins.
    pub fn corner(&self, frame: usize) -> Corner {
        let [y, x] = self.window(self.frames[frame].at);
        Corner { y: y as usize, x: x as usize }
    }

    /// Whether a window around a place lies in the object.
    pub fn inside(&self, at: [f64; 2]) -> bool {
        let (n, [y, x]) = (self.n() as i64, self.window(at));
        y >= 0 && x >= 0 && y + n <= self.object.rows as i64 && x + n <= self.object.columns as i64
    }

    /// Adds frames, keeps all of them sorted by number, and lets the object grow around them.
    ///
    /// Gives how far the object grew before its first row and column.
    pub fn add(&mut self, frames: Vec<Frame<T>>) -> Result<[usize; 2]> {
        for frame in &frames {
            if !frame.at.iter().all(|x| x.is_finite() && x.abs() < 1e6) {
                let [y, x] = frame.at;
                let found = format!("frame {}: its position is ({y:.0}, {x:.0}) pixels from 0", frame.index);
                return Err(Error::data(format!("{found}, wanted less than a million"))
                    .help("check the positions and their unit, metres, and the pixel size"));
            }
        }
        self.frames.extend(frames);
        self.frames.sort_by_key(|f| f.index);
        self.reform(0)
    }

    /// Lets the object grow around all windows, with a margin; gives how far it grew before its first pixel.
    pub fn reform(&mut self, margin: usize) -> Result<[usize; 2]> {
        if self.frames.is_empty() {
            return Ok([0, 0]);
        }
        let n = self.n();
        let first = self.object.rows == 0;
        if first {
            // The smallest coordinate falls on a whole pixel, as in files of other programs.
            let least = |k: usize| self.frames.iter().map(|f| f.at[k]).fold(f64::INFINITY, f64::min);
            self.centre = [0, 1].map(|k| (n / 2) as f64 - least(k));
        }
        let corners: Vec<[i64; 2]> = self.frames.iter().map(|f| self.window(f.at)).collect();
        let margin = margin as i64;
        let low = [0, 1].map(|k| corners.iter().map(|c| c[k]).min().unwrap_or(0) - margin);
        let high = [0, 1].map(|k| corners.iter().map(|c| c[k]).max().unwrap_or(0) + n as i64 + margin);
        let most = 1i64 << 15;
        let size = [self.object.rows as i64, self.object.columns as i64];
        let before = low.map(|l| (-l).max(0));
        let after = [0, 1].map(|k| (high[k] - size[k]).max(0));
        let grown = [0, 1].map(|k| size[k] + before[k] + after[k]);
        if grown.iter().any(|g| *g > most) {
            let wanted =
                format!("the object would have {} x {} pixels, wanted {most} at most", grown[0], grown[1]);
            return Err(Error::data(format!(
                "{wanted}: frame {} lies furthest out",
                self.outermost(&corners)
            ))
            .help("check the positions and their unit, metres, and the pixel size"));
        }
        let (before, after) = (before.map(|b| b as usize), after.map(|a| a as usize));
        if first {
            (self.object.rows, self.object.columns) = (grown[0] as usize, grown[1] as usize);
            let pixels = self.object.rows * self.object.columns;
            self.object.modes.iter_mut().for_each(|m| *m = vec![self.fill; pixels]);
        } else if before != [0, 0] || after != [0, 0] {
            self.object.pad(before, after, self.fill);
        }
        self.centre = [0, 1].map(|k| self.centre[k] + before[k] as f64);
        Ok(before)
    }

    /// The number of the frame whose window is furthest from the middle one, along either axis.
    fn outermost(&self, corners: &[[i64; 2]]) -> u64 {
        let middle = [0, 1].map(|k| {
            let mut along: Vec<i64> = corners.iter().map(|c| c[k]).collect();
            along.sort_unstable();
            along[along.len() / 2]
        });
        let away = |c: &[i64; 2]| (c[0] - middle[0]).abs().max((c[1] - middle[1]).abs());
        let most = corners.iter().zip(&self.frames).max_by_key(|(c, _)| away(c));
        most.map_or(0, |(_, frame)| frame.index)
    }

    /// The most, the sum and the mean of the frames' powers, the mean over pixels.
    pub fn powers(&self) -> Powers {
        let pixels = self.pixels() as f64;
        let total = self.frames.iter().map(|f| f.power).sum::<f64>();
        let most = self.frames.iter().map(|f| f.power).fold(0.0, f64::max);
        Powers { most, total, mean: total / (self.frames.len().max(1) as f64 * pixels), bound: most / pixels }
    }

    /// What the model expects of a frame where a window begins, in counts, into the room's first real image.
    pub(crate) fn expect(&self, frame: usize, corner: Corner, room: &mut Room<T>) {
        let Room { fft, dark, waves, reals } = room;
        let (wave, power) = (&mut waves[0], &mut reals[0]);
        power.clear();
        power.resize(self.pixels(), T::zero());
        for pod in self.pods(frame) {
            self.exit(pod, corner, wave);
            self.forward(pod, wave, fft, dark);
            self.add_power(pod, wave, power);
        }
    }

    /// The R-factor: the sum of differences in amplitude over the sum of measured amplitudes.
    pub fn r_factor(&self) -> f64 {
        let (mut apart, mut all) = (0.0, 0.0);
        self.room(1, 1, |room| {
            for (k, frame) in self.frames.iter().enumerate() {
                self.expect(k, self.corner(k), room);
                let good = room.reals[0].iter().zip(&frame.amplitude).filter(|(_, a)| **a >= T::zero());
                for (power, a) in good {
                    apart += (power.sqrt() - *a).abs().wide();
                    all += a.wide();
                }
            }
        });
        apart / all
    }

    /// Borrows room for some work.
    pub(crate) fn room<R>(&self, waves: usize, reals: usize, work: impl FnOnce(&mut Room<T>) -> R) -> R {
        let mut room = self.take_room(waves, reals);
        let result = work(&mut room);
        self.shelf.put(room);
        result
    }

    /// Room that is given back to the shelf by whoever took it.
    pub(crate) fn take_room(&self, waves: usize, reals: usize) -> Room<T> {
        let dark = || self.camera.as_ref().map_or_else(Darkroom::default, Camera::room);
        let fresh = || Room { fft: self.propagator.space(), dark: dark(), waves: vec![], reals: vec![] };
        let mut room = self.shelf.take().unwrap_or_else(fresh);
        room.need(waves, reals, self.n() * self.n());
        room
    }
}

/// How many counts there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Powers {
    /// In the frame with most.
    pub most: f64,
    /// In all frames.
    pub total: f64,
    /// In a pixel, on average.
    pub mean: f64,
    /// In a pixel of the frame with most, on average: what the default power bound is made of.
    pub bound: f64,
}

/// Rows of a frame's window with the same rows of the object: `(row, offset in the object)`.
pub fn rows(
    n: usize,
    corner: Corner,
    columns: usize,
) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> {
    (0..n).map(move |r| {
        let at = (corner.y + r) * columns + corner.x;
        (r * n..r * n + n, at..at + n)
    })
}

/// `out = probe object` over a window.
pub fn exit_wave<T: Real>(out: &mut [C<T>], probe: &[C<T>], object: &[C<T>], columns: usize, corner: Corner) {
    let n = probe.len().isqrt();
    for (here, there) in rows(n, corner, columns) {
        simd::product(&mut out[here.clone()], &probe[here], &object[there]);
    }
}
