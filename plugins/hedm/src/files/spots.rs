//! `DiffractionSpots.bin`, `Key.bin` and `OrientMat.bin`: the predicted spots of every seed; and the spots of voxels.

use std::fmt::Write;

use isard_core::error::{Blame, Error, Result};
use isard_core::value::Table;
use isard_orientation::Matrix;

use crate::model::{Predictor, Spot};

/// The three files of predicted spots.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpotFiles {
    /// Y, Z and omega of every spot, seed after seed.
    pub spots: Vec<u8>,
    /// For every seed how many spots it has and where they begin.
    pub key: Vec<u8>,
    /// The orientation matrix of every seed.
    pub matrices: Vec<u8>,
}

/// Predicts the spots of orientation matrices, as files.
///
/// The existing program makes its matrices of quaternions as they are printed, without bringing them to unit length.
pub fn spot_files(predictor: &Predictor, seeds: &[Matrix]) -> Result<SpotFiles> {
    let (mut files, mut start, mut spots) = (SpotFiles::default(), 0i64, vec![]);
    for matrix in seeds {
        predictor.spots_into(matrix, &mut spots);
        for s in &spots {
            [s.y, s.z, s.omega].iter().for_each(|x| files.spots.extend(x.to_le_bytes()));
        }
        let begin = i32::try_from(start).map_err(|_| {
            Error::new(
                Blame::Resources,
                format!("{} seeds have more than 2^31 spots, which the key cannot count", seeds.len()),
            )
            .help("predict spots where they are needed instead of writing them")
        })?;
        files.key.extend((spots.len() as i32).to_le_bytes());
        files.key.extend(begin.to_le_bytes());
        matrix.iter().flatten().for_each(|x| files.matrices.extend(x.to_le_bytes()));
        start += spots.len() as i64;
    }
    Ok(files)
}

/// The spots and the orientation matrix of every seed; the reflections behind the spots are not known.
pub fn read_spot_files(files: &SpotFiles) -> Result<Vec<(Matrix, Vec<Spot>)>> {
    let doubles = |bytes: &[u8]| -> Vec<f64> {
        bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes"))).collect()
    };
    let (spots, matrices) = (doubles(&files.spots), doubles(&files.matrices));
    let key: Vec<i32> =
        files.key.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
    if key.len() / 2 != matrices.len() / 9 {
        let (found, wanted) = (matrices.len() / 9, key.len() / 2);
        return Err(Error::data(format!("found {found} orientation matrices for {wanted} seeds in the key")));
    }
    let mut out = vec![];
    for (pair, m) in key.chunks_exact(2).zip(matrices.chunks_exact(9)) {
        let range = usize::try_from(pair[1]).ok().zip(usize::try_from(pair[0]).ok());
        let rows = range.and_then(|(start, count)| spots.get(3 * start..3 * (start + count)));
        let rows = rows.ok_or_else(|| {
            let found = spots.len() / 3;
            Error::data(format!("the key asks for {} spots from {} on, found {found}", pair[0], pair[1]))
        })?;
        let spots =
            rows.chunks_exact(3).map(|s| Spot { y: s[0], z: s[1], omega: s[2], reflection: usize::MAX });
        out.push((std::array::from_fn(|i| std::array::from_fn(|j| m[3 * i + j])), spots.collect()));
    }
    Ok(out)
}

/// The text of a table of lit pixels, as `hedm.footprints` gives it: columns apart by tabs, named in the first line.
pub fn write_spot_table(pixels: &Table) -> Result<String> {
    let whole = |name: &str| pixels.numbers::<u32>(name);
    let real = |name: &str| pixels.numbers::<f64>(name);
    let (voxel, distance, frame) = (whole("voxel")?, whole("distance")?, whole("frame")?);
    let (y, z) = (whole("y")?, whole("z")?);
    let (omega, ideal_y, ideal_z) = (real("omega")?, real("ideal_y")?, real("ideal_z")?);
    let mut out = String::from("VoxRowNr\tDistanceNr\tFrameNr\tHorPx\tVerPx\tOmegaRaw\tYRaw\tZRaw\n");
    for k in 0..pixels.rows() {
        let numbers = [voxel[k], distance[k], frame[k], y[k], z[k]];
        numbers.iter().for_each(|n| write!(out, "{n}\t").expect("text grows"));
        writeln!(out, "{:.6}\t{:.6}\t{:.6}", omega[k], ideal_y[k], ideal_z[k]).expect("text grows");
    }
    Ok(out)
}
