//! From typed roles to erased ones.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::port::Ports;
use crate::span::{Gap, Ranges, Span};
use crate::stage::erased::{
    AnyFit, AnyFold, AnyMap, AnyPart, AnyReduce, AnySource, AnyStage, AnyTask, AnyWriter, guard,
};
use crate::stage::{
    Cost, Cx, Emit, Fault, Faults, Fit, Fitness, Fold, Lag, Map, Opened, Output, Position, Pull, Reduce,
    Shapes, Slice, Slots, Source, Stage, Task, Writer,
};
use crate::value::Dict;

/// A typed stage seen as an erased one.
pub(crate) struct Typed<S>(pub(crate) S);

fn input<P: Ports>(mut dict: Dict) -> Result<P> {
    P::from_dict(&mut dict)
}

impl<S: Stage> AnyStage for Typed<S> {
    fn check(&self) -> Vec<Fault> {
        let mut faults = Faults::default();
        if let Err(error) = guard("check", || {
            self.0.check(&mut faults);
            Ok(())
        }) {
            faults.add("", error.to_string());
        }
        faults.0
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        guard("shapes", || self.0.shapes(input))
    }
    fn cost(&self, input: &Shapes) -> Cost {
        guard("cost", || Ok(self.0.cost(input))).unwrap_or_default()
    }
}

impl<S: Source> AnySource for Typed<S> {
    fn open(&mut self, cx: &Cx, dict: Dict, from: Position) -> Result<Opened> {
        guard("open", || self.0.open(cx, input(dict)?, from))
    }
    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Dict>) -> Result<Pull> {
        slots.recast(|typed| guard("pull", || self.0.pull(cx, typed)))
    }
}

impl<S: Map> AnyMap for Typed<S> {
    fn apply(&self, cx: &Cx, span: &Span, dict: Dict) -> Result<Dict> {
        guard("apply", || Ok(self.0.apply(cx, span, input(dict)?)?.into_dict()))
    }
}

/// Lets a typed stage emit into an erased collector.
fn collect<O: Ports>(emit: &mut Emit<Dict>, work: impl FnOnce(&mut Emit<O>) -> Result<()>) -> Result<()> {
    let mut typed = Emit { items: vec![], gaps: vec![] };
    work(&mut typed)?;
    emit.items.extend(typed.items.into_iter().map(|(span, out)| (span, out.into_dict())));
    emit.gaps.append(&mut typed.gaps);
    Ok(())
}

impl<S: Fold> AnyFold for Typed<S> {
    fn lag(&self) -> Lag {
        self.0.lag()
    }
    fn push(&mut self, cx: &Cx, span: &Span, dict: Dict, emit: &mut Emit<Dict>) -> Result<()> {
        collect(emit, |emit| guard("push", || self.0.push(cx, span, input(dict)?, emit)))
    }
    fn gap(&mut self, cx: &Cx, gap: &Gap, emit: &mut Emit<Dict>) -> Result<()> {
        collect(emit, |emit| guard("gap", || self.0.gap(cx, gap, emit)))
    }
    fn finish(&mut self, cx: &Cx, emit: &mut Emit<Dict>) -> Result<()> {
        collect(emit, |emit| guard("finish", || self.0.finish(cx, emit)))
    }
    fn save(&self) -> Result<Dict> {
        guard("save", || self.0.save())
    }
    fn load(&mut self, state: Dict) -> Result<()> {
        guard("load", || self.0.load(state))
    }
}

fn part<S: Reduce>(part: &mut AnyPart) -> Result<&mut S::Part> {
    part.downcast_mut().ok_or_else(|| Error::internal("a part of another reduction"))
}

impl<S: Reduce> AnyReduce for Typed<S> {
    fn part(&self, cx: &Cx) -> Result<AnyPart> {
        guard("part", || Ok(Box::new(self.0.part(cx)?) as AnyPart))
    }
    fn add(&self, cx: &Cx, any: &mut AnyPart, span: &Span, dict: Dict) -> Result<()> {
        guard("add", || self.0.add(cx, part::<S>(any)?, span, input(dict)?))
    }
    fn merge(&self, cx: &Cx, any: &mut AnyPart, later: AnyPart) -> Result<()> {
        let later = later.downcast().map_err(|_| Error::internal("a part of another reduction"))?;
        guard("merge", || self.0.merge(cx, part::<S>(any)?, *later))
    }
    fn peek(&self, cx: &Cx, any: &AnyPart) -> Result<Option<Dict>> {
        let part = any.downcast_ref().ok_or_else(|| Error::internal("a part of another reduction"))?;
        guard("peek", || Ok(self.0.peek(cx, part)?.map(S::Out::into_dict)))
    }
    fn finish(&self, cx: &Cx, any: AnyPart) -> Result<Dict> {
        let part = any.downcast().map_err(|_| Error::internal("a part of another reduction"))?;
        guard("finish", || Ok(self.0.finish(cx, *part)?.into_dict()))
    }
    fn save(&self, any: &AnyPart) -> Result<Dict> {
        let part = any.downcast_ref().ok_or_else(|| Error::internal("a part of another reduction"))?;
        guard("save", || self.0.save(part))
    }
    fn load(&self, cx: &Cx, state: Dict) -> Result<AnyPart> {
        guard("load", || Ok(Box::new(self.0.load(cx, state)?) as AnyPart))
    }
}

impl<S: Fit> AnyFit for Typed<S> {
    fn absorb(&mut self, cx: &Cx, span: &Span, dict: Dict) -> Result<()> {
        guard("absorb", || self.0.absorb(cx, span, input(dict)?))
    }
    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()> {
        guard("gap", || self.0.gap(cx, gap))
    }
    fn complete(&mut self, cx: &Cx) -> Result<()> {
        guard("complete", || self.0.complete(cx))
    }
    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness> {
        guard("refine", || self.0.refine(cx, slice))
    }
    fn snapshot(&self, cx: &Cx) -> Result<Option<Dict>> {
        guard("snapshot", || Ok(self.0.snapshot(cx)?.map(S::Out::into_dict)))
    }
    fn save(&self) -> Result<Dict> {
        guard("save", || self.0.save())
    }
    fn load(&mut self, state: Dict) -> Result<()> {
        guard("load", || self.0.load(state))
    }
}

impl<S: Writer> AnyWriter for Typed<S> {
    fn open(&mut self, cx: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        guard("open", || self.0.open(cx, out, committed))
    }
    fn write(&mut self, cx: &Cx, span: &Span, dict: Dict) -> Result<()> {
        guard("write", || self.0.write(cx, span, input(dict)?))
    }
    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()> {
        guard("gap", || self.0.gap(cx, gap))
    }
    fn corrupt(&mut self, cx: &Cx, gap: &Gap, frame: Dict) -> Result<bool> {
        guard("corrupt", || self.0.corrupt(cx, gap, input(frame)?))
    }
    fn commit(&mut self, cx: &Cx) -> Result<Dict> {
        guard("commit", || self.0.commit(cx))
    }
    fn settled(&mut self) -> Result<Option<(Dict, u64)>> {
        guard("settled", || self.0.settled())
    }
    fn finish(&mut self, cx: &Cx, covers: &Ranges) -> Result<()> {
        guard("finish", || self.0.finish(cx, covers))
    }
}

impl<S: Task> AnyTask for Typed<S> {
    fn run(&mut self, cx: &Cx, dict: Dict) -> Result<Dict> {
        guard("run", || Ok(self.0.run(cx, input(dict)?)?.into_dict()))
    }
}
