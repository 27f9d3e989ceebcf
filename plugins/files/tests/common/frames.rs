//! All frames of a source, as the engine pulls them.

use std::path::Path;

use isard_core::prelude::*;
use isard_core::stage::{Arrival, Built};

use crate::common::{build, context};

/// The bytes of all frames, and the numbers of lost ones with the reason.
pub type All = (Vec<u8>, Vec<(u64, String)>);

/// Every frame of a source in pulls of `room`, and the numbers of those that are lost.
pub fn all(name: &str, set: &str, room: u64) -> Result<All> {
    let Built::Source(mut source) = build(name, set)? else { panic!("`{name}` is no source") };
    let run = context();
    let cx = Cx::new(&run, "source");
    source.open(&cx, Dict::new(), Position { next: 0 })?;
    let (mut frames, mut lost) = (vec![], vec![]);
    loop {
        let mut slots = Slots::new(room, 0);
        match source.pull(&cx, &mut slots)? {
            Pull::End => return Ok((frames, lost)),
            Pull::Wait(pause) => std::thread::sleep(pause),
            Pull::Ready => {
                for arrival in slots.take() {
                    match arrival {
                        Arrival::Frames { data, .. } => {
                            let Some(Value::Array(image)) = data.get("image") else { panic!("no image") };
                            frames.extend_from_slice(image.bytes());
                        }
                        Arrival::Lost { number, why, .. } => lost.push((number, why.to_string())),
                    }
                }
            }
        }
    }
}

/// The parameters of `hdf5.dataset`.
#[allow(dead_code, reason = "not every test binary uses it")]
pub fn dataset(file: &Path, path: &str, more: &str) -> String {
    format!("path = \"{}::{path}\"\n{more}", file.display())
}
