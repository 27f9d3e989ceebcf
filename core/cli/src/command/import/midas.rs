//! `isard import midas`: a recipe from a parameter file of the MIDAS near-field programs.

use std::path::{Path, PathBuf};

use clap::Args;
use isard_core::error::Error;
use isard_hedm::import::Wish;

use crate::command::Done;
use crate::show::style;

/// A parameter file, and where the recipe goes.
#[derive(Args)]
pub struct MidasArguments {
    /// The parameter file; its paths count from its folder.
    #[arg(value_name = "PARAMS.txt")]
    file: PathBuf,
    /// The recipe; printed when it is not given.
    #[arg(long, short, value_name = "RECIPE.toml")]
    out: Option<PathBuf>,
    /// The layers, as `2` or `2-5`; without it those of the file, or the first.
    #[arg(long, value_name = "FIRST[-LAST]", value_parser = layers)]
    layers: Option<[u64; 2]>,
    /// Makes a recipe that refines the geometry of the detector, in place of a map.
    #[arg(long)]
    geometry: bool,
}

/// The first and the last layer of `2` or `2-5`.
fn layers(text: &str) -> Result<[u64; 2], String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if 1 <= first && first <= last => Ok([first, last]),
        _ => Err(format!("found `{text}`, wanted a layer from 1 on, or the first and the last as `2-5`")),
    }
}

/// Makes the recipe.
pub fn run(arguments: &MidasArguments) -> Done {
    let path = &arguments.file;
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read", path, &e))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(|e| Error::io("cannot find", folder, &e))?;
    let wish = Wish { layers: arguments.layers, geometry: arguments.geometry };
    let imported =
        isard_hedm::import::import(&text, &folder, &wish).map_err(|e| e.at(path.display().to_string()))?;
    style::complain(&imported.notes.iter().map(|n| format!("{n}\n")).collect::<String>());
    super::put(arguments.out.as_deref(), &imported.recipe)?;
    Ok(0)
}
