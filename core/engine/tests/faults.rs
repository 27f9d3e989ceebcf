//! Faults of recipes: golden cases, the pages of their codes, and texts that are no recipes at all.
//!
//! `UPDATE=1 cargo test -p isard-core --test faults` writes the golden files anew.

#![expect(clippy::unwrap_used, reason = "tests may; the lint does not see that helpers are tests too")]

mod stages;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use isard_core::diagnostic::Diagnostics;
use isard_core::plan::{self, Plan};
use isard_core::recipe::{self, Overrides, Recipe};
use isard_core::registry::Role;
use isard_core::run::{self, Options, Out};
use isard_core::stage::{Opened, Shape, Shapes};
use isard_core::value::{Dtype, Value};

const RECIPES: &str = "../../tests/recipes";
const PAGES: &str = "../../docs/errors";

/// Reads, plans, runs early tasks and, when the recipe sets limits, counts memory and disk.
fn check(read: Result<Recipe, Diagnostics>) -> Diagnostics {
    let made = read.and_then(|recipe| plan::make(&recipe, &stages::registry()));
    match made {
        Err(faults) => faults,
        Ok((plan, warnings)) => {
            let options = Options::new(Out::Numbered("never".into()));
            let weighed = run::early(&plan, &options)
                .and_then(|early| plan::budget(&plan, &opened(&plan), &early, &BTreeMap::new(), None, None));
            weighed.err().unwrap_or(warnings)
        }
    }
}

/// Every source gives 600 frames of 2048 x 2048 pixels of 16 bits: 8 MB each.
fn opened(plan: &Plan) -> BTreeMap<usize, Opened> {
    let sources = plan.nodes.iter().enumerate().filter(|(_, n)| n.role() == Some(Role::Source));
    let shapes = Shapes::default().with("image", Shape::array(Dtype::U16, &[2048, 2048]));
    let one = Opened { frames: Some(600), shapes, ..Opened::default() };
    sources.map(|(id, _)| (id, one.clone())).collect()
}

/// The options that a text asks for in lines `# isard check [FILE] --set .. --site .. --arg NAME=INTEGER`.
fn options(text: &str, folder: &Path) -> Overrides {
    let mut overrides = Overrides::default();
    for line in text.lines().filter_map(|l| l.trim_start_matches("# ").strip_prefix("isard check ")) {
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let mut value = || words.next().expect("an option has a value").to_owned();
            match word {
                "--set" => overrides.set.push(value()),
                "--site" => overrides.site = Some(folder.join(value())),
                "--arg" => {
                    let (name, number) =
                        value().split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap();
                    overrides.arguments.insert(name, Value::Int(number.parse().unwrap()));
                }
                _ => (),
            }
        }
    }
    overrides
}

fn golden() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(RECIPES)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .filter(|p| !p.file_name().unwrap().to_string_lossy().starts_with("part-"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_fault_reads_as_its_golden_file() {
    let mut wrong = vec![];
    let files = golden();
    assert!(files.len() >= 40, "{} golden recipes", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let overrides = options(&text, Path::new(RECIPES));
        let found = check(recipe::load(&path, &overrides));
        let mut shown = found.render(false).replace(&format!("{RECIPES}/"), "");
        if shown.is_empty() {
            shown = "no faults\n".into();
        }
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&golden, &shown).unwrap();
        }
        if std::fs::read_to_string(&golden).unwrap_or_default() != shown {
            wrong.push(format!("{}:\n{shown}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "golden files differ (UPDATE=1 writes them anew)\n{}", wrong.join("\n"));
}

/// The block of a page in a language.
fn block<'a>(page: &'a str, language: &str) -> Option<&'a str> {
    let rest = page.split_once(&format!("```{language}\n"))?.1;
    Some(rest.split_once("```")?.0)
}

/// The codes that stand in the sources of the engine.
fn codes() -> BTreeSet<String> {
    fn walk(folder: &Path, codes: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                walk(&entry.path(), codes);
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            for piece in text.split('"') {
                let digits = piece.strip_prefix(['E', 'W']).unwrap_or_default();
                if digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()) {
                    codes.insert(piece.to_owned());
                }
            }
        }
    }
    let mut codes = BTreeSet::new();
    for folder in ["src/recipe", "src/plan", "src/run"] {
        walk(Path::new(folder), &mut codes);
    }
    codes
}

#[test]
fn every_code_has_a_page_whose_example_shows_it() {
    let codes = codes();
    assert!(codes.len() > 40, "found {codes:?}");
    let mut wrong = vec![];
    for code in &codes {
        let Ok(page) = std::fs::read_to_string(format!("{PAGES}/{code}.md")) else {
            wrong.push(format!("{code}: no page"));
            continue;
        };
        assert!(page.starts_with(&format!("# {code}: ")), "the title of {code}");
        let shell = block(&page, "sh").unwrap_or_default();
        let path = Path::new(RECIPES).join(shell.split_whitespace().nth(2).unwrap_or("recipe.toml"));
        let overrides = options(shell, Path::new(RECIPES));
        let read = match block(&page, "toml") {
            Some(text) => recipe::parse_with(text, &path, &overrides),
            None => recipe::load(&path, &overrides),
        };
        let found = check(read);
        if found.codes() != [code.as_str()] {
            wrong.push(format!("{code}: the example gives {:?}\n{found}", found.codes()));
        }
    }
    for entry in std::fs::read_dir(PAGES).unwrap().flatten() {
        let name = entry.path().file_stem().unwrap().to_string_lossy().into_owned();
        if !codes.contains(&name) {
            wrong.push(format!("{name}: a page of a code that is not used"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn deep_nesting_is_a_fault_and_never_a_crash() {
    let path = Path::new(RECIPES).join("recipe.toml");
    let n = 100_000;
    let texts = [
        format!("a = {}", "[".repeat(n)),
        format!("a = {}{}", "[".repeat(n), "]".repeat(n)),
        format!("a = {}", "{ a = ".repeat(n)),
        format!("{}a = 1", "a.".repeat(n)),
        format!("[{}a]", "a.".repeat(n)),
        format!("[stage.{}a]\nuse = \"image.mask\"", "a.".repeat(n)),
    ];
    for text in texts {
        assert!(check(recipe::parse(&text, &path)).has_errors(), "{}", &text[..40]);
    }
    let deep = Overrides { set: vec![format!("clean.{}a=3", "a.".repeat(n))], ..Overrides::default() };
    assert!(check(recipe::load(&Path::new(RECIPES).join("good.toml"), &deep)).has_errors());
    let deep = Overrides { set: vec![format!("clean.a={}", "[".repeat(n))], ..Overrides::default() };
    assert!(check(recipe::load(&Path::new(RECIPES).join("good.toml"), &deep)).has_errors());
}

#[test]
fn broken_text_is_a_fault_and_never_a_panic() {
    let texts: Vec<String> = golden().iter().map(|p| std::fs::read_to_string(p).unwrap()).collect();
    let mut seed = 12345u64;
    let mut next = |n: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % n.max(1)
    };
    let odd = [
        "\"",
        "'''",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        "\n",
        "\0",
        "é",
        "-1",
        "1e999",
        "[stage.",
        "in",
        "{ in = \"x\" }",
        "nan",
        "99999999999999999999",
        "#",
    ];
    let (mut faulty, path) = (0, Path::new(RECIPES).join("recipe.toml"));
    for round in 0..3000 {
        let mut text: Vec<char> = texts[next(texts.len())].chars().collect();
        for _ in 0..1 + round % 4 {
            let at = next(text.len() + 1);
            match next(5) {
                0 => drop(text.drain(at..(at + next(12)).min(text.len()))),
                1 => drop(text.splice(at..at, odd[next(odd.len())].chars())),
                2 => text.truncate(at.max(10)),
                3 => {
                    let other = &texts[next(texts.len())];
                    let line = other.lines().nth(next(other.lines().count())).unwrap_or_default();
                    let begin = (0..at).rev().find(|i| text[*i] == '\n').map_or(0, |i| i + 1);
                    drop(text.splice(begin..begin, format!("{line}\n").chars()));
                }
                _ => {
                    let a = next(text.len());
                    let b = next(text.len());
                    if !text.is_empty() {
                        text.swap(a, b);
                    }
                }
            }
        }
        let text: String = text.into_iter().collect();
        let found = check(recipe::parse(&text, &path));
        faulty += usize::from(found.has_errors());
        assert_eq!(found.render(true).is_empty(), found.is_empty());
        assert_eq!(found.to_json().as_array().map(Vec::len), Some(found.len()));
    }
    assert!(faulty > 2000, "{faulty} of 3000 mutated recipes were refused");
}
