//! EMD files as frames: versions 1.0 and 0.2.

use isard_core::prelude::*;
use isard_core::schemars;
use isard_files::input::Hdf5Dataset;
use isard_h5::{Attr, File};

use crate::source::axes::{Axes, Axis};
use crate::source::feed::ScanOut;
use crate::source::hdf5::dataset;
use crate::source::placed::Placed;
use crate::source::through::Through;

/// Frames of an EMD file, version 1.0 or 0.2.
///
/// The data are the first array of three or four axes in the file, or those of `node`. The last two axes are the detector,
/// those before are the scan. The head holds `axes`, with the sizes, steps and units of the file, for stages and writers
/// behind, `version`, and `unused_frames`, the frames that belong to no scan point.
///
/// Keeps order and count; frames before, between and after the points of the scan are left out, points without a frame
/// are gaps. Frames that lie in the file as they do in memory are handed out without a copy, compressed ones are decoded
/// on all cores.
///
/// Source: the EMD specification 0.2 (Berkeley) and 1.0 (emdfile).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmdFile {
    /// The file; it must be closed.
    #[schemars(extend("x-path" = "input", "x-endings" = [".emd"]))]
    path: String,
    /// The group whose data are read; else the first that fits.
    ///
    /// Such as `/datacube_root/datacube`.
    #[serde(default)]
    node: Option<String>,
    #[serde(flatten)]
    placed: Placed,
    #[serde(skip)]
    #[schemars(skip)]
    inner: Option<Box<Through<Hdf5Dataset>>>,
}

impl Stage for EmdFile {
    type In = ();
    type Out = ScanOut;

    fn example() -> Example {
        let bytes = small().expect("a file of six frames can be built");
        Example::new(format!("path = {:?}", Example::file("scan.emd", &bytes)))
    }

    fn check(&self, faults: &mut Faults) {
        self.placed.check(&self.path, faults);
    }
}

impl Source for EmdFile {
    fn open(&mut self, cx: &Cx, (): (), from: Position) -> Result<Opened> {
        let (node, axes, version) = look(&self.path, self.node.as_deref())?;
        let set = serde_json::json!({ "path": format!("{}::{node}/data", self.path) });
        let (inner, mut opened) = Through::open(dataset(set)?, cx, &self.path, self.placed, axes, from)?;
        opened.head.set("version", version);
        self.inner = Some(Box::new(inner));
        Ok(opened)
    }

    fn pull(&mut self, cx: &Cx, slots: &mut Slots<ScanOut>) -> Result<Pull> {
        let inner = self.inner.as_mut();
        inner.ok_or_else(|| Error::internal("a source was pulled before it was opened"))?.pull(cx, slots)
    }
}
declare!(Source, "stem.emd", Kind::Source, EmdFile);

fn h5(error: isard_h5::Error) -> Error {
    Error::data(error.to_string())
}

/// The group of the data, its axes, and the version of the file.
fn look(path: &str, node: Option<&str>) -> Result<(String, Axes, String)> {
    let file = File::open(path).map_err(h5)?;
    let number = |name: &str| match file.attribute("/", name) {
        Ok(Some(Attr::Int(n))) => Some(n),
        Ok(Some(Attr::Ints(n))) => n.first().copied(),
        _ => None,
    };
    let version = match (number("version_major"), number("version_minor")) {
        (Some(major), Some(minor)) => format!("{major}.{minor}"),
        _ => {
            return Err(Error::data(format!(
                "{path}: has no `version_major` and `version_minor`, so it is no EMD file"
            ))
            .help("`isard info` lists what it holds; `hdf5.dataset` reads any dataset"));
        }
    };
    let listing = file.list().map_err(h5)?;
    let fits = |group: &str| match file.attribute(group, "emd_group_type") {
        Ok(Some(Attr::Text(kind))) => kind == "array",
        Ok(Some(Attr::Int(kind))) => kind == 1,
        Ok(Some(Attr::Ints(kind))) => kind == [1],
        _ => false,
    };
    let mut found = vec![];
    for dataset in &listing.datasets {
        let Some(group) = dataset.path.strip_suffix("/data") else { continue };
        if dataset.shape.len() >= 3 && fits(group) {
            found.push((group.to_owned(), dataset.shape.clone()));
        }
    }
    let wanted = node.map(|n| format!("/{}", n.trim_matches('/')));
    // Of several arrays that with the most axes is the scan; its derived pictures have fewer.
    let best = match &wanted {
        Some(wanted) => found.iter().find(|(group, _)| group == wanted),
        None => found.iter().rev().max_by_key(|(_, shape)| shape.len()),
    };
    let Some((group, shape)) = best else {
        let names: Vec<&str> = found.iter().map(|(g, _)| g.as_str()).collect();
        let text = match &wanted {
            Some(wanted) => format!("{path}: holds no data of three or four axes at `{wanted}`"),
            None => format!("{path}: holds no data of three or four axes"),
        };
        return Err(Error::data(text).help(format!("found [{}]", names.join(", "))));
    };
    if shape.len() > 4 {
        return Err(Error::data(format!("{path}::{group}: has {} axes, wanted three or four", shape.len())));
    }
    let mut axes = Axes { scan: (shape.len() == 4).then(|| [shape[0], shape[1]]), ..Axes::default() };
    // Version 1.0 counts the axes from 0, version 0.2 from 1.
    let base = usize::from(file.names(group).map_err(h5)?.iter().all(|n| n != "dim0"));
    for i in 0..shape.len() {
        let name = format!("{group}/dim{}", i + base);
        if let Some(axis) = axis(&file, &name) {
            axes.axes[i + 4 - shape.len()] = axis;
        }
    }
    Ok((group.clone(), axes, version))
}

/// An axis: two numbers, of which the second is the next position, or all of them.
fn axis(file: &File, path: &str) -> Option<Axis> {
    let dataset = file.dataset(path).ok()?;
    let bytes = dataset.read_all().ok()?;
    let dtype = Dtype::from(dataset.dtype().ok()?);
    let n = dataset.shape().iter().product::<u64>() as usize;
    let mut array = isard_core::Pool::unpooled().take(dtype, &[n]).ok()?;
    array.bytes_mut().copy_from_slice(&bytes);
    let values = array.freeze().to_f64().ok()?;
    let unit = match file.attribute(path, "units") {
        Ok(Some(Attr::Text(text))) => plain_unit(&text),
        _ => String::new(),
    };
    let (start, next) = (*values.first()?, *values.get(1)?);
    // The mean of all steps: single ones are rounded.
    let step = if n > 2 { (values[n - 1] - start) / (n - 1) as f64 } else { next - start };
    Some(Axis { step, start, unit })
}

/// Version 0.2 writes units as `[n_m]`.
fn plain_unit(text: &str) -> String {
    match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(inner) => inner.replace('_', ""),
        None => text.to_owned(),
    }
}

/// The file of the example: a scan of 2 x 3 frames of 2 x 2 pixels.
pub(super) fn small() -> isard_h5::Result<Vec<u8>> {
    use isard_h5::{Dtype as H5, Image, Spec};
    let mut image = Image::new()?;
    image.attribute("/", "version_major", 1i64)?;
    image.attribute("/", "version_minor", 0i64)?;
    image.group("/root/scan")?;
    image.attribute("/root/scan", "emd_group_type", "array")?;
    let data = image.dataset("/root/scan/data", &Spec::new(H5::U16, &[3, 2, 2]))?;
    image.append(data, &(0..24u16).flat_map(u16::to_ne_bytes).collect::<Vec<_>>(), 2)?;
    for (i, step) in [0.5, 0.5, 1.0, 1.0].into_iter().enumerate() {
        let path = format!("/root/scan/dim{i}");
        let slot = image.dataset(&path, &Spec::new(H5::F64, &[]))?;
        image.append(slot, &[0.0f64, step].map(f64::to_ne_bytes).concat(), 2)?;
        image.attribute(&path, "units", if i < 2 { "nm" } else { "pixel" })?;
    }
    image.into_bytes()
}
