//! The chain as a recipe: frames arrive in any order, some twice, some never.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use isard_core::plan;
use isard_core::prelude::*;
use isard_core::recipe;
use isard_core::registry::Registry;
use isard_core::run::{self, Options, Out, Outcome};
use isard_core::span::Ranges;
use isard_core::stage::{Pull, RunCx};
use serde_json::Value as Json;

use super::case::{Case, Numbers};
use super::stages::dark;

/// Plays a case as it arrived.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Played {
    /// The folder of the cases.
    folder: String,
    /// The number of the case.
    case: usize,
    #[serde(skip)]
    #[schemars(skip)]
    state: Option<State>,
}

struct State {
    case: Case,
    omega: Numbers,
    next: usize,
}

/// What a frame holds.
#[derive(Ports)]
struct Frame {
    /// Pixels.
    #[port(dtype = "number", axes = "y x")]
    image: Array,
    /// The angle.
    #[port(dtype = "f64", axes = "", unit = "degree")]
    omega: Array,
    /// The monitor.
    #[port(dtype = "f64", axes = "")]
    monitor: Array,
}

impl Stage for Played {
    type In = ();
    type Out = Frame;

    fn example() -> Example {
        Example::new("folder = \".\"\ncase = 0")
    }
}

impl Source for Played {
    fn open(&mut self, _: &Cx, (): (), _: Position) -> Result<Opened> {
        let case = Case::load(Path::new(&self.folder), self.case);
        let number = Shape::array(Dtype::F64, &[]);
        let image = Shape::array(case.arrivals[0].1.dtype(), &case.shape);
        let shapes = Shapes::default().with("image", image).with("omega", number.clone());
        let run = RunCx::default();
        let mut head = Dict::new().with("mask", case.bad.clone());
        if let Some(dark) = dark(&Cx::new(&run, "dark"), &case) {
            head.set("dark", dark);
        }
        if let Some(flats) = &case.flats {
            head.set("flats", flats.clone());
        }
        let frames = Some(case.n);
        self.state = Some(State { omega: case.omegas(), case, next: 0 });
        Ok(Opened { frames, head, shapes: shapes.with("monitor", number), ..Opened::default() })
    }

    fn pull(&mut self, _: &Cx, slots: &mut Slots<Frame>) -> Result<Pull> {
        let state = self.state.as_mut().expect("opened before it is pulled");
        let Some((number, image, monitor)) = state.case.arrivals.get(state.next) else {
            return Ok(Pull::End);
        };
        state.next += 1;
        let (omega, monitor) = (Array::from_slice(&[state.omega[number]]), Array::from_slice(&[*monitor]));
        slots.put(*number, Frame { image: image.lead(), omega, monitor })?;
        Ok(Pull::Ready)
    }
}
declare!(Source, "reference.played", Kind::Simulator, Played);

/// What was kept, by name.
static KEPT: Mutex<BTreeMap<String, Vec<(Span, Dict)>>> = Mutex::new(BTreeMap::new());

/// Keeps what comes, for the test to look at.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Keep {
    /// The name.
    name: String,
}

impl Stage for Keep {
    type In = Dict;
    type Out = ();

    fn example() -> Example {
        Example::new("name = \"spots\"").frames("image", Array::from_slice(&[1.0]))
    }
}

impl Writer for Keep {
    fn open(&mut self, _: &Cx, _: Arc<dyn Output>, _: Option<Dict>) -> Result<()> {
        Ok(())
    }
    fn write(&mut self, _: &Cx, span: &Span, input: Dict) -> Result<()> {
        KEPT.lock().unwrap().entry(self.name.clone()).or_default().push((span.clone(), input));
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
declare!(Writer, "reference.keep", Kind::Writer, Keep);

/// A JSON value as TOML; nothing is left out.
fn toml(value: &Json) -> String {
    match value {
        Json::Object(map) => {
            let each = map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| format!("{k} = {}", toml(v)));
            format!("{{ {} }}", each.collect::<Vec<_>>().join(", "))
        }
        Json::Array(list) => format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn recipe(case: &Case, folder: &Path, k: usize, chunk: usize) -> String {
    let name = format!("{}.{k}", folder.display());
    let dark = if case.stack.is_some() { ", dark = \"frames.head.dark\"" } else { "" };
    let mut wires = format!("image = \"frames.image\", mask = \"frames.head.mask\"{dark}");
    let (mut from, mut even) = ("frames", String::new());
    if !case.is("norm", "none") {
        let flats = if case.flats.is_some() { ", reference = \"frames.head.flats\"" } else { "" };
        let monitor = if case.is("norm", "monitor") { ", monitor = \"frames.monitor\"" } else { "" };
        let set = toml(&case.even(false));
        even = format!(
            "[stage.even]\nuse = \"dct.normalize\"\nfrom = \"frames\"\nin = {{ {wires}{flats}{monitor} }}\nset = {set}\n"
        );
        wires += ", factor = \"even.factor\"";
        from = "even";
    }
    format!(
        r#"
        isard = "0.1"
        name = "reference"
        [run]
        chunk = {chunk}
        threads = {threads}
        reorder = 200
        checkpoint_frames = {mark}
        limits = {{ missing = 1000, extra = 1000 }}
        [stage.frames]
        use = "reference.played"
        set = {{ folder = {folder:?}, case = {k} }}
        {even}
        [stage.background]
        use = "dct.background"
        from = "{from}"
        in = {{ {wires} }}
        set = {background}
        [stage.clean]
        use = "image.median"
        from = "background"
        in = {{ image = "background.image", mask = "frames.head.mask" }}
        set = {median}
        [stage.segment]
        use = "dct.segment"
        from = "clean"
        in = {{ image = "clean.image", omega = "frames.omega", full = "background.full" }}
        set = {segment}
        [stage.frames_kept]
        use = "reference.keep"
        from = "clean"
        set = {{ name = "{name}.frames" }}
        [stage.spots_kept]
        use = "reference.keep"
        from = "segment"
        set = {{ name = "{name}.spots" }}
        "#,
        threads = 1 + k % 2,
        mark = 5 + k % 7,
        background = toml(&case.background(1 + chunk % 5, false)),
        median = toml(&case.median()),
        segment = toml(&case.segment()),
    )
}

/// Runs a case as a recipe and holds it against the reference; gives how many spots there are.
pub fn check(case: &Case, folder: &Path, k: usize, chunk: usize) -> usize {
    let text = recipe(case, folder, k, chunk);
    let parsed = recipe::parse(&text, Path::new("test.toml")).unwrap_or_else(|faults| panic!("{faults}"));
    let made = plan::make(&parsed, &Registry::built_in().unwrap());
    let plan = made.unwrap_or_else(|faults| panic!("{faults}\n{text}")).0;
    let out = tempfile::tempdir().unwrap();
    let report =
        run::run(&plan, Options::new(Out::Folder { path: out.path().join("out"), overwrite: false }));
    let report = report.unwrap();
    assert_eq!(report.outcome, Outcome::Done, "{:?}\n{text}", report.outcome.message());
    let name = format!("{}.{k}", folder.display());
    let take = |what: &str| KEPT.lock().unwrap().remove(&format!("{name}.{what}")).unwrap_or_default();
    let image = |(span, dict): (Span, Dict)| -> Vec<(u64, Array)> {
        let Some(Value::Array(image)) = dict.get("image") else { panic!("an image") };
        span.range().map(|n| (n, image.record((n - span.start) as usize).unwrap())).collect()
    };
    case.check_frames("a recipe", &take("frames").into_iter().flat_map(image).collect());
    let table = |(_, dict): (Span, Dict)| match dict.get("spots") {
        Some(Value::Table(table)) => table.clone(),
        other => panic!("`spots` is {other:?}"),
    };
    case.check_spots("a recipe", take("spots").into_iter().map(table).collect())
}
