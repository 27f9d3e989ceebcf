//! Which records of an HDF5 file hold frames that came damaged.

use isard_core::prelude::*;
use isard_h5::{Attr, Dtype as H5, File, Image, Kind, Spec};

use crate::convert::h5;

/// The name of the dataset that says so, beside the frames.
pub(crate) const NAME: &str = "verdict";
/// What its numbers mean, as an attribute says: a dataset of that name without it is somebody else's.
const MEANING: &str = "0 good, 1 corrupt";
const ATTRIBUTE: &str = "meaning";

/// Writes the verdicts on all records beside the frames, if any frame is damaged.
pub(crate) fn write(image: &mut Image, records: u64, corrupt: &[u64]) -> Result<()> {
    if corrupt.is_empty() {
        return Ok(());
    }
    let mut verdicts = vec![0u8; records as usize];
    for record in corrupt {
        let at = verdicts.get_mut(*record as usize);
        *at.ok_or_else(|| Error::internal(format!("record {record} of {records} is damaged")))? = 1;
    }
    let path = format!("/entry/data/{NAME}");
    let slot = image.dataset(&path, &Spec::new(H5::U8, &[])).map_err(h5)?;
    image.append(slot, &verdicts, records).map_err(h5)?;
    image.attribute(&path, ATTRIBUTE, MEANING).map_err(h5)
}

/// The records beside a dataset that are damaged, in order; none where nothing says so.
pub(crate) fn read(file: &File, dataset: &str) -> Result<Vec<u64>> {
    let group = dataset.rsplit_once('/').map_or("", |(group, _)| group);
    let path = format!("{group}/{NAME}");
    if dataset == path {
        return Ok(vec![]);
    }
    match file.attribute(&path, ATTRIBUTE) {
        Ok(Some(Attr::Text(meaning))) if meaning == MEANING => {}
        Ok(_) => return Ok(vec![]),
        Err(error) if error.kind() == Kind::Absent => return Ok(vec![]),
        Err(error) => return Err(h5(error)),
    }
    let verdicts = file.dataset(&path).map_err(h5)?;
    let (dtype, shape) = (Dtype::from(verdicts.dtype().map_err(h5)?), verdicts.shape());
    if dtype != Dtype::U8 || shape.len() != 1 {
        return Err(Error::data(format!("{path}: found {dtype} {shape:?}, wanted one u8 for each record")));
    }
    let all = verdicts.read_all().map_err(h5)?;
    Ok(all.iter().zip(0..).filter(|(verdict, _)| **verdict != 0).map(|(_, record)| record).collect())
}
