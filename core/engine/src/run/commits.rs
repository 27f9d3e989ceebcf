//! Which files the writers of a run had at their commits.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::store::Sealed;

/// The files of each writer, commit after commit.
#[derive(Default)]
pub struct Commits(Mutex<HashMap<String, Vec<Commit>>>);

/// The mark of a commit, none for that at the end of a stream, and the files of that moment.
type Commit = (Option<u64>, Vec<Sealed>);

impl Commits {
    /// Notes what a writer has right after a commit.
    pub fn note(&self, writer: &str, mark: Option<u64>, files: Vec<Sealed>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(writer.to_owned()).or_default().push((mark, files));
    }

    /// What a writer had at a mark; none when it has committed nothing. Earlier commits are forgotten.
    ///
    /// One that has passed no such mark has ended or was given up: what it committed last stays.
    pub fn at(&self, writer: &str, mark: u64) -> Option<Vec<Sealed>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let commits = all.get_mut(writer)?;
        let exact = commits.iter().position(|(m, _)| *m == Some(mark));
        let last = || commits.iter().rposition(|(m, _)| m.is_none_or(|m| m < mark));
        let at = exact.or_else(last)?;
        commits.drain(..at);
        commits.first().map(|(_, files)| files.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Vec<Sealed> {
        let (path, stage) = (path.to_owned(), "w".to_owned());
        vec![Sealed { path, stage, bytes: 0, sha256: String::new(), replaced: false, earlier: vec![] }]
    }

    fn path(found: Option<Vec<Sealed>>) -> Option<String> {
        found.map(|files| files[0].path.clone())
    }

    #[test]
    fn a_checkpoint_lists_what_was_there_at_its_mark() {
        let commits = Commits::default();
        assert_eq!(commits.at("w", 1), None);
        for mark in [1, 2, 3] {
            commits.note("w", Some(mark), file(&mark.to_string()));
        }
        commits.note("w", None, file("end"));
        assert_eq!(path(commits.at("w", 2)).as_deref(), Some("2"));
        assert_eq!(path(commits.at("w", 3)).as_deref(), Some("3"));
        assert_eq!(path(commits.at("w", 4)).as_deref(), Some("end"));
        assert_eq!(path(commits.at("w", 5)).as_deref(), Some("end"));
    }

    #[test]
    fn a_writer_that_was_given_up_keeps_what_it_committed() {
        let commits = Commits::default();
        commits.note("w", Some(1), file("1"));
        for mark in [1, 2, 7] {
            assert_eq!(path(commits.at("w", mark)).as_deref(), Some("1"));
        }
    }
}
