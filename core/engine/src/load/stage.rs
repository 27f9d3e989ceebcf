//! A stage of a loaded library, as the host runs it.

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::error::{Blame, Error, Result};
use crate::load::abi::{self, Request, op};
use crate::load::adopt::{Adopt, Keys, lend_gap, lend_span};
use crate::load::collect::{Collect, Records, Reply};
use crate::load::host::{lend_host, lend_output};
use crate::load::isolate::Seat;
use crate::load::lend::Loan;
use crate::load::open::Library;
use crate::load::words;
use crate::registry::Role;
use crate::span::{Gap, Ranges, Reason, Span};
use crate::stage::{
    AnyFit, AnyFold, AnyMap, AnyPart, AnyReduce, AnySource, AnyStage, AnyTask, AnyWriter, Built, Cost, Cx,
    Emit, Fault, Fitness, Lag, Opened, Output, Position, Pull, RunCx, Shapes, Slice, Slots,
};
use crate::value::{Dict, Pool, Value};

/// One stage of a loaded library.
struct Loaded(Arc<Instance>);

/// The stage on the plugin's side; ends when the last part of it does.
pub(crate) struct Instance {
    side: Side,
    name: Arc<str>,
    keys: Arc<Keys>,
    lag: Lag,
}

/// Where the stage is.
enum Side {
    /// In a library of this process.
    Near(Near),
    /// In a host process.
    Apart(Seat),
}

/// A stage of a library of this process.
struct Near {
    library: &'static Library,
    handle: *mut c_void,
}

// SAFETY: the interface demands that a stage may be used from any thread, one call at a time; and from several at
// once where its role is a map or a reduction, which are the only ones the host shares.
unsafe impl Send for Near {}
// SAFETY: as above.
unsafe impl Sync for Near {}

impl Drop for Near {
    fn drop(&mut self) {
        // SAFETY: the handle came from `build` of this library and nobody else has it.
        unsafe { (self.library.discard)(self.handle) }
    }
}

/// What calls get that no run belongs to: checks, shapes, states.
fn no_run() -> &'static RunCx {
    static RUN: OnceLock<RunCx> = OnceLock::new();
    RUN.get_or_init(|| RunCx::bare(Pool::unpooled(), 0, &Arc::default()))
}

/// Builds a stage of a library.
pub(crate) fn build(
    library: &'static Library,
    name: &Arc<str>,
    role: Role,
    keys: &Arc<Keys>,
    set: &serde_json::Value,
) -> Result<Built> {
    near(library, name, keys, &set.to_string())?.built(role)
}

/// A stage of a library of this process.
pub(crate) fn near(
    library: &'static Library,
    name: &Arc<str>,
    keys: &Arc<Keys>,
    set: &str,
) -> Result<Instance> {
    let mut handle = std::ptr::null_mut();
    let (lent_name, lent_set) = (abi::Text::of(name), abi::Text::of(set));
    let adopt = Adopt { keys, pool: &no_run().pool };
    // SAFETY: texts and receiver are lent until the call returns.
    let call = |out: &abi::Out| unsafe { (library.build)(lent_name, lent_set, out, &mut handle) };
    // A fault of the parameters is the recipe's and says so itself: no place is added.
    Collect::new(adopt).call(call).dict()?;
    if handle.is_null() {
        return Err(library.broke(name, "`build` gave no stage"));
    }
    let side = Side::Near(Near { library, handle });
    Ok(Instance { side, name: name.clone(), keys: keys.clone(), lag: Lag::Kept { lag: 0 } })
}

/// A stage in a host process.
pub(crate) fn apart(seat: Seat, name: &Arc<str>, keys: &Arc<Keys>) -> Instance {
    Instance { side: Side::Apart(seat), name: name.clone(), keys: keys.clone(), lag: Lag::Kept { lag: 0 } }
}

impl Instance {
    /// The stage as the engine runs it.
    pub fn built(mut self, role: Role) -> Result<Built> {
        if role == Role::Fold {
            self.lag = words::lag_of(&self.plain(op::LAG, None)?.dict()?).map_err(|e| self.place(e))?;
        }
        let stage = Loaded(Arc::new(self));
        Ok(match role {
            Role::Source => Built::Source(Box::new(stage)),
            Role::Map => Built::Map(Arc::new(stage)),
            Role::Fold => Built::Fold(Box::new(stage)),
            Role::Reduce => Built::Reduce(Arc::new(stage)),
            Role::Fit => Built::Fit(Box::new(stage)),
            Role::Writer => Built::Writer(Box::new(stage)),
            Role::Task => Built::Task(Box::new(stage)),
        })
    }

    /// Says which plugin an error came from.
    fn place(&self, error: Error) -> Error {
        match (error.blame(), &self.side) {
            (Blame::Plugin, Side::Near(near)) => error.at(near.library.place(&self.name)),
            (Blame::Plugin, Side::Apart(seat)) => error.at(seat.place()),
            _ => error,
        }
    }

    /// One operation.
    pub fn call(&self, cx: &Cx, request: &mut Request, input: Option<&Dict>) -> Reply {
        let near = match &self.side {
            Side::Near(near) => near,
            Side::Apart(seat) => {
                let mut reply = seat.call(cx, request, input);
                reply.outcome = reply.outcome.map_err(|error| self.place(error));
                return reply;
            }
        };
        let mut loan = Loan::default();
        let input = input.map(|dict| loan.dict(dict));
        request.input = input.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let host = lend_host(cx);
        let adopt = Adopt { keys: &self.keys, pool: cx.pool() };
        // SAFETY: the handle is alive; request, receiver and host are lent until the call returns.
        let call = |out: &abi::Out| unsafe { (near.library.call)(near.handle, request, out, &host) };
        let mut reply = Collect::new(adopt).call(call);
        reply.outcome = reply.outcome.map_err(|error| self.place(error));
        reply
    }

    /// A call that no run belongs to.
    fn plain(&self, op: u32, input: Option<&Dict>) -> Result<Reply> {
        Ok(self.call(&Cx::new(no_run(), &self.name), &mut Request::new(op), input))
    }

    fn on_span(&self, cx: &Cx, op: u32, span: &Span, input: &Dict) -> Reply {
        let mut request = Request { records: lend_span(span), ..Request::new(op) };
        self.call(cx, &mut request, Some(input))
    }

    fn on_gap(&self, cx: &Cx, gap: &Gap) -> Reply {
        self.call(cx, &mut Request { records: lend_gap(gap), ..Request::new(op::GAP) }, None)
    }

    fn simple(&self, cx: &Cx, op: u32, input: Option<&Dict>) -> Reply {
        self.call(cx, &mut Request::new(op), input)
    }

    fn with_part(&self, cx: &Cx, op: u32, part: *mut c_void) -> Reply {
        self.call(cx, &mut Request { part, ..Request::new(op) }, None)
    }
}

impl AnyStage for Loaded {
    fn check(&self) -> Vec<Fault> {
        match self.0.plain(op::CHECK, None).and_then(Reply::dict) {
            Ok(dict) => words::faults_of(dict.get("faults")),
            Err(error) => vec![Fault { parameter: String::new(), message: error.to_string(), help: None }],
        }
    }
    fn shapes(&self, input: &Shapes) -> Result<Shapes> {
        let dict = self.0.plain(op::SHAPES, Some(&words::shapes_dict(input)))?.dict()?;
        words::shapes_of(&dict).map_err(|e| self.0.place(e))
    }
    fn cost(&self, input: &Shapes) -> Cost {
        let reply = self.0.plain(op::COST, Some(&words::shapes_dict(input))).and_then(Reply::dict);
        reply.and_then(|dict| words::cost_of(&dict)).unwrap_or_default()
    }
}

impl AnySource for Loaded {
    fn open(&mut self, cx: &Cx, input: Dict, from: Position) -> Result<Opened> {
        let mut request = Request { next: from.next, ..Request::new(op::OPEN) };
        let dict = self.0.call(cx, &mut request, Some(&input)).dict()?;
        words::opened_of(dict).map_err(|e| self.0.place(e))
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Dict>) -> Result<Pull> {
        let mut request = Request { next: slots.next(), room: slots.room(), ..Request::new(op::PULL) };
        let reply = self.0.call(cx, &mut request, None);
        for (records, data) in reply.records {
            match records {
                Records::Good(span) => {
                    let found = data.values().find_map(Value::records).unwrap_or(0) as u64;
                    if found != span.len {
                        let message = format!("a source said {span} and put {found} frames");
                        return Err(self.0.place(Error::plugin(message)));
                    }
                    slots.put(span.start, data).map_err(|e| self.0.place(e))?;
                }
                Records::Gap(gap) => lose(slots, &gap, data).map_err(|e| self.0.place(e))?,
            }
        }
        match reply.outcome? {
            abi::NONE => Ok(Pull::End),
            abi::WAIT => match reply.dict.get("wait") {
                Some(Value::Int(n @ 0..)) => Ok(Pull::Wait(Duration::from_nanos(*n as u64))),
                _ => {
                    Err(self.0.place(Error::plugin("a source waits without saying how long, wanted `wait`")))
                }
            },
            _ => Ok(Pull::Ready),
        }
    }
}

fn lose(slots: &mut Slots<Dict>, gap: &Gap, data: Dict) -> Result<()> {
    let mut data = (!data.is_empty()).then_some(data);
    if data.is_some() && gap.span.len != 1 {
        return Err(Error::plugin(format!("damaged bytes belong to one frame, found {}", gap.span)));
    }
    for number in gap.span.range() {
        match gap.reason {
            Reason::Missing => slots.missing(number, gap.why.clone()),
            Reason::Corrupt => slots.corrupt(number, gap.why.clone(), data.take()),
            Reason::Skipped => slots.skipped(number, gap.why.clone()),
            Reason::Dropped => return Err(Error::plugin("only the engine drops frames")),
        }
    }
    Ok(())
}

impl AnyMap for Loaded {
    fn apply(&self, cx: &Cx, span: &Span, input: Dict) -> Result<Dict> {
        self.0.on_span(cx, op::APPLY, span, &input).dict()
    }
}

/// Passes what a fold put for records on.
fn emit_all(reply: Reply, emit: &mut Emit<Dict>) -> Result<()> {
    reply.outcome?;
    for (records, data) in reply.records {
        match records {
            Records::Good(span) => emit.put(span, data),
            Records::Gap(gap) => emit.give_up(gap),
        }
    }
    Ok(())
}

impl AnyFold for Loaded {
    fn lag(&self) -> Lag {
        self.0.lag
    }
    fn push(&mut self, cx: &Cx, span: &Span, input: Dict, emit: &mut Emit<Dict>) -> Result<()> {
        emit_all(self.0.on_span(cx, op::PUSH, span, &input), emit)
    }
    fn gap(&mut self, cx: &Cx, gap: &Gap, emit: &mut Emit<Dict>) -> Result<()> {
        emit_all(self.0.on_gap(cx, gap), emit)
    }
    fn finish(&mut self, cx: &Cx, emit: &mut Emit<Dict>) -> Result<()> {
        emit_all(self.0.simple(cx, op::FINISH, None), emit)
    }
    fn save(&self) -> Result<Dict> {
        self.0.plain(op::SAVE, None)?.dict()
    }
    fn load(&mut self, state: Dict) -> Result<()> {
        self.0.plain(op::LOAD, Some(&state))?.dict().map(drop)
    }
}

/// A part on the library's side; keeps the stage it belongs to.
struct Part {
    instance: Arc<Instance>,
    handle: *mut c_void,
}

// SAFETY: the interface demands that a part may move between threads.
unsafe impl Send for Part {}

impl Part {
    /// The new part of an answer.
    fn take(stage: &Loaded, reply: Reply) -> Result<AnyPart> {
        let handle = reply.part;
        reply.dict()?;
        if handle.is_null() {
            return Err(stage.0.place(Error::plugin("a reduction gave no part")));
        }
        Ok(Box::new(Part { instance: stage.0.clone(), handle }))
    }

    fn of<'a>(stage: &Loaded, part: Option<&'a Part>) -> Result<&'a Part> {
        part.filter(|part| Arc::ptr_eq(&part.instance, &stage.0))
            .ok_or_else(|| Error::internal("a part of another reduction"))
    }

    /// Hands the part over to the library.
    fn give(stage: &Loaded, part: AnyPart) -> Result<*mut c_void> {
        let mut part = part.downcast::<Part>().map_err(|_| Error::internal("a part of another reduction"))?;
        Part::of(stage, Some(&part))?;
        Ok(std::mem::replace(&mut part.handle, std::ptr::null_mut()))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            let cx = Cx::new(no_run(), &self.instance.name);
            // An error here has nobody to go to, and the part is gone either way.
            let _ = self.instance.with_part(&cx, op::DISCARD, self.handle);
        }
    }
}

impl AnyReduce for Loaded {
    fn part(&self, cx: &Cx) -> Result<AnyPart> {
        Part::take(self, self.0.simple(cx, op::PART, None))
    }
    fn add(&self, cx: &Cx, part: &mut AnyPart, span: &Span, input: Dict) -> Result<()> {
        let part = Part::of(self, part.downcast_ref())?.handle;
        let mut request = Request { records: lend_span(span), part, ..Request::new(op::ADD) };
        self.0.call(cx, &mut request, Some(&input)).dict().map(drop)
    }
    fn merge(&self, cx: &Cx, part: &mut AnyPart, later: AnyPart) -> Result<()> {
        let part = Part::of(self, part.downcast_ref())?.handle;
        let later = Part::give(self, later)?;
        self.0.call(cx, &mut Request { part, later, ..Request::new(op::MERGE) }, None).dict().map(drop)
    }
    fn peek(&self, cx: &Cx, part: &AnyPart) -> Result<Option<Dict>> {
        let part = Part::of(self, part.downcast_ref())?.handle;
        self.0.with_part(cx, op::PEEK, part).maybe()
    }
    fn finish(&self, cx: &Cx, part: AnyPart) -> Result<Dict> {
        self.0.with_part(cx, op::FINISH, Part::give(self, part)?).dict()
    }
    fn save(&self, part: &AnyPart) -> Result<Dict> {
        let part = Part::of(self, part.downcast_ref())?.handle;
        self.0.with_part(&Cx::new(no_run(), &self.0.name), op::SAVE, part).dict()
    }
    fn load(&self, cx: &Cx, state: Dict) -> Result<AnyPart> {
        Part::take(self, self.0.simple(cx, op::LOAD, Some(&state)))
    }
}

impl AnyFit for Loaded {
    fn absorb(&mut self, cx: &Cx, span: &Span, input: Dict) -> Result<()> {
        self.0.on_span(cx, op::ABSORB, span, &input).dict().map(drop)
    }
    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()> {
        self.0.on_gap(cx, gap).dict().map(drop)
    }
    fn complete(&mut self, cx: &Cx) -> Result<()> {
        self.0.simple(cx, op::COMPLETE, None).dict().map(drop)
    }
    fn refine(&mut self, cx: &Cx, slice: &Slice) -> Result<Fitness> {
        let nanoseconds = u64::try_from(slice.left().as_nanos()).unwrap_or(u64::MAX);
        let dict = self.0.call(cx, &mut Request { nanoseconds, ..Request::new(op::REFINE) }, None).dict()?;
        match (dict.get("cost").and_then(Value::number), dict.get("more")) {
            (Some(cost), Some(Value::Bool(more))) => Ok(Fitness { cost, more: *more }),
            _ => Err(self.0.place(Error::plugin(format!("`refine` put {dict:?}, wanted `cost` and `more`")))),
        }
    }
    fn snapshot(&self, cx: &Cx) -> Result<Option<Dict>> {
        self.0.simple(cx, op::SNAPSHOT, None).maybe()
    }
    fn save(&self) -> Result<Dict> {
        self.0.plain(op::SAVE, None)?.dict()
    }
    fn load(&mut self, state: Dict) -> Result<()> {
        self.0.plain(op::LOAD, Some(&state))?.dict().map(drop)
    }
}

impl AnyWriter for Loaded {
    fn open(&mut self, cx: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        if let Side::Apart(seat) = &self.0.side {
            seat.set_output(out.clone());
        }
        let output = lend_output(&out);
        let mut request = Request { output: &output, ..Request::new(op::OPEN) };
        self.0.call(cx, &mut request, committed.as_ref()).dict().map(drop)
    }
    fn write(&mut self, cx: &Cx, span: &Span, input: Dict) -> Result<()> {
        self.0.on_span(cx, op::WRITE, span, &input).dict().map(drop)
    }
    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()> {
        self.0.on_gap(cx, gap).dict().map(drop)
    }
    fn corrupt(&mut self, cx: &Cx, gap: &Gap, frame: Dict) -> Result<bool> {
        // A library that knows of no bytes beside a gap sees a gap.
        let mut request = Request { records: lend_gap(gap), ..Request::new(op::GAP) };
        let reply = self.0.call(cx, &mut request, Some(&frame)).dict()?;
        Ok(reply.get("kept") == Some(&Value::Bool(true)))
    }
    fn commit(&mut self, cx: &Cx) -> Result<Dict> {
        self.0.simple(cx, op::COMMIT, None).dict()
    }
    fn finish(&mut self, cx: &Cx, covers: &Ranges) -> Result<()> {
        self.0.simple(cx, op::FINISH, Some(&words::covers_dict(covers))).dict().map(drop)
    }
}

impl AnyTask for Loaded {
    fn run(&mut self, cx: &Cx, input: Dict) -> Result<Dict> {
        self.0.simple(cx, op::RUN, Some(&input)).dict()
    }
}
