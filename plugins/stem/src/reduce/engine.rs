//! Frames times any number of masks: the quickest exact or precise way for each mask and pixel type.

use isard_core::dispatch;
use isard_core::prelude::*;

use crate::reduce::frames::{Size, complex};
use crate::simd::{Bits, Digits, Level, Weights, masked_sums, products};

/// Masks of ones and zeros over bytes up to which each is added for itself; more are quicker as products.
const FEW: usize = 4;

/// Masks as they are multiplied.
pub(crate) struct Engine {
    level: Level,
    masks: usize,
    /// Masks of ones and zeros over integers, exact, with their places among all.
    bits: (Vec<usize>, Vec<Bits>),
    /// Masks over bytes, in whole numbers, and their weights.
    bytes: (Vec<usize>, Digits, Vec<Vec<f64>>),
    /// Masks over pixels that single precision holds.
    single: (Vec<usize>, Weights),
    /// Masks over all others.
    double: (Vec<usize>, Vec<Vec<f64>>),
    /// What is subtracted from the sums.
    less: Vec<f64>,
}

impl Engine {
    /// Prepares masks for pixels of a type; `precise` keeps all in double precision.
    pub fn new(size: Size, dtype: Dtype, masks: Vec<(Vec<f64>, f64)>, precise: bool) -> Engine {
        let pixels = size.pixels();
        let short = matches!(dtype, Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16 | Dtype::F32);
        let (mut ones, mut single, mut double) = ((vec![], vec![]), (vec![], vec![]), (vec![], vec![]));
        let mut less = vec![];
        let (n, level) = (masks.len(), Level::best());
        let mut bytes = (vec![], Digits::new(pixels), vec![]);
        let short_products = dtype == Dtype::U8 && level == Level::Vnni;
        let open = |mask: &[f64]| mask.iter().all(|w| *w == 0.0 || *w == 1.0);
        let few = masks.iter().filter(|(mask, _)| open(mask)).count() <= FEW;
        for (i, (mask, minus)) in masks.into_iter().enumerate() {
            less.push(minus);
            let bits = dtype.is_integer() && open(&mask);
            if short_products && !(bits && few) && bytes.1.push(&mask, !precise) {
                bytes.0.push(i);
                bytes.2.push(mask);
            } else if bits {
                let open: Vec<bool> = mask.iter().map(|w| *w != 0.0).collect();
                ones.0.push(i);
                ones.1.push(Bits::new(&open));
            } else if short && !precise {
                single.0.push(i);
                single.1.push(mask);
            } else {
                double.0.push(i);
                double.1.push(mask);
            }
        }
        let single = (single.0, Weights::new(&single.1, pixels));
        Engine { level, masks: n, bits: ones, bytes, single, double, less }
    }

    /// How many masks there are.
    pub fn masks(&self) -> usize {
        self.masks
    }

    /// For each frame its sums under all masks.
    pub fn run(&self, cx: &Cx, image: &Array, size: Size) -> Result<Vec<f64>> {
        let mut out = vec![0.0; size.n * self.masks];
        dispatch!(image.dtype(), T => {
            let pixels = image.as_slice::<T>()?;
            for (frame, out) in pixels.chunks_exact(size.pixels()).zip(out.chunks_exact_mut(self.masks)) {
                for (place, mask) in self.double.0.iter().zip(&self.double.1) {
                    out[*place] = dot(frame, mask);
                }
            }
        }, complex => return complex());
        cx.check()?;
        self.bits(image, size, &mut out)?;
        self.bytes(image, size, &mut out)?;
        self.single(image, &mut out)?;
        for out in out.chunks_exact_mut(self.masks.max(1)) {
            out.iter_mut().zip(&self.less).for_each(|(x, less)| *x -= less);
        }
        Ok(out)
    }

    fn bits(&self, image: &Array, size: Size, out: &mut [f64]) -> Result<()> {
        let (places, bits) = &self.bits;
        if bits.is_empty() {
            return Ok(());
        }
        let mut sums = vec![0i64; size.n * bits.len()];
        let unsigned = image.dtype() == Dtype::U64;
        macro_rules! each {
            ($($t:ident $T:ty),*) => {
                match image.dtype() {
                    $(Dtype::$t => {
                        masked_sums(self.level, image.as_slice::<$T>()?, size.pixels(), bits, &mut sums);
                        for (sums, out) in sums.chunks_exact(bits.len()).zip(out.chunks_exact_mut(self.masks)) {
                            for (place, sum) in places.iter().zip(sums) {
                                // Sums of 64-bit integers are taken as they wrap.
                                out[*place] = if unsigned { *sum as u64 as f64 } else { *sum as f64 };
                            }
                        }
                    })*
                    _ => return Err(Error::internal("a mask of bits over pixels that are no integers")),
                }
            };
        }
        each!(U8 u8, U16 u16, U32 u32, U64 u64, I8 i8, I16 i16, I32 i32, I64 i64);
        Ok(())
    }

    fn bytes(&self, image: &Array, size: Size, out: &mut [f64]) -> Result<()> {
        let (places, digits, masks) = &self.bytes;
        if places.is_empty() {
            return Ok(());
        }
        let frames = image.as_slice::<u8>()?;
        let mut sums = vec![0.0; size.n * places.len()];
        for (frame, mask) in digits.products(self.level, frames, &mut sums) {
            let pixels = &frames[frame * size.pixels()..(frame + 1) * size.pixels()];
            sums[frame * places.len() + mask] = dot(pixels, &masks[mask]);
        }
        self.spread(places, &sums, out);
        Ok(())
    }

    /// Puts sums at the places of their masks.
    fn spread(&self, places: &[usize], sums: &[f64], out: &mut [f64]) {
        for (sums, out) in sums.chunks_exact(places.len()).zip(out.chunks_exact_mut(self.masks)) {
            places.iter().zip(sums).for_each(|(place, sum)| out[*place] = *sum);
        }
    }

    fn single(&self, image: &Array, out: &mut [f64]) -> Result<()> {
        let (places, weights) = &self.single;
        if places.is_empty() {
            return Ok(());
        }
        let n = image.shape()[0];
        let mut sums = vec![0.0; n * places.len()];
        match image.dtype() {
            Dtype::U8 => products(self.level, image.as_slice::<u8>()?, weights, &mut sums),
            Dtype::I8 => products(self.level, image.as_slice::<i8>()?, weights, &mut sums),
            Dtype::U16 => products(self.level, image.as_slice::<u16>()?, weights, &mut sums),
            Dtype::I16 => products(self.level, image.as_slice::<i16>()?, weights, &mut sums),
            _ => products(self.level, image.as_slice::<f32>()?, weights, &mut sums),
        }
        self.spread(places, &sums, out);
        Ok(())
    }
}

/// A product in double precision, eight sums at a time.
#[allow(clippy::unnecessary_cast, reason = "written for every dtype, `f64` among them")]
fn dot<T: Element + AsDouble>(frame: &[T], mask: &[f64]) -> f64 {
    let (x, x_rest) = frame.as_chunks::<8>();
    let (w, w_rest) = mask.as_chunks::<8>();
    let mut sums = [0f64; 8];
    for (x, w) in x.iter().zip(w) {
        for i in 0..8 {
            sums[i] += x[i].double() * w[i];
        }
    }
    let rest: f64 = x_rest.iter().zip(w_rest).map(|(x, w)| x.double() * w).sum();
    sums.iter().sum::<f64>() + rest
}

/// A pixel as a double-precision number.
pub(crate) trait AsDouble: Copy {
    /// Its value.
    fn double(self) -> f64;
}

macro_rules! as_double {
    ($($t:ty)*) => {$(
        impl AsDouble for $t {
            fn double(self) -> f64 {
                self as f64
            }
        }
    )*};
}
as_double!(u8 u16 u32 u64 i8 i16 i32 i64 f32 f64);
