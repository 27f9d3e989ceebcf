//! Triangular voxels of the layer.

/// A triangular voxel in the layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Voxel {
    /// The centroid along x, micrometres.
    pub x: f64,
    /// The centroid along y, micrometres.
    pub y: f64,
    /// The edge in micrometres.
    pub edge: f64,
    /// Whether the apex points to +y.
    pub up: bool,
}

impl Voxel {
    /// The corners: apex, left, right.
    pub fn corners(&self) -> [[f64; 2]; 3] {
        let s = if self.up { 1.0 } else { -1.0 };
        let root = 3f64.sqrt();
        let (far, near) = (s * self.edge / root, s * self.edge / (2.0 * root));
        let half = 0.5 * self.edge;
        [[self.x, self.y + far], [self.x - half, self.y - near], [self.x + half, self.y - near]]
    }

    /// +1 for a voxel that points up and -1 for one that points down, as files write it.
    pub fn sign(&self) -> f64 {
        if self.up { 1.0 } else { -1.0 }
    }
}
