//! Names of files made out of the one a recipe gives.

use isard_core::prelude::*;

/// The path without its ending: `a/b.h5` gives `a/b`.
pub(crate) fn stem(path: &str) -> &str {
    match path.rsplit_once('.') {
        Some((stem, ending)) if !ending.contains('/') && !stem.is_empty() && !stem.ends_with('/') => stem,
        _ => path,
    }
}

/// The last name of a path.
pub(crate) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Adds a fault unless the path ends in one of the endings.
pub(crate) fn check(path: &str, endings: &[&str], faults: &mut Faults) {
    let fits = endings.iter().any(|e| path.to_lowercase().ends_with(e) && last(path).len() > e.len());
    if !fits {
        let wanted = endings.join(" or ");
        faults.add_with_help(
            "path",
            format!("`{path}` does not end in {wanted}"),
            format!("write `{}{}`", if path.is_empty() { "result" } else { stem(path) }, endings[0]),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_taken_off_names_only() {
        for (path, wanted) in
            [("a/b.h5", "a/b"), ("a.b/c", "a.b/c"), ("c", "c"), (".h5", ".h5"), ("a/.h5", "a/.h5")]
        {
            assert_eq!(stem(path), wanted);
        }
    }
}
