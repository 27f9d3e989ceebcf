//! Tasks that run in `check`.

#![expect(clippy::unwrap_used, reason = "tests may; the lint does not see that helpers are tests too")]

mod stages;

use std::collections::BTreeMap;
use std::path::Path;

use isard_core::diagnostic::Diagnostics;
use isard_core::plan::{self, Plan};
use isard_core::recipe;
use isard_core::registry::{Declaration, Registry, Role};
use isard_core::run::{self, Options, Out};
use isard_core::{Dict, Value};

/// What the early tasks of a recipe gave, by the name of their stage.
fn early(text: &str, registry: &Registry) -> Result<BTreeMap<String, Dict>, Diagnostics> {
    let recipe = recipe::parse(text, Path::new("early.toml")).unwrap();
    let (plan, _): (Plan, _) = plan::make(&recipe, registry).unwrap_or_else(|faults| panic!("{faults}"));
    let given = run::early(&plan, &Options::new(Out::Numbered("never".into())))?;
    Ok(given.into_iter().map(|(id, output)| (plan.nodes[id].name.clone(), output)).collect())
}

#[test]
fn tasks_of_constants_run_and_others_wait_for_the_run() {
    let text = r#"
        [stage.lines]
        use = "crystal.reflections"
        in  = { side = { value = 4.07 } }
        set = { spacing = "1 A" }
        [stage.first]
        use = "hedm.grid"
        set = { step = 1.0 }
        [stage.from_file]
        use = "crystal.reflections"
        in  = { side = "in.side" }
        set = { spacing = "1 A" }
        [in]
        side = { type = "float" }
        [out]
        lines = "lines.hkl"
        grid = "first.grid"
        other = "from_file.hkl"
    "#;
    let given = early(text, &stages::registry()).unwrap();
    // A grid is not declared early; a parameter without a value is not known yet.
    assert_eq!(given.keys().collect::<Vec<_>>(), ["lines"]);
    // By hand: 4.07 A over h is at least 1 A for h of 1 to 4.
    let Some(Value::Array(hkl)) = given["lines"].get("hkl") else { panic!("{given:?}") };
    assert_eq!(hkl.shape(), [4, 3]);
    assert_eq!(hkl.to_f64().unwrap()[9..], [4.0, 0.0, 0.0]);
}

#[test]
fn every_failing_task_is_a_fault_with_its_place() {
    let one = |name: &str, spacing: &str| {
        format!(
            "[stage.{name}]\nuse = \"crystal.reflections\"\nin = {{ side = {{ value = 4.0 }} }}\nset = {{ spacing = {spacing} }}\n"
        )
    };
    let text = format!("{}{}{}[out]\nb = \"b.hkl\"", one("a", "5.0"), one("b", "2.0"), one("c", "9.0"));
    let faults = early(&text, &stages::registry()).unwrap_err();
    assert_eq!(faults.codes(), ["E0163", "E0163"]);
    let shown = faults.render(false);
    assert!(shown.contains("early.toml:1:8") && shown.contains("early.toml:9:8"), "{shown}");
    assert!(shown.contains("no spacing of a cell of 4 A is 9 A or more"), "{shown}");
    assert!(shown.contains("lower `spacing`"), "{shown}");
}

/// The registry with one stage changed.
fn with(name: &str, change: impl Fn(&mut Declaration)) -> isard_core::Result<Registry> {
    let mut registry = Registry::default();
    for declaration in stages::registry().iter() {
        let mut declaration = (**declaration).clone();
        if declaration.name == name {
            change(&mut declaration);
        }
        registry.add(declaration)?;
    }
    Ok(registry)
}

const LINES: &str = r#"
    [run]
    hang_s = 0.2
    [stage.lines]
    use = "crystal.reflections"
    in  = { side = { value = 4.07 } }
    set = { spacing = "1 A" }
    [out]
    lines = "lines.hkl"
"#;

#[test]
fn a_task_that_hangs_or_panics_is_a_fault_too() {
    // The plan builds it once, on the test's thread; only the build that is to run misbehaves.
    let here = std::thread::current().id();
    for (wanted, hangs) in [("has not come back for 0.2 s", true), ("panicked in `run`: a bad day", false)] {
        let registry = with("crystal.reflections", |declaration| {
            let build = declaration.build.clone();
            declaration.build = std::sync::Arc::new(move |set| {
                if std::thread::current().id() != here {
                    if hangs {
                        std::thread::sleep(std::time::Duration::from_secs(5));
                    } else {
                        panic!("a bad day");
                    }
                }
                build(set)
            });
        });
        // Printing where it panicked may take longer than the limit that a hanging one is held to.
        let text = if hangs { LINES.to_owned() } else { LINES.replace("0.2", "20.0") };
        let faults = early(&text, &registry.unwrap()).unwrap_err();
        assert!(faults.render(false).contains(wanted), "{faults}");
    }
}

#[test]
fn only_a_task_can_be_early() {
    let error = with("image.mask", |declaration| declaration.early = true).unwrap_err();
    assert!(error.message().contains("`image.mask` of `isard-tests` is a map"), "{error}");
    let early: Vec<Role> = stages::registry().iter().filter(|d| d.early).map(|d| d.role).collect();
    assert_eq!(early, [Role::Task, Role::Task]);
}
