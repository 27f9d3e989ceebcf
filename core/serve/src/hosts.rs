//! Plugins in host processes, which can be killed.

use std::sync::{Arc, Mutex, PoisonError};

use isard_core::error::Result;
use isard_core::load::isolate::{Hosts, Killer};
use isard_core::port::check_output;
use isard_core::stage::Cx;
use isard_core::value::Dict;

use crate::executor::{Call, Executor};

/// Runs plugins of libraries in a bounded number of warm host processes.
///
/// A crash is an error of the job that ran there, and an abort kills the process, whatever the plugin does.
#[derive(Clone)]
pub struct InHosts(Hosts);

impl InHosts {
    /// At most `limit` processes at any time.
    pub fn new(limit: usize) -> InHosts {
        InHosts(Hosts::new(limit))
    }
}

impl Executor for InHosts {
    fn run(&self, call: Call) -> Result<Dict> {
        let name = &call.declaration.name;
        let mut task = self.0.take(call.declaration, &call.set)?;
        // An abort that comes late must not meet the next job of the same process.
        let killer: Arc<Mutex<Option<Killer>>> = Arc::new(Mutex::new(Some(task.killer())));
        let armed = killer.clone();
        call.abort.on_abort(move || {
            if let Some(killer) = &*armed.lock().unwrap_or_else(PoisonError::into_inner) {
                killer.kill();
            }
        });
        let output = task.call_in(&Cx::new(call.run, name), &call.input);
        killer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let output = output?;
        check_output(&call.declaration.outputs, None, &output)?;
        Ok(output)
    }
}
