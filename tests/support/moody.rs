//! One stage of each role that misbehaves in an operation of choice, in a mood that no recipe knows of.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use isard_core::prelude::*;
use isard_core::span::Ranges;

use super::analysis::{ImageIn, Mood};
use super::set::Set;

/// The mood of all moody stages of this process.
pub struct Cure(AtomicU8);

/// The mood of the moment: set outside of recipes, so that a cured run has the recipe of the failed one.
pub static CURED: Cure = Cure(AtomicU8::new(0));

impl Cure {
    /// Sets the mood by its name.
    pub fn set(&self, mood: &str) {
        let number = match mood {
            "error" => 1,
            "panic" => 2,
            "hang" => 3,
            "shape" => 4,
            "dtype" => 5,
            "missing" => 6,
            _ => 0,
        };
        self.0.store(number, Ordering::Release);
    }

    fn get(&self) -> Mood {
        match self.0.load(Ordering::Acquire) {
            1 => Mood::Error,
            2 => Mood::Panic,
            3 => Mood::Hang,
            _ => Mood::Good,
        }
    }

    /// What a stage gives in this mood instead of what it should.
    fn spoil<P: Ports>(&self, good: P) -> Loose<P> {
        let mut dict = good.into_dict();
        let port = dict.keys().next().cloned().expect("every moody stage has an output");
        let value = dict.get(port.as_str()).cloned().expect("it is there");
        let bad = match (self.0.load(Ordering::Acquire), value) {
            (4, Value::Array(array)) => {
                // One axis too many, of two copies, where a frame has two.
                let bytes =
                    array.to_f64().expect("numbers").iter().flat_map(|x| [*x as u16; 2]).collect::<Vec<_>>();
                let shape = [array.shape(), &[2]].concat();
                Some(Array::of(&shape, &bytes).expect("two for each").into())
            }
            (4, _) => Some(Array::from_slice(&[1.0, 2.0]).into()),
            (5, Value::Array(array)) => {
                let pixels = array.to_f64().expect("numbers");
                Some(Array::of(array.shape(), &pixels).expect("as many").into())
            }
            (5, _) => Some("a word".into()),
            (6, _) => None,
            (_, value) => Some(value),
        };
        match bad {
            Some(bad) => dict.set(port, bad),
            None => dict.retain(|_| false),
        }
        Loose(dict, PhantomData)
    }
}

/// An output that need not be what its ports promise.
pub struct Loose<P>(Dict, PhantomData<fn() -> P>);

impl<P> Loose<P> {
    fn good(output: P) -> Loose<P>
    where
        P: Ports,
    {
        Loose(output.into_dict(), PhantomData)
    }
}

impl<P: Ports> Ports for Loose<P> {
    fn ports() -> Vec<isard_core::port::Port> {
        P::ports()
    }
    fn from_dict(dict: &mut Dict) -> Result<Self> {
        Ok(Loose(std::mem::take(dict), PhantomData))
    }
    fn into_dict(self) -> Dict {
        self.0
    }
}

/// One image of 16-bit counts out.
#[derive(Ports)]
pub struct PixelsOut {
    /// Pixels.
    #[port(dtype = "u16", axes = "y x")]
    pub image: Array,
}

/// The frame at which operations on frames go wrong.
const AT: u64 = 66;

/// Misbehaves, if this is the operation and the mood is for it.
fn act(chosen: &str, op: &str, span: Option<&Span>) -> Result<()> {
    if chosen != op || span.is_some_and(|s| !s.range().contains(&AT)) {
        return Ok(());
    }
    match CURED.get() {
        Mood::Error => Err(Error::data("a bad day")),
        Mood::Panic => panic!("a very bad day"),
        Mood::Hang => {
            std::thread::sleep(Duration::from_secs(3600));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Frames as they should be, or as the mood of the moment makes those around the frame.
fn at<P: Ports>(span: &Span, output: P) -> Loose<P> {
    if span.range().contains(&AT) { CURED.spoil(output) } else { Loose::good(output) }
}

fn pixels() -> Array {
    Array::of(&[40, 1, 1], &(0..40).collect::<Vec<u16>>()).expect("40 pixels")
}

fn sum(image: &Array) -> Result<f64> {
    Ok(image.to_f64()?.iter().sum())
}

fn number(state: &Dict, key: &str) -> f64 {
    state.get(key).and_then(Value::number).unwrap_or(0.0)
}

/// A moody map.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct MoodyMap {}

impl Stage for MoodyMap {
    type In = ImageIn;
    type Out = Loose<PixelsOut>;
    fn example() -> Example {
        Example::new("").frames("image", pixels())
    }
}

impl Map for MoodyMap {
    fn apply(&self, _: &Cx, span: &Span, input: ImageIn) -> Result<Self::Out> {
        act("apply", "apply", Some(span))?;
        Ok(at(span, PixelsOut { image: input.image }))
    }
}
declare!(Map, "moody.map", Kind::Reducer, MoodyMap);

/// A number.
#[derive(Ports)]
pub struct SumOut {
    /// The sum of all pixels.
    sum: f64,
}

/// A moody fold: gives every frame on at once and counts.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct MoodyFold {
    /// The operation that goes wrong.
    op: String,
    #[serde(skip)]
    #[schemars(skip)]
    seen: f64,
}

impl Stage for MoodyFold {
    type In = ImageIn;
    type Out = Loose<PixelsOut>;
    fn example() -> Example {
        Example::new("").frames("image", pixels())
    }
}

impl Fold for MoodyFold {
    fn lag(&self) -> Lag {
        Lag::Kept { lag: 0 }
    }
    fn push(&mut self, _: &Cx, span: &Span, input: ImageIn, emit: &mut Emit<Self::Out>) -> Result<()> {
        act(&self.op, "push", Some(span))?;
        self.seen += span.len as f64;
        let output = PixelsOut { image: input.image };
        emit.put(span.clone(), if self.op == "push" { at(span, output) } else { Loose::good(output) });
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap, _: &mut Emit<Self::Out>) -> Result<()> {
        Ok(())
    }
    fn finish(&mut self, _: &Cx, _: &mut Emit<Self::Out>) -> Result<()> {
        act(&self.op, "finish", None)
    }
    fn save(&self) -> Result<Dict> {
        act(&self.op, "save", None)?;
        Ok(Dict::new().with("seen", self.seen))
    }
    fn load(&mut self, state: Dict) -> Result<()> {
        self.seen = number(&state, "seen");
        Ok(())
    }
}
declare!(Fold, "moody.fold", Kind::Reducer, MoodyFold);

/// A moody reduction.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct MoodyReduce {
    /// The operation that goes wrong.
    op: String,
}

impl Stage for MoodyReduce {
    type In = ImageIn;
    type Out = Loose<SumOut>;
    fn example() -> Example {
        Example::new("").frames("image", pixels())
    }
}

impl Reduce for MoodyReduce {
    type Part = f64;
    fn part(&self, _: &Cx) -> Result<f64> {
        Ok(0.0)
    }
    fn add(&self, _: &Cx, part: &mut f64, span: &Span, input: ImageIn) -> Result<()> {
        act(&self.op, "add", Some(span))?;
        *part += sum(&input.image)?;
        Ok(())
    }
    fn merge(&self, _: &Cx, part: &mut f64, later: f64) -> Result<()> {
        act(&self.op, "merge", None)?;
        *part += later;
        Ok(())
    }
    fn peek(&self, _: &Cx, part: &f64) -> Result<Option<Self::Out>> {
        Ok(Some(Loose::good(SumOut { sum: *part })))
    }
    fn finish(&self, _: &Cx, part: f64) -> Result<Self::Out> {
        act(&self.op, "finish", None)?;
        Ok(CURED.spoil(SumOut { sum: part }))
    }
    fn save(&self, part: &f64) -> Result<Dict> {
        act(&self.op, "save", None)?;
        Ok(Dict::new().with("sum", *part))
    }
    fn load(&self, _: &Cx, state: Dict) -> Result<f64> {
        Ok(number(&state, "sum"))
    }
}
declare!(Reduce, "moody.reduce", Kind::Reducer, MoodyReduce);

/// A moody fit.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct MoodyFit {
    /// The operation that goes wrong.
    op: String,
    #[serde(skip)]
    #[schemars(skip)]
    sum: f64,
}

impl Stage for MoodyFit {
    type In = ImageIn;
    type Out = Loose<SumOut>;
    fn example() -> Example {
        Example::new("").frames("image", pixels()).tolerance("sum", 1e-9)
    }
}

impl Fit for MoodyFit {
    fn absorb(&mut self, _: &Cx, span: &Span, input: ImageIn) -> Result<()> {
        act(&self.op, "absorb", Some(span))?;
        self.sum += sum(&input.image)?;
        Ok(())
    }
    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        Ok(())
    }
    fn complete(&mut self, _: &Cx) -> Result<()> {
        Ok(())
    }
    fn refine(&mut self, _: &Cx, _: &Slice) -> Result<Fitness> {
        act(&self.op, "refine", None)?;
        Ok(Fitness { cost: 0.0, more: false })
    }
    fn snapshot(&self, _: &Cx) -> Result<Option<Self::Out>> {
        act(&self.op, "snapshot", None)?;
        Ok(Some(CURED.spoil(SumOut { sum: self.sum })))
    }
    fn save(&self) -> Result<Dict> {
        act(&self.op, "save", None)?;
        Ok(Dict::new().with("sum", self.sum))
    }
    fn load(&mut self, state: Dict) -> Result<()> {
        self.sum = number(&state, "sum");
        Ok(())
    }
}
declare!(Fit, "moody.fit", Kind::Fitter, MoodyFit);

/// A moody writer.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct MoodyWriter {
    /// The operation that goes wrong.
    op: String,
    /// The master's name.
    path: String,
    #[serde(skip)]
    #[schemars(skip)]
    set: Set,
}

impl Stage for MoodyWriter {
    type In = Dict;
    type Out = ();
    fn example() -> Example {
        Example::new("path = \"x.txt\"").frames("image", pixels())
    }
}

impl Writer for MoodyWriter {
    fn open(&mut self, cx: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        act(&self.op, "open", None)?;
        self.set = Set::at(&self.path, 8);
        self.set.open(cx, out, committed)
    }
    fn write(&mut self, cx: &Cx, span: &Span, input: Dict) -> Result<()> {
        act(&self.op, "write", Some(span))?;
        self.set.write(cx, span, input)
    }
    fn gap(&mut self, cx: &Cx, gap: &Gap) -> Result<()> {
        self.set.gap(cx, gap)
    }
    fn corrupt(&mut self, cx: &Cx, gap: &Gap, frame: Dict) -> Result<bool> {
        self.set.corrupt(cx, gap, frame)
    }
    fn commit(&mut self, cx: &Cx) -> Result<Dict> {
        act(&self.op, "commit", None)?;
        self.set.commit(cx)
    }
    fn finish(&mut self, cx: &Cx, covers: &Ranges) -> Result<()> {
        act(&self.op, "finish", None)?;
        self.set.finish(cx, covers)
    }
}
declare!(Writer, "moody.writer", Kind::Writer, MoodyWriter);

/// A moody source of forty frames.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct MoodySource {
    /// The operation that goes wrong.
    op: String,
    #[serde(skip)]
    #[schemars(skip)]
    next: u64,
}

impl Stage for MoodySource {
    type In = ();
    type Out = Loose<PixelsOut>;
    fn example() -> Example {
        Example::new("")
    }
}

impl Source for MoodySource {
    fn open(&mut self, _: &Cx, _: (), from: Position) -> Result<Opened> {
        act(&self.op, "open", None)?;
        self.next = from.next;
        let shapes = Shapes::default().with("image", Shape::array(Dtype::U16, &[1, 1]));
        Ok(Opened { frames: Some(120), head: Dict::new(), shapes, live: false, scan: vec![] })
    }
    fn pull(&mut self, _: &Cx, slots: &mut Slots<Self::Out>) -> Result<Pull> {
        if self.next >= 120 {
            return Ok(Pull::End);
        }
        act(&self.op, "pull", Some(&Span::frames(self.next, 1)))?;
        let output = PixelsOut { image: Array::of(&[1, 1, 1], &[self.next as u16])? };
        slots.put(self.next, at(&Span::frames(self.next, 1), output))?;
        self.next += 1;
        Ok(Pull::Ready)
    }
}
declare!(Source, "moody.source", Kind::Simulator, MoodySource);

/// A moody task.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct MoodyTask {}

/// What a moody task reads.
#[derive(Ports)]
pub struct ValueIn {
    /// Any number.
    value: Option<f64>,
}

impl Stage for MoodyTask {
    type In = ValueIn;
    type Out = Loose<SumOut>;
    fn example() -> Example {
        Example::new("")
    }
}

impl Task for MoodyTask {
    fn run(&mut self, _: &Cx, input: ValueIn) -> Result<Self::Out> {
        act("run", "run", None)?;
        Ok(CURED.spoil(SumOut { sum: input.value.unwrap_or(1.0) }))
    }
}
declare!(Task, "moody.task", Kind::Tool, MoodyTask);
