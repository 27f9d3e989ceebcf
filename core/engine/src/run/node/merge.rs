//! Reductions whose frames were added elsewhere: the unmerged nodes of all parts, merged along the same tree.

use std::sync::Arc;

use crate::error::Result;
use crate::run::edge::Item;
use crate::run::graph::none;
use crate::run::node::Post;
use crate::run::node::reduce::Saved;
use crate::run::node::tree::Tree;
use crate::span::Ranges;
use crate::stage::{AnyPart, AnyReduce};
use crate::value::Dict;

/// A reduction in a merge of parts.
pub struct MergeNode {
    /// The common part.
    pub post: Post,
    /// The stage.
    pub stage: Arc<dyn AnyReduce>,
    /// What each part kept, in order.
    pub parts: Vec<Dict>,
}

impl MergeNode {
    /// Merges, and gives the one result.
    pub fn run(mut self) -> Result<Dict> {
        // The account of a checkpoint is the one that was given.
        self.post.resumed()?;
        let (mut tree, mut covers) = (Tree::default(), Ranges::default());
        let (post, stage) = (&self.post, &self.stage);
        let mut merge = |a: &mut AnyPart, b: AnyPart| {
            post.check()?;
            post.meter.call("merge", &none(), || stage.merge(&post.cx(), a, b))
        };
        for part in self.parts {
            let saved = Saved::of(&part, &mut |part| {
                post.meter.call("load", &none(), || stage.load(&post.cx(), part))
            })?;
            tree.append(saved.tree, &mut merge)?;
            saved.covers.iter().for_each(|r| covers.add(r.clone()));
        }
        let part = tree.finish(&mut merge)?;
        let output = post.meter.call("finish", &none(), || {
            let cx = post.cx();
            let part = part.map_or_else(|| stage.part(&cx), Ok)?;
            stage.finish(&cx, part)
        })?;
        self.post.snapshot(0, output, &covers, true)?;
        self.post.outlet.send(Item::End)?;
        Ok(self.post.with_ledger(Dict::new()))
    }
}
