//! What goes wrong with simulated frames, fixed by the seed.

use isard_core::prelude::*;
use rand::RngExt;
use serde::Serialize;

/// Frames that something happens to: their numbers, or the share of all frames.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Hit {
    /// The numbers of the frames.
    Numbers(Vec<u64>),
    /// The share of all frames, 0 to 1, picked by the seed.
    Share(f64),
}

impl Default for Hit {
    fn default() -> Self {
        Hit::Numbers(vec![])
    }
}

impl Hit {
    /// Whether a frame is hit; `draw` is even between 0 and 1.
    fn takes(&self, number: u64, draw: f64) -> bool {
        match self {
            Hit::Numbers(numbers) => numbers.contains(&number),
            Hit::Share(share) => draw < *share,
        }
    }

    /// The fault of a share that is none.
    pub(crate) fn check(&self, name: &str, faults: &mut Faults) {
        if let Hit::Share(share) = self
            && !(0.0..=1.0).contains(share)
        {
            faults.add(name, format!("found a share of {share}, wanted 0 to 1, or a list of frames"));
        }
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It comes in its turn.
    Good,
    /// It never comes.
    Lost,
    /// It comes damaged.
    Corrupt,
    /// It comes after later ones.
    Late,
    /// It comes twice.
    Double,
}

/// Which frames meet with what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fates {
    /// Frames that never come.
    pub lose: Hit,
    /// Frames that come damaged.
    pub corrupt: Hit,
    /// Frames that come after later ones.
    pub late: Hit,
    /// Frames that come twice.
    pub double: Hit,
}

/// Counts are drawn from the records of the frames' numbers, fates from others.
const APART: u64 = 1 << 62;

impl Fates {
    /// What becomes of a frame: a function of the seed and its number alone.
    ///
    /// Where several would happen to it, it is lost rather than corrupt, late or doubled, in this order.
    pub(crate) fn of(&self, cx: &Cx, number: u64) -> Fate {
        let kinds = [
            (&self.lose, Fate::Lost),
            (&self.corrupt, Fate::Corrupt),
            (&self.late, Fate::Late),
            (&self.double, Fate::Double),
        ];
        let mut rng =
            kinds.iter().any(|(hit, _)| matches!(hit, Hit::Share(_))).then(|| cx.rng(APART + number));
        // Every kind has its own draw, so that changing one share moves no other.
        let draws = kinds.each_ref().map(|_| rng.as_mut().map_or(1.0, |r| r.random::<f64>()));
        let found = kinds.iter().zip(draws).find(|((hit, _), draw)| hit.takes(number, *draw));
        found.map_or(Fate::Good, |((_, fate), _)| *fate)
    }
}
