//! A simulated series while it plays: which frame is due, and what becomes of it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use isard_core::prelude::*;
use isard_core::stage::Pull;
use rand_chacha::ChaCha8Rng;

use super::faults::{Fate, Fates};
use super::simulate::Frame;
use crate::simulate::{Count, Field};

/// Pixels that are drawn with one stream of random numbers: what threads share out among them.
const BLOCK: usize = 1 << 16;
/// Pixels drawn in one pull at most, beyond its first frame: some 20 ms.
const PULL: usize = 1 << 22;

/// A series that plays.
pub(crate) struct Play {
    /// The expected counts.
    pub field: Field,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// The frames of the series.
    pub frames: u64,
    /// Frames per second; 0 for as fast as they are taken.
    pub rate: f64,
    /// The dtype of the counts.
    pub dtype: Dtype,
    /// What goes wrong.
    pub fates: Fates,
    /// How many frames a late one is behind.
    pub late_by: u64,
    /// The frame it was opened at, and when.
    pub begun: (u64, Instant),
    /// The next frame in turn.
    pub next: u64,
    /// Late frames that have not come yet.
    pub waiting: VecDeque<u64>,
}

impl Play {
    /// Gives the frames that are due.
    pub(crate) fn pull(&mut self, cx: &Cx, slots: &mut Slots<Frame>) -> Result<Pull> {
        let most = slots.room().clamp(1, (PULL / self.pixels()).max(1) as u64);
        let due = self.due();
        let mut given = 0;
        while given < most {
            cx.check()?;
            if let Some(&late) = self.waiting.front()
                && (self.next > late + self.late_by || self.next >= self.frames)
            {
                self.waiting.pop_front();
                slots.put(late, self.draw(cx, late, 1)?)?;
                given += 1;
                continue;
            }
            let number = self.next;
            if number >= due {
                break;
            }
            self.next += 1;
            match self.fates.of(cx, number) {
                Fate::Lost => (),
                Fate::Late => self.waiting.push_back(number),
                Fate::Corrupt => {
                    let frame = damaged(self.draw(cx, number, 1)?)?;
                    slots.corrupt(number, "the checksum differs", Some(frame));
                    given += 1;
                }
                Fate::Double => {
                    let frame = self.draw(cx, number, 1)?;
                    slots.put(number, Frame { image: frame.image.clone() })?;
                    slots.put(number, frame)?;
                    given += 2;
                }
                Fate::Good => {
                    let held = self.waiting.front().map_or(due, |late| late + self.late_by + 1);
                    let end = due.min(held).min(number + (most - given));
                    while self.next < end && self.fates.of(cx, self.next) == Fate::Good {
                        self.next += 1;
                    }
                    let n = self.next - number;
                    slots.put(number, self.draw(cx, number, n)?)?;
                    given += n;
                }
            }
        }
        if given > 0 {
            return Ok(Pull::Ready);
        }
        if self.next >= self.frames && self.waiting.is_empty() {
            return Ok(Pull::End);
        }
        Ok(Pull::Wait(self.pause()))
    }

    fn pixels(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// The frame after the last one whose time has come.
    fn due(&self) -> u64 {
        if self.rate == 0.0 {
            return self.frames;
        }
        let (from, at) = self.begun;
        let passed = (at.elapsed().as_secs_f64() * self.rate) as u64;
        from.saturating_add(passed).saturating_add(1).min(self.frames)
    }

    /// How long until the next frame is due, at most a tenth of a second.
    fn pause(&self) -> Duration {
        let (from, at) = self.begun;
        let when = (self.next - from) as f64 / self.rate - at.elapsed().as_secs_f64();
        Duration::from_secs_f64(when.clamp(0.0, 0.1))
    }

    /// Draws consecutive frames; each depends on the seed and its number alone.
    fn draw(&self, cx: &Cx, first: u64, n: u64) -> Result<Frame> {
        let mut image = cx.array(self.dtype, &[n as usize, self.shape[0], self.shape[1]])?;
        match self.dtype {
            Dtype::U16 => self.fill::<u16>(cx, first, image.as_slice_mut()?)?,
            _ => self.fill::<u32>(cx, first, image.as_slice_mut()?)?,
        }
        Ok(Frame { image: image.freeze() })
    }

    fn fill<T: Count + Send>(&self, cx: &Cx, first: u64, out: &mut [T]) -> Result<()> {
        let blocks = self.pixels().div_ceil(BLOCK);
        let parts: Vec<Mutex<&mut [T]>> =
            out.chunks_mut(self.pixels()).flat_map(|frame| frame.chunks_mut(BLOCK)).map(Mutex::new).collect();
        let rngs: Vec<ChaCha8Rng> =
            (first..).take(parts.len() / blocks).map(|number| cx.rng(number)).collect();
        let field = &self.field;
        cx.par(parts.len(), |k| {
            let (frame, block) = (k / blocks, k % blocks);
            // Each block has a stream of its own, so that threads may share a frame.
            let mut rng = rngs[frame].clone();
            rng.set_stream(block as u64);
            let mut part = parts[k].lock().map_err(|_| Error::internal("a block was drawn twice"))?;
            match field.draw_part(block * BLOCK, &mut rng, &mut part) {
                0 => Ok(()),
                full => {
                    let number = first + frame as u64;
                    let error =
                        Error::data(format!("frame {number}: {full} counts did not fit their pixels"));
                    Err(error.help("set `bits = 32`, or lower `counts`"))
                }
            }
        })
    }
}

/// A frame whose second half never arrived.
fn damaged(frame: Frame) -> Result<Frame> {
    let image = &frame.image;
    let mut out = isard_core::Pool::unpooled().take(image.dtype(), image.shape())?;
    let half = image.bytes().len() / 2;
    out.bytes_mut()[..half].copy_from_slice(&image.bytes()[..half]);
    out.bytes_mut()[half..].fill(0xff);
    Ok(Frame { image: out.freeze() })
}
