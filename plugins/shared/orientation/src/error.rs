//! What can be wrong with a cell, a space group or an orientation.

use std::fmt;

/// What is wrong with a cell, a space group or an orientation.
#[derive(Clone, Debug, PartialEq)]
pub enum OrientationError {
    /// Lengths or angles that make no cell.
    NoCell {
        /// The six constants.
        found: [f64; 6],
    },
    /// A number that names no space group.
    NoGroup {
        /// The number.
        found: i64,
    },
    /// A cell that lacks the symmetry of its space group.
    Mismatch {
        /// The space group.
        group: u8,
        /// The six constants.
        cell: [f64; 6],
        /// What the space group asks of the cell.
        wanted: &'static str,
    },
}

impl fmt::Display for OrientationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OrientationError::NoCell { found } => {
                write!(
                    f,
                    "found the lattice parameters {found:?}, which make no cell; give a b c in angstrom and alpha beta gamma in degrees"
                )
            }
            OrientationError::NoGroup { found } => {
                write!(f, "found space group {found}, wanted 1 to 230")
            }
            OrientationError::Mismatch { group, cell, wanted } => {
                write!(
                    f,
                    "space group {group} does not match the cell {cell:?}, it wants {wanted}; check both"
                )
            }
        }
    }
}

impl std::error::Error for OrientationError {}
