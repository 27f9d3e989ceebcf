//! Scans with their truth, and reconstructions of them.

use isard_h5::File;
use isard_ptycho::camera::Coherence;
use isard_ptycho::engine::{Method, Settings};
use isard_ptycho::file::ptyd::Ptyd;
use isard_ptycho::geometry::{Centre, Geometry, Propagation};
use isard_ptycho::illumination::Illumination;
use isard_ptycho::metrics::{Field, Moved, Quality, compare_moved, covered};
use isard_ptycho::model::Frame;
use isard_ptycho::num::{Complex, alone, wide};
use isard_ptycho::propagate::Propagator;
use isard_ptycho::session::{Session, Task};

use super::{reals, reference, waves};

/// A scan and what it was taken of.
pub struct Scan {
    pub geometry: Geometry,
    pub frames: Vec<Frame<f32>>,
    pub truth: Field,
    pub probe: Vec<Vec<Complex<f64>>>,
    /// The truth's first pixel of each window.
    pub corners: Vec<[usize; 2]>,
    /// The probe that reconstructions begin with.
    pub start: Illumination,
    /// The energies of the light, and how much finer waves are than the camera.
    pub light: (Coherence, usize),
}

/// The scan of 64 frames that the reference data hold.
pub fn round64(test: &str) -> Option<Scan> {
    let file = Ptyd::open(&reference(test, "round64_append.ptyd")?).unwrap();
    let truth = File::open(reference(test, "round64_truth.h5")?).unwrap();
    let m = &file.meta;
    let geometry = Geometry {
        energy: m.energy,
        distance: m.distance,
        psize: m.psize[0],
        n: m.shape[0],
        propagation: Propagation::Farfield,
        centre: m.center.map(Centre::At),
        pixel: None,
    };
    let propagator = Propagator::<f32>::new(&geometry);
    let pixels = 128 * 128;
    let mut frames = vec![];
    for chunk in &file.chunks {
        let data = file.data(chunk, 0, chunk.indices.len()).unwrap();
        let counts: Vec<i32> =
            data.chunks_exact(4).map(|b| i32::from_ne_bytes(b.try_into().unwrap())).collect();
        let mask = file.mask(chunk, 0, chunk.indices.len()).unwrap();
        for (k, index) in chunk.indices.iter().enumerate() {
            let at = chunk.positions[k].map(|p| p / geometry.resolution());
            let count = |i: usize| f64::from(counts[k * pixels + i]);
            let good = |i: usize| mask[k * pixels + i] > 0;
            frames.push(Frame::new(&propagator, *index, at, count, good).0);
        }
    }
    let (shape, object) = waves(&truth, "object");
    let pixel = reals(&truth, "pixel").1;
    let corners = pixel.chunks_exact(2).map(|p| [p[0] as usize, p[1] as usize]).collect();
    let probe = vec![waves(&truth, "probe").1];
    let truth = Field { shape: [shape[0], shape[1]], data: object };
    // In metres as the other program was told, to the last digit: it shows after some iterations.
    let start = Illumination { size: Some(0.45 * 128.0 * 63.58e-9), ..Illumination::default() };
    Some(Scan { geometry, frames, truth, probe, corners, start, light: (Coherence::default(), 1) })
}

/// A reconstruction that has no frame yet.
pub fn session(scan: &Scan, engines: Vec<Settings>, seed: u64) -> Session {
    let task = Task {
        engines,
        illumination: scan.start.clone(),
        coherence: scan.light.0.clone(),
        resample: scan.light.1,
        object_modes: 1,
        fill: Complex::new(1.0, 0.0),
        start: Default::default(),
        min_frames: 1,
        ageing: None,
        photons_every: 10,
        seed,
    };
    Session::new(task, scan.geometry.clone()).unwrap()
}

/// How good a reconstruction is where the true probe lights more than 15 %.
pub fn quality(scan: &Scan, session: &Session) -> Quality {
    judged(scan, session, Moved::Truth)
}

/// The same, with a word on what is moved where both lie apart.
pub fn judged(scan: &Scan, session: &Session, what: Moved) -> Quality {
    // Windows of the truth may be larger than those of a reconstruction: their middles are one.
    let (model, n) = (&session.model, scan.probe[0].len().isqrt());
    // The first window of the reconstruction and of the truth are of one frame, where it was measured.
    let first = model.frames[0].measured;
    let here = model.window(first);
    let more = (n / 2) as i64 - (model.n() / 2) as i64;
    let low = [0, 1].map(|k| scan.corners[0][k] as i64 + more - here[k]);
    let size = [model.object.rows as i64, model.object.columns as i64];
    // Both on the pixels that they have in common.
    let from = low.map(|l| l.max(0));
    let to = [0, 1].map(|k| (low[k] + size[k]).min(scan.truth.shape[k] as i64));
    let shape = [0, 1].map(|k| (to[k] - from[k]) as usize);
    let truth = scan.truth.cut(from.map(|f| f as usize), shape);
    let all = model.object.modes[0].iter().map(|z| wide(*z)).collect();
    let found = Field { shape: [model.object.rows, model.object.columns], data: all };
    let found = found.cut([0, 1].map(|k| (from[k] - low[k]) as usize), shape);
    let mut light = vec![0.0; shape[0] * shape[1]];
    for corner in &scan.corners {
        for k in 0..n * n {
            let (y, x) = (corner[0] as i64 - from[0], corner[1] as i64 - from[1]);
            let (y, x) = (y + (k / n) as i64, x + (k % n) as i64);
            if (0..shape[0] as i64).contains(&y) && (0..shape[1] as i64).contains(&x) {
                let power: f64 = scan.probe.iter().map(|mode| mode[k].norm_sqr()).sum();
                light[y as usize * shape[1] + x as usize] += power;
            }
        }
    }
    compare_moved(&found, &truth, &covered(&light, 0.15), what).unwrap()
}

/// All frames at once, and all iterations.
pub fn offline(scan: &Scan, engines: Vec<Settings>, seed: u64) -> (Quality, Session) {
    let mut s = session(scan, engines, seed);
    for frame in &scan.frames {
        s.take(frame.clone());
    }
    s.all_in();
    while s.more() {
        s.step(&alone).unwrap();
    }
    (quality(scan, &s), s)
}

/// One engine with its defaults.
pub fn one(name: Method, numiter: u64) -> Vec<Settings> {
    vec![Settings::new(name, numiter)]
}

pub fn mean(all: &[f64]) -> f64 {
    all.iter().sum::<f64>() / all.len() as f64
}
