//! Files that a parameter names: one, a folder of them, or a pattern.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use isard_core::error::nearest;
use isard_core::prelude::*;

/// The files of a path: itself, those of a folder with one of the `endings`, or those a pattern fits.
///
/// They come in natural order: `a2` before `a10`.
pub(crate) fn files(text: &str, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let path = Path::new(text);
    if path.is_dir() {
        let fits = |name: &str| has_ending(name, endings);
        let found = list(path, fits)?;
        return match found.is_empty() {
            false => Ok(found),
            true => {
                Err(Error::data(format!("{text}: no file of this folder ends in {}", endings.join(" or "))))
            }
        };
    }
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let above = match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => Path::new("."),
    };
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    if !is_pattern(text) {
        return Err(absent(path, above, &name));
    }
    let found = list(above, |file| fits(&name, file))?;
    match found.is_empty() {
        false => Ok(found),
        true => {
            let error = absent(path, above, &name);
            Err(error.help("`*` stands for any characters, `?` for one, `#` for a digit"))
        }
    }
}

/// The files of a path of any kind: itself, all of a folder with the ending of the first, or those a pattern fits.
pub fn listed(text: &str) -> Result<Vec<PathBuf>> {
    if !Path::new(text).is_dir() {
        return files(text, &[]);
    }
    let all = list(Path::new(text), |_| true)?;
    let ending = |path: &PathBuf| path.extension().map(|e| e.to_ascii_lowercase());
    let first = all.first().map(ending);
    Ok(all.into_iter().filter(|path| Some(ending(path)) == first).collect())
}

/// The files of a folder or a pattern that are there now, in natural order; none is no fault.
pub(crate) fn named(text: &str, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let path = Path::new(text);
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match (path.is_dir(), above.is_dir()) {
        (true, _) => list(path, |name| has_ending(name, endings)),
        (_, true) => list(above, |file| fits(&name, file)),
        _ => Ok(vec![]),
    }
}

/// Whether a file name ends in one of the endings, in any case.
pub(crate) fn has_ending(name: &str, endings: &[&str]) -> bool {
    let name = name.to_lowercase();
    endings.iter().any(|ending| name.ends_with(ending))
}

/// A file that is not there: the error names the one most like it.
pub(crate) fn missing(path: &Path) -> Error {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    absent(path, above, &name)
}

/// Whether the last name of a path stands for many.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.rsplit('/').next().unwrap_or(path).contains(['*', '?', '#'])
}

fn list(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let io = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => missing(folder),
        _ => Error::io("cannot list", folder, &e),
    };
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Hidden files are the leavings of editors and copies.
        let file = |entry: &std::fs::DirEntry| match entry.file_type() {
            // The type comes with the listing; only links have to be followed.
            Ok(kind) if !kind.is_symlink() => kind.is_file(),
            _ => entry.path().is_file(),
        };
        if !name.starts_with('.') && wanted(&name) && file(&entry) {
            found.push((name, entry.path()));
        }
    }
    found.sort_by(|a, b| natural(&a.0, &b.0));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn absent(path: &Path, above: &Path, name: &str) -> Error {
    let error = Error::data(format!("{}: no such file", path.display()));
    let Ok(entries) = std::fs::read_dir(above) else {
        return error.help(format!("the folder {} is not there either", above.display()));
    };
    let mut names: Vec<String> =
        entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort_by(|a, b| natural(a, b));
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None if names.is_empty() => error.help(format!("{} is empty", above.display())),
        None => {
            let shown = names.iter().take(5).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            let more = if names.len() > 5 { " ..." } else { "" };
            error.help(format!("{} holds {shown}{more}", above.display()))
        }
    }
}

/// Whether a pattern with `*`, `?` and `#` fits a whole name.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on after the last star, should what follows not fit.
    let mut back: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] || (*c == '#' && name[n].is_ascii_digit()) => {
                p += 1;
                n += 1;
            }
            _ => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    p = star + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Compares names with runs of digits taken as numbers.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let digits = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
        let (m, n) = (digits(x), digits(y));
        if m > 0 && n > 0 {
            let (p, q) = (x[..m].trim_start_matches('0'), y[..n].trim_start_matches('0'));
            let order = p.len().cmp(&q.len()).then_with(|| p.cmp(q));
            if order != Ordering::Equal {
                return order;
            }
            (x, y) = (&x[m..], &y[n..]);
            continue;
        }
        let (mut xs, mut ys) = (x.chars(), y.chars());
        match (xs.next(), ys.next()) {
            (None, None) => return a.cmp(b),
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(c), Some(d)) if c != d => return c.cmp(&d),
            _ => (x, y) = (xs.as_str(), ys.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_as_people_count() {
        let mut names = ["a10.tif", "a9.tif", "a009b.tif", "a1.tif", "b.tif", "a010.tif"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a1.tif", "a9.tif", "a009b.tif", "a010.tif", "a10.tif", "b.tif"]);
    }

    #[test]
    fn patterns_fit_whole_names() {
        for (pattern, name, wanted) in [
            ("*.tif", "a.tif", true),
            ("*.tif", "a.tiff", false),
            ("a?_*_b.tif", "a1_x_b_b.tif", true),
            ("a?.tif", "a.tif", false),
            ("**", "", true),
            ("a_##.tif", "a_07.tif", true),
            ("a_##.tif", "a_7.tif", false),
            ("a_#*.tif", "a_x.tif", false),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn an_absent_file_is_told_with_its_neighbour() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("frames_001.tif"), b"").unwrap();
        let path = folder.path().join("frame_001.tif");
        let error = files(path.to_str().unwrap(), &[".tif"]).unwrap_err();
        assert_eq!(error.advice(), Some("did you mean `frames_001.tif`?"));
    }
}
