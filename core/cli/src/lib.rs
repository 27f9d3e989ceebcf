//! Everything behind the `isard` command.

pub mod command;
pub mod formats;
pub mod notify;
pub mod show;

use isard_core::error::Result;
use isard_core::registry::Registry;

// Naming a plugin crate links it: its declarations are found through the inventory.
use isard_azimuthal as _;
use isard_beamline as _;
use isard_dct as _;
use isard_files as _;
use isard_hedm as _;
use isard_image as _;
use isard_live as _;
use isard_powder as _;
use isard_ptycho as _;
use isard_stem as _;
use isard_tomography as _;

/// The built-in stages, and those of the libraries the user named.
pub fn registry(plugins: &command::Plugins) -> Result<Registry> {
    let mut registry = Registry::built_in()?;
    for path in &plugins.plugin {
        for declaration in isard_core::load::library(path)? {
            registry.add(declaration)?;
        }
    }
    if let Some(folder) = &plugins.plugin_folder {
        for declaration in isard_core::load::folder(folder)? {
            registry.add(declaration)?;
        }
    }
    Ok(registry)
}
