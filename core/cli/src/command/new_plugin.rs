//! `isard new-plugin`.

use std::path::PathBuf;

use clap::Args;

use crate::command::Done;
use crate::show::style;

/// Arguments of `isard new-plugin`.
#[derive(Args)]
pub struct NewPluginArguments {
    /// The name of the crate: lower case, digits, `-`.
    name: String,
    /// Where it goes; a folder of its name is made there.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// The path of a checkout's `core/engine`, to build without a network.
    #[arg(long, value_name = "PATH")]
    core: Option<PathBuf>,
}

/// Writes a new plugin crate.
pub fn run(arguments: &NewPluginArguments) -> Done {
    let folder = arguments.folder.join(&arguments.name);
    isard_core::template::write(&arguments.name, &folder, arguments.core.as_deref())?;
    let folder = folder.display();
    style::print(&format!(
        "wrote {folder}\n\nnext:\n  cd {folder}\n  cargo test\n  cargo build --release\n  isard run recipe.toml --plugin target/release/lib{}.so\n",
        arguments.name.replace('-', "_")
    ));
    Ok(0)
}
