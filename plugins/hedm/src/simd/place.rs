//! Where sixteen spots fall for a small turn of the crystal.

use super::{Level, level};

/// Spots in a block.
pub(crate) const BLOCK: usize = 16;
/// Distances at most.
pub(crate) const MOST: usize = 8;
/// The largest value or slope that a block may hold.
pub(crate) const STEEPEST: f32 = 1e7;

/// Sixteen spots to first order in a rotation vector: value, and slope along x, y and z.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Block {
    /// Frame coordinate.
    pub frame: [[f32; BLOCK]; 4],
    /// Pixel of the spot's centre at the first distance, Y and Z.
    pub centre: [[[f32; BLOCK]; 4]; 2],
    /// Pixels from there to the voxel's centre.
    pub shift: [[[f32; BLOCK]; 4]; 2],
}

impl Block {
    /// Spots that lie in no frame.
    pub const NONE: Block = {
        let mut frame = [[0.0; BLOCK]; 4];
        frame[0] = [-STEEPEST; BLOCK];
        Block { frame, centre: [[[0.0; BLOCK]; 4]; 2], shift: [[[0.0; BLOCK]; 4]; 2] }
    };
}

/// How pixels of the first distance become those of the others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stand {
    /// How many distances there are.
    pub count: usize,
    /// Scale of the offset from the beam at each distance.
    pub scale: [f32; MOST],
    /// The beam at the first distance.
    pub first: [f32; 2],
    /// The beam at each distance.
    pub beam: [[f32; 2]; MOST],
    /// Pixels along Y and Z.
    pub size: [i32; 2],
    /// Frames of a distance, and of a full turn; the latter is 0 where that is no whole number.
    pub frames: [i32; 2],
    /// Places of the volume's index from one frame to the next, and tiles in a row.
    pub stride: [i32; 2],
}

/// Whole frames and pixels of sixteen spots.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Placed {
    /// The frame.
    pub frame: [i32; BLOCK],
    /// The pixel of the spot's centre at each distance, Y and Z.
    pub base: [[[i32; BLOCK]; 2]; MOST],
    /// From there to the voxel's centre.
    pub shift: [[i32; BLOCK]; 2],
    /// Whether the frame is one of the scan: 1 or 0.
    pub inside: [i32; BLOCK],
    /// Whether the voxel's centre lies on the detector at every distance as well: 1 or 0.
    pub on: [i32; BLOCK],
    /// The place in the volume's index of the centre at the last distance, counted from that distance's first frame.
    pub slot: [i32; BLOCK],
    /// The tile there.
    pub tile: [i32; BLOCK],
}

impl Placed {
    pub const NONE: Placed = Placed {
        frame: [-1; BLOCK],
        base: [[[0; BLOCK]; 2]; MOST],
        shift: [[0; BLOCK]; 2],
        inside: [0; BLOCK],
        on: [0; BLOCK],
        slot: [0; BLOCK],
        tile: [0; BLOCK],
    };

    /// Finds the tiles of the volume's index that pixels at the last distance lie in.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "lanes of many arrays go together")]
    pub(super) fn look_up(&mut self, stand: &Stand) {
        let last = stand.count - 1;
        for i in 0..BLOCK {
            let y = self.base[last][0][i] + self.shift[0][i];
            let z = self.base[last][1][i] + self.shift[1][i];
            let tile = (y >> 3) * stand.stride[1] + (z >> 6);
            // What is off the detector looks at the first place, and does not count.
            self.slot[i] = (self.frame[i] * stand.stride[0] + (tile >> 6)) * self.on[i];
            self.tile[i] = tile & 63;
        }
    }
}

/// Places a block of spots for a rotation vector of less than one radian.
pub(crate) fn place(block: &Block, stand: &Stand, turn: [f32; 3], out: &mut Placed) {
    debug_assert!(turn.iter().all(|x| x.abs() < 1.0), "a turn of {turn:?} radians");
    match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has what the kernel needs.
        Level::Widest => unsafe { place_widest(block, stand, turn, out) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has AVX2.
        Level::Wide => unsafe { place_wide(block, stand, turn, out) },
        _ => place_plain(block, stand, turn, out),
    }
}

/// # Safety
/// The processor must have AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn place_widest(block: &Block, stand: &Stand, turn: [f32; 3], out: &mut Placed) {
    place_plain(block, stand, turn, out);
}

/// # Safety
/// The processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn place_wide(block: &Block, stand: &Stand, turn: [f32; 3], out: &mut Placed) {
    place_plain(block, stand, turn, out);
}

#[inline(always)]
fn place_plain(block: &Block, stand: &Stand, turn: [f32; 3], out: &mut Placed) {
    let linear = |v: &[[f32; BLOCK]; 4], i: usize| {
        v[0][i] + (v[1][i] * turn[0] + v[2][i] * turn[1] + v[3][i] * turn[2])
    };
    let [frames, period] = stand.frames;
    for i in 0..BLOCK {
        let frame = whole(linear(&block.frame, i));
        // A scan that closes begins again.
        let frame = frame + if frame < 0 { period } else { 0 };
        let frame = frame - if frame >= frames { period } else { 0 };
        out.frame[i] = frame;
        out.inside[i] = i32::from((frame >= 0) & (frame < frames));
    }
    let mut on = out.inside;
    for k in 0..2 {
        let mut centre = [0.0f32; BLOCK];
        for (i, centre) in centre.iter_mut().enumerate() {
            *centre = linear(&block.centre[k], i) - stand.first[k];
            out.shift[k][i] = whole(linear(&block.shift[k], i) + 0.5);
        }
        for l in 0..stand.count {
            for i in 0..BLOCK {
                let at = whole(centre[i] * stand.scale[l] + stand.beam[l][k]);
                out.base[l][k][i] = at;
                let at = at + out.shift[k][i];
                on[i] &= i32::from((at >= 0) & (at < stand.size[k]));
            }
        }
    }
    out.on = on;
    out.look_up(stand);
}

/// The largest whole number that is not larger, of one that 32 bits hold.
#[inline(always)]
fn whole(x: f32) -> i32 {
    debug_assert!(x.abs() < 2e9, "{x} is out of range");
    // SAFETY: values and slopes are at most `STEEPEST`, turns less than one: the sum of four and the scaling by a
    // ratio of distances stay below 2^31, and none is NaN.
    unsafe { x.floor().to_int_unchecked() }
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
        for _ in 0..200 {
            let mut block = Block::NONE;
            for i in 0..BLOCK {
                for k in 0..4 {
                    block.frame[k][i] = random(1500.0);
                    for d in 0..2 {
                        block.centre[d][k][i] = random(2000.0);
                        block.shift[d][k][i] = random(30.0);
                    }
                }
            }
            let mut stand = Stand { count: 3, first: [900.0, 17.0], size: [1100, 1000], ..Stand::default() };
            (stand.frames, stand.stride) = ([1200, 1440], [35, 16]);
            for l in 0..3 {
                stand.scale[l] = 1.0 + l as f32 * 0.25;
                stand.beam[l] = [900.0 + random(3.0), 20.0];
            }
            let turn = [random(0.1), random(0.1), random(0.1)];
            let (mut a, mut b) = (Placed::NONE, Placed::NONE);
            place(&block, &stand, turn, &mut a);
            place_plain(&block, &stand, turn, &mut b);
            assert_eq!((a.frame, a.shift, a.base), (b.frame, b.shift, b.base));
            assert_eq!((a.inside, a.on, a.slot, a.tile), (b.inside, b.on, b.slot, b.tile));
            for i in 0..BLOCK {
                let inside = (0..1200).contains(&a.frame[i]);
                let on = (0..3)
                    .all(|l| (0..2).all(|k| (0..stand.size[k]).contains(&(a.base[l][k][i] + a.shift[k][i]))));
                assert_eq!((a.inside[i], a.on[i]), (i32::from(inside), i32::from(inside && on)));
            }
            // And against the definition, in double precision.
            let x = (0..4).map(|k| {
                f64::from(block.centre[1][k][3]) * [1.0, turn[0], turn[1], turn[2]].map(f64::from)[k]
            });
            let wanted = (x.sum::<f64>() - 17.0) * 1.5 + f64::from(stand.beam[2][1]);
            assert!((wanted - f64::from(a.base[2][1][3]) - 0.5).abs() < 0.51, "{wanted} {}", a.base[2][1][3]);
        }
    }
}
