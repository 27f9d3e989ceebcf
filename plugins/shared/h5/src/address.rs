//! Addresses such as `scan.h5::/entry/data`.

use std::fmt;
use std::path::PathBuf;

use crate::{Error, Kind, Result};

/// A file and the dataset in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The file.
    pub file: PathBuf,
    /// The path in the file, beginning with a slash.
    pub dataset: String,
}

impl Address {
    /// Parses `file.h5::/path`; the first `::` is the divide.
    pub fn parse(text: &str) -> Result<Self> {
        let wanted = "wanted `file.h5::/path/of/dataset`";
        let Some((file, dataset)) = text.split_once("::") else {
            return Err(Error::new(Kind::Mismatch, format!("address `{text}` has no `::`, {wanted}")));
        };
        if file.is_empty() || dataset.trim_matches('/').is_empty() {
            return Err(Error::new(Kind::Mismatch, format!("address `{text}` is incomplete, {wanted}")));
        }
        let dataset = format!("/{}", dataset.trim_matches('/'));
        Ok(Self { file: file.into(), dataset })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.file.display(), self.dataset)
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
}
