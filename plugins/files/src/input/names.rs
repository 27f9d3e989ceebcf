//! Names with a running number: the next one is predicted, so that no folder has to be listed.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// The names of a sequence of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    folder: PathBuf,
    before: String,
    after: String,
    /// Digits of a number with zeros in front; 0 where it has none.
    width: usize,
    /// The number of the file that comes next.
    pub next: u64,
}

impl Names {
    /// The sequence that begins with a file; `others` are names beside it, `pattern` what found it.
    ///
    /// The number is the run of digits in which the names differ; of a single name the last one that a `*` or `#` of the
    /// pattern stands for, else the last one before the ending.
    pub fn new(first: &Path, pattern: Option<&str>, others: &[&str], endings: &[&str]) -> Option<Names> {
        let name = first.file_name()?.to_str()?;
        let lower = name.to_lowercase();
        let stem = endings.iter().filter(|e| lower.ends_with(*e)).map(|e| name.len() - e.len()).min();
        let mut place = 0..stem.unwrap_or(name.len());
        if let Some(pattern) = pattern {
            let (begin, end) = (pattern.find(['*', '?', '#'])?, pattern.rfind(['*', '?', '#'])?);
            place = begin..name.len().checked_sub(pattern.len() - end - 1)?;
        }
        let runs = digits(name);
        let inside = |run: &&Range<usize>| run.start < place.end && run.end > place.start;
        let differs = |run: &&Range<usize>| {
            others.iter().any(|other| {
                // The same name but for this number.
                let end = other.len().checked_sub(name.len() - run.end);
                end.is_some_and(|end| {
                    end > run.start
                        && other.starts_with(&name[..run.start])
                        && other[end..] == name[run.end..]
                        && other[run.start..end].bytes().all(|b| b.is_ascii_digit())
                })
            })
        };
        let run = runs.iter().find(differs).or_else(|| runs.iter().rfind(inside))?;
        let number = name[run.clone()].parse().ok()?;
        Some(Names {
            folder: first.parent().map(Path::to_owned).unwrap_or_default(),
            before: name[..run.start].to_owned(),
            after: name[run.end..].to_owned(),
            width: if name[run.clone()].starts_with('0') { run.len() } else { 0 },
            next: number,
        })
    }

    /// The file of a number.
    pub fn path(&self, number: u64) -> PathBuf {
        let Names { before, after, width, .. } = self;
        self.folder.join(format!("{before}{number:0width$}{after}"))
    }

    /// The number of a name, if it belongs to the sequence.
    pub fn number(&self, name: &str) -> Option<u64> {
        let number = name.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        let plain = number.bytes().all(|b| b.is_ascii_digit()) && !number.is_empty();
        let number = number.parse().ok().filter(|_| plain)?;
        (self.path(number).file_name()?.to_str()? == name).then_some(number)
    }
}

/// The runs of digits of a name.
fn digits(name: &str) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = vec![];
    for (at, _) in name.bytes().enumerate().filter(|(_, b)| b.is_ascii_digit()) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(first: &str, pattern: Option<&str>, others: &[&str]) -> Names {
        Names::new(Path::new(first), pattern, others, &[".tif", ".tiff"]).unwrap()
    }

    #[test]
    fn the_next_name_is_predicted() {
        for (first, pattern, others, wanted) in [
            ("scan_0009.tif", None, &[][..], "scan_0010.tif"),
            ("scan9.tif", None, &[], "scan10.tif"),
            ("s2_099_x64.tif", Some("s2_*_x64.tif"), &[], "s2_100_x64.tif"),
            ("s2_099_x64.tif", None, &["s2_100_x64.tif"], "s2_100_x64.tif"),
            ("s2_099_7.tif", Some("s2_###_7.tif"), &[], "s2_100_7.tif"),
            ("a_999.tif", None, &["a_1000.tif"], "a_1000.tif"),
            ("a_000.tif", None, &["a_001.tif"], "a_001.tif"),
        ] {
            let names = names(first, pattern, others);
            assert_eq!(names.path(names.next), Path::new(first));
            assert_eq!(names.path(names.next + 1), Path::new(wanted));
            assert_eq!(names.number(wanted), Some(names.next + 1));
        }
        let padded = names("a_0001.tif", None, &[]);
        assert_eq!((padded.number("a_2.tif"), padded.number("b_0002.tif")), (None, None));
        assert_eq!(padded.path(12345), Path::new("a_12345.tif"));
        assert_eq!(Names::new(Path::new("scan.tif"), None, &[], &[".tif"]), None);
    }
}
