//! The names nearest to one that does not exist.

/// Up to three of `names` that resemble `wanted`, best first.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let leaf = |path: &str| path.rsplit('/').next().unwrap_or(path).to_lowercase();
    let wanted_leaf = leaf(wanted);
    let mut scored: Vec<(usize, &str)> = names
        .map(|name| {
            // A right leaf in the wrong group is the commonest slip.
            let by_leaf = distance(&wanted_leaf, &leaf(name)) * 2;
            (by_leaf.min(distance(wanted, name)), name)
        })
        .filter(|(score, name)| *score <= wanted.len().max(name.len()) / 2)
        .collect();
    scored.sort();
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        // Textbook value: kitten -> sitting takes three edits.
        assert_eq!(distance("kitten", "sitting"), 3);
        let names = ["/entry/data/frames", "/entry/omega", "/entry/data/mask"];
        assert_eq!(nearest("/entry/data/frame", names.into_iter())[0], "/entry/data/frames");
        assert_eq!(nearest("/omega", names.into_iter())[0], "/entry/omega");
        assert!(nearest("/zzzzzzzz", names.into_iter()).is_empty());
    }
}
