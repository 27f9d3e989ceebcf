//! The crate that `isard new-plugin` writes.

use std::path::Path;

use crate::error::{Error, Result};

const FILES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("Cargo.toml.in")),
    ("README.md", include_str!("README.md.in")),
    ("recipe.toml", include_str!("recipe.toml.in")),
    ("src/lib.rs", include_str!("lib.rs.in")),
];

/// Writes a plugin crate into a folder that must not be there yet.
///
/// `core` is the path of `isard-core` for a build without a network; else the tag of this release is used.
pub fn write(name: &str, folder: &Path, core: Option<&Path>) -> Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(fits) {
        return Err(Error::recipe(format!(
            "found the name `{name}`, wanted lower case, digits, `-` and `_`"
        ))
        .help("start it with a letter: `my-plugin`"));
    }
    if folder.exists() {
        return Err(Error::recipe(format!("{} is there already", folder.display()))
            .help("choose another name, or move the folder away"));
    }
    let core = match core {
        Some(path) => {
            let real = path.canonicalize().map_err(|e| Error::io("cannot find isard-core at", path, &e))?;
            if !real.join("Cargo.toml").is_file() {
                return Err(Error::recipe(format!("found no Cargo.toml in {}", real.display()))
                    .help("give the folder of isard-core: `--core isard/core/engine`"));
            }
            format!("{{ path = {} }}", toml::Value::from(real.display().to_string()))
        }
        None => release(env!("CARGO_PKG_REPOSITORY"), env!("CARGO_PKG_VERSION"))?,
    };
    let family = name.replace('-', "_");
    for (path, text) in FILES {
        let text = text.replace("{crate}", name).replace("{family}", &family).replace("{core}", &core);
        put(&folder.join(path), &text)?;
    }
    Ok(())
}

/// The dependency on a release.
fn release(repository: &str, version: &str) -> Result<String> {
    if repository.is_empty() {
        return Err(Error::recipe("this build of isard does not say where its releases are")
            .help("give the folder of isard-core: `--core isard/core/engine`"));
    }
    Ok(format!("{{ git = \"{repository}\", tag = \"v{version}\" }}"))
}

fn put(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("cannot make", folder, &e))?;
    }
    std::fs::write(path, text).map_err(|e| Error::io("cannot write", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_path_the_tag_of_the_release_is_named() {
        let line = release("https://example.org/isard", "0.1.0").unwrap();
        assert_eq!(line, r#"{ git = "https://example.org/isard", tag = "v0.1.0" }"#);
        assert!(release("", "0.1.0").unwrap_err().advice().is_some_and(|help| help.contains("--core")));
    }
}
