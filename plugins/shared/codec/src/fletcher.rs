//! The checksum of the fletcher32 filter.

/// 360 words is the most that sums of 32 bits hold without overflow.
const BLOCK: usize = 720;
const LANES: usize = 8;

/// The sum that libhdf5 appends to a chunk, little-endian on disk.
pub fn fletcher32(bytes: &[u8]) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    let (low, high) = blocks.iter().fold((0, 0), whole);
    let (low, high) = plain((low, high), rest);
    high << 16 | low
}

/// Brings a sum below 2^16; only zero gives zero.
fn fold(mut sum: u64) -> u32 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u32
}

/// Both sums word by word, as the definition has them.
fn plain((mut low, mut high): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    for word in bytes.chunks(2) {
        // An odd last byte counts as the high half of a word.
        low += u32::from(word[0]) << 8 | word.get(1).map_or(0, |b| u32::from(*b));
        high += low;
    }
    (fold(low.into()), fold(high.into()))
}

/// The same over a whole block, in lanes that the compiler turns into vectors.
///
/// A word i of n adds n - i times to the high sum. With i = 8 k + lane, that
/// is 8 times its count in the lane's own high sum, less the lane's number.
fn whole((low, high): (u32, u32), block: &[u8; BLOCK]) -> (u32, u32) {
    let (mut lows, mut highs) = ([0_u32; LANES], [0_u32; LANES]);
    for row in block.as_chunks::<{ 2 * LANES }>().0 {
        for lane in 0..LANES {
            lows[lane] += u32::from(u16::from_be_bytes([row[2 * lane], row[2 * lane + 1]]));
            highs[lane] += lows[lane];
        }
    }
    let words = (BLOCK / 2) as u64;
    let lanes = || lows.iter().zip(&highs).zip(0..).map(|((l, h), i)| (u64::from(*l), u64::from(*h), i));
    let low_sum: u64 = lanes().map(|(l, _, _)| l).sum();
    let high_sum: u64 = lanes().map(|(l, h, i): (u64, u64, u64)| LANES as u64 * h - i * l).sum();
    (fold(u64::from(low) + low_sum), fold(u64::from(high) + words * u64::from(low) + high_sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_hand_calculation() {
        // Big-endian words, sums from zero, modulo 65535, worked by hand:
        // 0x0102 -> low 0x0102, high 0x0102; then 0x0304 -> 0x0406, 0x0508.
        assert_eq!(fletcher32(&[1, 2]), 0x0102_0102);
        assert_eq!(fletcher32(&[1, 2, 3, 4]), 0x0508_0406);
        // The odd byte counts as the high half of a word: 0x0502.
        assert_eq!(fletcher32(&[1, 2, 4]), 0x0604_0502);
    }

    #[test]
    fn lanes_agree_with_the_definition() {
        let bytes: Vec<u8> = (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for length in [0, 1, 719, 720, 721, 1440, 4999, 5000] {
            let sums = bytes[..length].chunks(BLOCK).fold((0, 0), plain);
            assert_eq!(fletcher32(&bytes[..length]), sums.1 << 16 | sums.0, "{length} bytes");
        }
        assert_eq!(fletcher32(&[0; 2000]), 0);
    }

    #[test]
    fn largest_words_do_not_overflow() {
        // All words 0xffff: both sums stay congruent to 0, spelled 0xffff.
        assert_eq!(fletcher32(&vec![0xff; 1_000_000]), 0xffff_ffff);
    }
}
