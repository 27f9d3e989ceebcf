//! Byte shuffle, HDF5 filter 2: all first bytes of the elements, then all second ones.

use crate::simd;

/// Sorts the bytes of elements of `size` bytes into planes; a rest stays behind them.
pub fn shuffle(src: &[u8], size: usize, out: &mut [u8]) {
    let n = src.len() / size.max(1);
    let whole = n * size;
    out[whole..].copy_from_slice(&src[whole..]);
    if n > 0 {
        simd::shuffle(&src[..whole], size, &mut out[..whole]);
    }
}

/// Puts planes of bytes together again.
pub fn unshuffle(src: &[u8], size: usize, out: &mut [u8]) {
    let n = src.len() / size.max(1);
    let whole = n * size;
    out[whole..].copy_from_slice(&src[whole..]);
    if n == 0 {
        return;
    }
    let (src, out) = (&src[..whole], &mut out[..whole]);
    match size {
        1 => out.copy_from_slice(src),
        2 => {
            let (low, high) = src.split_at(n);
            let pairs = out.as_chunks_mut::<2>().0.iter_mut();
            pairs.zip(low).zip(high).for_each(|((o, a), b)| *o = [*a, *b]);
        }
        4 => {
            let (ab, cd) = src.split_at(2 * n);
            let ((a, b), (c, d)) = (ab.split_at(n), cd.split_at(n));
            let fours = out.as_chunks_mut::<4>().0.iter_mut();
            fours.zip(a).zip(b).zip(c).zip(d).for_each(|((((o, a), b), c), d)| *o = [*a, *b, *c, *d]);
        }
        _ => {
            for (k, plane) in src.chunks_exact(n).enumerate() {
                out[k..].iter_mut().step_by(size).zip(plane).for_each(|(o, b)| *o = *b);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_worked_by_hand_and_back() {
        let mut out = [0; 7];
        shuffle(&[1, 2, 3, 4, 5, 6, 7], 3, &mut out);
        assert_eq!(out, [1, 4, 2, 5, 3, 6, 7]);
        for size in [1, 2, 3, 4, 5, 8, 16] {
            for n in [0, 1, 5, 16, 33, 250] {
                let src: Vec<u8> = (0..n).map(|i| (i * 7 + 3) as u8).collect();
                let (mut there, mut back) = (vec![0; n], vec![0; n]);
                shuffle(&src, size, &mut there);
                let planes = n / size;
                for i in 0..planes * size {
                    assert_eq!(there[i % size * planes + i / size], src[i], "{size} {n}");
                }
                unshuffle(&there, size, &mut back);
                assert_eq!(back, src, "{size} {n}");
            }
        }
    }
}
