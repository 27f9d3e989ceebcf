//! Frames that a window may still need.

use std::collections::BTreeMap;

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::pixel::Pixel;

/// Frames by number, all 16-bit counts or all 32-bit floats.
#[derive(Default)]
pub(super) struct Frames {
    pub(super) held: BTreeMap<u64, Array>,
    /// The number after the newest heard of.
    pub(super) end: u64,
}

impl Frames {
    /// Takes the frames of a chunk.
    ///
    /// They are not copied: as many as a window needs stay out of the pool, and a copy would cost as much time as a
    /// third of the median.
    pub(super) fn take(&mut self, first: u64, image: &Array) -> Result<()> {
        for k in 0..image.shape()[0] {
            let frame = image.record(k)?;
            if let Some(other) = self.held.values().next()
                && other.shape() != frame.shape()
            {
                let (found, wanted) = (frame.shape(), other.shape());
                let number = first + k as u64;
                return Err(Error::data(format!(
                    "frame {number}: found {found:?}, wanted {wanted:?} as before"
                )));
            }
            self.held.insert(first + k as u64, kept(frame)?);
        }
        self.end = self.end.max(first + image.shape()[0] as u64);
        Ok(())
    }

    /// Bytes of a frame; 0 before the first.
    pub(super) fn bytes(&self) -> usize {
        self.held.values().next().map_or(0, |frame| frame.bytes().len())
    }

    /// The state at a mark.
    pub(super) fn save(&self) -> Dict {
        let numbers: Vec<u64> = self.held.keys().copied().collect();
        let frames: Vec<Value> = self.held.values().cloned().map(Value::Array).collect();
        Dict::new()
            .with("numbers", Array::from_slice(&numbers))
            .with("frames", frames)
            .with("end", self.end as i64)
    }

    /// Takes a saved state back.
    pub(super) fn load(&mut self, state: &Dict) -> Result<()> {
        let (Value::Array(numbers), Value::List(frames), Value::Int(end)) =
            (state.need("numbers")?, state.need("frames")?, state.need("end")?)
        else {
            return Err(Error::internal("the frames of a window were saved as other values"));
        };
        self.held.clear();
        for (number, frame) in numbers.as_slice::<u64>()?.iter().zip(frames.iter()) {
            if let Value::Array(frame) = frame {
                self.held.insert(*number, frame.clone());
            }
        }
        self.end = *end as u64;
        Ok(())
    }
}

/// A frame as the median takes it: what fits 16 bits without a sign stays there, everything else becomes floats.
fn kept(frame: Array) -> Result<Array> {
    match frame.dtype() {
        Dtype::U16 | Dtype::F32 => Ok(frame),
        Dtype::U8 => {
            let pixels: Vec<u16> = frame.as_slice::<u8>()?.iter().map(|v| u16::from(*v)).collect();
            Array::of(frame.shape(), &pixels)
        }
        _ => dispatch!(frame.dtype(), T => {
            let pixels: Vec<f32> = frame.as_slice::<T>()?.iter().map(|v| v.as_f32()).collect();
            Array::of(frame.shape(), &pixels)
        }, complex => Err(Error::data("found complex pixels, wanted real ones"))),
    }
}
