//! Vectors of pixels that a sorted window is made of.

/// Neighbouring pixels, compared as ordered whole numbers.
///
/// # Safety
/// The methods may only be called where the instructions of the implementation are enabled.
pub(super) trait Lanes: Copy {
    /// One pixel as it stands in a frame.
    type Pixel: Copy;
    /// The same as it is compared.
    type Key: Copy + Ord;
    /// The quickest form of windows of which every sample is there.
    type Quick: Lanes<Pixel = Self::Pixel, Key = Self::Key>;
    /// Pixels in a vector.
    const N: usize;

    /// Reads `N` pixels as keys.
    unsafe fn load(at: *const Self::Pixel) -> Self;
    /// The key that is never below another, and means that there is no sample.
    unsafe fn pad() -> Self;
    /// The key that is never above another.
    unsafe fn least() -> Self;
    unsafe fn min(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    /// What [`Lanes::watch`] begins with.
    #[inline(always)]
    unsafe fn quiet() -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::least() }
    }
    /// Keeps in mind whether there was a key above what the quick way takes: `beyond` tells.
    #[inline(always)]
    unsafe fn watch(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.max(other) }
    }
    /// Whether a key is above what the quick way takes: words of 16 bits with the highest set, floats that are no number.
    unsafe fn beyond(self) -> bool;
    /// Writes `N` keys.
    unsafe fn store(self, to: *mut Self::Key);
    /// `self` where `self` is below `old`, else `other`.
    unsafe fn keep_below(self, old: Self, other: Self) -> Self;
}

/// Neighbouring pixels of 16 bits.
///
/// # Safety
/// As of [`Lanes`].
pub(super) trait Words: Lanes<Pixel = u16, Key = u16, Quick = Self> {
    /// Writes the difference to another, past the cache: `to` is a multiple of the size.
    unsafe fn write_less(self, other: Self, to: *mut i16);
}

/// Neighbouring floats.
///
/// # Safety
/// As of [`Lanes`].
pub(super) trait Floats: Lanes<Pixel = f32, Key = i32> {
    /// Writes the difference to another, past the cache: `to` is a multiple of the size, and both are numbers.
    unsafe fn write_less(self, other: Self, to: *mut f32);
}

impl<const N: usize> Floats for Plain<i32, N> {
    #[inline(always)]
    unsafe fn write_less(self, other: Self, to: *mut f32) {
        // The sum makes one zero of both.
        let less: [f32; N] =
            std::array::from_fn(|k| super::of_key(self.0[k]) - super::of_key(other.0[k]) + 0.0);
        // SAFETY: the caller gives room for `N` pixels.
        unsafe { to.cast::<[f32; N]>().write(less) }
    }
}

impl<const N: usize> Words for Plain<u16, N> {
    #[inline(always)]
    unsafe fn write_less(self, other: Self, to: *mut i16) {
        let less: [i16; N] = std::array::from_fn(|k| self.0[k].wrapping_sub(other.0[k]) as i16);
        // SAFETY: the caller gives room for `N` pixels.
        unsafe { to.cast::<[i16; N]>().write(less) }
    }
}

/// `N` pixels without vector instructions: the scalar twin, and the ends of frames.
#[derive(Clone, Copy)]
pub(super) struct Plain<K, const N: usize>(pub(super) [K; N]);

macro_rules! plain {
    ($pixel:ty, $key:ty, $to_key:expr, $most:expr) => {
        impl<const N: usize> Lanes for Plain<$key, N> {
            type Pixel = $pixel;
            type Key = $key;
            type Quick = Self;
            const N: usize = N;

            #[inline(always)]
            unsafe fn load(at: *const $pixel) -> Self {
                // SAFETY: the caller gives `N` pixels to read.
                Plain(std::array::from_fn(|k| $to_key(unsafe { *at.add(k) })))
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $key) {
                // SAFETY: the caller gives room for `N` keys.
                unsafe { to.cast::<[$key; N]>().write(self.0) }
            }
            #[inline(always)]
            unsafe fn pad() -> Self {
                Plain([<$key>::MAX; N])
            }
            #[inline(always)]
            unsafe fn least() -> Self {
                Plain([<$key>::MIN; N])
            }
            #[inline(always)]
            unsafe fn beyond(self) -> bool {
                self.0.iter().fold(false, |any, key| any | (*key > $most))
            }
            #[inline(always)]
            unsafe fn min(self, other: Self) -> Self {
                Plain(std::array::from_fn(|k| self.0[k].min(other.0[k])))
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                Plain(std::array::from_fn(|k| self.0[k].max(other.0[k])))
            }
            #[inline(always)]
            unsafe fn keep_below(self, old: Self, other: Self) -> Self {
                Plain(std::array::from_fn(|k| if self.0[k] < old.0[k] { self.0[k] } else { other.0[k] }))
            }
        }
    };
}
plain!(u16, u16, |v| v, i16::MAX as u16);
plain!(f32, i32, super::key_of, i32::MAX - 1);

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::super::reals::x86::{Reals256, Reals512};
    use super::{Lanes, Words};

    /// 32 pixels of 16 bits.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Words512(pub(in super::super) __m512i);

    impl Lanes for Words512 {
        type Pixel = u16;
        type Key = u16;
        type Quick = Self;
        const N: usize = 32;

        #[inline(always)]
        unsafe fn load(at: *const u16) -> Self {
            // SAFETY: the caller gives 32 pixels to read.
            Words512(unsafe { _mm512_loadu_si512(at.cast()) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut u16) {
            // SAFETY: the caller gives room for as many keys and has these instructions enabled.
            unsafe { _mm512_storeu_si512(to.cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn pad() -> Self {
            // SAFETY: the caller has these instructions enabled, here and below.
            Words512(unsafe { _mm512_set1_epi16(-1) })
        }
        #[inline(always)]
        unsafe fn least() -> Self {
            // SAFETY: as above.
            Words512(unsafe { _mm512_setzero_si512() })
        }
        #[inline(always)]
        unsafe fn beyond(self) -> bool {
            // SAFETY: as above.
            unsafe { _mm512_movepi16_mask(self.0) != 0 }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            // SAFETY: as above.
            Words512(unsafe { _mm512_min_epu16(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: as above.
            Words512(unsafe { _mm512_max_epu16(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn keep_below(self, old: Self, other: Self) -> Self {
            // SAFETY: as above.
            Words512(unsafe {
                _mm512_mask_blend_epi16(_mm512_cmplt_epu16_mask(self.0, old.0), other.0, self.0)
            })
        }
    }

    impl Words for Words512 {
        #[inline(always)]
        unsafe fn write_less(self, other: Self, to: *mut i16) {
            // SAFETY: as above; the place is a multiple of the size.
            unsafe { _mm512_stream_si512(to.cast(), _mm512_sub_epi16(self.0, other.0)) }
        }
    }

    /// 16 floats as ordered keys.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Keys512(pub(in super::super) __m512i);

    impl Lanes for Keys512 {
        type Pixel = f32;
        type Key = i32;
        type Quick = Reals512;
        const N: usize = 16;

        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            // SAFETY: the caller gives 16 pixels to read and has these instructions enabled.
            Keys512(unsafe {
                let bits = _mm512_loadu_si512(at.cast());
                let all = _mm512_set1_epi32(0x7fff_ffff);
                let flipped = _mm512_and_si512(_mm512_srai_epi32::<31>(bits), all);
                // The exponent of infinities and NaN is all ones.
                let odd =
                    _mm512_cmpge_epi32_mask(_mm512_and_si512(bits, all), _mm512_set1_epi32(0x7f80_0000));
                _mm512_mask_mov_epi32(_mm512_xor_si512(bits, flipped), odd, all)
            })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut i32) {
            // SAFETY: the caller gives room for as many keys and has these instructions enabled.
            unsafe { _mm512_storeu_si512(to.cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn pad() -> Self {
            // SAFETY: as above.
            Keys512(unsafe { _mm512_set1_epi32(i32::MAX) })
        }
        #[inline(always)]
        unsafe fn least() -> Self {
            // SAFETY: as above.
            Keys512(unsafe { _mm512_set1_epi32(i32::MIN) })
        }
        #[inline(always)]
        unsafe fn beyond(self) -> bool {
            // SAFETY: as above.
            unsafe { _mm512_cmpeq_epi32_mask(self.0, _mm512_set1_epi32(i32::MAX)) != 0 }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            // SAFETY: as above.
            Keys512(unsafe { _mm512_min_epi32(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: as above.
            Keys512(unsafe { _mm512_max_epi32(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn keep_below(self, old: Self, other: Self) -> Self {
            // SAFETY: as above.
            Keys512(unsafe {
                _mm512_mask_blend_epi32(_mm512_cmplt_epi32_mask(self.0, old.0), other.0, self.0)
            })
        }
    }

    /// 16 pixels of 16 bits.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Words256(pub(in super::super) __m256i);

    impl Lanes for Words256 {
        type Pixel = u16;
        type Key = u16;
        type Quick = Self;
        const N: usize = 16;

        #[inline(always)]
        unsafe fn load(at: *const u16) -> Self {
            // SAFETY: the caller gives 16 pixels to read and has these instructions enabled.
            Words256(unsafe { _mm256_loadu_si256(at.cast()) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut u16) {
            // SAFETY: the caller gives room for as many keys and has these instructions enabled.
            unsafe { _mm256_storeu_si256(to.cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn pad() -> Self {
            // SAFETY: as above.
            Words256(unsafe { _mm256_set1_epi16(-1) })
        }
        #[inline(always)]
        unsafe fn least() -> Self {
            // SAFETY: as above.
            Words256(unsafe { _mm256_setzero_si256() })
        }
        #[inline(always)]
        unsafe fn beyond(self) -> bool {
            // SAFETY: as above.
            unsafe { _mm256_movemask_epi8(_mm256_srai_epi16::<15>(self.0)) != 0 }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            // SAFETY: as above.
            Words256(unsafe { _mm256_min_epu16(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: as above.
            Words256(unsafe { _mm256_max_epu16(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn keep_below(self, old: Self, other: Self) -> Self {
            // SAFETY: as above.
            Words256(unsafe {
                // There is no comparison of unsigned words: not below is where the larger of both is `self`.
                let not = _mm256_cmpeq_epi16(_mm256_max_epu16(self.0, old.0), self.0);
                _mm256_blendv_epi8(self.0, other.0, not)
            })
        }
    }

    impl Words for Words256 {
        #[inline(always)]
        unsafe fn write_less(self, other: Self, to: *mut i16) {
            // SAFETY: as above; the place is a multiple of the size.
            unsafe { _mm256_stream_si256(to.cast(), _mm256_sub_epi16(self.0, other.0)) }
        }
    }

    /// 8 floats as ordered keys.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Keys256(pub(in super::super) __m256i);

    impl Lanes for Keys256 {
        type Pixel = f32;
        type Key = i32;
        type Quick = Reals256;
        const N: usize = 8;

        #[inline(always)]
        unsafe fn load(at: *const f32) -> Self {
            // SAFETY: the caller gives 8 pixels to read and has these instructions enabled.
            Keys256(unsafe {
                let bits = _mm256_loadu_si256(at.cast());
                let all = _mm256_set1_epi32(0x7fff_ffff);
                let flipped = _mm256_and_si256(_mm256_srai_epi32::<31>(bits), all);
                let odd = _mm256_cmpgt_epi32(_mm256_and_si256(bits, all), _mm256_set1_epi32(0x7f7f_ffff));
                _mm256_blendv_epi8(_mm256_xor_si256(bits, flipped), all, odd)
            })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut i32) {
            // SAFETY: the caller gives room for as many keys and has these instructions enabled.
            unsafe { _mm256_storeu_si256(to.cast(), self.0) }
        }
        #[inline(always)]
        unsafe fn pad() -> Self {
            // SAFETY: as above.
            Keys256(unsafe { _mm256_set1_epi32(i32::MAX) })
        }
        #[inline(always)]
        unsafe fn least() -> Self {
            // SAFETY: as above.
            Keys256(unsafe { _mm256_set1_epi32(i32::MIN) })
        }
        #[inline(always)]
        unsafe fn beyond(self) -> bool {
            // SAFETY: as above.
            unsafe { _mm256_movemask_epi8(_mm256_cmpeq_epi32(self.0, _mm256_set1_epi32(i32::MAX))) != 0 }
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            // SAFETY: as above.
            Keys256(unsafe { _mm256_min_epi32(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: as above.
            Keys256(unsafe { _mm256_max_epi32(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn keep_below(self, old: Self, other: Self) -> Self {
            // SAFETY: as above.
            Keys256(unsafe { _mm256_blendv_epi8(other.0, self.0, _mm256_cmpgt_epi32(old.0, self.0)) })
        }
    }
}
