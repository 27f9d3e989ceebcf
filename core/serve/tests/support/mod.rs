//! Plugins that misbehave on demand, and short ways to say what tests say often.
#![allow(dead_code, reason = "each test uses its part")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_serve::{Config, Jobs, Request, State};

/// Fails, panics, or hangs until it is let go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Moody {
    /// What it does: fail, panic, hang, count.
    how: String,
}

impl Default for Moody {
    fn default() -> Self {
        Moody { how: "fail".into() }
    }
}

/// Calls so far.
#[derive(Ports)]
pub struct Calls {
    /// Calls so far.
    calls: i64,
}

/// Lets every plugin go that hangs.
pub static LET_GO: AtomicBool = AtomicBool::new(false);
/// How often `count` was called.
pub static CALLS: AtomicU64 = AtomicU64::new(0);

impl Stage for Moody {
    type In = ();
    type Out = Calls;
    fn example() -> Example {
        Example::new("how = \"count\"")
    }
}

impl Task for Moody {
    fn run(&mut self, _: &Cx, (): ()) -> Result<Calls> {
        match self.how.as_str() {
            "panic" => panic!("a bad day"),
            "hang" => {
                // It never looks at whether it was aborted.
                while !LET_GO.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(Calls { calls: 0 })
            }
            "count" => Ok(Calls { calls: 1 + CALLS.fetch_add(1, Ordering::Relaxed) as i64 }),
            how => Err(Error::data(format!("a mood of `{how}`")).help("try another day")),
        }
    }
}

declare!(Task, "moody.plugin", Kind::Tool, Moody);

/// Takes what it is given and writes down the order.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Echo {
    /// A path of an input.
    #[schemars(extend("x-path" = "input"))]
    path: Option<String>,
}

/// Anything.
#[derive(Ports)]
pub struct Image {
    /// An image.
    #[port(dtype = "number", axes = "y x")]
    image: Option<Array>,
    /// The job's own number.
    job_id: Option<i64>,
}

/// The sum.
#[derive(Ports)]
pub struct Sum {
    /// The sum of the image.
    sum: Option<f64>,
    /// The job's own number.
    id: Option<i64>,
    /// The path as it came.
    path: Option<String>,
}

impl Stage for Echo {
    type In = Image;
    type Out = Sum;
    fn example() -> Example {
        Example::new("")
    }
}

impl Task for Echo {
    fn run(&mut self, _: &Cx, input: Image) -> Result<Sum> {
        tracing::warn!("Echo looks at its input.");
        let sum = input.image.map(|image| image.to_f64()).transpose()?.map(|x| x.iter().sum());
        Ok(Sum { sum, id: input.job_id, path: self.path.clone() })
    }
}

declare!(Task, "moody.echo", Kind::Tool, Echo);

/// A server in memory with a few workers.
pub fn jobs(workers: usize) -> Jobs {
    Jobs::open(Config { workers, ..Config::default() }).unwrap()
}

/// A job from JSON text.
pub fn request(plugin: &str, input: &str) -> Request {
    Request::from_text(plugin, input).unwrap()
}

/// Starts a job and waits for its end.
pub fn run(jobs: &Jobs, plugin: &str, input: &str) -> (u64, State) {
    let id = jobs.start(request(plugin, input)).unwrap();
    (id, jobs.wait(id as i64, Some(Duration::from_secs(60))).unwrap())
}

/// Waits until something holds.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// CPU time of this process, all its threads and those that are gone.
pub fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may hold anything; behind it, user and system time are the 12th and 13th, in ticks of 10 ms.
    let after = text.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}
