//! A reconstruction as its stage holds it: what it shows and what a checkpoint keeps.

use isard_core::prelude::*;

use super::experiment::{Given, pair};
use super::reconstruct::{ReconstructOut, given_object};
use crate::engine::own;
use crate::kept;
use crate::model::{Frame, Layers};
use crate::num::{Complex, alone, wide};
use crate::session::Session;

/// A reconstruction with what it was begun from.
pub(super) struct Work {
    pub session: Session,
    pub given: Given,
    pub seed: u64,
    /// Pixels that were negative or no numbers.
    pub refused: u64,
    /// Frames without a good pixel.
    pub dark: u64,
    /// Whether the log has heard of what was left out.
    pub warned: bool,
}

/// Complex values in double precision.
pub(crate) fn complex(array: &Array) -> Result<Vec<Complex<f64>>> {
    match array.dtype() {
        Dtype::C32 => Ok(array.as_slice::<Complex<f32>>()?.iter().map(|z| wide(*z)).collect()),
        Dtype::C64 => Ok(array.as_slice::<Complex<f64>>()?.to_vec()),
        other => Err(Error::data(format!("found values of {other}, wanted complex ones"))),
    }
}

impl Work {
    /// What a checkpoint keeps.
    pub fn save(&self) -> Result<Dict> {
        let mut state = kept::save(&self.session)?
            .with("n", self.session.model.propagator.n() as i64)
            .with("seed", self.seed as i64)
            .with("refused", self.refused as i64)
            .with("dark", self.dark as i64);
        let given = &self.given;
        for (key, value) in [("energy", given.energy), ("distance", given.distance), ("psize", given.psize)] {
            if let Some(value) = value {
                state.set(key, value);
            }
        }
        if let Some(center) = given.center {
            state.set("axis", Array::from_slice(&center));
        }
        if let Some(probe) = &self.session.given {
            let n = self.session.geometry.n;
            state.set("given", Array::of(&[probe.len(), n, n], &probe.concat())?);
        }
        if let Some(object) = self.session.given_object.as_ref().filter(|_| !self.session.begun) {
            let [rows, columns] = object.shape;
            let modes = Array::of(&[object.modes.len(), rows, columns], &object.modes.concat())?;
            state.set("given_object", modes);
            state.set("given_center", Array::from_slice(&object.center));
        }
        Ok(state)
    }

    /// Pixels of frames, the experiment and the seed of a kept reconstruction.
    pub fn kept(state: &Dict) -> Result<(usize, Given, u64)> {
        let number = |key: &str| state.get(key).and_then(Value::number);
        let axis = match state.get("axis") {
            Some(Value::Array(axis)) => Some(axis.clone()),
            _ => None,
        };
        let given = Given {
            energy: number("energy"),
            distance: number("distance"),
            psize: number("psize"),
            center: pair(&axis)?,
        };
        let seed = match state.need("seed")? {
            Value::Int(seed) => *seed as u64,
            other => return Err(Error::data(format!("the kept seed is {}", other.describe()))),
        };
        Ok((need(state, "n")? as usize, given, seed))
    }

    /// Goes on from what was kept.
    pub fn load(&mut self, state: &Dict) -> Result<()> {
        kept::load(&mut self.session, state)?;
        if let Some(Value::Array(object)) = state.get("given_object") {
            let center = match state.get("given_center") {
                Some(Value::Array(center)) => pair(&Some(center.clone()))?,
                _ => None,
            };
            self.session.given_object = Some(given_object(object, center)?);
        }
        (self.refused, self.dark) = (need(state, "refused")? as u64, need(state, "dark")? as u64);
        Ok(())
    }

    /// Tells the log, once, what was left out or did nothing.
    pub fn warn(&mut self) {
        if std::mem::replace(&mut self.warned, true) {
            return;
        }
        let (refused, dark, frozen) = (self.refused, self.dark, self.session.frozen);
        if refused > 0 || dark > 0 {
            tracing::warn!(
                pixels = refused,
                frames = dark,
                "Pixels that are negative or no numbers do not count, and frames without a good pixel are left out."
            );
        }
        if frozen > 0 {
            tracing::warn!(
                iterations = frozen,
                "All frames were within the power bound: set `fourier_power_bound = \"auto-poisson\"` to go on."
            );
        }
    }

    /// Object, probe and errors as they are now.
    pub fn show(&self) -> Result<ReconstructOut> {
        let (session, model) = (&self.session, &self.session.model);
        let (n, resolution) = (session.geometry.n, session.geometry.resolution());
        let shape = [model.object.rows, model.object.columns];
        let first = model.object.modes.first().map_or(&[][..], Vec::as_slice);
        let dimensions = session.task.engines.iter().filter_map(|e| e.subspace_dim).max();
        let probes = own::shown(model, dimensions.unwrap_or(1), &alone)?;
        let bare: Vec<Vec<Vec<Complex<f64>>>> =
            probes.chunks(model.lights().max(1)).map(|probes| model.bare(probes)).collect();
        // Modes of one frame's probe.
        let each = bare.first().map_or(0, Vec::len);
        let probe: Vec<Vec<Complex<f64>>> = bare.into_iter().flatten().collect();
        let (coherence, energy) = (&session.task.coherence, session.geometry.energy);
        // Sets of modes lie one behind the other, each of the next energy; one set stands for all light.
        let energies = |count: usize, sets: usize| -> Vec<f64> {
            let of = |k: usize| if sets > 1 { coherence.energies[k * sets / count] } else { 1.0 };
            (0..count).map(|k| energy * of(k)).collect()
        };
        let (lights, objects) = model.camera.as_ref().map_or((1, 1), |c| (c.lights(), c.objects()));
        let dimensions = probe.len() / each.max(1);
        let probe_energy: Vec<f64> = (0..dimensions).flat_map(|_| energies(each, lights)).collect();
        let probe_modes = probe.len();
        let probe: Vec<Complex<f32>> = probe.into_iter().flatten().map(crate::num::narrow).collect();
        let records = &session.records;
        let column = |k: usize| records.iter().map(|r| r.errors[k]).collect::<Vec<f64>>();
        let errors = Table::new(records.len())
            .with("iteration", &records.iter().map(|r| r.iteration as u32).collect::<Vec<u32>>())?
            .with("engine", &records.iter().map(|r| r.engine.map_or(-1, |e| e as i32)).collect::<Vec<i32>>())?
            .with("frames", &records.iter().map(|r| r.frames as u32).collect::<Vec<u32>>())?
            .with("fourier", &column(0))?
            .with("photons", &column(1))?
            .with("exit", &column(2))?;
        let places = |what: fn(&Frame<f32>) -> f64| {
            model.frames.iter().map(|f| what(f) * resolution).collect::<Vec<f64>>()
        };
        let positions = Table::new(model.frames.len())
            .with("index", &model.frames.iter().map(|f| f.index).collect::<Vec<u64>>())?
            .with("y", &places(|f| f.at[0]))?
            .with("x", &places(|f| f.at[1]))?
            .with("measured_y", &places(|f| f.measured[0]))?
            .with("measured_x", &places(|f| f.measured[1]))?;
        let last =
            |k: usize| records.iter().rev().map(|r| r.errors[k]).find(|e| e.is_finite()).unwrap_or(f64::NAN);
        let curve: Vec<f32> = records
            .iter()
            .map(|r| if r.errors[0].is_nan() { r.errors[1] as f32 } else { r.errors[0] as f32 })
            .collect();
        let light = Layers { modes: probes, ..model.probe }.intensity();
        let light: Vec<f32> = light.into_iter().map(f32::sqrt).collect();
        let modes = model.object.modes.len();
        Ok(ReconstructOut {
            object: Array::of(&[modes, shape[0], shape[1]], &model.object.modes.concat())?,
            probe: Array::of(&[probe_modes, n, n], &probe)?,
            amplitude: Array::of(&shape, &first.iter().map(|z| z.norm()).collect::<Vec<f32>>())?,
            phase: Array::of(&shape, &first.iter().map(|z| z.arg()).collect::<Vec<f32>>())?,
            light: Array::of(&[n, n], &light)?,
            curve: Array::from_slice(&curve),
            errors,
            positions,
            resolution,
            center: Array::from_slice(&model.centre),
            energy,
            probe_energy: Array::from_slice(&probe_energy),
            object_energy: Array::from_slice(&energies(modes, objects)),
            fourier: last(0),
            photons: last(1),
            r_factor: if session.done() { model.r_factor() } else { f64::NAN },
            iterations: records.len() as i64,
            frames: model.frames.len() as i64,
            refused: self.refused as i64,
            dark: self.dark as i64,
            frozen: session.frozen as i64,
            engines: serde_json::to_string(&session.task.engines)
                .map_err(|e| Error::internal(format!("engines cannot be written: {e}")))?,
        })
    }
}

fn need(state: &Dict, key: &str) -> Result<f64> {
    state.get(key).and_then(Value::number).ok_or_else(|| Error::data(format!("kept `{key}` is no number")))
}
