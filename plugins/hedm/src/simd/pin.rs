//! Where sixteen spots of an orientation that stays as it is fall for a voxel.

use super::place::{BLOCK, MOST, Placed, Stand};
use super::{Level, level};

/// Pixels beyond which nothing is on a detector.
pub(crate) const FAR: f32 = 1e6;

/// Sixteen spots of one orientation: all that does not depend on the voxel.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Pinned {
    /// The frame; -1 for no spot.
    pub frame: [i32; BLOCK],
    /// The pixel of the spot's centre at each distance, Y and Z, within [`FAR`].
    pub base: [[[i32; BLOCK]; 2]; MOST],
    /// The same at the first distance as real numbers.
    pub centre: [[f32; BLOCK]; 2],
    /// Pixels along Y and Z for a micrometre of the voxel's x and y.
    pub along: [[[f32; BLOCK]; 2]; 2],
}

impl Pinned {
    /// No spots.
    pub const NONE: Pinned = Pinned {
        frame: [-1; BLOCK],
        base: [[[0; BLOCK]; 2]; MOST],
        centre: [[0.0; BLOCK]; 2],
        along: [[[0.0; BLOCK]; 2]; 2],
    };
}

/// Places a block of spots for a voxel of one pixel; which of them come within `reach` pixels of the detector's edge at
/// the first distance, one bit each.
pub(crate) fn pin(block: &Pinned, stand: &Stand, at: [f32; 2], reach: f32, out: &mut Placed) -> u32 {
    match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has what the kernel needs.
        Level::Widest => unsafe { pin_widest(block, stand, at, reach, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has AVX2.
        Level::Wide => unsafe { pin_wide(block, stand, at, reach, out) },
        _ => pin_plain(block, stand, at, reach, out),
    }
}

/// # Safety
/// The processor must have AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn pin_widest(block: &Pinned, stand: &Stand, at: [f32; 2], reach: f32, out: &mut Placed) -> u32 {
    pin_plain(block, stand, at, reach, out)
}

/// # Safety
/// The processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn pin_wide(block: &Pinned, stand: &Stand, at: [f32; 2], reach: f32, out: &mut Placed) -> u32 {
    pin_plain(block, stand, at, reach, out)
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "lanes of many arrays go together")]
fn pin_plain(block: &Pinned, stand: &Stand, at: [f32; 2], reach: f32, out: &mut Placed) -> u32 {
    let mut on = [0i32; BLOCK];
    let mut near = [0i32; BLOCK];
    for i in 0..BLOCK {
        out.frame[i] = block.frame[i];
        on[i] = i32::from(block.frame[i] >= 0);
        out.inside[i] = on[i];
    }
    for k in 0..2 {
        let most = stand.size[k] as f32 - reach;
        for i in 0..BLOCK {
            let shift = block.along[0][k][i] * at[0] + block.along[1][k][i] * at[1];
            let to = block.centre[k][i] + shift;
            near[i] |= i32::from((to < reach) | (to > most));
            // Voxels may be anywhere.
            out.shift[k][i] = (shift + 0.5).floor().clamp(-FAR, FAR) as i32;
        }
        for l in 0..stand.count {
            for i in 0..BLOCK {
                let base = block.base[l][k][i];
                out.base[l][k][i] = base;
                let at = base + out.shift[k][i];
                on[i] &= i32::from((at >= 0) & (at < stand.size[k]));
            }
        }
    }
    out.on = on;
    out.look_up(stand);
    near.iter().enumerate().fold(0, |mask, (i, near)| mask | (*near as u32) << i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wide_kernel_and_its_twin_agree() {
        let mut state = 5u32;
        let mut random = |scale: f32| {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            ((state >> 8) as f32 / (1 << 24) as f32 - 0.3) * scale
        };
        let stand = Stand {
            count: 3,
            size: [1100, 1000],
            frames: [1200, 1440],
            stride: [35, 16],
            ..Stand::default()
        };
        for _ in 0..200 {
            let mut block = Pinned::NONE;
            for i in 0..BLOCK {
                block.frame[i] = random(1200.0) as i32;
                for d in 0..2 {
                    block.centre[d][i] = random(1500.0);
                    (0..2).for_each(|k| block.along[k][d][i] = random(1.0));
                    (0..3).for_each(|l| block.base[l][d][i] = random(1500.0) as i32);
                }
            }
            let at = [random(100.0), random(100.0)];
            let (mut a, mut b) = (Placed::NONE, Placed::NONE);
            let near = pin(&block, &stand, at, 3.0, &mut a);
            assert_eq!(near, pin_plain(&block, &stand, at, 3.0, &mut b));
            assert_eq!((a.frame, a.shift, a.base, a.on), (b.frame, b.shift, b.base, b.on));
            assert_eq!((a.inside, a.slot, a.tile), (b.inside, b.slot, b.tile));
            for i in 0..BLOCK {
                // The definition, in double precision.
                let shift = [0, 1].map(|d| {
                    f64::from(block.along[0][d][i]) * f64::from(at[0])
                        + f64::from(block.along[1][d][i]) * f64::from(at[1])
                });
                assert!((0..2).all(|d| (shift[d] - f64::from(a.shift[d][i])).abs() < 0.501));
                let holds = |l: usize| {
                    (0..2).all(|d| (0..stand.size[d]).contains(&(a.base[l][d][i] + a.shift[d][i])))
                };
                assert_eq!(a.on[i] != 0, block.frame[i] >= 0 && (0..3).all(holds));
                let edge = (0..2).any(|d| {
                    let to = f64::from(block.centre[d][i]) + shift[d];
                    to < 3.0 || to > f64::from(stand.size[d]) - 3.0
                });
                assert_eq!(near >> i & 1 != 0, edge, "{shift:?}");
            }
        }
    }
}
