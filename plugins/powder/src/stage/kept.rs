//! A calibration as it is kept at a mark.

use isard_core::prelude::*;
use isard_geometry::Pose;

use crate::accumulate::Accumulator;
use crate::calibrate::Estimate;

/// The sums of a calibration.
pub(crate) fn save_sums(acc: &Accumulator) -> Result<Dict> {
    let masked: Vec<u8> = acc.masked.iter().map(|m| u8::from(*m)).collect();
    let shape = &acc.shape;
    Ok(Dict::new()
        .with("sum", Array::of(shape, &acc.sum)?)
        .with("count", Array::of(shape, &acc.count)?)
        .with("masked", Array::of(shape, &masked)?)
        .with("frames", acc.frames as i64))
}

/// Sums that were kept.
pub(crate) fn load_sums(state: &Dict) -> Result<Accumulator> {
    let sum = array(state, "sum")?;
    let &[rows, columns] = sum.shape() else {
        return Err(Error::data(format!("kept sums have shape {:?}, wanted rows and columns", sum.shape())));
    };
    for key in ["count", "masked"] {
        let found = array(state, key)?.shape();
        if found != [rows, columns] {
            let wanted = [rows, columns];
            return Err(Error::data(format!("kept `{key}` has shape {found:?}, wanted {wanted:?}")));
        }
    }
    let mut acc = Accumulator::new([rows, columns]);
    acc.sum.copy_from_slice(sum.as_slice()?);
    acc.count.copy_from_slice(array(state, "count")?.as_slice()?);
    acc.mask(array(state, "masked")?.as_slice::<u8>()?.iter().map(|m| *m != 0));
    acc.frames = match state.need("frames")? {
        Value::Int(n) => *n as u64,
        other => {
            return Err(Error::data(format!("kept `frames` is {}, wanted an integer", other.describe())));
        }
    };
    Ok(acc)
}

/// How many numbers make an estimate.
const NUMBERS: usize = 47;

/// An estimate as an array of numbers.
pub(crate) fn save_estimate(e: &Estimate) -> Array {
    let Pose { dist, poni1, poni2, rot1, rot2, rot3 } = e.pose;
    let mut numbers = vec![dist, poni1, poni2, rot1, rot2, rot3];
    numbers.extend(e.covariance.iter().flatten());
    numbers.extend(e.centre.iter().chain(&e.centre_sigma).chain(&e.correlation));
    numbers.extend([e.rings, e.positions, e.rejected].map(|n| n as f64));
    numbers.extend([e.rms, e.chi2_dof, e.systematic, e.width, e.score, e.moved, e.frames as f64]);
    Array::from_slice(&numbers)
}

/// An estimate that was kept.
pub(crate) fn load_estimate(array: &Array) -> Result<Estimate> {
    let n: &[f64] = array.as_slice()?;
    if n.len() != NUMBERS {
        return Err(Error::data(format!("a kept estimate has {} numbers, wanted {}", n.len(), NUMBERS)));
    }
    Ok(Estimate {
        pose: Pose { dist: n[0], poni1: n[1], poni2: n[2], rot1: n[3], rot2: n[4], rot3: n[5] },
        covariance: std::array::from_fn(|i| std::array::from_fn(|j| n[6 + 5 * i + j])),
        centre: [n[31], n[32]],
        centre_sigma: [n[33], n[34]],
        correlation: [n[35], n[36]],
        rings: n[37] as usize,
        positions: n[38] as usize,
        rejected: n[39] as usize,
        rms: n[40],
        chi2_dof: n[41],
        systematic: n[42],
        width: n[43],
        score: n[44],
        moved: n[45],
        frames: n[46] as u64,
    })
}

/// A number that was kept.
pub(crate) fn number(state: &Dict, key: &str) -> Result<f64> {
    let found = state.need(key)?;
    found
        .number()
        .ok_or_else(|| Error::data(format!("kept `{key}` is {}, wanted a number", found.describe())))
}

/// An array that was kept.
pub(crate) fn array<'a>(state: &'a Dict, key: &str) -> Result<&'a Array> {
    match state.need(key)? {
        Value::Array(array) => Ok(array),
        other => Err(Error::data(format!("kept `{key}` is {}, wanted an array", other.describe()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_come_back_whole() {
        let numbers: Vec<f64> = (0..NUMBERS).map(|n| n as f64).collect();
        let estimate = load_estimate(&Array::from_slice(&numbers)).unwrap();
        assert_eq!((estimate.covariance[4][4], estimate.frames), (30.0, 46));
        assert_eq!(save_estimate(&estimate).as_slice::<f64>().unwrap(), numbers);
        assert!(load_estimate(&Array::from_slice(&numbers[1..])).is_err());
    }

    #[test]
    fn sums_come_back_whole() {
        let mut acc = Accumulator::new([2, 2]);
        acc.mask([false, true, false, false]);
        acc.add(&[1u16, 2, 3, 400], Some(300.0));
        let state = save_sums(&acc).unwrap();
        assert_eq!(load_sums(&state).unwrap(), acc);
        let short = state.with("count", Array::from_slice(&[1u32]));
        assert!(load_sums(&short).unwrap_err().message().contains("`count`"));
    }
}
