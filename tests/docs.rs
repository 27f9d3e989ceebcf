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
    for page in ["README.md", "ARCHITECTURE.md", "docs/recipes.md", "docs/live.md", "docs/stem.md"] {
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

/// What each requirement of pixelated STEM is decided by: tests that are there, or a row that is said to be open.
#[test]
fn every_requirement_names_what_decides_it() {
    let text = std::fs::read_to_string(root().join("docs/stem.md")).unwrap();
    let (mut ids, mut open) = (vec![], vec![]);
    for line in text.lines().filter(|l| l.starts_with("| ")) {
        let mut cells = line.trim_matches('|').splitn(2, '|');
        let (id, decides) = (cells.next().unwrap().trim(), cells.next().unwrap_or_default());
        let number = id.get(1..).is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit()));
        if !number || !id.starts_with(|c: char| c.is_ascii_uppercase()) {
            continue;
        }
        ids.push(id.to_owned());
        if decides.trim().starts_with("open") {
            open.push(id.to_owned());
        }
        for named in decides.split('`').filter(|t| t.contains(".rs::")) {
            let (file, test) = named.split_once("::").unwrap();
            let source =
                std::fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{id}: {file}: {e}"));
            assert!(source.contains(&format!("fn {test}()")), "{id}: {file} has no test `{test}`");
        }
    }
    let all = |letter: char, numbers: std::ops::RangeInclusive<u32>, but: &[u32]| {
        let but = but.to_vec();
        numbers.filter(move |n| !but.contains(n)).map(move |n| format!("{letter}{n}")).collect::<Vec<_>>()
    };
    let wanted = [
        all('A', 1..=11, &[]),
        all('B', 1..=9, &[]),
        all('C', 1..=10, &[6]),
        all('D', 1..=9, &[]),
        all('E', 1..=4, &[]),
        all('F', 1..=9, &[]),
        all('G', 1..=7, &[]),
    ];
    assert_eq!(ids, wanted.concat());
    assert!(open.len() <= 4 && open.iter().all(|id| !id.starts_with('A')), "{open:?}");
}

/// Licences that ask for no more than a notice, or that a program may be linked under.
#[test]
fn every_dependency_has_a_plain_licence() {
    let plain = [
        "MIT",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "Zlib",
        "0BSD",
        "Unlicense",
        "CC0-1.0",
        "BSL-1.0",
        "Unicode-3.0",
        "MPL-2.0",
        "bzip2-1.0.6",
        "NCSA",
        "CDLA-Permissive-2.0",
        "MIT-0",
    ];
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let asked = std::process::Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    if !asked.status.success() {
        return skipped(
            "every_dependency_has_a_plain_licence",
            "the sources of the dependencies are not on this machine",
        );
    }
    let metadata: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    for package in packages {
        let (name, licence) =
            (package["name"].as_str().unwrap(), package["license"].as_str().unwrap_or("none"));
        let one = |text: &str| {
            plain.contains(&text.trim().trim_matches(['(', ')']).split(" WITH ").next().unwrap_or("").trim())
        };
        // HDF5 comes with its licence as a file, which is that of BSD in three clauses.
        if name == "hdf5-metno-src" && package["license_file"] == "ext/hdf5/LICENSE" {
            continue;
        }
        let good = licence.replace('/', " OR ").split(" OR ").any(|choice| choice.split(" AND ").all(one));
        let each = licence.split(" AND ").all(|part| part.split(" OR ").any(one));
        assert!(good || each, "{name}: {licence}");
    }
}
