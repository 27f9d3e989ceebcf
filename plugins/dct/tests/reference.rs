//! The whole chain against the plain reference of every rule, over random scans.
//!
//! The reference is a Python program that isard did not write (`ref_chain.py`, `ref_dthr.py` of the reference data). It
//! runs with the interpreter of `ISARD_PYTHON`, else `python3`; where numpy, scipy or h5py are missing, or the
//! reference data, the test is skipped and says so.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{AnyFold, AnyMap, AnyTask, Built, RunCx};
use isard_dct as _;
use isard_image as _;
use serde_json::{Value as Json, json};

/// Random scans.
const CASES: usize = 240;

fn skipped(why: &str) {
    // Past the harness, which keeps what passing tests print.
    let _ = writeln!(std::io::stderr(), "skipped: the_chain_is_that_of_the_reference ({why})");
}

fn build(name: &str, set: Json) -> Built {
    (Registry::built_in().unwrap().find(name).unwrap().build)(set).unwrap()
}

fn fold(name: &str, set: Json) -> Box<dyn AnyFold> {
    let Built::Fold(fold) = build(name, set) else { panic!("`{name}` is no fold") };
    fold
}

/// Frames in the order they come in, by number; what is not there is missing.
type Frames = Vec<(u64, Array)>;

/// Runs a fold over frames in chunks, with its state saved and taken back on the way.
fn run_fold(
    cx: &Cx,
    make: &dyn Fn() -> Box<dyn AnyFold>,
    frames: &Frames,
    n: u64,
    chunk: usize,
    beside: &dyn Fn(&Span) -> Dict,
) -> Vec<(Span, Dict)> {
    let (mut fold, mut out, mut emit) = (make(), vec![], Emit::default());
    // A gap comes where its frame would have been, and behind a ring before its turn.
    let mut gaps: Vec<u64> = (0..n).filter(|k| !frames.iter().any(|(number, _)| number == k)).collect();
    let mut tell = |fold: &mut Box<dyn AnyFold>, before: u64, emit: &mut Emit<Dict>| {
        let later = gaps.partition_point(|k| *k < before);
        for k in gaps.drain(..later) {
            let gap = Gap { span: Span::frames(k, 1), reason: Reason::Missing, why: "".into() };
            fold.gap(cx, &gap, emit).unwrap();
        }
    };
    let mut at = 0;
    while at < frames.len() {
        let follows = |k: &usize| {
            frames[*k].0 == frames[k - 1].0 + 1 && frames[*k].1.dtype() == frames[k - 1].1.dtype()
        };
        let same = (at + 1..frames.len()).take_while(follows).count();
        let len = (same + 1).min(chunk);
        let parts: Vec<Array> = frames[at..at + len].iter().map(|f| f.1.lead()).collect();
        let image = Array::concat(&parts.iter().collect::<Vec<_>>(), cx.pool()).unwrap();
        let span = Span::frames(frames[at].0, len as u64);
        let turned = at > 0 && frames[at].0 < frames[at - 1].0;
        tell(&mut fold, if turned { n } else { frames[at].0 }, &mut emit);
        fold.push(cx, &span, beside(&span).with("image", image), &mut emit).unwrap();
        at += len;
        if at % 3 == 0 {
            let state = fold.save().unwrap();
            fold = make();
            fold.load(state).unwrap();
        }
        out.extend(emit.take().0);
    }
    tell(&mut fold, n, &mut emit);
    fold.finish(cx, &mut emit).unwrap();
    out.extend(emit.take().0);
    out
}

fn images(emitted: Vec<(Span, Dict)>) -> Frames {
    let image = |(span, dict): (Span, Dict)| {
        let Some(Value::Array(image)) = dict.get("image").cloned() else { panic!("an image") };
        (0..span.len).map(move |k| (span.start + k, image.record(k as usize).unwrap())).collect::<Vec<_>>()
    };
    emitted.into_iter().flat_map(image).collect()
}

fn floats(array: &Array) -> Vec<f32> {
    array.to_f64().unwrap().into_iter().map(|v| v as f32).collect()
}

fn raw<T: bytemuck::Pod>(path: &Path) -> Vec<T> {
    bytemuck::pod_collect_to_vec(&std::fs::read(path).unwrap())
}

struct Case {
    set: Json,
    frames: Frames,
    n: u64,
    shape: [usize; 2],
    bad: Array,
    dark: Option<Array>,
}

fn load(folder: &Path, k: usize) -> Case {
    let at = |what: &str| folder.join(format!("{k}.{what}"));
    let set: Json = serde_json::from_slice(&std::fs::read(at("json")).unwrap()).unwrap();
    let whole = |name: &str| set[name].as_u64().unwrap() as usize;
    let (shape, n) = ([whole("ny"), whole("nx")], whole("n") as u64);
    let pixels = shape[0] * shape[1];
    let all = match set["float"].as_bool().unwrap() {
        true => Array::of(
            &[set["numbers"].as_array().unwrap().len(), shape[0], shape[1]],
            &raw::<f32>(&at("frames")),
        ),
        false => Array::of(
            &[set["numbers"].as_array().unwrap().len(), shape[0], shape[1]],
            &raw::<u16>(&at("frames")),
        ),
    };
    let all = all.unwrap();
    // The first arrival of a number wins, and frames are sorted: the work of the engine's sorter.
    let mut sorted = BTreeMap::new();
    for (i, number) in set["numbers"].as_array().unwrap().iter().enumerate() {
        sorted.entry(number.as_u64().unwrap()).or_insert_with(|| all.record(i).unwrap());
    }
    let bad = Array::of(&shape, &raw::<u8>(&at("bad"))).unwrap();
    let darks = whole("darks");
    let dark = (darks > 0).then(|| {
        let stack = raw::<u16>(&at("dark"));
        assert_eq!(stack.len(), darks * pixels);
        Array::of(&[darks, shape[0], shape[1]], &stack).unwrap()
    });
    Case { frames: sorted.into_iter().collect(), n, shape, bad, dark, set }
}

/// Preprocessed frames in the order in which they come out.
fn preprocess(cx: &Cx, case: &Case, chunk: usize) -> Frames {
    let mut frames = case.frames.clone();
    if case.set["float"].as_bool().unwrap() {
        let mut fixed = Dict::new();
        if let Some(stack) = &case.dark {
            let Built::Task(mut task) =
                build("dct.dark", json!({ "dark_zwise_reduction": case.set["dark_reduce"] }))
            else {
                panic!("`dct.dark` is a task")
            };
            let out = AnyTask::run(&mut *task, cx, Dict::new().with("stack", stack.clone())).unwrap();
            fixed.set("dark", out.get("dark").unwrap().clone());
        }
        if chunk == 16 {
            return raw_frames(cx, case, chunk, fixed.with("mask", case.bad.clone()));
        }
        let Built::Map(offset) = build("dct.offset", json!({})) else { panic!("`dct.offset` is a map") };
        frames = map(cx, &*offset, &frames, &fixed);
        if case.set["norm"] == "margin" {
            let stage = fold("dct.normalize", json!({ "margin_boxes": boxes(case) }));
            frames = images(normalized(cx, stage, &frames, &Dict::new().with("mask", case.bad.clone())));
        }
    }
    // In integers the median beside a masked pixel is rounded, so masks go with floats.
    let whole = chunk == 3 && case.bad.as_slice::<u8>().unwrap().iter().all(|b| *b == 0);
    let set = json!({
        "window": case.set["window"], "edge": case.set["edge"], "batch": 1 + chunk % 5,
        "dtype": if whole { "compact" } else { "f32" },
    });
    let make = || fold("dct.background", set.clone());
    let background = images(run_fold(cx, &make, &frames, case.n, chunk, &|_| Dict::new()));
    filtered(cx, case, &background)
}

/// The same with raw frames as far as the median, which takes dark, mask and factors itself.
fn raw_frames(cx: &Cx, case: &Case, chunk: usize, fixed: Dict) -> Frames {
    let mut frames = case.frames.clone();
    let mut factors: BTreeMap<u64, f64> = frames.iter().map(|(number, _)| (*number, 1.0)).collect();
    if case.set["norm"] == "margin" {
        let set = json!({ "margin_boxes": boxes(case), "apply": false });
        let given = normalized(cx, fold("dct.normalize", set), &frames, &fixed);
        let factor = |(span, dict): (Span, Dict)| {
            let Some(Value::Array(factor)) = dict.get("factor") else { panic!("a factor") };
            (span.start, factor.as_slice::<f64>().unwrap()[0])
        };
        factors = given.into_iter().map(factor).collect();
        frames.retain(|(number, _)| factors.contains_key(number));
    }
    let beside = |span: &Span| {
        let factors: Vec<f64> = span.range().map(|k| factors[&k]).collect();
        fixed.clone().with("factor", Array::from_slice(&factors))
    };
    let set = json!({ "window": case.set["window"], "edge": case.set["edge"], "batch": 1 + chunk % 5 });
    let make = || fold("dct.background", set.clone());
    filtered(cx, case, &images(run_fold(cx, &make, &frames, case.n, chunk, &beside)))
}

fn boxes(case: &Case) -> Vec<Json> {
    let all = case.set["boxes"].as_array().unwrap().iter();
    all.map(|b| json!({ "y": [b[0], b[2]], "x": [b[1], b[3]] })).collect()
}

fn filtered(cx: &Cx, case: &Case, background: &Frames) -> Frames {
    let set = json!({ "median_filter_y": case.set["filt"][0], "median_filter_x": case.set["filt"][1] });
    let Built::Map(median) = build("image.median", set) else { panic!("`image.median` is a map") };
    map(cx, &*median, background, &Dict::new().with("mask", case.bad.clone()))
}

fn map(cx: &Cx, stage: &dyn AnyMap, frames: &Frames, fixed: &Dict) -> Frames {
    let one = |(number, frame): &(u64, Array)| {
        let input: Dict = fixed.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let out = stage.apply(cx, &Span::frames(*number, 1), input.with("image", frame.lead())).unwrap();
        let Some(Value::Array(image)) = out.get("image") else { panic!("an image") };
        (*number, image.record(0).unwrap())
    };
    frames.iter().map(one).collect()
}

fn normalized(cx: &Cx, mut stage: Box<dyn AnyFold>, frames: &Frames, fixed: &Dict) -> Vec<(Span, Dict)> {
    let mut emit = Emit::default();
    let mut out = vec![];
    for (number, frame) in frames {
        let input = fixed.clone().with("image", frame.lead());
        stage.push(cx, &Span::frames(*number, 1), input, &mut emit).unwrap();
        out.extend(emit.take().0);
    }
    out
}

fn check(cx: &Cx, folder: &Path, k: usize, chunk: usize) -> usize {
    let case = load(folder, k);
    let pixels = case.shape[0] * case.shape[1];
    let expected = raw::<f32>(&folder.join(format!("{k}.expected")));
    let prepared = preprocess(cx, &case, chunk);
    let normed = case.set["norm"] == "margin";
    let mut there = vec![false; case.n as usize];
    for (number, frame) in &prepared {
        there[*number as usize] = true;
        let wanted = &expected[*number as usize * pixels..][..pixels];
        for (p, (found, wanted)) in floats(frame).into_iter().zip(wanted).enumerate() {
            // A sum of the margin in another order may turn the last bit of the factor.
            let near = normed && (found - wanted).abs() <= 2e-6 * wanted.abs().max(400.0);
            assert!(
                found == *wanted || near,
                "case {k}, frame {number}, pixel {p}: {found}, wanted {wanted}\n{}",
                case.set
            );
        }
    }
    for (number, there) in there.iter().enumerate() {
        let missing = expected[number * pixels] == f32::NEG_INFINITY;
        assert_eq!(*there, !missing, "case {k}: frame {number}");
    }
    let mut set = json!({ "wrap": case.set["wrap"], "gap": case.set["gap"] });
    for name in
        ["threshold", "tolerance", "bb_max", "connectivity", "overlap", "min_seed_voxels", "t_low", "t_high"]
    {
        set[name] = case.set[name].clone();
    }
    if let Some(e) = case.set["exclude"].as_array() {
        set["exclude_box"] = json!({ "y": [e[0], e[1]], "x": [e[2], e[3]] });
    }
    let make = || fold("dct.segment", set.clone());
    let emitted = run_fold(cx, &make, &prepared, case.n, chunk, &|_| Dict::new());
    let mut spots = vec![];
    for (_, dict) in emitted {
        let Some(Value::Table(table)) = dict.get("spots").cloned() else { panic!("a table") };
        (0..table.rows()).for_each(|row| spots.push((table.clone(), row)));
    }
    let whole = |(table, row): &(Table, usize), name: &str| table.numbers::<i64>(name).unwrap()[*row];
    let real = |(table, row): &(Table, usize), name: &str| table.numbers::<f64>(name).unwrap()[*row];
    let place = |s: &(Table, usize)| ["peak_frame", "peak_row", "peak_column"].map(|name| whole(s, name));
    spots.sort_by(|a, b| real(b, "peak").total_cmp(&real(a, "peak")).then(place(a).cmp(&place(b))));
    let rows = raw::<f64>(&folder.join(format!("{k}.blobs")));
    let masks = raw::<u8>(&folder.join(format!("{k}.masks")));
    assert_eq!(spots.len(), rows.len() / 19, "case {k}: {}", case.set);
    let mut voxels = 0;
    for (spot, wanted) in spots.iter().zip(rows.chunks_exact(19)) {
        let found = [
            "peak_frame",
            "peak_row",
            "peak_column",
            "first_frame",
            "row",
            "column",
            "frames",
            "rows",
            "columns",
            "voxels",
            "area",
        ];
        let wanted_whole = [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12].map(|k| wanted[k] as i64);
        assert_eq!(found.map(|name| whole(spot, name)), wanted_whole, "case {k}: {}", case.set);
        let near =
            |a: f64, b: f64, by: f64| (a - b).abs() <= by * b.abs().max(1.0) || (a.is_nan() && b.is_nan());
        assert!(near(real(spot, "peak"), wanted[0], if normed { 1e-5 } else { 0.0 }));
        assert!(near(real(spot, "threshold"), wanted[4], if normed { 1e-5 } else { 0.0 }));
        assert!(near(real(spot, "integral"), wanted[13], if normed { 1e-4 } else { 1e-9 }));
        for (name, k) in [("centroid_frame", 14), ("centroid_row", 15), ("centroid_column", 16)] {
            assert!(near(real(spot, name), wanted[k], if normed { 1e-4 } else { 1e-7 }), "{name}");
        }
        assert_eq!(whole(spot, "flags") & 3, wanted[17] as i64 + 2 * wanted[18] as i64, "case {k}");
        let Column::Ragged { ends, values } = spot.0.column("mask").unwrap() else { panic!("ragged masks") };
        let from = if spot.1 == 0 { 0 } else { ends[spot.1 - 1] } as usize;
        let mask = &values.as_slice::<u8>().unwrap()[from..ends[spot.1] as usize];
        assert_eq!(mask, &masks[voxels..voxels + mask.len()], "case {k}");
        voxels += mask.len();
    }
    spots.len()
}

#[test]
fn the_chain_is_that_of_the_reference() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let reference = manifest.join("../../../shared/reference/dct");
    if !reference.exists() {
        return skipped("no reference data");
    }
    let python = std::env::var("ISARD_PYTHON").unwrap_or_else(|_| "python3".into());
    let imports = Command::new(&python).args(["-c", "import numpy, scipy, h5py"]).output();
    if !imports.is_ok_and(|o| o.status.success()) {
        return skipped("no python with numpy, scipy and h5py: name one in ISARD_PYTHON");
    }
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(&python)
        .arg("-B")
        .arg(manifest.join("tests/reference.py"))
        .args([reference.as_os_str(), folder.path().as_os_str()])
        .args(["0".to_owned(), CASES.to_string()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let run = RunCx::default();
    let cx = Cx::new(&run, "tested");
    let mut spots = 0;
    for k in 0..CASES {
        spots += check(&cx, folder.path(), k, [1, 3, 16][k % 3]);
    }
    assert!(spots > 1000, "{spots} spots are too few to mean much");
}
