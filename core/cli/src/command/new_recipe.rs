//! `isard new-recipe`: recipes to start from.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use isard_core::error::Error;
use isard_core::store::{Files, RealFiles};

use crate::command::Done;
use crate::show::style;

/// Arguments of `isard new-recipe`.
#[derive(Args)]
pub struct NewRecipeArguments {
    /// What the frames come from.
    kind: Recipe,
    /// The frames: a folder, a pattern, a file, or `file.h5::/path/of/dataset`.
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// Where the recipe goes; else `KIND.toml`.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The recipes there are.
#[derive(Clone, Copy, ValueEnum)]
enum Recipe {
    /// DECTRIS Eiger: a master file in HDF5.
    Eiger,
    /// DECTRIS Pilatus: a folder of CBF files.
    Pilatus,
    /// LImA: an HDF5 file.
    Lima,
    /// A folder of TIFF files.
    Folder,
}

impl Recipe {
    fn name(self) -> &'static str {
        ["eiger", "pilatus", "lima", "folder"][self as usize]
    }

    fn text(self) -> &'static str {
        match self {
            Recipe::Eiger => include_str!("../../../../recipes/new/eiger.toml"),
            Recipe::Pilatus => include_str!("../../../../recipes/new/pilatus.toml"),
            Recipe::Lima => include_str!("../../../../recipes/new/lima.toml"),
            Recipe::Folder => include_str!("../../../../recipes/new/folder.toml"),
        }
    }

    /// The path that stands in the recipe.
    fn path(self) -> &'static str {
        match self {
            Recipe::Eiger => "scan_master.h5",
            Recipe::Lima => "scan_0000.h5::/entry_0000/measurement/data",
            Recipe::Pilatus | Recipe::Folder => "frames",
        }
    }
}

/// Writes a recipe.
pub fn run(arguments: &NewRecipeArguments) -> Done {
    let kind = arguments.kind;
    let out = arguments.out.clone().unwrap_or_else(|| format!("{}.toml", kind.name()).into());
    let mut text = kind.text().to_owned();
    // A master file speaks for its datasets.
    let whole = |data: &String| data.split("::").next().unwrap_or(data).to_owned();
    let data = arguments.data.as_ref().map(|data| match kind {
        Recipe::Eiger => whole(data),
        _ => data.clone(),
    });
    if let Some(data) = &data {
        let quoted = |path: &str| format!("path = {}", serde_json::Value::from(path));
        text = text.replacen(&quoted(kind.path()), &quoted(data), 1);
    }
    RealFiles.write_new(&out, text.as_bytes()).map_err(|e| {
        let error = Error::io("cannot write", &out, &e);
        if e.kind() == std::io::ErrorKind::AlreadyExists {
            error.help("name another file with `--out`")
        } else {
            error
        }
    })?;
    let (shown, name) = (out.display(), kind.name());
    let path = data.as_deref().unwrap_or(kind.path());
    style::print(&format!(
        "wrote {shown}, which reads {path}\n\nnext:\n  isard check {shown}\n  isard run {shown}   # outputs in runs/{name}-001\n"
    ));
    Ok(0)
}
