//! The file: nodes with their axes, metadata, attributes.

use std::collections::BTreeMap;

use isard_core::prelude::*;
use isard_h5::{Dtype as H5, Image, Spec, Stacked};

use crate::source::{Axes, Axis};

pub(super) fn h5(error: isard_h5::Error) -> Error {
    Error::data(error.to_string())
}

/// An EMD file being made.
pub(super) struct File<'a> {
    image: Image,
    root: String,
    axes: Axes,
    units: &'a BTreeMap<String, String>,
}

/// Where the numbers of a node stand.
pub(super) enum Numbers<'a> {
    /// In the file itself.
    Here(&'a Array),
    /// In parts beside it, one after the other along the first axis.
    Parts(Dtype, Vec<Stacked>),
}

impl File<'_> {
    /// A file with a root and nothing in it.
    pub(super) fn new<'a>(
        cx: &Cx,
        name: &str,
        axes: Axes,
        units: &'a BTreeMap<String, String>,
    ) -> Result<File<'a>> {
        let root = format!("/{name}");
        let mut image = Image::new().map_err(h5)?;
        head(&mut image, cx).map_err(h5)?;
        image.group(&root).map_err(h5)?;
        for (name, value) in [("emd_group_type", "root"), ("python_class", "Root")] {
            image.attribute(&root, name, value).map_err(h5)?;
        }
        Ok(File { image, root, axes, units })
    }

    /// The bytes of the file.
    pub(super) fn into_bytes(self) -> Result<Vec<u8>> {
        self.image.into_bytes().map_err(h5)
    }

    /// An array with its axes.
    pub(super) fn node(&mut self, name: &str, key: &str, shape: &[usize], numbers: &Numbers) -> Result<()> {
        let path = format!("{}/{name}", self.root);
        let scan = self.axes.scan.map(|s| s.map(|n| n as usize));
        let leads = scan.is_some_and(|s| shape.starts_with(&s));
        let ends = scan.is_some_and(|s| shape.ends_with(&s)) && !leads;
        let cube = leads && shape.len() == 4;
        let image = &mut self.image;
        image.group(&path).map_err(h5)?;
        let class = if cube { "DataCube" } else { "Array" };
        for (name, value) in [("emd_group_type", "array"), ("python_class", class)] {
            image.attribute(&path, name, value).map_err(h5)?;
        }
        let data = format!("{path}/data");
        if shape.contains(&0) {
            return Err(Error::data(format!("`{key}` of shape {shape:?} holds nothing")));
        }
        let rest = shape[1..].iter().map(|n| *n as u64).collect::<Vec<_>>();
        match numbers {
            Numbers::Here(array) => {
                let slot = image.dataset(&data, &Spec::new(stored(array.dtype()), &rest)).map_err(h5)?;
                image.append(slot, array.bytes(), shape[0] as u64).map_err(h5)?;
            }
            Numbers::Parts(dtype, parts) => image.stack(&data, stored(*dtype), &rest, parts).map_err(h5)?,
        }
        let unit = self.units.get(key).map_or("", String::as_str);
        image.attribute(&data, "units", unit).map_err(h5)?;
        for i in 0..shape.len() {
            let from_end = shape.len() - i;
            let (name, axis) = match () {
                () if leads && i < 2 => (["scan_y", "scan_x"][i], self.axes.axes[i].clone()),
                () if ends && from_end <= 2 => {
                    (["scan_y", "scan_x"][2 - from_end], self.axes.axes[2 - from_end].clone())
                }
                () if cube => (["detector_y", "detector_x"][i - 2], self.axes.axes[i].clone()),
                () => ("index", Axis { step: 1.0, start: 0.0, unit: String::new() }),
            };
            let dim = format!("{path}/dim{i}");
            let slot = image.dataset(&dim, &Spec::new(H5::F64, &[])).map_err(h5)?;
            let pair = [axis.start, axis.start + axis.step].map(f64::to_ne_bytes).concat();
            image.append(slot, &pair, 2).map_err(h5)?;
            image.attribute(&dim, "name", name).map_err(h5)?;
            image.attribute(&dim, "units", axis.unit.as_str()).map_err(h5)?;
        }
        Ok(())
    }

    /// Numbers and texts of the root.
    pub(super) fn metadata(&mut self, values: &[(Key, Value)]) -> Result<()> {
        let bundle = format!("{}/metadatabundle", self.root);
        let image = &mut self.image;
        let group = format!("{bundle}/results");
        image.group(&group).map_err(h5)?;
        image.attribute(&bundle, "emd_group_type", "metadatabundle").map_err(h5)?;
        image.attribute(&group, "emd_group_type", "metadata").map_err(h5)?;
        image.attribute(&group, "python_class", "Metadata").map_err(h5)?;
        for (key, value) in values {
            let path = format!("{group}/{key}");
            let kind = match value {
                Value::Int(n) => {
                    image.scalar(&path, H5::I64, &n.to_ne_bytes()).map_err(h5)?;
                    "number"
                }
                Value::Bool(b) => {
                    image.boolean(&path, *b).map_err(h5)?;
                    "bool"
                }
                other => match other.number() {
                    Some(x) => {
                        image.scalar(&path, H5::F64, &x.to_ne_bytes()).map_err(h5)?;
                        "number"
                    }
                    None => {
                        let text = other.text().map_or_else(|| other.to_json().to_string(), str::to_owned);
                        image.text(&path, &text).map_err(h5)?;
                        "string"
                    }
                },
            };
            image.attribute(&path, "type", kind).map_err(h5)?;
        }
        Ok(())
    }
}

/// The attributes of the file.
fn head(image: &mut Image, cx: &Cx) -> isard_h5::Result<()> {
    image.attribute("/", "emd_group_type", "file")?;
    image.attribute("/", "version_major", 1i64)?;
    image.attribute("/", "version_minor", 0i64)?;
    image.attribute("/", "authoring_program", "isard")?;
    image.attribute("/", "authoring_user", "")?;
    // From the run's own random numbers, so that the same run gives the same file.
    let mut seed = cx.rng(0).get_seed();
    (seed[6], seed[8]) = (seed[6] & 0x0f | 0x40, seed[8] & 0x3f | 0x80);
    let hex: Vec<String> = seed[..16].iter().map(|b| format!("{b:02x}")).collect();
    let parts = [0..4, 4..6, 6..8, 8..10, 10..16].map(|range| hex[range].concat());
    image.attribute("/", "UUID", parts.join("-"))
}

/// The formats' name of a dtype.
pub(super) fn stored(dtype: Dtype) -> H5 {
    match dtype {
        Dtype::U8 => H5::U8,
        Dtype::U16 => H5::U16,
        Dtype::U32 => H5::U32,
        Dtype::U64 => H5::U64,
        Dtype::I8 => H5::I8,
        Dtype::I16 => H5::I16,
        Dtype::I32 => H5::I32,
        Dtype::I64 => H5::I64,
        Dtype::F32 => H5::F32,
        Dtype::F64 => H5::F64,
        Dtype::C32 => H5::C32,
        Dtype::C64 => H5::C64,
    }
}
