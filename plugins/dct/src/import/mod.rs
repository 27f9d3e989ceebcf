//! Parameter files of the existing program as a recipe.

mod keys;
mod yaml;

use std::fmt::Write;
use std::path::Path;

use isard_core::prelude::*;

use keys::Found;

/// A recipe, and what was found where.
#[derive(Debug)]
pub struct Imported {
    /// The recipe as text.
    pub recipe: String,
    /// One line for every value that was taken, and for every key that has no counterpart.
    pub notes: Vec<String>,
}

/// Makes a recipe of parameter files, given as path and text; later files win.
///
/// Both the flat names of the reference and the nested ones are understood; a key that is neither is an error.
pub fn recipe(files: &[(&Path, String)]) -> Result<Imported> {
    let mut found = Found::default();
    for (path, text) in files {
        found.take(path, text).map_err(|e| e.at(path.display().to_string()))?;
    }
    found.fill()?;
    let data = found.source("data").ok_or_else(|| {
        Error::recipe("the files name no data").help("give `data_filepath` and `data_datalink`")
    })?;
    let mut out = String::new();
    let mut line = |text: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{text}");
    };
    line("# Made from parameter files of the DCT pipeline by `isard import dct`.");
    line("isard = \"0.1\"\nname = \"dct\"\n\n[stage.frames]");
    line(&format!("use = \"{}\"\n\n[stage.frames.set]\npath = {data:?}", found.reader("data")?));
    let omega = found.text("omega_datalink");
    if let Some(link) = &omega {
        line(&format!("columns = {{ omega = {link:?} }}"));
    }
    let turn = turn(&found, omega.is_some())?;
    if let Some(set) = &turn {
        line(&format!("\n[stage.omega]\nuse = \"dct.omega\"\nfrom = \"frames\"\nset = {set}"));
    }
    let mut from = "frames";
    let dark = found.source("dark");
    let method = found.text("normalization").unwrap_or_else(|| "none".into());
    let float = method != "none" || found.text("pixel_mask").is_some();
    if float && let Some(dark) = &dark {
        line(&format!("\n[stage.dark]\nuse = \"dct.dark\"\nin = {{ stack = {{ file = {dark:?} }} }}"));
        found.set(&mut line, "dark", &["dark_zwise_reduction"]);
    }
    // Dark, mask and factors are taken on the way to the median: frames stay raw until then.
    let mut inputs = vec!["image = \"frames.image\"".to_owned()];
    if float {
        inputs.extend(dark.is_some().then(|| "dark = \"dark.dark\"".to_owned()));
        inputs.extend(found.path("pixel_mask").map(|m| format!("mask = {{ file = {m:?} }}")));
    }
    if method != "none" {
        let wired = inputs.join(", ");
        line(&format!("\n[stage.even]\nuse = \"dct.normalize\"\nfrom = \"frames\"\nin = {{ {wired} }}"));
        found.set(&mut line, "even", &["normalization", "margin_boxes", "target"]);
        line("apply = false");
        inputs.push("factor = \"even.factor\"".to_owned());
        from = "even";
    }
    let inputs = inputs.join(", ");
    line(&format!("\n[stage.background]\nuse = \"dct.background\"\nfrom = \"{from}\"\nin = {{ {inputs} }}"));
    let background = ["method", "window", "stride", "edge", "batch", "interval", "range", "save_backgrounds"];
    found.set(&mut line, "background", &background);
    line("\n[stage.clean]\nuse = \"image.median\"\nfrom = \"background\"");
    if found.text("median_filter_x").is_none() && found.text("median_filter_y").is_none() {
        line("set = { median_filter_y = 1, median_filter_x = 1 }");
    } else {
        found.set(&mut line, "clean", &["median_filter_y", "median_filter_x"]);
    }
    let mut clean = "clean";
    if matches!(found.text("residual_offset").as_deref(), Some("median" | "true")) {
        line("\n[stage.residual]\nuse = \"dct.residual\"\nfrom = \"clean\"");
        found.set(&mut line, "residual", &["residual_step", "exclude_box"]);
        clean = "residual";
    }
    let preprocessed = found.text("preprocessed_save").as_deref() == Some("true");
    let backgrounds = found.text("save_backgrounds").as_deref() == Some("true");
    if backgrounds && !preprocessed {
        line(
            "\n[stage.thin]\nuse = \"dct.thin\"\nfrom = \"background\"\nin = { image = \"background.background\" }",
        );
        if found.text("every").is_some() {
            found.set(&mut line, "thin", &["every"]);
        } else {
            line("set = { every = 1 }");
        }
        line(
            "\n[stage.backgrounds]\nuse = \"hdf5.write\"\nfrom = \"thin\"\nin = { background = \"thin.image\" }",
        );
        line("set = { path = \"backgrounds.h5\", signal = \"background\" }");
    }
    let wired_omega = match (omega.is_some(), turn.is_some()) {
        (true, _) => ", omega = \"frames.omega\"",
        (_, true) => ", omega = \"omega.omega\"",
        _ => "",
    };
    if preprocessed {
        let path = found.text("preprocessed_filepath").unwrap_or_else(|| "preprocessed.h5".into());
        let name = Path::new(&path).file_name().map_or(path.clone(), |n| n.to_string_lossy().into_owned());
        let mut more = wired_omega.to_owned();
        if method != "none" {
            more += ", margin_mean = \"even.margin_mean\", factor = \"even.factor\"";
        }
        if float && dark.is_some() {
            more += ", dark = \"dark.dark\"";
        }
        if backgrounds {
            more += ", backgrounds = \"background.background\"";
        }
        line(&format!(
            "\n[stage.preprocessed]\nuse = \"dct.preprocessed\"\nfrom = \"{clean}\"\nin = {{ image = \"{clean}.image\"{more} }}"
        ));
        line(&format!("\n[stage.preprocessed.set]\npath = {name:?}"));
        for (key, there) in [("preprocessed_dtype", true), ("every", backgrounds)] {
            if let Some(value) = found.text(key).filter(|_| there) {
                match key {
                    "every" => line(&format!("save_backgrounds_every = {value}")),
                    _ => line(&format!("{key} = {value:?}")),
                }
            }
        }
    }
    if found.text("threshold").is_some() {
        let mut more = wired_omega.to_owned();
        more += ", full = \"background.full\", covered = \"background.covered\"";
        if let Some(mask) = found.path("pixel_mask").filter(|_| found.text("bridge_mask").is_some()) {
            more += &format!(", mask = {{ file = {mask:?} }}");
        }
        line(&format!(
            "\n[stage.segment]\nuse = \"dct.segment\"\nfrom = \"{clean}\"\nin = {{ image = \"{clean}.image\"{more} }}"
        ));
        found.set(&mut line, "segment", &keys::SEGMENT);
        line("\n[stage.spots]\nuse = \"dct.difspots\"\nfrom = \"segment\"");
        found.set(&mut line, "spots", &["output", "dir"]);
    }
    Ok(Imported { recipe: out, notes: found.notes })
}

/// The parameters of `dct.omega`, where angles are said by their start and step.
fn turn(found: &Found, linked: bool) -> Result<Option<String>> {
    match (found.text("omega_start"), found.text("omega_step")) {
        (None, None) => Ok(None),
        (_, Some(_)) if linked => Err(Error::recipe("found `omega.datalink` and `omega.step`")
            .help("angles come from a dataset, or from `start` and `step`")),
        (start, Some(step)) => {
            Ok(Some(format!("{{ start = {}, step = {step} }}", start.as_deref().unwrap_or("0.0"))))
        }
        (Some(_), None) => Err(Error::recipe("found `omega.start` without `omega.step`")
            .help("the angle of a frame is `start` plus its number times `step`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_and_nested_names_come_to_one_recipe() {
        let flat = "confirm_execution: true\ndata_filepath: a.h5\ndata_datalink: /2.3/measurement/marana\n\
                    dark_filepath: a.h5\ndark_datalink: /4.1/measurement/marana\nnormalization: margin\n\
                    margin_bounding_box_2d: [[1308, 894], [1322, 1164]]\nmedian_filter_x: 3\nmedian_filter_y: 3\n";
        let nested = "segment:\n  threshold: 60  # counts\n  bb_max: [20, 150, 150]\n  gap: split\n\
                      \x20 exclude_box: {x: [664, 1384], y: [705, 1343]}\n  output: {kind: both, dir: difspots}\n\
                      preprocess:\n  background: {window: 21, stride: 5, edge: wrap, save: false}\n";
        let files =
            [(Path::new("/data/p.yml"), flat.to_owned()), (Path::new("/data/s.yml"), nested.to_owned())];
        let imported = recipe(&files).unwrap();
        let table: toml::Table = imported.recipe.parse().unwrap();
        let stage = |name: &str| table["stage"][name].clone();
        assert_eq!(stage("frames")["set"]["path"].as_str(), Some("/data/a.h5::/2.3/measurement/marana"));
        assert_eq!(
            stage("dark")["in"]["stack"]["file"].as_str(),
            Some("/data/a.h5::/4.1/measurement/marana")
        );
        assert_eq!(stage("even")["set"]["margin_boxes"][0][1][0].as_integer(), Some(1322));
        assert_eq!(stage("background")["set"]["edge"].as_str(), Some("wrap"));
        assert_eq!(stage("clean")["set"]["median_filter_x"].as_integer(), Some(3));
        assert_eq!(stage("segment")["set"]["exclude_box"]["y"][1].as_integer(), Some(1343));
        assert_eq!(stage("spots")["set"]["output"].as_str(), Some("both"));
        assert!(
            imported.notes.iter().any(|n| n == "/data/s.yml::segment.threshold = 60"),
            "{:?}",
            imported.notes
        );
        assert!(
            imported.notes.iter().any(|n| n.contains("confirm_execution") && n.contains("no counterpart"))
        );
    }

    #[test]
    fn backgrounds_and_a_residual_offset_have_stages_of_their_own() {
        let text = "preprocess:\n  data: {filepath: a.h5, datalink: /d}\n  dark: {filepath: d.h5, datalink: /k}\n\
                    \x20 normalization: margin\n  margin_boxes: [{x: [1, 5], y: [2, 9]}]\n\
                    \x20 background: {window: 21, save: true, save_every: 20}\n\
                    \x20 residual_offset: median\n  residual_step: 4\nsegment:\n  threshold: 60\n";
        let imported = recipe(&[(Path::new("p.yml"), text.to_owned())]).unwrap();
        let table: toml::Table = imported.recipe.parse().unwrap();
        let stage = |name: &str| table["stage"][name].clone();
        assert_eq!(stage("even")["set"]["apply"].as_bool(), Some(false));
        let inputs = ["image", "dark", "factor"].map(|port| stage("background")["in"][port].clone());
        assert_eq!(
            inputs.map(|i| i.as_str().unwrap().to_owned()),
            ["frames.image", "dark.dark", "even.factor"]
        );
        assert_eq!(stage("thin")["set"]["every"].as_integer(), Some(20));
        assert_eq!(stage("residual")["set"]["residual_step"].as_integer(), Some(4));
        assert_eq!(stage("segment")["in"]["image"].as_str(), Some("residual.image"));
    }

    /// The parameters of the specification, section 9, and what stands for other things in paths.
    #[test]
    fn the_example_of_the_specification_is_understood() {
        let text = "\
preprocess:
  data: {filepath: brng_dct2.h5, datalink: /2.3/measurement/marana, input_format: hdf5}
  dark: {filepath: 'silx:brng_dct2.h5?path=/4.1/measurement/marana', zwise_reduction: mean}
  omega: {datalink: '/{scan}/measurement/diffrz'}
  pixel_mask: mask.npy
  force_float32: true
  normalization: margin
  margin_boxes: [{x: [717, 758], y: [799, 1249]}, {x: [1290, 1331], y: [799, 1249]}]
  target: first
  background: {method: moving, window: 21, stride: 5, edge: wrap, batch: 16, save: true, save_every: 50}
  median_filter_x: 3
  median_filter_y: 3
  preprocessed: {save: true, filepath: brng_dct2.preprocessed.h5}
segment:
  threshold: 60          # T, in counts after pre-processing
  tolerance: 0.2         # tau
  bb_max: [20, 150, 150] # z, y, x
  connectivity: 26
  wrap: true
  overlap: suppress
  gap: split
  min_seed_voxels: 10
  min_blob_size: [1, 3, 3]
  bridge_mask: 1
  exclude_box: {x: [664, 1384], y: [705, 1343]}
  output: {kind: both, dir: difspots}
scan: 2.3
";
        let imported = recipe(&[(Path::new("/data/run.yml"), text.to_owned())]).unwrap();
        let table: toml::Table = imported.recipe.parse().unwrap();
        let stage = |name: &str| table["stage"][name].clone();
        let text = |value: &toml::Value| value.as_str().unwrap_or_default().to_owned();
        let link = "/data/brng_dct2.h5::/4.1/measurement/marana";
        assert_eq!(text(&stage("dark")["in"]["stack"]["file"]), link);
        assert_eq!(text(&stage("frames")["set"]["columns"]["omega"]), "/2.3/measurement/diffrz");
        assert_eq!(text(&stage("background")["in"]["mask"]["file"]), "/data/mask.npy");
        assert_eq!(stage("background")["set"]["stride"].as_integer(), Some(5));
        assert_eq!(text(&stage("preprocessed")["use"]), "dct.preprocessed");
        assert_eq!(text(&stage("preprocessed")["set"]["path"]), "brng_dct2.preprocessed.h5");
        assert_eq!(stage("preprocessed")["set"]["save_backgrounds_every"].as_integer(), Some(50));
        assert_eq!(text(&stage("preprocessed")["in"]["factor"]), "even.factor");
        assert_eq!(text(&stage("segment")["in"]["mask"]["file"]), "/data/mask.npy");
        assert_eq!(text(&stage("segment")["in"]["full"]), "background.full");
        // The environment has no such name, and no other placeholder is known.
        for (path, wanted) in [
            ("${env:ISARD_NOT_THERE}/a.h5", "the environment has no `ISARD_NOT_THERE`"),
            ("{sample}/a.h5", "found the placeholder `sample`"),
            ("{scan}/a.h5", "no file says which `scan` it is"),
        ] {
            let error = recipe(&[(Path::new("p.yml"), format!("data_filepath: '{path}'\n"))]).unwrap_err();
            assert!(error.message().contains(wanted), "{}", error.message());
        }
    }

    #[test]
    fn angles_come_from_a_dataset_or_from_start_and_step() {
        let read = |more: &str| {
            let text =
                format!("data: {{filepath: 'silx:a.h5?path=/d&slice=0:100'}}\nthreshold: 60\n{more}\n");
            recipe(&[(Path::new("/data/p.yml"), text)])
        };
        let table: toml::Table = read("omega: {start: 90, step: -0.1}").unwrap().recipe.parse().unwrap();
        let stage = |name: &str| table["stage"][name].clone();
        assert_eq!(stage("frames")["set"]["path"].as_str(), Some("/data/a.h5::/d[0:100]"));
        assert_eq!(stage("omega")["set"]["step"].as_float(), Some(-0.1));
        assert_eq!(stage("segment")["in"]["omega"].as_str(), Some("omega.omega"));
        for wrong in ["omega: {datalink: /w, step: 0.1}", "omega: {start: 90}"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_keys_name_the_nearest() {
        let files = [(Path::new("p.yml"), "data_filepath: a.h5\nthreshhold: 3\n".to_owned())];
        let error = recipe(&files).unwrap_err();
        assert_eq!(error.message(), "line 2: unknown key `threshhold`");
        assert_eq!(error.advice(), Some("the nearest key is `threshold`"));
    }
}
