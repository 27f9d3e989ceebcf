//! Maps of voxels as files: text and binary mic, and their lists of all matches.

use std::fmt::Write;

use isard_core::error::{Error, Result};

use crate::files::numbers;
use crate::model::Voxel;

/// Doubles of one voxel in a binary mic.
const WIDTH: usize = 11;

/// One voxel with the orientation found for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitted {
    /// The seed the orientation comes from, as its row.
    pub seed: f64,
    /// How many seeds were refined.
    pub candidates: f64,
    /// Seconds the voxel took; 0 in results that must compare equal.
    pub seconds: f64,
    /// The voxel.
    pub voxel: Voxel,
    /// Bunge's angles in radians.
    pub euler: [f64; 3],
    /// The lit share of the predicted pixels; 0 where nothing was found.
    pub confidence: f64,
}

impl Fitted {
    /// A voxel for which nothing was found.
    pub fn unsolved(voxel: Voxel) -> Fitted {
        Fitted { seed: 0.0, candidates: 0.0, seconds: 0.0, voxel, euler: [0.0; 3], confidence: 0.0 }
    }

    fn row(&self) -> [f64; WIDTH] {
        let (v, e) = (&self.voxel, self.euler);
        [
            self.seed,
            self.candidates,
            self.seconds,
            v.x,
            v.y,
            v.edge,
            v.sign(),
            e[0],
            e[1],
            e[2],
            self.confidence,
        ]
    }

    fn of(row: &[f64]) -> Fitted {
        Fitted {
            seed: row[0],
            candidates: row[1],
            seconds: row[2],
            voxel: Voxel { x: row[3], y: row[4], edge: row[5], up: row[6] >= 0.0 },
            euler: [row[7], row[8], row[9]],
            confidence: row[10],
        }
    }
}

/// What stands above the voxels of a text mic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MicHead {
    /// The edge of a voxel in micrometres.
    pub edge: f64,
    /// How many phases the sample has.
    pub phases: i64,
    /// Which of them this is.
    pub phase: i64,
    /// The height of the layer in micrometres.
    pub position: f64,
}

impl MicHead {
    fn write(&self) -> String {
        format!(
            "%TriEdgeSize {:.6}\n%NumPhases {}\n%GlobalPosition {:.6}\n",
            self.edge, self.phases, self.position
        )
    }
}

/// The text of a mic; voxels without an orientation are left out.
pub fn write_text_mic(head: &MicHead, voxels: &[Fitted]) -> String {
    let mut out = head.write();
    out.push_str("%OrientationRowNr\tOrientationID\tRunTime\tX\tY\tTriEdgeSize\tUpDown\tEul1\tEul2\tEul3\tConfidence\tPhaseNr\n");
    for v in voxels.iter().filter(|v| v.confidence != 0.0) {
        for x in v.row() {
            write!(out, "{x:.6}\t").expect("text grows");
        }
        writeln!(out, "{}", head.phase).expect("text grows");
    }
    out
}

/// The head and the voxels of a text mic.
pub fn read_text_mic(text: &str) -> Result<(MicHead, Vec<Fitted>)> {
    let mut head = MicHead { edge: 0.0, phases: 1, phase: 1, position: 0.0 };
    let mut voxels = vec![];
    for (at, line) in text.lines().enumerate() {
        if at < 4 {
            let mut words = line.split_whitespace();
            let (name, value) =
                (words.next().unwrap_or_default(), words.next().and_then(|w| w.parse::<f64>().ok()));
            match (name, value) {
                ("%TriEdgeSize", Some(x)) => head.edge = x,
                ("%NumPhases", Some(x)) => head.phases = x as i64,
                ("%GlobalPosition", Some(x)) => head.position = x,
                _ if at < 3 => {
                    return Err(Error::data(format!(
                        "line {}: found `{line}`, wanted the head of a mic",
                        at + 1
                    )));
                }
                _ => (),
            }
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        let row = numbers(line, at + 1)?;
        if row.len() != WIDTH + 1 {
            let found = row.len();
            return Err(Error::data(format!(
                "line {}: found {found} numbers, wanted {} of a voxel",
                at + 1,
                WIDTH + 1
            )));
        }
        head.phase = row[WIDTH] as i64;
        voxels.push(Fitted::of(&row));
    }
    Ok((head, voxels))
}

/// The bytes of a binary mic: every voxel of the grid, those without an orientation too.
pub fn write_binary_mic(voxels: &[Fitted]) -> Vec<u8> {
    voxels.iter().flat_map(Fitted::row).flat_map(f64::to_le_bytes).collect()
}

/// The voxels of a binary mic; a record of zeros is a voxel of which nothing is known.
pub fn read_binary_mic(bytes: &[u8]) -> Result<Vec<Fitted>> {
    if !bytes.len().is_multiple_of(8 * WIDTH) {
        let found = bytes.len();
        return Err(Error::data(format!("found {found} bytes, wanted a multiple of {}", 8 * WIDTH)));
    }
    let all: Vec<f64> =
        bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes"))).collect();
    Ok(all.chunks_exact(WIDTH).map(Fitted::of).collect())
}

/// The bytes of the list of all matches: for each voxel its `n` best (Euler angles and confidence), zeros behind them.
pub fn write_all_matches(voxels: &[Fitted], matches: &[Vec<([f64; 3], f64)>], n: usize) -> Vec<u8> {
    let mut out = vec![];
    for (v, found) in voxels.iter().zip(matches) {
        let mut row = vec![0.0, v.candidates, 0.0, v.voxel.x, v.voxel.y, v.voxel.edge, v.voxel.sign()];
        for k in 0..n {
            let (euler, confidence) = found.get(k).copied().unwrap_or_default();
            row.extend(euler);
            row.push(confidence);
        }
        out.extend(row.into_iter().flat_map(f64::to_le_bytes));
    }
    out
}

/// The text of the list of all matches; voxels without an orientation are left out.
pub fn write_text_matches(
    head: &MicHead,
    voxels: &[Fitted],
    matches: &[Vec<([f64; 3], f64)>],
    n: usize,
) -> String {
    let mut out = head.write();
    out.push_str("%OrientationRowNr\tNrMatches\tRunTime\tX\tY\tTriEdgeSize\tUpDown");
    (0..n).for_each(|_| out.push_str("\tEul1\tEul2\tEul3\tConfidence"));
    out.push_str("\tPhaseNr\n");
    for (v, found) in voxels.iter().zip(matches).filter(|(v, _)| v.confidence != 0.0) {
        let first = [v.seed, v.candidates, 0.0, v.voxel.x, v.voxel.y, v.voxel.edge, v.voxel.sign()];
        let rest = (0..n).flat_map(|k| {
            let ([a, b, c], confidence) = found.get(k).copied().unwrap_or_default();
            [a, b, c, confidence]
        });
        for x in first.into_iter().chain(rest) {
            write!(out, "{x:.6}\t").expect("text grows");
        }
        writeln!(out, "{}", head.phase).expect("text grows");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mics_come_back_and_faults_are_told() {
        let voxel = Voxel { x: -28.75, y: 1.5, edge: 1.0, up: false };
        let found = Fitted {
            seed: 3.0,
            candidates: 2.0,
            euler: [0.5, 1.5, 2.5],
            confidence: 0.25,
            ..Fitted::unsolved(voxel)
        };
        let all = [Fitted::unsolved(voxel), found];
        let head = MicHead { edge: 1.0, phases: 1, phase: 2, position: 4.5 };
        let text = write_text_mic(&head, &all);
        assert_eq!(
            text.lines().last().unwrap(),
            "3.000000\t2.000000\t0.000000\t-28.750000\t1.500000\t1.000000\t-1.000000\t0.500000\t1.500000\t2.500000\t0.250000\t2"
        );
        // The voxel without an orientation is left out of the text and stays in the binary file.
        assert_eq!(read_text_mic(&text).unwrap(), (head, vec![found]));
        assert_eq!(read_binary_mic(&write_binary_mic(&all)).unwrap(), all);
        assert!(read_text_mic("x").unwrap_err().message().contains("line 1"));
        assert!(read_binary_mic(&[0; 12]).is_err());
        let matches = write_all_matches(&all, &[vec![], vec![([1.0; 3], 0.5)]], 2);
        assert_eq!(matches.len(), 2 * 15 * 8);
        assert_eq!(matches[8 * 22..8 * 23], 1.0f64.to_le_bytes());
        let text = write_text_matches(&head, &all, &[vec![], vec![([1.0; 3], 0.5)]], 2);
        // The columns of the reference: 7 of the voxel, 4 of each solution, the phase.
        let last: Vec<&str> = text.lines().last().unwrap().split('\t').collect();
        assert_eq!((text.lines().count(), last.len()), (5, 16));
        assert_eq!(last[7..12], ["1.000000", "1.000000", "1.000000", "0.500000", "0.000000"]);
    }
}
