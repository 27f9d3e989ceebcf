//! A writer that stands still now and then, as a disk does, until all that can wait before it is full.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::span::Ranges;

use super::counting;

/// Takes what comes, and after every so many records stands still until nothing goes on any more.
///
/// How full queues are while frames flow is chance, how full they get is not: what a scan keeps is counted here. Free
/// buffers that the pool hands out again are not: they are as many as were ever used at once.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    /// From one halt to the next.
    #[schemars(range(min = 1))]
    every: u64,
    #[serde(skip)]
    #[schemars(skip)]
    taken: u64,
}

/// Bytes that were allocated at the end of each halt.
static HALTS: Mutex<Vec<usize>> = Mutex::new(vec![]);

/// Takes what was counted at the halts since the last call.
pub fn halts() -> Vec<usize> {
    std::mem::take(&mut HALTS.lock().unwrap())
}

/// Waits until the process has computed for less than a tenth of the time, two seconds long.
fn until_nothing_goes_on() {
    let (lap, mut quiet) = (Duration::from_millis(500), 0);
    while quiet < 4 {
        let (since, before) = (Instant::now(), cpu());
        std::thread::sleep(lap);
        quiet = if cpu() - before < since.elapsed() / 10 { quiet + 1 } else { 0 };
    }
}

/// CPU time of this process.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name may hold anything; behind it, user and system time are the 12th and 13th, in ticks of 10 ms.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    Duration::from_millis(fields[11..13].iter().map(|f| 10 * f.parse::<u64>().unwrap()).sum())
}

impl Stage for Stall {
    type In = Dict;
    type Out = ();

    fn example() -> Example {
        Example::new("every = 100").frames("image", Array::from_slice(&[1.0]))
    }
}

impl Writer for Stall {
    fn open(&mut self, _: &Cx, _: Arc<dyn Output>, _: Option<Dict>) -> Result<()> {
        Ok(())
    }
    fn write(&mut self, cx: &Cx, span: &Span, _: Dict) -> Result<()> {
        let halts = (self.taken + span.len) / self.every > self.taken / self.every;
        self.taken += span.len;
        if halts {
            until_nothing_goes_on();
            HALTS.lock().unwrap().push(counting::now() - cx.pool().kept());
        }
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }
    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        Ok(Dict::new())
    }
    fn finish(&mut self, _: &Cx, _: &Ranges) -> Result<()> {
        Ok(())
    }
}
declare!(Writer, "toy.stall", Kind::Writer, Stall);
