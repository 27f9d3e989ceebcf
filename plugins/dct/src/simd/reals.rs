//! Neighbouring floats as they are, for medians of windows that hold nothing but numbers.
//!
//! Floats as ordered keys cost five instructions for each load. Where every sample is a number, floats compare as they
//! are; whether that was so is known behind, and a vector where it was not is done once more with keys.

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::super::lanes::{Floats, Lanes};

    macro_rules! reals {
        ($(#[$doc:meta])* $name:ident, $vector:ty, $n:literal; $load:ident $set:ident $zero:ident $min:ident
            $max:ident $mul:ident $add:ident $sub:ident $stream:ident; $beyond:expr, $below:expr) => {
            $(#[$doc])*
            #[derive(Clone, Copy)]
            pub(in super::super) struct $name($vector);

            impl Lanes for $name {
                type Pixel = f32;
                type Key = i32;
                type Quick = Self;
                const N: usize = $n;

                #[inline(always)]
                unsafe fn load(at: *const f32) -> Self {
                    // SAFETY: the caller gives as many pixels to read and has these instructions enabled, here and below.
                    $name(unsafe { $load(at) })
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut i32) {
                    let mut bits = [0f32; $n];
                    // SAFETY: as above, with room for as many keys.
                    unsafe {
                        bits.as_mut_ptr().cast::<$vector>().write_unaligned(self.0);
                        for (k, value) in bits.into_iter().enumerate() {
                            *to.add(k) = super::super::key_of(value);
                        }
                    }
                }
                #[inline(always)]
                unsafe fn pad() -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $set(f32::INFINITY) })
                }
                #[inline(always)]
                unsafe fn least() -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $set(f32::NEG_INFINITY) })
                }
                #[inline(always)]
                unsafe fn quiet() -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $zero() })
                }
                #[inline(always)]
                unsafe fn watch(self, other: Self) -> Self {
                    // SAFETY: as above. Of numbers this adds nothing; what is none stays none.
                    $name(unsafe { $add(self.0, $mul(other.0, $zero())) })
                }
                #[inline(always)]
                unsafe fn beyond(self) -> bool {
                    // SAFETY: as above.
                    unsafe { $beyond(self.0) }
                }
                #[inline(always)]
                unsafe fn min(self, other: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $min(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn max(self, other: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $max(self.0, other.0) })
                }
                #[inline(always)]
                unsafe fn keep_below(self, old: Self, other: Self) -> Self {
                    // SAFETY: as above.
                    $name(unsafe { $below(self.0, old.0, other.0) })
                }
            }

            impl Floats for $name {
                #[inline(always)]
                unsafe fn write_less(self, other: Self, to: *mut f32) {
                    // SAFETY: as above; the place is a multiple of the size. The sum makes one zero of both.
                    unsafe { $stream(to, $add($sub(self.0, other.0), $zero())) }
                }
            }
        };
    }

    reals! {
        /// 16 floats.
        Reals512, __m512, 16; _mm512_loadu_ps _mm512_set1_ps _mm512_setzero_ps _mm512_min_ps
            _mm512_max_ps _mm512_mul_ps _mm512_add_ps _mm512_sub_ps _mm512_stream_ps;
        |v| _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v) != 0,
        |v, old, other| _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(v, old), other, v)
    }
    reals! {
        /// 8 floats.
        Reals256, __m256, 8; _mm256_loadu_ps _mm256_set1_ps _mm256_setzero_ps _mm256_min_ps
            _mm256_max_ps _mm256_mul_ps _mm256_add_ps _mm256_sub_ps _mm256_stream_ps;
        |v| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v)) != 0,
        |v, old, other| _mm256_blendv_ps(other, v, _mm256_cmp_ps::<_CMP_LT_OQ>(v, old))
    }
}
