//! Plans: what recipes mean, down to where each port gets its value.

#![expect(clippy::unwrap_used, reason = "tests may; the lint does not see that helpers are tests too")]

mod stages;

use std::collections::BTreeMap;
use std::path::Path;

use isard_core::plan::{self, Feed, Plan, Stream};
use isard_core::recipe::{self, Overrides};
use isard_core::registry::Role;
use isard_core::stage::{Opened, Shape, Shapes};
use isard_core::value::{Dtype, Value};

const RECIPES: &str = "../../tests/recipes";

fn plan_with(name: &str, overrides: &Overrides) -> Plan {
    let recipe = recipe::load(&Path::new(RECIPES).join(name), overrides).unwrap();
    let (plan, warnings) = plan::make(&recipe, &stages::registry()).unwrap_or_else(|f| panic!("{f}"));
    assert!(warnings.is_empty(), "{warnings}");
    plan
}

fn plan_of(name: &str) -> Plan {
    plan_with(name, &Overrides::default())
}

fn node(plan: &Plan, name: &str) -> usize {
    plan.nodes.iter().position(|n| n.name == name).unwrap()
}

/// The feeds of a stage as text: `port=feed`.
fn feeds(plan: &Plan, name: &str) -> Vec<String> {
    let stage = |id: &usize| plan.nodes[*id].name.clone();
    let one = |feed: &Feed| match feed {
        Feed::Stream(key) => format!("stream {key}"),
        Feed::Head { node, key } => format!("head {}.{key}", stage(node)),
        Feed::Final { node, port } => format!("final {}.{port}", stage(node)),
        Feed::Latched { node, port } => format!("latched {}.{port}", stage(node)),
        Feed::Carry { in_loop, key } => format!("carry {}.{key}", plan.loops[*in_loop].name),
        Feed::Argument(name) => format!("argument {name}"),
        Feed::Value(value) => format!("value {}", value.describe()),
        Feed::File(path) => format!("file {}", path.replace(&absolute(RECIPES), ".")),
    };
    plan.nodes[node(plan, name)].inputs.iter().map(|(port, feed)| format!("{port}={}", one(feed))).collect()
}

#[test]
fn a_plain_recipe_is_wired_along_its_stream() {
    let plan = plan_of("good.toml");
    assert_eq!(plan.name, "good");
    assert_eq!(plan.steps.len(), 1);
    assert_eq!(plan.passes[0].nodes, [0, 1, 2, 3]);
    assert_eq!(feeds(&plan, "detector"), [""; 0]);
    assert_eq!(feeds(&plan, "clean"), ["image=stream detector.image"]);
    assert_eq!(feeds(&plan, "save"), ["image=stream mean.image"]);
    assert_eq!(plan.nodes[3].from, [Stream::Live(2)]);
    // Defaults stand in the plan and in the recipe as resolved.
    assert_eq!(plan.nodes[0].set, serde_json::json!({ "frames": 600, "rate": 10.0 }));
    assert_eq!(plan.resolved["stage"]["clean"]["set"]["mode"], "zero");
}

#[test]
fn passes_and_loops_unroll_and_carry() {
    let plan = plan_of("good_passes.toml");
    let steps: Vec<&str> = plan.steps.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(steps, ["coarse", "refine.1.seeded", "refine.2.seeded", "fine"]);
    assert_eq!(plan.steps[2].turn, Some((0, 1)));
    assert_eq!(plan.passes[1].needs, Some((node(&plan, "first"), "grid".into())));
    assert_eq!(feeds(&plan, "next"), ["seed=carry refine.grid"]);
    assert_eq!(feeds(&plan, "search"), ["grid=final first.grid", "spots=stream spots.spots"]);
    assert_eq!(plan.nodes[node(&plan, "search")].from, [Stream::Kept(node(&plan, "spots"))]);
    let one = &plan.loops[0];
    // 500 nm are 0.5 um, the parameter's own unit.
    let values = vec![serde_json::json!(2.0), serde_json::json!(0.5)];
    assert_eq!(one.vary, [(node(&plan, "next"), "step".to_owned(), values)]);
    let (first, then) = (node(&plan, "first"), node(&plan, "next"));
    let feed = |node| Feed::Final { node, port: "grid".into() };
    assert_eq!(one.carry, [("grid".into(), feed(first), feed(then))]);
}

#[test]
fn shared_values_and_units_reach_the_stage() {
    let plan = plan_of("good_shared.toml");
    let set = &plan.nodes[node(&plan, "fit")].set;
    // 61332 eV and 74 cm by hand in keV and mm.
    assert_eq!(set["experiment"]["energy"], 61.332);
    assert_eq!(set["experiment"]["pixel"], 0.172);
    assert_eq!(set["distance"], 740.0);
    assert_eq!(plan.run.memory, Some(8_000_000_000));
    assert_eq!(plan.nodes[node(&plan, "fit")].run.snapshot_s, Some(0.2));
    assert_eq!(plan.results, [("distance".to_owned(), node(&plan, "fit"), "lsd".into())]);
    assert_eq!(plan.tests[0].set, ["detector.frames=20"]);
    let expected: Vec<(&str, f64)> =
        plan.tests[0].expect.iter().map(|e| (e.what.text.as_str(), e.within)).collect();
    assert_eq!(expected, [("fit.lsd", 0.5), ("ledger.done", 0.0)]);
    // 2 kHz by hand in Hz: one key of a shared table.
    assert_eq!(plan.nodes[node(&plan, "detector")].set["rate"], 2000.0);
}

/// Inputs are kept as full paths, so that a run can be resumed from anywhere.
fn absolute(path: &str) -> String {
    std::path::absolute(path).unwrap().display().to_string()
}

#[test]
fn keys_of_both_sides_travel_on_behind_a_join() {
    let plan = plan_of("good_join.toml");
    assert_eq!(feeds(&plan, "clean"), ["image=stream detector.image"]);
    assert_eq!(feeds(&plan, "save"), ["image=stream clean.image", "omega=stream motor.angle"]);
    assert_eq!(plan.nodes[node(&plan, "both")].role(), None);
    let path = plan.nodes[node(&plan, "motor")].set["path"].as_str().unwrap();
    assert_eq!(path, absolute(&format!("{RECIPES}/motor.csv")));
}

#[test]
fn an_include_is_changed_by_the_recipe_and_overrides_come_last() {
    let overrides =
        Overrides { set: vec!["detector.frames=7".into(), "run.chunk=4".into()], ..Overrides::default() };
    let plan = plan_with("good_include.toml", &overrides);
    assert_eq!(plan.nodes[0].set, serde_json::json!({ "frames": 7, "rate": 5.0 }));
    assert_eq!(plan.run.chunk, Some(4));
    assert_eq!(plan.written.len(), 2);
    assert!(plan.written[1].0.ends_with("part-source.toml"));
}

#[test]
fn arguments_reach_parameters_and_ports() {
    let arguments = BTreeMap::from([("frames".to_owned(), Value::Int(3))]);
    let plan = plan_with("good_argument.toml", &Overrides { arguments, ..Overrides::default() });
    assert_eq!(plan.nodes[0].set["frames"], 3);
    assert_eq!(plan.arguments["frames"], Value::Int(3));
    assert_eq!(plan.resolved["in"]["frames"], 3);
}

#[test]
fn a_default_path_starts_from_its_recipe_and_a_given_one_from_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (path, text) in [
        (
            "recipe/main.toml",
            "include = \"parts/source.toml\"\n[in]\nmotor = \"motor.csv\"\n[out]\na = \"read.angle\"",
        ),
        (
            "recipe/parts/source.toml",
            "[stage.read]\nuse = \"motor.read\"\nset = { path = { in = \"motor\" } }",
        ),
        ("recipe/motor.csv", ""),
        ("caller/motor.csv", ""),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let made = |overrides: &Overrides| {
        let recipe = recipe::load(&root.join("recipe/main.toml"), overrides).unwrap();
        plan::make(&recipe, &stages::registry()).map(|(plan, _)| plan.nodes[0].set["path"].clone())
    };
    let path = |path: &str| serde_json::Value::from(root.join(path).display().to_string());
    // The default stands in the recipe, one folder above the stage that reads it.
    assert_eq!(made(&Overrides::default()).unwrap(), path("recipe/motor.csv"));
    let given = |text: &str, folder: &str| Overrides {
        arguments: BTreeMap::from([("motor".to_owned(), Value::from(text))]),
        folder: root.join(folder),
        ..Overrides::default()
    };
    assert_eq!(made(&given("motor.csv", "caller")).unwrap(), path("caller/motor.csv"));
    assert_eq!(made(&given("../recipe/motor.csv", "caller")).unwrap(), path("caller/../recipe/motor.csv"));
    let faults = made(&given("motr.csv", "caller")).unwrap_err();
    assert_eq!(faults.codes(), ["E0118"]);
    let shown = faults.render(false);
    assert!(shown.contains("caller/motr.csv") && shown.contains("`motor.csv`"), "{shown}");
    // A default that is not there is shown where it stands.
    std::fs::remove_file(root.join("recipe/motor.csv")).unwrap();
    let shown = made(&Overrides::default()).unwrap_err().render(false);
    assert!(shown.contains("main.toml:3:9"), "{shown}");
}

/// A plan of a text over the stages of the tests.
fn plan_text(text: &str) -> Plan {
    let recipe = recipe::parse(text, &Path::new(RECIPES).join("text.toml")).unwrap();
    plan::make(&recipe, &stages::registry()).unwrap_or_else(|f| panic!("{f}")).0
}

#[test]
fn every_way_to_feed_a_port_has_its_feed() {
    let plan = plan_text(
        r#"
        [scan]
        axes = [{ name = "omega", n = 600 }]

        [stage.detector]
        use = "powder.simulate"
        set = { frames = 600 }

        [stage.dark]
        use  = "image.mean"
        from = "detector"

        [stage.slow]
        use  = "image.subtract"
        from = "detector"
        in   = { dark = "dark.image" }

        [stage.clean]
        use  = "image.mask"
        from = "slow"
        in   = { image = "detector.image", mask = "detector.head.mask" }

        [stage.other]
        use  = "image.subtract"
        from = "clean"
        in   = { dark = { file = "motor.csv" } }

        [stage.save]
        use  = "hdf5.write"
        from = "other"
        in   = { image = "other.image", omega = "scan.omega", sample = { value = "steel" }, who = "in.who" }
        set  = { path = "a.h5" }

        [in]
        who = "nobody"
        "#,
    );
    assert_eq!(feeds(&plan, "slow"), ["image=stream detector.image", "dark=latched dark.image"]);
    assert_eq!(feeds(&plan, "clean"), ["image=stream detector.image", "mask=head detector.mask"]);
    assert_eq!(feeds(&plan, "other"), ["image=stream clean.image", "dark=file ./motor.csv"]);
    assert_eq!(
        feeds(&plan, "save"),
        [
            "image=stream other.image",
            "omega=stream scan.omega",
            "sample=value text `steel`",
            "who=argument who"
        ]
    );
}

#[test]
fn tasks_run_before_streams_and_after_them() {
    let plan = plan_text(
        r#"
        [stage.search]
        use = "hedm.search"
        in  = { grid = "grid.grid", spots = "spots.spots" }
        set = { completeness = 0.5 }

        [stage.detector]
        use = "powder.simulate"
        set = { frames = 600 }

        [stage.spots]
        use  = "dct.segment"
        from = "detector"

        [stage.grid]
        use = "hedm.grid"
        set = { step = "2 um" }

        [out]
        grid = "search.grid"
        "#,
    );
    assert_eq!(feeds(&plan, "search"), ["grid=final grid.grid", "spots=final spots.spots"]);
    let order: Vec<&str> = plan.passes[0].nodes.iter().map(|id| plan.nodes[*id].name.as_str()).collect();
    assert_eq!(order, ["detector", "spots", "grid", "search"]);
}

#[test]
fn a_budget_adds_up() {
    let mut plan = plan_of("good.toml");
    let shapes = Shapes::default().with("image", Shape::array(Dtype::U16, &[512, 512]));
    let opened = BTreeMap::from([(0, Opened { frames: Some(600), shapes, ..Opened::default() })]);
    let budget = plan::budget(&plan, &opened, &BTreeMap::new(), &BTreeMap::new(), None, None).unwrap();
    // One frame is 512 * 512 * 2 bytes; four fit in a chunk of 2 MiB, the reorder buffer holds 64.
    let frame = 512 * 512 * 2;
    assert_eq!(budget.shares[0].memory, (64 + 4) * frame);
    // 8 MiB hold 4 chunks of 2 MiB.
    assert_eq!(budget.shares[1].memory, 4 * 4 * frame);
    assert_eq!(plan.nodes[3].role(), Some(Role::Writer));
    // The writer takes one image and, as the test's writer says, a byte for each letter of its path.
    assert_eq!(budget.disk, frame + "mean.h5".len() as u64);
    plan.nodes[0].run.keep = true;
    let kept = plan::budget(&plan, &opened, &BTreeMap::new(), &BTreeMap::new(), None, None).unwrap();
    assert_eq!(kept.disk - budget.disk, 600 * frame);
}

#[test]
fn the_schema_of_recipes_holds_together() {
    let schema = plan::recipe_schema(&stages::registry());
    let mut found = 0;
    fn walk(root: &serde_json::Value, part: &serde_json::Value, found: &mut usize) {
        if let Some(target) = part.get("$ref").and_then(|r| r.as_str()) {
            assert!(root.pointer(&target[1..]).is_some(), "{target} leads nowhere");
            *found += 1;
        }
        match part {
            serde_json::Value::Object(map) => map.values().for_each(|v| walk(root, v, found)),
            serde_json::Value::Array(list) => list.iter().for_each(|v| walk(root, v, found)),
            _ => (),
        }
    }
    walk(&schema, &schema, &mut found);
    assert!(found > 15, "{found} references");
    // A number with a unit may be written as text.
    let distance = &schema["$defs"]["set.powder.calibrate"]["properties"]["distance"];
    assert_eq!(distance["type"], serde_json::json!(["number", "string"]));
}

#[test]
fn faults_read_by_a_program_have_their_place() {
    let path = Path::new(RECIPES).join("unknown_parameter.toml");
    let recipe = recipe::load(&path, &Overrides::default()).unwrap();
    let json = plan::make(&recipe, &stages::registry()).unwrap_err().to_json();
    assert_eq!(json[0]["code"], "E0112");
    let place = &json[0]["places"][0];
    assert_eq!((place["line"].as_u64(), place["column"].as_u64()), (Some(10), Some(10)));
}

#[test]
fn parameters_of_one_stage_are_checked_alone() {
    let registry = stages::registry();
    let grid = registry.find("hedm.grid").unwrap();
    assert_eq!(plan::parameters(grid, "step = \"2 um\"").unwrap(), serde_json::json!({ "step": 2.0 }));
    assert_eq!(plan::parameters(grid, "step = 0").unwrap_err().codes(), ["E0115"]);
    assert_eq!(plan::parameters(grid, "step = = 0").unwrap_err().codes()[0], "E0101");
    let set = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
        plan::parameters_from_text(grid, &texts)
    };
    assert_eq!(set(&["step=500 nm"]).unwrap()["step"], 0.5);
    assert_eq!(set(&["setp=2", "step"]).unwrap_err().codes(), ["E0112", "E0109", "E0113"]);
    assert!(set(&[]).unwrap_err().render(false).contains("--set:1:1"));
    for declaration in registry.iter().filter(|d| d.name != "motor.read") {
        let example = (declaration.example)();
        plan::parameters(declaration, &example.set).unwrap_or_else(|f| panic!("{}: {f}", declaration.name));
    }
}

#[test]
fn command_line_values_are_toml_or_text() {
    assert_eq!(recipe::value_of("3"), Value::Int(3));
    assert_eq!(recipe::value_of("3.5"), Value::Float(3.5));
    assert_eq!(recipe::value_of("\"3\""), Value::from("3"));
    assert_eq!(recipe::value_of("steel"), Value::from("steel"));
    assert_eq!(recipe::value_of("[1, 2]"), Value::from(vec![Value::Int(1), Value::Int(2)]));
}
