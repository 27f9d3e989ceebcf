//! Addresses such as `scan.h5::/entry/data`.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use crate::{Error, Kind, Result};

/// A file and the dataset in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// The file.
    pub file: PathBuf,
    /// The path in the file, beginning with a slash.
    pub dataset: String,
    /// The part of the first axis that is meant; none means all of it.
    pub slice: Option<Slice>,
}

/// A part of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slice {
    /// Where it begins.
    pub from: u64,
    /// Where it ends; none is where the axis does.
    pub to: Option<u64>,
}

impl Slice {
    /// The part of an axis of so many records; a slice that reaches over its end is an error.
    pub fn within(&self, records: u64) -> Result<Range<u64>> {
        let to = self.to.unwrap_or(records);
        if to > records || self.from >= to {
            let text = format!("the slice [{self}] of {records} records, wanted a part of [0:{records}]");
            return Err(Error::new(Kind::Mismatch, text));
        }
        Ok(self.from..to)
    }

    /// Parses what stands between brackets: `0:100`, `:100`, `20:`.
    fn parse(text: &str, whole: &str) -> Result<Slice> {
        let wrong = || {
            let wanted = "wanted the first and the end of the first axis, such as `[0:100]`";
            Error::new(Kind::Mismatch, format!("address `{whole}` has the slice `{text}`, {wanted}"))
        };
        let number = |part: &str| match part.trim() {
            "" => Ok(None),
            part => part.parse::<u64>().map(Some).map_err(|_| wrong()),
        };
        let (from, to) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Slice { from: number(from)?.unwrap_or(0), to: number(to)? })
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.from)?;
        self.to.map_or(Ok(()), |to| write!(f, "{to}"))
    }
}

impl Address {
    /// Parses `file.h5::/path` or `file.h5::/path[0:100]`; the first `::` is the divide.
    pub fn parse(text: &str) -> Result<Self> {
        let wanted = "wanted `file.h5::/path/of/dataset`";
        let Some((file, inside)) = text.split_once("::") else {
            return Err(Error::new(Kind::Mismatch, format!("address `{text}` has no `::`, {wanted}")));
        };
        // Names may hold brackets too, though not around numbers and colons.
        let brackets = inside.strip_suffix(']').and_then(|inside| inside.rsplit_once('['));
        let numbers = |part: &str| part.chars().all(|c| c.is_ascii_digit() || ":,-. ".contains(c));
        let (dataset, slice) = match brackets.filter(|(_, part)| numbers(part)) {
            Some((dataset, part)) => (dataset, Some(Slice::parse(part, text)?)),
            None => (inside, None),
        };
        if file.is_empty() || dataset.trim_matches('/').is_empty() {
            return Err(Error::new(Kind::Mismatch, format!("address `{text}` is incomplete, {wanted}")));
        }
        let dataset = format!("/{}", dataset.trim_matches('/'));
        Ok(Self { file: file.into(), dataset, slice })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.file.display(), self.dataset)?;
        self.slice.map_or(Ok(()), |slice| write!(f, "[{slice}]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        let a = Address::parse("a/b.h5::entry/data/").unwrap();
        assert_eq!((a.file.to_str().unwrap(), a.dataset.as_str()), ("a/b.h5", "/entry/data"));
        assert_eq!(a.to_string(), "a/b.h5::/entry/data");
        for bad in ["a.h5", "::/x", "a.h5::", "a.h5::/"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
    #[test]
    fn slices_are_parts_of_the_first_axis() {
        let slice = |text: &str| Address::parse(text).unwrap().slice;
        assert_eq!(slice("a.h5::/x"), None);
        assert_eq!(slice("a.h5::/x[0:100]"), Some(Slice { from: 0, to: Some(100) }));
        assert_eq!(slice("a.h5::/x[ 7 :]"), Some(Slice { from: 7, to: None }));
        assert_eq!(Address::parse("a.h5::/x[:9]").unwrap().to_string(), "a.h5::/x[0:9]");
        // A name with brackets is a name.
        assert_eq!(Address::parse("a.h5::/x[b]").unwrap().dataset, "/x[b]");
        for bad in ["a.h5::/x[5]", "a.h5::/x[0:9:2]", "a.h5::/x[0:9,1]", "a.h5::/x[-3:]", "a.h5::/[0:3]"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        let whole = Slice { from: 2, to: None };
        assert_eq!(whole.within(5).unwrap(), 2..5);
        assert!(whole.within(2).is_err() && Slice { from: 0, to: Some(6) }.within(5).is_err());
    }
}
