//! Pixels of any dtype in single precision, and which of them are invalid.

use isard_core::error::{Error, Result};
use isard_core::value::{Dtype, Element};

use crate::integrator::Integrator;
use crate::simd::Frame;
use crate::sums::Sums;

/// A pixel that becomes a number in single precision.
pub trait Pixel: Element {
    /// Whether it may be infinite or no number.
    const FLOAT: bool;
    /// Its value; whole numbers above 2^24 lose digits.
    fn value(self) -> f32;
    /// The sums of frames: compiled here, once for all crates that integrate.
    fn sums(integrator: &Integrator, frames: &[Frame<Self>]) -> Vec<Sums>;
}

macro_rules! pixels {
    ($float:literal: $($t:ty)*) => {$(
        impl Pixel for $t {
            const FLOAT: bool = $float;
            #[inline(always)]
            fn value(self) -> f32 {
                self as f32
            }
            #[inline(never)]
            fn sums(integrator: &Integrator, frames: &[Frame<$t>]) -> Vec<Sums> {
                integrator.sums_of(frames)
            }
        }
    )*};
}
pixels!(false: u8 i8 u16 i16 u32 i32 u64 i64);
pixels!(true: f32 f64);

/// The error of a complex image.
pub(crate) fn complex<T>() -> Result<T> {
    Err(Error::data("found complex pixels, wanted real ones"))
}

/// A value that marks invalid pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dummy {
    /// The value.
    pub value: f32,
    /// How far from it a pixel is still invalid; 0 for the value alone.
    pub delta: f32,
}

impl Dummy {
    /// Whether a value is invalid.
    #[inline(always)]
    pub fn marks(&self, value: f32) -> bool {
        (value - self.value).abs() <= self.delta
    }

    /// A detector's own marker in images of a dtype, where it is what the marker's bits mean there.
    pub fn of_detector(dummy: [f64; 2], dtype: Dtype) -> Dummy {
        let value = match dtype {
            Dtype::U8 => dummy[0] as i64 as u8 as f32,
            Dtype::U16 => dummy[0] as i64 as u16 as f32,
            Dtype::U32 => dummy[0] as i64 as u32 as f32,
            Dtype::U64 => dummy[0] as i64 as u64 as f32,
            _ => dummy[0] as f32,
        };
        Dummy { value, delta: dummy[1] as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The description of DECTRIS detectors: -2 with 1.5, cast to the image's type and compared in single precision.
    #[test]
    fn a_detector_marks_what_its_dtype_can_hold() {
        let dummy = |dtype| Dummy::of_detector([-2.0, 1.5], dtype);
        let signed = dummy(Dtype::I32);
        assert!(signed.marks(-1.0) && signed.marks(-3.0) && !signed.marks(0.0) && !signed.marks(-4.0));
        let short = dummy(Dtype::U16);
        let marked: Vec<u16> = (65530..=65535).filter(|v: &u16| short.marks(v.value())).collect();
        assert_eq!(marked, [65533, 65534, 65535]);
        assert!(dummy(Dtype::U8).marks(255.0) && !dummy(Dtype::U8).marks(252.0));
        let long = dummy(Dtype::U32);
        assert!(long.marks(u32::MAX.value()) && long.marks((u32::MAX - 127).value()));
        assert!(!long.marks((u32::MAX - 129).value()));
    }
}
