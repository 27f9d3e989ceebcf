//! The quickstart's experiment over many seeds, through its own stages.

use std::path::Path;

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{AnyFit, Arrival, Built, Pull, RunCx};
use isard_powder as _;

/// Frames of the quickstart that are summed to one: a sum of Poisson counts is a Poisson count of the summed mean.
const SUMMED: u64 = 60;
/// What is compared with the truth.
const PORTS: [&str; 5] = ["distance", "row", "column", "rot1", "rot2"];

/// Mean, root mean square and largest of (found - true) / sigma, port by port.
#[derive(Debug)]
pub struct Pulls {
    pub mean: [f64; 5],
    pub rms: [f64; 5],
    pub worst: [f64; 5],
}

/// A stage of the quickstart with the parameters that the recipe gives it, as changed.
fn stage(name: &str, change: impl Fn(&mut toml::Table)) -> Built {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/quickstart.toml");
    let recipe: toml::Table = toml::from_str(&std::fs::read_to_string(path).expect("the recipe is shipped"))
        .expect("the recipe is valid");
    let stage = recipe["stage"][name].as_table().expect("a stage is a table");
    let mut set = stage["set"].as_table().expect("parameters are a table").clone();
    for (key, value) in &mut set {
        // The recipe writes the units that the parameters have.
        let number = value.as_str().and_then(|text| text.split_once(' ')?.0.parse::<f64>().ok());
        if let Some(number) = number.filter(|_| key != "calibrant") {
            *value = toml::Value::Float(number);
        }
    }
    change(&mut set);
    let registry = Registry::built_in().expect("stages have different names");
    let declared = registry.find(stage["use"].as_str().expect("a name")).expect("a stage of this crate");
    let json = serde_json::to_value(set).expect("TOML is JSON");
    (declared.build)(json).expect("the recipe's parameters are good")
}

fn number(out: &Dict, port: &str) -> f64 {
    out.need(port).expect("a port").number().expect("a number")
}

fn settle(fit: &mut Box<dyn AnyFit>, cx: &Cx) -> Dict {
    while fit.refine(cx, &Slice::one_step()).expect("the experiment is good").more {}
    fit.snapshot(cx).expect("a snapshot").expect("an answer")
}

/// Runs the quickstart's source and fit over seeds, and holds each against the truth in the source's head.
///
/// The first tenth of the frames must give distance and centre to 1 %, all of them the distance to 0.02 % and the centre
/// to 0.05 pixel.
pub fn pulls(seeds: u64) -> Pulls {
    let (mut mean, mut square, mut worst) = ([0.0; 5], [0.0; 5], [0.0f64; 5]);
    for seed in 0..seeds {
        let run = RunCx { seed, ..RunCx::default() };
        let cx = Cx::new(&run, "detector");
        let source = stage("detector", |set| {
            let frames = set["frames"].as_integer().expect("a whole number") as u64;
            set.insert("frames".into(), toml::Value::Integer((frames / SUMMED) as i64));
            set.insert("rate".into(), toml::Value::Float(0.0));
            set.insert("bits".into(), toml::Value::Integer(32));
            for (name, usual) in [("counts", None), ("background", Some(0.3)), ("halo", Some(2.0))] {
                let value = set.get(name).and_then(toml::Value::as_float).or(usual).expect("a number");
                set.insert(name.into(), toml::Value::Float(value * SUMMED as f64));
            }
        });
        let Built::Source(mut source) = source else { panic!("a source was built") };
        let Built::Fit(mut fit) = stage("fit", |_| ()) else { panic!("a fit was built") };
        let opened =
            source.open(&cx, Dict::new(), isard_core::stage::Position { next: 0 }).expect("it opens");
        let Some(Value::Dict(truth)) = opened.head.get("truth") else { panic!("the truth") };
        let mut first = true;
        loop {
            let (pulled, arrivals) = isard_core::contract::pull(&mut *source, &cx, 1, 0).expect("frames");
            if pulled == Pull::End {
                break;
            }
            for arrival in arrivals {
                let Arrival::Frames { first: at, count, data } = arrival else { panic!("good frames") };
                let input = ["mask", "wavelength", "pixel"].into_iter().fold(data, |data, key| {
                    data.with(key, opened.head.get(key).expect("in the head").clone())
                });
                fit.absorb(&cx, &Span::frames(at, count), input).expect("frames are taken");
            }
            if std::mem::take(&mut first) {
                let out = settle(&mut fit, &cx);
                for port in ["distance", "row", "column"] {
                    let (found, truth) = (number(&out, port), number(truth, port));
                    assert!(
                        (found / truth - 1.0).abs() < 0.01,
                        "seed {seed}: first {port} {found}, not {truth}"
                    );
                }
            }
        }
        fit.complete(&cx).expect("all frames are in");
        let out = settle(&mut fit, &cx);
        assert!(number(&out, "distance_sigma") < 2e-4 * number(&out, "distance"), "seed {seed}: {out:?}");
        assert!(number(&out, "row_sigma").max(number(&out, "column_sigma")) < 0.05, "seed {seed}: {out:?}");
        for (k, port) in PORTS.into_iter().enumerate() {
            let pull = (number(&out, port) - number(truth, port)) / number(&out, &format!("{port}_sigma"));
            mean[k] += pull / seeds as f64;
            square[k] += pull * pull / seeds as f64;
            worst[k] = worst[k].max(pull.abs());
        }
    }
    Pulls { mean, rms: square.map(f64::sqrt), worst }
}
