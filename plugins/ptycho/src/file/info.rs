//! What a scan file says of its own making: documentation, which no reader needs.

use super::ptyd::Meta;
use super::tree::{Block, Node};

/// How a scan file was made.
#[derive(Clone, Debug, Default)]
pub struct Making<'a> {
    /// The file, as it was asked for.
    pub file: &'a str,
    /// How chunks are saved.
    pub save: &'a str,
    /// What the names of chunk files end in.
    pub chunk_format: &'a str,
    /// What every reader needs, once it is known.
    pub meta: Option<&'a Meta>,
    /// Positions of all frames, once the scan is over, m.
    pub positions: &'a [[f64; 2]],
    /// How many frames there are, once the scan is over.
    pub frames: Option<u64>,
}

impl Making<'_> {
    /// The members of `info`, with the names and types that other programs give them.
    pub fn members(&self) -> Vec<(String, Node)> {
        let mut all = vec![
            ("add_poisson_noise", Node::Bool(false)),
            ("auto_center", Node::Bool(false)),
            ("chunk_format", Node::Text(self.chunk_format.to_owned())),
            ("dfile", Node::Text(self.file.to_owned())),
            ("experimentID", Node::None),
            ("load_parallel", Node::None),
            ("min_frames", Node::int(1)),
            ("name", Node::Text("isard".into())),
            ("orientation", Node::None),
            ("positions_theory", Node::None),
            ("rebin", Node::int(1)),
            ("save", Node::Text(self.save.to_owned())),
            ("weight2d", Node::Bool(true)),
        ];
        if let Some(m) = self.meta {
            all.extend([
                ("center", Node::floats(&m.center)),
                ("distance", Node::float(m.distance)),
                ("energy", Node::float(m.energy)),
                ("label", Node::text(m.label.as_deref())),
                ("num_frames", m.num_frames.map_or(Node::None, |n| Node::int(n as i64))),
                ("psize", Node::float(m.psize[0])),
                ("shape", Node::ints(&m.shape.map(|n| n as i64))),
                ("version", Node::float(m.version)),
            ]);
        }
        if !self.positions.is_empty() {
            let flat: Vec<f64> = self.positions.iter().flatten().copied().collect();
            all.push(("positions_scan", Node::Array(Block::floats(&[self.positions.len(), 2], &flat))));
        }
        if let Some(frames) = self.frames {
            // Others ignore these two: how a reader learns that no more frames come.
            all.push(("end_of_scan", Node::Bool(true)));
            all.push(("num_frames_actual", Node::int(frames as i64)));
        }
        all.into_iter().map(|(name, node)| (name.to_owned(), node)).collect()
    }
}
