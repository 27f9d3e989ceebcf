//! Eight bytes at a time in a 64-bit word.

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

/// Bytes of planes, from group `first` of eight on.
pub(super) fn bytes(planes: &[u8], out: &mut [u8], first: usize) {
    let row = planes.len() / 8;
    for (i, group) in out.as_chunks_mut::<8>().0.iter_mut().enumerate().skip(first) {
        let x = (0..8).fold(0, |x, b| x | u64::from(planes[b * row + i]) << (8 * b));
        *group = square(x).to_le_bytes();
    }
}
