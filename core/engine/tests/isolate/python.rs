//! Python plugins: their declarations, their stages, their errors.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isard_core::contract;
use isard_core::load::isolate::Hosts;
use isard_core::load::{self, isolate};
use isard_core::port::PortKind;
use isard_core::registry::{Declaration, Role};
use isard_core::stage::{Built, Cx, RunCx};
use isard_core::{Array, Blame, Dict, Dtype, Span, Value};
use serde_json::json;

use crate::library::root;

/// Whether there is a Python with numpy; says so when a test has to do without.
fn python(test: &str) -> bool {
    let named = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = std::process::Command::new(named).args(["-c", "import numpy"]).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        // Past the harness, which would keep it to itself.
        let _ = writeln!(std::io::stderr(), "skipped: {test} (no python3 with numpy)");
    }
    found
}

fn plugin(folder: &Path, text: &str) -> std::path::PathBuf {
    let path = folder.join("mine.py");
    std::fs::write(&path, format!("import numpy as np\nimport isard\n\n{text}")).unwrap();
    path
}

fn example(name: &str) -> Declaration {
    let all = load::library(&root().join("examples/python/example.py")).unwrap();
    all.into_iter().find(|d| d.name == name).unwrap()
}

#[test]
fn annotations_and_docstrings_become_ports_and_parameters() {
    if !python("annotations_and_docstrings_become_ports_and_parameters") {
        return;
    }
    let map = example("python.threshold");
    assert_eq!((map.role, map.summary()), (Role::Map, "Marks and counts the pixels above a limit."));
    let (image, count) = (&map.inputs[0], &map.outputs[1]);
    let axes = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    let PortKind::Array { dtype, axes: found } = &image.kind else { panic!("{:?}", image.kind) };
    assert_eq!(
        (dtype.to_string().as_str(), found.clone(), &*image.doc),
        ("u16", axes(&["y", "x"]), "The image.")
    );
    let PortKind::Array { dtype, axes: found } = &count.kind else { panic!("{:?}", count.kind) };
    assert_eq!((dtype.to_string().as_str(), found.clone()), ("i64", axes(&[])));
    assert_eq!(&*count.doc, "How many pixels are above the limit.");
    let above = &map.schema["properties"]["above"];
    let wanted =
        json!({ "description": "The limit; pixels above it are marked.", "type": "number", "default": 10.0 });
    assert_eq!(*above, wanted);
    assert!(map.apart.unwrap().is_only() && map.origin.ends_with("examples/python/example.py"));
}

#[test]
fn the_contract_holds_for_every_role_in_python() {
    if !python("the_contract_holds_for_every_role_in_python") {
        return;
    }
    let all = load::library(&root().join("examples/python/example.py")).unwrap();
    let mut roles: Vec<_> = all.iter().map(|d| d.role.to_string()).collect();
    roles.sort();
    assert_eq!(roles, ["fit", "fold", "map", "reduce", "source", "task", "writer"]);
    for declaration in all {
        let declaration = Arc::new(declaration);
        let broken = contract::check(&declaration);
        assert!(broken.is_empty(), "{}:\n  {}", declaration.name, broken.join("\n  "));
    }
}

#[test]
fn an_exception_names_file_and_line_and_leaves_the_stage_well() {
    if !python("an_exception_names_file_and_line_and_leaves_the_stage_well") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = "def inner(x):\n    return 1 / x\n\n\n@isard.task(\"mine.divide\")\ndef divide(x: float) -> {\"y\": float}:\n    \
                if x < 0:\n        raise isard.DataError(f\"found {x}, wanted 0 or more\")\n    return {\"y\": inner(x)}\n";
    let path = plugin(folder.path(), text);
    let declaration = load::library(&path).unwrap().remove(0);
    let Built::Task(mut task) = (declaration.build)(json!({})).unwrap() else { panic!("a task") };
    let run = RunCx::default();
    let cx = Cx::new(&run, "it");
    let error = task.run(&cx, Dict::new().with("x", 0.0)).unwrap_err();
    assert_eq!(
        (error.blame(), error.message()),
        (Blame::Plugin, "ZeroDivisionError: float division by zero")
    );
    // Counted in the text above: two lines before it, then the second and the ninth.
    let places = [format!("{}:5 in `inner`", path.display()), format!("{}:12 in `divide`", path.display())];
    assert_eq!(error.places()[..2], places);
    assert_eq!(error.advice(), Some("the line is `return 1 / x`"));
    let error = task.run(&cx, Dict::new().with("x", -1.0)).unwrap_err();
    assert_eq!((error.blame(), error.message()), (Blame::Data, "found -1.0, wanted 0 or more"));
    assert_eq!(task.run(&cx, Dict::new().with("x", 4.0)).unwrap().get("y"), Some(&Value::Float(0.25)));
}

#[test]
fn images_are_views_and_outputs_come_back_where_they_were_made() {
    if !python("images_are_views_and_outputs_come_back_where_they_were_made") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = plugin(
        folder.path(),
        "A = isard.Array(\"u16\", \"y x\", fixed=True)\n\n\n@isard.job(\"mine.next\")\n\
         def next(image: A) -> {\"image\": A, \"same\": A, \"where\": str, \"maps\": int}:\n    \
         assert not image.flags.owndata and not image.flags.writeable\n    \
         out = isard.empty(image.shape, image.dtype)\n    np.add(image, 1, out=out)\n    \
         maps = sum(\"memfd:isard\" in line for line in open(\"/proc/self/maps\"))\n    \
         return {\"image\": out, \"same\": image, \"where\": \"in Python\", \"maps\": maps}\n",
    );
    let declaration = load::library(&path).unwrap().remove(0);
    let hosts = Hosts::new(1);
    let mut task = hosts.take(&declaration, &json!({})).unwrap();
    let mut image = hosts.pool().take(Dtype::U16, &[2048, 2048]).unwrap();
    image.as_slice_mut::<u16>().unwrap().iter_mut().enumerate().for_each(|(i, x)| *x = i as u16);
    let image = image.freeze();
    let mut maps = vec![];
    for _ in 0..300 {
        let output = task.call(&Dict::new().with("image", image.clone())).unwrap();
        let array = |key: &str| match output.get(key) {
            Some(Value::Array(array)) => array.clone(),
            other => panic!("{key}: {other:?}"),
        };
        assert_eq!(array("same").bytes().as_ptr(), image.bytes().as_ptr());
        let next = array("image");
        let next = next.as_slice::<u16>().unwrap();
        assert!([0, 1, 65_535, 4_194_303].iter().all(|i| next[*i] == (*i as u16).wrapping_add(1)));
        maps.extend(output.get("maps").and_then(Value::number));
    }
    // One segment of isard's and one or two of its own, however many calls there are.
    assert!(maps.iter().all(|n| *n <= 4.0) && maps[10] == maps[299], "{maps:?}");
}

#[test]
fn a_crash_a_hang_and_an_exit_of_python_end_their_host_alone() {
    if !python("a_crash_a_hang_and_an_exit_of_python_end_their_host_alone") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = plugin(
        folder.path(),
        "import os, signal, time\n\n\n@isard.map(\"mine.end\")\n\
         def end(image: isard.Array[\"u16\", \"y x\"], *, how: str) -> {\"n\": int}:\n    \
         if how == \"crash\":\n        print(\"my last word\")\n        os.kill(os.getpid(), signal.SIGSEGV)\n    \
         if how == \"exit\":\n        os._exit(7)\n    while how == \"hang\":\n        time.sleep(0.01)\n    return {\"n\": 1}\n",
    );
    let declaration = load::library(&path).unwrap().remove(0);
    let told = |how: &str| {
        let Built::Map(map) = (declaration.build)(json!({ "how": how })).unwrap() else { panic!("a map") };
        let run = RunCx { hang_s: 0.5, ..RunCx::default() };
        let input = Dict::new().with("image", Array::of(&[1, 1, 2], &[1u16, 2]).unwrap());
        map.apply(&Cx::new(&run, "it"), &Span::frames(9, 1), input).map_err(|e| e.to_string())
    };
    let crash = told("crash").unwrap_err();
    assert!(crash.contains("SIGSEGV") && crash.contains("in `apply` on frame 9"), "{crash}");
    assert!(crash.contains("`mine.end` of mine.py") && crash.contains("my last word"), "{crash}");
    assert!(told("exit").unwrap_err().contains("ended with exit code 7"));
    assert!(told("hang").unwrap_err().contains("has not come back for 0.5 s"));
    told("nothing").unwrap();
    std::thread::sleep(Duration::from_millis(10));
}

#[test]
fn files_that_cannot_be_plugins_say_why() {
    if !python("files_that_cannot_be_plugins_say_why") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str| load::library(&plugin(folder.path(), text)).unwrap_err().to_string();
    for (text, wanted) in [
        ("x = 1\n", "it declares no stage"),
        ("def broken(:\n", "SyntaxError: invalid syntax"),
        ("raise KeyError('gone')\n", "mine.py:4 in `<module>`"),
        ("@isard.map(\"mine.odd\")\ndef odd(image: set): ...\n", "`image` is annotated <class 'set'>"),
        (
            "@isard.reduce(\"mine.half\")\nclass Half: ...\n",
            "is a reduce and lacks add, merge, finish, save, load",
        ),
    ] {
        let error = refused(text);
        assert!(error.contains(wanted), "{text:?}: {error}");
    }
    let path = plugin(
        folder.path(),
        "@isard.task(\"mine.one\")\ndef one() -> {\"x\": int}:\n    return {\"x\": 1}\n",
    );
    let digest = load::hash(&path).unwrap();
    assert_eq!(load::recorded(&path, &digest).unwrap().len(), 1);
    let error = load::recorded(&path, &digest.replace(&digest[..4], "0000")).unwrap_err();
    assert!(error.message().contains("has changed: its SHA-256 is"), "{error}");
    // What changes between the declaration and the run is refused, too.
    let declaration = load::library(&path).unwrap().remove(0);
    let built = (declaration.build)(json!({})).unwrap();
    std::fs::write(&path, "import isard\n").unwrap();
    let error = (declaration.build)(json!({})).err().unwrap();
    assert!(error.to_string().contains("has changed: its SHA-256 is"), "{error}");
    drop(built);
    let all = load::folder(&root().join("examples/python")).unwrap();
    assert_eq!(all.len(), 7);
}

#[test]
fn a_folder_that_anybody_may_write_to_is_refused_for_python_too() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = plugin(folder.path(), "");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = load::library(&path).unwrap_err();
    assert!(error.message().contains("anybody may write to"), "{error}");
    // No Python was needed to say so.
    assert!(
        isolate::isolated(&crate::library::declared(crate::library::misbehaving(), "test.job")).is_some()
    );
}
