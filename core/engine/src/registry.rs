//! Declarations of stages, and the registry that finds them by name.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, nearest};
use crate::load::isolate::Apart;
use crate::port::{Port, Ports};
use crate::stage::{Built, Example, Stage};

/// The user's kinds of plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Gives frames.
    Source,
    /// Turns frames into other or fewer numbers.
    Reducer,
    /// Predicts or plays data from a model.
    Simulator,
    /// Finds a model's parameters.
    Fitter,
    /// Writes results.
    Writer,
    /// Anything that runs once.
    Tool,
}

impl Kind {
    /// Every kind, in the order lists show them.
    pub const ALL: [Kind; 6] =
        [Kind::Source, Kind::Reducer, Kind::Simulator, Kind::Fitter, Kind::Writer, Kind::Tool];

    /// The heading of its list.
    pub fn plural(self) -> &'static str {
        ["sources", "reducers", "simulators", "fitters", "writers", "tools"][self as usize]
    }
}

/// The trait a stage implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Role {
    Source,
    Map,
    Fold,
    Reduce,
    Fit,
    Writer,
    Task,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(["source", "map", "fold", "reduce", "fit", "writer", "task"][*self as usize])
    }
}

/// Builds a stage from its checked parameters.
pub type Builder = dyn Fn(serde_json::Value) -> Result<Built> + Send + Sync;

/// Everything the engine knows of a stage before it is built.
#[derive(Clone)]
pub struct Declaration {
    /// `family.what`.
    pub name: String,
    /// The user's kind.
    pub kind: Kind,
    /// The role.
    pub role: Role,
    /// The crate or library it comes from.
    pub origin: String,
    /// The version of that crate.
    pub version: String,
    /// What it does, from the author's doc comment.
    pub doc: String,
    /// The JSON schema of its parameters.
    pub schema: serde_json::Value,
    /// Its input ports.
    pub inputs: Vec<Port>,
    /// Its output ports.
    pub outputs: Vec<Port>,
    /// A cheap pure task that runs in `check`.
    pub early: bool,
    /// Real parameters and input.
    pub example: Arc<dyn Fn() -> Example + Send + Sync>,
    /// Builds it.
    pub build: Arc<Builder>,
    /// Builds it in a host process; none for what is linked.
    pub apart: Option<Apart>,
}

impl Declaration {
    /// The declaration of a typed stage; [`declare!`](crate::declare) calls it.
    pub fn of<S: Stage>(
        name: &str,
        kind: Kind,
        role: Role,
        origin: (&str, &str),
        build: fn(serde_json::Value) -> Result<Built>,
    ) -> Self {
        let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
        let schema = generator.into_root_schema_for::<S>().to_value();
        let doc = schema.get("description").and_then(|d| d.as_str()).unwrap_or_default().to_owned();
        Declaration {
            name: name.to_owned(),
            kind,
            role,
            origin: origin.0.to_owned(),
            version: origin.1.to_owned(),
            doc,
            schema,
            inputs: S::In::ports(),
            outputs: S::Out::ports(),
            early: false,
            example: Arc::new(S::example),
            build: Arc::new(build),
            apart: None,
        }
    }

    /// The first line of the doc.
    pub fn summary(&self) -> &str {
        self.doc.lines().next().unwrap_or_default()
    }
}

impl fmt::Debug for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} of {} {})", self.name, self.role, self.origin, self.version)
    }
}

/// A declaration as it stands in a binary's inventory.
pub struct Entry {
    /// Makes the declaration.
    pub declare: fn() -> Declaration,
}
inventory::collect!(Entry);

/// Declares a stage: its role, its name, its kind and its struct.
///
/// `declare!(Map, "image.mask", Kind::Reducer, Mask);` A `Task` that is cheap and pure may add `early`:
/// `isard check` runs it when its inputs are constants, and an error of it is a fault of the recipe.
#[macro_export]
macro_rules! declare {
    ($role:ident, $name:literal, $kind:expr, $stage:ty $(, $early:ident)?) => {
        $crate::inventory::submit! {
            $crate::registry::Entry {
                declare: || {
                    #[allow(unused_mut)]
                    let mut declaration = $crate::registry::Declaration::of::<$stage>(
                        $name,
                        $kind,
                        $crate::registry::Role::$role,
                        (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
                        $crate::stage::build::$role::<$stage>,
                    );
                    $( declaration.$early = true; )?
                    declaration
                },
            }
        }
    };
}

/// The stages that recipes can name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    stages: BTreeMap<String, Arc<Declaration>>,
}

impl Registry {
    /// The stages linked into this binary.
    pub fn built_in() -> Result<Registry> {
        let mut registry = Registry::default();
        for entry in inventory::iter::<Entry> {
            registry.add((entry.declare)())?;
        }
        Ok(registry)
    }

    /// Adds a stage; a name that is taken is an error that names both origins.
    pub fn add(&mut self, declaration: Declaration) -> Result<()> {
        if let Some(other) = self.stages.get(&declaration.name) {
            let (name, a, b) = (&declaration.name, &other.origin, &declaration.origin);
            return Err(Error::plugin(format!("stage `{name}` is declared twice: by `{a}` and by `{b}`"))
                .help("rename one of them, or load only one"));
        }
        if declaration.early && declaration.role != Role::Task {
            let Declaration { name, role, origin, .. } = &declaration;
            return Err(Error::plugin(format!(
                "stage `{name}` of `{origin}` is a {role} and is declared early"
            ))
            .help("only a task runs in `isard check`: leave out `early`"));
        }
        self.stages.insert(declaration.name.clone(), Arc::new(declaration));
        Ok(())
    }

    /// The stage of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<Declaration>> {
        self.stages.get(name)
    }

    /// The stage of a name, or an error with the nearest one.
    pub fn find(&self, name: &str) -> Result<&Arc<Declaration>> {
        self.get(name).ok_or_else(|| {
            let error = Error::recipe(format!("no stage `{name}`"));
            match self.nearest(name) {
                Some(near) => error.help(format!("did you mean `{near}`? `isard list` shows all")),
                None => error.help("`isard list` shows all"),
            }
        })
    }

    /// The known name nearest to the one written.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.stages.keys().map(String::as_str))
    }

    /// All stages, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Declaration>> {
        self.stages.values()
    }
}
