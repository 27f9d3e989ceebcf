//! A bounded pool of warm hosts, for a server that runs many jobs.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::load::abi::{Request, op};
use crate::load::isolate::door::Door;
use crate::load::isolate::process::{End, Process};
use crate::load::stage::Instance;
use crate::registry::{Declaration, Role};
use crate::stage::{Cx, RunCx};
use crate::value::{Dict, Pool};

/// Host processes that tasks are run in: at most so many, and warm ones are used again.
#[derive(Clone)]
pub struct Hosts {
    state: Arc<(Mutex<State>, Condvar)>,
    limit: usize,
    pool: Pool,
}

#[derive(Default)]
struct State {
    /// Processes that run a task.
    busy: usize,
    /// Processes that wait, longest ago first.
    warm: Vec<(Arc<Door>, Process)>,
}

/// A task in a host process, to be called any number of times.
pub struct Isolated {
    instance: Instance,
    name: String,
    run: RunCx,
    end: Arc<End>,
}

/// Ends the host of a task, from any thread.
#[derive(Clone)]
pub struct Killer {
    end: Arc<End>,
}

impl Hosts {
    /// At most `limit` processes at any time, at least one.
    pub fn new(limit: usize) -> Hosts {
        Hosts { state: Arc::default(), limit: limit.max(1), pool: Pool::shared(1 << 30) }
    }

    /// The buffers of the tasks: arrays made here reach a host without a copy.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Builds a task in a warm host, or in a new one; waits while all are busy.
    pub fn take(&self, declaration: &Declaration, set: &serde_json::Value) -> Result<Isolated> {
        let apart = declaration.apart.as_ref().ok_or_else(|| {
            Error::plugin(format!("`{}` is built in and cannot be isolated", declaration.name))
                .help("load its plugin as a library, with `--plugin`")
        })?;
        if apart.role != Role::Task {
            let message =
                format!("`{}` is a {}, and only a task is called by itself", declaration.name, apart.role);
            return Err(Error::plugin(message).help("run it in a recipe"));
        }
        let process = self.process(&apart.door)?;
        let (end, door, home) = (process.end.clone(), apart.door.clone(), self.clone());
        let back = Place { hosts: self.clone() };
        let home = Box::new(move |process| {
            home.lock().warm.push((door, process));
            drop(back);
        });
        let instance = apart.instance(process, set, home)?;
        let run = RunCx { pool: self.pool.clone(), ..RunCx::default() };
        Ok(Isolated { instance, name: declaration.name.clone(), run, end })
    }

    /// How many processes there are: those that run a task, and those that wait for one.
    pub fn count(&self) -> (usize, usize) {
        let state = self.lock();
        (state.busy, state.warm.len())
    }

    /// Ends the processes that wait.
    pub fn cool(&self) {
        let warm = std::mem::take(&mut self.lock().warm);
        drop(warm);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process for a plugin, counted as busy.
    fn process(&self, door: &Arc<Door>) -> Result<Process> {
        let mut state = self.lock();
        let mut ended = vec![];
        let found = loop {
            let own = state.warm.iter().rposition(|(other, _)| Arc::ptr_eq(other, door));
            if let Some(at) = own {
                let (_, process) = state.warm.remove(at);
                if process.is_well() {
                    break Some(process);
                }
                ended.push(process);
            } else if state.busy + state.warm.len() < self.limit {
                break None;
            } else if !state.warm.is_empty() {
                ended.push(state.warm.remove(0).1);
            } else {
                state = self.state.1.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        };
        state.busy += 1;
        drop(state);
        drop(ended);
        let place = Place { hosts: self.clone() };
        let process = match found {
            Some(process) => process,
            None => door.start()?,
        };
        // The place is given back by whoever has the process.
        std::mem::forget(place);
        Ok(process)
    }
}

/// The place of a busy process; free again when this is dropped.
struct Place {
    hosts: Hosts,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hosts.lock().busy -= 1;
        self.hosts.state.1.notify_one();
    }
}

impl Isolated {
    /// Runs the task.
    pub fn call(&mut self, input: &Dict) -> Result<Dict> {
        let cx = Cx::new(&self.run, &self.name);
        self.instance.call(&cx, &mut Request::new(op::RUN), Some(input)).dict()
    }

    /// Runs the task as a part of a run: its cancel flag, its reader and its patience count.
    pub fn call_in(&mut self, cx: &Cx, input: &Dict) -> Result<Dict> {
        self.instance.call(cx, &mut Request::new(op::RUN), Some(input)).dict()
    }

    /// What a call without a run of its own uses: the cancel flag, the reader, how long a call may take.
    pub fn run_mut(&mut self) -> &mut RunCx {
        &mut self.run
    }

    /// How to end the host, from another thread, in the middle of a call.
    pub fn killer(&self) -> Killer {
        Killer { end: self.end.clone() }
    }

    /// Ends the host.
    pub fn kill(&self) {
        self.killer().kill();
    }
}

impl Killer {
    /// Ends the host at once; a call that is under way says that it was cancelled.
    pub fn kill(&self) {
        self.end.kill(Error::cancelled());
    }
}
