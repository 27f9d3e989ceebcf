//! Raw frames in HDF5 files, as a parameter tree names them, become the stages that prepare them.

use std::collections::BTreeMap;

use isard_core::{Error, Result};
use serde_json::Value;

use super::{text_of, toml};

/// The stages before the reconstruction, how it is wired to them, and what it is told of the experiment.
pub(super) struct Prepared {
    pub stages: String,
    pub wires: String,
    pub experiment: String,
}

/// Takes the parameters below a prefix out of the leaves of a tree.
struct Leaves<'a> {
    all: &'a mut BTreeMap<String, Value>,
    prefix: String,
}

impl Leaves<'_> {
    fn look(&self, key: &str) -> Option<&Value> {
        self.all.get(&format!("{}{key}", self.prefix)).filter(|v| !v.is_null())
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.all.remove(&format!("{}{key}", self.prefix)).filter(|v| !v.is_null())
    }

    /// A dataset of a file, if the tree names one.
    fn dataset(&mut self, group: &str, key: &str) -> Option<String> {
        let file = self.look(&format!("{group}.file"))?.as_str()?.to_owned();
        let key = text_of(self.take(&format!("{group}.{key}")))?;
        let key = key.trim_start_matches('/');
        Some(format!("{file}::/{key}"))
    }

    /// A parameter that is written as it is.
    fn set(&mut self, from: &str, to: &str, out: &mut Vec<String>) {
        if let Some(value) = self.take(from) {
            out.push(format!("{to} = {}", toml(&value)));
        }
    }
}

/// Stages for the data of a scan, or an error that says what is missing.
pub(super) fn stages(leaves: &mut BTreeMap<String, Value>, scan: &str) -> Result<Prepared> {
    let mut data = Leaves { all: leaves, prefix: format!("scans.{scan}.data.") };
    let need = |what: &str, found: Option<String>| {
        found.ok_or_else(|| Error::data(format!("`{what}` of scan `{scan}` names no dataset of a file")))
    };
    let frames = need("intensities", data.dataset("intensities", "key"))?;
    let slow = need("positions", data.dataset("positions", "slow_key"))?;
    let fast = need("positions", data.dataset("positions", "fast_key"))?;
    let mut stages =
        format!("[stage.raw]\nuse = \"hdf5.dataset\"\nset = {{ path = {} }}\n\n", toml(&frames.into()));
    let factors = ["slow", "fast"].map(|axis| data.take(&format!("positions.{axis}_multiplier")));
    let scale = match factors {
        [None, None] => String::new(),
        factors => {
            let [y, x] = factors.map(|f| f.map_or("1.0".into(), |f| toml(&f)));
            format!(", scale = [{y}, {x}]")
        }
    };
    stages.push_str(&format!(
        "[stage.places]\nuse = \"scan.positions\"\nfrom = \"raw\"\nset = {{ slow = {}, fast = {}{scale} }}\n\n",
        toml(&slow.into()),
        toml(&fast.into())
    ));
    let (mut image, mut last) = ("raw.image", "places");
    let fields = [("dark", "darkfield"), ("flat", "flatfield")]
        .map(|(to, group)| data.dataset(group, "key").map(|path| format!("{to} = {}", toml(&path.into()))));
    let fields: Vec<String> = fields.into_iter().flatten().collect();
    if !fields.is_empty() {
        stages.push_str(&format!(
            "[stage.corrected]\nuse = \"image.correct\"\nfrom = \"places\"\nin = {{ image = \"raw.image\", {} }}\n\n",
            fields.join(", ")
        ));
        (image, last) = ("corrected.image", "corrected");
    }
    let mut wires = vec![format!("image = \"{image}\"")];
    let mut set = prepared(&mut data);
    if let Some(mask) = data.dataset("mask", "key") {
        wires.push(format!("mask = {}", toml(&mask.into())));
        // Good pixels are 1 there unless it is turned round.
        if data.take("mask.invert") != Some(Value::Bool(true)) {
            set.push("mask_good = true".into());
        }
    }
    for group in ["intensities", "positions", "mask", "darkfield", "flatfield"] {
        let file = format!("{}{group}.file", data.prefix);
        let others = format!("{}{group}.", data.prefix);
        if !data.all.keys().any(|k| k.starts_with(&others) && *k != file) {
            data.all.remove(&file);
        }
    }
    stages.push_str(&format!(
        "[stage.frames]\nuse = \"scan.prepare\"\nfrom = \"{last}\"\nin = {{ {} }}\nset = {{ {} }}\n",
        wires.join(", "),
        set.join(", ")
    ));
    let experiment = experiment(&mut data, &set);
    stages.push_str(&saved(&mut data, &experiment));
    let wires = "image = \"frames.image\", mask = \"frames.mask\", position = \"places.position\"".to_owned();
    let experiment = experiment.into_iter().map(|line| line + "\n").collect();
    Ok(Prepared { stages, wires, experiment })
}

/// The stage that saves prepared frames, if the tree wants them saved.
fn saved(data: &mut Leaves, experiment: &[String]) -> String {
    let known = ["append", "link", "merge"];
    let save = data.look("save").and_then(Value::as_str).filter(|s| known.contains(s)).map(str::to_owned);
    let file = data.look("dfile").and_then(Value::as_str).filter(|f| f.ends_with(".ptyd"));
    let name = file.and_then(|f| std::path::Path::new(f).file_name()?.to_str()).map(str::to_owned);
    let (Some(save), Some(name)) = (save, name) else { return String::new() };
    data.take("save");
    data.take("dfile");
    let mut set = vec![format!("path = {}", toml(&name.into())), format!("save = {}", toml(&save.into()))];
    set.extend(experiment.iter().cloned());
    if let Some(label) = data.take("label") {
        set.push(format!("label = {}", toml(&label)));
    }
    format!(
        "\n[stage.save]\nuse = \"ptyd.write\"\nfrom = \"frames\"\n\
         in = {{ image = \"frames.image\", mask = \"frames.mask\", position = \"places.position\" }}\nset = {{ {} }}\n",
        set.join(", ")
    )
}

/// What `scan.prepare` is told.
fn prepared(data: &mut Leaves) -> Vec<String> {
    let mut set = vec![];
    if data.look("shape").is_some_and(Value::is_u64) {
        data.set("shape", "shape", &mut set);
    } else if let Some([rows, columns]) = data.look("shape").and_then(Value::as_array).map(Vec::as_slice)
        && rows == columns
    {
        set.push(format!("shape = {}", toml(&rows.clone())));
        data.take("shape");
    }
    for key in ["num_frames", "min_frames", "rebin"] {
        if data.look(key).is_some_and(Value::is_u64) {
            data.set(key, key, &mut set);
        }
    }
    let orientation = match data.look("orientation") {
        Some(Value::Array(bits)) => {
            let bits: Option<Vec<u64>> =
                bits.iter().map(|b| b.as_bool().map(u64::from).or(b.as_u64())).collect();
            bits.filter(|b| b.len() == 3).map(|b| 4 * b[0] + 2 * b[1] + b[2])
        }
        other => other.and_then(Value::as_u64),
    };
    if let Some(orientation) = orientation {
        set.push(format!("orientation = {orientation}"));
        data.take("orientation");
    }
    let automatic = data.take("auto_center");
    match data.take("center") {
        Some(center) if center.is_number() => set.push(format!("center = [{0}, {0}]", toml(&center))),
        Some(center) => set.push(format!("center = {}", toml(&center))),
        // Without an axis it is found from the frames there, unless that is forbidden.
        None if automatic != Some(Value::Bool(false)) => set.push("center = \"auto\"".into()),
        None => (),
    }
    set
}

/// Energy, distance and the edge of a prepared pixel.
fn experiment(data: &mut Leaves, prepared: &[String]) -> Vec<String> {
    let mut set = vec![];
    for key in ["energy", "distance"] {
        if data.look(key).is_some_and(Value::is_number) {
            data.set(key, key, &mut set);
        }
    }
    let bins = prepared.iter().find_map(|s| s.strip_prefix("rebin = ")?.parse::<f64>().ok()).unwrap_or(1.0);
    if let Some(psize) = data.look("psize").and_then(Value::as_f64) {
        set.push(format!("psize = {:e}", psize * bins));
        data.take("psize");
    }
    set
}
