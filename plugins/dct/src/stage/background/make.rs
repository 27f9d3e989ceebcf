//! Differences of a batch of frames, from the frames that are held.

use std::ops::Range;

use super::super::full;
use super::*;
use crate::moving::{Batch, Even, Into, Told};
use crate::simd::Level;

impl Background {
    /// Emits the frames of a range that are there; `frames` is the length of the scan at its end.
    pub(super) fn emit(
        &mut self,
        cx: &Cx,
        range: Range<u64>,
        frames: Option<u64>,
        emit: &mut Emit<BackgroundOut>,
    ) -> Result<()> {
        if !self.state.frames.awake() {
            let length = frames.unwrap_or(self.state.frames.end) as usize;
            let window = self.span();
            let around =
                |k: u64| window.around(self.centre(k) as usize, length).into_iter().map(|f| f as u64);
            let wanted: Vec<u64> = range.clone().flat_map(|k| around(k).chain([k])).collect();
            self.state.frames.wake(cx, wanted.into_iter())?;
        }
        let most = self.state.most.unwrap_or(f32::NAN);
        for (number, mut made) in self.make(cx, range, frames)? {
            // Words of 16 bits are counted on the way to the median; others are looked at here.
            let counted = most == f32::from(u16::MAX);
            if made.saturated.as_slice::<u32>()?[0] > 0 || (!counted && !most.is_nan()) {
                let places = match self.state.frames.held.get(&number) {
                    Some(frame) => full::find(frame, most)?,
                    None => vec![],
                };
                made.saturated = Array::from_slice(&[full::count(&places)]);
                made.full = full::table(&[(number, places)])?;
            }
            if made.saturated.as_slice::<u32>()?[0] > 0 {
                let (count, first) = self.state.full.unwrap_or((0, number));
                self.state.full = Some((count + 1, first.min(number)));
            }
            emit.put(Span::frames(number, 1), made);
        }
        Ok(())
    }

    /// Makes the frames of a range that are there.
    fn make(&self, cx: &Cx, range: Range<u64>, frames: Option<u64>) -> Result<Vec<(u64, BackgroundOut)>> {
        let held = &self.state.frames.held;
        // Before the end windows lie within what has come, wherever the scan ends.
        let length = frames.unwrap_or(self.state.frames.end) as usize;
        let (window, own): (Window, Vec<u64>) =
            (self.span(), range.filter(|k| held.contains_key(k)).collect());
        if own.is_empty() {
            return Ok(vec![]);
        }
        let around = |k: &u64| window.around(self.centre(*k) as usize, length);
        let samples: Vec<Vec<usize>> = own.iter().map(around).collect();
        let mut used: Vec<u64> = samples.iter().flatten().map(|f| *f as u64).chain(own.clone()).collect();
        used.sort_unstable();
        used.dedup();
        used.retain(|f| held.contains_key(f));
        let place = |f: u64| used.binary_search(&f).ok();
        let wanted = own
            .iter()
            .zip(samples)
            .filter_map(|(k, s)| Some((place(*k)?, s.into_iter().map(|f| place(f as u64)).collect())))
            .collect();
        let arrays: Vec<&Array> = used.iter().filter_map(|f| held.get(f)).collect();
        let factor = |f: &u64| self.state.factors.get(f).copied().unwrap_or(1.0);
        let dark = self.state.dark.as_ref().map(Array::as_slice::<f32>).transpose()?;
        let even = dark.map(|dark| Even { dark, factors: used.iter().map(factor).collect() });
        let shape = arrays[0].shape();
        let made = match arrays[0].dtype() {
            Dtype::U16 => {
                let frames = arrays.iter().map(|a| a.as_slice::<u16>()).collect::<Result<_>>()?;
                let batch = Batch { frames, wanted };
                match even.is_none() && self.dtype == Differences::Compact {
                    true => self.words(cx, batch, shape)?,
                    false => self.floats(cx, &batch, even.as_ref(), shape)?,
                }
            }
            _ => {
                let frames = arrays.iter().map(|a| a.as_slice::<f32>()).collect::<Result<_>>()?;
                self.floats(cx, &Batch { frames, wanted }, even.as_ref(), shape)?
            }
        };
        Ok(own.into_iter().zip(made).collect())
    }

    /// Frames of 16-bit pixels, as words where they fit.
    fn words(&self, cx: &Cx, batch: Batch<u16>, shape: &[usize]) -> Result<Vec<BackgroundOut>> {
        let n = batch.wanted.len();
        let mut images = frames_of(cx, Dtype::I16, n, shape)?;
        let mut medians = self.medians(cx, n, shape)?;
        let mut all = Vec::with_capacity(n);
        let (none, covered) = (full::table(&[])?, Array::from_slice(&[self.covered()]));
        let into = Into { floats: vec![], words: slices(&mut images)?, medians: slices_of(&mut medians)? };
        let told = batch.run(Level::best(), into, |n, work| cx.par(n, work))?;
        for (k, image) in images.into_iter().enumerate() {
            let mut image = image.freeze();
            if told.over[k] {
                // What does not fit is made once more, as floats.
                let wanted = vec![batch.wanted[k].clone()];
                let again = self.floats(cx, &Batch { frames: batch.frames.clone(), wanted }, None, shape)?;
                image = again.into_iter().next().map_or(image, |made| made.image);
            }
            let background = medians.as_mut().map(|m| m.remove(0).freeze());
            let saturated = Array::from_slice(&told.full[k..=k]);
            let (full, covered) = (none.clone(), covered.clone());
            all.push(BackgroundOut { image, saturated, full, covered, background });
        }
        Ok(all)
    }

    fn medians(&self, cx: &Cx, n: usize, shape: &[usize]) -> Result<Option<Vec<ArrayMut>>> {
        self.save_backgrounds.then(|| frames_of(cx, Dtype::F32, n, shape)).transpose()
    }

    /// Differences and medians as floats.
    fn floats<T: crate::moving::Sample>(
        &self,
        cx: &Cx,
        batch: &Batch<T>,
        even: Option<&Even>,
        shape: &[usize],
    ) -> Result<Vec<BackgroundOut>> {
        let n = batch.wanted.len();
        let mut images = frames_of(cx, Dtype::F32, n, shape)?;
        let mut medians = self.medians(cx, n, shape)?;
        let into = Into { floats: slices(&mut images)?, words: vec![], medians: slices_of(&mut medians)? };
        let told: Told = match even {
            Some(even) => batch.run_even(Level::best(), even, into, |n, work| cx.par(n, work))?,
            None => batch.run(Level::best(), into, |n, work| cx.par(n, work))?,
        };
        let (none, covered) = (full::table(&[])?, Array::from_slice(&[self.covered()]));
        let made = images.into_iter().zip(told.full).map(|(image, full)| BackgroundOut {
            image: image.freeze(),
            saturated: Array::from_slice(&[full]),
            full: none.clone(),
            covered: covered.clone(),
            background: medians.as_mut().map(|m| m.remove(0).freeze()),
        });
        Ok(made.collect())
    }
}

/// Frames to be filled, each an array of its own: whoever keeps one keeps no others, and the pool has them back.
fn frames_of(cx: &Cx, dtype: Dtype, n: usize, shape: &[usize]) -> Result<Vec<ArrayMut>> {
    (0..n).map(|_| cx.array(dtype, &[&[1], shape].concat())).collect()
}

fn slices<T: Element>(frames: &mut [ArrayMut]) -> Result<Vec<&mut [T]>> {
    frames.iter_mut().map(ArrayMut::as_slice_mut).collect()
}

fn slices_of(frames: &mut Option<Vec<ArrayMut>>) -> Result<Option<Vec<&mut [f32]>>> {
    frames.as_mut().map(|f| slices(f)).transpose()
}
