//! Frames that came twice: whether with the same content.

use crate::span::Chunk;
use crate::value::Value;

/// Frames that are remembered: repeats come soon, and the memory is that of any scan.
const KEPT: u64 = 4096;
/// Bytes of a frame that are looked at together, and from one such piece to the next.
///
/// A sixty-fourth of a frame costs next to nothing, and detectors give no two frames alike: all of it would take a
/// large frame half a millisecond. Seldom a multiple of a row, so that all columns are looked at.
const PIECE: usize = 64;
const STEP: usize = 64 * PIECE + PIECE;

/// Digests of the newest frames, and what was found.
#[derive(Default)]
pub struct Repeats {
    /// Number and digest of the newest frame of each remainder by `KEPT`.
    digests: Vec<(u64, u64)>,
    /// Repeats whose content was another one.
    pub differ: u64,
    /// The number of the first of them.
    pub first: Option<u64>,
}

impl Repeats {
    /// Remembers frames that came for the first time.
    pub fn note(&mut self, block: &Chunk, numbers: std::ops::Range<u64>) {
        // No frame has the number that stands for none.
        self.digests.resize(KEPT as usize, (u64::MAX, 0));
        for number in numbers {
            self.digests[(number % KEPT) as usize] = (number, digest(block, number));
        }
    }

    /// Holds a frame that came again against the first of its number, as far as that is remembered.
    pub fn compare(&mut self, block: &Chunk, number: u64) {
        let Some((first, then)) = self.digests.get((number % KEPT) as usize) else { return };
        if *first == number && *then != digest(block, number) {
            self.differ += 1;
            self.first.get_or_insert(number);
        }
    }
}

/// A digest of a part of the bytes of one frame.
fn digest(block: &Chunk, number: u64) -> u64 {
    let (at, count) = ((number - block.span.start) as usize, block.span.len as usize);
    let mut sum = 0u64;
    for (_, value) in block.data.iter() {
        let Value::Array(array) = value else { continue };
        if array.shape().first() != Some(&count) {
            continue;
        }
        let size = array.bytes().len() / count;
        let record = &array.bytes()[at * size..(at + 1) * size];
        for piece in record.chunks(STEP) {
            for word in piece[..piece.len().min(PIECE)].chunks(8) {
                let mut bytes = [0; 8];
                bytes[..word.len()].copy_from_slice(word);
                sum = (sum ^ u64::from_le_bytes(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
            }
        }
    }
    sum
}
