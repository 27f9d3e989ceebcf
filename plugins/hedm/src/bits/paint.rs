//! Lights the pixels of a known microstructure.

use isard_core::error::Result;
use isard_orientation::Quat;

use crate::bits::Volume;
use crate::model::{Footprint, Projector, Spot, Voxel};

/// Collects the pixels that voxels light.
#[derive(Clone, Debug)]
pub struct Painter {
    distances: usize,
    frames: usize,
    size: [usize; 2],
    lit: Vec<Vec<[u32; 2]>>,
}

impl Painter {
    /// A dark detector for all frames that a projector knows.
    pub fn new(projector: &Projector) -> Painter {
        let (distances, frames) = (projector.detector.distances(), projector.predictor.scan().frames);
        Painter { distances, frames, size: projector.detector.size, lit: vec![vec![]; distances * frames] }
    }

    /// Lights the pixels of a voxel; one that leaves the detector at a distance stays away at those beyond.
    pub fn add(&mut self, projector: &Projector, voxel: &Voxel, orientation: &Quat) {
        let frames = self.frames;
        light(projector, voxel, orientation, |_, l, frame, pixel| self.lit[l * frames + frame].push(pixel));
    }

    /// The lit pixels (Y, Z) of a frame with how many spots of voxels light each, sorted.
    ///
    /// To be asked before [`Painter::pixels`], which forgets how many there were.
    pub fn hits(&self, distance: usize, frame: usize) -> Vec<([u32; 2], u16)> {
        let mut all = self.lit[distance * self.frames + frame].clone();
        all.sort_unstable();
        all.chunk_by(|a, b| a == b)
            .map(|same| (same[0], same.len().min(usize::from(u16::MAX)) as u16))
            .collect()
    }

    /// The lit pixels (Y, Z) of a frame, each once and sorted.
    pub fn pixels(&mut self, distance: usize, frame: usize) -> &[[u32; 2]] {
        let pixels = &mut self.lit[distance * self.frames + frame];
        pixels.sort_unstable();
        pixels.dedup();
        pixels
    }

    /// The volume with every frame known.
    pub fn volume(&mut self) -> Result<Volume> {
        let mut volume = Volume::new(self.distances, self.frames, self.size);
        for l in 0..self.distances {
            for f in 0..self.frames {
                volume.fill(l, f, self.pixels(l, f))?;
            }
        }
        Ok(volume)
    }
}

/// Tells each pixel that a voxel lights: the spot, the distance, the frame, and the pixel (Y, Z).
///
/// A pixel that leaves the detector at a distance stays away at those beyond.
pub fn light(
    projector: &Projector,
    voxel: &Voxel,
    orientation: &Quat,
    mut each: impl FnMut(&Spot, usize, usize, [u32; 2]),
) {
    let (mut footprint, detector) = (Footprint::default(), &projector.detector);
    for spot in projector.predictor.spots(&orientation.matrix()) {
        if !projector.footprint(&spot, voxel, &mut footprint) {
            continue;
        }
        for [dy, dz] in &footprint.offsets {
            for (l, [y, z]) in footprint.bases.iter().enumerate() {
                let (y, z) = (y + dy, z + dz);
                if !detector.holds(y, z) {
                    break;
                }
                each(&spot, l, footprint.frame, [y as u32, z as u32]);
            }
        }
    }
}
