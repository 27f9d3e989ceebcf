//! Any source played at a given rate.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::path::Path;
use std::time::Instant;

use common::{ledger, run};
use isard_core::prelude::*;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::Outcome;
use isard_core::stage::Pull;

/// Gives the frames 0 to 39 as fast as they are taken.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Count {
    #[serde(skip)]
    next: u64,
}

#[derive(Ports)]
struct Number {
    /// The number.
    #[port(dtype = "u64", axes = "")]
    number: Array,
}

impl Stage for Count {
    type In = ();
    type Out = Number;
    fn example() -> Example {
        Example::new("")
    }
}

impl Source for Count {
    fn open(&mut self, _: &Cx, (): (), from: Position) -> Result<Opened> {
        self.next = from.next;
        Ok(Opened { frames: Some(40), ..Opened::default() })
    }
    fn pull(&mut self, _: &Cx, slots: &mut Slots<Number>) -> Result<Pull> {
        let n = slots.room().min(40 - self.next);
        if n == 0 {
            return Ok(Pull::End);
        }
        let numbers: Vec<u64> = (self.next..self.next + n).collect();
        slots.put(self.next, Number { number: Array::from_slice(&numbers) })?;
        self.next += n;
        Ok(Pull::Ready)
    }
}
declare!(Source, "toy.count", Kind::Source, Count);

#[test]
fn a_paced_source_takes_its_time_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let text =
        "isard = \"0.1\"\nname = \"pace\"\n[stage.frames]\nuse = \"toy.count\"\nrun = { pace = 100.0 }\n";
    let report = run(text, &folder.path().join("out"));
    // The last of 40 frames is due 0.39 s after the first.
    assert!(begun.elapsed().as_secs_f64() >= 0.39, "{:?}", begun.elapsed());
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(ledger(&report, "frames"), "40 of 40 done");
}

#[test]
fn only_a_source_has_a_pace() {
    let text = "isard = \"0.1\"\nname = \"pace\"\n[stage.events]\nuse = \"live.tpx3_simulate\"\nrun = { pace = 9.0 }\n";
    let parsed = recipe::parse(text, Path::new("test.toml")).unwrap();
    let faults = isard_core::plan::make(&parsed, &Registry::built_in().unwrap()).err().unwrap().to_string();
    assert!(faults.contains("`run.pace` does not go with stage `events`"), "{faults}");
}
