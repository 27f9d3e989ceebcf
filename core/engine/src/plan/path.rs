//! Paths in recipes: inputs must be there, outputs know a closed set of placeholders.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Files, Place};
use crate::error::nearest;

/// The placeholders that output paths may hold.
pub(crate) const PLACEHOLDERS: [&str; 6] = ["run", "scan", "pass", "turn", "per", "date"];

/// The placeholders in a path, with their byte ranges.
fn parts(text: &str) -> Vec<(&str, std::ops::Range<usize>)> {
    let mut found = vec![];
    let mut at = 0;
    while let Some(open) = text[at..].find('{').map(|i| at + i) {
        let Some(close) = text[open..].find('}').map(|i| open + i) else { break };
        found.push((&text[open + 1..close], open..close + 1));
        at = close + 1;
    }
    found
}

/// Whether a path holds a placeholder.
pub(crate) fn has(text: &str, name: &str) -> bool {
    parts(text).iter().any(|(n, _)| *n == name)
}

/// Checks the placeholders of an output path; `without` are those that mean nothing for this stage.
pub(crate) fn placeholders(
    text: &str,
    at: Place,
    without: &[(&'static str, String)],
    faults: &mut Vec<Diagnostic>,
) {
    for (name, _) in parts(text) {
        if !PLACEHOLDERS.contains(&name) {
            let all = PLACEHOLDERS.map(|p| format!("{{{p}}}")).join(" ");
            faults.push(
                Diagnostic::error("E0119", format!("unknown placeholder `{{{name}}}`"))
                    .at(at, "")
                    .similar(nearest(name, PLACEHOLDERS).map(|n| format!("{{{n}}}")).as_deref())
                    .note(format!("placeholders are {all}")),
            );
        } else if let Some((_, why)) = without.iter().find(|(n, _)| *n == name) {
            faults.push(
                Diagnostic::error("E0119", format!("`{{{name}}}` means nothing here")).at(at, why.as_str()),
            );
        }
    }
}

/// An address as silx writes it, `silx:FILE?path=/PATH&slice=0:100`, in the form `FILE::/PATH[0:100]`.
///
/// Everything else is given back as it is, so that whoever looks for the file says what is wrong.
pub fn plain(text: &str) -> Cow<'_, str> {
    let Some(rest) = text.trim().strip_prefix("silx:") else { return text.into() };
    // Behind two slashes stands an absolute path.
    let rest = rest.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(rest);
    let Some((file, query)) = rest.split_once('?') else { return rest.into() };
    let (mut path, mut slice) = ("", String::new());
    for part in query.split('&') {
        match part.split_once('=') {
            Some(("path", value)) => path = value,
            // What is said of the other axes has to be all of them.
            Some(("slice", value)) => {
                slice = format!("[{}]", value.trim_end_matches(",...").trim_end_matches(",:"));
            }
            None if path.is_empty() => path = part,
            _ => return text.into(),
        }
    }
    format!("{file}::{path}{slice}").into()
}

/// The folder of the file that a place is in.
pub(crate) fn folder(files: &Files, at: Place) -> PathBuf {
    files.get(at.file).map(|f| f.folder.clone()).unwrap_or_default()
}

/// The full path of an input, relative to a folder; what is not there is a fault.
pub(crate) fn input(text: &str, at: Place, folder: &Path, faults: &mut Vec<Diagnostic>) -> String {
    let text = &*plain(text);
    // Addresses of network sources are no paths.
    if text.contains("://") {
        return text.to_owned();
    }
    if let Some((name, _)) = parts(text).into_iter().find(|(n, _)| PLACEHOLDERS.contains(n)) {
        faults.push(
            Diagnostic::error("E0119", format!("`{{{name}}}` in the path of an input"))
                .at(at, "placeholders stand in paths of outputs only"),
        );
        return text.to_owned();
    }
    let (file, inside) = match text.split_once("::") {
        Some((file, inside)) => (file, format!("::{inside}")),
        None => (text, String::new()),
    };
    let full = folder.join(file);
    // A pattern stands for many files; its folder has to be there.
    let fixed: PathBuf = full
        .iter()
        .take_while(|part| !part.to_string_lossy().contains(['*', '?', '#', '[', '%', '{']))
        .collect();
    if !fixed.exists() && !fixed.as_os_str().is_empty() {
        let near = nearest_file(&fixed);
        let mut fault = Diagnostic::error("E0118", format!("no file `{file}`"))
            .at(at, "")
            .note(format!("looked for {}", fixed.display()))
            .similar(near.as_deref());
        if near.is_none() {
            fault = fault.help("paths of inputs are relative to the recipe they stand in, given values to the caller's folder");
        }
        faults.push(fault);
    }
    // A run is resumed from anywhere: what it reads must not depend on where it was started.
    let full: PathBuf = full.components().filter(|c| *c != std::path::Component::CurDir).collect();
    let full = std::path::absolute(&full).unwrap_or(full);
    format!("{}{inside}", full.display())
}

/// The file beside a missing one that has the nearest name.
pub(crate) fn nearest_file(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Folders of raw data hold millions of files; a hint is not worth reading them all.
    let names: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .take(10_000)
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    let wanted = path.file_name()?.to_string_lossy().into_owned();
    // What is there under that very name is something else, a folder say: naming it again helps nobody.
    let mut names: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != wanted).collect();
    names.sort_unstable();
    nearest(&wanted, names).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_silx_are_written_as_here() {
        // The forms that silx.io.url.DataUrl documents.
        for (text, wanted) in [
            ("silx:scan.h5?path=/2.3/measurement/marana", "scan.h5::/2.3/measurement/marana"),
            ("silx:../scan.h5?path=/a&slice=0:100", "../scan.h5::/a[0:100]"),
            ("silx:/data/scan.h5?path=/a&slice=5:,:,:", "/data/scan.h5::/a[5:]"),
            ("silx:///data/scan.h5?slice=:9,...&path=/a", "/data/scan.h5::/a[:9]"),
            ("silx:scan.h5?/a", "scan.h5::/a"),
            ("silx:scan.h5::/a", "scan.h5::/a"),
            ("silx:scan.h5?path=/a&sliced=1", "silx:scan.h5?path=/a&sliced=1"),
            ("scan.h5::/a?path=/b", "scan.h5::/a?path=/b"),
        ] {
            assert_eq!(plain(text), wanted);
        }
    }
}
