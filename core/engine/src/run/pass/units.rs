//! Units of what a writer takes, as the ports that feed it state them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Result;
use crate::plan::{Feed, Node, NodeId, Plan, What};
use crate::port::PortKind;
use crate::stage::Output;

/// An output that knows the units of its writer's inputs.
pub struct Measured {
    inner: Arc<dyn Output>,
    units: BTreeMap<String, String>,
}

impl Measured {
    /// Adds the units to an output.
    pub fn over(inner: Arc<dyn Output>, plan: &Plan, id: NodeId) -> Arc<dyn Output> {
        Arc::new(Measured { inner, units: units(plan, id) })
    }
}

impl Output for Measured {
    fn seal(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.inner.seal(path, bytes)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.inner.replace(path, bytes)
    }

    fn record(&self) -> String {
        self.inner.record()
    }

    fn seal_all(&self, files: &mut dyn Iterator<Item = Result<(String, Vec<u8>)>>) -> Result<()> {
        self.inner.seal_all(files)
    }

    fn replace_pieces(&self, path: &str, pieces: &mut dyn Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
        self.inner.replace_pieces(path, pieces)
    }

    fn draft(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.inner.draft(path, bytes)
    }

    fn drafted(&self, path: &str) -> Result<Vec<u8>> {
        self.inner.drafted(path)
    }

    fn commit_drafts(&self, paths: &[String]) -> Result<()> {
        self.inner.commit_drafts(paths)
    }

    fn end_drafts(&self, paths: &[String]) -> Result<()> {
        self.inner.end_drafts(paths)
    }

    fn units(&self) -> BTreeMap<String, String> {
        self.units.clone()
    }
}

fn units(plan: &Plan, id: NodeId) -> BTreeMap<String, String> {
    let mut units = BTreeMap::new();
    for (name, feed) in &plan.nodes[id].inputs {
        let fed = match feed {
            Feed::Stream(key) => key.as_str().split_once('.').and_then(|(stage, port)| {
                // The same name in another pass is the same stage.
                Some((plan.nodes.iter().find(|node| node.name == stage)?, port))
            }),
            Feed::Final { node, port } | Feed::Latched { node, port } => {
                Some((&plan.nodes[*node], port.as_str()))
            }
            _ => None,
        };
        if let Some((node, port)) = fed {
            of_port(node, port, name.as_str(), &mut units);
        }
    }
    units
}

/// The units of one port, under the name that the writer gives it.
fn of_port(node: &Node, port: &str, name: &str, units: &mut BTreeMap<String, String>) {
    let What::Stage(declaration) = &node.what else { return };
    let Some(port) = declaration.outputs.iter().find(|p| p.name == port) else { return };
    if let Some(unit) = &port.unit {
        units.insert(name.to_owned(), unit.to_string());
    }
    if let PortKind::Table { columns } = &port.kind {
        let stated = columns.iter().filter_map(|c| Some((c, c.unit.as_ref()?)));
        units.extend(stated.map(|(column, unit)| (format!("{name}.{}", column.name), unit.clone())));
    }
}
