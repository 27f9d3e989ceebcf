//! What a file holds, and the path under which a recipe would read it.

use std::collections::BTreeMap;
use std::path::Path;

use isard_core::prelude::*;
use isard_h5::{Attr, Element, File, Storage};

use crate::convert::h5;
use crate::input::{self, HDF5, constant, kind, listed, master, table_of};

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub struct Info {
    /// The file, or the first one of a folder or pattern.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
    /// Files that a folder or pattern names.
    pub files: u64,
    /// What it holds.
    pub items: Vec<Item>,
    /// What it says of all its frames, or of itself.
    pub head: Dict,
    /// What does not open, in words.
    pub broken: Vec<String>,
}

/// One array of a file.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// The path that a recipe would use.
    pub path: String,
    /// The source that reads it as frames; none where it is no stack of frames.
    pub stage: Option<&'static str>,
    /// Lengths of the axes.
    pub shape: Vec<u64>,
    /// Type of the elements, in words.
    pub element: String,
    /// How it lies in the file.
    pub storage: String,
    /// Names of the filters.
    pub filters: Vec<String>,
    /// Its unit.
    pub units: Option<String>,
    /// Its value, where it is a single one.
    pub value: Option<Value>,
    /// Whether it is what the file is about: what is converted or plotted when nothing else is said.
    pub main: bool,
}

/// Looks at a file, a folder or a pattern.
pub fn info(path: &str) -> Result<Info> {
    if let Some((file, _)) = path.split_once("::").filter(|(file, _)| Path::new(file).exists()) {
        let mut all = info(file)?;
        let wanted = path.replace("::/", "::").replace("::", "::/");
        all.items.retain(|item| item.path == wanted);
        if all.items.is_empty() {
            // The reader's own error names what is near.
            input::read_path(&isard_core::stage::RunCx::default(), path)?;
        }
        all.items.iter_mut().for_each(|item| item.main = true);
        return Ok(all);
    }
    let files = listed(path)?;
    let first = files.first().ok_or_else(|| Error::data(format!("{path}: no such file")))?;
    let name = first.display().to_string();
    let bytes = std::fs::metadata(first).map_err(|e| Error::io("cannot read", first, &e))?.len();
    let mut found = Info { file: name.clone(), bytes, files: files.len() as u64, ..Info::default() };
    if input::has_ending(&name, &HDF5) {
        hdf5(first, &mut found)?;
        return Ok(found);
    }
    if input::has_ending(&name, &input::TEXTS) {
        let table = table_of(first)?;
        for (key, column) in table.columns() {
            let element = match column {
                Column::Array(array) => array.dtype().to_string(),
                _ => "text".into(),
            };
            let (path, shape) = (format!("{path} ({key})"), vec![table.rows() as u64]);
            found.items.push(Item { path, stage: Some("table.rows"), shape, element, ..Item::default() });
        }
        return Ok(found);
    }
    let Some(kind) = kind(first) else {
        let error = Error::data(format!("{name}: no source knows files like this"));
        return Err(error.help("`raw.stack` reads frames of a layout that the recipe states"));
    };
    let scanned = (kind.scan)().scan(first)?;
    let shape =
        [&[scanned.frames], scanned.dims.iter().map(|n| *n as u64).collect::<Vec<_>>().as_slice()].concat();
    found.items.push(Item {
        path: path.to_owned(),
        stage: Some(kind.stage),
        shape,
        element: scanned.dtype.to_string(),
        storage: scanned.form.describe().to_owned(),
        main: true,
        ..Item::default()
    });
    found.head = scanned.head;
    Ok(found)
}

fn hdf5(path: &Path, found: &mut Info) -> Result<()> {
    let file = File::open(path).map_err(h5)?;
    let listing = file.list().map_err(h5)?;
    for dataset in listing.datasets {
        let units = dataset.attributes.iter().find(|(name, _)| name == "units").and_then(|(_, v)| text(v));
        let frames = dataset.shape.len() >= 2 && matches!(dataset.element, Element::Number(_));
        let storage = match (&dataset.storage, &dataset.chunk) {
            (Storage::Chunked, Some(chunk)) => format!("chunks of {chunk:?}"),
            (Storage::Chunked, None) => "chunks".into(),
            (Storage::Contiguous, _) => "one run".into(),
            (Storage::Compact, _) => "in the header".into(),
            (Storage::Virtual, _) => "virtual".into(),
        };
        // What cannot be read is listed without its value; reading it will say why.
        let value = dataset.shape.is_empty().then(|| constant(&file, &dataset.path).ok()).flatten();
        found.items.push(Item {
            path: format!("{}::{}", found.file, dataset.path),
            value,
            stage: frames.then_some("hdf5.dataset"),
            shape: dataset.shape,
            element: match &dataset.element {
                Element::Number(dtype) => Dtype::from(*dtype).to_string(),
                Element::Text => "text".into(),
                other => format!("other: {other}"),
            },
            storage,
            // Some filters leave an address behind their name.
            filters: dataset.filters.iter().map(|f| f.split(';').next().unwrap_or(f).to_owned()).collect(),
            units,
            main: false,
        });
    }
    found.broken = listing.broken.into_iter().map(|b| format!("{}: {}", b.path, b.reason)).collect();
    for (name, value) in file.attributes("/").map_err(h5)? {
        if let Some(text) = text(&value) {
            found.head.set(name, Value::from(text));
        }
    }
    if let Some((dtype, dims, frames)) = master(path, &file) {
        let dims = dims.iter().map(|n| *n as u64);
        found.items.insert(
            0,
            Item {
                path: found.file.clone(),
                stage: Some("dectris.master"),
                shape: std::iter::once(frames).chain(dims).collect(),
                element: dtype.to_string(),
                storage: "all data files".into(),
                main: true,
                ..Item::default()
            },
        );
        return Ok(());
    }
    let signal = default_plot(&file).map(|at| format!("{}::{at}", found.file));
    let largest = found.items.iter().filter(|i| i.stage.is_some()).max_by_key(|i| {
        // Frames are what most of a file is; masks and flats have two axes.
        (i.shape.len().min(3), i.shape.iter().product::<u64>())
    });
    let main = signal.or(largest.map(|item| item.path.clone()));
    for item in &mut found.items {
        item.main = Some(&item.path) == main.as_ref();
    }
    Ok(())
}

/// The dataset that the attributes `default` and `signal` lead to.
fn default_plot(file: &File) -> Option<String> {
    let get = |path: &str, name: &str| file.attribute(path, name).ok().flatten().and_then(|v| text(&v));
    let mut at = String::new();
    for _ in 0..4 {
        let here = if at.is_empty() { "/" } else { at.as_str() };
        if let Some(signal) = get(here, "signal") {
            let path = format!("{at}/{signal}");
            return file.dataset(&path).is_ok().then_some(path);
        }
        at = format!("{at}/{}", get(here, "default")?);
    }
    None
}

fn text(value: &Attr) -> Option<String> {
    match value {
        Attr::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// What stands beside the frames of a dataset: for each frame, for all frames, and the units.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// Datasets with one record for each frame, by name.
    pub columns: BTreeMap<String, String>,
    /// Constants, by name: masks, flats, what isard kept as constants.
    pub head: BTreeMap<String, String>,
    /// Units, by name; the frames are `image`.
    pub units: BTreeMap<String, String>,
    /// The column that the frames are plotted against.
    pub axis: Option<String>,
}

/// Finds what stands beside a dataset `file.h5::/path` of frames [.. y x].
pub fn beside(path: &str) -> Result<Beside> {
    let Some((name, dataset)) = path.split_once("::") else { return Ok(Beside::default()) };
    let dataset = format!("/{}", dataset.trim_matches('/'));
    let mut all = Info { file: name.to_owned(), ..Info::default() };
    hdf5(Path::new(name), &mut all)?;
    let group = dataset.rsplit_once('/').map_or("", |(group, _)| group);
    let full = format!("{name}::{dataset}");
    let frames = all.items.iter().find(|item| item.path == full).map(|item| item.shape.clone());
    let frames = frames.unwrap_or_default();
    let mut found = Beside::default();
    for item in &all.items {
        let at = item.path.split_once("::").map_or("", |(_, at)| at);
        let last = at.rsplit_once('/').map_or(at, |(_, last)| last);
        let number =
            !["text", "other"].contains(&item.element.as_str()) && !item.element.starts_with("other");
        let picture = frames.len() >= 2 && item.shape.len() == 2 && frames.ends_with(&item.shape);
        let key = if at == dataset {
            "image"
        } else if at.rsplit_once('/').map(|(above, _)| above) == Some(group)
            && number
            && frames.len() >= 3
            && item.shape.first() == frames.first()
        {
            // The record numbers that isard writes count again when they are written again.
            if last == "frame" {
                continue;
            }
            found.columns.insert(last.to_owned(), at.to_owned());
            last
        } else if at.starts_with("/entry/constants/")
            || (picture && (last.contains("mask") || last.contains("flat")))
        {
            found.head.insert(last.to_owned(), at.to_owned());
            last
        } else {
            continue;
        };
        if let Some(units) = &item.units {
            found.units.insert(key.to_owned(), units.clone());
        }
    }
    let file = File::open(Path::new(name)).map_err(h5)?;
    let above = if group.is_empty() { "/" } else { group };
    let axis = match file.attribute(above, "axes").map_err(h5)? {
        Some(Attr::Texts(axes)) => axes.first().cloned(),
        Some(Attr::Text(axis)) => Some(axis),
        _ => None,
    };
    found.axis = axis.filter(|axis| found.columns.contains_key(axis));
    Ok(found)
}
