//! The patterns of a scan as they arrive.

use isard_core::prelude::*;

/// Where one pattern was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The frame's number.
    pub frame: u64,
    /// Height, angle in degrees, translation.
    pub at: [f64; 3],
    /// What the pattern is divided by.
    pub monitor: f64,
}

/// Patterns with their places: blocks of them, in the order of arrival.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    bins: usize,
    blocks: Vec<Block>,
    /// The bins' positions, where they are known.
    pub q: Option<Vec<f64>>,
    /// Patterns that held values that are no numbers and were left out.
    pub unusable: u64,
}

#[derive(Clone, Debug)]
struct Block {
    points: Vec<Point>,
    data: Vec<f32>,
}

impl Rows {
    /// Adds patterns of equal length, one for each point.
    pub fn add(&mut self, bins: usize, points: Vec<Point>, data: Vec<f32>) -> Result<()> {
        if points.is_empty() {
            return Ok(());
        }
        if self.bins != 0 && self.bins != bins {
            let (frame, wanted) = (points[0].frame, self.bins);
            return Err(Error::data(format!(
                "frame {frame}: a pattern of {bins} bins, wanted {wanted} as before"
            )));
        }
        self.bins = bins;
        self.blocks.push(Block { points, data });
        Ok(())
    }

    /// States the bins' positions; they must be those of before.
    pub fn with_q(&mut self, frame: u64, q: &[f64]) -> Result<()> {
        let Some(wanted) = &self.q else {
            self.q = Some(q.to_vec());
            return Ok(());
        };
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs().max(b.abs());
        match q.iter().zip(wanted).position(|(a, b)| !near(*a, *b)) {
            _ if q.len() != wanted.len() => {
                let (found, wanted) = (q.len(), wanted.len());
                Err(Error::data(format!(
                    "frame {frame}: {found} positions of bins, wanted {wanted} as before"
                )))
            }
            Some(k) => {
                let (found, wanted) = (q[k], wanted[k]);
                Err(Error::data(format!("frame {frame}: bin {k} is at {found}, wanted {wanted} as before"))
                    .help("integrate all frames with the same bins"))
            }
            None => Ok(()),
        }
    }

    /// Adds the patterns of another.
    pub fn merge(&mut self, other: Rows) -> Result<()> {
        self.unusable += other.unusable;
        if let (Some(q), frame) = (&other.q, other.points().next().map_or(0, |p| p.frame)) {
            self.with_q(frame, q)?;
        }
        if let (Some(frame), true) = (other.points().next().map(|p| p.frame), self.bins != 0)
            && self.bins != other.bins
        {
            let (found, wanted) = (other.bins, self.bins);
            return Err(Error::data(format!(
                "frame {frame}: a pattern of {found} bins, wanted {wanted} as before"
            )));
        }
        self.bins = self.bins.max(other.bins);
        self.blocks.extend(other.blocks);
        Ok(())
    }

    /// Bins of a pattern; 0 before the first.
    pub fn bins(&self) -> usize {
        self.bins
    }

    /// Where the patterns were taken.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        self.blocks.iter().flat_map(|b| &b.points)
    }

    /// The patterns with their places.
    pub fn iter(&self) -> impl Iterator<Item = (&Point, &[f32])> {
        let bins = self.bins.max(1);
        self.blocks.iter().flat_map(move |b| b.points.iter().zip(b.data.chunks_exact(bins)))
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(|b| b.points.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The patterns as they are kept at a mark.
    pub fn save(&self) -> Result<Dict> {
        let mut unusable = Dict::new().with("unusable", self.unusable as i64);
        if let Some(q) = &self.q {
            unusable.set("q", Array::from_slice(q));
        }
        if self.is_empty() {
            return Ok(unusable);
        }
        let frames: Vec<u64> = self.points().map(|p| p.frame).collect();
        let places: Vec<f64> = self.points().flat_map(|p| [p.at[0], p.at[1], p.at[2], p.monitor]).collect();
        let mut data = isard_core::Pool::unpooled().take(Dtype::F32, &[frames.len(), self.bins])?;
        let mut rest = data.as_slice_mut::<f32>()?;
        for block in &self.blocks {
            let (head, tail) = rest.split_at_mut(block.data.len());
            head.copy_from_slice(&block.data);
            rest = tail;
        }
        Ok(unusable
            .with("frames", Array::from_slice(&frames))
            .with("places", Array::of(&[frames.len(), 4], &places)?)
            .with("data", data.freeze()))
    }

    /// The patterns that were kept.
    pub fn load(state: &Dict) -> Result<Rows> {
        let unusable = match state.get("unusable") {
            Some(Value::Int(n)) => *n as u64,
            _ => 0,
        };
        let array = |key: &str| match state.need(key)? {
            Value::Array(a) => Ok(a.clone()),
            other => Err(Error::data(format!("kept `{key}` is {}, wanted an array", other.describe()))),
        };
        let q = match state.get("q") {
            Some(Value::Array(q)) => Some(q.to_f64()?),
            _ => None,
        };
        let mut rows = Rows { unusable, q, ..Rows::default() };
        if state.get("frames").is_none() {
            return Ok(rows);
        }
        let (frames, places, data) = (array("frames")?, array("places")?, array("data")?);
        let places = places.as_slice::<f64>()?;
        let points: Vec<Point> = frames
            .as_slice::<u64>()?
            .iter()
            .zip(places.chunks_exact(4))
            .map(|(frame, p)| Point { frame: *frame, at: [p[0], p[1], p[2]], monitor: p[3] })
            .collect();
        let &[n, bins] = data.shape() else {
            return Err(Error::data(format!(
                "kept patterns have shape {:?}, wanted [point q]",
                data.shape()
            )));
        };
        if n != points.len() || frames.len() != points.len() {
            return Err(Error::data(format!("{n} kept patterns for {} points", points.len())));
        }
        rows.add(bins, points, data.as_slice::<f32>()?.to_vec())?;
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_kept_and_come_back() {
        let point = |frame| Point { frame, at: [0.5, 10.0, frame as f64], monitor: 2.0 };
        let mut rows = Rows::default();
        rows.add(3, vec![point(4), point(2)], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        let mut later = Rows { unusable: 2, ..Rows::default() };
        later.add(3, vec![point(9)], vec![7.0; 3]).unwrap();
        rows.merge(later).unwrap();
        let back = Rows::load(&rows.save().unwrap()).unwrap();
        assert_eq!((back.len(), back.bins(), back.unusable), (3, 3, 2));
        assert_eq!(back.points().copied().collect::<Vec<_>>(), [point(4), point(2), point(9)]);
        assert_eq!(back.iter().nth(2).unwrap().1, [7.0; 3]);
        assert!(Rows::load(&Rows::default().save().unwrap()).unwrap().is_empty());
        let error = rows.add(2, vec![point(11)], vec![0.0; 2]).unwrap_err();
        assert_eq!(error.message(), "frame 11: a pattern of 2 bins, wanted 3 as before");
    }
}
