//! A reconstruction as a checkpoint holds it.

use isard_core::{Array, Dict, Element, Error, Pool, Result, Value};

use crate::engine::Kept;
use crate::model::{Frame, Layers};
use crate::num::Complex;
use crate::session::{Record, Session};

type C = Complex<f32>;

/// Numbers of one column.
fn reals(values: impl Iterator<Item = f64>) -> Array {
    Array::from_slice(&values.collect::<Vec<f64>>())
}

/// Rows of one length as an array; each is copied once, since all of them may fill half of the memory.
fn stacked<'a, X: Element>(rows: impl ExactSizeIterator<Item = &'a Vec<X>> + Clone) -> Result<Array> {
    let length = rows.clone().next().map_or(0, Vec::len);
    let mut out = Pool::unpooled().take(X::DTYPE, &[rows.len(), length])?;
    if length > 0 {
        for (to, row) in out.as_slice_mut::<X>()?.chunks_exact_mut(length).zip(rows) {
            to.copy_from_slice(row);
        }
    }
    Ok(out.freeze())
}

/// Waves of one length as an array.
pub fn waves(list: &[Vec<C>]) -> Result<Array> {
    stacked(list.iter())
}

fn array<'a>(state: &'a Dict, key: &str) -> Result<&'a Array> {
    match state.need(key)? {
        Value::Array(array) => Ok(array),
        other => Err(Error::data(format!("kept `{key}` is {}, wanted an array", other.describe()))),
    }
}

fn columns(state: &Dict, key: &str) -> Result<Vec<f64>> {
    Ok(array(state, key)?.as_slice::<f64>()?.to_vec())
}

fn number(state: &Dict, key: &str) -> Result<f64> {
    state.need(key)?.number().ok_or_else(|| Error::data(format!("kept `{key}` is no number")))
}

fn back(array: &Array) -> Result<Vec<Vec<C>>> {
    let length = array.shape().get(1).copied().unwrap_or(0).max(1);
    Ok(array.as_slice::<C>()?.chunks_exact(length).map(<[C]>::to_vec).collect())
}

fn save_frames(frames: &[Frame<f32>]) -> Result<Dict> {
    Ok(Dict::new()
        .with("index", Array::from_slice(&frames.iter().map(|f| f.index).collect::<Vec<u64>>()))
        .with("amplitude", stacked(frames.iter().map(|f| &f.amplitude))?)
        .with("good", reals(frames.iter().map(|f| f.good as f64)))
        .with("power", reals(frames.iter().map(|f| f.power)))
        .with("at", reals(frames.iter().flat_map(|f| f.at)))
        .with("measured", reals(frames.iter().flat_map(|f| f.measured)))
        .with("came", Array::from_slice(&frames.iter().map(|f| f.came).collect::<Vec<u64>>())))
}

fn load_frames(state: &Dict) -> Result<Vec<Frame<f32>>> {
    let index = array(state, "index")?.as_slice::<u64>()?;
    let amplitudes = array(state, "amplitude")?;
    let pixels = amplitudes.shape().get(1).copied().unwrap_or(0);
    let (good, power) = (columns(state, "good")?, columns(state, "power")?);
    let (at, measured) = (columns(state, "at")?, columns(state, "measured")?);
    let came = array(state, "came")?.as_slice::<u64>()?;
    let all = amplitudes.as_slice::<f32>()?;
    Ok((0..index.len())
        .map(|k| Frame {
            index: index[k],
            amplitude: all[k * pixels..(k + 1) * pixels].to_vec(),
            good: good[k] as usize,
            power: power[k],
            at: [at[2 * k], at[2 * k + 1]],
            measured: [measured[2 * k], measured[2 * k + 1]],
            came: came[k],
        })
        .collect())
}

fn dict<'a>(state: &'a Dict, key: &str) -> Result<&'a Dict> {
    match state.need(key)? {
        Value::Dict(dict) => Ok(dict),
        other => Err(Error::data(format!("kept `{key}` is {}, wanted a dict", other.describe()))),
    }
}

fn save_layers(layers: &Layers<f32>) -> Result<Dict> {
    Ok(Dict::new()
        .with("rows", layers.rows as i64)
        .with("columns", layers.columns as i64)
        .with("modes", waves(&layers.modes)?))
}

fn load_layers(state: &Dict, key: &str) -> Result<Layers<f32>> {
    let state = dict(state, key)?;
    let (rows, columns) = (number(state, "rows")? as usize, number(state, "columns")? as usize);
    let mut modes = back(array(state, "modes")?)?;
    if rows == 0 {
        modes = vec![vec![]; array(state, "modes")?.shape()[0]];
    }
    Ok(Layers { rows, columns, modes })
}

/// Everything that the next iteration depends on.
pub fn save(session: &Session) -> Result<Dict> {
    let (records, model) = (&session.records, &session.model);
    let mut state = Dict::new()
        .with("frames", save_frames(&model.frames)?)
        .with("waiting", save_frames(&session.waiting)?)
        .with("probe", save_layers(&model.probe)?)
        .with("object", save_layers(&model.object)?)
        .with("centre", reals(model.centre.into_iter()))
        .with("begun", session.begun)
        .with("complete", session.complete)
        .with("stage", session.stage.map_or(-1, |k| k as i64))
        .with("idle", session.idle as i64)
        .with("credit", session.credit)
        .with("frozen", session.frozen as i64)
        .with("own", model.own.map_or(0, |lights| lights as i64))
        .with(
            "records",
            reals(records.iter().flat_map(|r| {
                let engine = r.engine.map_or(-1.0, |e| e as f64);
                [r.iteration as f64, engine, r.errors[0], r.errors[1], r.errors[2], r.frames as f64]
            })),
        );
    if let Some(engine) = &session.engine {
        let kept = engine.keep();
        let mut held = Dict::new()
            .with("iteration", kept.iteration as i64)
            .with("exit", waves(engine.exit())?)
            .with("floats", reals(kept.floats.into_iter()))
            .with("sigma", kept.sigma);
        if let Some(scale) = kept.scale {
            held.set("scale", scale);
        }
        if let Some(before) = &kept.before {
            held.set("before", waves(before)?);
        }
        if let Some((layers, length)) = &kept.memory {
            held.set("length", *length);
            for (key, layers) in MEMORY.iter().zip(layers) {
                held.set(*key, save_layers(layers)?);
            }
        }
        state.set("engine", held);
    }
    Ok(state)
}

const MEMORY: [&str; 4] = ["object_gradient", "probe_gradient", "object_step", "probe_step"];

/// Takes a kept state back into a session that was made from the same task.
pub fn load(session: &mut Session, state: &Dict) -> Result<()> {
    let flag = |key: &str| matches!(state.get(key), Some(Value::Bool(true)));
    session.model.frames = load_frames(dict(state, "frames")?)?;
    session.waiting = load_frames(dict(state, "waiting")?)?;
    session.model.probe = load_layers(state, "probe")?;
    session.model.object = load_layers(state, "object")?;
    let centre = columns(state, "centre")?;
    session.model.centre = [centre[0], centre[1]];
    (session.begun, session.complete) = (flag("begun"), flag("complete"));
    session.stage = usize::try_from(number(state, "stage")? as i64).ok();
    session.idle = number(state, "idle")? as u64;
    session.credit = number(state, "credit")?;
    session.frozen = number(state, "frozen")? as u64;
    session.model.own = Some(number(state, "own")? as usize).filter(|lights| *lights > 0);
    session.records = columns(state, "records")?
        .chunks_exact(6)
        .map(|r| Record {
            iteration: r[0] as u64,
            engine: (r[1] >= 0.0).then_some(r[1] as usize),
            errors: [r[2], r[3], r[4]],
            frames: r[5] as usize,
        })
        .collect();
    session.engine = None;
    if state.get("engine").is_some() {
        let held = dict(state, "engine")?;
        let memory = match held.get("length") {
            None => None,
            Some(_) => {
                let layers = MEMORY.map(|key| load_layers(held, key));
                let [a, b, c, d] = layers;
                Some(([a?, b?, c?, d?], number(held, "length")?))
            }
        };
        let before = match held.get("before") {
            None => None,
            Some(_) => Some(back(array(held, "before")?)?),
        };
        let kept = Kept {
            iteration: number(held, "iteration")? as u64,
            exit: back(array(held, "exit")?)?,
            floats: columns(held, "floats")?,
            sigma: number(held, "sigma")?,
            scale: held.get("scale").and_then(Value::number),
            before,
            memory,
        };
        let mut engine = session.bare_engine();
        engine.take_back(kept);
        session.engine = Some(engine);
    }
    Ok(())
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
