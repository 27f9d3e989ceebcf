//! The keys of parameter files, and what a recipe calls them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use isard_core::plan::plain;
use isard_core::prelude::*;

use super::yaml::{Node, parse};

/// Parameters of `dct.segment`.
pub(super) const SEGMENT: [&str; 20] = [
    "threshold",
    "tolerance",
    "t_low",
    "t_high",
    "bb_max",
    "connectivity",
    "wrap",
    "overlap",
    "gap",
    "min_seed_voxels",
    "min_blob_size",
    "max_blob_size",
    "drop_oversize",
    "drop_edge",
    "exclude_box",
    "bridge_mask",
    "max_delay",
    "dense_frames_max",
    "dense_folder",
    "shape",
];

/// Other keys as they are called here, and their other names.
const OTHERS: [(&str, &[&str]); 33] = [
    ("data_filepath", &["data.filepath"]),
    ("data_datalink", &["data.datalink"]),
    ("data_input_format", &["data.input_format"]),
    ("dark_filepath", &["dark.filepath"]),
    ("dark_datalink", &["dark.datalink"]),
    ("dark_input_format", &["dark.input_format"]),
    ("dark_zwise_reduction", &["dark.zwise_reduction"]),
    ("omega_datalink", &["omega.datalink"]),
    ("omega_start", &["omega.start"]),
    ("omega_step", &["omega.step"]),
    ("pixel_mask", &[]),
    ("normalization", &[]),
    ("margin_boxes", &["margin_bounding_box_2d"]),
    ("target", &[]),
    ("method", &["background.method"]),
    ("window", &["background.window"]),
    ("stride", &["background.stride"]),
    ("edge", &["background.edge"]),
    ("batch", &["background.batch"]),
    ("interval", &["background.interval"]),
    ("range", &["background.range"]),
    ("save_backgrounds", &["background.save"]),
    ("every", &["save_backgrounds_every", "background.save_every"]),
    ("residual_offset", &["background_subtract"]),
    ("residual_step", &[]),
    ("median_filter_x", &[]),
    ("median_filter_y", &[]),
    ("preprocessed_save", &["preprocessed.save"]),
    ("preprocessed_filepath", &["preprocessed.filepath"]),
    ("preprocessed_dtype", &["preprocessed.dtype"]),
    ("scan", &[]),
    ("output", &["output.kind"]),
    ("dir", &["output.dir"]),
];

/// Keys that nothing here depends on.
const WITHOUT: [&str; 5] = [
    "confirm_execution",
    "skip_visualization",
    "force_float32",
    "backgrounds_filepath",
    "backgrounds_datalink",
];

/// What the files say.
#[derive(Default)]
pub(super) struct Found {
    values: BTreeMap<&'static str, (Node, PathBuf)>,
    pub(super) notes: Vec<String>,
}

impl Found {
    /// Takes the values of a file.
    pub(super) fn take(&mut self, path: &Path, text: &str) -> Result<()> {
        match parse(text)? {
            Node::Map(map) => self.walk(path, "", map),
            _ => Err(Error::recipe("the file holds no keys").help("wanted lines of `key: value`")),
        }
    }

    fn walk(&mut self, path: &Path, above: &str, map: Vec<(String, usize, Node)>) -> Result<()> {
        for (key, line, node) in map {
            let whole = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
            // The stages are no part of a name.
            let name =
                ["preprocess.", "segment."].iter().find_map(|s| whole.strip_prefix(s)).unwrap_or(&whole);
            let stage = ["preprocess", "segment"].contains(&whole.as_str());
            let group = ["data", "dark", "omega", "background", "preprocessed", "output"].contains(&name);
            match node {
                Node::Map(inner) if stage || group => self.walk(path, &whole, inner)?,
                node => self.put(path, &whole, name, line, node)?,
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &Path, whole: &str, name: &str, line: usize, node: Node) -> Result<()> {
        let place = format!("{}::{whole}", path.display());
        if WITHOUT.contains(&name) {
            self.notes.push(format!("{place}: no counterpart is needed"));
            return Ok(());
        }
        let known = SEGMENT.iter().find(|k| **k == name).copied();
        let known = known.or_else(|| {
            OTHERS.iter().find(|(k, others)| *k == name || others.contains(&name)).map(|(k, _)| *k)
        });
        let Some(known) = known else {
            let all = SEGMENT.iter().chain(OTHERS.iter().map(|(k, _)| k)).chain(&WITHOUT);
            let nearest = all.min_by_key(|k| distance(name, k)).copied().unwrap_or_default();
            let error = Error::recipe(format!("line {line}: unknown key `{whole}`"));
            return Err(error.help(format!("the nearest key is `{nearest}`")));
        };
        if node != Node::Null {
            self.notes.push(format!("{place} = {}", toml(&node)));
            self.values.insert(known, (node, path.to_owned()));
        }
        Ok(())
    }

    /// A value as text.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.values.get(key) {
            Some((Node::Scalar(text), _)) => Some(text.clone()),
            _ => None,
        }
    }

    /// Where frames are, as one path; relative to the file that says so.
    pub(super) fn source(&self, what: &str) -> Option<String> {
        let file = self.path(&format!("{what}_filepath"))?;
        Some(match self.text(&format!("{what}_datalink")) {
            Some(link) => format!("{file}::{link}"),
            None => file,
        })
    }

    /// A path, relative to the file that says so.
    pub(super) fn path(&self, key: &str) -> Option<String> {
        let (_, from) = self.values.get(key)?;
        let text = self.text(key)?;
        let file = &*plain(&text);
        Some(from.parent().unwrap_or(Path::new("")).join(file).display().to_string())
    }

    /// Puts in what `${env:NAME}` and `{scan}` stand for, once all files are read.
    pub(super) fn fill(&mut self) -> Result<()> {
        let scan = self.text("scan");
        for (key, (node, path)) in &mut self.values {
            let place = key.ends_with("_filepath") || key.ends_with("_datalink");
            if let Node::Scalar(text) = node
                && (place || ["pixel_mask", "dir"].contains(key))
            {
                *text =
                    filled(text, scan.as_deref()).map_err(|e| e.at(format!("{}::{key}", path.display())))?;
            }
        }
        Ok(())
    }

    /// The stage that reads frames.
    pub(super) fn reader(&self, what: &str) -> Result<&'static str> {
        let path = self.path(&format!("{what}_filepath")).unwrap_or_default();
        let path = path.split("::").next().unwrap_or_default();
        let ending = Path::new(path).extension().map(|e| e.to_string_lossy().to_lowercase());
        let format = self.text(&format!("{what}_input_format")).filter(|f| f != "auto");
        match format.or(ending).as_deref() {
            Some("hdf5" | "h5" | "nxs" | "hdf") => Ok("hdf5.dataset"),
            Some("tif" | "tiff") => Ok("tiff.sequence"),
            Some("edf") => Ok("edf.sequence"),
            other => {
                let found = other.unwrap_or("no ending").to_owned();
                let error = Error::recipe(format!("found {found} as the format of `{what}`"));
                Err(error.help(format!("give `{what}_input_format`: hdf5, edf or tiff")))
            }
        }
    }

    /// Writes the parameters of a stage that the files name.
    pub(super) fn set(&self, line: &mut impl FnMut(&str), stage: &str, keys: &[&str]) {
        let named: Vec<&&str> = keys.iter().filter(|k| self.values.contains_key(**k)).collect();
        if named.is_empty() {
            return;
        }
        line(&format!("\n[stage.{stage}.set]"));
        for key in named {
            if let Some((node, _)) = self.values.get(*key) {
                // One box as two corners is a list of one.
                let single = *key == "margin_boxes" && corners(node);
                let text = if single { format!("[{}]", toml(node)) } else { toml(node) };
                line(&format!("{key} = {text}"));
            }
        }
    }
}

/// A text with its placeholders filled in.
fn filled(text: &str, scan: Option<&str>) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        let Some((name, after)) = behind[1..].split_once('}') else {
            return Err(Error::recipe(format!("`{text}` has a `{{` that does not end")));
        };
        match (name.strip_prefix("env:"), before.strip_suffix('$')) {
            (Some(variable), Some(before)) => {
                let value = std::env::var(variable).map_err(|_| {
                    Error::recipe(format!("`{text}`: the environment has no `{variable}`"))
                        .help(format!("set it: `{variable}=... isard import dct ...`"))
                })?;
                out.push_str(before);
                out.push_str(&value);
            }
            _ if name == "scan" => {
                let scan = scan.ok_or_else(|| {
                    Error::recipe(format!("`{text}`: no file says which `scan` it is"))
                        .help("add a line such as `scan: \"2.1\"`")
                })?;
                out.push_str(before);
                out.push_str(scan);
            }
            _ => {
                let error = Error::recipe(format!("`{text}`: found the placeholder `{name}`"));
                return Err(error.help("wanted `${env:NAME}` or `{scan}`"));
            }
        }
        rest = after;
    }
    Ok(out + rest)
}

fn corners(node: &Node) -> bool {
    let pair = |n: &Node| matches!(n, Node::List(l) if l.len() == 2 && l.iter().all(|s| matches!(s, Node::Scalar(_))));
    matches!(node, Node::List(l) if l.len() == 2 && l.iter().all(pair))
}

/// A value as TOML.
fn toml(node: &Node) -> String {
    match node {
        Node::Null => "\"\"".into(),
        Node::Scalar(text) => match text.as_str() {
            "true" | "True" | "yes" => "true".into(),
            "false" | "False" | "no" => "false".into(),
            text if text.parse::<i64>().is_ok() => text.trim_start_matches('+').into(),
            text if text.parse::<f64>().is_ok_and(f64::is_finite) => {
                format!("{:?}", text.parse::<f64>().unwrap_or_default())
            }
            text => format!("{text:?}"),
        },
        Node::List(list) => format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Node::Map(map) => {
            let each: Vec<String> = map.iter().map(|(k, _, v)| format!("{k} = {}", toml(v))).collect();
            format!("{{ {} }}", each.join(", "))
        }
    }
}

/// How many letters differ, inserted or left out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}
