//! From chunks to a stage's input and back: gathering ports, adding outputs, dropping what nobody reads.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Context, Error, Result};
use crate::port::{Port, check_output};
use crate::span::Span;
use crate::stage::Shapes;
use crate::value::{Dict, Dtype, Key, Value};

/// A slow value: the newest snapshot of a stream beside the frames.
#[derive(Default)]
pub struct Latch {
    state: Mutex<(u64, Option<Value>)>,
}

impl Latch {
    /// Puts a new value in.
    pub fn set(&self, value: Value) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        state.1 = Some(value);
    }

    /// The value of the moment and its version, counted from 1.
    pub fn get(&self) -> (u64, Option<Value>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// First frame, version and value of a latched value, whenever it changed.
pub type Changes = Arc<Mutex<Vec<(u64, u64, Value)>>>;

/// One latched input: its port, its latch, and when each version was first used.
pub struct Latched {
    /// The port.
    pub port: Key,
    /// The value.
    pub latch: Arc<Latch>,
    /// When each version was first used.
    pub changes: Changes,
}

/// How a stage's input dictionary is made.
#[derive(Default)]
pub struct Gather {
    /// Port and full key of what comes with each chunk.
    pub stream: Vec<(Key, Key)>,
    /// Ports of the stream that may stay empty: an optional output has no entry where its stage gave none.
    pub optional: Vec<Key>,
    /// What is the same for the whole run.
    pub fixed: Dict,
    /// What changes slowly.
    pub latched: Vec<Latched>,
}

impl Gather {
    /// The input of a chunk.
    pub fn input(&self, span: &Span, data: &Dict) -> Result<Dict> {
        let mut input = Dict::with_capacity(self.stream.len() + self.fixed.len() + self.latched.len());
        for (port, key) in &self.stream {
            if let Some(prefix) = key.as_str().strip_suffix('*') {
                for (key, value) in data.iter().filter(|(k, _)| k.as_str().starts_with(prefix)) {
                    input.set(Key::from(key.as_str()[prefix.len()..].to_owned()), value.clone());
                }
                continue;
            }
            match data.get(key.as_str()) {
                Some(value) => input.push(port.clone(), value.clone()),
                None if self.optional.contains(port) => (),
                // A stage did not give what it may leave out, and this port needs.
                None => drop(data.need(key.as_str()).at(|| format!("port `{port}`"))?),
            }
        }
        for (port, value) in self.fixed.iter() {
            input.push(port.clone(), value.clone());
        }
        for latched in &self.latched {
            let (version, value) = latched.latch.get();
            let Some(value) = value else { continue };
            let mut changes = latched.changes.lock().unwrap_or_else(PoisonError::into_inner);
            if changes.last().is_none_or(|(_, v, _)| *v != version) {
                // A small value is told as it was; of a large one only its kind.
                let told =
                    if value.bytes() <= 256 { value.clone() } else { value.describe().as_str().into() };
                changes.push((span.start, version, told));
            }
            input.push(latched.port.clone(), value);
        }
        Ok(input)
    }
}

/// How a stage's outputs get their full keys.
pub struct Scatter {
    stage: Arc<str>,
    ports: Vec<Port>,
    keys: Vec<(Key, Key)>,
}

impl Scatter {
    /// The outputs of a stage.
    pub fn new(stage: &str, ports: &[Port]) -> Scatter {
        let keys = ports.iter().map(|p| (Key::from(p.name.clone()), full_key(stage, &p.name))).collect();
        Scatter { stage: stage.into(), ports: ports.to_vec(), keys }
    }

    /// The full key of a port.
    pub fn key(&self, port: &Key) -> Key {
        let known = self.keys.iter().find(|(p, _)| p == port).map(|(_, k)| k.clone());
        known.unwrap_or_else(|| full_key(&self.stage, port.as_str()))
    }

    /// Whether outputs are what the ports promise; they lead with the records of `span`, if there is one.
    pub fn check(&self, span: Option<&Span>, output: &Dict) -> Result<()> {
        check_output(&self.ports, span, output).at(|| match span {
            Some(span) => format!("stage `{}`, {span}", self.stage),
            None => format!("stage `{}`", self.stage),
        })
    }

    /// Adds outputs that lead with the records of `span`.
    pub fn add(&self, span: &Span, output: Dict, data: &mut Dict) -> Result<()> {
        self.check(Some(span), &output)?;
        for (port, value) in output {
            data.set(self.key(&port), value);
        }
        Ok(())
    }

    /// Whether the bytes of a damaged frame can stand among good ones.
    ///
    /// They must be what the ports promise and what the source said a frame looks like: which frames came before must
    /// not decide, or a resumed run would decide otherwise.
    pub fn fits(&self, span: &Span, frame: &Dict, shapes: &Shapes) -> Result<()> {
        check_output(&self.ports, Some(span), frame)?;
        self.keeps_word(frame, shapes, true)
    }

    /// Whether frames are what their source said when it was opened; `strict` wants it to have said so.
    pub fn keeps_word(&self, frames: &Dict, shapes: &Shapes, strict: bool) -> Result<()> {
        for (port, value) in frames.iter() {
            let Value::Array(array) = value else { continue };
            let dims = array.shape().get(1..).unwrap_or_default();
            let told = shapes.get(port.as_str());
            let wanted = told.dims.or_else(|| (!strict || dims.is_empty()).then(|| dims.to_vec()));
            if wanted.as_deref() != Some(dims) {
                let wanted =
                    wanted.map_or("one that the source tells when it is opened".into(), |w| format!("{w:?}"));
                return Err(Error::data(format!("found a frame of shape {dims:?}, wanted {wanted}"))
                    .at(format!("port `{port}`")));
            }
            if told.dtype.is_some_and(|wanted| wanted != array.dtype()) {
                let wanted = told.dtype.map_or("", Dtype::name);
                return Err(Error::data(format!("found {}, wanted {wanted}", array.dtype().name()))
                    .at(format!("port `{port}`")));
            }
        }
        Ok(())
    }

    /// The outputs of one record, given their leading axis.
    pub fn lead(&self, record: u64, output: Dict) -> Result<Dict> {
        self.check(None, &output)?;
        let mut data = Dict::with_capacity(output.len());
        for (port, value) in output {
            data.push(self.key(&port), value.lead(record));
        }
        Ok(data)
    }
}

/// Whether a key is one of those wanted; `stage.*` wants every output of a stage.
pub fn wants(wanted: &[Key], key: &str) -> bool {
    wanted.iter().any(|w| match w.as_str().strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => w.as_str() == key,
    })
}

/// `stage.port`.
pub fn full_key(stage: &str, port: &str) -> Key {
    Key::from(format!("{stage}.{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Blame;

    #[test]
    fn what_a_stage_left_out_is_missed_only_by_ports_that_need_it() {
        let wire = |port: &'static str, key: &'static str| (Key::from(port), Key::from(key));
        let stream = vec![wire("image", "cut.image"), wire("pixel", "cut.pixel")];
        let data = Dict::new().with("cut.image", 1).with("cut.mask", 2);
        let gather = Gather { stream, optional: vec!["pixel".into()], ..Gather::default() };
        let input = gather.input(&Span::frames(0, 1), &data).unwrap();
        assert_eq!(input, Dict::new().with("image", 1));
        let gather = Gather { optional: vec![], ..gather };
        let error = gather.input(&Span::frames(0, 1), &data).unwrap_err();
        assert_eq!(error.blame(), Blame::Data);
        assert!(error.to_string().contains("port `pixel`: no entry `cut.pixel`"), "{error}");
    }
}
