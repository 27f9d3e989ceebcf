//! From a parameter file of the MIDAS near-field programs to a recipe.

use std::fmt::Write;
use std::path::Path;

use isard_core::error::{Error, Result};

use crate::files::Params;

/// A recipe made of a parameter file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The recipe.
    pub recipe: String,
    /// What was odd, and which keys were not used and why.
    pub notes: Vec<String>,
}

/// Keys that the recipe takes.
const USED: [&str; 48] = [
    "DataDirectory",
    "OrigFileName",
    "extOrig",
    "NrFilesPerDistance",
    "StartNr",
    "EndNr",
    "nDistances",
    "Lsd",
    "BC",
    "tx",
    "ty",
    "tz",
    "px",
    "NrPixels",
    "NrPixelsY",
    "NrPixelsZ",
    "Wavelength",
    "SpaceGroup",
    "LatticeParameter",
    "LatticeConstant",
    "MaxRingRad",
    "RingsToUse",
    "OmegaStart",
    "OmegaStep",
    "OmegaRange",
    "BoxSize",
    "ExcludePoleAngle",
    "Wedge",
    "Rsample",
    "GridSize",
    "EdgeLength",
    "GridMask",
    "TomoImage",
    "TomoPixelSize",
    "SeedOrientations",
    "GrainsFile",
    "OrientTol",
    "MinFracAccept",
    "BlanketSubtraction",
    "MedFiltRadius",
    "DoLoGFilter",
    "LoGMaskRadius",
    "GaussFiltRadius",
    "MicFileText",
    "GlobalPosition",
    "MaxAngle",
    "PrecomputedSpotsInfo",
    "GridFileName",
];

/// Keys that are known and not used, with the reason.
const UNUSED: [(&str, &str); 14] = [
    ("NrOrientations", "seeds are counted where they are read"),
    ("OutputDirectory", "a run has its own folder, `--out`"),
    ("ReducedFileName", "reduced frames go from stage to stage, not over files"),
    ("extReduced", "reduced frames go from stage to stage, not over files"),
    ("RawStartNr", "frames are the files of the pattern in natural order"),
    ("MicFileBinary", "it is written beside the text map"),
    ("NearestMisorientation", "the programs read it and do not use it"),
    ("Ice9Input", "reduced files of old programs are not read"),
    ("nCPUs", "`[run] threads` says how many cores a run takes"),
    ("SGNr", "maps take the space group of the crystal"),
    ("SeedOrientationsAll", "what seeds do not explain is searched without seeds"),
    ("GlobalPositionFirstLayer", "each layer is a run of its own; `map.height` says where it lies"),
    ("LayerThickness", "each layer is a run of its own; `map.height` says where it lies"),
    ("TriEdgeSize", "the edge of voxels is `EdgeLength`"),
];

/// Makes a recipe of the text of a parameter file that lies in `folder`.
pub fn import(text: &str, folder: &Path) -> Result<Imported> {
    let (p, warnings) = Params::parse(text);
    let mut notes: Vec<String> =
        warnings.into_iter().map(|w| format!("line {}: {}", w.line, w.what)).collect();
    let mut named = vec![];
    for (key, _) in p.iter().filter(|(key, _)| !USED.contains(key)) {
        if named.contains(&key) {
            continue;
        }
        named.push(key);
        let why =
            UNUSED.iter().find(|(k, _)| *k == key).map_or("no stage has a parameter for it", |(_, why)| why);
        notes.push(format!("`{key}` is not used: {why}"));
    }
    let column = |key: &str| p.rows::<1>(key).map(|rows| rows.into_iter().map(|[x]| x).collect::<Vec<f64>>());
    let or = |key: &str, default: f64| p.number(key).map(|x| x.unwrap_or(default));
    let (lsd, beam) = (column("Lsd")?, p.rows::<2>("BC")?);
    let count = or("nDistances", lsd.len() as f64)? as usize;
    if lsd.is_empty() || lsd.len() != count || beam.len() != count {
        let (l, b) = (lsd.len(), beam.len());
        return Err(Error::data(format!(
            "found {l} lines `Lsd` and {b} lines `BC`, wanted {count} of each (`nDistances`)"
        )));
    }
    let (omega, area) = (p.rows::<2>("OmegaRange")?, p.rows::<4>("BoxSize")?);
    if omega.len() != area.len() || omega.is_empty() {
        let (o, a) = (omega.len(), area.len());
        return Err(Error::data(format!(
            "found {o} lines `OmegaRange` and {a} lines `BoxSize`, wanted as many of each"
        )));
    }
    let windows: Vec<Vec<f64>> = omega.iter().zip(&area).map(|(o, a)| [&o[..], &a[..]].concat()).collect();
    let frames = match (p.number("EndNr")?, p.number("NrFilesPerDistance")?) {
        (Some(end), per) => {
            let n = end - or("StartNr", 0.0)? + 1.0;
            if per.is_some_and(|per| per != n) {
                let per = per.unwrap_or_default();
                notes.push(format!(
                    "`NrFilesPerDistance` is {per}, `StartNr` to `EndNr` are {n} frames; {n} are taken"
                ));
            }
            n
        }
        (None, Some(per)) => per,
        (None, None) => {
            return Err(Error::data(
                "found neither `EndNr` nor `NrFilesPerDistance`, wanted the number of frames",
            ));
        }
    };
    let square = or("NrPixels", 2048.0)?;
    let size = [or("NrPixelsY", square)?, or("NrPixelsZ", square)?];
    let cell = p.rows::<6>("LatticeParameter")?.pop().or(p.rows::<6>("LatticeConstant")?.pop());
    let cell = cell.ok_or_else(|| Error::data("`LatticeParameter` is not in the parameter file"))?;
    let float = |x: f64| if x.fract() == 0.0 { format!("{x:.1}") } else { format!("{x}") };
    let list = |xs: &[f64]| format!("[{}]", xs.iter().map(|x| float(*x)).collect::<Vec<_>>().join(", "));
    let path = |file: &str| {
        let at = folder.join(file);
        format!("{:?}", at.display().to_string())
    };
    let data = p.text("DataDirectory").unwrap_or(".");

    let mut out = String::from("isard = \"0.1\"\nname = \"near-field map\"\n\n[shared.experiment]\n");
    let mut put = |line: String| writeln!(out, "{line}").expect("text grows");
    put(format!("distances = {}", list(&lsd)));
    put(format!("beam = [{}]", beam.iter().map(|b| list(b)).collect::<Vec<_>>().join(", ")));
    put(format!("tilt = {}", list(&[or("tx", 0.0)?, or("ty", 0.0)?, or("tz", 0.0)?])));
    put(format!("pixel = {}", float(p.need("px")?)));
    put(format!("size = [{}, {}]", size[0], size[1]));
    put(format!("wavelength = {}", float(p.need("Wavelength")?)));
    put(format!("cell = {}", list(&cell)));
    put(format!("space_group = {}", p.need("SpaceGroup")?));
    put(format!("ring_radius = {}", float(p.need("MaxRingRad")?)));
    let last = lsd[lsd.len() - 1];
    if last != lsd[0] {
        put(format!("ring_distance = {}    # the list maker takes the last `Lsd`", float(last)));
    }
    let rings = column("RingsToUse")?;
    if !rings.is_empty() {
        put(format!("rings = [{}]", rings.iter().map(|r| r.to_string()).collect::<Vec<_>>().join(", ")));
    }
    put(format!("omega_start = {}", float(p.need("OmegaStart")?)));
    put(format!("omega_step = {}", float(p.need("OmegaStep")?)));
    put(format!("frames = {frames}"));
    put(format!("windows = [{}]", windows.iter().map(|w| list(w)).collect::<Vec<_>>().join(", ")));
    put(format!("exclude_pole = {}", float(or("ExcludePoleAngle", 6.0)?)));
    put(format!("wedge = {}", float(or("Wedge", 0.0)?)));

    let reduced = or("PrecomputedSpotsInfo", 0.0)? != 0.0;
    if reduced {
        let folder = p.text("OutputDirectory").unwrap_or(data);
        put("\n# Frames that were reduced before.\n[stage.reduce]\nuse = \"hedm.bits\"".into());
        put(format!("set = {{ path = {} }}", path(&format!("{folder}/SpotsInfo.bin"))));
    } else {
        put("\n[stage.frames]\nuse = \"tiff.sequence\"".into());
        let (name, ending) = (p.text("OrigFileName").unwrap_or("frame"), p.text("extOrig").unwrap_or("tif"));
        put(format!(
            "set = {{ path = {} }}",
            path(&format!("{data}/{name}_*.{}", ending.trim_start_matches('.')))
        ));
        put("\n[stage.reduce]\nuse = \"hedm.reduce\"\nfrom = \"frames\"\n\n[stage.reduce.set]".into());
        put(format!("background = {}", frames.min(60.0)));
        put(format!("blanket = {}", or("BlanketSubtraction", 0.0)?));
        put(format!("radius = {}", or("MedFiltRadius", 1.0)?));
        if or("DoLoGFilter", 1.0)? != 0.0 {
            put("log = true".into());
            put(format!("log_sigma = {}", float(or("GaussFiltRadius", 1.0)?)));
            put(format!("log_radius = {}", or("LoGMaskRadius", 4.0)?));
        }
    }

    let grid = p.need("GridSize")?;
    let edge = or("EdgeLength", grid)?;
    put("\n[stage.grid]\nuse = \"hedm.grid\"\n\n[stage.grid.set]".into());
    let laid = format!("{data}/{}", p.text("GridFileName").unwrap_or("grid.txt"));
    let there = folder.join(&laid).exists();
    // A grid that lies in the folder is the one that earlier maps of it have.
    if there {
        put(format!("file = {}", path(&laid)));
    } else {
        put(format!(
            "radius = {}\nsize = {}\nedge = {}",
            float(p.need("Rsample")?),
            float(grid),
            float(edge)
        ));
    }
    match (p.text("TomoImage"), p.rows::<4>("GridMask")?.pop()) {
        (Some(file), _) => {
            put(format!("picture = {}", path(&format!("{data}/{file}"))));
            put(format!("picture_pixel = {}", float(p.need("TomoPixelSize")?)));
        }
        (None, Some(mask)) => put(format!("rectangle = {}", list(&mask))),
        _ => (),
    }

    let seeds = match (p.text("SeedOrientations"), p.text("GrainsFile")) {
        (Some(file), _) => Some(("list", file)),
        (None, Some(file)) => Some(("grains", file)),
        _ => None,
    };
    if let Some((word, file)) = seeds {
        put("\n[stage.seeds]\nuse = \"hedm.seeds\"".into());
        put(format!("set = {{ {word} = {} }}", path(&format!("{data}/{file}"))));
    }
    put("\n[stage.fit]\nuse = \"hedm.fit\"\nfrom = \"reduce\"".into());
    put(match seeds {
        Some(_) => "in = { voxels = \"grid.voxels\", seeds = \"seeds.seeds\" }".into(),
        None => "in = { voxels = \"grid.voxels\" }".to_owned(),
    });
    let tolerance = float(or("OrientTol", 2.0)?);
    let accept = float(or("MinFracAccept", 0.04)?);
    put(format!("set = {{ tolerance = {tolerance}, accept = {accept}, search = {} }}", seeds.is_none()));

    let name = p.text("MicFileText").map_or("map", |n| n.trim_end_matches(".mic"));
    let name = name.rsplit('/').next().unwrap_or(name);
    put("\n[stage.map]\nuse = \"hedm.mic\"\nfrom = \"fit\"".into());
    put(format!(
        "set = {{ path = {name:?}, height = {} }}\nrun = {{ take = \"every\" }}",
        float(or("GlobalPosition", 0.0)?)
    ));
    put("\n[stage.grains]\nuse = \"hedm.grains\"\nin = { voxels = \"fit.voxels\" }".into());
    put(format!("set = {{ angle = {}, size = {} }}", float(or("MaxAngle", 1.0)?), float(grid)));
    put("\n[out]\nconfidence = \"fit.confidence\"\nsolved = \"fit.solved\"\ngrains = \"grains.count\"".into());
    Ok(Imported { recipe: out, notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_used_or_named() {
        let text = "nDistances 2\nLsd 8000\nLsd 10000\nBC 985.4 17.5\nBC 985.1 24\npx 1.48\nWavelength 0.17\n\
            SpaceGroup 225\nLatticeParameter 4.08 4.08 4.08 90 90 90\nMaxRingRad 2800\nOmegaStart 180\nOmegaStep -0.25\n\
            StartNr 0\nEndNr 1439\nOmegaRange -180 180\nBoxSize -1200 1200 100 2500\nRsample 50\nGridSize 2.5\n\
            EdgeLength 1\nSeedOrientations seeds.txt\nNrOrientations 4\nDeblur 0\n";
        let made = import(text, Path::new("/data")).unwrap();
        assert!(made.recipe.contains("distances = [8000.0, 10000.0]"), "{}", made.recipe);
        assert!(made.recipe.contains("windows = [[-180.0, 180.0, -1200.0, 1200.0, 100.0, 2500.0]]"));
        assert!(made.recipe.contains("ring_distance = 10000.0") && made.recipe.contains("frames = 1440"));
        assert!(made.recipe.contains("list = \"/data/./seeds.txt\""), "{}", made.recipe);
        assert_eq!(made.notes.len(), 2, "{:?}", made.notes);
        assert!(made.notes[0].contains("`NrOrientations`") && made.notes[1].contains("`Deblur`"));
        let parsed: toml::Table = made.recipe.parse().unwrap();
        assert!(parsed["stage"]["fit"]["set"]["accept"].as_float() == Some(0.04));
        let error = import("nDistances 2\nLsd 1\nBC 1 2\n", Path::new("/")).unwrap_err();
        assert!(error.message().contains("wanted 2 of each"), "{error}");
        assert!(import(&text.replace("BoxSize", "# "), Path::new("/")).is_err());
    }
}
