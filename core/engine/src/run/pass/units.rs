//! What the engine adds to a writer's files: the units of its inputs, and signs of life.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Result;
use crate::plan::{Feed, Node, NodeId, Plan, What};
use crate::port::PortKind;
use crate::run::control::Meter;
use crate::stage::Output;

/// An output that knows the units of its writer's inputs; each file it writes is a piece of the writer's work.
pub struct Measured {
    inner: Arc<dyn Output>,
    units: BTreeMap<String, String>,
    meter: Arc<Meter>,
}

impl Measured {
    /// Adds both to an output: a writer of many files does not hang while they come.
    pub fn over(inner: Arc<dyn Output>, plan: &Plan, id: NodeId, meter: Arc<Meter>) -> Arc<dyn Output> {
        Arc::new(Measured { inner, units: units(plan, id), meter })
    }

    fn piece<T>(&self, done: Result<T>) -> Result<T> {
        self.meter.beat.strike();
        done
    }
}

impl Output for Measured {
    fn seal(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.piece(self.inner.seal(path, bytes))
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.piece(self.inner.replace(path, bytes))
    }

    fn record(&self) -> String {
        self.inner.record()
    }

    fn seal_all(&self, files: &mut dyn Iterator<Item = Result<(String, Vec<u8>)>>) -> Result<()> {
        self.piece(self.inner.seal_all(&mut files.inspect(|_| self.meter.beat.strike())))
    }

    fn replace_pieces(&self, path: &str, pieces: &mut dyn Iterator<Item = Result<Vec<u8>>>) -> Result<()> {
        self.piece(self.inner.replace_pieces(path, &mut pieces.inspect(|_| self.meter.beat.strike())))
    }

    fn draft(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.piece(self.inner.draft(path, bytes))
    }

    fn drafted(&self, path: &str) -> Result<Vec<u8>> {
        self.piece(self.inner.drafted(path))
    }

    fn commit_drafts(&self, paths: &[String]) -> Result<()> {
        self.piece(self.inner.commit_drafts(paths))
    }

    fn end_drafts(&self, paths: &[String]) -> Result<()> {
        self.piece(self.inner.end_drafts(paths))
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
