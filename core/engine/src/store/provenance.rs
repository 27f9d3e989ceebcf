//! Provenance: what `run.json` says about a run.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::span::Ranges;
use crate::store::files::{Files, fault};
use crate::store::{Part, RUN, rfc3339, sha256};

/// What a run was: enough to do it again and to know whether it is the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// The version of isard.
    pub isard: String,
    /// The recipe's name.
    pub name: String,
    /// The recipe as written: each file with its path and text, the recipe itself first.
    pub written: Vec<(String, String)>,
    /// The recipe as resolved: defaults filled in, `--set` applied.
    pub resolved: serde_json::Value,
    /// What the command line and the environment changed.
    pub options: BTreeMap<String, serde_json::Value>,
    /// The plugins that were used.
    pub plugins: Vec<PluginUsed>,
    /// The inputs that were read.
    pub inputs: Vec<Input>,
    /// The seed of the run.
    pub seed: u64,
    /// Which part of its frames a run took; none took all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// The parts that a run was merged from, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartUsed>,
    /// The outputs of earlier runs that were taken instead of running their stages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reused: Vec<Reused>,
    /// How recorders put what they take on the disk.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recording: Vec<Recording>,
    /// What `isard repair` made whole after the run was cut off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub repaired: Vec<Repaired>,
    /// When it began, in UTC.
    pub started: String,
    /// When it ended, in UTC; none while it runs.
    pub ended: Option<String>,
    /// When it was resumed, in UTC.
    pub resumed: Vec<String>,
    /// The machine.
    pub host: String,
    /// The passes that are done, by name.
    pub done: Vec<String>,
    /// The account of the frames.
    pub ledger: serde_json::Value,
    /// The frames to take again and those left out, by source and reason.
    pub gaps: Vec<GapList>,
    /// The axes that frames are counted by, slowest first, by the stage that gives them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub scans: BTreeMap<String, Vec<(String, u64)>>,
    /// Digests of what the outputs mean, by the name of the output.
    pub content: BTreeMap<String, String>,
    /// Seconds from the last frame until a writer had written everything, by stage.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub delays: BTreeMap<String, f64>,
    /// How it ended: `running`, `done`, `failed`, `stopped`, `repaired`.
    pub status: String,
    /// The exit code; none while it runs.
    pub exit: Option<i32>,
    /// The error it ended with.
    pub error: Option<String>,
}

/// A plugin that was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginUsed {
    /// The stage's registered name.
    pub name: String,
    /// Where it comes from: a crate, or the path of a library.
    pub origin: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of a loaded library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A part that a run was merged from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartUsed {
    /// Its folder.
    pub path: String,
    /// The SHA-256 of its manifest, which lists the digests of all its files.
    pub manifest: String,
}

/// A kept output of an earlier run that was taken instead of running its stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reused {
    /// The stage.
    pub stage: String,
    /// The folder of the earlier run.
    pub path: String,
    /// The digests of what was taken, by the step that kept it.
    pub content: BTreeMap<String, String>,
    /// Whether it was to be taken although its recipe differs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anyway: bool,
}

/// How a recorder puts what it takes on the disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The stage.
    pub stage: String,
    /// A power cut takes no more than what came in so many seconds.
    pub sync_s: f64,
    /// A power cut takes no more than so many bytes.
    pub sync_bytes: u64,
    /// Whether files are read back and compared before they get their names; none is for live sources alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_back: Option<bool>,
}

/// What a repair made of what a recorder had taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// The stage.
    pub stage: String,
    /// Frames that are in its output: start, end, start, end ...
    pub frames: Vec<u64>,
    /// Blocks of the journal that were taken.
    pub blocks: u64,
    /// Bytes behind the last commit that were cut off.
    pub cut: u64,
    /// What was damaged and is left out, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
}

/// An input that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its path.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last changed, in UTC.
    pub changed: String,
    /// The SHA-256 of its bytes, when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl Input {
    /// What the file system says about an input.
    pub fn of(path: &Path) -> Result<Input> {
        let about = path.metadata().map_err(|e| Error::io("look at", path, &e))?;
        let changed = about.modified().map_or_else(|_| String::new(), rfc3339);
        Ok(Input { path: path.display().to_string(), bytes: about.len(), changed, sha256: None })
    }
}

/// Frames that did not come as data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapList {
    /// The stage where they are counted.
    pub stage: String,
    /// The class they fall in.
    pub reason: String,
    /// The numbers: start, end, start, end ...
    pub bounds: Vec<u64>,
}

impl GapList {
    /// The list of a set of frames.
    pub fn new(stage: &str, reason: &str, frames: &Ranges) -> GapList {
        GapList { stage: stage.to_owned(), reason: reason.to_owned(), bounds: frames.bounds() }
    }
}

impl Provenance {
    /// The JSON text of `run.json`.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("provenance is plain data");
        text.push('\n');
        text
    }

    /// Reads the `run.json` of a folder.
    pub fn read(files: &dyn Files, root: &Path) -> Result<Provenance> {
        let path = root.join(RUN);
        let bytes = files.read(&path).map_err(|e| fault(files, "read", &path, &e))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::data(format!("{}: {e}", path.display())))
    }

    /// The digest of the recipe as written, for checkpoints.
    pub fn recipe_digest(&self) -> String {
        let written: Vec<&str> = self.written.iter().map(|(_, text)| text.as_str()).collect();
        sha256(serde_json::to_string(&(written, &self.resolved)).expect("texts are plain data").as_bytes())
    }

    /// Refuses to go on with another recipe than the run had, and shows the difference.
    ///
    /// The recipe as resolved counts: a comment may change, a `--set` may not.
    pub fn same_recipe(&self, now: &Provenance) -> Result<()> {
        if self.resolved == now.resolved {
            return Ok(());
        }
        let text = |p: &Provenance| p.written.iter().map(|(_, text)| text.as_str()).collect::<String>();
        let json = |p: &Provenance| serde_json::to_string_pretty(&p.resolved).unwrap_or_default();
        // The user knows the recipe as written; what `--set` changed shows only in the resolved form.
        let (before, after) = match text(self) == text(now) {
            true => (json(self), json(now)),
            false => (text(self), text(now)),
        };
        let shown = difference(&before, &after);
        Err(Error::recipe(format!("the recipe has changed since the run began\n{shown}"))
            .help("resume with the recipe as it was, or start anew with another `--out`"))
    }
}

/// The lines that differ, with `-` before old and `+` before new ones, three unchanged ones around them.
pub fn difference(before: &str, after: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (old, new) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let mut lines: Vec<(char, &str)> = a[..head].iter().map(|line| (' ', *line)).collect();
    lines.extend(middle(old, new));
    lines.extend(a[a.len() - tail..].iter().map(|line| (' ', *line)));

    let near =
        |at: usize| lines[at.saturating_sub(3)..lines.len().min(at + 4)].iter().any(|(c, _)| *c != ' ');
    let (mut out, mut shown, mut line_number) = (String::new(), None, 1);
    for (at, (mark, line)) in lines.iter().enumerate() {
        if near(at) {
            if shown.is_none_or(|last: usize| last + 1 != at) {
                out.push_str(&format!("@@ line {line_number} @@\n"));
            }
            out.push_str(&format!("{mark}{line}\n"));
            shown = Some(at);
        }
        line_number += usize::from(*mark != '+');
    }
    out
}

/// The longest common lines of both, by the table of lengths; recipes are short.
fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    let width = new.len() + 1;
    if old.len().saturating_mul(width) > 4_000_000 {
        return old.iter().map(|l| ('-', *l)).chain(new.iter().map(|l| ('+', *l))).collect();
    }
    let mut table = vec![0u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            table[i * width + j] = match old[i] == new[j] {
                true => table[(i + 1) * width + j + 1] + 1,
                false => table[(i + 1) * width + j].max(table[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, vec![]);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && table[(i + 1) * width + j] >= table[i * width + j + 1] {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_shows_what_changed_with_three_lines_around() {
        let before: Vec<String> = (1..=20).map(|n| format!("line {n}")).collect();
        let mut after = before.clone();
        after[9] = "changed".into();
        after.push("more".into());
        // The hunks of `diff -U3`, whose headers count differently.
        assert_eq!(
            difference(&before.join("\n"), &after.join("\n")),
            "@@ line 7 @@\n line 7\n line 8\n line 9\n-line 10\n+changed\n line 11\n line 12\n line 13\n\
             @@ line 18 @@\n line 18\n line 19\n line 20\n+more\n"
        );
        assert_eq!(difference("a\nb", "a\nb"), "");
    }

    #[test]
    fn a_changed_recipe_is_refused_and_a_comment_is_not() {
        let recipe = |text: &str, below: i64| Provenance {
            written: vec![("a.toml".into(), text.into())],
            resolved: serde_json::json!({ "below": below }),
            ..Provenance::default()
        };
        let run = recipe("below = 1\n", 1);
        run.same_recipe(&recipe("# note\nbelow = 1\n", 1)).unwrap();
        let error = run.same_recipe(&recipe("below = 2\n", 2)).unwrap_err().to_string();
        assert!(error.contains("-below = 1\n+below = 2\n"), "{error}");
        let error = run.same_recipe(&recipe("below = 1\n", 3)).unwrap_err().to_string();
        assert!(error.contains("-  \"below\": 1\n+  \"below\": 3\n"), "{error}");
        let back: Provenance = serde_json::from_str(&run.to_json()).unwrap();
        assert_eq!(back, run);
    }
}
