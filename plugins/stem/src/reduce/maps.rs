//! One or more numbers for each frame, collected and put at their scan points.

use isard_core::Pool;
use isard_core::prelude::*;

/// Numbers of frames, in runs of consecutive ones.
#[derive(Debug, Default)]
pub struct Values {
    /// Numbers of one frame; 0 before the first.
    width: usize,
    runs: Vec<(u64, Vec<f64>)>,
}

impl Values {
    /// Adds the numbers of consecutive frames.
    pub(crate) fn push(&mut self, first: u64, width: usize, values: &[f64]) -> Result<()> {
        if width == 0 || (self.width != 0 && self.width != width) {
            return Err(Error::internal(format!("{width} numbers a frame follow {}", self.width)));
        }
        self.width = width;
        if let Some((start, run)) = self.runs.last_mut()
            && *start + (run.len() / width) as u64 == first
        {
            run.extend_from_slice(values);
            return Ok(());
        }
        self.runs.push((first, values.to_vec()));
        Ok(())
    }

    /// Adds later frames.
    pub(crate) fn merge(&mut self, later: Values) -> Result<()> {
        if later.width == 0 {
            return Ok(());
        }
        if self.width != 0 && self.width != later.width {
            return Err(Error::internal("parts have different numbers for each frame"));
        }
        self.width = later.width;
        self.runs.extend(later.runs);
        Ok(())
    }

    /// Whether no frame came.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The frames with their numbers.
    pub(crate) fn frames(&self) -> impl Iterator<Item = (u64, &[f64])> {
        self.runs.iter().flat_map(|(first, run)| (*first..).zip(run.chunks_exact(self.width.max(1))))
    }

    /// What is kept at a mark.
    pub(crate) fn save(&self) -> Dict {
        let firsts: Vec<u64> = self.runs.iter().map(|(first, _)| *first).collect();
        let counts: Vec<u64> = self.runs.iter().map(|(_, run)| run.len() as u64).collect();
        let all: Vec<f64> = self.runs.iter().flat_map(|(_, run)| run.iter().copied()).collect();
        Dict::new()
            .with("width", self.width as i64)
            .with("firsts", Array::from_slice(&firsts))
            .with("counts", Array::from_slice(&counts))
            .with("values", Array::from_slice(&all))
    }

    /// What was kept.
    pub(crate) fn load(state: &Dict) -> Result<Values> {
        let array = |key: &str| match state.need(key)? {
            Value::Array(array) => Ok(array.clone()),
            other => Err(Error::data(format!("kept `{key}` is {}", other.describe()))),
        };
        let width = state.need("width")?.number().unwrap_or(0.0) as usize;
        let (firsts, counts, values) = (array("firsts")?, array("counts")?, array("values")?);
        let mut rest = values.as_slice::<f64>()?;
        let mut runs = vec![];
        for (first, count) in firsts.as_slice::<u64>()?.iter().zip(counts.as_slice::<u64>()?) {
            let (run, after) = rest
                .split_at_checked(*count as usize)
                .ok_or_else(|| Error::data("kept numbers are fewer than they were"))?;
            runs.push((*first, run.to_vec()));
            rest = after;
        }
        Ok(Values { width, runs })
    }

    /// The maps over a scan: a plane for each number [numbers, rows, columns], NaN where no frame came; and where one did.
    pub(crate) fn planes(&self, [rows, columns]: [usize; 2]) -> Result<(Array, Vec<u8>)> {
        let points = rows * columns;
        let mut planes = Pool::unpooled().take(Dtype::F64, &[self.width, rows, columns])?;
        let all = planes.as_slice_mut::<f64>()?;
        all.fill(f64::NAN);
        let mut valid = vec![0u8; points];
        for (first, run) in &self.runs {
            let count = run.len() / self.width;
            let Some(last) = count.checked_sub(1) else { continue };
            let at = inside(*first, [rows, columns])?;
            inside(first + last as u64, [rows, columns])?;
            valid[at..at + count].fill(1);
            // Plane by plane, as they lie: a run is short enough for the nearest cache.
            for (i, plane) in all.chunks_exact_mut(points).enumerate() {
                let own = run.iter().skip(i).step_by(self.width);
                plane[at..at + count].iter_mut().zip(own).for_each(|(to, value)| *to = *value);
            }
        }
        Ok((planes.freeze(), valid))
    }
}

/// The numbers of each plane.
pub(crate) fn each_plane(planes: &Array) -> Result<Vec<&[f64]>> {
    let points: usize = planes.shape()[1..].iter().product();
    Ok(planes.as_slice()?.chunks_exact(points.max(1)).collect())
}

/// The place of a frame in a scan.
pub(crate) fn inside(frame: u64, [rows, columns]: [usize; 2]) -> Result<usize> {
    let points = (rows * columns) as u64;
    if frame < points {
        return Ok(frame as usize);
    }
    Err(Error::data(format!("frame {frame} lies beyond the {rows} x {columns} points of the scan"))
        .help("look at `scan`: it is [lines, points of a line]"))
}

/// The error of a reduction that saw nothing.
pub(crate) fn nothing() -> Error {
    Error::data("no frame came, so there is no map").help("look in the ledger for where they went")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_land_at_their_points() {
        let mut a = Values::default();
        a.push(0, 2, &[1.0, 2.0]).unwrap();
        a.push(1, 2, &[3.0, 4.0]).unwrap();
        let mut b = Values::default();
        b.push(4, 2, &[5.0, 6.0]).unwrap();
        a.merge(Values::load(&b.save()).unwrap()).unwrap();
        let (planes, valid) = a.planes([2, 3]).unwrap();
        assert_eq!(planes.shape(), [2, 2, 3]);
        let planes = each_plane(&planes).unwrap();
        assert_eq!(valid, [1, 1, 0, 0, 1, 0]);
        assert_eq!((planes[0][1], planes[1][4]), (3.0, 6.0));
        assert!(planes[0][2].is_nan());
        assert!(a.planes([2, 2]).unwrap_err().message().contains("frame 4 lies beyond"));
    }
}
