//! A plugin that misbehaves on demand, and asks the engine for everything it may.

mod job;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use isard_core::prelude::*;
use rand::RngExt;

isard_core::export_plugin!();

/// Does what it is told, wrong or right.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Misbehave {
    /// What to do.
    how: How,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum How {
    Nothing,
    Panic,
    PanicInPar,
    Fail,
    WrongShape,
    WrongDtype,
    WrongLead,
    Par,
    Read,
    Random,
    GiveUp,
    Log,
    Prepare,
    Cancelled,
    PanicInDrop,
    Segfault,
    Abort,
    Exit,
    Hang,
    Stubborn,
    Print,
}

#[derive(Ports)]
struct Image {
    /// An image.
    #[port(dtype = "f32", axes = "y x")]
    image: Array,
}

impl Stage for Misbehave {
    type In = Image;
    type Out = Image;

    fn example() -> Example {
        Example::new("how = \"nothing\"").frames("image", Array::of(&[1, 1, 1], &[0f32]).expect("one pixel"))
    }
}

impl Drop for Misbehave {
    fn drop(&mut self) {
        if matches!(self.how, How::PanicInDrop) {
            panic!("told to panic in drop");
        }
    }
}

/// Sends this process a signal and waits for it.
fn end_by(signal: &str) {
    let id = std::process::id().to_string();
    // Twice: the first is taken for a full stack, about which the runtime has something to say.
    for _ in 0..2 {
        std::process::Command::new("kill").args(["-s", signal, &id]).status().expect("kill is there");
    }
    std::thread::sleep(std::time::Duration::from_secs(5));
}

fn one(value: f32) -> Image {
    Image { image: Array::of(&[1, 1, 1], &[value]).expect("one pixel") }
}

impl Map for Misbehave {
    fn apply(&self, cx: &Cx, span: &Span, input: Image) -> Result<Image> {
        let shaped = |shape: &[usize]| Ok(Image { image: cx.array(Dtype::F32, shape)?.freeze() });
        match self.how {
            How::Nothing | How::PanicInDrop => Ok(input),
            How::Panic => panic!("told to panic at {span}"),
            How::PanicInPar => {
                let work = |i| if i == 3 { panic!("told to panic in part {i}") } else { Ok(()) };
                cx.par(8, work).map(|()| input)
            }
            How::Fail => {
                Err(Error::new(Blame::Io, "told to fail").help("do not tell it").transient().at("inside"))
            }
            How::WrongShape => shaped(&[span.len as usize, 7]),
            How::WrongLead => shaped(&[span.len as usize + 1, 1, 1]),
            How::WrongDtype => Ok(Image { image: Array::of(&[1, 1, 1], &[1u16])? }),
            How::Par => {
                let sum = AtomicU64::new(0);
                cx.par(1000, |i| {
                    sum.fetch_add(i as u64, Ordering::Relaxed);
                    Ok(())
                })?;
                Ok(one(sum.into_inner() as f32))
            }
            How::Read => Ok(Image { image: cx.read_array("dark.npy")? }),
            How::Random => Ok(one(cx.rng(span.start).random::<f32>())),
            How::GiveUp => {
                cx.give_up(span.start, Reason::Skipped, "told to give it up");
                Ok(input)
            }
            How::Log => {
                tracing::warn!(frame = span.start, "Told to warn.");
                tracing::trace!("Nobody listens to this.");
                Ok(input)
            }
            How::Prepare => {
                static BUILT: AtomicU64 = AtomicU64::new(0);
                let build = || Ok((BUILT.fetch_add(1, Ordering::Relaxed) + 1, 8));
                let times: Arc<u64> = cx.prepared("misbehave", build)?;
                Ok(one(*times as f32))
            }
            How::Cancelled => cx.check().map(|()| input),
            How::Segfault => {
                // The signal itself: `unsafe` has no place in a plugin, not even in one that misbehaves.
                end_by("SEGV");
                Ok(input)
            }
            How::Abort => {
                eprintln!("this is the end");
                std::process::abort()
            }
            How::Exit => std::process::exit(42),
            How::Hang => loop {
                cx.check()?;
                std::thread::sleep(std::time::Duration::from_millis(2));
            },
            How::Stubborn => loop {
                std::thread::sleep(std::time::Duration::from_millis(2));
            },
            How::Print => {
                println!("a word of the plugin");
                Ok(input)
            }
        }
    }
}

declare!(Map, "test.misbehave", Kind::Reducer, Misbehave);
