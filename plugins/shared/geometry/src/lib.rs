//! Detector geometry, calibrants and PONI files.
