//! The order of frames behind folds whose values come in turns.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::run::per::damaged;
use crate::span::{Gap, Span};
use crate::stage::Emit;
use crate::value::{Array, Dict, Value};

/// Holds what the instances of a fold emit until every frame before it has been emitted.
#[derive(Default)]
pub struct Order {
    /// Frames taken that have not been emitted.
    pending: BTreeSet<u64>,
    /// What was emitted before its turn.
    ready: BTreeMap<u64, (Span, Dict)>,
}

impl Order {
    /// Frames that an instance took.
    pub fn took(&mut self, span: &Span) {
        self.pending.extend(span.range());
    }

    /// Frames that an instance gave up.
    pub fn lost(&mut self, gaps: &[Gap]) {
        for n in gaps.iter().flat_map(|g| g.span.range()) {
            self.pending.remove(&n);
        }
    }

    /// What an instance emitted.
    pub fn put(&mut self, span: Span, output: Dict) -> Result<()> {
        match self.ready.insert(span.start, (span, output)) {
            None => Ok(()),
            Some((span, _)) => Err(Error::plugin(format!("{span} was emitted twice"))),
        }
    }

    /// Lets go what is in turn.
    pub fn release(&mut self, emit: &mut Emit<Dict>) {
        while let Some(entry) = self.ready.first_entry()
            && self.pending.first() == Some(entry.key())
        {
            let (span, output) = entry.remove();
            for n in span.range() {
                self.pending.remove(&n);
            }
            emit.put(span, output);
        }
    }

    /// Lets everything go.
    pub fn flush(&mut self, emit: &mut Emit<Dict>) {
        for (_, (span, output)) in std::mem::take(&mut self.ready) {
            emit.put(span, output);
        }
        self.pending.clear();
    }

    /// What is held, for a checkpoint.
    pub fn save(&self, state: Dict) -> Dict {
        let pending: Vec<u64> = self.pending.iter().copied().collect();
        let ready = self.ready.values().map(|(span, output)| {
            let entry = Dict::new().with("start", span.start as i64).with("len", span.len as i64);
            Value::Dict(entry.with("output", output.clone()))
        });
        let ready: Vec<Value> = ready.collect();
        state.with("pending", Array::from_slice(&pending)).with("ready", ready)
    }

    /// What was held.
    pub fn load(state: &Dict) -> Result<Order> {
        let (Value::Array(pending), Value::List(list)) = (state.need("pending")?, state.need("ready")?)
        else {
            return Err(damaged());
        };
        let pending = pending.as_slice::<u64>()?.iter().copied().collect();
        let mut ready = BTreeMap::new();
        for entry in list.iter() {
            let Value::Dict(entry) = entry else { return Err(damaged()) };
            match (entry.need("start")?, entry.need("len")?, entry.need("output")?) {
                (Value::Int(start), Value::Int(len), Value::Dict(output)) => {
                    let span = Span::frames(*start as u64, *len as u64);
                    ready.insert(span.start, (span, output.clone()));
                }
                _ => return Err(damaged()),
            }
        }
        Ok(Order { pending, ready })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_leave_in_the_order_of_frames() {
        let (mut order, mut emit) = (Order::default(), Emit::default());
        order.took(&Span::frames(0, 5));
        for n in [1, 3] {
            order.put(Span::frames(n, 1), Dict::new()).unwrap();
        }
        order.release(&mut emit);
        assert!(emit.take().0.is_empty());
        let mut order = Order::load(&order.save(Dict::new())).unwrap();
        order.put(Span::frames(0, 1), Dict::new()).unwrap();
        order.release(&mut emit);
        let starts = |emit: &mut Emit<Dict>| emit.take().0.iter().map(|(s, _)| s.start).collect::<Vec<_>>();
        assert_eq!(starts(&mut emit), [0, 1]);
        order.lost(&[Gap { span: Span::frames(2, 1), reason: crate::span::Reason::Skipped, why: "".into() }]);
        order.release(&mut emit);
        assert_eq!(starts(&mut emit), [3]);
        assert!(order.put(Span::frames(4, 1), Dict::new()).is_ok());
        assert!(order.put(Span::frames(4, 1), Dict::new()).is_err());
    }
}
