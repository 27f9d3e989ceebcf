//! One file for each beamline.

mod example;
mod id02;
mod id02_save;
mod id15;
mod id15_write;
mod id27;
mod id31;
mod pyfai;

use isard_core::prelude::*;

/// Keys that a plugin does not know, and what the server adds.
#[derive(Ports)]
pub struct Others {
    /// Keys that mean nothing to the plugin; they are told in the log.
    #[port(open)]
    others: Dict,
}

impl Others {
    /// Tells of keys that the plugin makes nothing of; gives what the server added to the job.
    pub(crate) fn tell(&self) {
        for key in self.others.keys().filter(|key| !["job_id", "plugin_name"].contains(&key.as_str())) {
            tracing::warn!("The key `{key}` means nothing to this plugin and was not used.");
        }
    }

    /// The plugin's name as the client wrote it.
    pub(crate) fn plugin(&self, own: &str) -> String {
        self.others.get("plugin_name").and_then(Value::text).unwrap_or(own).to_owned()
    }
}
