//! Stages in a child process: a crash, a hang or an abort costs that process and nothing else.
//!
//! The operations are those of a loaded library ([`abi::op`](crate::load::abi::op)); they cross a socket. Big arrays
//! lie in shared memory and do not cross at all: a message names the descriptor, the offset and the shape, and says
//! with the next one which arrays nobody reads any more. [`serve`] is the other end, behind `isard host LIBRARY`; the
//! Python package in `examples/python` speaks the same.

mod channel;
mod door;
mod hosts;
mod memory;
mod message;
mod process;
mod program;
mod python;
mod serve;
mod wire;

use std::path::Path;
use std::sync::Arc;

pub use hosts::{Hosts, Isolated, Killer};
pub use program::use_host;
pub use serve::serve;

pub(crate) use door::{Door, Seat};
pub(crate) use program::Program;

use crate::error::Result;
use crate::load::adopt::Keys;
use crate::load::isolate::process::Process;
use crate::load::stage;
use crate::registry::{Declaration, Role};
use crate::stage::Built;

/// How a stage is built in a host process.
#[derive(Clone)]
pub struct Apart {
    door: Arc<Door>,
    name: Arc<str>,
    role: Role,
    keys: Arc<Keys>,
    /// Whether it runs nowhere else.
    only: bool,
}

impl Apart {
    /// The way to a stage of a library that can be run in this process, too.
    pub(crate) fn new(door: &Arc<Door>, name: &Arc<str>, role: Role, keys: &Arc<Keys>) -> Apart {
        Apart { door: door.clone(), name: name.clone(), role, keys: keys.clone(), only: false }
    }

    /// Whether the stage runs nowhere else, as those of Python files.
    pub fn is_only(&self) -> bool {
        self.only
    }

    /// Builds the stage in a host process of its own, which ends or waits for the next when the stage is let go.
    pub fn build(&self, set: &serde_json::Value) -> Result<Built> {
        let door = self.door.clone();
        let home = Box::new(move |process| door.keep(process));
        self.instance(self.door.process()?, set, home)?.built(self.role)
    }

    /// Builds the stage in a host.
    fn instance(
        &self,
        process: Process,
        set: &serde_json::Value,
        home: door::GoHome,
    ) -> Result<stage::Instance> {
        let seat = Seat::take(&self.door, process, &self.name, self.role, set, home)?;
        Ok(stage::apart(seat, &self.name, &self.keys))
    }
}

/// The same stage in a host process, for whoever asks for nothing else; none for what is linked.
pub fn isolated(declaration: &Declaration) -> Option<Declaration> {
    let apart = declaration.apart.clone()?;
    Some(Declaration { build: Arc::new(move |set| apart.build(&set)), ..declaration.clone() })
}

/// The stages of a Python file.
pub(crate) fn python(path: &Path, sha256: Option<&str>) -> Result<Vec<Declaration>> {
    python::declarations(path, sha256)
}
