//! The library's side: its stages behind one exported structure.

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::load::abi::{self, Request, Status, Text, op};
use crate::load::adopt::{self, Adopt, Keys, lend_gap, lend_span};
use crate::load::collect::{Put, answer};
use crate::load::far::{FarOutput, pool, with_cx};
use crate::load::{far, log, words};
use crate::port::Port;
use crate::registry::{Declaration, Entry, Kind, Role};
use crate::span::{FRAME, Gap, Span};
use crate::stage::{AnyPart, Arrival, Built, Cx, Emit, Position, Pull, Slice, Slots};
use crate::value::{Dict, Value};

/// What [`export_plugin!`](crate::export_plugin) exports.
pub const PLUGIN: abi::Plugin = abi::Plugin {
    magic: abi::MAGIC,
    version: abi::VERSION,
    size: size_of::<abi::Plugin>() as u32,
    start: Some(start),
    declare: Some(declare),
    build: Some(build),
    call: Some(call),
    discard: Some(discard),
    example: Some(example),
};

/// A declaration as it crosses the interface.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Card {
    pub name: String,
    pub kind: Kind,
    pub role: Role,
    pub doc: String,
    #[serde(default)]
    pub version: String,
    pub schema: serde_json::Value,
    #[serde(default)]
    pub inputs: Vec<Port>,
    #[serde(default)]
    pub outputs: Vec<Port>,
    #[serde(default)]
    pub early: bool,
}

unsafe extern "C" fn start(services: *const abi::Services) {
    // SAFETY: the interface demands that services stay for good.
    if let Some(services) = unsafe { services.as_ref() } {
        log::forward(services);
        far::share(services);
    }
}

fn declarations() -> &'static [Declaration] {
    static ALL: OnceLock<Vec<Declaration>> = OnceLock::new();
    ALL.get_or_init(|| inventory::iter::<Entry>.into_iter().map(|entry| (entry.declare)()).collect())
}

fn declared(name: &str) -> Result<&'static Declaration> {
    let found = declarations().iter().find(|d| d.name == name);
    found.ok_or_else(|| Error::plugin(format!("the library declares no stage `{name}`")))
}

unsafe extern "C" fn declare() -> Text {
    static TEXT: OnceLock<String> = OnceLock::new();
    let card = |d: &Declaration| Card {
        name: d.name.clone(),
        kind: d.kind,
        role: d.role,
        doc: d.doc.clone(),
        version: d.version.clone(),
        schema: d.schema.clone(),
        inputs: d.inputs.clone(),
        outputs: d.outputs.clone(),
        early: d.early,
    };
    let make = || {
        let cards: Vec<Card> = declarations().iter().map(card).collect();
        serde_json::to_string(&cards).map_err(|e| Error::plugin(e.to_string()))
    };
    // An empty text is refused by the host, which is all a panic in a schema can come to here.
    let text = TEXT.get_or_init(|| crate::stage::guard("declare", make).unwrap_or_default());
    Text::of(text)
}

unsafe extern "C" fn example(name: Text, out: *const abi::Out) -> Status {
    // SAFETY: as the interface demands: `out` is the caller's receiver.
    answer(unsafe { &*out }, |put| {
        // SAFETY: as the interface demands: the host lends the name.
        let example = (declared(unsafe { adopt::text(name) }?)?.example)();
        put.dict(&words::example_dict(example))?;
        Ok(abi::OK)
    })
}

/// A stage of this library; the host holds its address.
struct Stage {
    built: Built,
    keys: Keys,
}

unsafe extern "C" fn build(name: Text, set: Text, out: *const abi::Out, stage: *mut *mut c_void) -> Status {
    // SAFETY: as the interface demands: `out` is the caller's receiver.
    answer(unsafe { &*out }, |_| {
        // SAFETY: as the interface demands: the host lends both texts.
        let (name, set) = unsafe { (adopt::text(name)?, adopt::text(set)?) };
        let set = serde_json::from_str(set)
            .map_err(|e| Error::plugin(format!("the parameters that crossed are not JSON: {e}")))?;
        let declaration = declared(name)?;
        let built = (declaration.build)(set)?;
        let made = Box::new(Stage { built, keys: Keys::of(&declaration.inputs) });
        // SAFETY: as the interface demands: the host gives room for one address.
        unsafe { stage.write(Box::into_raw(made).cast()) };
        Ok(abi::OK)
    })
}

unsafe extern "C" fn discard(stage: *mut c_void) {
    let end = || {
        // SAFETY: the address came from `build` and is given back once.
        drop(unsafe { Box::from_raw(stage.cast::<Stage>()) });
        Ok(())
    };
    if let Err(error) = crate::stage::guard("drop", end) {
        tracing::error!(%error, "A stage panicked when it was let go.");
    }
}

unsafe extern "C" fn call(
    stage: *mut c_void,
    request: *const Request,
    out: *const abi::Out,
    host: *const abi::Host,
) -> Status {
    // SAFETY: as the interface demands: all are lent for the length of the call.
    let (request, out, host) = unsafe { (&*request, &*out, &*host) };
    answer(out, |put| {
        // SAFETY: as the interface demands: `host` is lent for the length of the call.
        unsafe {
            with_cx(host, |cx| {
                // SAFETY: the address came from `build`; sharing it is sound, see below.
                let shared = &*stage.cast::<Stage>();
                let incoming = Incoming { request, cx, put, keys: &shared.keys };
                match &shared.built {
                    Built::Map(_) | Built::Reduce(_) => incoming.shared(&shared.built),
                    // SAFETY: the host calls these roles from one thread at a time, and this is the only use of
                    // `built` from here on.
                    _ => incoming.alone(&mut (*stage.cast::<Stage>()).built),
                }
            })
        }
    })
}

/// One call from the host.
struct Incoming<'a> {
    request: &'a Request,
    cx: &'a Cx<'a>,
    put: &'a Put<'a>,
    keys: &'a Keys,
}

impl Incoming<'_> {
    fn maybe_input(&self) -> Result<Option<Dict>> {
        let adopt = Adopt { keys: self.keys, pool: pool() };
        // SAFETY: as the interface demands: the input is lent for the length of the call, or null.
        unsafe { self.request.input.as_ref().map(|dict| adopt.dict(dict)).transpose() }
    }

    fn input(&self) -> Result<Dict> {
        Ok(self.maybe_input()?.unwrap_or_default())
    }

    fn span(&self) -> Result<Span> {
        // SAFETY: as the interface demands: the name of the axis is lent for the length of the call.
        unsafe { adopt::span(&self.request.records) }
    }

    fn gap(&self) -> Result<Gap> {
        let reason = adopt::reason(self.request.records.reason)?;
        let reason = reason.ok_or_else(|| Error::plugin("a gap without a reason"))?;
        // SAFETY: as the interface demands: the text is lent for the length of the call.
        let why = unsafe { adopt::text(self.request.records.why) }?.into();
        Ok(Gap { span: self.span()?, reason, why })
    }

    fn done(&self) -> Result<Status> {
        Ok(abi::OK)
    }

    fn give(&self, dict: &Dict) -> Result<Status> {
        self.put.dict(dict)?;
        Ok(abi::OK)
    }

    fn give_some(&self, dict: Option<Dict>) -> Result<Status> {
        dict.map_or(Ok(abi::NONE), |dict| self.give(&dict))
    }

    fn unknown(&self) -> Result<Status> {
        Err(Error::plugin(format!("this role knows no operation {}", self.request.op)))
    }

    /// What all roles share.
    fn any(&self, built: &Built) -> Result<Status> {
        let stage = built.stage();
        match self.request.op {
            op::CHECK => self.give(&Dict::new().with("faults", words::faults_value(&stage.check()))),
            op::SHAPES => self.give(&words::shapes_dict(&stage.shapes(&words::shapes_of(&self.input()?)?)?)),
            op::COST => self.give(&words::cost_dict(&stage.cost(&words::shapes_of(&self.input()?)?))),
            _ => self.unknown(),
        }
    }

    /// The roles that several threads use at once.
    fn shared(&self, built: &Built) -> Result<Status> {
        let cx = self.cx;
        match (built, self.request.op) {
            (Built::Map(map), op::APPLY) => self.give(&map.apply(cx, &self.span()?, self.input()?)?),
            (Built::Reduce(reduce), op::PART) => self.new_part(reduce.part(cx)?),
            (Built::Reduce(reduce), op::LOAD) => self.new_part(reduce.load(cx, self.input()?)?),
            (Built::Reduce(reduce), op::ADD) => {
                reduce.add(cx, self.part()?, &self.span()?, self.input()?)?;
                self.done()
            }
            (Built::Reduce(reduce), op::MERGE) => {
                let later = self.taken(self.request.later)?;
                reduce.merge(cx, self.part()?, later)?;
                self.done()
            }
            (Built::Reduce(reduce), op::PEEK) => self.give_some(reduce.peek(cx, self.part()?)?),
            (Built::Reduce(reduce), op::SAVE) => self.give(&reduce.save(self.part()?)?),
            (Built::Reduce(reduce), op::FINISH) => {
                self.give(&reduce.finish(cx, self.taken(self.request.part)?)?)
            }
            (Built::Reduce(_), op::DISCARD) => {
                drop(self.taken(self.request.part)?);
                self.done()
            }
            _ => self.any(built),
        }
    }

    fn new_part(&self, part: AnyPart) -> Result<Status> {
        let part = Box::into_raw(Box::new(part));
        // SAFETY: `Out` is alive for the call.
        match unsafe { (self.put.0.part)(self.put.0, part.cast()) } {
            abi::OK => self.done(),
            _ => {
                // SAFETY: the host did not take it, so it is still ours.
                drop(unsafe { Box::from_raw(part) });
                Err(Error::plugin("the engine could not take a part"))
            }
        }
    }

    #[allow(clippy::mut_from_ref)]
    fn part(&self) -> Result<&mut AnyPart> {
        // SAFETY: the host gives back what `new_part` gave, to one call at a time.
        unsafe { self.request.part.cast::<AnyPart>().as_mut() }
            .ok_or_else(|| Error::plugin("no part was given"))
    }

    fn taken(&self, part: *mut c_void) -> Result<AnyPart> {
        if part.is_null() {
            return Err(Error::plugin("no part was given"));
        }
        // SAFETY: the host gives back what `new_part` gave and forgets it.
        Ok(*unsafe { Box::from_raw(part.cast::<AnyPart>()) })
    }

    /// The roles that one thread uses at a time.
    fn alone(&self, built: &mut Built) -> Result<Status> {
        let cx = self.cx;
        match (&mut *built, self.request.op) {
            (Built::Source(source), op::OPEN) => {
                let opened = source.open(cx, self.input()?, Position { next: self.request.next })?;
                self.give(&words::opened_dict(opened))
            }
            (Built::Source(source), op::PULL) => {
                let mut slots = Slots::new(self.request.room, self.request.next);
                let pull = source.pull(cx, &mut slots);
                self.arrivals(slots)?;
                match pull? {
                    Pull::Ready => self.done(),
                    Pull::End => Ok(abi::NONE),
                    Pull::Wait(pause) => {
                        let pause = i64::try_from(pause.as_nanos()).unwrap_or(i64::MAX);
                        self.put.value("wait", &Value::Int(pause))?;
                        Ok(abi::WAIT)
                    }
                }
            }
            (Built::Fold(fold), op::LAG) => self.give(&words::lag_dict(fold.lag())),
            (Built::Fold(fold), op::PUSH) => {
                self.emit(|emit| fold.push(cx, &self.span()?, self.input()?, emit))
            }
            (Built::Fold(fold), op::GAP) => self.emit(|emit| fold.gap(cx, &self.gap()?, emit)),
            (Built::Fold(fold), op::FINISH) => self.emit(|emit| fold.finish(cx, emit)),
            (Built::Fold(fold), op::SAVE) => self.give(&fold.save()?),
            (Built::Fold(fold), op::LOAD) => fold.load(self.input()?).and_then(|()| self.done()),
            (Built::Fit(fit), op::ABSORB) => {
                fit.absorb(cx, &self.span()?, self.input()?)?;
                self.done()
            }
            (Built::Fit(fit), op::GAP) => fit.gap(cx, &self.gap()?).and_then(|()| self.done()),
            (Built::Fit(fit), op::COMPLETE) => fit.complete(cx).and_then(|()| self.done()),
            (Built::Fit(fit), op::REFINE) => {
                let fitness = fit.refine(cx, &Slice::of(Duration::from_nanos(self.request.nanoseconds)))?;
                self.give(&Dict::new().with("cost", fitness.cost).with("more", fitness.more))
            }
            (Built::Fit(fit), op::SNAPSHOT) => self.give_some(fit.snapshot(cx)?),
            (Built::Fit(fit), op::SAVE) => self.give(&fit.save()?),
            (Built::Fit(fit), op::LOAD) => fit.load(self.input()?).and_then(|()| self.done()),
            (Built::Writer(writer), op::OPEN) => {
                // SAFETY: as the interface demands: the output is lent for the length of the call.
                let lent = unsafe { self.request.output.as_ref() };
                let lent = lent.ok_or_else(|| Error::plugin("a writer was opened without an output"))?;
                let lent = abi::Output { ..*lent };
                // SAFETY: as above.
                let output: Arc<_> = unsafe { FarOutput::keep(lent) };
                writer.open(cx, output, self.maybe_input()?)?;
                self.done()
            }
            (Built::Writer(writer), op::WRITE) => {
                writer.write(cx, &self.span()?, self.input()?)?;
                self.done()
            }
            (Built::Writer(writer), op::GAP) => match self.maybe_input()? {
                Some(frame) => {
                    let kept = writer.corrupt(cx, &self.gap()?, frame)?;
                    self.give(&Dict::new().with("kept", kept))
                }
                None => writer.gap(cx, &self.gap()?).and_then(|()| self.done()),
            },
            (Built::Writer(writer), op::COMMIT) => self.give(&writer.commit(cx)?),
            (Built::Writer(writer), op::FINISH) => {
                writer.finish(cx, &words::covers_of(&self.input()?)?)?;
                self.done()
            }
            (Built::Task(task), op::RUN) => self.give(&task.run(cx, self.input()?)?),
            _ => self.any(built),
        }
    }

    fn emit(&self, work: impl FnOnce(&mut Emit<Dict>) -> Result<()>) -> Result<Status> {
        let mut emit = Emit::default();
        work(&mut emit)?;
        for (span, dict) in &emit.items {
            self.put.dict(dict)?;
            self.put.end(&lend_span(span))?;
        }
        emit.gaps.iter().try_for_each(|gap| self.put.end(&lend_gap(gap)))?;
        self.done()
    }

    fn arrivals(&self, mut slots: Slots<Dict>) -> Result<()> {
        for arrival in slots.take() {
            match arrival {
                Arrival::Frames { first, count, data } => {
                    self.put.dict(&data)?;
                    self.put.end(&lend_span(&Span::frames(first, count)))?;
                }
                Arrival::Lost { number, reason, why, data } => {
                    self.put.dict(&data.unwrap_or_default())?;
                    let span = Span { axis: FRAME, start: number, len: 1 };
                    self.put.end(&lend_gap(&Gap { span, reason, why }))?;
                }
            }
        }
        Ok(())
    }
}
