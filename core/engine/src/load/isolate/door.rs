//! The way to the isolated stages of one plugin file, and a stage behind it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::load::abi::{self, Request};
use crate::load::collect::Reply;
use crate::load::isolate::channel::{Channel, kind};
use crate::load::isolate::message::{self, ask, op};
use crate::load::isolate::process::{Process, plain};
use crate::load::isolate::program::Program;
use crate::load::isolate::wire::Lost;
use crate::load::words;
use crate::registry::Role;
use crate::span::Span;
use crate::stage::{Cx, Output, Turns};
use crate::value::{Dict, Value};

/// How long a stage may go on after its run was cancelled.
const GRACE: Duration = Duration::from_millis(700);
/// Hosts that wait for another stage at most.
const WARM: usize = 4;

/// The way to the isolated stages of one plugin file.
pub(crate) struct Door {
    program: Program,
    path: PathBuf,
    sha256: String,
    /// Hosts that have no stage.
    warm: Mutex<Vec<Process>>,
}

impl Door {
    /// The way to the stages of a file that has this digest.
    pub fn new(program: Program, path: PathBuf, sha256: String) -> Door {
        Door { program, path, sha256, warm: Mutex::default() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A host without a stage.
    pub(super) fn process(&self) -> Result<Process> {
        loop {
            let warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match warm {
                Some(process) if process.is_well() => return Ok(process),
                // It ended while it waited: the next may be well.
                Some(_) => (),
                None => return self.start(),
            }
        }
    }

    /// A new host.
    pub(super) fn start(&self) -> Result<Process> {
        Process::start(&self.program, &self.path, &self.sha256)
            .map_err(|e| e.at(format!("plugin {}", self.path.display())))
    }

    /// Keeps a host for the next stage, unless enough are kept.
    pub(super) fn keep(&self, process: Process) {
        if !process.is_well() {
            return;
        }
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        if warm.len() < WARM {
            warm.push(process);
        }
    }

    /// The example of a stage.
    pub fn example(&self, name: &str) -> Result<Dict> {
        let process = self.process()?;
        let mut lane = process.lane();
        let dict = plain(&mut lane, op::EXAMPLE, 0, name, None, vec![])?.dict()?;
        process.free(lane);
        self.keep(process);
        Ok(dict)
    }

    /// Where an error of a stage came from.
    fn place(&self, stage: &str) -> String {
        let file = self.path.file_name().unwrap_or(self.path.as_os_str());
        format!("`{stage}` of {}", file.to_string_lossy())
    }
}

/// What becomes of a host when its stage is let go.
pub(super) type GoHome = Box<dyn FnOnce(Process) + Send + Sync>;

/// A stage in a host process.
pub(crate) struct Seat {
    door: Arc<Door>,
    name: Arc<str>,
    stage: u64,
    process: Option<Process>,
    home: Option<GoHome>,
    /// Where a writer puts its files.
    output: Mutex<Option<Arc<dyn Output>>>,
    /// Set when a call was lost: its host is of no use any more.
    lost: AtomicBool,
}

impl Seat {
    /// Builds a stage in a host, which `home` takes afterwards.
    pub(super) fn take(
        door: &Arc<Door>,
        process: Process,
        name: &Arc<str>,
        role: Role,
        set: &serde_json::Value,
        home: GoHome,
    ) -> Result<Seat> {
        let mut seat = Seat {
            door: door.clone(),
            name: name.clone(),
            stage: 0,
            process: Some(process),
            home: Some(home),
            output: Mutex::default(),
            lost: AtomicBool::new(true),
        };
        let process = seat.process();
        let mut lane = process.lane();
        let input = Dict::new().with("set", set.to_string());
        let built = plain(&mut lane, op::BUILD, 0, name, Some(&input), vec![]);
        // Whatever could not be said is lost together with the connection.
        let reply = built.map_err(|e| match process.is_well() {
            true => e.at(door.place(name)),
            false => process.end.why(Lost::Gone, "while the stage was built").at(door.place(name)),
        })?;
        process.free(lane);
        let part = reply.part as u64;
        let widened = match role {
            Role::Map | Role::Reduce => process.widen(threads()),
            _ => Ok(()),
        };
        seat.lost.store(false, Ordering::Relaxed);
        reply.dict()?;
        seat.stage = part;
        widened?;
        Ok(seat)
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("a seat has its host until it is dropped")
    }

    /// Where an error of the stage came from.
    pub fn place(&self) -> String {
        self.door.place(&self.name)
    }

    /// Where the files of a writer go.
    pub fn set_output(&self, output: Arc<dyn Output>) {
        *self.output.lock().unwrap_or_else(PoisonError::into_inner) = Some(output);
    }

    /// One operation.
    pub fn call(&self, cx: &Cx, request: &Request, input: Option<&Dict>) -> Reply {
        self.try_call(cx, request, input).unwrap_or_else(|error| Reply {
            outcome: Err(error),
            dict: Dict::new(),
            records: vec![],
            part: std::ptr::null_mut(),
        })
    }

    fn try_call(&self, cx: &Cx, request: &Request, input: Option<&Dict>) -> Result<Reply> {
        let process = self.process();
        if self.lost.load(Ordering::Acquire) {
            return Err(process.end.why(Lost::Gone, "in an earlier call"));
        }
        let mut lane = process.lane();
        let result = self.over(&mut lane, cx, request, input);
        // Given back even when it is lost: others that wait for it must see that, too.
        process.free(lane);
        let (reply, given_up) = result.map_err(|lost| {
            self.lost.store(true, Ordering::Release);
            process.end.why(lost, &format!("in `{}`{}", op_name(request.op), place(request)))
        })?;
        for gap in given_up {
            gap.span.range().for_each(|frame| cx.give_up(frame, gap.reason, &gap.why));
        }
        Ok(reply)
    }

    fn over(
        &self,
        lane: &mut Channel,
        cx: &Cx,
        request: &Request,
        input: Option<&Dict>,
    ) -> std::result::Result<(Reply, Vec<crate::span::Gap>), Lost> {
        let process = self.process();
        let (run, mut since, mut turns) = (cx.run(), Instant::now(), Turns::new());
        let mut cancelled: Option<Instant> = None;
        let mut wait = || {
            let still = since.elapsed();
            // Where the process was stopped, its host may have been, too.
            let slept = turns.slept();
            since += slept;
            if still.saturating_sub(slept).as_secs_f64() > run.hang_s {
                let what = format!(
                    "it hangs: `{}`{} has not come back for {} s; its host process was killed",
                    op_name(request.op),
                    place(request),
                    run.hang_s
                );
                let error = Error::plugin(what).help("raise `run.hang_s` if it needs that long");
                return Err(process.end.kill(error));
            }
            if run.cancel.load(Ordering::Relaxed) {
                let begun = *cancelled.get_or_insert_with(|| {
                    process.cancel();
                    Instant::now()
                });
                if begun.elapsed() > GRACE {
                    return Err(process.end.kill(Error::cancelled()));
                }
            }
            Ok(())
        };
        lane.send(kind::REQUEST, &[], &mut wait, |p| {
            message::put_request(p, self.stage, cx.stage(), run.seed, request, input)
        })?;
        loop {
            let came = lane.receive(&mut wait, |kind, content| match kind {
                kind::ASK => Ok(Came::Ask(content.code()?, content.dict()?)),
                kind::REPLY => message::reply(content).map(|(reply, gaps)| Came::Reply(reply, gaps)),
                other => Err(Error::plugin(format!("a message of kind {other} in place of a reply"))),
            })?;
            match came {
                Came::Reply(reply, given_up) => return Ok((reply, given_up)),
                Came::Ask(what, dict) => {
                    let (status, dict) = match self.answer(cx, what, &dict) {
                        Ok(dict) => (abi::OK, dict),
                        Err(error) => (abi::ERROR, words::error_dict(&error)),
                    };
                    lane.send(kind::ANSWER, &[], &mut wait, |p| {
                        p.code(status as u32);
                        p.dict(&dict);
                        Ok(())
                    })?;
                }
            }
        }
    }

    /// What the engine says when the stage asks.
    fn answer(&self, cx: &Cx, what: u32, asked: &Dict) -> Result<Dict> {
        if what == ask::READ {
            return Ok(Dict::new().with("value", cx.read(text(asked, "path")?)?));
        }
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let output = output.ok_or_else(|| Error::plugin("a stage that is no writer asks for an output"))?;
        match what {
            ask::SEAL | ask::REPLACE => {
                let Value::Array(content) = asked.need("content")? else {
                    return Err(Error::plugin("the content of a file is no array of u8"));
                };
                let (path, bytes) = (text(asked, "path")?, content.bytes());
                match what {
                    ask::SEAL => output.seal(path, bytes)?,
                    _ => output.replace(path, bytes)?,
                }
                Ok(Dict::new())
            }
            ask::RECORD => Ok(Dict::new().with("record", output.record())),
            other => Err(Error::plugin(format!("a stage asks for {other}, known are 1 to 4"))),
        }
    }
}

enum Came {
    Ask(u32, Dict),
    Reply(Reply, Vec<crate::span::Gap>),
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (Some(process), Some(home)) = (self.process.take(), self.home.take()) else { return };
        if self.lost.load(Ordering::Acquire) || !process.is_well() {
            return;
        }
        let mut lane = process.lane();
        let ended = self.stage == 0 || plain(&mut lane, op::END, self.stage, "", None, vec![]).is_ok();
        process.free(lane);
        if ended {
            home(process);
        }
    }
}

fn text<'a>(dict: &'a Dict, key: &str) -> Result<&'a str> {
    let value = dict.need(key)?;
    value.text().ok_or_else(|| Error::plugin(format!("`{key}` is {}, wanted text", value.describe())))
}

/// How many calls of one stage there can be at once.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// The records of a request, for messages.
fn place(request: &Request) -> String {
    let records = &request.records;
    if records.len == 0 {
        return String::new();
    }
    // SAFETY: the request is this side's, and its texts live as long as the call.
    let span = unsafe { crate::load::adopt::span(records) };
    span.map_or_else(|_| String::new(), |span: Span| format!(" on {span}"))
}

/// The word for an operation.
fn op_name(code: u32) -> &'static str {
    use abi::op;
    match code {
        op::CHECK => "check",
        op::SHAPES => "shapes",
        op::COST => "cost",
        op::SAVE => "save",
        op::LOAD => "load",
        op::OPEN => "open",
        op::GAP => "gap",
        op::FINISH => "finish",
        op::PULL => "pull",
        op::APPLY => "apply",
        op::LAG => "lag",
        op::PUSH => "push",
        op::PART => "part",
        op::ADD => "add",
        op::MERGE => "merge",
        op::PEEK => "peek",
        op::DISCARD => "discard",
        op::ABSORB => "absorb",
        op::COMPLETE => "complete",
        op::REFINE => "refine",
        op::SNAPSHOT => "snapshot",
        op::WRITE => "write",
        op::COMMIT => "commit",
        op::RUN => "run",
        _ => "an unknown operation",
    }
}
