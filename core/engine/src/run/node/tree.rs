//! The fixed binary tree over block numbers along which a reduction merges its parts.

use crate::error::Result;

/// Frame numbers to a block.
pub const BLOCK: u64 = 64;

/// Finished subtrees, leftmost first; level `l` spans `2^l` blocks.
///
/// Blocks are put in order. A block without frames is an empty leaf, so that the tree depends on numbers alone. A tree
/// may begin at any block: what has no sibling in it waits for the one that holds the sibling.
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
            self.leaf(0, None, merge)?;
        }
        self.leaf(0, Some(part), merge)
    }

    /// Puts the unmerged nodes of a tree that begins at or behind the end of this one.
    pub fn append(&mut self, later: Tree<P>, merge: &mut dyn FnMut(&mut P, P) -> Result<()>) -> Result<()> {
        let blocks: u64 = later.stack.iter().map(|(level, _)| 1 << level).sum();
        while self.next + blocks < later.next {
            self.leaf(0, None, merge)?;
        }
        later.stack.into_iter().try_for_each(|(level, part)| self.leaf(level, part, merge))
    }

    fn leaf(
        &mut self,
        level: u32,
        part: Option<P>,
        merge: &mut dyn FnMut(&mut P, P) -> Result<()>,
    ) -> Result<()> {
        self.stack.push((level, part));
        self.next += 1 << level;
        // Two subtrees of one level on top of the stack are siblings when the pair begins at a multiple of its span.
        while let [.., (a, _), (b, _)] = self.stack[..]
            && a == b
            && self.next.is_multiple_of(2 << a)
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

    /// A tree of saved subtrees; without any, one that begins at `next`.
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

    #[test]
    fn trees_cut_anywhere_come_to_the_same() {
        let mut merge = |a: &mut String, b: String| {
            *a = format!("({a}{b})");
            Ok(())
        };
        let blocks = [0, 1, 2, 4, 5, 7, 8, 9, 10, 13];
        for cuts in [vec![3, 6], vec![1, 2, 9], vec![7], vec![5, 5, 12], vec![4, 8], vec![3, 4]] {
            let mut tree = Tree::default();
            let edges: Vec<u64> = [0].into_iter().chain(cuts.iter().copied()).chain([14]).collect();
            for part in edges.windows(2) {
                let mut later = Tree::from_nodes(part[0], vec![]);
                for block in blocks.iter().filter(|b| (part[0]..part[1]).contains(*b)) {
                    later.put(*block, block.to_string(), &mut merge).unwrap();
                }
                tree.append(later, &mut merge).unwrap();
            }
            assert_eq!(tree.finish(&mut merge).unwrap().unwrap(), show(&blocks), "{cuts:?}");
        }
    }
}
