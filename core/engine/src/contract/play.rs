//! A source that plays the frames of an example: fast or paced, in order or shuffled, and stops a run when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::port::{Port, PortKind};
use crate::registry::{Declaration, Kind, Role};
use crate::span::Span;
use crate::stage::{
    AnySource, AnyStage, Built, Cost, Cx, Example, Fault, Opened, Position, Pull, Shape, Shapes, Slots,
};
use crate::value::{Dict, Value};

/// How an example is played.
#[derive(Clone, Default)]
pub struct Way {
    /// Frames a second; 0 is as fast as possible and not live.
    pub rate: f64,
    /// Frames arrive shuffled in windows of this many.
    pub shuffle: u64,
    /// Sets this flag once frame `stop_at` has been given.
    pub stop: Option<(Arc<AtomicBool>, u64)>,
}

/// The declaration of a source that plays frames.
pub fn declaration(frames: Dict, span: Span, way: Way) -> Declaration {
    let outputs = frames
        .iter()
        .map(|(key, value)| Port {
            name: key.to_string().into(),
            doc: "Played.".into(),
            kind: match value {
                Value::Table(_) => PortKind::Table { columns: vec![] },
                _ => PortKind::Any,
            },
            unit: None,
            optional: false,
            fixed: false,
            open: false,
        })
        .collect();
    Declaration {
        name: "contract.play".into(),
        kind: Kind::Source,
        role: Role::Source,
        origin: "isard-core".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        doc: "Plays the frames of an example.".into(),
        schema: serde_json::json!({ "type": "object" }),
        inputs: vec![],
        outputs,
        early: false,
        example: Arc::new(Example::default),
        build: Arc::new(move |_| {
            let (frames, span, way) = (frames.clone(), span.clone(), way.clone());
            Ok(Built::Source(Box::new(Play {
                frames,
                span,
                way,
                order: vec![],
                at: 0,
                begun: Instant::now(),
            })))
        }),
        apart: None,
    }
}

struct Play {
    frames: Dict,
    span: Span,
    way: Way,
    order: Vec<u64>,
    at: usize,
    begun: Instant,
}

impl AnyStage for Play {
    fn check(&self) -> Vec<Fault> {
        vec![]
    }
    fn shapes(&self, _: &Shapes) -> Result<Shapes> {
        Ok(Shapes::default())
    }
    fn cost(&self, _: &Shapes) -> Cost {
        Cost::default()
    }
}

impl AnySource for Play {
    fn open(&mut self, _: &Cx, _: Dict, from: Position) -> Result<Opened> {
        let mut order: Vec<u64> = self.span.range().collect();
        for window in order.chunks_mut(self.way.shuffle.max(1) as usize) {
            window.reverse();
        }
        order.retain(|n| *n >= from.next);
        (self.order, self.at, self.begun) = (order, 0, Instant::now());
        let mut shapes = Shapes::default();
        for (key, value) in self.frames.iter() {
            if let Value::Array(a) = value {
                shapes = shapes.with(key.as_str(), Shape::array(a.dtype(), &a.shape()[1..]));
            }
        }
        Ok(Opened { frames: Some(self.span.len), shapes, live: self.way.rate > 0.0, ..Opened::default() })
    }

    fn pull(&mut self, _: &Cx, slots: &mut Slots<Dict>) -> Result<Pull> {
        for _ in 0..slots.room() {
            let Some(&n) = self.order.get(self.at) else { return Ok(Pull::End) };
            if self.way.rate > 0.0 {
                let due = Duration::from_secs_f64(self.at as f64 / self.way.rate);
                if let Some(left) = due.checked_sub(self.begun.elapsed()).filter(|d| !d.is_zero()) {
                    return Ok(Pull::Wait(left));
                }
            }
            let mut frame = Dict::new();
            for (key, value) in self.frames.iter() {
                frame.set(key.clone(), value.cut(0, n, n + 1)?);
            }
            slots.put(n, frame)?;
            self.at += 1;
            if let Some((stop, at)) = &self.way.stop
                && n == *at
            {
                stop.store(true, Ordering::Relaxed);
                return Ok(Pull::Ready);
            }
        }
        Ok(Pull::Ready)
    }
}
