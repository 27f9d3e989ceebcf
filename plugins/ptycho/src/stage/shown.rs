//! What writers of results take of a reconstruction: the latest of many records.

use isard_core::prelude::*;

use super::experiment::pair;
use super::work::complex;
use crate::engine::Settings;
use crate::num::{Complex, narrow};

/// A reconstruction, as `ptycho.reconstruct` gives it to writers.
#[derive(Ports)]
pub struct ResultIn {
    /// The object, mode by mode.
    #[port(dtype = "complex", axes = "mode y x")]
    object: Array,
    /// The probe, mode by mode.
    #[port(dtype = "complex", axes = "mode y x")]
    probe: Array,
    /// The edge of a pixel.
    #[port(dtype = "f64", axes = "", unit = "m")]
    resolution: Array,
    /// The object pixel where position 0 lies.
    #[port(dtype = "f64", axes = "axis", unit = "pixel")]
    center: Array,
    /// The photon energy.
    #[port(dtype = "f64", axes = "", unit = "keV")]
    energy: Array,
    /// The photon energy of each of the probe's modes; else that of all.
    #[port(dtype = "f64", axes = "mode", unit = "keV")]
    probe_energy: Option<Array>,
    /// The photon energy of each of the object's modes; else that of all.
    #[port(dtype = "f64", axes = "mode", unit = "keV")]
    object_energy: Option<Array>,
    /// The errors of each iteration.
    #[port(columns = "iteration: u32, engine: i32, frames: u32, fourier: f64, photons: f64, exit: f64")]
    errors: Table,
    /// The frames with their positions.
    #[port(columns = "index: u64, y: f64 m, x: f64 m, measured_y: f64 m, measured_x: f64 m")]
    positions: Table,
    /// The engines, as JSON text.
    engines: Value,
}

/// Modes with their shape.
pub(super) struct Waves {
    pub shape: [usize; 3],
    pub data: Vec<Complex<f32>>,
    /// The pixel where position 0 lies.
    pub center: [f64; 2],
    /// The energy of each mode, keV.
    pub energies: Vec<f64>,
}

impl Waves {
    /// The modes of one energy after the other, with that energy.
    pub fn by_energy(&self) -> Vec<(f64, Waves)> {
        let [_, rows, columns] = self.shape;
        let mut all: Vec<(f64, Waves)> = vec![];
        for (energy, mode) in self.energies.iter().zip(self.data.chunks_exact(rows * columns)) {
            let at = all.iter().position(|(known, _)| known == energy).unwrap_or_else(|| {
                let (shape, center) = ([0, rows, columns], self.center);
                all.push((*energy, Waves { shape, data: vec![], center, energies: vec![] }));
                all.len() - 1
            });
            let one = &mut all[at].1;
            one.shape[0] += 1;
            one.data.extend_from_slice(mode);
            one.energies.push(*energy);
        }
        all
    }
}

/// The latest record.
pub(super) struct Shown {
    pub object: Waves,
    pub probe: Waves,
    /// The edge of a pixel, m.
    pub psize: f64,
    /// keV.
    pub energy: f64,
    pub errors: Table,
    pub positions: Table,
    /// The engines, as JSON text.
    pub engines: String,
}

impl ResultIn {
    /// The latest record, if there is any.
    pub fn latest(&self, span: &Span) -> Result<Option<Shown>> {
        let Some(last) = self.object.shape()[0].checked_sub(1) else { return Ok(None) };
        let record = span.start + last as u64;
        let number = |array: &Array| -> Result<f64> {
            let all = array.to_f64()?;
            all.get(last).copied().ok_or_else(|| Error::data(format!("{span}: a number is missing")))
        };
        let center = pair(&Some(self.center.record(last)?))?.unwrap_or_default();
        let energy = number(&self.energy)?;
        let energies = |of: &Option<Array>, modes: usize| -> Result<Vec<f64>> {
            let Some(of) = of else { return Ok(vec![energy; modes]) };
            let all = of.record(last)?.to_f64()?;
            match all.len() == modes {
                true => Ok(all),
                false => Err(Error::data(format!("{span}: {} energies for {modes} modes", all.len()))),
            }
        };
        let (shape, data) = wave(span, &self.object, last)?;
        let object = Waves { shape, data, center, energies: energies(&self.object_energy, shape[0])? };
        let (shape, data) = wave(span, &self.probe, last)?;
        let center = [(shape[1] / 2) as f64, (shape[2] / 2) as f64];
        let probe = Waves { shape, data, center, energies: energies(&self.probe_energy, shape[0])? };
        let engines = match &self.engines {
            Value::List(list) => list.get(last).and_then(Value::text).unwrap_or_default(),
            other => other.text().unwrap_or_default(),
        };
        // A single record owns all rows, whatever number the snapshot has.
        let table = |t: &Table| if last == 0 { Ok(t.clone()) } else { t.between(record, record + 1) };
        Ok(Some(Shown {
            object,
            probe,
            psize: number(&self.resolution)?,
            energy,
            errors: table(&self.errors)?,
            positions: table(&self.positions)?,
            engines: engines.to_owned(),
        }))
    }
}

impl Shown {
    /// Errors in amplitude, in counts and of exit waves, iteration by iteration.
    pub fn errors(&self) -> Result<Vec<[f64; 3]>> {
        let column = |name: &str| self.errors.numbers::<f64>(name);
        let all = [column("fourier")?, column("photons")?, column("exit")?];
        Ok((0..self.errors.rows()).map(|k| all.map(|c| c[k])).collect())
    }

    /// Where frames were taken, row and column, m: as found, and as measured.
    pub fn places(&self) -> Result<[Vec<[f64; 2]>; 2]> {
        let column = |name: &str| self.positions.numbers::<f64>(name);
        let pairs = |y: &[f64], x: &[f64]| y.iter().zip(x).map(|(y, x)| [*y, *x]).collect();
        let found = pairs(column("y")?, column("x")?);
        Ok([found, pairs(column("measured_y")?, column("measured_x")?)])
    }

    /// The engines with their options.
    pub fn settings(&self, span: &Span) -> Result<Vec<Settings>> {
        serde_json::from_str(&self.engines)
            .map_err(|e| Error::data(format!("{span}: `engines` are no engines: {e}")))
    }
}

/// One of many records of modes, with its shape.
fn wave(span: &Span, array: &Array, k: usize) -> Result<([usize; 3], Vec<Complex<f32>>)> {
    let one = array.record(k)?;
    let &[modes, rows, columns] = one.shape() else {
        let found = one.shape();
        return Err(Error::data(format!("{span}: found an image of shape {found:?}, wanted [mode y x]")));
    };
    Ok(([modes, rows, columns], complex(&one)?.into_iter().map(narrow).collect()))
}

/// A small reconstruction of one iteration, as writers take it.
pub(super) fn example(set: &str) -> Example {
    let one = |n: usize| vec![Complex::<f32>::new(1.0, 0.5); n];
    let errors = Table::new(1)
        .with("iteration", &[1u32])
        .and_then(|t| t.with("engine", &[0i32]))
        .and_then(|t| t.with("frames", &[4u32]))
        .and_then(|t| t.with("fourier", &[3.0]))
        .and_then(|t| t.with("photons", &[2.0]))
        .and_then(|t| t.with("exit", &[1.0]))
        .map(|t| t.with_record(0));
    let positions = Table::new(1)
        .with("index", &[0u64])
        .and_then(|t| t.with("y", &[0.0]))
        .and_then(|t| t.with("x", &[0.0]))
        .and_then(|t| t.with("measured_y", &[0.0]))
        .and_then(|t| t.with("measured_x", &[0.0]))
        .map(|t| t.with_record(0));
    Example::new(set)
        .frames("object", Array::of(&[1, 1, 12, 10], &one(120)).expect("120 pixels"))
        .frames("probe", Array::of(&[1, 1, 8, 8], &one(64)).expect("64 pixels"))
        .frames("resolution", Array::from_slice(&[6e-8]))
        .frames("center", Array::of(&[1, 2], &[6.0, 5.0]).expect("a pair"))
        .frames("energy", Array::from_slice(&[6.2]))
        .frames("errors", errors.expect("one row"))
        .frames("positions", positions.expect("one row"))
        .frames("engines", vec![Value::from("[{\"name\": \"DM\", \"numiter\": 1}]")])
}
