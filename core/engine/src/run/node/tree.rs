//! The fixed binary tree over block numbers along which a reduction merges its parts.

use crate::error::Result;

/// Frame numbers to a block.
pub const BLOCK: u64 = 64;

/// Finished subtrees, leftmost first; level `l` spans `2^l` blocks.
///
/// Blocks are put in order. A block without frames is an empty leaf, so that the tree depends on numbers alone.
pub struct Tree<P> {
    stack: Vec<(u32, Option<P>)>,
    next: u64,
}

impl<P> Default for Tree<P> {
    fn default() -> Self {
        Tree { stack: vec![], next: 0 }
    }
}

impl<P> Tree<P> {
    /// The block that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Puts the part of a block; blocks between the last one and this one are empty.
    pub fn put(&mut self, block: u64, part: P, merge: &mut dyn FnMut(&mut P, P) -> Result<()>) -> Result<()> {
        while self.next < block {
            self.leaf(None, merge)?;
        }
        self.leaf(Some(part), merge)
    }

    fn leaf(&mut self, part: Option<P>, merge: &mut dyn FnMut(&mut P, P) -> Result<()>) -> Result<()> {
        self.stack.push((0, part));
        self.next += 1;
        // Two subtrees of one level on top of the stack are siblings: the count of blocks is a binary counter.
        while let [.., (a, _), (b, _)] = self.stack[..]
            && a == b
        {
            let (level, right) = self.stack.pop().expect("two subtrees are there");
            let (_, left) = self.stack.pop().expect("two subtrees are there");
            self.stack.push((level + 1, join(left, right, merge)?));
        }
        Ok(())
    }

    /// Merges what is left, right to left; none when no block had frames.
    pub fn finish(self, merge: &mut dyn FnMut(&mut P, P) -> Result<()>) -> Result<Option<P>> {
        let mut all = None;
        for (_, part) in self.stack.into_iter().rev() {
            all = join(part, all, merge)?;
        }
        Ok(all)
    }

    /// The finished subtrees with their levels, leftmost first.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (u32, Option<&P>)> {
        self.stack.iter().map(|(level, part)| (*level, part.as_ref()))
    }

    /// A tree of saved subtrees.
    pub fn from_nodes(next: u64, stack: Vec<(u32, Option<P>)>) -> Self {
        Tree { stack, next }
    }
}

fn join<P>(
    left: Option<P>,
    right: Option<P>,
    merge: &mut dyn FnMut(&mut P, P) -> Result<()>,
) -> Result<Option<P>> {
    Ok(match (left, right) {
        (Some(mut left), Some(right)) => {
            merge(&mut left, right)?;
            Some(left)
        }
        (left, right) => left.or(right),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(blocks: &[u64]) -> String {
        let mut merge = |a: &mut String, b: String| {
            *a = format!("({a}{b})");
            Ok(())
        };
        let mut tree = Tree::default();
        for block in blocks {
            tree.put(*block, block.to_string(), &mut merge).unwrap();
        }
        tree.finish(&mut merge).unwrap().unwrap()
    }

    #[test]
    fn the_tree_is_fixed_by_block_numbers() {
        assert_eq!(show(&[0, 1, 2, 3, 4, 5, 6]), "(((01)(23))((45)6))");
        assert_eq!(show(&[0, 3, 6]), "((03)6)");
        assert_eq!(show(&[5]), "5");
    }
}
