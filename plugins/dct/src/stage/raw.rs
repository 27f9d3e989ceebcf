//! Frames that a window may still need.

use std::collections::BTreeMap;
use std::sync::Mutex;

use isard_codec::bitshuffle::{self, Codec, Scratch};
use isard_core::dispatch;
use isard_core::prelude::*;

use crate::pixel::Pixel;

/// Frames by number, all 16-bit counts or all 32-bit floats.
#[derive(Default)]
pub(super) struct Frames {
    pub(super) held: BTreeMap<u64, Array>,
    /// Frames that no window takes before the end of the scan.
    asleep: BTreeMap<u64, Asleep>,
    /// The number after the newest heard of.
    pub(super) end: u64,
}

/// A frame that is not needed for long.
enum Asleep {
    /// Bits of a kind together, and LZ4: counts take less than half their memory.
    Packed { dtype: Dtype, shape: Vec<usize>, bytes: Array },
    /// What does not get smaller.
    Plain(Array),
}

impl Asleep {
    fn of(frame: &Array) -> Result<Asleep> {
        let (raw, mut packed) = (frame.bytes(), vec![]);
        bitshuffle::encode(raw, Codec::Lz4, frame.dtype().size(), &mut Scratch::default(), &mut packed)
            .map_err(|fault| Error::internal(format!("a frame was not packed: {fault}")))?;
        Ok(match packed.len() < raw.len() / 4 * 3 {
            true => {
                let (dtype, shape) = (frame.dtype(), frame.shape().to_vec());
                Asleep::Packed { dtype, shape, bytes: Array::from_slice(&packed) }
            }
            false => Asleep::Plain(frame.clone()),
        })
    }

    fn wake(&self, cx: &Cx) -> Result<Array> {
        match self {
            Asleep::Plain(frame) => Ok(frame.clone()),
            Asleep::Packed { dtype, shape, bytes } => {
                let mut frame = cx.array(*dtype, shape)?;
                let (from, to) = (bytes.bytes(), frame.bytes_mut());
                bitshuffle::decode(from, Codec::Lz4, dtype.size(), 0, &mut Scratch::default(), to)
                    .map_err(|fault| Error::internal(format!("a packed frame does not open: {fault}")))?;
                Ok(frame.freeze())
            }
        }
    }
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

    /// Lets go of frames that are not wanted; packs those that are wanted at the end of the scan alone.
    pub(super) fn forget(
        &mut self,
        cx: &Cx,
        wanted: impl Fn(u64) -> bool,
        late: impl Fn(u64) -> bool,
    ) -> Result<()> {
        self.asleep.retain(|number, _| wanted(*number) || late(*number));
        self.held.retain(|number, _| wanted(*number) || late(*number));
        let tired: Vec<u64> = self.held.keys().copied().filter(|n| !wanted(*n)).collect();
        let tired: Vec<(u64, Array)> =
            tired.into_iter().filter_map(|n| Some((n, self.held.remove(&n)?))).collect();
        let packed: Vec<Mutex<Option<Asleep>>> = tired.iter().map(|_| Mutex::default()).collect();
        cx.par(tired.len(), |k| {
            let made = Asleep::of(&tired[k].1)?;
            *packed[k].lock().map_err(|_| Error::internal("a frame was packed twice"))? = Some(made);
            Ok(())
        })?;
        for ((number, frame), packed) in tired.into_iter().zip(packed) {
            let packed = packed.into_inner().ok().flatten();
            self.asleep.insert(number, packed.unwrap_or(Asleep::Plain(frame)));
        }
        Ok(())
    }

    /// Has frames as they came, as far as they are there.
    pub(super) fn wake(&mut self, cx: &Cx, numbers: impl Iterator<Item = u64>) -> Result<()> {
        for number in numbers {
            if let Some(asleep) = self.asleep.remove(&number) {
                self.held.insert(number, asleep.wake(cx)?);
            }
        }
        Ok(())
    }

    /// Whether every frame is as it came.
    pub(super) fn awake(&self) -> bool {
        self.asleep.is_empty()
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
            .with("asleep", self.asleep.iter().map(|(n, a)| Value::Dict(save(*n, a))).collect::<Vec<_>>())
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
        self.asleep.clear();
        if let Value::List(list) = state.need("asleep")? {
            for value in list.iter() {
                let Value::Dict(saved) = value else {
                    return Err(Error::internal("a packed frame was saved as another value"));
                };
                let (number, asleep) = load(saved)?;
                self.asleep.insert(number, asleep);
            }
        }
        Ok(())
    }
}

fn save(number: u64, asleep: &Asleep) -> Dict {
    let state = Dict::new().with("number", number as i64);
    match asleep {
        Asleep::Plain(frame) => state.with("frame", frame.clone()),
        Asleep::Packed { dtype, shape, bytes } => {
            let shape: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
            let state = state.with("dtype", i64::from(*dtype as u8)).with("shape", Array::from_slice(&shape));
            state.with("bytes", bytes.clone())
        }
    }
}

fn load(state: &Dict) -> Result<(u64, Asleep)> {
    let whole = |name: &str| state.need(name).map(|v| v.number().unwrap_or(0.0) as u64);
    let number = whole("number")?;
    if let Some(Value::Array(frame)) = state.get("frame") {
        return Ok((number, Asleep::Plain(frame.clone())));
    }
    let (Value::Array(shape), Value::Array(bytes)) = (state.need("shape")?, state.need("bytes")?) else {
        return Err(Error::internal("a packed frame was saved as other values"));
    };
    let dtype = Dtype::from_code(whole("dtype")? as u8)
        .ok_or_else(|| Error::internal("a packed frame was saved with no dtype"))?;
    let shape = shape.as_slice::<u64>()?.iter().map(|n| *n as usize).collect();
    Ok((number, Asleep::Packed { dtype, shape, bytes: bytes.clone() }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use isard_core::stage::RunCx;

    #[test]
    fn frames_that_sleep_come_back_as_they_were() {
        let run = RunCx::default();
        let cx = Cx::new(&run, "background");
        let mut frames = Frames::default();
        let mut seed = 1u64;
        let counts: Vec<u16> = (0..6 * 64 * 70)
            .map(|_| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                300 + (seed >> 60) as u16
            })
            .collect();
        let image = Array::of(&[6, 64, 70], &counts).unwrap();
        frames.take(10, &image).unwrap();
        // Frame 10 is wanted at the end alone, frame 11 not at all.
        frames.forget(&cx, |n| n >= 12, |n| n == 10).unwrap();
        assert!(!frames.awake() && !frames.asleep.contains_key(&11) && !frames.held.contains_key(&11));
        assert!(matches!(&frames.asleep[&10], Asleep::Packed { bytes, .. } if bytes.len() < 64 * 70));
        let mut again = Frames::default();
        again.load(&frames.save()).unwrap();
        for mut frames in [frames, again] {
            frames.wake(&cx, 9..14).unwrap();
            assert!(frames.awake());
            assert_eq!(frames.held[&10].bytes(), image.record(0).unwrap().bytes());
            assert_eq!(frames.held.keys().copied().collect::<Vec<_>>(), [10, 12, 13, 14, 15]);
        }
    }
}
