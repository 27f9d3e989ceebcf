//! Azimuthal integration of area-detector frames.
