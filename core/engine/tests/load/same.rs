//! The stages of the example, loaded and linked, give the same bits.

use std::sync::{Arc, Mutex};

use isard_core::contract::pull;
use isard_core::registry::{Declaration, Registry};
use isard_core::span::Ranges;
use isard_core::stage::{
    AnyFit, AnyFold, AnyPart, AnyReduce, AnyStage, AnyWriter, Arrival, Built, Cx, Emit, Output, Position,
    Pull, RunCx, Slice,
};
use isard_core::stage::{Gap, Reason};
use isard_core::{Array, Dict, Result, Span, Value};

use crate::library::{bytes, declared, example, run, stage};

// Linked, so that its inventory is in this binary: the stages to compare with.
use isard_example as _;

/// The linked and the loaded form of a stage.
fn both(name: &str) -> [Declaration; 2] {
    // Any use of the crate keeps the linker from dropping it.
    std::hint::black_box(&isard_example::isard_plugin);
    let linked = Registry::built_in().unwrap().find(name).unwrap().clone();
    [(*linked).clone(), declared(example(), name)]
}

/// Does the same with both forms and compares the records they leave.
fn compare(name: &str, set: &str, work: impl Fn(Built, &Cx) -> Vec<Value>) {
    let run = run();
    let [linked, loaded] = both(name).map(|declaration| {
        let cx = Cx::new(&run, "it");
        let mut left = work(stage(&declaration, set), &cx);
        for gap in cx.take_gaps() {
            left.push(Value::from(format!("{gap:?}")));
        }
        left
    });
    assert!(linked.len() > 1, "{name} left too little to compare");
    assert_eq!(linked.len(), loaded.len());
    for (at, (linked, loaded)) in linked.into_iter().zip(loaded).enumerate() {
        let what = format!("{name}, record {at}: {linked:?} and {loaded:?}");
        assert_eq!(bytes(linked), bytes(loaded), "{what}");
    }
}

/// Images whose pixels differ from each other and from frame to frame.
fn images(first: u64, frames: usize) -> Array {
    let pixels: Vec<u16> =
        (0..frames * 12).map(|i| ((first as usize * 12 + i) * 7919 % 1000) as u16).collect();
    Array::of(&[frames, 3, 4], &pixels).unwrap()
}

fn reals(first: u64, frames: usize) -> Array {
    let pixels: Vec<f32> = images(first, frames).to_f64().unwrap().iter().map(|x| *x as f32 * 0.1).collect();
    Array::of(&[frames, 3, 4], &pixels).unwrap()
}

fn describe(stage: &dyn AnyStage) -> Vec<Value> {
    let shapes = isard_core::stage::Shapes::default()
        .with("image", isard_core::stage::Shape::array(isard_core::Dtype::U16, &[3, 4]));
    vec![
        Value::from(format!("{:?}", stage.check())),
        Value::from(format!("{:?}", stage.shapes(&shapes))),
        Value::from(format!("{:?}", stage.cost(&shapes))),
    ]
}

fn gap(start: u64, len: u64) -> Gap {
    Gap { span: Span::frames(start, len), reason: Reason::Missing, why: "lost on the way".into() }
}

#[test]
fn declarations_are_the_same() {
    for name in [
        "example.beat",
        "example.normalize",
        "example.smooth",
        "example.moments",
        "example.decay",
        "example.csv",
        "example.raster",
    ] {
        let [linked, loaded] = both(name);
        assert_eq!(linked.schema, loaded.schema);
        assert_eq!((&linked.inputs, &linked.outputs), (&loaded.inputs, &loaded.outputs));
        assert_eq!((linked.kind, linked.role, linked.early), (loaded.kind, loaded.role, loaded.early));
        assert_eq!((linked.doc, linked.version), (loaded.doc, loaded.version));
        let (a, b) = ((linked.example)(), (loaded.example)());
        assert_eq!((bytes(a.frames), bytes(a.fixed), a.set), (bytes(b.frames), bytes(b.fixed), b.set));
        assert_eq!((a.tolerance, a.external), (b.tolerance, b.external));
    }
}

#[test]
fn a_source_gives_the_same_frames() {
    compare("example.beat", r#"{"frames": 11, "size": [3, 4], "dark_every": 4}"#, |built, cx| {
        let mut left = describe(built.stage());
        let Built::Source(mut source) = built else { panic!("a source") };
        for next in [0, 5] {
            let opened = source.open(cx, Dict::new(), Position { next }).unwrap();
            left.push(Value::from(format!("{:?} {:?} {}", opened.frames, opened.scan, opened.live)));
            left.push(Value::from(format!("{:?}", opened.shapes)));
            left.push(opened.head.into());
            loop {
                let (pull, arrivals) = pull(&mut *source, cx, 4, next).unwrap();
                for arrival in arrivals {
                    let Arrival::Frames { first, count, data } = arrival else { panic!("good frames") };
                    left.extend([Value::Int(first as i64), Value::Int(count as i64), data.into()]);
                }
                if pull == Pull::End {
                    break;
                }
            }
        }
        left
    });
}

#[test]
fn a_map_gives_the_same_images_and_gives_up_the_same_frames() {
    compare("example.normalize", r#"{"weakest": 0.2}"#, |built, cx| {
        let mut left = describe(built.stage());
        let Built::Map(map) = built else { panic!("a map") };
        for flat in [false, true] {
            let mut input =
                Dict::new().with("image", images(5, 3)).with("monitor", Array::from_slice(&[0.7, 0.1, 0.3]));
            if flat {
                input.set("flat", reals(90, 1).record(0).unwrap());
            }
            left.push(map.apply(cx, &Span::frames(5, 3), input).unwrap().into());
        }
        left
    });
}

fn emitted(emit: &mut Emit<Dict>) -> Vec<Value> {
    let (items, gaps) = emit.take();
    let mut left = vec![Value::from(format!("{gaps:?}"))];
    for (span, dict) in items {
        left.extend([Value::from(span.to_string()), dict.into()]);
    }
    left
}

#[test]
fn a_fold_emits_the_same_with_a_gap_and_a_saved_state() {
    compare("example.smooth", r#"{"reach": 2}"#, |built, cx| {
        let mut left = describe(built.stage());
        let Built::Fold(mut fold) = built else { panic!("a fold") };
        left.push(Value::from(format!("{:?}", fold.lag())));
        let mut emit = Emit::default();
        let push = |fold: &mut dyn AnyFold, first, n, emit: &mut Emit<Dict>| {
            fold.push(cx, &Span::frames(first, n as u64), Dict::new().with("image", reals(first, n)), emit)
        };
        push(&mut *fold, 0, 4, &mut emit).unwrap();
        fold.gap(cx, &gap(4, 2), &mut emit).unwrap();
        push(&mut *fold, 6, 3, &mut emit).unwrap();
        let state = fold.save().unwrap();
        left.push(state.clone().into());
        push(&mut *fold, 9, 1, &mut emit).unwrap();
        fold.load(state).unwrap();
        push(&mut *fold, 9, 2, &mut emit).unwrap();
        fold.finish(cx, &mut emit).unwrap();
        left.extend(emitted(&mut emit));
        left
    });
}

fn added(reduce: &dyn AnyReduce, cx: &Cx, first: u64, n: usize) -> AnyPart {
    let mut part = reduce.part(cx).unwrap();
    reduce
        .add(cx, &mut part, &Span::frames(first, n as u64), Dict::new().with("image", images(first, n)))
        .unwrap();
    part
}

#[test]
fn a_reduction_merges_peeks_and_saves_the_same() {
    compare("example.moments", "{}", |built, cx| {
        let mut left = describe(built.stage());
        let Built::Reduce(reduce) = built else { panic!("a reduction") };
        let reduce = &*reduce;
        let empty = reduce.part(cx).unwrap();
        assert!(reduce.peek(cx, &empty).unwrap().is_none());
        let mut part = added(reduce, cx, 0, 5);
        left.push(reduce.peek(cx, &part).unwrap().unwrap().into());
        reduce.merge(cx, &mut part, added(reduce, cx, 5, 2)).unwrap();
        let state = reduce.save(&part).unwrap();
        left.push(state.clone().into());
        let mut again = reduce.load(cx, state).unwrap();
        reduce.merge(cx, &mut again, empty).unwrap();
        left.push(reduce.finish(cx, again).unwrap().into());
        left
    });
}

#[test]
fn a_part_of_another_reduction_is_refused() {
    let run = RunCx::default();
    let cx = Cx::new(&run, "it");
    let stages = [0, 1].map(|_| match stage(&declared(example(), "example.moments"), "{}") {
        Built::Reduce(reduce) => reduce,
        _ => panic!("a reduction"),
    });
    let mut part = added(&*stages[0], &cx, 0, 2);
    let other = added(&*stages[1], &cx, 2, 2);
    assert!(stages[0].merge(&cx, &mut part, other).is_err());
    assert!(stages[1].peek(&cx, &part).is_err());
}

fn fitted(fit: &mut dyn AnyFit, cx: &Cx, steps: usize) -> Vec<Value> {
    let mut left = vec![];
    for _ in 0..steps {
        let fitness = fit.refine(cx, &Slice::one_step()).unwrap();
        left.extend([Value::Float(fitness.cost), Value::Bool(fitness.more)]);
    }
    left.push(fit.snapshot(cx).unwrap().map_or(Value::None, Value::Dict));
    left
}

#[test]
fn a_fit_takes_the_same_steps() {
    compare("example.decay", r#"{"longest": 50.0}"#, |built, cx| {
        let mut left = describe(built.stage());
        let Built::Fit(mut fit) = built else { panic!("a fit") };
        assert!(fit.snapshot(cx).unwrap().is_none());
        let absorb = |fit: &mut dyn AnyFit, first, n| {
            fit.absorb(cx, &Span::frames(first, n as u64), Dict::new().with("image", reals(first, n)))
        };
        absorb(&mut *fit, 0, 5).unwrap();
        left.extend(fitted(&mut *fit, cx, 3));
        fit.gap(cx, &gap(5, 1)).unwrap();
        absorb(&mut *fit, 6, 3).unwrap();
        fit.complete(cx).unwrap();
        left.extend(fitted(&mut *fit, cx, 4));
        let state = fit.save().unwrap();
        left.push(state.clone().into());
        left.extend(fitted(&mut *fit, cx, 4));
        fit.load(state).unwrap();
        left.extend(fitted(&mut *fit, cx, 4));
        left
    });
}

/// An output that remembers what was written.
#[derive(Default)]
struct Memory(Mutex<Vec<Value>>);

impl Output for Memory {
    fn seal(&self, path: &str, bytes: &[u8]) -> Result<()> {
        if path.contains("_0002") {
            return Err(isard_core::Error::new(isard_core::Blame::Resources, "the disk is full").transient());
        }
        self.0.lock().unwrap().extend([Value::from(format!("seal {path}")), Array::from_slice(bytes).into()]);
        Ok(())
    }
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.0
            .lock()
            .unwrap()
            .extend([Value::from(format!("replace {path}")), Array::from_slice(bytes).into()]);
        Ok(())
    }
    fn record(&self) -> String {
        r#"{"seed": 7}"#.into()
    }
}

#[test]
fn a_writer_writes_the_same_files_and_hears_of_a_full_disk() {
    compare("example.csv", r#"{"name": "means"}"#, |built, cx| {
        let mut left = describe(built.stage());
        let Built::Writer(mut writer) = built else { panic!("a writer") };
        let memory = Arc::new(Memory::default());
        let write = |writer: &mut dyn AnyWriter, first, n| {
            writer.write(cx, &Span::frames(first, n as u64), Dict::new().with("image", images(first, n)))
        };
        writer.open(cx, memory.clone(), None).unwrap();
        write(&mut *writer, 0, 3).unwrap();
        let committed = writer.commit(cx).unwrap();
        left.push(committed.clone().into());
        write(&mut *writer, 3, 1).unwrap();
        writer.open(cx, memory.clone(), Some(committed)).unwrap();
        writer.gap(cx, &gap(3, 2)).unwrap();
        write(&mut *writer, 5, 2).unwrap();
        left.push(writer.commit(cx).unwrap().into());
        let mut covers = Ranges::default();
        covers.add(0..3);
        covers.add(5..7);
        writer.finish(cx, &covers).unwrap();
        write(&mut *writer, 7, 1).unwrap();
        let error = writer.commit(cx).unwrap_err();
        assert!(error.is_transient());
        left.push(Value::from(format!("{:?} {}", error.blame(), error.message())));
        drop(writer);
        assert_eq!(Arc::strong_count(&memory), 1, "the writer let go of its output");
        left.append(&mut memory.0.lock().unwrap());
        left
    });
}

#[test]
fn a_task_gives_the_same_table() {
    compare("example.raster", r#"{"points": [3, 4], "step": 0.25}"#, |built, cx| {
        let mut left = describe(built.stage());
        let Built::Task(mut task) = built else { panic!("a task") };
        let input = Dict::new().with("middle", Array::from_slice(&[1.5, -2.0]));
        left.push(task.run(cx, input).unwrap().into());
        left.push(task.run(cx, Dict::new()).unwrap().into());
        left
    });
}

#[test]
fn faults_of_parameters_cross_with_their_names_and_help() {
    compare("example.decay", r#"{"shortest": 5.0, "longest": 2.0}"#, |built, _| {
        let faults = built.stage().check();
        assert_eq!(
            (faults[0].parameter.as_str(), faults[0].help.as_deref()),
            ("longest", Some("raise `longest`"))
        );
        describe(built.stage())
    });
    let errors =
        both("example.decay").map(|d| (d.build)(serde_json::json!({"longest": "far"})).err().unwrap());
    assert_eq!(errors[0], errors[1]);
}
