//! The checksum of the fletcher32 filter.

/// The sum that libhdf5 appends to a chunk, little-endian on disk.
pub(crate) fn fletcher32(bytes: &[u8]) -> u32 {
    let (mut low, mut high) = (0_u32, 0_u32);
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    // 360 words is the most that 32 bits hold without overflow.
    for block in bytes.chunks(720) {
        let words = block.chunks_exact(2);
        let odd = words.remainder();
        for word in words {
            low += u32::from(word[0]) << 8 | u32::from(word[1]);
            high += low;
        }
        if block.len() >= 2 {
            (low, high) = (fold(low), fold(high));
        }
        if let [last] = odd {
            low += u32::from(*last) << 8;
            high += low;
            (low, high) = (fold(low), fold(high));
        }
    }
    fold(high) << 16 | fold(low)
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
    fn largest_words_do_not_overflow() {
        // All words 0xffff: both sums stay congruent to 0, spelled 0xffff.
        assert_eq!(fletcher32(&vec![0xff; 1_000_000]), 0xffff_ffff);
    }
}
