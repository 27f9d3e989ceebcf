//! The C header, and the plugin that is written against it.

use std::collections::HashMap;
use std::fs;
use std::mem::offset_of;
use std::process::Command;

use isard_core::contract::pull;
use isard_core::load::abi;
use isard_core::port::check_output;
use isard_core::stage::{Arrival, Built, Cx, Position, Pull, RunCx};
use isard_core::{Array, Dict, Span, Value};

use crate::library::{c_example, declared, root, stage};

#[test]
fn the_header_and_the_engine_agree_on_every_field() {
    let mut wanted = HashMap::new();
    let mut code = String::from("#include <stdio.h>\n#include \"isard.h\"\nint main(void) {\n");
    macro_rules! fields {
        ($($c:literal = $rust:ty { $($field:ident $name:literal),* })*) => {$(
            wanted.insert($c.to_owned(), size_of::<$rust>());
            code += &format!("printf(\"{0} %zu\\n\", sizeof({0}));\n", $c);
            $(
                wanted.insert(format!("{}.{}", $c, $name), offset_of!($rust, $field));
                code += &format!("printf(\"{0}.{1} %zu\\n\", offsetof({0}, {1}));\n", $c, $name);
            )*
        )*};
    }
    fields! {
        "isard_text" = abi::Text { data "data", len "len" }
        "isard_keeper" = abi::Keeper { retain "retain", release "release" }
        "isard_array" = abi::Array {
            data "data", shape "shape", owner "owner", keeper "keeper", dtype "dtype", ndim "ndim"
        }
        "isard_list" = abi::List { items "items", len "len" }
        "isard_dict" = abi::Dict { entries "entries", len "len" }
        "isard_value" = abi::Value { kind "kind", as_ "as" }
        "isard_entry" = abi::Entry { key "key", value "value" }
        "isard_column" = abi::Column { name "name", kind "kind", array "array", texts "texts", ends "ends" }
        "isard_table" = abi::Table { rows "rows", records "records", columns "columns", len "len" }
        "isard_records" = abi::Records { axis "axis", start "start", len "len", reason "reason", why "why" }
        "isard_out" = abi::Out { size "size", this "self", put "put", array "array", end "end", part "part" }
        "isard_host" = abi::Host {
            size "size", this "self", stage "stage", seed "seed", cancelled "cancelled", par "par", read "read",
            give_up "give_up", buffer "buffer"
        }
        "isard_output" = abi::Output {
            size "size", this "self", keeper "keeper", seal "seal", replace "replace", record "record"
        }
        "isard_request" = abi::Request {
            size "size", op "op", records "records", input "input", next "next", room "room",
            nanoseconds "nanoseconds", part "part", later "later", output "output"
        }
        "isard_services" = abi::Services { size "size", this "self", listens "listens", log "log" }
        "struct isard_plugin" = abi::Plugin {
            magic "magic", version "version", size "size", start "start", declare "declare", build "build",
            call "call", discard "discard", example "example"
        }
    }
    macro_rules! numbers {
        ($($c:literal = $rust:expr),* $(,)?) => {$(
            wanted.insert($c.to_owned(), $rust as usize);
            code += &format!("printf(\"{0} %zu\\n\", (size_t){0});\n", $c);
        )*};
    }
    numbers! {
        "ISARD_MAGIC" = abi::MAGIC, "ISARD_VERSION" = abi::VERSION,
        "ISARD_OK" = abi::OK, "ISARD_ERROR" = abi::ERROR, "ISARD_NONE" = abi::NONE, "ISARD_WAIT" = abi::WAIT,
        "ISARD_U8" = isard_core::Dtype::U8, "ISARD_I64" = isard_core::Dtype::I64,
        "ISARD_F32" = isard_core::Dtype::F32, "ISARD_C64" = isard_core::Dtype::C64,
        "ISARD_KIND_NONE" = abi::kind::NONE, "ISARD_KIND_TEXT" = abi::kind::TEXT,
        "ISARD_KIND_DICT" = abi::kind::DICT, "ISARD_COLUMN_RAGGED" = abi::column::RAGGED,
        "ISARD_CHECK" = abi::op::CHECK, "ISARD_SHAPES" = abi::op::SHAPES, "ISARD_COST" = abi::op::COST,
        "ISARD_SAVE" = abi::op::SAVE, "ISARD_LOAD" = abi::op::LOAD, "ISARD_OPEN" = abi::op::OPEN,
        "ISARD_GAP" = abi::op::GAP, "ISARD_FINISH" = abi::op::FINISH, "ISARD_PULL" = abi::op::PULL,
        "ISARD_APPLY" = abi::op::APPLY, "ISARD_LAG" = abi::op::LAG, "ISARD_PUSH" = abi::op::PUSH,
        "ISARD_PART" = abi::op::PART, "ISARD_ADD" = abi::op::ADD, "ISARD_MERGE" = abi::op::MERGE,
        "ISARD_PEEK" = abi::op::PEEK, "ISARD_DISCARD" = abi::op::DISCARD, "ISARD_ABSORB" = abi::op::ABSORB,
        "ISARD_COMPLETE" = abi::op::COMPLETE, "ISARD_REFINE" = abi::op::REFINE,
        "ISARD_SNAPSHOT" = abi::op::SNAPSHOT, "ISARD_WRITE" = abi::op::WRITE,
        "ISARD_COMMIT" = abi::op::COMMIT, "ISARD_RUN" = abi::op::RUN, "ISARD_DROPPED" = abi::reason::DROPPED,
    }
    code += "return 0;\n}\n";

    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("sizes.c"), folder.path().join("sizes"));
    fs::write(&source, code).unwrap();
    let include = root().join("core/engine/include");
    let mut cc = Command::new("cc");
    cc.arg("-std=c99").arg("-I").arg(include).arg(&source).arg("-o").arg(&program);
    assert!(cc.status().unwrap().success());
    let text = String::from_utf8(Command::new(&program).output().unwrap().stdout).unwrap();
    let mut seen = 0;
    for line in text.lines() {
        let (name, number) = line.rsplit_once(' ').unwrap();
        assert_eq!(number.parse::<usize>().unwrap(), wanted[name], "{name}");
        seen += 1;
    }
    assert_eq!(seen, wanted.len());
}

fn numbers(dict: &Dict, key: &str) -> Vec<f64> {
    match dict.need(key).unwrap() {
        Value::Array(array) => array.to_f64().unwrap(),
        other => panic!("found {}", other.describe()),
    }
}

#[test]
fn a_map_in_c_clips_and_counts() {
    let declaration = declared(c_example(), "ramp.clip");
    assert_eq!(declaration.summary(), "Clips pixels to a range and counts those outside.");
    let Built::Map(map) = stage(&declaration, r#"{"low": -1.5, "high": 2.0e0}"#) else { panic!("a map") };
    let run = RunCx::default();
    let input = Dict::new().with("image", Array::of(&[2, 1, 3], &[-4f32, 0.5, 7.0, 1.0, 2.0, 2.5]).unwrap());
    let span = Span::frames(3, 2);
    let output = map.apply(&Cx::new(&run, "clip"), &span, input).unwrap();
    check_output(&declaration.outputs, Some(&span), &output).unwrap();
    // By hand: clipped to -1.5 .. 2.0; two pixels of the first frame and one of the second were outside.
    assert_eq!(numbers(&output, "image"), [-1.5, 0.5, 2.0, 1.0, 2.0, 2.0]);
    assert_eq!(numbers(&output, "outside"), [2.0, 1.0]);
    assert!(run.pool.in_use() > 0, "the output lies in a buffer of the host");
    drop(output);
    assert_eq!(run.pool.in_use(), 0);

    let error = map.apply(&Cx::new(&run, "clip"), &span, Dict::new()).unwrap_err();
    assert_eq!(error.message(), "found no `image` of f32");
    assert_eq!(error.blame(), isard_core::Blame::Data);
}

#[test]
fn a_fault_of_a_parameter_comes_from_c() {
    let built = stage(&declared(c_example(), "ramp.clip"), r#"{"low": 3, "high": 2}"#);
    let faults = built.stage().check();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].parameter, "high");
}

#[test]
fn a_source_in_c_plays_ramps() {
    let Built::Source(mut source) =
        stage(&declared(c_example(), "ramp.play"), r#"{"frames": 3, "width": 4}"#)
    else {
        panic!("a source")
    };
    let run = RunCx::default();
    let cx = Cx::new(&run, "play");
    assert_eq!(source.open(&cx, Dict::new(), Position { next: 0 }).unwrap().frames, Some(3));
    let mut all = vec![];
    for wanted in [Pull::Ready, Pull::Ready, Pull::End] {
        let (pulled, arrivals) = pull(&mut *source, &cx, 2, 0).unwrap();
        assert_eq!(pulled, wanted);
        all.extend(arrivals);
    }
    let [Arrival::Frames { first: 0, count: 2, .. }, Arrival::Frames { first: 2, count: 1, data }] = &all[..]
    else {
        panic!("found {all:?}")
    };
    assert_eq!(numbers(data, "image"), [2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn examples_come_from_c() {
    let example = (declared(c_example(), "ramp.clip").example)();
    assert_eq!(example.set, "low = 0.0\nhigh = 2.5");
    assert_eq!(numbers(&example.frames, "image"), [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
}
