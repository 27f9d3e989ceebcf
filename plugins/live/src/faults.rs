//! What goes wrong in a simulated stream, fixed by numbers or by shares.

use isard_core::prelude::*;

/// Frames that something happens to: their numbers, or the share of all frames.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Hit {
    /// The numbers of the frames.
    Numbers(Vec<u64>),
    /// The share of all frames, 0 to 1.
    Share(f64),
}

impl Default for Hit {
    fn default() -> Self {
        Hit::Numbers(vec![])
    }
}

impl Hit {
    /// Whether a frame is hit; `kind` keeps the draws of different faults apart.
    pub fn takes(&self, number: u64, kind: u64) -> bool {
        match self {
            Hit::Numbers(numbers) => numbers.contains(&number),
            Hit::Share(share) => {
                (mixed(number ^ kind << 56) >> 11) as f64 / (1u64 << 53) as f64 <= *share && *share > 0.0
            }
        }
    }

    /// The fault of a share that is none.
    pub fn check(&self, name: &str, faults: &mut isard_core::stage::Faults) {
        if let Hit::Share(share) = self
            && !(0.0..=1.0).contains(share)
        {
            faults.add(name, format!("found a share of {share}, wanted 0 to 1, or a list of frames"));
        }
    }
}

/// The finaliser of splitmix64: a number that looks drawn.
pub(crate) fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_hit_about_as_many_as_they_say() {
        let hits = |share: f64| (0..10_000).filter(|n| Hit::Share(share).takes(*n, 1)).count();
        assert_eq!((hits(0.0), hits(1.0)), (0, 10_000));
        // Ten times the standard deviation of 10000 draws of 0.1.
        assert!(hits(0.1).abs_diff(1000) < 300, "{}", hits(0.1));
        assert!(Hit::Numbers(vec![3]).takes(3, 0) && !Hit::Numbers(vec![3]).takes(4, 0));
    }
}
