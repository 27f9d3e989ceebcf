//! EMD 1.0 files, as py4DSTEM and emdfile read them.

mod file;
mod frames;

use std::collections::BTreeMap;
use std::sync::Arc;

use isard_core::prelude::*;
use isard_core::schemars;
use isard_core::span::Ranges;
use isard_h5::Stacked;

use crate::source::Axes;

use file::{File, Numbers};
use frames::Frames;

/// Writes maps and scans to an EMD file, version 1.0.
///
/// Each array that is wired becomes a node of its name with its axes: those of the scan and the detector have the steps and
/// units of `axes`, which a source of this family has in its head, all others count. Numbers and texts go into the
/// metadata of the root. Of a stream of frames the whole array is one node, a data cube where `axes` (or a constant `head`
/// that holds them) tells the scan; points without a frame are NaN or 0, and `valid` is 0 there. Of results that are
/// revised the last one is written.
///
/// Changes neither order nor count. Frames are kept in memory up to `part_bytes`; a larger scan goes, some lines at a time,
/// into `NAME.parts/000000.h5`, ... beside the file, which shows them as one array. The folder may be moved as a whole.
///
/// Source: the EMD specification 1.0 (emdfile) and the HDF5 virtual dataset.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmdWrite {
    /// The file, relative to the run's folder; must end in `.emd`.
    #[schemars(extend("x-path" = "output", "x-endings" = [".emd"]))]
    path: String,
    /// The name of the root; else that of the file.
    #[serde(default)]
    root: Option<String>,
    /// Units by name; others are those of the ports that are written.
    #[serde(default)]
    units: BTreeMap<String, String>,
    /// More than this is written in parts beside the file.
    #[serde(default = "part_bytes")]
    #[schemars(range(min = 1), extend("x-unit" = "byte", "x-level" = "expert"))]
    part_bytes: u64,
    #[serde(skip)]
    #[schemars(skip)]
    out: Option<Arc<dyn Output>>,
    #[serde(skip)]
    #[schemars(skip)]
    known: BTreeMap<String, String>,
    /// The last result, or the constants beside frames.
    #[serde(skip)]
    #[schemars(skip)]
    single: Dict,
    #[serde(skip)]
    #[schemars(skip)]
    frames: Frames,
}

fn part_bytes() -> u64 {
    256 << 20
}

impl Stage for EmdWrite {
    type In = Dict;
    type Out = ();

    fn example() -> Example {
        let pixels: Vec<u16> = (0..36).collect();
        let axes = Axes { scan: Some([2, 3]), ..Axes::default() };
        Example::new("path = \"scan.emd\"")
            .frames("image", Array::of(&[6, 2, 3], &pixels).expect("36 pixels"))
            .fixed("axes", axes.to_dict())
    }

    fn check(&self, faults: &mut Faults) {
        if !self.path.to_lowercase().ends_with(".emd") {
            faults.add("path", format!("`{}` does not end in `.emd`", self.path));
        }
        if self.part_bytes == 0 {
            faults.add("part_bytes", "is 0, wanted at least 1");
        }
    }

    fn cost(&self, input: &Shapes) -> Cost {
        let bytes = input.bytes() as u64;
        let all = bytes.saturating_mul(input.records().unwrap_or(u64::MAX)).min(self.part_bytes);
        Cost { memory: 3 * all, disk_per_record: bytes, ..Cost::default() }
    }
}

impl Writer for EmdWrite {
    fn open(&mut self, _: &Cx, out: Arc<dyn Output>, committed: Option<Dict>) -> Result<()> {
        (self.single, self.frames) = Default::default();
        if let Some(state) = committed {
            let Value::Dict(single) = state.need("single")? else {
                return Err(Error::data("a damaged state of a writer"));
            };
            (self.single, self.frames) = (single.clone(), Frames::load(&state)?);
        }
        self.known = out.units();
        self.known.extend(self.units.clone());
        self.out = Some(out);
        Ok(())
    }

    fn write(&mut self, _: &Cx, span: &Span, input: Dict) -> Result<()> {
        if !span.is_frames() {
            let mut single = Dict::new();
            for (key, value) in input.iter() {
                let value = if fixed(key.as_str(), value) {
                    value.clone()
                } else {
                    value.unlead(span.len as usize - 1)?
                };
                single.set(key.clone(), detached(value)?);
            }
            self.single = single;
            return Ok(());
        }
        let mut piece = Dict::new();
        for (key, value) in input.into_iter() {
            match &value {
                Value::Array(_) => piece.set(key, detached(value)?),
                _ => self.single.set(key, value),
            }
        }
        // What failed for a moment is given again: it must not be taken twice.
        if !self.frames.came.has(span.start) {
            self.frames.add(span, piece)?;
        }
        if self.frames.bytes > self.part_bytes {
            let whole = self.frames.end() / self.row()?.unwrap_or(1);
            self.seal(whole)?;
        }
        Ok(())
    }

    fn gap(&mut self, _: &Cx, _: &Gap) -> Result<()> {
        // What did not come is not among the frames that came; `finish` marks its points.
        Ok(())
    }

    fn commit(&mut self, _: &Cx) -> Result<Dict> {
        Ok(self.frames.save().with("single", self.single.clone()))
    }

    fn finish(&mut self, cx: &Cx, _: &Ranges) -> Result<()> {
        let bytes = self.file(cx)?;
        self.out()?.replace(&self.path, &bytes)
    }
}
declare!(Writer, "emd.write", Kind::Writer, EmdWrite);

/// Whether a value stands for the whole run.
fn fixed(key: &str, value: &Value) -> bool {
    key == "axes" || key == "head" || value.records().is_none()
}

/// A value that holds no buffer of the pool.
fn detached(value: Value) -> Result<Value> {
    match value {
        Value::Array(array) => Ok(Value::Array(array.detach()?)),
        other => Ok(other),
    }
}

impl EmdWrite {
    fn out(&self) -> Result<&Arc<dyn Output>> {
        self.out.as_ref().ok_or_else(|| Error::internal("a writer was used before it was opened"))
    }

    fn axes(&self) -> Result<Axes> {
        let own = match (self.single.get("axes"), self.single.get("head")) {
            (Some(Value::Dict(axes)), _) => Some(axes),
            (_, Some(Value::Dict(head))) => match head.get("axes") {
                Some(Value::Dict(axes)) => Some(axes),
                _ => None,
            },
            _ => None,
        };
        own.map_or_else(|| Ok(Axes::default()), Axes::of)
    }

    /// Points in a line of the scan, where it is known.
    fn row(&self) -> Result<Option<u64>> {
        Ok(self.axes()?.scan.map(|[_, x]| x.max(1)))
    }

    /// Puts the lines up to `to` into a part of their own.
    fn seal(&mut self, to: u64) -> Result<()> {
        if to <= self.frames.lines() {
            return Ok(());
        }
        let axes = self.axes()?;
        if let Some([y, x]) = axes.scan.filter(|[y, _]| to > *y) {
            let text = format!("frames for {to} lines, and the scan has {y} of {x} points");
            return Err(Error::data(text).help("give the source the size of the scan that it has"));
        }
        let row = self.row()?;
        let bytes = self.frames.part(row, to)?;
        self.out()?.seal(&format!("{}/{:06}.h5", self.folder(), self.frames.parts.len()), &bytes)?;
        self.frames.let_go(row, to)
    }

    /// The folder of the parts.
    fn folder(&self) -> String {
        format!("{}.parts", self.path.rsplit_once('.').map_or(self.path.as_str(), |(stem, _)| stem))
    }

    /// The bytes of the file; what is left of a scan in parts goes into the last of them.
    fn file(&mut self, cx: &Cx) -> Result<Vec<u8>> {
        let axes = self.axes()?;
        let (row, end) = (self.row()?, self.frames.end());
        let rows = axes.scan.filter(|[y, x]| y * x >= end).map(|[y, _]| y);
        // A scan that is larger than its size says is a row of frames.
        let (row, lines) = match (rows, self.frames.parts.is_empty()) {
            (Some(rows), _) => (row, rows),
            (None, true) => (None, end),
            (None, false) => (row, end.div_ceil(row.unwrap_or(1))),
        };
        let each = row.unwrap_or(1);
        while !self.frames.parts.is_empty() && self.frames.lines() < lines {
            // Lines that never came are written too, some at a time.
            let like = self.frames.like.iter();
            let line =
                each * like.map(|(_, d, s)| (d.size() * s.iter().product::<usize>()) as u64).sum::<u64>();
            let step = (self.part_bytes / line.max(1)).max(1);
            self.seal((self.frames.lines() + step).min(lines))?;
        }
        let last = self.path.rsplit('/').next().unwrap_or_default();
        let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
        let name = self.root.clone().unwrap_or_else(|| stem.to_owned());
        let mut file = File::new(cx, &name, axes, &self.known)?;
        let mut metadata = vec![];
        for (key, value) in self.single.iter().filter(|(k, _)| !["axes", "head"].contains(&k.as_str())) {
            match value {
                Value::Array(array) if !array.shape().is_empty() => {
                    file.node(key.as_str(), key.as_str(), array.shape(), &Numbers::Here(array))?;
                }
                other => metadata.push((key.clone(), other.clone())),
            }
        }
        let leading: Vec<usize> = [lines].into_iter().chain(row).map(|n| n as usize).collect();
        let whole = match self.frames.parts.is_empty() {
            true => self.frames.filled(row, 0, lines)?,
            false => Dict::new(),
        };
        let mut valid = vec![0u8; (lines * each) as usize];
        self.frames.came.numbers().for_each(|n| valid[n as usize] = 1);
        let marked = valid.contains(&0);
        let valid = Array::of(&leading, &valid)?;
        for (key, dtype, dims) in &self.frames.like {
            let shape = [&leading[..], dims].concat();
            let numbers = match whole.get(key.as_str()) {
                Some(Value::Array(array)) => Numbers::Here(array),
                _ => Numbers::Parts(*dtype, self.stacked(key.as_str(), stem)),
            };
            file.node(key.as_str(), key.as_str(), &shape, &numbers)?;
            if marked {
                file.node(&format!("{key}_valid"), "valid", &leading, &Numbers::Here(&valid))?;
            }
        }
        if !metadata.is_empty() {
            file.metadata(&metadata)?;
        }
        file.into_bytes()
    }

    fn stacked(&self, key: &str, stem: &str) -> Vec<Stacked> {
        let part = |(i, lines): (usize, &u64)| Stacked {
            file: format!("{stem}.parts/{i:06}.h5"),
            dataset: format!("/data/{key}"),
            records: *lines,
        };
        self.frames.parts.iter().enumerate().map(part).collect()
    }
}
