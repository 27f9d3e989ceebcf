//! The chain stage by stage, each fold saved and taken back on the way.

use isard_core::prelude::*;
use isard_core::registry::Registry;
use isard_core::stage::{AnyFold, AnyMap, AnyTask, Built};
use serde_json::{Value as Json, json};

use super::case::{Case, Frames, Numbers};

pub fn build(name: &str, set: Json) -> Built {
    (Registry::built_in().unwrap().find(name).unwrap().build)(set).unwrap()
}

fn fold(name: &str, set: Json) -> Box<dyn AnyFold> {
    let Built::Fold(fold) = build(name, set) else { panic!("`{name}` is no fold") };
    fold
}

/// What goes with the frames of a span.
type Beside<'a> = &'a dyn Fn(&Span) -> Dict;

/// Runs a fold over frames in chunks, with its state saved and taken back on the way.
fn run_fold(
    cx: &Cx,
    make: &dyn Fn() -> Box<dyn AnyFold>,
    frames: &Frames,
    n: u64,
    chunk: usize,
    beside: Beside,
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

fn each<T>(emitted: &[(Span, Dict)], of: impl Fn(&Dict, u64) -> T) -> Vec<(u64, T)> {
    let one =
        |(span, dict): &(Span, Dict)| span.range().map(|k| (k, of(dict, k - span.start))).collect::<Vec<_>>();
    emitted.iter().flat_map(one).collect()
}

fn images(emitted: &[(Span, Dict)]) -> Frames {
    each(emitted, |dict, k| {
        let Some(Value::Array(image)) = dict.get("image") else { panic!("an image") };
        image.record(k as usize).unwrap()
    })
}

fn map(cx: &Cx, name: &str, set: Json, frames: &Frames, fixed: &Dict) -> Vec<(Span, Dict)> {
    let Built::Map(stage) = build(name, set) else { panic!("`{name}` is a map") };
    let one = |(number, frame): &(u64, Array)| {
        let span = Span::frames(*number, 1);
        let out = AnyMap::apply(&*stage, cx, &span, fixed.clone().with("image", frame.lead())).unwrap();
        (span, out)
    };
    frames.iter().map(one).collect()
}

/// The dark of the case, as `dct.dark` makes it.
pub fn dark(cx: &Cx, case: &Case) -> Option<Array> {
    let stack = case.stack.clone()?;
    let set = json!({ "dark_zwise_reduction": case.set["dark_reduce"] });
    let Built::Task(mut task) = build("dct.dark", set) else { panic!("`dct.dark` is a task") };
    let out = AnyTask::run(&mut *task, cx, Dict::new().with("stack", stack)).unwrap();
    let Some(Value::Array(dark)) = out.get("dark") else { panic!("a dark") };
    Some(dark.clone())
}

fn numbers(span: &Span, of: &Numbers) -> Array {
    let all: Vec<f64> = span.range().map(|k| of[&k]).collect();
    Array::from_slice(&all)
}

/// The chain of one case in chunks of some frames.
pub struct Chain<'a> {
    pub cx: &'a Cx<'a>,
    pub case: &'a Case,
    pub chunk: usize,
}

impl Chain<'_> {
    fn set(&self, compact: bool) -> Json {
        self.case.background(1 + self.chunk % 5, compact)
    }

    fn fold(&self, name: &str, set: Json, frames: &Frames, beside: Beside) -> Vec<(Span, Dict)> {
        run_fold(self.cx, &|| fold(name, set.clone()), frames, self.case.n, self.chunk, beside)
    }

    /// Counts straight to the median: without normalisation the dark cancels.
    pub fn counts(&self, compact: bool) -> Vec<(Span, Dict)> {
        self.fold("dct.background", self.set(compact), &self.case.frames, &|_| Dict::new())
    }

    /// Raw frames as far as the median, which takes dark, mask and factors itself.
    pub fn raw(&self) -> Vec<(Span, Dict)> {
        let (fixed, mut frames) = (self.fixed(), self.case.frames.clone());
        let mut factors: Numbers = frames.iter().map(|(number, _)| (*number, 1.0)).collect();
        let normed = !self.case.is("norm", "none");
        if normed {
            let emitted = self.even(&frames, false, &fixed);
            factors = each(&emitted, |dict, k| {
                let Some(Value::Array(factor)) = dict.get("factor") else { panic!("a factor") };
                factor.as_slice::<f64>().unwrap()[k as usize]
            })
            .into_iter()
            .collect();
            frames.retain(|(number, _)| factors.contains_key(number));
        }
        self.fold("dct.background", self.set(false), &frames, &|span| match normed {
            true => fixed.clone().with("factor", numbers(span, &factors)),
            false => fixed.clone(),
        })
    }

    /// By stages of their own: offset, normalisation, median.
    pub fn stages(&self) -> Vec<(Span, Dict)> {
        let offset = map(self.cx, "dct.offset", json!({}), &self.case.frames, &self.fixed());
        let mut frames = images(&offset);
        if !self.case.is("norm", "none") {
            frames = images(&self.even(&frames, true, &Dict::new().with("mask", self.case.bad.clone())));
        }
        let full = each(&offset, |dict, _| {
            let Some(Value::Table(full)) = dict.get("full") else { panic!("a table") };
            full.clone()
        });
        let full: std::collections::BTreeMap<u64, Table> = full.into_iter().collect();
        let mut out = self.fold("dct.background", self.set(false), &frames, &|_| Dict::new());
        // What is full is known before the dark is gone.
        out.iter_mut().for_each(|(span, dict)| dict.set("full", full[&span.start].clone()));
        out
    }

    fn fixed(&self) -> Dict {
        let fixed = Dict::new().with("mask", self.case.bad.clone());
        match dark(self.cx, self.case) {
            Some(dark) => fixed.with("dark", dark),
            None => fixed,
        }
    }

    fn even(&self, frames: &Frames, apply: bool, fixed: &Dict) -> Vec<(Span, Dict)> {
        let mut fixed = fixed.clone();
        if let Some(flats) = &self.case.flats {
            let less = |flats: &Array| -> Array {
                // The reference comes less its dark where frames do.
                let flats: Frames =
                    (0..flats.shape()[0]).map(|k| (k as u64, flats.record(k).unwrap())).collect();
                let less = images(&map(self.cx, "dct.offset", json!({}), &flats, &self.fixed()));
                let parts: Vec<Array> = less.iter().map(|f| f.1.lead()).collect();
                Array::concat(&parts.iter().collect::<Vec<_>>(), self.cx.pool()).unwrap()
            };
            fixed.set("reference", if apply { less(flats) } else { flats.clone() });
        }
        let monitors = self.case.is("norm", "monitor").then(|| self.case.monitors());
        self.fold("dct.normalize", self.case.even(apply), frames, &|span| match &monitors {
            Some(all) => fixed.clone().with("monitor", numbers(span, all)),
            None => fixed.clone(),
        })
    }

    /// From differences to spots, held against the reference; gives how many spots there are.
    pub fn check(&self, way: &str, background: Vec<(Span, Dict)>) -> usize {
        let full: std::collections::BTreeMap<u64, Table> = each(&background, |dict, _| {
            let Some(Value::Table(full)) = dict.get("full") else { panic!("a table") };
            full.clone()
        })
        .into_iter()
        .collect();
        let mask = Dict::new().with("mask", self.case.bad.clone());
        let clean = map(self.cx, "image.median", self.case.median(), &images(&background), &mask);
        let clean = images(&clean);
        self.case.check_frames(way, &clean);
        let omega = self.case.omegas();
        let emitted = self.fold("dct.segment", self.case.segment(), &clean, &|span| {
            let parts: Vec<&Table> = span.range().map(|k| &full[&k]).collect();
            let full = Table::concat(&parts, self.cx.pool()).unwrap();
            Dict::new().with("omega", numbers(span, &omega)).with("full", full)
        });
        let table = |(_, dict): (Span, Dict)| match dict.get("spots") {
            Some(Value::Table(table)) => table.clone(),
            other => panic!("`spots` is {other:?}"),
        };
        self.case.check_spots(way, emitted.into_iter().map(table).collect())
    }
}
