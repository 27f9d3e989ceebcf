//! Bragg disks: where they are, the lattice they make, and its strain.

mod correlate;
mod peaks;

mod disks;
mod lattice;
mod strain;

pub use disks::{Disks, DisksIn, DisksOut, Subpixel};
pub use lattice::{Lattice, LatticeIn, LatticeOut};
pub use strain::{Form, Strain, StrainIn, StrainOut, StrainPart};
