//! Generated pages are what the code says, and every recipe in text and in `recipes/` is in order.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/shared.rs"]
mod shared;

use isard::command::self_check::{Trouble, differences};
use isard_core::plan;
use isard_core::recipe::{self, Overrides};

use shared::{root, skipped};

/// Compares a generated page with the committed one; `UPDATE=1` writes it anew.
fn compare(path: &str, generated: &str) {
    let path = root().join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(generated.lines()).position(|(a, b)| a != b);
    assert!(
        committed == generated,
        "{} is stale, first in line {}: run the test with UPDATE=1 and look at the difference",
        path.display(),
        differs.map_or(committed.lines().count(), |n| n + 1)
    );
}

fn registry() -> isard_core::registry::Registry {
    isard::registry(&isard::command::Plugins::default()).unwrap()
}

#[test]
fn the_reference_page_is_fresh() {
    compare("docs/stages.md", &isard::command::describe::reference(&registry()));
}

#[test]
fn the_schema_is_fresh() {
    compare("docs/schema.json", &isard::command::schema::text(&registry()));
}

#[test]
fn every_shipped_recipe_is_in_order() {
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("recipes")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        count += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("../shared") && !root().join("../shared").exists() {
            skipped(&path.display().to_string(), "no reference data");
            continue;
        }
        let recipe = recipe::load(&path, &Overrides::default()).unwrap_or_else(|faults| panic!("{faults}"));
        plan::make(&recipe, &registry()).unwrap_or_else(|faults| panic!("{faults}"));
    }
    assert!(count >= 3, "found only {count} recipes");
}

#[test]
fn every_recipe_in_text_is_in_order() {
    let mut count = 0;
    for page in ["README.md", "ARCHITECTURE.md", "docs/recipes.md", "docs/live.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            if !block.starts_with("isard =") {
                continue;
            }
            count += 1;
            let recipe =
                recipe::parse(block, &root().join(page)).unwrap_or_else(|faults| panic!("{page}: {faults}"));
            plan::make(&recipe, &registry()).unwrap_or_else(|faults| panic!("{page}: {faults}"));
        }
    }
    assert!(count > 0, "no recipe in the text");
}

#[test]
fn the_tests_that_recipes_carry_hold() {
    let (mut count, over) = (0, Overrides::default());
    for entry in std::fs::read_dir(root().join("recipes/small")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("shared/data") && !root().join("../shared").exists() {
            skipped(&path.display().to_string(), "no reference data");
            continue;
        }
        let recipe = recipe::load(&path, &over).unwrap_or_else(|faults| panic!("{faults}"));
        let (plan, _) = plan::make(&recipe, &registry()).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(!plan.tests.is_empty(), "{} carries no test", path.display());
        for test in &plan.tests {
            count += 1;
            let scratch = tempfile::tempdir().unwrap();
            let differ = differences(&path, &over, test, &registry(), &scratch.path().join("out"));
            let differ = differ.unwrap_or_else(|trouble| match trouble {
                Trouble::Faults(faults) => panic!("{faults}"),
                Trouble::Error(error) => panic!("{error}"),
            });
            assert!(differ.is_empty(), "{}: {}: {differ:?}", path.display(), test.name.text);
        }
    }
    assert!(count >= 3, "found only {count} tests in recipes");
}
