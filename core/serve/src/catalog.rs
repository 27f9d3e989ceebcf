//! The plugins and recipes that jobs may name.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use isard_core::error::{Context, Error, Result, nearest};
use isard_core::load;
use isard_core::registry::{Declaration, Registry, Role};

use crate::bind::Task;
use crate::config::Config;

/// What a job runs.
pub enum Plugin {
    /// A task, built in or loaded.
    Task(Task),
    /// A recipe.
    Recipe(RecipeFile),
}

/// A recipe that is offered to jobs.
pub struct RecipeFile {
    /// `recipe.NAME`.
    pub name: String,
    /// Where it stands.
    pub path: PathBuf,
    /// What it does: the comment it begins with.
    pub doc: String,
}

impl Plugin {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Plugin::Task(task) => &task.declaration.name,
            Plugin::Recipe(recipe) => &recipe.name,
        }
    }

    /// What it does.
    pub fn doc(&self) -> &str {
        match self {
            Plugin::Task(task) => &task.declaration.doc,
            Plugin::Recipe(recipe) => &recipe.doc,
        }
    }

    /// The first line of what it does.
    pub fn summary(&self) -> &str {
        self.doc().lines().next().unwrap_or_default()
    }
}

/// One moment of the catalog: jobs that run keep the one they began with.
#[derive(Default)]
struct Known {
    plugins: BTreeMap<String, Arc<Plugin>>,
    registry: Registry,
}

/// The plugins and recipes that jobs may name.
pub struct Catalog {
    known: RwLock<Arc<Known>>,
    libraries: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    recipes: Vec<PathBuf>,
    /// Where copies of changed libraries are loaded from.
    copies: Option<PathBuf>,
    /// Libraries as they are loaded: the digest, and the declarations.
    loaded: Mutex<HashMap<PathBuf, (String, Vec<Declaration>)>>,
    stamp: Mutex<Stamp>,
}

/// Names, times and sizes of all that can change.
type Stamp = Vec<(PathBuf, Option<SystemTime>, u64)>;

impl Catalog {
    /// Everything that the configuration names.
    pub fn new(config: &Config) -> Result<Catalog> {
        let catalog = Catalog {
            known: RwLock::default(),
            libraries: config.libraries.clone(),
            folders: config.plugin_folders.clone(),
            recipes: config.recipe_folders.clone(),
            copies: config.folder.as_ref().map(|f| f.join("plugins")),
            loaded: Mutex::default(),
            stamp: Mutex::default(),
        };
        catalog.reload()?;
        Ok(catalog)
    }

    /// The plugin of a name, in whatever case; an error names the nearest.
    pub fn find(&self, name: &str) -> Result<Arc<Plugin>> {
        let known = self.known();
        let found = match name.bytes().any(|b| b.is_ascii_uppercase()) {
            true => known.plugins.get(&name.to_lowercase()),
            false => known.plugins.get(name),
        };
        if let Some(plugin) = found {
            return Ok(plugin.clone());
        }
        let lower = name.to_lowercase();
        if !lower.contains('.') {
            return Err(Error::recipe(format!("no plugin `{name}`: names are `module.thing`"))
                .help(near(&known, &lower)));
        }
        if let Some(stage) = known.registry.get(&lower) {
            let role = stage.role;
            return Err(Error::recipe(format!("`{lower}` is a {role}, and jobs run tasks and recipes"))
                .help("put it into a recipe, and the recipe into a folder that the server was given"));
        }
        Err(Error::recipe(format!("no plugin `{name}`")).help(near(&known, &lower)))
    }

    /// All plugins by name.
    pub fn list(&self) -> Vec<Arc<Plugin>> {
        self.known().plugins.values().cloned().collect()
    }

    /// The stages that recipes may use.
    pub fn registry(&self) -> Registry {
        self.known().registry.clone()
    }

    /// Whether a library, a folder of plugins or a recipe has changed since it was looked at.
    pub fn changed(&self) -> bool {
        *lock(&self.stamp) != self.stamp_now()
    }

    /// Looks at all folders again; jobs that run keep what they began with. On an error nothing changes.
    pub fn reload(&self) -> Result<()> {
        *lock(&self.stamp) = self.stamp_now();
        let mut registry = Registry::built_in()?;
        let mut libraries = self.libraries.clone();
        for folder in &self.folders {
            libraries.extend(load::libraries(folder)?);
        }
        for library in &libraries {
            for declaration in self.library(library)? {
                registry.add(declaration).at(|| format!("plugin {}", library.display()))?;
            }
        }
        let mut plugins = BTreeMap::new();
        for stage in registry.iter().filter(|d| d.role == Role::Task) {
            let key = stage.name.to_lowercase();
            plugins.insert(key, Arc::new(Plugin::Task(Task::new(stage.clone()))));
        }
        for folder in &self.recipes {
            for recipe in recipes(folder)? {
                let key = recipe.name.to_lowercase();
                if plugins.contains_key(&key) {
                    return Err(Error::recipe(
                        format!("`{key}` stands for two things")
                            + &format!(": {} is one of them", recipe.path.display()),
                    )
                    .help("rename the recipe"));
                }
                plugins.insert(key, Arc::new(Plugin::Recipe(recipe)));
            }
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Known { plugins, registry });
        Ok(())
    }

    /// The declarations of a library as it is now.
    ///
    /// A library is never unloaded, and a changed one cannot be loaded under its path: it is loaded from a copy whose
    /// name is its digest, so that running jobs keep the code they began with.
    fn library(&self, path: &Path) -> Result<Vec<Declaration>> {
        let digest = load::hash(path)?;
        let mut loaded = lock(&self.loaded);
        if let Some((known, declarations)) = loaded.get(path)
            && *known == digest
        {
            return Ok(declarations.clone());
        }
        let declarations = match load::library(path) {
            Ok(declarations) => declarations,
            // Trust comes first in `load`: only a library that may be loaded is found to have changed.
            Err(error) if error.message().contains("has changed since it was loaded") => {
                self.copy(path, &digest).and_then(|copy| load::recorded(&copy, &digest))?
            }
            Err(error) => return Err(error),
        };
        loaded.insert(path.to_owned(), (digest, declarations.clone()));
        Ok(declarations)
    }

    fn copy(&self, path: &Path, digest: &str) -> Result<PathBuf> {
        let Some(folder) = &self.copies else {
            return Err(Error::plugin(format!("plugin {} has changed", path.display()))
                .help("a server with a folder of its own loads it anew: give it one"));
        };
        private(folder)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let copy = folder.join(format!("{stem}-{}.{}", &digest[..16], std::env::consts::DLL_EXTENSION));
        if !copy.exists() {
            let beside = copy.with_extension("part");
            let copied = std::fs::copy(path, &beside).and_then(|_| std::fs::rename(&beside, &copy));
            copied.map_err(|e| Error::io("cannot copy the plugin to", &copy, &e))?;
        }
        Ok(copy)
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stamp_now(&self) -> Stamp {
        let mut paths = self.libraries.clone();
        for folder in self.folders.iter().chain(&self.recipes) {
            let listed = std::fs::read_dir(folder).into_iter().flatten().flatten();
            paths.extend(listed.map(|e| e.path()));
        }
        paths.sort();
        let about = |path: PathBuf| {
            let meta = path.metadata().ok();
            let size = meta.as_ref().map_or(0, std::fs::Metadata::len);
            (path, meta.and_then(|m| m.modified().ok()), size)
        };
        paths.into_iter().map(about).collect()
    }
}

fn near(known: &Known, name: &str) -> String {
    match nearest(name, known.plugins.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`? `listPlugins` names all"),
        None => "`listPlugins` names all".into(),
    }
}

/// Makes a folder that only its owner can write to.
fn private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| Error::io("cannot make the folder", folder, &e))
}

/// The recipes of a folder.
fn recipes(folder: &Path) -> Result<Vec<RecipeFile>> {
    let failed = |e: std::io::Error| Error::io("cannot list the recipe folder", folder, &e);
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|e| e != "toml") || !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io("cannot read", &path, &e))?;
        let comment = text.lines().take_while(|l| l.starts_with('#'));
        let comment: Vec<&str> = comment.map(|l| l.trim_start_matches('#').trim()).collect();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        found.push(RecipeFile { name: format!("recipe.{stem}"), doc: comment.join("\n"), path });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
