//! Real pixels as the segmentation computes with them.

use isard_core::prelude::*;

use crate::simd;

/// A real dtype, compared and summed as a 32-bit float.
pub(crate) trait Pixel: Element {
    /// Whether every value is a number.
    const WHOLE: bool = true;

    /// The value as it is compared; exact for integers of up to 24 bits.
    fn as_f32(self) -> f32;

    /// Sets the bit of every finite pixel at or above the floor, 64 pixels to a word.
    fn lit(line: &[Self], floor: f32, words: &mut [u64]) {
        simd::lit_plain(line, words, |v| {
            let v = v.as_f32();
            v >= floor && v < f32::INFINITY
        });
    }
}

macro_rules! plain {
    ($($t:ty),*) => {$(
        impl Pixel for $t {
            fn as_f32(self) -> f32 {
                self as f32
            }
        }
    )*};
}
plain!(u8, u32, u64, i8, i32, i64);

impl Pixel for f64 {
    const WHOLE: bool = false;
    fn as_f32(self) -> f32 {
        self as f32
    }
}

impl Pixel for u16 {
    fn as_f32(self) -> f32 {
        f32::from(self)
    }
    fn lit(line: &[u16], floor: f32, words: &mut [u64]) {
        match whole(floor, 0.0, f32::from(u16::MAX)) {
            Some(floor) => simd::lit_u16(line, floor as u16, words),
            None => words.fill(0),
        }
    }
}

impl Pixel for i16 {
    fn as_f32(self) -> f32 {
        f32::from(self)
    }
    fn lit(line: &[i16], floor: f32, words: &mut [u64]) {
        match whole(floor, f32::from(i16::MIN), f32::from(i16::MAX)) {
            Some(floor) => simd::lit_i16(line, floor as i16, words),
            None => words.fill(0),
        }
    }
}

impl Pixel for f32 {
    const WHOLE: bool = false;
    fn as_f32(self) -> f32 {
        self
    }
    fn lit(line: &[f32], floor: f32, words: &mut [u64]) {
        simd::lit_f32(line, floor, words);
    }
}

/// The smallest whole number of a range that is not below the floor.
fn whole(floor: f32, least: f32, most: f32) -> Option<f32> {
    let up = floor.ceil().max(least);
    (up <= most).then_some(up)
}
