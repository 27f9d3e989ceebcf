//! Eight bytes at a time in a 64-bit word, and the byte shuffle that the compiler turns into vectors.

/// Transposes a square of 8 by 8 bits: bit `c` of byte `r` changes places with bit `r` of byte `c`.
///
/// Three swaps of ever larger blocks (Warren, Hacker's Delight, 7-3).
fn square(mut x: u64) -> u64 {
    let t = (x ^ x >> 7) & 0x00aa_00aa_00aa_00aa;
    x ^= t ^ t << 7;
    let t = (x ^ x >> 14) & 0x0000_cccc_0000_cccc;
    x ^= t ^ t << 14;
    let t = (x ^ x >> 28) & 0x0000_0000_f0f0_f0f0;
    x ^ t ^ t << 28
}

/// Planes of bytes, from group `first` of eight on.
pub(super) fn planes(bytes: &[u8], out: &mut [u8], first: usize) {
    let row = bytes.len() / 8;
    for (i, group) in bytes.as_chunks::<8>().0.iter().enumerate().skip(first) {
        for (b, byte) in square(u64::from_le_bytes(*group)).to_le_bytes().into_iter().enumerate() {
            out[b * row + i] = byte;
        }
    }
}

/// Planes of words of two bytes, low bytes first, from group `first` of eight words on.
pub(super) fn words(words: &[u8], out: &mut [u8], first: usize) {
    let row = words.len() / 16;
    for (i, group) in words.as_chunks::<16>().0.iter().enumerate().skip(first) {
        let word = u128::from_le_bytes(*group);
        for half in 0..2 {
            let bytes = (0..8).fold(0, |x, k| x | u64::from((word >> (16 * k + 8 * half)) as u8) << (8 * k));
            for (b, byte) in square(bytes).to_le_bytes().into_iter().enumerate() {
                out[(8 * half + b) * row + i] = byte;
            }
        }
    }
}

/// Bytes of planes, from group `first` of eight on.
pub(super) fn bytes(planes: &[u8], out: &mut [u8], first: usize) {
    let row = planes.len() / 8;
    for (i, group) in out.as_chunks_mut::<8>().0.iter_mut().enumerate().skip(first) {
        let x = (0..8).fold(0, |x, b| x | u64::from(planes[b * row + i]) << (8 * b));
        *group = square(x).to_le_bytes();
    }
}

/// Elements that are taken apart together.
const TOGETHER: usize = 64;

/// Takes one byte of each number of a type; what it is wrapped in says for which machine.
macro_rules! plane_of {
    ($name:ident, $number:ty, $size:literal) => {
        #[inline(always)]
        fn $name(src: &[[u8; $size]], k: usize, plane: &mut [u8]) {
            let (blocks, rest) = src.as_chunks::<TOGETHER>();
            let (rooms, last) = plane.as_chunks_mut::<TOGETHER>();
            for (room, block) in rooms.iter_mut().zip(blocks) {
                // Cutting numbers short is what machines have an instruction for; picking bytes is not.
                *room = std::array::from_fn(|i| (<$number>::from_le_bytes(block[i]) >> (8 * k)) as u8);
            }
            last.iter_mut().zip(rest).for_each(|(o, e)| *o = e[k]);
        }
    };
}
plane_of!(of_2, u16, 2);
plane_of!(of_4, u32, 4);
plane_of!(of_8, u64, 8);

/// Sorts the bytes of whole elements into planes; both slices have the same length.
#[inline(always)]
pub(super) fn shuffle(src: &[u8], size: usize, out: &mut [u8]) {
    let n = src.len() / size;
    for (k, plane) in out.chunks_exact_mut(n).enumerate() {
        match size {
            1 => plane.copy_from_slice(src),
            2 => of_2(src.as_chunks().0, k, plane),
            4 => of_4(src.as_chunks().0, k, plane),
            8 => of_8(src.as_chunks().0, k, plane),
            _ => plane.iter_mut().zip(src[k..].iter().step_by(size)).for_each(|(o, b)| *o = *b),
        }
    }
}
