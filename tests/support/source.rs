//! A source that counts, and that loses, repeats, delays and corrupts frames when told to.

use std::time::{Duration, Instant};

use isard_core::prelude::*;

/// Plays frames whose pixels are their number, in good or bad order.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Count {
    /// How many frames.
    frames: u64,
    /// Rows and columns of a frame.
    #[schemars(range(min = 1, max = 4096))]
    size: usize,
    /// Frames per second; 0 is as fast as possible.
    rate: f64,
    /// Frames arrive shuffled in windows of this many.
    shuffle: u64,
    /// Frames that never come.
    lose: Vec<u64>,
    /// Frames that come twice.
    repeat: Vec<u64>,
    /// Frames that come damaged.
    corrupt: Vec<u64>,
    /// Frames that come only when `delay` later ones have come.
    late: Vec<u64>,
    /// How much later.
    delay: u64,
    /// The extent is kept secret.
    endless: bool,
    /// Opens as a live source.
    live: bool,
    /// The detector keeps only this many frames that were not taken; 0 keeps all.
    ///
    /// Older ones are lost.
    ring: u64,
    /// The first and the last frame of a burst, which come twice as fast.
    burst: Option<[u64; 2]>,
    /// Frames that make it fail for a moment.
    stumble: Vec<u64>,
    /// Frames that wait until a file of their number is in `gates`.
    held: Vec<u64>,
    /// The folder of those files.
    gates: std::path::PathBuf,
    #[serde(skip)]
    #[schemars(skip)]
    state: State,
}

/// The frame at which the process kills itself, for tests of crashes: no part of any recipe.
static KILL_AT: std::sync::OnceLock<Option<u64>> = std::sync::OnceLock::new();

#[derive(Default)]
struct State {
    order: Vec<u64>,
    at: usize,
    begun: Option<Instant>,
}

impl Default for Count {
    fn default() -> Self {
        Count {
            frames: 100,
            size: 4,
            rate: 0.0,
            shuffle: 1,
            lose: vec![],
            repeat: vec![],
            corrupt: vec![],
            late: vec![],
            delay: 100,
            endless: false,
            live: false,
            ring: 0,
            burst: None,
            stumble: vec![],
            held: vec![],
            gates: std::path::PathBuf::new(),
            state: State::default(),
        }
    }
}

/// What a counting source gives.
#[derive(Ports)]
pub struct Frames {
    /// Pixels: the number of the frame.
    #[port(dtype = "u16", axes = "y x", unit = "count")]
    image: Array,
    /// The number of the frame as a time.
    #[port(dtype = "f64", axes = "", unit = "s")]
    time: Array,
}

impl Stage for Count {
    type In = ();
    type Out = Frames;
    fn example() -> Example {
        Example::new("frames = 40")
    }
}

impl Count {
    fn arrange(&self, next: u64) -> Vec<u64> {
        let mut order: Vec<u64> = (0..self.frames).collect();
        for window in order.chunks_mut(self.shuffle.max(1) as usize) {
            window.reverse();
        }
        let mut delayed = vec![];
        order.retain(|n| {
            if self.late.contains(n) {
                delayed.push(*n);
            }
            !self.late.contains(n) && !self.lose.contains(n)
        });
        for n in delayed {
            let at = order.iter().position(|m| *m >= n + self.delay).unwrap_or(order.len());
            order.insert(at, n);
        }
        for n in &self.repeat {
            if let Some(at) = order.iter().position(|m| m == n) {
                order.insert(at + 1, *n);
            }
        }
        order.retain(|n| *n >= next);
        order
    }

    /// When a frame comes, after the first.
    fn due(&self, at: usize) -> Duration {
        let twice = self.burst.map_or(0, |[first, last]| (at as u64).clamp(first, last) - first);
        Duration::from_secs_f64((at as f64 - twice as f64 / 2.0) / self.rate)
    }

    fn frame(&self, n: u64) -> Result<Frames> {
        let pixels = vec![n as u16; self.size * self.size];
        let (image, time) =
            (Array::of(&[1, self.size, self.size], &pixels)?, Array::from_slice(&[n as f64 * 0.01]));
        Ok(Frames { image, time })
    }
}

impl Source for Count {
    fn open(&mut self, _: &Cx, _: (), from: Position) -> Result<Opened> {
        self.state = State { order: self.arrange(from.next), at: 0, begun: Some(Instant::now()) };
        let head = Dict::new().with("offset", 5.0).with("mask", Array::of(&[2, 2], &[0u8, 1, 0, 0])?);
        let shapes = Shapes::default().with("image", Shape::array(Dtype::U16, &[self.size, self.size]));
        let frames = (!self.endless).then_some(self.frames);
        Ok(Opened { frames, head, shapes, live: self.live, scan: vec![] })
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<Frames>) -> Result<Pull> {
        for _ in 0..slots.room() {
            let Some(&n) = self.state.order.get(self.state.at) else { return Ok(Pull::End) };
            if self.rate > 0.0 {
                let due = self.due(self.state.at);
                let elapsed = self.state.begun.map_or(Duration::ZERO, |b| b.elapsed());
                if due > elapsed {
                    return Ok(Pull::Wait(due - elapsed));
                }
                if self.ring > 0 && self.due(self.state.at + self.ring as usize + 1) <= elapsed {
                    self.state.at += 1;
                    continue;
                }
            }
            if self.held.contains(&n) && !self.gates.join(n.to_string()).exists() {
                return Ok(Pull::Wait(Duration::from_millis(5)));
            }
            if KILL_AT.get_or_init(|| std::env::var("ISARD_KILL_FRAME").ok()?.parse().ok()) == &Some(n) {
                super::kill::kill_self();
            }
            if let Some(at) = self.stumble.iter().position(|m| *m == n) {
                self.stumble.remove(at);
                return Err(Error::data("the detector stumbled").transient());
            }
            self.state.at += 1;
            if self.corrupt.contains(&n) {
                slots.corrupt(n, "checksum differs", Some(self.frame(n)?));
            } else {
                slots.put(n, self.frame(n)?)?;
            }
        }
        cx.check()?;
        Ok(Pull::Ready)
    }
}
declare!(Source, "toy.count", Kind::Simulator, Count);
