//! Through virtual datasets to where the records really are.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::read::DEEPEST;
use crate::{Dataset, Error, File, Kind, Result, Storage, ffi};

/// Neighbouring records of a dataset, and the dataset that really holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The first record.
    pub first: u64,
    /// How many there are.
    pub count: u64,
    /// What holds them; none where nothing is mapped.
    pub source: Option<Source>,
}

impl Piece {
    /// The part of pieces that is in a range of records, which then count from 0.
    pub fn cut(pieces: Vec<Piece>, range: Range<u64>) -> Vec<Piece> {
        let part = |piece: Piece| {
            let from = piece.first.max(range.start);
            let to = (piece.first + piece.count).min(range.end);
            let source =
                piece.source.map(|s| Source { first: s.first + from.saturating_sub(piece.first), ..s });
            (from < to).then(|| Piece { first: from - range.start, count: to - from, source })
        };
        pieces.into_iter().filter_map(part).collect()
    }
}

/// A dataset by name, and the record of it that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// The path in the file.
    pub dataset: String,
    /// The first record.
    pub first: u64,
}

impl File {
    /// Opens a dataset and tells where its records of `axes` axes are, in order and without a hole.
    ///
    /// A virtual dataset that shows whole records one after the other is taken apart into its sources; any other one
    /// is a single piece, which the library puts together.
    pub fn pieces(&self, path: &str, axes: usize) -> Result<(Dataset, Vec<Piece>)> {
        let dataset = self.dataset(path)?;
        let records = dataset.records(axes)?;
        let source = Source { file: self.name().into(), dataset: path.into(), first: 0 };
        let whole = vec![Piece { first: 0, count: records, source: Some(source) }];
        if dataset.parts.storage != Storage::Virtual || records == 0 {
            return Ok((dataset, whole));
        }
        let shown = self.shown(&dataset, axes).map_err(|e| e.at(&dataset.name))?;
        Ok((dataset, shown.and_then(|shown| joined(shown, records)).unwrap_or(whole)))
    }

    /// The mapped records; none if a mapping does not show whole records.
    fn shown(&self, dataset: &Dataset, axes: usize) -> Result<Option<Vec<Piece>>> {
        let shape = dataset.shape();
        let leading = shape.len() - axes;
        if leading == 0 {
            return Ok(None);
        }
        let row = shape[1..leading].iter().product::<u64>();
        let folder = folder(dataset)?;
        let mut sources = Sources::default();
        let mut pieces = vec![];
        for mapping in ffi::virtual_sources(&dataset.id)? {
            let blocks = match &mapping.shown {
                Some(slab) if (1..shape.len()).all(|axis| slab.run(axis) == Some((0, shape[axis]))) => {
                    mapped(slab, shape[0], has_pattern(&mapping))
                }
                // All of the virtual dataset is one source.
                None if mapping.points == shape.iter().product::<u64>() => vec![(0, 0, shape[0])],
                _ => return Ok(None),
            };
            for (number, start, rows) in blocks {
                let (name, path) =
                    (named(&mapping.file, Some(number))?, named(&mapping.dataset, Some(number))?);
                let file = if name == "." { PathBuf::from(self.name()) } else { beside(&folder, &name) };
                let source = sources.dataset(self, &file, &path, DEEPEST)?;
                let Some((first, count)) = used(&mapping, source, dataset, axes)? else {
                    return Ok(None);
                };
                let count = count.min(rows * row);
                if count > 0 {
                    let source = Some(Source { file, dataset: path, first });
                    pieces.push(Piece { first: start * row, count, source });
                }
            }
        }
        Ok(Some(pieces))
    }
}

/// The records of a source that a mapping uses, if they are whole and in a row: the first, and how many.
fn used(
    mapping: &ffi::Source,
    source: &Dataset,
    dataset: &Dataset,
    axes: usize,
) -> Result<Option<(u64, u64)>> {
    let (shape, rank) = (source.shape(), source.shape().len());
    let record = &dataset.shape()[dataset.shape().len() - axes..];
    if source.dtype()? != dataset.dtype()? || !shape.ends_with(record) {
        return Ok(None);
    }
    let records = source.records(axes)?;
    let Some(used) = &mapping.used else {
        return Ok(mapping.whole.then_some((0, records)));
    };
    let rest = (1..rank).all(|axis| used.run(axis) == Some((0, shape[axis])));
    let Some((first, rows)) = used.run(0).filter(|_| rest && rank > axes) else {
        return Ok(None);
    };
    let each = shape[1..rank - axes].iter().product::<u64>();
    let rows = rows.min(shape[0].saturating_sub(first));
    Ok(Some((first * each, rows * each)))
}

/// Puts pieces in order, names the holes, joins what is one run of one source; none if pieces overlap.
fn joined(mut shown: Vec<Piece>, records: u64) -> Option<Vec<Piece>> {
    shown.sort_by_key(|piece| piece.first);
    let (mut pieces, mut at): (Vec<Piece>, u64) = (Vec::new(), 0);
    for piece in shown {
        if piece.first < at {
            // Which of two sources shows is the library's affair.
            return None;
        }
        if piece.first > at {
            pieces.push(Piece { first: at, count: piece.first - at, source: None });
        }
        at = piece.first + piece.count;
        if let Some(Piece { count, source: Some(last), .. }) = pieces.last_mut()
            && let Some(next) = &piece.source
            && (&last.file, &last.dataset, last.first + *count) == (&next.file, &next.dataset, next.first)
        {
            *count += piece.count;
            continue;
        }
        pieces.push(piece);
    }
    if at < records {
        pieces.push(Piece { first: at, count: records - at, source: None });
    }
    Some(pieces)
}

/// Sources of mappings, of which the last one stays open: neighbours often share it.
#[derive(Default)]
pub(crate) struct Sources {
    open: Option<(PathBuf, File)>,
    dataset: Option<(String, Dataset)>,
}

impl Sources {
    /// A dataset of a file that is opened like another one.
    pub fn dataset(&mut self, like: &File, at: &Path, path: &str, depth: usize) -> Result<&Dataset> {
        if self.open.as_ref().is_none_or(|(name, _)| *name != at) {
            self.dataset = None;
            let file = like.like(at).map_err(|e| e.at("missing source"))?;
            self.open = Some((at.to_owned(), file));
        }
        if self.dataset.as_ref().is_none_or(|(name, _)| *name != path) {
            let (_, file) = self.open.as_ref().expect("the file was opened above");
            let found = file.dataset_within(path, depth).map_err(|e| e.at("missing source"))?;
            self.dataset = Some((path.to_owned(), found));
        }
        Ok(&self.dataset.as_ref().expect("the dataset was opened above").1)
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
    fn neighbours_of_one_source_are_joined() {
        let piece = |first, count, file: &str, at| {
            let source = Source { file: file.into(), dataset: "/d".into(), first: at };
            Piece { first, count, source: Some(source) }
        };
        let hole = |first, count| Piece { first, count, source: None };
        let shown = vec![piece(2, 1, "a", 1), piece(1, 1, "a", 0), piece(3, 2, "b", 0), piece(7, 1, "b", 2)];
        let wanted =
            vec![hole(0, 1), piece(1, 2, "a", 0), piece(3, 2, "b", 0), hole(5, 2), piece(7, 1, "b", 2)];
        let more = [wanted.clone(), vec![hole(8, 1)]].concat();
        assert_eq!(joined(shown.clone(), 8), Some(wanted));
        assert_eq!(joined(shown, 9), Some(more));
        assert_eq!(joined(vec![piece(0, 2, "a", 0), piece(1, 1, "b", 0)], 2), None);
    }

    #[test]
    fn patterns_of_sources() {
        assert_eq!(named("f_%b.h5", Some(12)).unwrap(), "f_12.h5");
        assert_eq!(named("100%%_%b", Some(0)).unwrap(), "100%_0");
        assert_eq!(named("plain", None).unwrap(), "plain");
        assert!(named("f_%d", Some(1)).is_err() && named("f_%b", None).is_err());
    }

    #[test]
    fn pieces_are_cut_at_both_ends_and_count_anew() {
        let at = |first| Some(Source { file: "a.h5".into(), dataset: "/x".into(), first });
        let piece = |first, count, source| Piece { first, count, source };
        let all = || vec![piece(0, 4, at(10)), piece(4, 2, None), piece(6, 5, at(0))];
        assert_eq!(Piece::cut(all(), 0..11), all());
        let wanted = [piece(0, 2, at(12)), piece(2, 2, None), piece(4, 1, at(0))];
        assert_eq!(Piece::cut(all(), 2..7), wanted);
        assert_eq!(Piece::cut(all(), 8..9), [piece(0, 1, at(2))]);
        assert_eq!(Piece::cut(all(), 3..3), []);
    }
}
