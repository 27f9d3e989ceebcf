//! One of the parts that the frames of a run are cut into.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One of the parts that the frames of a run are cut into: `2/8`, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which one, counted from 1.
    pub number: u64,
    /// How many there are.
    pub of: u64,
}

impl Part {
    /// Its share of `frames` frames, cut at multiples of `block`; none where there are more parts than blocks.
    pub fn frames(&self, frames: u64, block: u64) -> Range<u64> {
        let blocks = frames.div_ceil(block);
        let cut = |n: u64| {
            let at = u128::from(blocks) * u128::from(n) / u128::from(self.of.max(1));
            // No more than `blocks`, which is a u64.
            (at as u64).saturating_mul(block).min(frames)
        };
        cut(self.number.saturating_sub(1))..cut(self.number)
    }

    /// Whether it ends where the frames do.
    pub fn is_last(&self) -> bool {
        self.number == self.of
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {} of {}", self.number, self.of)
    }
}

impl FromStr for Part {
    type Err = Error;

    fn from_str(text: &str) -> Result<Part> {
        let numbers = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Part { number, of }),
            _ => Err(Error::recipe(format!("`{text}` is no part of a run"))
                .help("write `i/n` with i from 1 to n: `2/8` is the second of eight")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_meet_at_blocks_and_cover_all_frames() {
        for (frames, of) in [(1000, 4), (64, 3), (65, 2), (0, 2), (6400, 7), (1, 1)] {
            let mut at = 0;
            for number in 1..=of {
                let range = Part { number, of }.frames(frames, 64);
                assert_eq!(range.start, at);
                assert!(range.end == frames || range.end.is_multiple_of(64));
                at = range.end;
            }
            assert_eq!(at, frames);
        }
        // 1000 frames are 16 blocks of 64, the last with 40 frames.
        assert_eq!(Part { number: 4, of: 4 }.frames(1000, 64), 768..1000);
    }

    #[test]
    fn a_part_is_written_as_i_of_n() {
        assert_eq!("2/8".parse::<Part>().unwrap(), Part { number: 2, of: 8 });
        for wrong in ["0/3", "4/3", "3", "a/b", "1/0", "-1/2"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
