//! Through virtual datasets to where the records really are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Dataset, Error, File, Kind, Result, Storage, ffi};

/// Neighbouring records of a dataset, and the dataset that really holds them.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The first record.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// The dataset that holds them and its record for the first one; none where nothing is mapped.
    pub source: Option<(Arc<Dataset>, u64)>,
}

impl File {
    /// Opens a dataset and tells where its records of `axes` axes are, in order and without a hole.
    ///
    /// A virtual dataset that shows whole records one after the other is taken apart into its sources; any other one
    /// is a single piece, which the library puts together.
    pub fn pieces(&self, path: &str, axes: usize) -> Result<(Arc<Dataset>, Vec<Piece>)> {
        let dataset = Arc::new(self.dataset(path)?);
        let records = dataset.records(axes)?;
        let whole = || vec![Piece { first: 0, count: records, source: Some((dataset.clone(), 0)) }];
        if dataset.parts.storage != Storage::Virtual || records == 0 {
            return Ok((dataset.clone(), whole()));
        }
        let Some(mut shown) = self.shown(&dataset, axes).map_err(|e| e.at(&dataset.name))? else {
            return Ok((dataset.clone(), whole()));
        };
        shown.sort_by_key(|piece| piece.first);
        let (mut pieces, mut at) = (Vec::new(), 0);
        for piece in shown {
            if piece.first < at {
                // Sources that overlap: which one shows is the library's affair.
                return Ok((dataset.clone(), whole()));
            }
            if piece.first > at {
                pieces.push(Piece { first: at, count: piece.first - at, source: None });
            }
            at = piece.first + piece.count;
            pieces.push(piece);
        }
        if at < records {
            pieces.push(Piece { first: at, count: records - at, source: None });
        }
        Ok((dataset, pieces))
    }

    /// The mapped records; none if a mapping does not show whole records.
    fn shown(&self, dataset: &Dataset, axes: usize) -> Result<Option<Vec<Piece>>> {
        let shape = dataset.shape();
        let leading = shape.len() - axes;
        if leading == 0 {
            return Ok(None);
        }
        let row = shape[1..leading].iter().product::<u64>();
        let record = &shape[leading..];
        let folder = folder(dataset)?;
        let mut opened: Option<(PathBuf, Self)> = None;
        let mut pieces = vec![];
        for mapping in ffi::virtual_sources(&dataset.id)? {
            let Some(slab) = mapping.shown.clone() else {
                if mapping.points != shape.iter().product::<u64>() {
                    return Ok(None);
                }
                // All of the virtual dataset is one source.
                let Some(piece) = self.piece(dataset, &folder, &mapping, &mut opened, None, axes)? else {
                    return Ok(None);
                };
                pieces.push(Piece { count: piece.count.min(shape[0] * row), ..piece });
                continue;
            };
            let full = |axis: usize| slab.run(axis) == Some((0, shape[axis]));
            if !(1..shape.len()).all(full) {
                return Ok(None);
            }
            for (number, start, rows) in mapped(&slab, shape[0], has_pattern(&mapping)) {
                let found = self.piece(dataset, &folder, &mapping, &mut opened, Some(number), axes)?;
                let alike = |p: &Piece| p.source.as_ref().is_none_or(|(s, _)| s.shape().ends_with(record));
                let Some(piece) = found.filter(alike) else {
                    return Ok(None);
                };
                let count = piece.count.min(rows * row);
                if count > 0 {
                    pieces.push(Piece { first: start * row, count, ..piece });
                }
            }
        }
        Ok(Some(pieces))
    }

    /// The source of one block, as the piece of a dataset that begins with it.
    fn piece(
        &self,
        dataset: &Dataset,
        folder: &Path,
        mapping: &ffi::Source,
        opened: &mut Option<(PathBuf, Self)>,
        number: Option<u64>,
        axes: usize,
    ) -> Result<Option<Piece>> {
        let (file, path) = (named(&mapping.file, number)?, named(&mapping.dataset, number)?);
        let source = if file == "." {
            self.dataset(&path)?
        } else {
            let at = beside(folder, &file);
            if opened.as_ref().is_none_or(|(name, _)| *name != at) {
                let file = self.like(&at).map_err(|e| e.at("missing source"))?;
                *opened = Some((at, file));
            }
            let (_, file) = opened.as_ref().expect("the file was opened above");
            file.dataset(&path).map_err(|e| e.at("missing source"))?
        };
        let rank = source.shape().len();
        if source.dtype()? != dataset.dtype()? || rank < axes {
            return Ok(None);
        }
        let (first, count) = match &mapping.used {
            None if mapping.whole => (0, source.records(axes)?),
            None => return Ok(None),
            Some(used) => {
                // Whole records of the source, in a row.
                let rest = (1..rank).all(|axis| used.run(axis) == Some((0, source.shape()[axis])));
                let Some((first, n)) = used.run(0).filter(|_| rest && rank > axes) else {
                    return Ok(None);
                };
                let each = source.shape()[1..rank - axes].iter().product::<u64>();
                let there = source.shape()[0].saturating_sub(first);
                let n = if n == ffi::UNLIMITED { there } else { n };
                (first * each, n.min(there) * each)
            }
        };
        let count = count.min(source.records(axes)?.saturating_sub(first));
        Ok(Some(Piece { first: 0, count, source: Some((Arc::new(source), first)) }))
    }
}

/// Number, first row and rows of each block of a mapping along the first axis.
pub(crate) fn mapped(slab: &ffi::Slab, rows: u64, pattern: bool) -> Vec<(u64, u64, u64)> {
    let (start, stride, block) = (slab.start[0], slab.stride[0].max(1), slab.block[0]);
    if !pattern {
        return match slab.run(0) {
            Some((start, n)) if start < rows => vec![(0, start, n.min(rows - start))],
            _ => vec![],
        };
    }
    (0..slab.count[0])
        .map_while(|i| {
            let first = i.checked_mul(stride).and_then(|n| n.checked_add(start)).filter(|n| *n < rows)?;
            Some((i, first, block.min(rows - first)))
        })
        .collect()
}

/// The folder that names of sources begin in.
fn folder(dataset: &Dataset) -> Result<PathBuf> {
    let holder = PathBuf::from(ffi::file_name(&dataset.id)?);
    Ok(holder.parent().unwrap_or(Path::new("")).to_owned())
}

/// A source beside the virtual dataset; an absolute name that is gone is looked for there too.
pub(crate) fn beside(folder: &Path, name: &str) -> PathBuf {
    let at = folder.join(name);
    match Path::new(name).file_name() {
        // So does the library: a folder may have been moved as a whole.
        Some(last) if Path::new(name).is_absolute() && !at.exists() && folder.join(last).exists() => {
            folder.join(last)
        }
        _ => at,
    }
}

pub(crate) fn has_pattern(mapping: &ffi::Source) -> bool {
    let any = |name: &str| name.replace("%%", "").contains("%b");
    any(&mapping.file) || any(&mapping.dataset)
}

/// A name with `%b` replaced by the number of the block and `%%` by `%`.
pub(crate) fn named(pattern: &str, number: Option<u64>) -> Result<String> {
    let (mut out, mut rest) = (String::new(), pattern);
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        rest = match (after.strip_prefix('%'), after.strip_prefix('b'), number) {
            (Some(rest), _, _) => {
                out.push('%');
                rest
            }
            (_, Some(rest), Some(number)) => {
                out.push_str(&number.to_string());
                rest
            }
            _ => {
                let text = format!("source `{pattern}`: wanted `%b` or `%%` where a `%` stands");
                return Err(Error::new(Kind::Unsupported, text));
            }
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// The number of the first source after a hole: files beyond `next` that fit the pattern.
pub(crate) fn beyond(folder: &Path, pattern: &str, next: u64) -> Option<String> {
    let at = folder.join(pattern);
    let name = at.file_name()?.to_str()?.to_owned();
    let (before, after) = name.split_once("%b")?;
    let (before, after) = (before.replace("%%", "%"), after.replace("%%", "%"));
    let entries = std::fs::read_dir(at.parent()?).ok()?;
    let fits = |name: String| {
        let number = name.strip_prefix(&before)?.strip_suffix(&after)?.parse::<u64>().ok()?;
        (number >= next).then_some((number, name))
    };
    entries.flatten().filter_map(|e| fits(e.file_name().into_string().ok()?)).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_sources() {
        assert_eq!(named("f_%b.h5", Some(12)).unwrap(), "f_12.h5");
        assert_eq!(named("100%%_%b", Some(0)).unwrap(), "100%_0");
        assert_eq!(named("plain", None).unwrap(), "plain");
        assert!(named("f_%d", Some(1)).is_err() && named("f_%b", None).is_err());
    }
}
