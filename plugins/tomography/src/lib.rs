//! Diffraction tomography: sinograms, reconstruction, maps and pair distribution functions.
