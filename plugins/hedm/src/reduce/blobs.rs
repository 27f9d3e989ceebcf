//! Pixels that touch, by union-find over sorted pixels.

/// The blobs of a set of pixels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blobs {
    /// The blob of each pixel, numbered from 0 in the order of their first pixels.
    pub of: Vec<u32>,
    /// How many pixels each blob has.
    pub sizes: Vec<u32>,
}

/// Finds the 8-connected blobs of pixels (row, column) that come row by row.
pub fn blobs(pixels: impl Iterator<Item = [u32; 2]>) -> Blobs {
    let pixels: Vec<[u32; 2]> = pixels.collect();
    let mut parent: Vec<u32> = (0..pixels.len() as u32).collect();
    // The pixel of the row above that may still touch.
    let mut above = 0;
    for (at, [row, column]) in pixels.iter().copied().enumerate() {
        if at > 0 && pixels[at - 1] == [row, column.wrapping_sub(1)] {
            join(&mut parent, at as u32, at as u32 - 1);
        }
        while above < at
            && (pixels[above][0] + 1 < row || pixels[above][0] + 1 == row && pixels[above][1] + 1 < column)
        {
            above += 1;
        }
        let touching = pixels[above..at].iter().take_while(|p| p[0] + 1 == row && p[1] <= column + 1).count();
        for k in above..above + touching {
            join(&mut parent, at as u32, k as u32);
        }
    }
    let mut out = Blobs { of: vec![0; pixels.len()], sizes: vec![] };
    for at in 0..pixels.len() {
        let root = root(&mut parent, at as u32) as usize;
        // A root is the first pixel of its blob, so it has been numbered before the others.
        out.of[at] = if root == at {
            out.sizes.push(0);
            out.sizes.len() as u32 - 1
        } else {
            out.of[root]
        };
        out.sizes[out.of[at] as usize] += 1;
    }
    out
}

fn root(parent: &mut [u32], mut at: u32) -> u32 {
    while parent[at as usize] != at {
        parent[at as usize] = parent[parent[at as usize] as usize];
        at = parent[at as usize];
    }
    at
}

fn join(parent: &mut [u32], a: u32, b: u32) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b) as usize] = a.min(b);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_those_of_a_flood() {
        let (mut state, side) = (7u32, 24usize);
        for share in [3, 5, 8] {
            let lit: Vec<bool> = (0..side * side)
                .map(|_| {
                    state = state.wrapping_mul(1664525).wrapping_add(1013904223);
                    (state >> 12) % 10 < share
                })
                .collect();
            let pixels: Vec<[u32; 2]> = (0..side * side)
                .filter(|k| lit[*k])
                .map(|k| [(k / side) as u32, (k % side) as u32])
                .collect();
            let found = blobs(pixels.iter().copied());
            let mut label = vec![None; side * side];
            let mut sizes = vec![];
            for (start, _) in lit.iter().enumerate().filter(|(_, l)| **l) {
                if label[start].is_some() {
                    continue;
                }
                let (mut stack, mut size) = (vec![start], 0);
                label[start] = Some(sizes.len() as u32);
                while let Some(at) = stack.pop() {
                    size += 1;
                    let (r, c) = (at / side, at % side);
                    for r in r.saturating_sub(1)..side.min(r + 2) {
                        for c in c.saturating_sub(1)..side.min(c + 2) {
                            if lit[r * side + c] && label[r * side + c].is_none() {
                                label[r * side + c] = label[start];
                                stack.push(r * side + c);
                            }
                        }
                    }
                }
                sizes.push(size);
            }
            assert_eq!(found.sizes, sizes);
            assert!(
                pixels
                    .iter()
                    .zip(&found.of)
                    .all(|(p, b)| label[p[0] as usize * side + p[1] as usize] == Some(*b))
            );
        }
    }
}
