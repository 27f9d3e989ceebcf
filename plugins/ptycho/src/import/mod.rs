//! Parameter trees of PtyPy as recipes.

mod raw;
mod yaml;

use std::collections::BTreeMap;

use isard_core::{Error, Result};
use serde_json::{Map, Value};

use crate::engine::{Method, Settings};

/// A recipe made from a parameter tree.
#[derive(Debug)]
pub struct Imported {
    /// The recipe, as TOML.
    pub recipe: String,
    /// Parameters that the recipe has no place for, with their values.
    pub left: Vec<String>,
}

/// Reads a parameter tree in JSON or YAML and makes a recipe of it.
pub fn import(text: &str) -> Result<Imported> {
    let tree = match serde_json::from_str::<Value>(text) {
        Ok(tree) => tree,
        Err(json) if text.trim_start().starts_with('{') => {
            return Err(Error::data(format!("the parameters are no JSON: {json}")));
        }
        Err(_) => yaml::parse(text)?,
    };
    let Value::Object(tree) = &tree else {
        return Err(
            Error::data("the parameters are no mapping").help("export the parameter tree as JSON or YAML")
        );
    };
    // Some trees are exported with everything below one name.
    let tree = match tree.get("parameter_tree").or_else(|| tree.get("base")) {
        Some(Value::Object(inner)) if tree.get("engines").is_none() => inner,
        _ => tree,
    };
    let mut leaves = BTreeMap::new();
    flatten("", tree, &mut leaves);
    let name = text_of(leaves.remove("run")).unwrap_or_else(|| "imported".into());
    let (source, wires, experiment) = source(&mut leaves)?;
    let fit = experiment + &fit(tree, &mut leaves)?;
    let recipe = format!(
        "# Made from a parameter tree of PtyPy.\nisard = \"0.1\"\nname = {name:?}\n\n{source}\n\
         [stage.fit]\nuse = \"ptycho.reconstruct\"\nfrom = \"frames\"\nin = {{ {wires} }}\n\n\
         [stage.fit.set]\n{fit}\n[stage.ptyr]\nuse = \"ptyr.write\"\nfrom = \"fit\"\nset = {{ path = \"result.ptyr\" }}\n"
    );
    let left = leaves.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| format!("{k} = {v}")).collect();
    Ok(Imported { recipe, left })
}

fn flatten(path: &str, tree: &Map<String, Value>, out: &mut BTreeMap<String, Value>) {
    for (key, value) in tree {
        let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Object(inner) if !inner.is_empty() => flatten(&at, inner, out),
            other => {
                out.insert(at, other.clone());
            }
        }
    }
}

fn text_of(value: Option<Value>) -> Option<String> {
    value.and_then(|v| v.as_str().map(str::to_owned))
}

/// A value as TOML.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let all = map.iter().filter(|(_, v)| !v.is_null());
            format!("{{ {} }}", all.map(|(k, v)| format!("{k} = {}", toml(v))).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The scan that the recipe reads or plays, how it is wired, and what the tree says of the experiment beside it.
fn source(leaves: &mut BTreeMap<String, Value>) -> Result<(String, String, String)> {
    let mut scans: Vec<String> = leaves
        .keys()
        .filter_map(|k| k.strip_prefix("scans.")?.split('.').next().map(str::to_owned))
        .collect();
    scans.dedup();
    let scan = scans.first().ok_or_else(|| {
        Error::data("the parameters name no scan").help("`scans` wants at least one entry with its `data`")
    })?;
    let mut take = |key: &str| leaves.remove(&format!("scans.{scan}.data.{key}")).filter(|v| !v.is_null());
    let kind = text_of(take("name")).unwrap_or_default();
    let wires = "energy = \"frames.head.energy\", distance = \"frames.head.distance\", \
                 psize = \"frames.head.psize\", center = \"frames.head.center\"";
    match kind.as_str() {
        "PtydScan" => {
            let (dfile, from) = (text_of(take("dfile")), text_of(take("source")).filter(|s| s != "file"));
            let path =
                from.or(dfile).ok_or_else(|| Error::data("`PtydScan` names neither `dfile` nor `source`"))?;
            let stage = format!("[stage.frames]\nuse = \"ptyd.read\"\nset = {{ path = {path:?} }}\n");
            Ok((stage, format!("mask = \"frames.mask\", {wires}"), String::new()))
        }
        "MoonFlowerScan" => {
            let keys = [
                "num_frames",
                "shape",
                "density",
                "energy",
                "distance",
                "psize",
                "photons",
                "model",
                "add_poisson_noise",
                "psf",
            ];
            let set: Vec<String> =
                keys.iter().filter_map(|k| take(k).map(|v| format!("{k} = {}", toml(&v)))).collect();
            let set = set.join("\n");
            Ok((
                format!("[stage.frames]\nuse = \"ptycho.simulate\"\n\n[stage.frames.set]\n{set}\n"),
                wires.into(),
                String::new(),
            ))
        }
        "Hdf5Loader" | "Hdf5LoaderFast" => {
            let made = raw::stages(leaves, scan)?;
            Ok((made.stages, made.wires, made.experiment))
        }
        other => Err(Error::data(format!("data of `{other}` cannot be taken over")).help(
            "save the scan as a .ptyd file there and read that with `PtydScan`; `Hdf5Loader` is known too",
        )),
    }
}

/// The parameters of the reconstruction.
fn fit(tree: &Map<String, Value>, leaves: &mut BTreeMap<String, Value>) -> Result<String> {
    let mut out = String::new();
    let engines = tree.get("engines").and_then(Value::as_object);
    let engines = engines.ok_or_else(|| Error::data("the parameters name no engines"))?;
    let mut labels: Vec<&String> = engines.keys().collect();
    labels.sort();
    let mut list = vec![];
    for label in labels {
        let name = engines[label].get("name").and_then(Value::as_str).unwrap_or_default();
        let plain = name.split('_').next().unwrap_or(name);
        let method: Method = serde_json::from_value(Value::from(plain)).map_err(|_| {
            Error::data(format!("engine `{label}`: there is no `{name}` here"))
                .help("there are DM, RAAR, EPIE, SDR and ML")
        })?;
        leaves.remove(&format!("engines.{label}.name"));
        let mut made = serde_json::json!({ "name": plain });
        let prefix = format!("engines.{label}.");
        let keys: Vec<String> = leaves.keys().filter(|k| k.starts_with(&prefix)).cloned().collect();
        for key in keys {
            let value = leaves[&key].clone();
            let path = &key[prefix.len()..];
            let mut tried = made.clone();
            match path.split_once('.') {
                Some(("position_refinement", inner)) => tried["position_refinement"][inner] = value,
                None if path == "position_refinement" && value == Value::Bool(true) => {
                    tried[path] = serde_json::json!({});
                }
                None if !value.is_null() => tried[path] = value,
                _ => continue,
            }
            // What an engine here does not know, or knows in another form, stays with what is left.
            let known = serde_json::from_value::<Settings>(tried.clone());
            if known.is_ok_and(|s| s.name == method && s.faults().is_empty()) {
                made = tried;
                leaves.remove(&key);
            }
        }
        list.push(toml(&made));
    }
    out.push_str(&format!("engines = [{}]\n", list.join(", ")));
    let scan = leaves.keys().find_map(|k| k.strip_prefix("scans.")?.split('.').next().map(str::to_owned));
    let prefix = scan.map(|s| format!("scans.{s}.")).unwrap_or_default();
    let mut light = vec![];
    let model = format!("{prefix}illumination.model");
    if leaves.get(&model) == Some(&Value::from("stxm")) {
        light.push("model = \"stxm\"".into());
        leaves.remove(&model);
    }
    let places = [
        ("illumination.aperture.form", "form"),
        ("illumination.aperture.size", "size"),
        ("illumination.aperture.edge", "edge"),
        ("illumination.aperture.rotate", "rotate"),
        ("illumination.aperture.central_stop", "central_stop"),
        ("illumination.propagation.focussed", "focussed"),
        ("illumination.propagation.parallel", "parallel"),
        ("illumination.propagation.spot_size", "spot_size"),
        ("illumination.photons", "photons"),
        ("illumination.diversity.power", "power"),
        ("coherence.num_probe_modes", "modes"),
    ];
    for (from, to) in places {
        let key = format!("{prefix}{from}");
        if leaves.get(&key).is_some_and(|v| v.is_number() || v.is_string()) {
            light.push(format!("{to} = {}", toml(&leaves.remove(&key).unwrap_or_default())));
        }
    }
    if !light.is_empty() {
        out.push_str(&format!("illumination = {{ {} }}\n", light.join(", ")));
    }
    let light: Vec<String> = ["energies", "spectrum", "object_dispersion", "probe_dispersion"]
        .into_iter()
        .filter_map(|name| {
            let key = format!("{prefix}coherence.{name}");
            let value = leaves.get(&key)?;
            // A relation between the objects of energies is not known here.
            let known = value.is_array() || *value == "achromatic" || *value == "irregular";
            known.then(|| format!("{name} = {}", toml(&leaves.remove(&key).unwrap_or_default())))
        })
        .collect();
    if !light.is_empty() {
        out.push_str(&format!("coherence = {{ {} }}\n", light.join(", ")));
    }
    let model = format!("{prefix}sample.model");
    if leaves.get(&model) == Some(&Value::from("stxm")) {
        out.push_str("object_start = \"stxm\"\n");
        leaves.remove(&model);
    }
    let places = [
        (format!("{prefix}coherence.num_object_modes"), "object_modes"),
        (format!("{prefix}sample.fill"), "fill"),
        (format!("{prefix}resample"), "resample"),
        (format!("{prefix}resolution"), "resolution"),
        (format!("{prefix}propagation"), "propagation"),
        ("min_frames_for_recon".to_owned(), "min_frames"),
    ];
    for (key, to) in places {
        let fits =
            |v: &Value| if to == "propagation" { v.is_string() } else { v.as_f64().is_some_and(|x| x > 0.0) };
        if leaves.get(&key).is_some_and(fits) {
            out.push_str(&format!("{to} = {}\n", toml(&leaves.remove(&key).unwrap_or_default())));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
# a tree as other programs write it
run: siemens
min_frames_for_recon: 10
io:
  home: /tmp
scans:
  S00:
    name: BlockFull
    data: {name: PtydScan, dfile: scan.ptyd}
    illumination:
      aperture:
        form: circ
        size: 3.6e-6
    resample: 2
    resolution: 4.2e-8
    coherence:
      num_probe_modes: 2
      energies: [0.99, 1.0]
      object_dispersion: linear
engines:
  e01:
    name: ML_pycuda
    ML_type: poisson
    numiter: 30
    fft_lib: cuda
  e00:
    name: DM
    numiter: 60
    probe_support: null
    clip_object: [0, 1.2]
    position_refinement: true
";

    #[test]
    fn a_tree_becomes_a_recipe_and_what_is_left_is_named() {
        let made = import(TREE).unwrap();
        let recipe: Value = serde_json::to_value(made.recipe.parse::<::toml::Table>().unwrap()).unwrap();
        assert_eq!(recipe["name"], "siemens");
        assert_eq!(recipe["stage"]["frames"]["set"]["path"], "scan.ptyd");
        let set = &recipe["stage"]["fit"]["set"];
        assert_eq!(set["engines"][0]["name"], "DM");
        assert_eq!(set["engines"][0]["clip_object"], serde_json::json!([0, 1.2]));
        assert_eq!(set["engines"][1]["ML_type"], "poisson");
        assert_eq!(set["illumination"]["modes"], 2);
        assert_eq!(set["min_frames"], 10);
        assert_eq!(set["resample"], 2);
        assert_eq!(set["resolution"], 4.2e-8);
        assert_eq!(set["coherence"], serde_json::json!({ "energies": [0.99, 1.0] }));
        let left = made.left.join("\n");
        assert_eq!(
            left,
            "engines.e01.fft_lib = \"cuda\"\nio.home = \"/tmp\"\nscans.S00.coherence.object_dispersion = \"linear\"\nscans.S00.name = \"BlockFull\""
        );
    }

    #[test]
    fn raw_frames_become_stages_that_prepare_them() {
        let tree = r#"{
            "scans": { "a": { "data": {
                "name": "Hdf5Loader",
                "intensities": { "file": "scan.h5", "key": "entry/data" },
                "positions": { "file": "scan.h5", "slow_key": "/entry/y", "fast_key": "entry/x",
                               "slow_multiplier": 1e-6, "fast_multiplier": -1e-6, "bounding_box": [0, 1] },
                "mask": { "file": "mask.h5", "key": "mask" },
                "darkfield": { "file": "dark.h5", "key": "dark" },
                "energy": 6.2, "distance": 7, "psize": 1e-4, "shape": [64, 64], "center": [60.5, 61],
                "orientation": [true, false, true], "rebin": 2, "num_frames": 30,
                "save": "append", "dfile": "/tmp/out.ptyd", "electron_data": false
            } } },
            "engines": { "e": { "name": "DM" } }
        }"#;
        let made = import(tree).unwrap();
        let recipe: Value = serde_json::to_value(made.recipe.parse::<::toml::Table>().unwrap()).unwrap();
        let stage = &recipe["stage"];
        assert_eq!(stage["raw"]["set"]["path"], "scan.h5::/entry/data");
        let places = serde_json::json!(
            { "slow": "scan.h5::/entry/y", "fast": "scan.h5::/entry/x", "scale": [1e-6, -1e-6] }
        );
        assert_eq!(stage["places"]["set"], places);
        assert_eq!(stage["corrected"]["in"]["dark"], "dark.h5::/dark");
        assert_eq!(stage["frames"]["from"], "corrected");
        assert_eq!(stage["frames"]["in"]["mask"], "mask.h5::/mask");
        // Transposed and mirrored in columns: 4 + 1.
        let set = serde_json::json!({ "shape": 64, "num_frames": 30, "rebin": 2, "orientation": 5,
                                      "center": [60.5, 61], "mask_good": true });
        assert_eq!(stage["frames"]["set"], set);
        assert_eq!(stage["fit"]["set"]["psize"], 2e-4);
        assert_eq!(stage["save"]["set"]["path"], "out.ptyd");
        let left = "scans.a.data.electron_data = false\nscans.a.data.positions.bounding_box = [0,1]\n\
                    scans.a.data.positions.file = \"scan.h5\"";
        assert_eq!(made.left.join("\n"), left);
        let path = std::path::Path::new("made.toml");
        let parsed = isard_core::recipe::parse(&made.recipe, path).unwrap_or_else(|f| panic!("{f}"));
        assert_eq!(parsed.stages.len(), 7);
    }

    #[test]
    fn what_cannot_be_taken_is_an_error_that_says_so() {
        let error =
            import("{\"scans\": {\"a\": {\"data\": {\"name\": \"I13Scan\"}}}, \"engines\": {}}").unwrap_err();
        assert!(error.message().contains("I13Scan"), "{error}");
        assert!(import("{\"scans\": ").unwrap_err().message().contains("no JSON"));
    }
}
