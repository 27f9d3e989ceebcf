//! Recipes planned and run, and the pieces of recipes that tests share.

use std::path::Path;

use isard_core::plan::{self, Plan};
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Report};

/// The inputs of `ptyd.write` behind a simulation.
pub const TO_PTYD: &str = "in = { energy = \"frames.head.energy\", distance = \"frames.head.distance\", \
                           psize = \"frames.head.psize\", num_frames = \"frames.head.num_frames\" }";

pub fn planned(text: &str) -> Plan {
    let recipe = recipe::parse(text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let made = plan::make(&recipe, &Registry::built_in().unwrap());
    made.unwrap_or_else(|faults| panic!("{faults}")).0
}

pub fn onto(out: &Path) -> Options {
    Options::new(Out::Folder { path: out.to_owned(), overwrite: true })
}

pub fn ran(text: &str, out: &Path) -> Report {
    run::run(&planned(text), onto(out)).unwrap()
}
